"""
One part, read by its row of the table of shapes.

What binds a call, how its tool is named and which keys hold what it was given stands in the row, so
that a provider that joins the table is read at once. What a result holds is read in the same way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from fastpaca import shapes
from fastpaca.formats import media
from fastpaca.formats.items import (
    ApprovalItem,
    CallItem,
    CompactionItem,
    Item,
    MediaItem,
    OpaqueItem,
    PageOnlyItem,
    Part,
    ReasoningItem,
    ResultItem,
    TextItem,
)
from fastpaca.formats.report import DENIED_TEXT
from fastpaca.shapes import By, Row, Shape, Side, ToolReference

_SERVED_TYPES: Final = ("builtin-tool-", "server_tool_", "mcp_tool_")
"""Beginnings of types of calls that a provider runs itself, and of their results."""


def contents(at: int, value: Any) -> list[Item]:
    """
    Read what a result holds: texts and media, other values as their JSON.
    """
    if isinstance(value, str):
        return [TextItem(at=at, text=value)] if value else []
    if value is None:
        return []
    if isinstance(value, dict):
        value = _unwrapped(value)
        if isinstance(value, str):
            return [TextItem(at=at, text=value)] if value else []
    if isinstance(value, list) and value and all(map(_is_block, value)):
        return [_content(at, block) for block in value]
    if isinstance(value, list) and not value:
        return []
    return [TextItem(at=at, text=_as_json(value))]


def _unwrapped(value: Mapping[str, Any]) -> Any:
    """Take the envelope of a result off: of the AI SDK `{type, value}`, of Gemini `{output}`."""
    if set(value) == {"type", "value"}:
        return value["value"]
    for key in ("output", "result"):
        if set(value) == {key}:
            return value[key]
    return value


def _is_block(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    if isinstance(value.get("type"), str):
        return True
    return len(value) == 1 and next(iter(value)) in _BEDROCK_BLOCKS


_BEDROCK_BLOCKS: Final = frozenset({"text", "json", "image", "document", "video"})
"""Keys of the blocks of a result of Bedrock's, which have no type."""


def _content(at: int, block: Part) -> Item:
    if "type" not in block:
        key = next(iter(block))
        if key == "json":
            return TextItem(at=at, part=block, text=_as_json(block[key]))
        block = {"type": key, **block}
    row = shapes.row_of(block)
    item = item_of(at, 0, block, shapes.shape_of(block, row)) if row is None else None
    if isinstance(item, (TextItem, MediaItem)):
        return item
    return TextItem(at=at, part=block, text=_as_json(block))


def _as_json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def item_of(at: int, place: int, part: Part, shape: Shape) -> Item:
    """Read a part that is neither call nor result."""
    kind = part["type"]
    if shape in (Shape.TEXT, Shape.BLANK):
        key = shapes.TEXT_KEYS[kind]
        if key and isinstance(part.get(key), str):
            return TextItem(
                at=at, place=place, part=part, text=part[key], is_refusal=key == "refusal"
            )
        if not key:
            return TextItem(at=at, place=place, part=part, text=_nested_text(part))
    elif shape in (Shape.REASONING, Shape.REASONING_ITEM):
        return ReasoningItem(at=at, place=place, part=part, text=_thought(part))
    elif shape is Shape.MEDIA:
        item = media.read(at, part)
        if item is not None:
            item.place = place
            return item
    elif shape is Shape.COMPACTION:
        text = part.get("content")
        text = text if isinstance(text, str) else ""
        return CompactionItem(at=at, place=place, part=part, text=text)
    elif shape is Shape.PAGE:
        return PageOnlyItem(at=at, place=place, part=part)
    return OpaqueItem(at=at, place=place, part=part)


def _nested_text(part: Part) -> str:
    content = part.get("content")
    if isinstance(content, str):
        return content
    return "\n\n".join(
        item.text for item in contents(0, content) if isinstance(item, TextItem) and item.text
    )


def _thought(part: Part) -> str:
    """Return what can be read of reasoning."""
    for key in ("text", "thinking"):
        if isinstance(part.get(key), str):
            return str(part[key])
    held = part.get("reasoningContent")
    if isinstance(held, dict) and isinstance(held.get("reasoningText"), dict):
        return str(held["reasoningText"].get("text", ""))
    summary = part.get("summary")
    if isinstance(summary, list):
        texts = [one.get("text", "") for one in summary if isinstance(one, dict)]
        return "\n\n".join(text for text in texts if isinstance(text, str))
    return ""


def tool_items(at: int, part: Part, row: Row, reference: ToolReference) -> list[Item]:
    """Read a part that is a call, a result, both, or about an approval."""
    held: Part = part[row.word] if row.by is By.KEY else part
    if reference.side is Side.REQUEST or reference.side is Side.RESPONSE:
        answers = reference.side is Side.RESPONSE
        return [ApprovalItem(at=at, place=reference.place, part=part, answers=answers)]
    is_served = _is_served(part, row)
    items: list[Item] = []
    if reference.side is not Side.RESULT:
        keys = row.arguments if row.side is Side.BOTH else row.values
        given = _first_of(held, keys)
        items.append(
            CallItem(
                at=at,
                place=reference.place,
                part=part,
                id=reference.id,
                name=reference.name or _tool_of(part["type"]),
                arguments=given,
                is_served=is_served,
                is_free=part["type"] == "custom_tool_call",
            )
        )
    if reference.side is Side.RESULT or (reference.side is Side.BOTH and not reference.is_open):
        result = ResultItem(
            at=at,
            place=reference.place,
            part=part,
            id=reference.id,
            name=reference.name,
            value=_value(held, row),
            is_error=_is_error(part, held),
            is_served=is_served,
        )
        items.append(result)
    return items


def _tool_of(kind: str) -> str:
    """Name the tool of a call that only its type tells, such as `shell_call`."""
    return kind.removesuffix("_call").removesuffix("_tool_use") or "tool"


def _is_served(part: Part, row: Row) -> bool:
    if row.side is Side.BOTH:
        return row.has_state is None or part.get("providerExecuted") is True
    if part.get("providerExecuted") is True or part.get("execution") == "server":
        return True
    kind: str = part["type"]
    if kind.startswith(_SERVED_TYPES):
        return True
    return row.by is By.SUFFIX and row.provider == "Anthropic"


def _value(held: Part, row: Row) -> Any:
    if held.get("state") == "output-denied":
        approval = held.get("approval")
        reason = approval.get("reason") if isinstance(approval, dict) else None
        return reason if isinstance(reason, str) and reason else DENIED_TEXT
    return _first_of(held, row.values)


def _first_of(held: Part, keys: Sequence[str]) -> Any:
    """Return what stands under the first of *keys* that is there."""
    for key in keys:
        if key in held:
            return held[key]
    return None


def _is_error(part: Part, held: Part) -> bool:
    output = part.get("output")
    return (
        part.get("is_error") is True
        or part.get("isError") is True
        or held.get("status") == "error"
        or part.get("state") in ("output-error", "output-denied")
        or part["type"] in ("tool-error", "retry-prompt")
        or (isinstance(output, dict) and str(output.get("type")).startswith("error"))
    )
