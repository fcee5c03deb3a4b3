"""The table of shapes: what each part and key of a message is."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from fastpaca import shapes
from fastpaca.shapes import By, Reading, Shape, Side, ToolReference

SCRIPT = Path(__file__).parents[1] / "scripts" / "shapes.py"


def read(role: str, *parts: dict[str, Any], **keys: Any) -> Reading:
    """Read a message by the table."""
    return shapes.read(role, parts, keys)


def reference(part: dict[str, Any]) -> ToolReference | None:
    """Read the mark of a single part."""
    tool_references = read("assistant", part).tool_references
    return tool_references[0] if tool_references else None


def shape(part: dict[str, Any]) -> Shape:
    """Read what a single part is."""
    return Shape(read("assistant", part).shapes[0])


def test_generated_files_are_the_table() -> None:
    """`tests/wire/shapes.json` and the page of the documentation say what the table says."""
    spec = importlib.util.spec_from_file_location("shapes_script", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    for path, text in script.files().items():
        assert path.read_text() == text, f"run scripts/shapes.py: {path.name} is out of date"


@pytest.mark.parametrize(
    ("part", "side", "id_", "name"),
    [
        ({"type": "tool_call", "tool_call_id": "c", "id": "x"}, "call", "c", ""),
        ({"type": "tool_call", "id": "x", "name": "f"}, "call", "x", "f"),
        ({"type": "tool_result", "call_id": "c"}, "result", "c", ""),
        ({"type": "custom_tool_call", "call_id": "c", "name": "f"}, "call", "c", "f"),
        ({"type": "custom_tool_call_output", "call_id": "c"}, "result", "c", ""),
        ({"type": "function_call", "id": "fc", "call_id": "c"}, "call", "c", ""),
        ({"type": "function_call", "call_id": ""}, "call", "", ""),
        ({"type": "local_shell_call_output", "id": "c"}, "result", "c", "local_shell"),
        ({"type": "tool_search_call", "call_id": None, "id": "i"}, "call", "", "tool_search"),
        ({"type": "tool_search_output", "id": "o"}, "result", "", "tool_search"),
        ({"type": "mcp_approval_request", "id": "a", "name": "f"}, "request", "a", "f"),
        ({"type": "mcp_approval_response", "approval_request_id": "a"}, "response", "a", ""),
        ({"type": "web_search_call", "id": "w"}, "both", "w", ""),
        ({"type": "tool_use", "id": "t", "name": "f"}, "call", "t", "f"),
        ({"type": "server_tool_use", "id": "t"}, "call", "t", ""),
        ({"type": "tool_result", "tool_use_id": "t", "id": "i"}, "result", "t", ""),
        ({"type": "bash_code_execution_tool_result", "tool_use_id": "t"}, "result", "t", ""),
        ({"type": "functionCall", "functionCall": {"name": "f"}}, "call", "", "f"),
        ({"type": "x", "function_response": {"id": "g", "name": "f"}}, "result", "g", "f"),
        ({"type": "toolUse", "toolUse": {"toolUseId": "t", "name": "f"}}, "call", "t", "f"),
        ({"type": "toolResult", "toolResult": {"toolUseId": "t"}}, "result", "t", ""),
        ({"type": "tool-call", "toolCallId": "c", "toolName": "f"}, "call", "c", "f"),
        ({"type": "tool-error", "toolCallId": "c"}, "result", "c", ""),
        (
            {"type": "tool-approval-request", "toolCallId": "c", "approvalId": "a"},
            "request",
            "a",
            "",
        ),
        ({"type": "tool-approval-response", "approvalId": "a"}, "response", "a", ""),
        (
            {"type": "tool-call", "toolCallId": "c", "state": "output-available"},
            "both",
            "c",
            "call",
        ),
        (
            {"type": "dynamic-tool", "toolCallId": "c", "state": "s", "toolName": "f"},
            "both",
            "c",
            "f",
        ),
        ({"type": "tool-my_tool_use", "toolCallId": "c", "state": "s"}, "both", "c", "my_tool_use"),
        ({"type": "tool-call", "tool_call_id": "c", "tool_name": "f"}, "call", "c", "f"),
        ({"type": "tool-return", "tool_call_id": "c", "tool_name": "f"}, "result", "c", "f"),
        ({"type": "retry-prompt", "tool_call_id": "c", "tool_name": "f"}, "result", "c", "f"),
        ({"type": "server_tool_call", "id": "s"}, "call", "s", ""),
        ({"type": "server_tool_result", "tool_call_id": "s"}, "result", "s", ""),
        ({"type": "function_result", "call_id": "c"}, "result", "c", ""),
    ],
)
def test_each_provider_is_read(part: dict[str, Any], side: str, id_: str, name: str) -> None:
    """A call, a result or an approval is known in the form of each provider."""
    found = reference(part)
    assert found is not None
    assert (found.side, found.id, found.name) == (side, id_, name)


@pytest.mark.parametrize(
    "part",
    [
        {"type": "phone_call"},
        {"type": "retry-prompt", "tool_call_id": "c"},
        {"type": "tool-list", "state": "output-available"},
        {"type": "x_tool_use", "toolCallId": "c"},
        {"type": "note", "function_call": "f"},
        {"type": "Tool_Call", "id": "c"},
    ],
)
def test_other_parts_are_the_callers(part: dict[str, Any]) -> None:
    """A part that is in no row has no mark and is opaque."""
    assert reference(part) is None
    assert shape(part) is Shape.OPAQUE


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ({"type": "text", "text": "a"}, Shape.TEXT),
        ({"type": "text", "text": " \n"}, Shape.BLANK),
        ({"type": "output_text", "text": "a"}, Shape.TEXT),
        ({"type": "refusal", "refusal": "no"}, Shape.TEXT),
        ({"type": "message", "content": []}, Shape.TEXT),
        ({"type": "text", "text": "a", "thought": True}, Shape.REASONING),
        ({"type": "redacted_thinking", "data": "x"}, Shape.REASONING),
        ({"type": "x", "reasoningContent": {}}, Shape.REASONING),
        ({"type": "reasoning", "text": "a"}, Shape.REASONING),
        ({"type": "reasoning", "id": "rs"}, Shape.REASONING_ITEM),
        ({"type": "image_url"}, Shape.MEDIA),
        ({"type": "x", "inlineData": {}}, Shape.MEDIA),
        ({"type": "source-url"}, Shape.PAGE),
        ({"type": "step-start"}, Shape.PAGE),
        ({"type": "compaction", "content": "sum"}, Shape.COMPACTION),
        ({"type": "compaction", "content": None}, Shape.OPAQUE),
    ],
)
def test_parts_that_call_nothing(part: dict[str, Any], expected: Shape) -> None:
    """Texts, reasoning, media, page-only parts and compactions are told apart."""
    assert shape(part) is expected


def test_calls_in_keys() -> None:
    """The keys `tool_calls` and `function_call` of a message make calls."""
    listed = [{"id": "a", "function": {"name": "f"}}, {"name": "g", "id": None}]
    assert [
        (m.side, m.id, m.name) for m in read("assistant", tool_calls=listed).tool_references
    ] == [
        (Side.CALL, "a", "f"),
        (Side.CALL, "", "g"),
    ]
    assert read("assistant", function_call={"name": "f"}).tool_references[0].name == "f"


def test_results_as_a_whole() -> None:
    """A message of role `tool` is a result, but for one whose parts are results themselves."""
    (whole,) = read("tool", {"type": "text", "text": "r"}, tool_call_id="a").tool_references
    assert (whole.side, whole.id, whole.place) == (Side.RESULT, "a", shapes.WHOLE_PLACE)
    (named,) = read("function", name="f").tool_references
    assert (named.id, named.name) == ("", "f")
    (inner,) = read("tool", {"type": "tool_result", "tool_use_id": "a"}).tool_references
    assert inner.place == 0
    assert read("user", {"type": "text", "text": "r"}, tool_call_id="a").tool_references == ()


def test_what_is_said_twice_is_said_once() -> None:
    """A call in a part and in a key is one mark with two places, with an id or without."""
    parts = ({"type": "tool_use", "id": "a"}, {"type": "tool-call", "tool_name": "f"})
    calls = [{"id": "a"}, {"function": {"name": "f"}}, {"function": {"name": "f"}}]
    tool_references = shapes.read("assistant", parts, {"tool_calls": calls}).tool_references
    assert [m.places for m in tool_references] == [(0, -16), (1, -17), (-18,)]


@pytest.mark.parametrize(
    ("role", "parts", "opens"),
    [
        ("user", [{"type": "text", "text": ""}], True),
        ("user", [], False),
        ("user", [{"type": "data-x"}], False),
        ("User", [{"type": "text", "text": "a"}], False),
        ("user", [{"type": "tool_result"}, {"type": "text", "text": "a"}], False),
        ("user", [{"type": "mcp_approval_response"}, {"type": "text", "text": "a"}], False),
        ("user", [{"type": "tool-x", "toolCallId": "c", "state": "s"}], True),
    ],
)
def test_who_opens_a_turn(role: str, parts: list[dict[str, Any]], opens: bool) -> None:
    """A user message opens a turn if a model sees a part of it and it answers nothing."""
    assert read(role, *parts).opens_turn is opens


def test_rows_stand_in_the_order_they_are_tried() -> None:
    """Rows of one kind stand together, and the kinds in the order in which they are tried."""
    order = list(By)
    tried = [order.index(row.by) for row in shapes.ROWS]
    assert tried == sorted(tried)
