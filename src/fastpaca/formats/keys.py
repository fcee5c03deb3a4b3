"""
What a message says in keys of its own, next to its parts: reasoning, calls, and a whole result.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastpaca import shapes
from fastpaca.formats.items import (
    ApprovalItem,
    CallItem,
    Item,
    MediaItem,
    Part,
    ReasoningItem,
    ResultItem,
    TextItem,
)
from fastpaca.shapes import Reading, ToolReference


def with_keys(
    at: int,
    message: Mapping[str, Any],
    keys: Mapping[str, Any],
    items: list[Item],
    reading: Reading,
) -> list[Item]:
    """Add what stands in the *keys* of a message: reasoning before, calls after its parts."""
    first: list[Item] = [
        ReasoningItem(at=at, key=key, text=keys[key] if isinstance(keys[key], str) else "")
        for key in reading.reasoning_keys
    ]
    last = _said_in_keys(at, keys)
    for reference in reading.tool_references:
        if reference.place == shapes.WHOLE_PLACE:
            own = [item for item in items if isinstance(item, (ResultItem, CallItem, ApprovalItem))]
            rest = [item.part for item in items if item not in own]
            value = _whole_value(rest)
            result = ResultItem(
                at=at, place=reference.place, name=reference.name, value=value, is_whole=True
            )
            result.is_error = message.get("is_error") is True or message.get("status") == "error"
            return [*first, *own, result]
        if reference.place < shapes.WHOLE_PLACE:
            last.append(_call_in_key(at, keys, reference))
    return [*first, *items, *last]


def _said_in_keys(at: int, keys: Mapping[str, Any]) -> list[Item]:
    """Read what OpenAI Chat says in keys of a reply: that it refuses, and a recording."""
    items: list[Item] = []
    if isinstance(keys.get("refusal"), str):
        items.append(TextItem(at=at, text=keys["refusal"], is_refusal=True))
    audio = keys.get("audio")
    if isinstance(audio, dict) and isinstance(audio.get("transcript"), str):
        items.append(MediaItem(at=at, kind="audio", text=audio["transcript"]))
    return items


def _whole_value(parts: Sequence[Part]) -> Any:
    if len(parts) == 1 and parts[0]["type"] == "text" and isinstance(parts[0].get("text"), str):
        return parts[0]["text"]
    return list(parts)


def _call_in_key(at: int, keys: Mapping[str, Any], reference: ToolReference) -> CallItem:
    if reference.place == shapes.CALL_KEY_PLACE:
        held = keys[shapes.CALL_KEY]
        given = held.get("arguments")
        return CallItem(at=at, place=reference.place, id="", name=reference.name, arguments=given)
    part = keys[shapes.CALLS_KEY][shapes.CALLS_PLACE - reference.place]
    function, custom = part.get("function"), part.get("custom")
    is_free = isinstance(custom, dict)
    named = custom if is_free else function if isinstance(function, dict) else part
    given = next((named[key] for key in ("arguments", "input", "args") if key in named), None)
    name = named.get("name")
    return CallItem(
        at=at,
        place=reference.place,
        part=part,
        id=reference.id,
        name=name if isinstance(name, str) else "",
        arguments=given,
        is_free=is_free,
    )
