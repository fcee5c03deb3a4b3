"""
Anthropic's Messages: `content` of typed blocks, instructions in `system`.

The user and the assistant speak in turn, the user first and last; results come first in the message
right after their calls, and each call has one. Texts are not blank, ids are unique and of letters,
digits, `_` and `-`. Thinking is signed, is not the last block of its message, and is bound to all
that stood before it: where that has changed, it is dropped.

Sources: https://platform.claude.com/docs/en/agents-and-tools/tool-use/handle-tool-calls,
https://platform.claude.com/docs/en/build-with-claude/extended-thinking and
https://platform.claude.com/docs/en/build-with-claude/prompt-caching.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Final

from fastpaca.formats import cache_marks, torn
from fastpaca.formats.arrangement import Arrangement, Turn
from fastpaca.formats.blocks import Block
from fastpaca.formats.incoming import Rules
from fastpaca.formats.items import (
    CallItem,
    CompactionItem,
    Item,
    MediaItem,
    OpaqueItem,
    ReasoningItem,
    ResultItem,
    TextItem,
)
from fastpaca.formats.merging import Blocks, Merged, Merger
from fastpaca.formats.reading import ASSISTANT, Said
from fastpaca.formats.report import (
    DROPPED_BLANK,
    DROPPED_THINKING,
    FILLED_RESULT,
    FIRST_TEXT,
    LAST_TEXT,
    NO_OUTPUT_TEXT,
)
from fastpaca.formats.writing import BlockWriter, Ids, Json, WrittenList, is_said, restored

NAME: Final = "anthropic"

_SOURCE: Final = {"source": "{", "source.type": '"'}
_CALL: Final = Block.of({"id": '"', "name": '"', "input": "{"}, "cache_control caller toolset_name")
_RESULT: Final = Block.of({"tool_use_id": '"', "content": "[{"}, "cache_control caller is_error")

BLOCKS: Final = {
    "text": Block.of({"text": '"'}, "citations cache_control"),
    "image": Block.of(_SOURCE, "cache_control transformations"),
    "document": Block.of(_SOURCE, "cache_control citations context title"),
    "search_result": Block.of(
        {"content": "[", "source": '"', "title": '"'}, "cache_control citations"
    ),
    "thinking": Block.of({"thinking": '"', "signature": '"'}),
    "redacted_thinking": Block.of({"data": '"'}),
    "tool_use": _CALL,
    "server_tool_use": _CALL,
    "mcp_tool_use": Block.of(
        {"id": '"', "name": '"', "input": "{", "server_name": '"'}, "cache_control"
    ),
    "tool_result": Block.of(
        {"tool_use_id": '"', "content": '"[?', "is_error": "t?"}, "cache_control toolset_name"
    ),
    "mcp_tool_result": Block.of(
        {"tool_use_id": '"', "content": '"[?', "is_error": "t?"}, "cache_control"
    ),
    "web_search_tool_result": _RESULT,
    "web_fetch_tool_result": _RESULT,
    "code_execution_tool_result": _RESULT,
    "bash_code_execution_tool_result": _RESULT,
    "text_editor_code_execution_tool_result": _RESULT,
    "tool_search_tool_result": _RESULT,
    "advisor_tool_result": _RESULT,
    "container_upload": Block.of({"file_id": '"'}, "cache_control"),
    "compaction": Block.of(
        {"content": '"?', "encrypted_content": '"?'},
        "cache_control signature tool_changes",
        needed="content",
    ),
    "tool_addition": Block.of({"tool": "{"}, "cache_control"),
    "tool_removal": Block.of({"tool": "{"}, "cache_control"),
    "mcp_tool_listing": Block.of({"mcp_server_name": '"', "tools": "["}),
    "fallback": Block.of({"from": "{", "to": "{"}, "trigger"),
}
"""Every block that a request may hold, including the beta ones."""

RULES: Final = Rules(name=NAME, roles=("user", "assistant", "system"), blocks=BLOCKS)
"""What comes in."""

IMAGE_TYPES: Final = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
PDF: Final = "application/pdf"

_THINKING: Final = frozenset({"thinking", "redacted_thinking"})


def write(writer: BlockWriter, arrangement: Arrangement, system: Sequence[Said]) -> WrittenList:
    """Write the messages of a request, and its `system`."""
    blocks = _AnthropicBlocks(writer)
    torn.tear(arrangement.turns, writer.said, NAME)
    merger = Merger(blocks, writer.report)
    messages = [_message(one, writer.said) for one in merger.write(arrangement)]
    instructions = blocks.instructions(system)
    if writer.options.cache:
        cache_marks.set_in_system(instructions)
        cache_marks.set_in_messages(messages[: merger.stable])
    return WrittenList(messages, merger.stable, instructions or None)


def _message(message: Merged, said: Sequence[Said]) -> Json:
    content: Any = message.blocks
    if message.at >= 0 and not message.is_merged:
        content = restored(said[message.at], content)
    return {"role": message.role, "content": content}


class _AnthropicBlocks(Blocks):
    first: ClassVar[Json] = {"type": "text", "text": FIRST_TEXT}
    last: ClassVar[Json] = {"type": "text", "text": LAST_TEXT}

    def __init__(self, writer: BlockWriter) -> None:
        super().__init__(writer)
        self._ids = Ids(writer, r"[a-zA-Z0-9_-]+", name_max=128)

    def write(self, side: str, item: Item, /) -> list[Json]:
        if type(item) is TextItem:
            return [item.part] if item.is_plain else self._text(item)
        if type(item) is ResultItem:
            return self._result(item)
        if type(item) is CallItem:
            return self._call(item)
        if type(item) is ReasoningItem:
            return self._thinking(side, item)
        if self._writer.owns(item):
            return [item.part] if self._is_said(item) else []
        if isinstance(item, MediaItem):
            block = media_block(item)
            if block is not None:
                return [block]
        if isinstance(item, (MediaItem, CompactionItem)) and item.text.strip():
            return [{"type": "text", "text": self._writer.spoken(item)}]
        self._writer.lost(item)
        return []

    def _is_said(self, item: Item) -> bool:
        """A compaction that failed or is empty may not be sent."""
        part = item.part
        if isinstance(item, OpaqueItem) and part["type"] == "compaction":
            return part.get("content") != ""
        return True

    def _text(self, item: TextItem) -> list[Json]:
        if item.is_blank:
            self._report.repair(DROPPED_BLANK, item.at)
            return []
        if self._writer.owns(item):
            return [item.part]
        return [{"type": "text", "text": self._writer.text_of(item)}]

    def _thinking(self, side: str, item: ReasoningItem) -> list[Json]:
        part = item.part
        if part.get("type") not in _THINKING or not self._writer.owns(item) or side != ASSISTANT:
            self._writer.lost(item)
            return []
        signed = part.get("signature") if part["type"] == "thinking" else part.get("data")
        if not signed or item.is_torn or item.at < self._writer.options.intact_from:
            self._report.repair_once(DROPPED_THINKING, item.at)
            return []
        return [part]

    def _call(self, call: CallItem) -> list[Json]:
        if call.is_served:
            if self._owns_pair(call):
                return [call.part]
            self._writer.lost(call)
            return []
        call_id, name = self._ids.of(call), self._ids.name(call)
        part = call.part
        if call.plain_in == NAME and call_id == call.id and name == call.name and _has_input(call):
            return [part]
        if part.get("type") == "tool_use" and self._writer.owns(call) and _has_input(call):
            if call_id == call.id and name == call.name:
                return [part]
            return [{**part, "id": call_id, "name": name}]
        given = self._writer.arguments_object(call)
        return [{"type": "tool_use", "id": call_id, "name": name, "input": given}]

    def _owns_pair(self, call: CallItem) -> bool:
        """Return whether a call that the provider ran, and its result, are this provider's."""
        owns, result = self._writer.owns, call.result
        if not owns(call) or result is None:
            return owns(call)
        return owns(result) and call.part["id"] == result.part["tool_use_id"]

    def _result(self, result: ResultItem) -> list[Json]:
        part = result.part
        assert result.call is not None
        if result.is_served:
            if self._owns_pair(result.call):
                return [part]
            self._writer.lost(result)
            return []
        call_id = self._ids.of(result.call)
        is_text = result.plain_in == NAME and isinstance(result.value, str)
        if is_text and call_id == result.id:
            return [part]
        owns = self._writer.owns(result)
        if owns and part["type"] == "tool_result":
            kept = {**part, "tool_use_id": call_id}
            if isinstance(part.get("content"), list):
                kept["content"] = self._without_blanks(result, part["content"])
            return [kept]
        content = self._contents(result)
        block = {"type": "tool_result", "tool_use_id": call_id, "content": content}
        if result.is_error:
            block["is_error"] = True
        return [block]

    def _without_blanks(self, result: ResultItem, listed: Sequence[Any]) -> list[Any]:
        kept = [
            one
            for one in listed
            if not (
                isinstance(one, dict)
                and one.get("type") == "text"
                and not (isinstance(one.get("text"), str) and one["text"].strip())
            )
        ]
        if listed and not kept:
            self._report.repair(FILLED_RESULT, result.at)
            return [{"type": "text", "text": NO_OUTPUT_TEXT}]
        return kept

    def _contents(self, result: ResultItem) -> Any:
        if is_said(result.value):
            return result.value
        blocks = self._writer.result_blocks(result, "text", media_block)
        if len(blocks) == 1 and len(blocks[0]) == 2 and blocks[0]["type"] == "text":
            return blocks[0]["text"]
        return blocks

    def finish_reply(self, message: Merged, turn: Turn) -> None:
        """Drop thinking at the end of a message: it led to nothing."""
        while message.blocks and message.blocks[-1].get("type") in _THINKING:
            message.blocks.pop()
            self._report.repair_once(DROPPED_THINKING, turn.items[-1].at)


def _has_input(call: CallItem) -> bool:
    return isinstance(call.part.get("input"), dict)


def media_block(item: MediaItem) -> Json | None:
    """Write an image or a document; None if the provider has no form for it."""
    source: Json | None = None
    kind = "image" if item.kind == "image" else "document"
    if item.kind == "image":
        if item.data and item.media_type in IMAGE_TYPES:
            source = {"type": "base64", "media_type": item.media_type, "data": item.data}
    elif item.kind == "file":
        if item.data and item.media_type == PDF:
            source = {"type": "base64", "media_type": PDF, "data": item.data}
        elif item.text:
            source = {"type": "text", "media_type": "text/plain", "data": item.text}
    if source is None and _has_url(item):
        source = {"type": "url", "url": item.url}
    if source is None:
        return None
    block: Json = {"type": kind, "source": source}
    if item.name and kind == "document":
        block["title"] = item.name
    return block


def _has_url(item: MediaItem) -> bool:
    """Return whether the provider can fetch an image, or a document that is a PDF."""
    if not item.url.startswith(("https://", "http://")):
        return False
    return item.kind == "image" or (item.kind == "file" and item.media_type in ("", PDF))
