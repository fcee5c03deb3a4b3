"""
What a message says in keys of its own, next to its parts: reasoning, calls, and a whole result.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

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
from fastpaca.shapes import ToolReference


def with_keys(
    at: int,
    message: Mapping[str, Any],
    keys: Mapping[str, Any],
    items: list[Item],
    references: Sequence[ToolReference],
    reasoning_keys: Sequence[str],
) -> list[Item]:
    """Add what stands in the *keys* of a message: reasoning before, calls after its parts."""
    first: list[Item] = []
    for key in reasoning_keys:
        text = keys[key] if isinstance(keys[key], str) else ""
        first.append(ReasoningItem(at=at, key=key, text=text))
    last = [] if _SAID.isdisjoint(keys) else _said_in_keys(at, keys)
    for reference in references:
        if reference.place == shapes.WHOLE_PLACE:
            return [*first, *_whole(at, message, items, reference)]
        if reference.place < shapes.WHOLE_PLACE:
            last.append(_call_in_key(at, keys, reference))
    return [*first, *items, *last]


_SAID: Final = frozenset({"refusal", "audio"})


def _whole(
    at: int, message: Mapping[str, Any], items: Sequence[Item], reference: ToolReference
) -> Iterator[Item]:
    """Read a message that is a result as a whole, after what its parts say of calls."""
    value: list[Part] = []
    for item in items:
        if type(item) in _BOUND:
            yield item
        else:
            value.append(item.part)
    is_error = message.get("is_error") is True or message.get("status") == "error"
    yield ResultItem(
        at=at,
        place=reference.place,
        id=reference.id,
        name=reference.name,
        value=_whole_value(value),
        is_error=is_error,
        is_whole=True,
    )


_BOUND: Final = (ResultItem, CallItem, ApprovalItem)


def _said_in_keys(at: int, keys: Mapping[str, Any]) -> list[Item]:
    """Read what OpenAI Chat says in keys of a reply: that it refuses, and a recording."""
    items: list[Item] = []
    if isinstance(keys.get("refusal"), str):
        items.append(TextItem(at=at, text=keys["refusal"], is_refusal=True))
    audio = keys.get("audio")
    if isinstance(audio, dict):
        said = audio.get("transcript")
        items.append(MediaItem(at=at, kind="audio", text=said if isinstance(said, str) else ""))
    return items


def _whole_value(parts: list[Part]) -> Any:
    if len(parts) == 1 and parts[0]["type"] == "text" and isinstance(parts[0].get("text"), str):
        return parts[0]["text"]
    return parts


def _call_in_key(at: int, keys: Mapping[str, Any], reference: ToolReference) -> CallItem:
    if reference.place == shapes.CALL_KEY_PLACE:
        held = keys[shapes.CALL_KEY]
        given = held.get("arguments")
        return CallItem(at=at, place=reference.place, id="", name=reference.name, arguments=given)
    part = keys[shapes.CALLS_KEY][shapes.CALLS_PLACE - reference.place]
    function, custom = part.get("function"), part.get("custom")
    is_free = isinstance(custom, dict)
    named = custom if is_free else function if isinstance(function, dict) else part
    name = named.get("name")
    return CallItem(
        at=at,
        place=reference.place,
        part=part,
        id=reference.id,
        name=name if isinstance(name, str) else "",
        arguments=next((named[key] for key in _ARGUMENTS if key in named), None),
        is_free=is_free,
    )


_ARGUMENTS: Final = ("arguments", "input", "args")
"""Keys of the arguments of a call, of which the first that is there counts."""
