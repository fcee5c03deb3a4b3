"""Answers are read strictly, and alike whether one by one or in a row."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.acceptance.view import Malformed, Segment, ViewReader, parse_view

Message = dict[str, Any]


def message_of(seq: int | None, text: str, **keys: Any) -> Message:
    """A message as it is returned."""
    parts = [{"type": "text", "text": text}]
    return {"seq": seq, "role": "user", "parts": parts, "token_count": 10, "metadata": {}, **keys}


ONE, TWO, THREE = (message_of(seq, "hi") for seq in (1, 2, 3))
ALTERED = message_of(2, "]", metadata={"messages": []})


def body_of(*messages: Message) -> dict[str, Any]:
    """An answer that holds *messages*."""
    return {
        "version": 7,
        "messages": list(messages),
        "used_tokens": 10 * len(messages),
        "needs_compaction": False,
        "segments": [{"type": "live", "from_seq": 1, "to_seq": 7}],
        "token_budget": 100,
        "window_tokens": 30,
        "fit": "whole",
    }


def test_answers_are_read_alike_one_by_one_and_in_a_row() -> None:
    """What is taken over from the answer before is what stands in this one, without loss."""
    reader = ViewReader()
    for messages in ([ONE, TWO], [ONE, TWO, THREE], [ONE, THREE], [ONE, ALTERED], [], [TWO, THREE]):
        body = body_of(*messages)
        for separators in ((",", ":"), (", ", ": ")):
            view = reader.read(json.dumps(body, separators=separators).encode())
            assert view == parse_view(body)
            assert view.messages == tuple(messages)
            assert view.segments == (Segment("live", 1, 7),)


@pytest.mark.parametrize("content", [b"", b"{", b'{"version":1,"messages":[', b"\xff"])
def test_answer_that_is_no_json_is_seen(content: bytes) -> None:
    """Half an answer is no answer."""
    with pytest.raises(Malformed):
        ViewReader().read(content)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("used_tokens", 30.0),
        ("used_tokens", True),
        ("needs_compaction", 1),
        ("version", "7"),
        ("fit", "partly"),
        ("messages", None),
        ("segments", [{"type": "live"}]),
        ("messages", [{"role": "user"}]),
        ("token_budget", None),
    ],
)
def test_malformed_answer_is_seen(field: str, value: Any) -> None:
    """A field of the wrong type is no answer."""
    with pytest.raises(Malformed):
        parse_view({**body_of(ONE), field: value})
