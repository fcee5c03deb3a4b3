"""
Thinking is sent back only after the beginning that it was made after.

The provider here binds each block of thinking to all that stood before it, as the newest models of
Anthropic do: its signature is a hash of that. Every later list is judged by these hashes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from hashlib import blake2b
from random import Random
from typing import Any

import pytest

from tests.formats.samples import Appended, Json
from tests.providers import anthropic

THINK = "think"
"""Stands for a block of thinking, which is signed once its beginning is known."""

GO_ON: Json = {"type": "text", "text": "So it is."}


def use(call_id: str) -> Json:
    """Return a call."""
    return {"type": "tool_use", "id": call_id, "name": "f", "input": {}}


def search(call_id: str) -> Json:
    """Return a call that the provider runs itself."""
    return {"type": "server_tool_use", "id": call_id, "name": "web_search", "input": {}}


def found(call_id: str) -> Json:
    """Return what such a call came to."""
    return {"type": "web_search_tool_result", "tool_use_id": call_id, "content": []}


def told(call_id: str) -> Json:
    """Return the result of a call."""
    return {"type": "tool_result", "tool_use_id": call_id, "content": "12 km"}


class Conversation:
    """
    A conversation with a provider that signs thinking.

    Attributes:
        listed: What was appended.
    """

    def __init__(self) -> None:
        self.listed: list[Json] = []

    def say(self, *blocks: Json) -> None:
        """The user says something, or a tool is done."""
        self.listed.append({"role": "user", "content": list(blocks)})

    def ask(self, text: str = "How far?") -> None:
        """The user says a text."""
        self.say({"type": "text", "text": text})

    def view(self) -> Sequence[Json]:
        """Return what the provider is sent."""
        return Appended(self.listed, "anthropic").rendered("anthropic").messages

    def answer(self, *blocks: Json | str) -> None:
        """The provider answers the view of now."""
        beginning = _flat(self.view())
        made: list[Json] = []
        for block in blocks:
            one = block if isinstance(block, dict) else _thinking(beginning)
            made.append(one)
            beginning.append(("assistant", one))
        self.listed.append({"role": "assistant", "content": made})

    def thinking(self) -> list[bool]:
        """Return for each block of thinking in the view whether its beginning is the right one."""
        flat = _flat(self.view())
        return [
            block == _thinking(flat[:at])
            for at, (_, block) in enumerate(flat)
            if block["type"] == "thinking"
        ]


def _flat(messages: Sequence[Json]) -> list[tuple[str, Json]]:
    """Return who says which block: that neighbours of one role are one message says nothing."""
    return [
        (message["role"], block)
        for message in messages
        for block in (
            [{"type": "text", "text": message["content"]}]
            if isinstance(message["content"], str)
            else message["content"]
        )
    ]


def _thinking(beginning: Sequence[tuple[str, Json]]) -> Json:
    text = json.dumps(beginning, sort_keys=True)
    signature = blake2b(text.encode(), digest_size=8).hexdigest()
    return {"type": "thinking", "thinking": "Hm.", "signature": signature}


def test_a_reply_to_a_reply_was_made_after_a_message_that_is_not_there_any_more() -> None:
    """
    The agent was started again after its last reply, and the list got a message of the user.
    """
    talk = Conversation()
    talk.ask()
    talk.answer(THINK, GO_ON)
    talk.answer(THINK, use("c1"))
    talk.say(told("c1"))
    talk.answer(THINK, GO_ON)
    talk.ask()
    assert talk.thinking() == [True, True]


def test_a_late_result_changes_what_later_replies_followed() -> None:
    """
    They were made when the call was closed. Replies after the result are not concerned.
    """
    talk = Conversation()
    talk.ask()
    talk.answer(THINK, use("c1"))
    talk.ask("Never mind.")
    talk.answer(THINK, GO_ON)
    assert talk.thinking() == [True, True]
    talk.say(told("c1"))
    assert talk.thinking() == [True]
    talk.ask()
    talk.answer(THINK, GO_ON)
    assert talk.thinking() == [True, True]


def test_thinking_that_led_to_nothing_stood_before_nothing() -> None:
    """
    A reply that ended while the model thought was not in the next list.
    """
    talk = Conversation()
    talk.ask()
    talk.answer(THINK)
    talk.answer(THINK, GO_ON)
    talk.ask()
    assert talk.thinking() == [True]


def test_a_first_reply_was_made_after_a_message_that_was_added() -> None:
    """
    Nobody has said anything, so the list got a message of the user.
    """
    talk = Conversation()
    talk.ask(" ")
    talk.answer(THINK, GO_ON)
    talk.ask()
    assert talk.thinking() == []


def test_a_reply_that_has_paused_goes_on_with_its_thinking() -> None:
    """
    The provider got the first half as it was, and nothing after it.
    """
    talk = Conversation()
    talk.ask()
    talk.answer(THINK, search("s1"))
    talk.answer(found("s1"), THINK, use("c1"))
    talk.say(told("c1"))
    talk.answer(THINK, GO_ON)
    talk.ask()
    assert talk.thinking() == [True, True, True]


def test_thinking_of_other_sources_stays_with_its_reply() -> None:
    """
    One reply may be several messages of a log that came as parts.
    """
    signed = {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}
    parts: list[list[Json]] = [[signed], [{"type": "text", "text": "I see."}], [signed], [use("c")]]
    listed: list[Json] = [{"role": "user", "parts": [{"type": "text", "text": "How far?"}]}]
    listed += [{"role": "assistant", "parts": one} for one in parts]
    messages = Appended(listed, None).rendered("anthropic").messages
    assert [block for _, block in _flat(messages)].count(signed) == 2


def test_bedrock_binds_thinking_as_anthropic_does() -> None:
    """
    The same models stand behind it.
    """
    signed = {"reasoningContent": {"reasoningText": {"text": "Hm.", "signature": "c2ln"}}}
    said = {"role": "assistant", "content": [signed, {"text": "I see."}]}
    asked = {"role": "user", "content": [{"text": "How far?"}]}
    rendering = Appended([asked, said, said, asked], "bedrock").rendered("bedrock")
    assert str(rendering.messages).count("c2ln") == 1
    assert ("dropped_thinking", 3) in [(one.code, one.seq) for one in rendering.repairs]


@pytest.fixture
def sim_runs() -> int:
    """How many conversations there are when nothing else is asked for."""
    return 80


@pytest.mark.timeout(0)
def test_whatever_is_interrupted_no_thinking_is_torn(sim_seeds: range) -> None:
    """
    Users who say nothing or too much, agents that die anywhere, results that come late or never.
    """
    kept = 0
    for seed in sim_seeds:
        talk = Conversation()
        for _ in _story(Random(seed), talk):
            thinking = talk.thinking()
            assert all(thinking), (seed, talk.listed)
            kept += len(thinking)
    assert kept > 10 * len(sim_seeds)


def _story(rng: Random, talk: Conversation) -> Any:
    """Let a conversation happen; yield after each message."""
    waiting: list[str] = []
    for step in range(12):
        draw = rng.random()
        has_paused = bool(talk.listed) and talk.listed[-1]["content"][-1:] == [search(f"s{step}")]
        if not has_paused and (draw < 0.45 or not talk.listed):
            talk.ask(rng.choice(("How far?", "And back?", " ")))
            yield
        elif not has_paused and draw < 0.6 and waiting:
            talk.say(told(waiting.pop(rng.randrange(len(waiting)))))
            yield
        refused = {violation.rule for violation in anthropic.violations(talk.view())}
        if refused - ({"ends-with-assistant"} if has_paused else set()):
            continue  # a call runs, so nobody asks the model
        calls = [f"c{step}.{number}" for number in range(rng.choice((0, 0, 1, 1, 2)))]
        blocks: list[Json | str] = [found(f"s{step}")] if has_paused else []
        blocks += [THINK] * (rng.random() < 0.7) + [GO_ON] * (rng.random() < 0.6)
        blocks += [THINK] * (rng.random() < 0.3) + [use(call) for call in calls]
        if not calls and rng.random() < 0.2:
            blocks.append(search(f"s{step + 1}"))
        elif rng.random() < 0.1:
            blocks = blocks[: rng.randint(0, len(blocks))]
        talk.answer(*blocks)
        yield
        made = [call for call in calls if use(call) in blocks]
        if made and rng.random() < 0.7:
            done = made[: rng.randint(1, len(made))]
            talk.say(*map(told, done))
            made = made[len(done) :]
            yield
        waiting += made
