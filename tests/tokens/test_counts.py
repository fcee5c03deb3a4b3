"""The counts of a message's pieces."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from fastpaca.context import jsontext
from fastpaca.context.draft import Draft, parse
from fastpaca.context.message import MESSAGE_OVERHEAD_TOKENS, Counts
from fastpaca.tokens import CharsCounter, TiktokenCounter, TokenCounter, count_message
from tests.kit.messages import assistant, user


class Characters:
    """Counts characters, so that a count tells what was counted."""

    name = "characters"
    approximate = True

    def __init__(self) -> None:
        self.texts: list[str] = []

    def count(self, text: str) -> int:
        self.texts.append(text)
        return len(text)


@pytest.fixture
def characters() -> Characters:
    """Give a counter that remembers what it was asked."""
    return Characters()


@pytest.fixture(scope="module")
def o200k() -> TokenCounter:
    """Load a real counter once."""
    return TiktokenCounter("o200k_base")


def draft(message: dict[str, Any], *, ascii_only: bool = False) -> Draft:
    """Parse *message* as it comes in."""
    text = json.dumps(message, ensure_ascii=ascii_only)
    return parse(jsontext.minified(text.encode()), "message")


def test_a_text_part_counts_as_its_text_alone(characters: Characters) -> None:
    """
    What else stands in a text part, such as a cache mark, is not counted.
    """
    part = {"type": "text", "text": "Hello", "cache_control": {"type": "ephemeral"}}
    counts = count_message(characters, draft(user(part)))
    assert counts.overhead == MESSAGE_OVERHEAD_TOKENS + len("user")
    assert counts == Counts(counts.overhead + 5, counts.overhead, (), (5,))


def test_any_other_part_counts_as_its_json(characters: Characters) -> None:
    """
    Calls, results and parts of the caller's own types cost their JSON text; a broken text part too.
    """
    parts: list[dict[str, Any]] = [
        {"type": "tool_call", "tool_call_id": "c1", "name": "f", "arguments": {"a": [1, 2.50]}},
        {"type": "text", "text": None},
        {"type": "weather", "city": "Köln"},
    ]
    counts = count_message(characters, draft(assistant(*parts)))
    sizes = [len(json.dumps(part, separators=(",", ":"), ensure_ascii=False)) for part in parts]
    assert counts.parts == tuple(sizes)
    assert counts.total == counts.overhead + sum(sizes)


def test_calls_in_keys_count_as_their_json(characters: Characters) -> None:
    """
    What a call in the message's keys costs stands beside the parts, and nothing does without one.
    """
    calls = [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    message = {"role": "assistant", "parts": [], "tool_calls": calls, "metadata": {"a": "b" * 99}}
    counts = count_message(characters, draft(message))
    written = json.dumps({"tool_calls": calls}, separators=(",", ":"))[1:-1]
    assert counts.keys == (len(written),)
    assert counts.total == counts.overhead + len(written)
    assert count_message(characters, draft({"role": "user", "parts": []})).keys == ()


@pytest.mark.parametrize("token_count", [0, 7, 2**53 - 1])
def test_the_callers_count_stands_and_the_pieces_are_counted_all_the_same(
    characters: Characters, token_count: int
) -> None:
    """
    A given token count is the total, verbatim; what the parts cost is known nonetheless.
    """
    message = user("Hello")
    counts = count_message(characters, draft(message))
    given = count_message(characters, draft({**message, "token_count": token_count}))
    assert given == replace(counts, total=token_count)


def test_escapes_of_characters_cost_what_the_characters_cost(o200k: TokenCounter) -> None:
    r"""
    A client that writes `\u4f60` for 你 and one that does not are charged the same.
    """
    part = {
        "type": "tool_result",
        "content": '你好 שלום 😀 "\n\\ \\u4f60 \\\\u0041 \x1b \x7f é',
        "ключ": ["значение"],
    }
    message = {"role": "ツール", "parts": [part], "tool_calls": [{"id": "キー", "a": "ä"}]}
    plain, escaped = draft(message), draft(message, ascii_only=True)
    assert plain.parts[0].body != escaped.parts[0].body
    assert count_message(o200k, plain) == count_message(o200k, escaped)


def test_control_characters_stay_escaped(characters: Characters) -> None:
    r"""
    An escape that JSON asks for is no detour of the client's, and counts as it stands.
    """
    part = {"type": "x", "a": '\x00\x1f"\\', "b": "\\u0041"}
    count_message(characters, draft(user(part)))
    assert characters.texts[-1] == json.dumps(part, separators=(",", ":"))


_ESCAPABLE = ["你", "😀", "é", "\\", "\\\\u0041", '"', "\n", "\x00", "u4f60", "plain ", "\\ud83d"]


@given(st.lists(st.sampled_from(_ESCAPABLE), min_size=1, max_size=12), st.integers(1, 9_000))
@settings(max_examples=30)
def test_long_texts_are_unescaped_step_by_step(words: list[str], times: int) -> None:
    """
    Where a long text is cut to be unescaped does not show, not even in the middle of an emoji.
    """
    part = {"type": "x", "a": "".join(words) * times}
    counter = Characters()
    for ascii_only in (False, True):
        count_message(counter, draft(user(part), ascii_only=ascii_only))
    assert counter.texts[-1] == counter.texts[-2]
    assert json.loads(counter.texts[-1]) == part


def test_a_role_is_counted_once_and_a_long_one_is_not_kept(characters: Characters) -> None:
    """
    The few usual roles are remembered; a role of a megabyte is counted, and forgotten.
    """
    for role in ("user", "r" * 1_000_000):
        for _ in range(2):
            counts = count_message(characters, draft({"role": role, "parts": []}))
            assert counts.total == MESSAGE_OVERHEAD_TOKENS + len(role)
    assert [len(text) for text in characters.texts] == [4, 1_000_000, 1_000_000]


def test_counters_do_not_share_what_they_remember_of_roles(characters: Characters) -> None:
    """
    A role costs what the counter at hand says, whatever another one said before.
    """
    message = draft({"role": "developer", "parts": []})
    assert count_message(characters, message).overhead == MESSAGE_OVERHEAD_TOKENS + 9
    assert count_message(CharsCounter(), message).overhead == MESSAGE_OVERHEAD_TOKENS + 3


def test_the_same_message_always_has_the_same_counts(o200k: TokenCounter) -> None:
    """
    Counting has no memory that would show.
    """
    message = draft(user(*[{"type": "image", "url": "https://a/b.png"}] * 3))
    assert count_message(o200k, message) == count_message(o200k, message)
