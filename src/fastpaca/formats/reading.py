"""
One reading of a message, by the table of shapes: what it says, in the words of `items.py`.

Most messages are nothing but texts, or calls and results in one of two forms, so these are told
first, and read as their rows say without asking the table. For all others the table is asked, part
by part and key by key.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from fastpaca import shapes
from fastpaca.formats.items import CallItem, Item, Part, ResultItem, TextItem
from fastpaca.formats.keys import with_keys
from fastpaca.formats.parts import item_of, tool_items
from fastpaca.shapes import Reading, Shape, Side, ToolReference

USER, ASSISTANT, SYSTEM = "user", "assistant", "system"

OPENAI_CHAT, ANTHROPIC = "openai-chat", "anthropic"
"""The formats that need not be named when a message is appended."""

STEP_START: Final = "step-start"

_SIDES: Final = (
    dict.fromkeys(shapes.ASSISTANT_ROLES, ASSISTANT)
    | dict.fromkeys(shapes.INSTRUCTION_ROLES, SYSTEM)
    | dict.fromkeys(shapes.USER_ROLES, USER)
)

_PLAIN_KEYS: Final = shapes.STRUCTURAL_KEYS | {"id"}
"""Keys of a message that say nothing."""

_KEYS_OF_CALLS: Final = _PLAIN_KEYS | {shapes.CALLS_KEY}
_KEYS_OF_RESULT: Final = _PLAIN_KEYS | {shapes.RESULT_ID_KEY}

_PLAIN: Final = {
    USER: Reading(bytes([Shape.TEXT]), opens_turn=True),
    ASSISTANT: Reading(bytes([Shape.TEXT])),
    SYSTEM: Reading(bytes([Shape.TEXT])),
}
"""What the table says of one plain text, as far as calls and turns go."""


class Said(msgspec.Struct, eq=False, gc=False):
    """
    What a message says.

    Attributes:
        at: Its index in the list.
        seq: The seq of its first row; None of a summary.
        side: `user`, `assistant` or `system`; any other speaker is on the user's side.
        message: The message itself.
        parts: Its parts.
        items: What it says, in order.
        form: How its content came: `string`, `list`, `null`; empty if it came as parts, or had
            none.
        format: The format that it was appended in; empty if none was named.
        is_plain: Whether it is one plain text, and none of its own keys says anything.
        is_itemised: Whether its items are bound and arranged one by one: it has calls, results or
            approvals, or reasoning in a key.
        has_keys: Whether it has keys of its own, those aside that only say its calls or its result.
        by_table: What the table says of it, if it had to be asked.
    """

    at: int
    seq: int | None
    side: str
    message: Mapping[str, Any]
    parts: Sequence[Part]
    items: Sequence[Item]
    form: str = ""
    format: str = ""
    is_plain: bool = False
    is_itemised: bool = False
    has_keys: bool = False
    by_table: Reading | None = None

    @property
    def reading(self) -> Reading:
        """What the table says of it, as far as calls and turns go."""
        if self.by_table is not None:
            return self.by_table
        if self.is_plain:
            return _PLAIN[self.side]
        return shapes.read(self.message["role"], self.parts, keys_of(self.message))

    def speaks(self, dialect: str) -> bool:
        """Whether the message was appended as one of the format *dialect*."""
        if self.format:
            return self.format == dialect
        return self.form != "" and dialect in (OPENAI_CHAT, ANTHROPIC)


def read(at: int, message: Mapping[str, Any], origin: str = "") -> Said:
    """
    Read a message of a view.

    Args:
        at: Its index in the view.
        message: The message, decoded. One without a `seq` is taken for the message of the log at
            its place.
        origin: How it came: what `incoming.read` has returned with it.
    """
    role, parts = message["role"], message["parts"]
    seq = message["seq"] if "seq" in message else at + 1
    seq = message.get("revises", seq)  # what is made of it stays the same over its revisions
    side = _SIDES.get(role)
    format_ = form = ""
    if origin:
        format_, _, form = origin.rpartition("/")
    has_keys = not _PLAIN_KEYS.issuperset(message)
    if has_keys:
        items: list[Item] = []
        if format_ not in ("", OPENAI_CHAT) or not _read_common_keys(at, message, items):
            return _read_by_table(at, seq, message, form, format_)
        side = side or USER
        return Said(at, seq, side, message, parts, items, form, format_, is_itemised=True)
    if len(parts) == 1 and side is not None:  # as most have
        part = parts[0]
        if part["type"] == "text" and len(part) == 2 and isinstance(text := part.get("text"), str):
            is_plain = text != "" and not text.isspace()
            said = (TextItem(at=at, part=part, text=text, is_plain=is_plain),)
            return Said(at, seq, side, message, parts, said, form, format_, is_plain)
        item = _common_item(at, 0, part)
        if item is None:
            return _read_by_table(at, seq, message, form, format_)
        return Said(at, seq, side, message, parts, (item,), form, format_, is_itemised=True)
    items = []
    is_itemised = False
    for place, part in enumerate(parts):
        item = _common_item(at, place, part)
        if item is None:
            return _read_by_table(at, seq, message, form, format_)
        items.append(item)
        is_itemised = is_itemised or type(item) is not TextItem
    if side is None:
        if not any(type(item) is ResultItem for item in items):  # it may be a result as a whole
            return _read_by_table(at, seq, message, form, format_)
        side = USER
    return Said(at, seq, side, message, parts, items, form, format_, is_itemised=is_itemised)


def _common_item(at: int, place: int, part: Part) -> Item | None:
    """
    Read a text, a call or a result with nothing but what it needs, as the row of such a part says.

    Most parts are like that. None for all others: the table is asked.
    """
    kind = part["type"]
    if kind == "text":
        if len(part) == 2 and isinstance(text := part.get("text"), str):
            is_plain = text != "" and not text.isspace()
            return TextItem(at=at, place=place, part=part, text=text, is_plain=is_plain)
    elif kind == "tool_use":
        call_id, name = part.get("id"), part.get("name")
        is_named = isinstance(call_id, str) and call_id and isinstance(name, str) and name
        if is_named and len(part) == 4 and "input" in part:
            return CallItem(
                at=at,
                place=place,
                part=part,
                id=part["id"],
                name=part["name"],
                arguments=part["input"],
                plain_in=ANTHROPIC,
            )
    elif kind == "tool_result" and len(part) == 3 and "content" in part:
        call_id, value = part.get("tool_use_id"), part["content"]
        if call_id and isinstance(call_id, str):
            return ResultItem(
                at=at, place=place, part=part, id=call_id, value=value, plain_in=ANTHROPIC
            )
    return None


def _read_common(item: Item, references: list[ToolReference]) -> Shape:
    """Return what the part of a common *item* is, and add what it does to calls."""
    if type(item) is CallItem:
        references.append(ToolReference(item.place, Side.CALL, item.id, item.name))
        return Shape.CALL
    if type(item) is ResultItem:
        references.append(ToolReference(item.place, Side.RESULT, item.id))
        return Shape.RESULT
    return Shape.TEXT if type(item) is TextItem and item.is_plain else Shape.BLANK


def _has_text(part: Part, key: str) -> bool:
    """Return whether there is a string under *key* that is not empty."""
    value = part.get(key)
    return isinstance(value, str) and value != ""


def _read_by_table(
    at: int, seq: int | None, message: Mapping[str, Any], form: str, format_: str
) -> Said:
    role, parts = message["role"], message["parts"]
    items: list[Item] = []
    in_parts: list[ToolReference] = []
    read_shapes = bytearray()
    for place, part in enumerate(parts):
        common = _common_item(at, place, part)
        if common is not None:
            items.append(common)
            read_shapes.append(_read_common(common, in_parts))
            continue
        row = shapes.row_of(part)
        shape = shapes.shape_of(part, row)
        read_shapes.append(shape)
        if row is None:
            items.append(item_of(at, place, part, shape))
        else:
            reference = shapes.tool_reference_of(place, part, row)
            in_parts.append(reference)
            items += tool_items(at, part, row, reference)
    has_keys = not _PLAIN_KEYS.issuperset(message)
    keys = keys_of(message) if has_keys else {}
    references = shapes.tool_references_of(role, in_parts, keys)
    reasoning_keys = shapes.reasoning_keys_of(keys)
    if keys or len(references) > len(in_parts):
        items = with_keys(at, message, keys, items, references, reasoning_keys)
    return Said(
        at,
        seq,
        _SIDES.get(role, USER),
        message,
        parts,
        items,
        form,
        format_,
        is_itemised=bool(references or reasoning_keys),
        has_keys=has_keys,
        by_table=_reading(role, bytes(read_shapes), references),
    )


def _read_common_keys(at: int, message: Mapping[str, Any], items: list[Item]) -> bool:
    """
    Read a message of texts with the commonest keys into *items*, as the table says: with calls of
    OpenAI Chat that hold only what they need, or with the id of the call whose result it is.

    Return false for all others: then *items* may hold anything, and the table is asked.
    """
    parts = message["parts"]
    for place, part in enumerate(parts):
        item = _common_item(at, place, part)
        if type(item) is not TextItem:
            return False
        items.append(item)
    if message["role"] == "tool":
        call_id = message.get(shapes.RESULT_ID_KEY)
        if not (isinstance(call_id, str) and call_id and _KEYS_OF_RESULT.issuperset(message)):
            return False
        value = parts[0]["text"] if len(parts) == 1 else parts
        place = shapes.WHOLE_PLACE
        items[:] = [ResultItem(at=at, place=place, id=call_id, value=value, is_whole=True)]
        return True
    calls = message.get(shapes.CALLS_KEY)
    if not (calls and isinstance(calls, list) and _KEYS_OF_CALLS.issuperset(message)):
        return False
    for index, call in enumerate(calls):
        if not (isinstance(call, dict) and len(call) == 3 and call.get("type") == "function"):
            return False
        function = call.get("function")
        if not (isinstance(function, dict) and len(function) == 2 and _has_text(call, "id")):
            return False
        if not (_has_text(function, "name") and isinstance(function.get("arguments"), str)):
            return False
        items.append(
            CallItem(
                at=at,
                place=shapes.CALLS_PLACE - index,
                part=call,
                id=call["id"],
                name=function["name"],
                arguments=function["arguments"],
                plain_in=OPENAI_CHAT,
            )
        )
    return True


def keys_of(message: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys of a message with a value that may say anything."""
    return {key: message[key] for key in message.keys() - _PLAIN_KEYS if message[key]}


def _reading(role: str, read_shapes: bytes, references: Sequence[ToolReference]) -> Reading:
    opens_turn = shapes.opens_turn(role, read_shapes, references)
    return Reading(read_shapes, tuple(references), opens_turn)
