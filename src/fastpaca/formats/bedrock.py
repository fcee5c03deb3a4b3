"""
Bedrock's Converse: the user and the assistant in turn, blocks told by their data key.

Instructions stand apart. Ids of calls are unique, of letters, digits, `_` and `-`, at most 64;
results come first in the message right after their calls. Documents have names of few characters,
and stand with a text.

Source: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, ClassVar, Final

from fastpaca.context import jsontext
from fastpaca.formats import media, torn
from fastpaca.formats.arrangement import Arrangement, Turn
from fastpaca.formats.blocks import Block
from fastpaca.formats.incoming import Rules
from fastpaca.formats.items import (
    CallItem,
    CompactionItem,
    Item,
    MediaItem,
    Part,
    ReasoningItem,
    ResultItem,
    TextItem,
)
from fastpaca.formats.merging import Blocks, Merged, Merger
from fastpaca.formats.reading import ASSISTANT, Said
from fastpaca.formats.report import (
    ADDED_TEXT,
    CHANGED_NAME,
    DROPPED_BLANK,
    DROPPED_THINKING,
    FILE_TEXT,
    FILLED_RESULT,
    FIRST_TEXT,
    LAST_TEXT,
    NO_OUTPUT_TEXT,
)
from fastpaca.formats.writing import BlockWriter, Ids, Json, WrittenList, is_said

NAME: Final = "bedrock"

BLOCKS: Final = {
    "text": Block.of({"text": '"'}),
    "image": Block.of({"image": "{", "image.format": '"', "image.source": "{"}),
    "document": Block.of({"document": "{", "document.name": '"', "document.source": "{"}),
    "video": Block.of({"video": "{", "video.format": '"', "video.source": "{"}),
    "audio": Block.of({"audio": "{", "audio.format": '"', "audio.source": "{"}),
    "toolUse": Block.of({"toolUse": "{", "toolUse.toolUseId": '"', "toolUse.name": '"'}),
    "toolResult": Block.of(
        {"toolResult": "{", "toolResult.toolUseId": '"', "toolResult.content": "["}
    ),
    "reasoningContent": Block.of({"reasoningContent": "{"}),
    "cachePoint": Block.of({"cachePoint": "{"}),
    "guardContent": Block.of({"guardContent": "{"}),
    "citationsContent": Block.of({"citationsContent": "{"}),
    "searchResult": Block.of({"searchResult": "{"}),
}
"""Every block that a message may hold, by the data key that says what it is."""

REASONING: Final = "reasoningContent"

IMAGES: Final = frozenset({"png", "jpeg", "gif", "webp"})
DOCUMENTS: Final = frozenset({"pdf", "csv", "doc", "docx", "xls", "xlsx", "html", "txt", "md"})
VIDEOS: Final = frozenset({"mkv", "mov", "mp4", "webm", "flv", "mpeg", "mpg", "wmv", "three_gp"})

_FORMATS: Final = {"image": IMAGES, "document": DOCUMENTS, "video": VIDEOS}

_RESULT_BLOCKS: Final = frozenset({"text", "json", "image", "document", "video", "searchResult"})
"""Every block that a result may hold."""

_STATUSES: Final = ("success", "error")

_NOT_IN_NAMES: Final = re.compile(r"[^a-zA-Z0-9\s()\[\]-]+")
_SPACES: Final = re.compile(r"\s+")

NAME_MAX: Final = 200
"""How long the name of a document may be."""


def _type_of(members: jsontext.Members) -> str:
    return next((key for key in members if key in BLOCKS), next(iter(members), ""))


RULES: Final = Rules(
    name=NAME,
    roles=("user", "assistant"),
    forms=("list",),
    blocks=BLOCKS,
    type_of=_type_of,
)
"""What comes in."""


def write(writer: BlockWriter, arrangement: Arrangement, system: Sequence[Said]) -> WrittenList:
    """Write the messages of a request, and its `system`."""
    blocks = _BedrockBlocks(writer)
    torn.tear(arrangement.turns, writer.said, NAME)
    merger = Merger(blocks, writer.report)
    messages = [{"role": one.role, "content": one.blocks} for one in merger.write(arrangement)]
    return WrittenList(messages, merger.stable, blocks.instructions(system) or None)


class _BedrockBlocks(Blocks):
    first: ClassVar[Json] = {"text": FIRST_TEXT}
    last: ClassVar[Json] = {"text": LAST_TEXT}

    def __init__(self, writer: BlockWriter) -> None:
        super().__init__(writer)
        self._ids = Ids(writer, r"[a-zA-Z0-9_-]{1,64}")

    def write(self, side: str, item: Item, /) -> list[Json]:
        if type(item) is TextItem:
            return [{"text": item.text}] if item.is_plain else self._text(item)
        if type(item) is CallItem and not item.is_served:
            return self._call(item)
        if type(item) is ResultItem and not item.is_served:
            return self._result(item)
        if type(item) is ReasoningItem:
            return self._reasoning(side, item)
        if isinstance(item, MediaItem):
            block = self._media(item) if side != ASSISTANT else None
            if block is not None:
                return [block]
        elif self._writer.owns(item):
            return [_untyped(item.part)]
        if isinstance(item, (MediaItem, CompactionItem)) and item.text.strip():
            return [{"text": self._writer.spoken(item)}]
        self._writer.lost(item)
        return []

    def _text(self, item: TextItem) -> list[Json]:
        if item.is_blank:
            self._report.repair(DROPPED_BLANK, item.at)
            return []
        return [{"text": item.text if self._writer.owns(item) else self._writer.text_of(item)}]

    def _reasoning(self, side: str, item: ReasoningItem) -> list[Json]:
        if not self._writer.owns(item) or side != ASSISTANT:
            self._writer.lost(item)
            return []
        is_torn = item.is_torn or item.at < self._writer.options.intact_from
        if is_torn and _is_signed(item.part[REASONING]):
            self._report.repair_once(DROPPED_THINKING, item.at)
            return []
        return [_untyped(item.part)]

    def _call(self, call: CallItem) -> list[Json]:
        call_id, name = self._ids.of(call), self._ids.name(call)
        if not call.plain_in and self._writer.owns(call):
            used = {**call.part["toolUse"], "toolUseId": call_id, "name": name}
            if not isinstance(used.get("input"), dict):
                used["input"] = self._writer.arguments_object(call)
            return [{**_untyped(call.part), "toolUse": used}]
        given = self._writer.arguments_object(call)
        return [{"toolUse": {"toolUseId": call_id, "name": name, "input": given}}]

    def _result(self, result: ResultItem) -> list[Json]:
        assert result.call is not None
        call_id = self._ids.of(result.call)
        is_own = not result.plain_in and self._writer.owns(result)
        if is_own and _is_result(result.part["toolResult"]):
            held = {**result.part["toolResult"], "toolUseId": call_id}
            held["content"] = self._own_contents(result, held)
            return [{**_untyped(result.part), "toolResult": held}]
        written: Json = {"toolUseId": call_id, "content": self._contents(result)}
        if result.is_error:
            written["status"] = "error"
        return [{"toolResult": written}]

    def _own_contents(self, result: ResultItem, held: Json) -> list[Json]:
        """Return what a result of this provider's holds, without blank texts."""
        content: list[Json] = held["content"]
        kept = [self._named(one, result.at) for one in content if not _is_blank(one)]
        if not kept and (content or held.get("status") == "error"):
            self._report.repair(FILLED_RESULT, result.at)
            return [{"text": NO_OUTPUT_TEXT}]
        return kept

    def _contents(self, result: ResultItem) -> list[Json]:
        if is_said(result.value):
            return [{"text": result.value}]
        blocks: list[Json] = []
        for item in self._writer.result_contents(result):
            block = self._media(item) if isinstance(item, MediaItem) else None
            if block is not None:
                blocks.append(block)
            elif isinstance(item, (TextItem, MediaItem)) and item.text:
                blocks.append({"text": item.text})
            else:
                self._writer.lost(item)
        if not blocks:
            self._report.repair(FILLED_RESULT, result.at)
            blocks = [{"text": NO_OUTPUT_TEXT}]
        return blocks

    def _media(self, item: MediaItem) -> Json | None:
        if item.part and self._writer.owns(item):
            block = _untyped(item.part)
            return self._named(block, item.at) if _is_media(block) else None
        name = media.format_name(item.media_type)
        name = "jpeg" if name == "jpg" else name
        if not item.data:
            return None
        source = {"bytes": item.data}
        kind = "document" if item.kind == "file" else item.kind
        if name not in _FORMATS.get(kind, ()):
            return None
        if kind == "document":
            title = item.name.rpartition(".")[0] or item.name or "file"
            if item.name and title != item.name:
                self._report.repair_once(CHANGED_NAME, item.at)
            return self._named({kind: {"format": name, "name": title, "source": source}}, item.at)
        return {kind: {"format": name, "source": source}}

    def _named(self, block: Json, at: int) -> Json:
        """Return *block*; if it is a document, by a name that the provider takes."""
        held = block.get("document")
        if not isinstance(held, dict):
            return block
        name = _NOT_IN_NAMES.sub("-", held["name"])
        name = _SPACES.sub(lambda run: run[0][0], name)[:NAME_MAX] or "file"
        if name == held["name"]:
            return block
        self._report.repair_once(CHANGED_NAME, at)
        return {**block, "document": {**held, "name": name}}

    def finish_reply(self, message: Merged, turn: Turn) -> None:
        """Drop reasoning that led to nothing."""
        blocks = message.blocks
        while blocks and REASONING in blocks[-1]:
            blocks.pop()
            self._report.repair_once(DROPPED_THINKING, turn.items[-1].at)

    def finish_question(self, message: Merged, turn: Turn) -> None:
        """Let a document stand with a text."""
        if _lacks_text(message.blocks):
            message.blocks.append({"text": FILE_TEXT})
            self._report.repair(ADDED_TEXT, turn.items[-1].at)


def _lacks_text(blocks: Sequence[Json]) -> bool:
    """Return whether there is a document, and no text with it."""
    return any("document" in block for block in blocks) and not any(
        "text" in block for block in blocks
    )


def _is_media(block: Json) -> bool:
    """Return whether *block* holds media in a format that the provider takes, or none at all."""
    for kind, formats in _FORMATS.items():
        held = block.get(kind)
        if kind not in block:
            continue
        if not isinstance(held, dict) or not isinstance(held.get("source"), dict):
            return False
        is_known = held.get("format") in tuple(formats) or (
            kind == "document" and "format" not in held
        )
        if not is_known or len(held["source"]) != 1:
            return False
        if kind == "document" and not isinstance(held.get("name"), str):
            return False
    return True


def _is_result(held: Json) -> bool:
    """Return whether all that a result holds may be sent as it is, blank texts aside."""
    content = held.get("content")
    return (
        isinstance(content, list)
        and held.get("status", "success") in _STATUSES
        and all(
            isinstance(one, dict)
            and len(one) == 1
            and one.keys() <= _RESULT_BLOCKS
            and isinstance(one.get("text", ""), str)
            and _is_media(one)
            for one in content
        )
    )


def _is_blank(block: Json) -> bool:
    return "text" in block and not block["text"].strip()


def _is_signed(held: Any) -> bool:
    if not isinstance(held, dict):
        return False
    text = held.get("reasoningText")
    return "redactedContent" in held or (isinstance(text, dict) and bool(text.get("signature")))


def _untyped(part: Part) -> Json:
    return {key: value for key, value in part.items() if key != "type"}
