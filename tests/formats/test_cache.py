"""Marks for Anthropic's prompt cache, and what is stable of a rendering."""

from __future__ import annotations

from typing import Any

import pytest

from fastpaca.formats import render
from fastpaca.formats.cache_marks import LOOK_BACK_BLOCKS, MARK
from tests.formats.samples import VALIDATORS
from tests.kit.messages import assistant, call, result, system, tool, user

Json = dict[str, Any]


def marked(rendering: Any) -> list[int]:
    """Return where the marks stand, in blocks from the beginning of the messages."""
    blocks = [
        block
        for message in rendering.messages
        for block in (
            message["content"] if isinstance(message["content"], list) else [message["content"]]
        )
    ]
    return [at for at, block in enumerate(blocks) if "cache_control" in block]


def test_marks_stand_at_the_end_of_what_is_stable() -> None:
    """
    One mark ends the instructions, one the last stable message, and one is a little before it.
    """
    messages = [system("Be brief.")]
    for number in range(20):
        messages += [user(f"Question {number}"), assistant(f"Answer {number}")]
    messages.append(user("Last"))
    rendering = render(messages, "anthropic", cache=True)
    assert rendering.system[-1].items() >= MARK.items()
    assert rendering.stable_messages == len(rendering.messages) - 1
    assert marked(rendering) == [39 - LOOK_BACK_BLOCKS, 39]
    assert VALIDATORS["anthropic"](rendering.messages) == []


@pytest.mark.parametrize("messages", [[], [user("Hi")], [system("Be brief."), user("Hi")]])
def test_nothing_stable_has_no_mark(messages: list[Json]) -> None:
    """
    A conversation that has hardly begun has no marks in its messages.
    """
    assert marked(render(messages, "anthropic", cache=True)) == []


def test_thinking_takes_no_mark() -> None:
    """
    A mark never stands on thinking, which must not be changed.
    """
    thinking = {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}
    messages = [user("Hi"), assistant(thinking, "So."), user("And?"), assistant("Yes."), user("?")]
    blocks = [
        block
        for message in render(messages, "anthropic", cache=True).messages
        if isinstance(message["content"], list)
        for block in message["content"]
    ]
    assert [block for block in blocks if block["type"] == "thinking"] == [thinking]


def test_mark_changes_nothing_else() -> None:
    """
    Without its marks a rendering is the one that was asked for without any.
    """
    messages = [user("Hi"), assistant("So."), user("And?"), assistant("Yes."), user("?")]
    plain = render(messages, "anthropic").messages
    for before, after in zip(
        plain, render(messages, "anthropic", cache=True).messages, strict=True
    ):
        content = after["content"]
        if isinstance(content, list) and isinstance(before["content"], str):
            (block,) = content
            assert block["text"] == before["content"]
        else:
            assert before == after


CALLS = assistant(call("c1", name="f"), call("c2", name="g"))


@pytest.mark.parametrize(
    ("name", "stable"),
    [("openai-chat", 1), ("openai-responses", 1), ("anthropic", 0), ("ai-sdk", 1)],
)
def test_running_step_is_not_stable(name: str, stable: int) -> None:
    """
    What waits for results may still change, and so may a message that it may be merged with.
    """
    for messages in ([user("Hi"), CALLS], [user("Hi"), CALLS, tool(result("c1"))]):
        assert render(messages, name).stable_messages == stable


def test_closed_call_is_settled_two_turns_later() -> None:
    """
    A call that was closed may get its result in the next turn, and never after that.
    """
    messages = [user("Hi"), CALLS, user("Well?"), assistant("Hm."), user("So?"), assistant("No.")]
    assert render(messages[:4], "openai-chat").stable_messages == 1
    assert render(messages, "openai-chat").stable_messages == 8
