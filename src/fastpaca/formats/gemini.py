"""
Gemini's `contents`: the user and the model in turn, parts told by their data key.

Instructions stand apart. A turn of the model with calls follows one of the user, and the turn right
after it holds a response for each of its calls and nothing else. The first call of each step is
signed; one that another model made goes out with the signature that Google documents for it.

Sources: https://ai.google.dev/gemini-api/docs/function-calling and
https://ai.google.dev/gemini-api/docs/thought-signatures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, ClassVar, Final

from fastpaca.context import jsontext
from fastpaca.formats import incoming
from fastpaca.formats.arrangement import RESULTS, Arrangement, Turn
from fastpaca.formats.blocks import Block, Fields
from fastpaca.formats.incoming import Incoming, Rules
from fastpaca.formats.items import (
    CallItem,
    CompactionItem,
    Item,
    MediaItem,
    OpaqueItem,
    Part,
    ResultItem,
    TextItem,
)
from fastpaca.formats.merging import Blocks, Merged, Merger
from fastpaca.formats.reading import ASSISTANT, Said
from fastpaca.formats.report import (
    ADDED_SIGNATURE,
    DROPPED_BLANK,
    FIRST_TEXT,
    LAST_TEXT,
)
from fastpaca.formats.writing import BlockWriter, Ids, Json, WrittenList, is_said

NAME: Final = "gemini"

DATA_KEYS: Final = {
    "text": "text",
    "functionCall": "functionCall",
    "function_call": "functionCall",
    "functionResponse": "functionResponse",
    "function_response": "functionResponse",
    "inlineData": "inlineData",
    "inline_data": "inlineData",
    "fileData": "fileData",
    "file_data": "fileData",
    "executableCode": "executableCode",
    "executable_code": "executableCode",
    "codeExecutionResult": "codeExecutionResult",
    "code_execution_result": "codeExecutionResult",
    "toolCall": "toolCall",
    "tool_call": "toolCall",
    "toolResponse": "toolResponse",
    "tool_response": "toolResponse",
}
"""Keys that say what a part is, as the API and as its Python package spell them, and the type."""

OTHER_KEYS: Final = frozenset(
    {
        "thought",
        "thoughtSignature",
        "thought_signature",
        "videoMetadata",
        "video_metadata",
        "mediaResolution",
        "media_resolution",
        "partMetadata",
        "part_metadata",
        "audioTranscription",
        "audio_transcription",
        "mediaProcessing",
        "media_processing",
        "speechMetadata",
        "speech_metadata",
        "documentMetadata",
        "document_metadata",
        "spreadsheetMetadata",
        "spreadsheet_metadata",
        "audioMetadata",
        "audio_metadata",
    }
)
"""Keys that a part has besides."""

THOUGHT: Final = "thought"

FOREIGN_SIGNATURE: Final = "skip_thought_signature_validator"
"""Stands for the signature of a call that Gemini did not make; from the page on signatures."""

_SIGNATURE, _SIGNATURE_IN_PYTHON = "thoughtSignature", "thought_signature"


def _type_of(members: jsontext.Members) -> str:
    """Name a part by its data key; a text that is a thought by that."""
    if members.get(THOUGHT) == b"true" and "text" in members:
        return THOUGHT
    for key in members:
        if key in DATA_KEYS:
            return DATA_KEYS[key]
    return next(iter(members), "")


def _block(kind: str, fields: Fields) -> Block:
    """Make a block of that *kind*; each of its *fields* may be spelled as in Python, too."""
    keys = [key for key, named in DATA_KEYS.items() if named == kind]
    spelled = {
        field.replace(kind, key, 1): f"{kinds}?" if "." not in field and len(keys) > 1 else kinds
        for field, kinds in fields.items()
        for key in keys
    }
    return Block.of(spelled, " ".join(OTHER_KEYS))


BLOCKS: Final = {
    "text": _block("text", {"text": '"'}),
    THOUGHT: _block("text", {"text": '"'}),
    "functionCall": _block(
        "functionCall",
        {"functionCall": "{", "functionCall.name": '"', "functionCall.args": "{?"},
    ),
    "functionResponse": _block(
        "functionResponse",
        {
            "functionResponse": "{",
            "functionResponse.name": '"',
            "functionResponse.response": "{?",
        },
    ),
    "inlineData": _block("inlineData", {"inlineData": "{", "inlineData.data": '"'}),
    "fileData": _block("fileData", {"fileData": "{"}),
    "executableCode": _block("executableCode", {"executableCode": "{"}),
    "codeExecutionResult": _block("codeExecutionResult", {"codeExecutionResult": "{"}),
    "toolCall": _block("toolCall", {"toolCall": "{"}),
    "toolResponse": _block("toolResponse", {"toolResponse": "{"}),
}
"""Every part that a content may hold, by what its data key says that it is."""

RULES: Final = Rules(
    name=NAME,
    roles=("user", "model", "function", "tool"),
    key="parts",
    forms=("list",),
    blocks=BLOCKS,
    type_of=_type_of,
)
"""What comes in."""


def read(text: bytes, field: str) -> Incoming:
    """
    Read a content; one without a role is the user's.

    Raises:
        InvalidRequest: It is none.
    """
    members = jsontext.members(text, ("role", "parts"), field)
    if members.get("role", b"null") == b"null":
        text = jsontext.joined({**members, "role": b'"user"'})
    return incoming.read_message(text, RULES, field)


def write(writer: BlockWriter, arrangement: Arrangement, system: Sequence[Said]) -> WrittenList:
    """Write the contents of a request, and its instruction."""
    blocks = _GeminiBlocks(writer)
    for before, turn in pairwise(arrangement.turns):
        if turn.side is RESULTS and len(turn.items) > 1:
            _put_in_order(before, turn)
    merger = Merger(blocks, writer.report)
    contents = [
        {"role": "model" if one.role is ASSISTANT else "user", "parts": one.blocks}
        for one in merger.write(arrangement)
    ]
    parts = blocks.instructions(system)
    return WrittenList(contents, merger.stable, {"parts": parts} if parts else None)


def _put_in_order(calls: Turn, results: Turn) -> None:
    """Put results in the order of their calls, unless each names its own."""
    made = [item for item in calls.items if isinstance(item, CallItem)]
    if not all(_held(call.part, "functionCall").get("id") for call in made):
        order = {id(call): place for place, call in enumerate(made)}
        results.items = sorted(
            results.items,
            key=lambda item: order.get(id(item.call), 0) if isinstance(item, ResultItem) else 0,
        )


def _held(part: Part, kind: str) -> Mapping[str, Any]:
    """Return what *part* holds under a data key of that type; nothing if it has none."""
    for key in _KEYS_OF[kind]:
        if key in part and isinstance(part[key], dict):
            return part[key]  # type: ignore[no-any-return]  # it is JSON
    return {}


_KEYS_OF: Final = {
    kind: tuple(key for key, named in DATA_KEYS.items() if named == kind)
    for kind in DATA_KEYS.values()
}
"""By type, the data keys that have it."""


class _GeminiBlocks(Blocks):
    first: ClassVar[Json] = {"text": FIRST_TEXT}
    last: ClassVar[Json] = {"text": LAST_TEXT}
    results_alone = True

    def __init__(self, writer: BlockWriter) -> None:
        super().__init__(writer)
        self._ids = Ids(writer, r".*", r"[^a-zA-Z0-9_.:-]", 64)

    def write(self, _side: str, item: Item, /) -> list[Json]:
        if type(item) is TextItem:
            return [{"text": item.text}] if item.is_plain else self._text(item)
        if type(item) is CallItem and not item.is_served:
            return self._call(item)
        if type(item) is ResultItem and not item.is_served:
            return self._result(item)
        if self._writer.owns(item) and not _is_empty(item):
            return [_untyped(item.part)]
        if isinstance(item, MediaItem):
            block = _media_part(item)
            if block is not None:
                return [block]
        if isinstance(item, (MediaItem, CompactionItem)) and item.text.strip():
            return [{"text": self._writer.spoken(item)}]
        self._writer.lost(item)
        return []

    def _text(self, item: TextItem) -> list[Json]:
        part = item.part
        is_signed = part.get(_SIGNATURE) or part.get(_SIGNATURE_IN_PYTHON)
        if item.is_blank and not is_signed:
            self._report.repair(DROPPED_BLANK, item.at)
            return []
        if self._writer.owns(item):
            return [_untyped(part)]
        return [{"text": self._writer.text_of(item)}]

    def _call(self, call: CallItem) -> list[Json]:
        name = self._ids.name(call)
        if not call.plain_in and self._writer.owns(call):
            return [_named(call.part, "functionCall", name)]
        given = self._writer.arguments_object(call)
        return [{"functionCall": {"name": name, "args": given}}]

    def _result(self, result: ResultItem) -> list[Json]:
        assert result.call is not None
        call, name = result.call, self._ids.name(result.call)
        if not result.plain_in and self._writer.owns(result):
            return [_named(result.part, "functionResponse", name)]
        response = {"name": name, "response": self._response(result)}
        call_id = None if call.plain_in else _held(call.part, "functionCall").get("id")
        if call_id:
            response["id"] = call_id
        return [{"functionResponse": response}]

    def _response(self, result: ResultItem) -> Mapping[str, Any]:
        value = result.value
        if is_said(value) and not result.is_error:
            return {"output": value}
        if isinstance(value, dict) and not result.is_error and not _is_output(value):
            return value
        key = "error" if result.is_error else "output"
        return {key: self._writer.result_text(result)}

    def finish_reply(self, message: Merged, turn: Turn) -> None:
        """Let the first call of a step be signed."""
        for part in message.blocks:
            if isinstance(part.get("functionCall") or part.get("function_call"), dict):
                if not (part.get(_SIGNATURE) or part.get(_SIGNATURE_IN_PYTHON)):
                    part[_SIGNATURE] = FOREIGN_SIGNATURE
                    call = next(filter(_is_call, turn.items))
                    self._report.repair_once(ADDED_SIGNATURE, call.at)
                return


def _is_call(item: Item) -> bool:
    return type(item) is CallItem


def _is_empty(item: Item) -> bool:
    """Return whether a part has the key of a call or a response, and nothing under it."""
    return isinstance(item, OpaqueItem) and item.part["type"] in (
        "functionCall",
        "functionResponse",
    )


def _is_output(value: Mapping[str, Any]) -> bool:
    return "type" in value or set(value) in ({"output"}, {"result"})


def _untyped(part: Part) -> Json:
    return {key: value for key, value in part.items() if key != "type"}


def _named(part: Part, kind: str, name: str) -> Json:
    written = _untyped(part)
    for key in written:
        if DATA_KEYS.get(key) == kind and written[key].get("name") != name:
            written[key] = {**written[key], "name": name}
    return written


def _media_part(item: MediaItem) -> Json | None:
    if item.data and item.media_type:
        return {"inlineData": {"mimeType": item.media_type, "data": item.data}}
    if item.url:
        held = {"fileUri": item.url}
        if item.media_type:
            held["mimeType"] = item.media_type
        return {"fileData": held}
    return None
