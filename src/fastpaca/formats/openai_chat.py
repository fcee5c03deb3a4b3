"""
OpenAI's Chat Completions, and what speaks like it: `messages` with `content` and `tool_calls`.

Nothing needs to be merged but replies between whose calls and results others would stand.
Instructions stay where they are. Ids of calls end at 40 characters; names of tools at 64:
https://platform.openai.com/docs/api-reference/chat/create.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Final

from fastpaca import shapes
from fastpaca.formats import media
from fastpaca.formats.arrangement import RESULTS, Arrangement, Turn
from fastpaca.formats.blocks import Block
from fastpaca.formats.incoming import Rules
from fastpaca.formats.items import (
    CallItem,
    CompactionItem,
    Item,
    MediaItem,
    Part,
    ResultItem,
    TextItem,
)
from fastpaca.formats.reading import ASSISTANT, SYSTEM, USER, Said
from fastpaca.formats.report import (
    ADDED_LAST,
    ERROR_FLAG,
    FILLED_RESULT,
    LAST_TEXT,
    MEDIA,
    MERGED,
    NO_OUTPUT_TEXT,
)
from fastpaca.formats.writing import BlockWriter, Ids, Json, WrittenList, restored

NAME: Final = "openai-chat"

_MORE: Final = "prompt_cache_breakpoint"

BLOCKS: Final = {
    "text": Block.of({"text": '"'}, _MORE),
    "refusal": Block.of({"refusal": '"'}),
    "image_url": Block.of({"image_url": "{", "image_url.url": '"'}, _MORE),
    "input_audio": Block.of(
        {"input_audio": "{", "input_audio.data": '"', "input_audio.format": '"'}, _MORE
    ),
    "file": Block.of({"file": "{"}, _MORE),
}
"""Every part that a message may hold."""

CALLS: Final = (
    Block.of(
        {"type": '"', "function": "{", "function.name": '"', "function.arguments": '"'}, "id index"
    ),
    Block.of({"type": '"', "custom": "{", "custom.name": '"', "custom.input": '"'}, "id index"),
)
"""Every call under `tool_calls`; accumulators of streams leave an `index` in it."""

_CALL_TYPES: Final = ("function", "custom")

MESSAGE_KEYS: Final = frozenset(
    {"name", "refusal", "audio", "annotations", "function_call", *shapes.REASONING_KEYS}
)

RULES: Final = Rules(
    name=NAME,
    roles=("developer", "system", "user", "assistant", "tool", "function"),
    forms=("string", "list", "null", ""),
    keys={
        "tool_calls": "[?",
        "tool_calls[].id": '"',
        "tool_calls[].function": "{?",
        "tool_calls[].custom": "{?",
        "function_call": "{?",
        "tool_call_id": '"?',
        "name": '"?',
        "refusal": '"?',
    },
    blocks=BLOCKS,
)
"""What comes in."""

_BLOCK_TYPES: Final = {
    USER: frozenset(BLOCKS) - {"refusal"},
    ASSISTANT: frozenset({"text", "refusal"}),
    SYSTEM: frozenset({"text"}),
}

_AUDIO: Final = ("wav", "mp3")


def write(writer: BlockWriter, arrangement: Arrangement, system: Sequence[Said]) -> WrittenList:
    """Write the messages of a request."""
    assert not system  # instructions stand in the list
    return _Chat(writer).write(arrangement)


class _Chat:
    def __init__(self, writer: BlockWriter) -> None:
        self._writer = writer
        self._report = writer.report
        self._ids = Ids(writer, r".{1,40}")
        self._legacy: CallItem | None = (
            None  # the one call of a turn, if it is under a key of its own
        )

    def write(self, arrangement: Arrangement) -> WrittenList:
        messages: list[Json] = []
        stable = -1
        for index, turn in enumerate(arrangement.turns):
            if index == arrangement.settled:
                stable = len(messages)
            if self._writer.is_plain(turn.items):
                for item in turn.items:
                    self._write_plain(item, turn.side, messages)
            elif turn.side is RESULTS:
                messages += map(self._result, turn.items)
            elif turn.side is ASSISTANT:
                messages += self._replies(turn)
            else:
                message = self._message(turn.items[0].at, turn.side, turn.items)
                if message is not None:
                    messages.append(message)
        stable = len(messages) if stable < 0 else stable
        if self._report.seqs and all(one["role"] in shapes.INSTRUCTION_ROLES for one in messages):
            messages.append({"role": USER, "content": LAST_TEXT})
            self._report.repair(ADDED_LAST)
        return WrittenList(messages, stable)

    def _write_plain(self, item: Item, side: str, messages: list[Json]) -> None:
        """Write a message that is one plain text."""
        said, part = self._writer.said[item.at], item.part
        content = [part] if said.form == "list" else part["text"]
        role = said.message["role"] if side is SYSTEM else side
        messages.append({"role": role, "content": content})

    def _replies(self, turn: Turn) -> Iterator[Json]:
        """Write a run of the assistant's: one message for each of its own, if that can be."""
        self._ids.begin_turn()
        self._legacy = None
        calls = [item for item in turn.items if type(item) is CallItem and not item.is_served]
        if len(calls) == 1 and calls[0].place == shapes.CALL_KEY_PLACE:
            self._legacy = calls[0]
        if turn.items[0].at == turn.items[-1].at:
            message = self._message(turn.items[0].at, ASSISTANT, turn.items)
            if message is not None:
                yield message
            return
        runs = groupby(turn.items, lambda item: item.at)
        listed: list[tuple[int, Sequence[Item]]] = [(at, list(items)) for at, items in runs]
        early_calls = any(type(item) is CallItem for _, items in listed[:-1] for item in items)
        if early_calls:
            for at, items in listed[1:]:
                if any(map(_is_said, items)):
                    self._report.repair(MERGED, at)
            listed = [(listed[0][0], turn.items)]
        for at, items in listed:
            message = self._message(at, ASSISTANT, items)
            if message is not None:
                yield message

    def _message(self, at: int, side: str, items: Sequence[Item]) -> Json | None:
        """Write one message; None if it says nothing."""
        said = self._writer.said[at]
        blocks, calls = self._said(side, items)
        keys = self._writer.keys_of(said, MESSAGE_KEYS)
        has_legacy = self._legacy is not None and self._legacy in items
        if keys and not has_legacy and keys.get(shapes.CALL_KEY):
            del keys[shapes.CALL_KEY]
        may_be_silent = bool(calls) or has_legacy or self._has_recording(at, keys)
        if not blocks and not may_be_silent and isinstance(keys.get("refusal"), str):
            blocks.append({"type": "refusal", "refusal": keys.pop("refusal")})
        message: Json = {"role": said.message["role"] if side is SYSTEM else side}
        if blocks or _has_content(said):
            message["content"] = restored(said, blocks)
        if not may_be_silent and message.get("content") in (None, []):
            self._report.blank(at)
            return None
        if keys:
            keys.pop("content", None)
            keys.pop(shapes.CALLS_KEY, None)
            if "annotations" in keys and keys["annotations"] is None:  # a stream leaves that, too
                del keys["annotations"]
            message.update(keys)
        if calls:
            message[shapes.CALLS_KEY] = calls
        return message

    def _has_recording(self, at: int, keys: Json) -> bool:
        """Leave of a recording its id, which is all that a request may hold of it."""
        audio = keys.get("audio")
        if isinstance(audio, dict) and isinstance(audio.get("id"), str) and audio["id"]:
            keys["audio"] = {"id": audio["id"]}
            return True
        if audio:
            self._report.loss(MEDIA, at)
            del keys["audio"]
        return False

    def _said(self, side: str, items: Sequence[Item]) -> tuple[list[Json], list[Json]]:
        """Write what a message says, and its calls."""
        blocks: list[Json] = []
        calls: list[Json] = []
        for item in items:
            if type(item) is not CallItem:
                block = self._block(side, item)
                if block is not None:
                    blocks.append(block)
            elif item.is_served:
                self._writer.lost(item)
            elif item is not self._legacy:  # that one goes with the keys
                calls.append(self._call(item))
        return blocks, calls

    def _block(self, side: str, item: Item) -> Json | None:
        part = item.part
        if type(item) is TextItem and item.is_plain:
            return part
        if not part and not isinstance(item, (TextItem, MediaItem)):
            return None  # reasoning in a key goes with the keys of the message
        if self._writer.owns(item) and (
            part["type"] in _BLOCK_TYPES[side] or part["type"] not in BLOCKS
        ):
            return part
        if isinstance(item, (TextItem, CompactionItem)):
            if not part:
                return None  # a key of the message
            text = item.text if isinstance(item, CompactionItem) else ""
            if isinstance(item, TextItem):
                if item.is_refusal and side is ASSISTANT:
                    return {"type": "refusal", "refusal": item.text}
                text = self._writer.text_of(item)
            if text:
                return {"type": "text", "text": text}
        if isinstance(item, MediaItem):
            return self._media(side, item)
        self._writer.lost(item)
        return None

    def _media(self, side: str, item: MediaItem) -> Json | None:
        block = _media_block(item) if side is USER else None
        if block is None and not item.part:
            return None  # a key of the message
        if block is None:
            self._writer.lost(item)
            return {"type": "text", "text": item.text} if item.text else None
        return block

    def _call(self, call: CallItem) -> Json:
        call_id, name = self._ids.of(call), self._ids.name(call)
        part = call.part
        if part.get("id") == call_id and name == call.name and self._is_own(call):
            if "index" in part:  # which a stream leaves in it, and no request may have
                return {key: value for key, value in part.items() if key != "index"}
            return part
        function = {"name": name, "arguments": self._writer.arguments_text(call)}
        return {"id": call_id, "type": "function", "function": function}

    def _is_own(self, call: CallItem) -> bool:
        """Return whether *call* stood under `tool_calls`, and has the form of such a call."""
        if call.plain_in == NAME:
            return True
        if call.place > shapes.CALLS_PLACE or call.part.get("type") not in _CALL_TYPES:
            return False
        return any(block.fits(call.part) for block in CALLS)

    def _result(self, item: Item) -> Json:
        assert isinstance(item, ResultItem)
        assert item.call is not None
        said = self._writer.said[item.at]
        if item.call is self._legacy:
            content = self._writer.result_text(item)
            return {"role": "function", "name": item.call.name, "content": content}
        call_id = self._ids.of(item.call)
        if item.is_whole and said.message["role"] == "tool" and _are_texts(said.parts):
            content = restored(said, said.parts)
            if content in (None, []):
                self._report.repair(FILLED_RESULT, item.at)
                content = NO_OUTPUT_TEXT
            keys = self._writer.keys_of(said, MESSAGE_KEYS)
            keys.pop("content", None)
            keys.pop(shapes.RESULT_ID_KEY, None)
            return {"role": "tool", shapes.RESULT_ID_KEY: call_id, "content": content, **keys}
        if item.is_error and not item.is_added:
            self._report.loss(ERROR_FLAG, item.at)
        content = self._writer.result_text(item)
        return {"role": "tool", shapes.RESULT_ID_KEY: call_id, "content": content}


def _are_texts(parts: Sequence[Part]) -> bool:
    for part in parts:
        if part["type"] != "text" or not isinstance(part.get("text"), str):
            return False
    return True


def _has_content(said: Said) -> bool:
    """Return whether a message that says nothing came with content all the same."""
    return said.form in ("string", "null") or (said.form == "list" and not said.parts)


def _is_said(item: Item) -> bool:
    return isinstance(item, (TextItem, MediaItem)) or (
        isinstance(item, CallItem) and not item.is_served
    )


def _media_block(item: MediaItem) -> Json | None:
    url = media.data_url(item) or item.url
    if item.kind == "image" and url:
        return {"type": "image_url", "image_url": {"url": url}}
    if item.kind == "audio" and item.data:
        name = media.format_name(item.media_type)
        if name in _AUDIO:
            return {"type": "input_audio", "input_audio": {"data": item.data, "format": name}}
    if item.kind == "file" and item.data:
        name = item.name or f"file.{media.format_name(item.media_type) or 'bin'}"
        return {"type": "file", "file": {"filename": name, "file_data": url}}
    return None
