"""How messages are read, against the table of shapes."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from fastpaca import shapes
from fastpaca.formats import reading

TEXT = {"type": "text", "text": "Hm."}
CALL = {"type": "tool_use", "id": "t1", "name": "look_up", "input": {}}
RESULT = {"type": "tool_result", "tool_use_id": "t1", "content": "found"}


@pytest.mark.parametrize("role", ["user", "assistant", "system", "tool"])
@pytest.mark.parametrize(
    "parts",
    [
        [TEXT],
        [{**TEXT, "text": " "}],
        [CALL],
        [RESULT],
        [TEXT, CALL, {**CALL, "id": "t2"}],
        [RESULT, TEXT],
        [{**CALL, "id": ""}],
        [{**CALL, "name": 5}],
        [{**RESULT, "tool_use_id": None}],
        [{**RESULT, "is_error": True}],
    ],
)
def test_common_parts_are_read_as_the_table_says(role: str, parts: list[dict[str, Any]]) -> None:
    """
    The commonest parts are read without the table, and in no other way than it says.
    """
    read = reading.read(0, {"role": role, "parts": parts}).reading
    table = shapes.read(role, parts, {})
    assert read.tool_references == table.tool_references
    assert read.opens_turn == table.opens_turn
    assert read.shapes == table.shapes


CHAT_CALL = {"id": "t1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
ASKS = {"role": "assistant", "parts": []}
ANSWERS = {"role": "tool", "parts": [TEXT], "tool_call_id": "t1"}


@pytest.mark.parametrize(
    "message",
    [
        {**ASKS, "tool_calls": [CHAT_CALL, {**CHAT_CALL, "id": "t2"}]},
        {**ASKS, "parts": [TEXT, TEXT], "tool_calls": [CHAT_CALL]},
        {**ASKS, "parts": [CALL], "tool_calls": [{**CHAT_CALL}]},
        {**ASKS, "tool_calls": [{**CHAT_CALL, "id": ""}]},
        {**ASKS, "tool_calls": [{**CHAT_CALL, "index": 0}]},
        {**ASKS, "tool_calls": [{**CHAT_CALL, "function": {"name": "f", "arguments": {}}}]},
        {**ASKS, "tool_calls": [{**CHAT_CALL, "function": {"name": "f"}}]},
        {**ASKS, "tool_calls": []},
        {**ASKS, "role": "user", "tool_calls": [CHAT_CALL]},
        {**ASKS, "role": "tool", "tool_calls": [CHAT_CALL]},
        ANSWERS,
        {**ANSWERS, "parts": [TEXT, TEXT]},
        {**ANSWERS, "parts": []},
        {**ANSWERS, "parts": [RESULT]},
        {**ANSWERS, "tool_call_id": ""},
        {**ANSWERS, "role": "user"},
        {"role": "tool", "parts": [TEXT]},
        {"role": "tool", "parts": [RESULT]},
    ],
)
def test_common_keys_are_read_as_the_table_says(message: dict[str, Any]) -> None:
    """
    The commonest keys are read without the table, and in no other way than next to a rarer key.
    """
    read = reading.read(0, message)
    by_table = reading.read(0, {**message, "created": 1})
    assert by_table.has_keys
    assert [as_told(item) for item in read.items] == [as_told(item) for item in by_table.items]
    assert read.is_itemised == by_table.is_itemised
    assert read.reading.tool_references == by_table.reading.tool_references
    assert read.reading.holds_summary == by_table.reading.holds_summary


def as_told(item: Any) -> dict[str, Any]:
    """Return what *item* says, without how it came to be read."""
    return {"is": type(item)} | msgspec.structs.asdict(item) | {"plain_in": ""}
