"""What the stripping rules take out of a message, and what the rest costs."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastpaca.context.calls import KEYS, Side
from fastpaca.context.message import Entry, Form, log_entry
from fastpaca.context.strip import RULES, strip, without_results
from fastpaca.errors import InvalidRequest
from tests.context.conversation import Message, assistant, call, counted, result, text, tool, user
from tests.context.story import KINDS
from tests.context.strategies import messages, the_same_every_time

DEFAULT = ("tool", "reasoning")


def entry(content: Message) -> Entry:
    """Make an entry of the log."""
    made = counted(content)
    return log_entry(made.draft, made.counts, 1, 1, 0)


def left_of(content: Message, *kinds: str) -> Message | None:
    """Give what is left of a message without parts of *kinds*."""
    left = strip(entry(content), kinds)
    return None if left is None else json.loads(left.body)


def part(kind: str, **keys: Any) -> Message:
    """A part of some *kind*."""
    return {"type": kind, **keys}


TAKEN = [
    ("tool", "tool_call"),
    ("tool", "tool_use"),
    ("tool", "tool_result"),
    ("tool", "tool-call"),
    ("tool", "tool-getWeather"),
    ("tool", "tool-search_results"),
    ("tool", "toolbox"),
    ("tool", "dynamic-tool"),
    ("tool-", "tool-getWeather"),
    ("tool-getWeather", "tool-getWeather"),
    ("tool_result", "tool_call"),
    ("tool_result", "tool_use"),
    ("tool_call", "tool_result"),
    ("tool_use", "tool_result"),
    ("tool-result", "tool-call"),
    ("tool-", "tool-call"),
    ("function_call_output", "function_call"),
    ("function", "function_call_output"),
    ("reasoning", "reasoning"),
    ("reasoning", "reasoning-delta"),
    ("reasoning", "thinking"),
    ("reasoning", "redacted_thinking"),
    ("thinking", "thinking"),
    ("server_tool_use", "server_tool_use"),
    ("web", "web_search_tool_result"),
    ("t", "text"),
    ("image", "image_url"),
]


@pytest.mark.parametrize(("skip_kind", "kind"), TAKEN)
def test_a_part_goes_if_its_type_begins_with_a_skip_kind(skip_kind: str, kind: str) -> None:
    """
    Types are matched by their beginning; aliases and the other side of a family count as well.
    """
    kept = part("words", words="stay")
    assert left_of(assistant(kept, part(kind)), skip_kind) == {
        **json.loads(entry(assistant(kept, part(kind))).body),
        "parts": [kept],
        "token_count": 4 + len(json.dumps(kept, separators=(",", ":"))),
    }


KEPT = [
    ("tool", "text"),
    ("tool", "my_tool"),
    ("tool", "function_call"),
    ("tool", "server_tool_use"),
    ("tool", "web_search_tool_result"),
    ("Tool", "tool_call"),
    ("tool_", "tool-getWeather"),
    ("tool_", "tool-call"),
    ("tool-getWeather", "tool-getTime"),
    ("thinking", "reasoning"),
    ("reasoning", "reason"),
    ("tool_call_x", "tool_call"),
]


@pytest.mark.parametrize(("skip_kind", "kind"), KEPT)
def test_other_parts_stay(skip_kind: str, kind: str) -> None:
    """
    A type that merely contains the kind, or begins in another way, is not meant.
    """
    content = assistant("stays", part(kind))
    assert left_of(content, skip_kind) == json.loads(entry(content).body)


def test_no_kinds_take_nothing() -> None:
    """
    An empty list of skip kinds strips nothing.
    """
    original = entry(assistant("stays", call("a")))
    assert strip(original, ()) is original


def test_a_message_left_without_parts_goes() -> None:
    """
    Nothing is emptied and kept; what never had parts stays as it was.
    """
    assert left_of(assistant(call("a"), part("thinking")), *DEFAULT) is None
    assert left_of(assistant(), *DEFAULT) is not None


def test_calls_in_keys_go_with_the_tools() -> None:
    """
    `tool_calls` are calls like those in parts; an empty or foreign value is none.
    """
    left = left_of(assistant("stays", tool_calls=[{"id": "a"}], n=1), *DEFAULT)
    assert left is not None
    assert "tool_calls" not in left
    assert left["token_count"] == 4 + len("stays")
    assert left_of(assistant(tool_calls=[{"id": "a"}]), *DEFAULT) is None
    nothings: list[Any] = [None, [], {}, "x"]
    for nothing in nothings:
        left = left_of(assistant("stays", tool_calls=nothing), *DEFAULT)
        assert left is not None
        assert left["tool_calls"] == nothing


def test_a_message_that_is_a_result_by_its_key_goes_as_a_whole() -> None:
    """
    With `tool_call_id` the texts of a message are what the tool gave back.
    """
    assert left_of(tool("text of the tool", tool_call_id="a"), *DEFAULT) is None
    assert left_of(tool("text of the tool", tool_call_id="a"), "reasoning") is not None


@pytest.mark.parametrize("nothing", [None, "", 5, [], {}])
def test_a_key_without_an_id_makes_no_result(nothing: Any) -> None:
    """
    Libraries write every key they know: `"tool_call_id": null` is no reason to lose a message.
    """
    content = user("stays", tool_call_id=nothing, tool_calls=None)
    assert left_of(content, *DEFAULT) == json.loads(entry(content).body)


def test_provider_run_tools_go_in_pairs() -> None:
    """
    If a kind takes the result of a tool that the provider ran, its call beside it goes too.
    """
    served = [
        part("server_tool_use", id="a"),
        part("web_search_tool_result", tool_use_id="a"),
        part("server_tool_use", id="b"),
        part("bash_code_execution_tool_result", tool_use_id="b"),
    ]
    left = left_of(assistant("stays", *served), "web_search")
    assert left is not None
    assert left["parts"] == [text("stays"), *served[2:]]
    left = left_of(assistant("stays", *served), "server_tool_use")
    assert left is not None
    assert left["parts"] == [text("stays")]


# Counts


def test_what_is_left_costs_what_its_pieces_cost() -> None:
    """
    A stripped message costs its overhead, and those of its parts and keys that are left.
    """
    content = assistant("12345", call("a"), "678", tool_calls=[{"id": "b"}])
    stripped = strip(entry(content), DEFAULT)
    assert stripped is not None
    assert stripped.counts.parts == (5, 3)
    assert stripped.counts.keys == 0
    assert stripped.tokens == 4 + 5 + 3
    kept_keys = strip(entry(assistant("1", part("thinking"), tool_calls=[1])), ("reasoning",))
    assert kept_keys is not None
    assert kept_keys.counts.keys == len('{"tool_calls":[1]}')


@pytest.mark.parametrize(("own", "left"), [(0, 0), (7, 7), (1000, 9)])
def test_what_is_left_never_costs_more_than_the_whole(own: int, left: int) -> None:
    """
    A caller's own count stands for the whole message, and is the most that the rest can cost.
    """
    stripped = strip(entry(assistant("12345", call("a"), token_count=own)), DEFAULT)
    assert stripped is not None
    assert stripped.tokens == left
    assert json.loads(stripped.body)["token_count"] == left


def test_what_is_untouched_costs_what_it_did() -> None:
    """
    A message of which nothing goes keeps its bytes and its count.
    """
    original = entry(assistant("12345", token_count=3))
    stripped = strip(original, DEFAULT)
    assert stripped is not None
    assert stripped.body is original.body
    assert stripped.counts == original.counts


# Forms


def test_stripping_adds_up() -> None:
    """
    To strip first these kinds and then those is the same as to strip them all at once.
    """
    original = entry(assistant("1", call("a"), part("thinking"), tool_calls=[{"id": "b"}]))
    one = strip(original, ("tool",))
    assert one is not None
    assert strip(one, ("reasoning",)) == strip(original, ("reasoning", "tool"))
    assert strip(one, ("tool",)) is one


def test_the_form_says_what_was_done() -> None:
    """
    A stored window names the kinds, sorted, and the version of the rules.
    """
    stripped = strip(entry(user("hi")), ("tool", "reasoning", "tool"))
    assert stripped is not None
    assert stripped.form == Form(("reasoning", "tool"), RULES)


def test_values_of_the_rest_stay_as_they_were_sent() -> None:
    """
    What is left of a message is not decoded: numbers and escapes stay to the letter.
    """
    kept = b'{"type":"data","n":1.0,"big":1180591620717411303424,"e":"\\u00e9"}'
    original = entry(assistant("1", call("a")))
    body = original.body.replace(b'{"type":"text","text":"1"}', kept)
    stripped = strip(Entry(**{**fields(original), "body": body}), DEFAULT)
    assert stripped is not None
    assert kept in stripped.body


def fields(original: Entry) -> dict[str, Any]:
    """Give the fields of an entry."""
    return {name: getattr(original, name) for name in original.__struct_fields__}


def test_marks_move_with_their_parts() -> None:
    """
    What is left of calls and results is found at the places where they stand now.
    """
    stripped = strip(entry(assistant(part("thinking"), "x", call("a"))), ("reasoning",))
    assert stripped is not None
    assert [(mark.place, mark.id) for mark in stripped.marks] == [(1, "a")]


def test_a_message_of_which_only_results_are_left_opens_no_turn() -> None:
    """
    Whether a user's message opens a turn is decided by what is left of it.
    """
    stripped = strip(entry(user(part("thinking"), result("a"))), ("reasoning",))
    assert stripped is not None
    assert not stripped.opens_turn


@given(messages, st.sampled_from(KINDS), st.sampled_from(KINDS))
@settings(the_same_every_time, max_examples=400)
def test_any_message_can_be_stripped(
    content: Message, some: tuple[str, ...], more: tuple[str, ...]
) -> None:
    """
    Whatever its shape: never a failure, never dearer, never emptied, and in steps as at once.
    """
    try:
        original = entry(content)
    except (UnicodeEncodeError, InvalidRequest):
        return  # not JSON: lone surrogates, infinities
    first = strip(original, some)
    at_once = strip(original, {*some, *more})
    assert (None if first is None else strip(first, more)) == at_once
    if at_once is not None:
        left = json.loads(at_once.body)
        assert left["token_count"] == at_once.tokens <= original.tokens
        assert bool(left["parts"]) == bool(content["parts"])
        assert len(at_once.counts.parts) == len(left["parts"])
    for mark in original.marks:
        if mark.side is Side.RESULT:
            without_results(original, [mark.place])


# Results of calls that were cut


def test_results_are_taken_out_by_place() -> None:
    """
    Of two results with the same id only the one that lost its call goes.
    """
    original = entry(user(result("a", "first"), result("a", "second"), "words"))
    left = without_results(original, [1])
    assert left is not None
    assert json.loads(left.body)["parts"] == [result("a", "first"), text("words")]
    assert left.form == Form(without=(1,))
    assert [mark.id for mark in left.marks] == ["a"]


def test_a_message_of_nothing_but_lost_results_goes() -> None:
    """
    What is left without parts goes, and so does what is a result as a whole.
    """
    assert without_results(entry(tool(result("a"))), [0]) is None
    assert without_results(entry(tool("given", tool_call_id="a")), [KEYS]) is None


def test_a_message_that_also_calls_keeps_its_call() -> None:
    """
    A lost result in a key takes with it only the key, where a call stands beside it.
    """
    left = without_results(entry(assistant("x", call("b"), tool_call_id="a")), [KEYS])
    assert left is not None
    assert "tool_call_id" not in json.loads(left.body)
    assert [mark.id for mark in left.marks] == ["b"]


def test_a_message_that_calls_and_answers_in_its_keys() -> None:
    """
    A message may make a call and answer it, both in its keys, with parts and without.
    """
    both: Message = {"role": "assistant", "tool_calls": [{"id": "a"}], "tool_call_id": "a"}
    assert left_of({**both, "parts": []}, *DEFAULT) is None
    with_tool_part = {**both, "parts": [part("x_tool_use", id="b")]}
    left = left_of(with_tool_part, "reasoning")
    assert left is not None
    assert left["parts"] == with_tool_part["parts"]
