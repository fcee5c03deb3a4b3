"""
What all formats write with: which blocks are a provider's own, ids that it takes, arguments and
results in the form that it wants, and messages as they came.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from typing import Any, Final, TypeGuard

import msgspec

from fastpaca import shapes
from fastpaca.formats.arrangement import OpenCalls
from fastpaca.formats.blocks import Block
from fastpaca.formats.items import (
    ApprovalItem,
    CallItem,
    CompactionItem,
    Item,
    MediaItem,
    OpaqueItem,
    PageOnlyItem,
    ReasoningItem,
    ResultItem,
    TextItem,
)
from fastpaca.formats.parts import contents
from fastpaca.formats.reading import Said
from fastpaca.formats.report import (
    APPROVAL,
    ARGUMENTS,
    CHANGED_ID,
    CHANGED_NAME,
    CITATIONS,
    COMPACTION,
    FILLED_RESULT,
    KEYS,
    MEDIA,
    NO_OUTPUT_TEXT,
    PAGE_ONLY,
    REASONING,
    REFUSAL,
    SERVED_CALL,
    UNKNOWN,
    Findings,
)

Json = dict[str, Any]

OWN_KEYS: Final = shapes.STRUCTURAL_KEYS | {"id", "revises"}
"""Keys of a message that are fastpaca's or the caller's own: no provider knows them."""

HASH_BYTES: Final = 12
"""Long enough that two ids of one conversation never meet, short enough for 40 characters."""


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """
    How a list is rendered.

    Attributes:
        open_calls: What is done with calls that will not get their result any more.
        cache: Whether Anthropic's marks for its prompt cache are set.
        intact_from: The first message whose beginning is what it was when the message was appended:
            thinking in earlier ones is bound to a beginning that has changed.
        decode: Reads arguments that are written as JSON.
    """

    open_calls: OpenCalls = "close"
    cache: bool = False
    intact_from: int = 0
    decode: Callable[[str], Any] = msgspec.json.decode


class WrittenList(msgspec.Struct, eq=False):
    """
    A list as its provider takes it.

    Attributes:
        messages: The messages, or items.
        stable: How many at the front the next list will begin with, unless the window is rewritten.
        system: The instructions, where the provider wants them apart; None if there are none.
    """

    messages: list[Any]
    stable: int
    system: Any = None


class BlockWriter:
    """
    What a format writes with: the list, the report and the options.

    Args:
        name: The name of the format.
        blocks: Its blocks, by type.
        said: The messages, read.
        report: Where repairs and losses are noted.
        options: How it is rendered.
    """

    def __init__(
        self,
        name: str,
        blocks: Mapping[str, Block],
        said: Sequence[Said],
        report: Findings,
        options: Options,
    ) -> None:
        self.name = name
        self.blocks = blocks
        self.said = said
        self.report = report
        self.options = options

    def owns(self, item: Item) -> bool:
        """Return whether the part of *item* is a block of this format, to be sent as it is."""
        part = item.part
        if not part:
            return False
        said = self.said[item.at]
        if said.format == self.name:
            return True
        kind = part.get("type")
        block = self.blocks.get(kind) if isinstance(kind, str) else None
        if block is None:
            return type(item) is OpaqueItem and said.speaks(self.name)
        return block.fits(part)

    def is_plain(self, items: Sequence[Item]) -> bool:
        """Return whether *items* are messages that are one plain text each."""
        said = self.said
        if len(items) == 1:  # as most turns have
            return said[items[0].at].is_plain
        return all(said[item.at].is_plain for item in items)

    def lost(self, item: Item) -> None:
        """Note that *item* is not said."""
        code = MEDIA if isinstance(item, MediaItem) else _LOSSES.get(type(item), UNKNOWN)
        if isinstance(item, (CallItem, ResultItem)):
            code = SERVED_CALL
        self.report.loss(code, item.at)

    def spoken(self, item: MediaItem | CompactionItem) -> str:
        """Return the text that stands for *item*; of a recording, that is not all it holds."""
        if isinstance(item, MediaItem) and item.kind == "audio" and item.text:
            self.lost(item)
        return item.text

    def text_of(self, item: TextItem) -> str:
        """Return a text that is not this format's own, and note what goes with its block."""
        part = item.part
        if item.is_refusal:
            self.report.loss(REFUSAL, item.at)
        if len(part) > 2:
            if part.get("citations") or part.get("annotations"):
                self.report.loss(CITATIONS, item.at)
            if any(part[key] for key in part.keys() - _SAID_KEYS):
                self.report.loss(KEYS, item.at)
        return item.text

    def arguments_text(self, call: CallItem) -> str:
        """Return the arguments of *call* as JSON text."""
        given = call.arguments
        if isinstance(given, str):
            if call.is_free:
                self.report.loss(ARGUMENTS, call.at)
                return _json({"input": given})
            return given
        return _json({} if given is None else given)

    def arguments_object(self, call: CallItem) -> Mapping[str, Any]:
        """Return the arguments of *call* as an object."""
        given = call.arguments
        if isinstance(given, dict):
            return given
        if isinstance(given, str) and not call.is_free:
            if not given.strip():
                return {}
            try:
                decoded = self.options.decode(given)
            except (ValueError, RecursionError):
                decoded = None
            if isinstance(decoded, dict):
                return decoded
        if given is None:
            return {}
        self.report.loss(ARGUMENTS, call.at)
        return {"input": given}

    def result_contents(self, result: ResultItem) -> list[Item]:
        """
        Return what *result* holds, without blank texts; if that is nothing, a text that says so.
        """
        items = contents(result.at, result.value)
        kept = [one for one in items if not isinstance(one, TextItem) or not one.is_blank]
        if not kept:
            self.report.repair(FILLED_RESULT, result.at)
            kept = [TextItem(at=result.at, text=NO_OUTPUT_TEXT)]
        return kept

    def result_blocks(
        self, result: ResultItem, kind: str, media_block: Callable[[MediaItem], Json | None]
    ) -> list[Json]:
        """
        Return what *result* holds as blocks: texts of a *kind*, and media as *media_block* writes
        them; if that is nothing, a text that says so.
        """
        blocks: list[Json] = []
        for item in self.result_contents(result):
            if item.part and self.owns(item):
                blocks.append(item.part)
            elif isinstance(item, MediaItem) and (block := media_block(item)) is not None:
                blocks.append(block)
            elif isinstance(item, (TextItem, MediaItem)) and item.text:
                blocks.append({"type": kind, "text": item.text})
            else:
                self.lost(item)
        if not blocks:
            self.report.repair(FILLED_RESULT, result.at)
            blocks.append({"type": kind, "text": NO_OUTPUT_TEXT})
        return blocks

    def result_text(self, result: ResultItem) -> str:
        """Return what *result* holds as one text."""
        if is_said(result.value):
            return result.value
        texts = []
        for item in self.result_contents(result):
            if isinstance(item, TextItem) or (isinstance(item, MediaItem) and item.text):
                texts.append(item.text)
            else:
                self.lost(item)
        if not texts:
            self.report.repair(FILLED_RESULT, result.at)
            texts = [NO_OUTPUT_TEXT]
        return "\n\n".join(texts)

    def keys_of(self, said: Said, known: frozenset[str]) -> Json:
        """Return the keys of a message, its role and parts aside, that are sent with it."""
        kept: Json = {}
        if not said.has_keys:
            return kept
        is_own = said.speaks(self.name)
        for key, value in said.message.items():
            if key in OWN_KEYS:
                continue
            if is_own or key in known:
                kept[key] = value
            elif value and key not in _SAID_ELSEWHERE:
                self.report.loss(KEYS, said.at)
        return kept


class Ids:
    """
    Ids and names that a provider takes; no id is used twice, unless a turn begins.

    Args:
        writer: Of the format.
        id_pattern: What an id must look like.
        name_chars: What the name of a tool may not hold.
        name_max: How long it may be.
    """

    def __init__(
        self,
        writer: BlockWriter,
        id_pattern: str,
        name_chars: str = r"[^a-zA-Z0-9_-]",
        name_max: int = 64,
    ) -> None:
        self._writer = writer
        self._takes = re.compile(id_pattern).fullmatch
        self._refused = re.compile(name_chars)
        self._name_max = name_max
        self._used: set[str] = set()
        self._names: dict[str, str] = {}

    def of(self, call: CallItem) -> str:
        """Return the id of *call*, and note it for its result."""
        if call.out_id:
            return call.out_id
        call_id = call.id
        if not call_id or not self._takes(call_id) or call_id in self._used:
            call_id = hashed(self._writer.said[call.at], call)
            self._writer.report.repair(CHANGED_ID, call.at, call.id)
        self._used.add(call_id)
        call.out_id = call_id
        return call_id

    def begin_turn(self) -> None:
        """Let ids be used again, where a provider wants them to differ within a turn only."""
        self._used.clear()

    def name(self, call: CallItem) -> str:
        """Return the name of the tool of *call*."""
        taken = self._names.get(call.name)
        if taken is None:
            taken = self._refused.sub("_", call.name or "tool")[: self._name_max]
            self._names[call.name] = taken
        if taken != call.name:
            self._writer.report.repair(CHANGED_NAME, call.at, call.id)
        return taken


def is_said(value: object) -> TypeGuard[str]:
    """Return whether *value* is a text that is not blank, as most results are."""
    return isinstance(value, str) and value != "" and not value.isspace()


def hashed(said: Said, call: CallItem) -> str:
    """Return an id for *call* that is the same in every view."""
    place = f"s{said.at}" if said.seq is None else str(said.seq)
    text = f"{place}.{call.place} {call.id}"
    return "call_" + blake2b(text.encode(), digest_size=HASH_BYTES).hexdigest()


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


_LOSSES: Final[Mapping[type[Item], str]] = {
    ReasoningItem: REASONING,
    PageOnlyItem: PAGE_ONLY,
    CompactionItem: COMPACTION,
    OpaqueItem: UNKNOWN,
    ApprovalItem: APPROVAL,
}

_SAID_KEYS: Final = frozenset(
    {"type", "text", "refusal", "citations", "annotations", "cache_control", "logprobs", "state"}
)
"""Keys of a text that are said, noted as a loss of their own, or no content."""

_SAID_ELSEWHERE: Final = (
    shapes.BOOKKEEPING_KEYS
    | shapes.MESSAGE_KEYS
    | {"content", "type", "refusal", "audio", "phase", "status", "is_error"}
)
"""Keys of a message that are read, or are no content."""


def restored(said: Said, blocks: Sequence[Any]) -> Any:
    """
    Return *blocks* as the content of the message that they are all of: in the form it came in.

    A message that came as parts has a string as its content if it is one text and no more.
    """
    if said.form == "list":
        return blocks
    if len(blocks) == 1:
        block = blocks[0]
        if len(block) == 2 and block.get("type") == "text":
            return block["text"]
    if not blocks and said.form == "null":
        return None
    if not blocks and said.form == "string":
        return ""
    return blocks
