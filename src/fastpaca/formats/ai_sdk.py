"""
UI messages of the Vercel AI SDK: `parts`, in which a call and its result are one.

A result from another message joins the part of its call. Every call of a finished step has its
result, since `convertToModelMessages` refuses one without. Instructions stand apart, since version
7 refuses a message of the system. A message without an id gets `seq-<n>`.

Source: https://ai-sdk.dev/docs/reference/ai-sdk-core/ui-message and the schemas of the package.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any, Final

from fastpaca.formats import media
from fastpaca.formats.arrangement import RESULTS, Arrangement, Turn
from fastpaca.formats.blocks import Block
from fastpaca.formats.incoming import Rules
from fastpaca.formats.items import (
    CallItem,
    CompactionItem,
    Item,
    MediaItem,
    PageOnlyItem,
    Part,
    ReasoningItem,
    ResultItem,
    TextItem,
)
from fastpaca.formats.reading import ASSISTANT, STEP_START, SYSTEM, USER, Said
from fastpaca.formats.report import (
    ADDED_LAST,
    DROPPED_BLANK,
    DROPPED_THINKING,
    INSTRUCTIONS_AS_TEXT,
    KEYS,
    LAST_TEXT,
)
from fastpaca.formats.writing import BlockWriter, Ids, Json, WrittenList
from fastpaca.shapes import ANSWERED_STATES

NAME: Final = "ai-sdk"

_MORE: Final = "providerMetadata"

BLOCKS: Final = {
    "text": Block.of({"text": '"'}, f"state {_MORE}"),
    "reasoning": Block.of({"text": '"'}, f"id state {_MORE}"),
    "custom": Block.of({"kind": '"'}, _MORE),
    "source-url": Block.of({"sourceId": '"', "url": '"'}, f"title {_MORE}"),
    "source-document": Block.of(
        {"sourceId": '"', "mediaType": '"', "title": '"'}, f"filename {_MORE}"
    ),
    "file": Block.of({"mediaType": '"', "url": '"'}, f"filename providerReference {_MORE}"),
    "reasoning-file": Block.of({"mediaType": '"', "url": '"'}, _MORE),
    "steering-message": Block.of({"id": '"', "parts": "["}),
    "dynamic-tool": Block.of({"toolCallId": '"', "toolName": '"', "state": '"'}),
    STEP_START: Block.of({}),
}
"""Parts of a UI message, besides typed tools and data. Citations have a form of their own here."""

RULES: Final = Rules(
    name=NAME,
    roles=("user", "assistant", "system"),
    key="parts",
    forms=("list",),
    keys={"id": '"?', "metadata": "{?"},
    blocks=BLOCKS,
)
"""What comes in."""

SIGNERS: Final = ("anthropic", "bedrock", "vertexAnthropic")
"""Providers whose signatures are bound to what stood before them."""

_STREAMING: Final = "input-streaming"


def write(writer: BlockWriter, arrangement: Arrangement, system: Sequence[Said]) -> WrittenList:
    """Write UI messages, and the instructions."""
    written = _Messages(writer).write(arrangement)
    texts = [item.text for one in system for item in one.items if isinstance(item, TextItem)]
    written.system = "\n\n".join(text for text in texts if text.strip()) or None
    return written


class _Messages:
    def __init__(self, writer: BlockWriter) -> None:
        self._writer = writer
        self._report = writer.report
        self._ids = Ids(writer, r".+", r"(?!)", 1_000)
        self._messages: list[Json] = []
        self._at = -1  # the message that was written last

    def write(self, arrangement: Arrangement) -> WrittenList:
        messages = self._messages
        stable = -1
        for index, turn in enumerate(arrangement.turns):
            before = len(messages)
            if turn.side is not SYSTEM and self._writer.is_plain(turn.items):
                self._write_plain(turn)
            elif turn.side is not RESULTS:
                for at, items in _by_message(turn.items):
                    goes_on = at == self._at
                    self._message(at, turn, items)
                    if goes_on and index >= arrangement.settled and stable < 0:
                        stable = before - 1
            if index >= arrangement.settled and stable < 0:
                stable = before  # a turn of results, which join their calls, is never the first
        stable = len(messages) if stable < 0 else stable
        if self._report.seqs and not messages:
            parts = [{"type": "text", "text": LAST_TEXT}]
            messages.append({"id": "added", "role": USER, "parts": parts})
            self._report.repair(ADDED_LAST)
        return WrittenList(messages, stable)

    def _write_plain(self, turn: Turn) -> None:
        """Write a turn of messages that are one text each, as most are."""
        for item in turn.items:
            said = self._writer.said[item.at]
            self._add(said, said.side, [item.part])

    def _add(self, said: Said, role: str, parts: list[Json]) -> None:
        """Write a message with *parts*."""
        known = said.message
        message_id = known.get("id")
        if not (isinstance(message_id, str) and message_id):
            message_id = f"summary-{said.at}" if said.seq is None else f"seq-{said.seq}"
        message: Json = {"id": message_id, "role": role}
        if known.get("metadata"):
            message["metadata"] = known["metadata"]
        message["parts"] = parts
        self._messages.append(message)
        self._at = said.at

    def _message(self, at: int, turn: Turn, items: Sequence[Item]) -> None:
        said = self._writer.said[at]
        side = said.side if said.side is not SYSTEM else USER
        parts: list[Json] = []
        for item in items:
            part = self._part(item)
            if part is not None:
                parts.append(part)
        if said.side is SYSTEM and parts:
            self._report.repair(INSTRUCTIONS_AS_TEXT, at)
        if at == self._at and self._messages:
            last = self._messages[-1]["parts"]
            if parts and parts[0].get("type") != STEP_START and said.format != NAME:
                last.append({"type": STEP_START})
            last += parts
            return
        if not parts and (side is USER or said.parts):
            self._report.blank(at)
            return
        if turn.side is ASSISTANT and side is not ASSISTANT and _has_call(items):
            side = ASSISTANT
        self._writer.keys_of(said, frozenset())
        self._add(said, side, parts)

    def _part(self, item: Item) -> Json | None:
        part = item.part
        if type(item) is TextItem and item.is_plain:
            return part
        if type(item) is CallItem:
            return self._call(item)
        if type(item) is ResultItem:
            if not item.is_served or item.call is None or item.call.part is not part:
                self._writer.lost(item)
            return None
        if isinstance(item, ReasoningItem):
            return self._reasoning(item)
        if part and (self._writer.owns(item) or _is_data(item)):
            return part
        if isinstance(item, TextItem):
            return self._text(item)
        if isinstance(item, CompactionItem) and item.text.strip():
            return {"type": "text", "text": item.text}
        if isinstance(item, MediaItem):
            block = _media_part(item)
            if block is not None:
                return block
            if item.text:
                return {"type": "text", "text": self._writer.spoken(item)}
        self._writer.lost(item)
        return None

    def _text(self, item: TextItem) -> Json | None:
        more = _model_options(item.part)
        text = item.text if more else self._writer.text_of(item)
        if not text.strip():
            self._report.repair(DROPPED_BLANK, item.at)
            return None
        return {"type": "text", "text": text, **({_MORE: more} if more else {})}

    def _reasoning(self, item: ReasoningItem) -> Json | None:
        part = item.part
        more = _model_options(part)
        if more:
            part = {"type": "reasoning", "text": item.text, _MORE: more}
        if more or (part and self._writer.owns(item)):
            is_torn = item.is_torn or item.at < self._writer.options.intact_from
            if is_torn and _is_bound(part):
                self._report.repair_once(DROPPED_THINKING, item.at)
                return None
            return dict(part)
        if item.text.strip():
            if any(part[key] for key in part.keys() - _READABLE):
                self._report.loss(KEYS, item.at)  # it was signed, or sealed
            return {"type": "reasoning", "text": item.text}
        self._writer.lost(item)
        return None

    def _call(self, call: CallItem) -> Json | None:
        if _is_ui(call.part):
            return self._ui_call(call)
        if call.is_served:
            self._writer.lost(call)
            return None
        call_id = self._ids.of(call)
        given = self._given(call)
        part: Json = {
            "type": "dynamic-tool",
            "toolName": self._ids.name(call),
            "toolCallId": call_id,
        }
        if more := _model_options(call.part):
            part["callProviderMetadata"] = more
        if call.result is None:
            return {**part, "state": "input-available", "input": given}
        return {**part, **self._came_to(call.result, given)}

    def _given(self, call: CallItem) -> Any:
        if isinstance(call.arguments, str) and not call.is_free:
            try:
                return self._writer.options.decode(call.arguments or "{}")
            except (ValueError, RecursionError):
                return call.arguments
        return {} if call.arguments is None else call.arguments

    def _came_to(self, result: ResultItem, given: Any) -> Json:
        if result.is_error:
            text = self._writer.result_text(result)
            return {"state": "output-error", "input": given, "errorText": text}
        return {"state": "output-available", "input": given, "output": _output(result.value)}

    def _ui_call(self, call: CallItem) -> Json:
        part, result = call.part, call.result
        if part["state"] in ANSWERED_STATES or result is None:
            written = dict(part)
            if "input" not in part and part["state"] != "input-streaming":
                written["input"] = {} if call.arguments is None else call.arguments
            if part["state"] == "output-available":
                written.setdefault("output", None)
            return written
        written = {key: value for key, value in part.items() if key not in _OPEN_KEYS}
        given = part.get("input", part.get("rawInput", {}))
        return {**written, **self._came_to(result, given)}


_READABLE: Final = frozenset({"type", "text", "thinking", "thought", "summary", "id", "status"})
"""Keys of reasoning whose content is in its text, or says nothing elsewhere."""

_OPEN_KEYS: Final = frozenset({"state", "approval", "rawInput", "inputEncoding"})
"""Keys that a part loses when it is closed."""


def _is_ui(part: Part) -> bool:
    return isinstance(part.get("toolCallId"), str) and isinstance(part.get("state"), str)


def _has_call(items: Sequence[Item]) -> bool:
    return any(type(item) is CallItem for item in items)


def _by_message(items: Sequence[Item]) -> list[tuple[int, Sequence[Item]]]:
    if len(items) == 1:
        return [(items[0].at, items)]
    return [(at, list(listed)) for at, listed in groupby(items, lambda item: item.at)]


def _is_data(item: Item) -> bool:
    return isinstance(item, PageOnlyItem) and item.part["type"].startswith("data-")


def _model_options(part: Part) -> Json | None:
    """
    Return what only the provider understands of a part of a model message of the AI SDK.

    A UI message has it under another name, `providerMetadata`. Signatures and ids of items are in
    it, so a part that loses it may be refused.
    """
    more = part.get("providerOptions")
    return more if isinstance(more, dict) and "state" not in part else None


def _is_bound(part: Part) -> bool:
    metadata = part.get("providerMetadata")
    return isinstance(metadata, dict) and any(
        isinstance(metadata.get(name), dict) for name in SIGNERS
    )


def _output(value: Any) -> Any:
    """Take the envelope off that a model message of the AI SDK has around its output."""
    if isinstance(value, dict) and value.keys() == {"type", "value"}:
        return value["value"]
    return value


def _media_part(item: MediaItem) -> Json | None:
    url = media.data_url(item) or item.url
    if not url.startswith("data:") and "://" not in url:  # it must be one, says the package
        return None
    kind = "application/octet-stream" if item.kind == "file" else f"{item.kind}/*"
    part = {"type": "file", "mediaType": item.media_type or kind, "url": url}
    if item.name:
        part["filename"] = item.name
    return part
