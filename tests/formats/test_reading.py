"""How messages are read, against the table of shapes."""

from __future__ import annotations

from typing import Any

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
    if not (len(parts) == 1 and parts[0].get("text") == " "):  # a lone text is not looked into
        assert read.shapes == table.shapes
