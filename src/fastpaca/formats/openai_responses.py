"""
OpenAI's Responses: a list of items, of which messages are one kind.

A call and its output are items that name the same `call_id`. Reasoning is an item that must stand
before what it led to. An item that was made with reasoning may only keep its id next to it, so the
items of a reply of which a part is gone are sent without ids. Ids of calls have at most 64
characters.

Sources: https://developers.openai.com/api/docs/guides/conversation-state and
https://developers.openai.com/api/docs/guides/reasoning.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from fastpaca import shapes
from fastpaca.context import jsontext
from fastpaca.formats import incoming, media
from fastpaca.formats.arrangement import Arrangement, Turn
from fastpaca.formats.incoming import Incoming, Rules
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
from fastpaca.formats.openai_items import CONTENT, ITEMS
from fastpaca.formats.reading import ASSISTANT, SYSTEM, USER, Said
from fastpaca.formats.report import (
    ADDED_LAST,
    DROPPED_BLANK,
    DROPPED_ITEM_IDS,
    DROPPED_THINKING,
    ERROR_FLAG,
    LAST_TEXT,
)
from fastpaca.formats.writing import BlockWriter, Ids, Json, WrittenList, is_said, restored

NAME: Final = "openai-responses"

MESSAGE: Final = "message"
ITEM_FORM: Final = "item"
TYPED: Final = "typed-"
"""Begins the form of a message that came with its type."""

_TOOL_ENDINGS: Final = ("_call", "_call_output", "tool_search_output")

_FORMS: Final = ("null", "string", "list")
"""Forms of messages that may hold nothing."""

_FREE_OUTPUTS: Final = {
    "function_call": "function_call_output",
    "custom_tool_call": "custom_tool_call_output",
}
"""Calls whose output may be any text."""

MESSAGE_KEYS: Final = frozenset({"phase", "status"})

RULES: Final = Rules(
    name=NAME, roles=("user", "assistant", "system", "developer"), blocks=CONTENT | ITEMS
)
"""What comes in."""


def read(text: bytes, field: str) -> Incoming:
    """
    Read an item: a message, or what is one part of a message of its own.

    Raises:
        InvalidRequest: It is none.
    """
    members = jsontext.members(text, ("type", "role", "content"), field)
    if members.get("type", b'"message"') == b'"message"':
        message = incoming.read_message(text, RULES, field)
        if "type" not in members:
            return message
        form = message.origin.rpartition("/")[2]
        return Incoming(jsontext.without(message.text, ("type",)), f"{NAME}/{TYPED}{form}")
    kind = jsontext.string(members["type"], f"{field}.type")
    incoming.check_block(members, kind, RULES, field)
    if "role" in members:
        role = jsontext.string(members["role"], f"{field}.role")
    else:
        row = shapes.row_of({"type": kind, **_strings(members)})
        role = "tool" if row is not None and row.side in _ANSWERS else ASSISTANT
    # These are of the message, and no item of the provider has them.
    own = {key: value for key, value in members.items() if key in ("token_count", "metadata")}
    item = jsontext.without(text, tuple(own)) if own else text
    return Incoming(
        jsontext.joined({"role": b'"%b"' % role.encode(), "parts": b"[" + item + b"]", **own}),
        f"{NAME}/{ITEM_FORM}",
    )


_ANSWERS: Final = (shapes.Side.RESULT, shapes.Side.RESPONSE)


def _strings(members: jsontext.Members) -> dict[str, str]:
    return {
        key: jsontext.string(value, key)
        for key, value in members.items()
        if value[:1] == b'"' and key in shapes.PART_KEYS and key != "type"
    }


def write(writer: BlockWriter, arrangement: Arrangement, system: Sequence[Said]) -> WrittenList:
    """Write the items of a request."""
    assert not system  # instructions stand in the list
    return _Responses(writer).write(arrangement)


class _Responses:
    def __init__(self, writer: BlockWriter) -> None:
        self._writer = writer
        self._report = writer.report
        self._ids = Ids(writer, r".{1,64}")
        self._items: list[Json] = []
        self._blocks: list[Json] = []
        self._keeps_ids = True
        self._requests: list[ApprovalItem] = []

    def write(self, arrangement: Arrangement) -> WrittenList:
        stable = -1
        for index, turn in enumerate(arrangement.turns):
            if index == arrangement.settled:
                stable = len(self._items)
            if self._is_plain(turn):
                self._write_plain(turn)
            else:
                self._write_turn(turn)
        stable = len(self._items) if stable < 0 else stable
        if self._report.seqs and all(
            item.get("role") in shapes.INSTRUCTION_ROLES for item in self._items
        ):
            self._items.append({"type": MESSAGE, "role": USER, "content": LAST_TEXT})
            self._report.repair(ADDED_LAST)
        return WrittenList(self._items, stable)

    def _is_plain(self, turn: Turn) -> bool:
        """Return whether a turn is messages of other forms that are one plain text each."""
        for item in turn.items:
            said = self._writer.said[item.at]
            if not said.is_plain or said.format == NAME:
                return False
        return True

    def _write_plain(self, turn: Turn) -> None:
        for item in turn.items:
            said = self._writer.said[item.at]
            content: Any = item.part["text"]
            if said.form == "list" and said.side is not ASSISTANT:
                content = [{"type": "input_text", "text": content}]
            role = said.message["role"]
            role = role if role in RULES.roles else said.side
            self._items.append({"type": MESSAGE, "role": role, "content": content})

    def _write_turn(self, turn: Turn) -> None:
        side = USER if turn.side not in (ASSISTANT, SYSTEM) else turn.side
        previous, start = -1, len(self._items)
        has_reasoning = False
        self._keeps_ids = True
        if side is ASSISTANT:
            self._ids.begin_turn()
        for item in turn.items:
            if item.at != previous:
                self._flush(previous, side)
                self._keeps_ids = self._goes_on(item, is_first=previous < 0)
                previous = item.at
            if type(item) is ReasoningItem:
                self._keeps_ids = has_reasoning = True
            if type(item) is TextItem and item.part.get("type") == MESSAGE:
                self._flush(previous, side)
                self._items.append(self._without_id(item, {**item.part}))
            elif type(item) is TextItem or type(item) is MediaItem:
                block = self._block(side, item)
                if block is not None:
                    self._blocks.append(block)
                    if side is ASSISTANT and self._writer.said[item.at].format != NAME:
                        self._flush(previous, side)
            elif self._is_unknown_block(item):
                self._blocks.append(item.part)
            else:
                self._flush(previous, side)
                self._write_item(item)
        self._flush(previous, side)
        if has_reasoning and side is ASSISTANT:
            self._drop_reasoning(start, turn)

    def _is_unknown_block(self, item: Item) -> bool:
        """Return whether *item* stood in a message of this format, and is no item of its own."""
        said = self._writer.said[item.at]
        is_own = said.format == NAME and said.form != ITEM_FORM
        return is_own and isinstance(item, (OpaqueItem, PageOnlyItem))

    def _drop_reasoning(self, start: int, turn: Turn) -> None:
        """Drop reasoning, from the item at *start* on, after which comes no reply."""
        leads_on = False
        for place in range(len(self._items) - 1, start - 1, -1):
            item = self._items[place]
            if item.get("type") != "reasoning":
                leads_on = _is_reply(item)
            elif not leads_on:
                del self._items[place]
                self._report.repair_once(DROPPED_THINKING, turn.items[-1].at)

    def _goes_on(self, item: Item, *, is_first: bool) -> bool:
        """Return whether all items of its reply stand before *item*, as far as seqs tell."""
        said = self._writer.said
        before = said[item.at - 1].seq if item.at else 0
        seq = said[item.at].seq
        has_gap = seq is None or before is None or seq != before + 1
        return not has_gap and (is_first or self._keeps_ids)

    def _without_id(self, item: Item, written: Json) -> Json:
        if not self._keeps_ids and "id" in written:
            self._report.repair_once(DROPPED_ITEM_IDS, item.at)
            del written["id"]
        return written

    def _flush(self, at: int, side: str) -> None:
        """Write the message at index *at*, of which all blocks are there."""
        blocks, self._blocks = self._blocks, []
        if at < 0:
            return
        said = self._writer.said[at]
        if not blocks and (said.parts or said.form not in _FORMS or said.format != NAME):
            return
        role = said.message["role"] if said.message["role"] in RULES.roles else side
        written: Json = {}
        is_own = said.format == NAME
        if not is_own or said.form.startswith(TYPED):
            written["type"] = MESSAGE
        written["role"] = role
        written["content"] = _content(said, blocks, is_own=is_own)
        if is_own:
            keys = self._writer.keys_of(said, MESSAGE_KEYS)
            keys.pop("content", None)
            if "id" in said.message:
                keys["id"] = said.message["id"]
            written |= keys
            self._without_id_of(at, written)
        elif said.message.get("phase"):
            written["phase"] = said.message["phase"]
        self._items.append(written)

    def _without_id_of(self, at: int, written: Json) -> None:
        if not self._keeps_ids and "id" in written and written["role"] == ASSISTANT:
            self._report.repair_once(DROPPED_ITEM_IDS, at)
            del written["id"]

    def _block(self, side: str, item: TextItem | MediaItem) -> Json | None:
        part = item.part
        if type(item) is TextItem and item.is_plain:
            return {"type": "input_text", "text": item.text}
        if part and self._writer.owns(item):
            is_output = part["type"] in ("output_text", "refusal")
            is_own = self._writer.said[item.at].format == NAME
            if is_own or (not is_output and side is not ASSISTANT):
                return part
        if isinstance(item, MediaItem):
            block = self._media_block(item, can_show=side is USER)
            if block is not None or not item.text:
                return block
            text = item.text
        else:
            text = self._writer.text_of(item)
        if not text.strip():
            self._report.repair(DROPPED_BLANK, item.at)
            return None
        return {"type": "input_text", "text": text}

    def _media_block(self, item: MediaItem, *, can_show: bool = True) -> Json | None:
        """Write media; if there is no form for them here, note that."""
        block = _media_block(item) if can_show else None
        if block is None:
            self._writer.lost(item)
        return block

    def _write_item(self, item: Item) -> None:
        if type(item) is CallItem and not item.is_served:
            self._items.append(self._call(item))
        elif type(item) is ResultItem and not item.is_served:
            self._items.append(self._result(item))
        elif isinstance(item, CompactionItem) and item.text.strip() and not self._is_item(item):
            text = {"type": "input_text", "text": item.text}
            self._items.append({"type": MESSAGE, "role": USER, "content": [text]})
        elif isinstance(item, ResultItem) and item.call is not None and item.call.part is item.part:
            pass  # it was sent with its call
        elif self._is_sent(item):
            self._items.append(self._with_request(item))
        else:
            self._writer.lost(item)

    def _is_sent(self, item: Item) -> bool:
        """Return whether an item of this provider's may be sent as it is."""
        if not self._is_item(item):
            return False
        if isinstance(item, (CallItem, ResultItem)):
            return self._owns_pair(item) and (self._keeps_ids or "id" not in item.part)
        if isinstance(item, ApprovalItem):
            return item.request in self._requests if item.answers else bool(item.part["id"])
        # A call or an output that nothing could be bound to would be refused.
        return not item.part["type"].endswith(_TOOL_ENDINGS)

    def _with_request(self, item: Item) -> Json:
        """Return an item; the answer to an approval names the question that it is bound to."""
        if not isinstance(item, ApprovalItem):
            return item.part
        if item.request is None:
            self._requests.append(item)
            return item.part
        return {**item.part, "approval_request_id": item.request.part["id"]}

    def _owns_pair(self, item: CallItem | ResultItem) -> bool:
        """Return whether a call that the provider ran, and its result, are this provider's."""
        call = item.call if isinstance(item, ResultItem) else item
        assert call is not None
        return self._is_item(call) and (call.result is None or self._is_item(call.result))

    def _is_item(self, item: Item) -> bool:
        if not item.part or not self._writer.owns(item):
            return False
        return item.part["type"] not in CONTENT

    def _call(self, call: CallItem) -> Json:
        call_id, name = self._ids.of(call), self._ids.name(call)
        part = call.part
        if self._is_item(call) and self._keeps_form(call):
            call.out_type = part["type"]
            written = dict(part)
            written["call_id"] = call_id
            if "name" in part:
                written["name"] = name
            if "id" not in _needed(part):
                self._without_id(call, written)
            return written
        given = self._writer.arguments_text(call)
        return {"type": "function_call", "call_id": call_id, "name": name, "arguments": given}

    def _keeps_form(self, call: CallItem) -> bool:
        """Return whether the output of *call* can be written in the form that such a call needs."""
        if call.part["type"] in _FREE_OUTPUTS or call.result is None:
            return True
        result = call.result
        return self._is_item(result) and result.part["type"] == _output_of(call.part["type"])

    def _result(self, result: ResultItem) -> Json:
        assert result.call is not None
        call = result.call
        call_id = self._ids.of(call)
        part = result.part
        kind = call.out_type or "function_call"
        if call.out_type and self._is_item(result) and part["type"] == _output_of(kind):
            names_id = kind == "local_shell_call" and "call_id" not in part
            return {**part, "id" if names_id else "call_id": call_id}
        if result.is_error and not result.is_added:
            self._report.loss(ERROR_FLAG, result.at)
        output = self._output(result)
        return {"type": _FREE_OUTPUTS[kind], "call_id": call_id, "output": output}

    def _output(self, result: ResultItem) -> Any:
        if is_said(result.value):
            return result.value
        blocks = self._writer.result_blocks(result, "input_text", self._media_block)
        if all(block["type"] in ("input_text", "text") for block in blocks):
            return "\n\n".join(block["text"] for block in blocks)
        return blocks


def _needed(part: Part) -> frozenset[str]:
    block = ITEMS.get(part["type"])
    return frozenset() if block is None else block.needed


def _output_of(kind: str) -> str:
    return "tool_search_output" if kind == "tool_search_call" else f"{kind}_output"


def _content(said: Said, blocks: list[Json], *, is_own: bool) -> Any:
    if is_own:
        form = said.form.removeprefix(TYPED)
        if form == "string" and len(blocks) == 1:
            return blocks[0]["text"]
        return blocks if form != "null" else restored(said, blocks)
    if len(blocks) == 1 and blocks[0].keys() == {"type", "text"} and said.form != "list":
        return blocks[0]["text"]
    if len(blocks) == 1 and said.side is ASSISTANT:
        return blocks[0]["text"]
    return blocks


def _is_reply(item: Json) -> bool:
    """Return whether an item is what a model says: its message, or a call."""
    if "role" in item:
        return bool(item["role"] == ASSISTANT)
    kind = str(item.get("type"))
    return kind.endswith("_call") or kind in ("mcp_approval_request", "mcp_list_tools", "program")


def _media_block(item: MediaItem) -> Json | None:
    url = media.data_url(item) or item.url
    if item.kind == "image" and url:
        return {"type": "input_image", "image_url": url, "detail": "auto"}
    if item.kind == "file" and item.data:
        name = item.name or f"file.{media.format_name(item.media_type) or 'bin'}"
        return {"type": "input_file", "filename": name, "file_data": url}
    if item.kind == "file" and item.url:
        return {"type": "input_file", "file_url": item.url}
    return None
