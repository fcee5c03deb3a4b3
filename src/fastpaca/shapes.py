"""
What each part and key of a message is: one closed table for all providers.

A conversation may hold parts of OpenAI, Anthropic, Gemini, Bedrock, the AI SDK and others, as their
SDKs write them. Everything that has to distinguish a call from its result, or a text from what only
a page shows, uses this table: the core, the clients, the formats and the tests. It is data, and
`scripts/shapes.py` writes it to `tests/wire/shapes.json` and to a page of the documentation. This
file is long because the table and the functions that read it are one subject.

How a part is read
------------------

The rows of `ROWS` are tried in this order: a nested data key (Gemini, Bedrock), a `toolCallId` (AI
SDK), the exact type, the end of the type. Among rows of one kind, the first that matches counts. A
part with a `toolCallId` is never read by the end of its type, since a tool may have any name. A
part that no row matches is reasoning, a compaction, a text, page-only, media, or opaque: the first
of these that fits.

A **tool reference** is what a message does to the calls of a conversation: it makes a call, holds a
result, holds both in one, requests an approval, or responds to that. What a message says twice, in
a part and in a key, is one reference with two places: the same id, or the same name without ids.

Decisions that the providers leave open:

- A message of role `tool` or `function` is a result as a whole if it has a `tool_call_id`, or if
  none of its parts is a result or an approval response. With other roles, that key means nothing.
- A `local_shell_call` has two ids, `call_id` and `id`, since its output may name either.
- `tool_search_call` and its output have the name `tool_search`, so that they find each other by
  name when their ids are null.
- Only strings that are not empty are ids and names.

Pure, without other imports from fastpaca. Values are passed decoded. Where the table only asks
whether there is a value, any true value can stand for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import IntEnum, StrEnum
from itertools import chain
from typing import Any, Final

import msgspec


class Side(StrEnum):
    """What a tool reference is."""

    CALL = "call"
    RESULT = "result"
    BOTH = "both"
    """A call and its result in one part."""
    REQUEST = "request"
    """A request to approve a call."""
    RESPONSE = "response"
    """The response to such a request."""


class By(StrEnum):
    """How a row recognises a part. The rows are tried in this order."""

    KEY = "key"
    """By an object under the key that the row names."""
    TOOL_CALL_ID = "toolCallId"
    """By a string under `toolCallId`, and the type that the row names; `*` is any ending."""
    TYPE = "type"
    """By exactly the type that the row names."""
    SUFFIX = "suffix"
    """By the end of its type."""


class Marker(StrEnum):
    """The form of a marker that replaces the values of a result."""

    NONE = "none"
    """None: the result has a type of its own, and is dropped with its call."""
    STRING = "string"
    OUTPUT = "output"
    """`{"type": "text", "value": …}` under `output`, as in model messages of the AI SDK."""
    OBJECT = "object"
    """`{"output": …}`, where a provider wants an object."""
    BLOCKS = "blocks"
    """`[{"text": …}]`."""
    SHELL = "shell"
    """`[{"stdout": …, "stderr": "", "outcome": {"type": "exit", "exit_code": 0}}]`."""


class Row(msgspec.Struct, frozen=True, omit_defaults=True):
    """
    One row of the table: a shape of calls, results or approvals.

    Attributes:
        provider: Whose shape it is.
        side: What it is.
        by: How it is recognised.
        word: The key, the type or the end of the type; see `By`.
        ids: The keys of its id, of which the first with a value counts; in a row by key, the keys
            in its object.
        names: The keys of the name of its tool, in the same place.
        has_state: Whether it must have a `state` (true), must not (false), or may (null).
        needs: Keys that must hold a string that is not empty.
        alias: The key of another id that results may name.
        name: The name of the tool, if the type implies it.
        link: The key of the id of the call that a request is about.
        grants: The key that is false if a response denies.
        values: The keys of a call's arguments, or of a result's values.
        arguments: The keys of the arguments, in a shape that holds both call and result.
        marker: The form of a marker that replaces its values.
    """

    provider: str
    side: Side
    by: By
    word: str
    ids: tuple[str, ...]
    names: tuple[str, ...] = ()
    has_state: bool | None = None
    needs: tuple[str, ...] = ()
    alias: str = ""
    name: str = ""
    link: str = ""
    grants: str = ""
    values: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    marker: Marker = Marker.STRING


def _rows(
    provider: str, side: Side, by: By, words: str, ids: str, **more: str | bool | Marker
) -> list[Row]:
    """Return a row for each of *words*. Spaces separate words, ids and other keys."""
    values: dict[str, Any] = {
        key: tuple(value.split()) if key in _LISTS and isinstance(value, str) else value
        for key, value in more.items()
    }
    return [Row(provider, side, by, word, tuple(ids.split()), **values) for word in words.split()]


_LISTS: Final = frozenset({"names", "needs", "values", "arguments"})

_CALL, _RESULT, _BOTH, _REQUEST, _RESPONSE = Side
_KEY, _TOOL_CALL_ID, _TYPE, _SUFFIX = By
_MODEL, _UI, _RESPONSES = "AI SDK, model messages", "AI SDK, UI messages", "OpenAI Responses"
_UI_VALUES: Final[dict[str, str]] = {"values": "output errorText", "arguments": "input rawInput"}

# fmt: off
ROWS: Final = tuple(chain(
    _rows("Gemini", _CALL, _KEY, "functionCall function_call", "id", names="name", values="args"),
    _rows("Gemini", _RESULT, _KEY, "functionResponse function_response", "id", names="name",
          values="response", marker=Marker.OBJECT),
    _rows("Bedrock", _CALL, _KEY, "toolUse", "toolUseId", names="name", values="input"),
    _rows("Bedrock", _RESULT, _KEY, "toolResult", "toolUseId", values="content",
          marker=Marker.BLOCKS),

    _rows(_MODEL, _CALL, _TOOL_CALL_ID, "tool-call", "toolCallId", names="toolName",
          has_state=False, values="input args"),
    _rows(_MODEL, _RESULT, _TOOL_CALL_ID, "tool-result", "toolCallId", names="toolName",
          has_state=False, values="output result", marker=Marker.OUTPUT),
    _rows(_MODEL, _RESULT, _TOOL_CALL_ID, "tool-error", "toolCallId", names="toolName",
          has_state=False, values="error"),
    _rows(_MODEL, _REQUEST, _TOOL_CALL_ID, "tool-approval-request", "approvalId", has_state=False,
          link="toolCallId"),
    _rows(_UI, _BOTH, _TOOL_CALL_ID, "dynamic-tool", "toolCallId", names="toolName", has_state=True,
          **_UI_VALUES),
    _rows(_UI, _BOTH, _TOOL_CALL_ID, "tool-*", "toolCallId", has_state=True, **_UI_VALUES),

    _rows("fastpaca", _CALL, _TYPE, "tool_call", "tool_call_id call_id id", names="name tool_name",
          values="payload input args arguments"),
    _rows("Anthropic", _RESULT, _TYPE, "tool_result", "tool_use_id", names="name tool_name",
          needs="tool_use_id", values="content"),
    _rows("fastpaca", _RESULT, _TYPE, "tool_result", "tool_call_id call_id id",
          names="name tool_name", values="content output result"),
    _rows("Anthropic", _CALL, _TYPE, "tool_use", "id", names="name", values="input"),
    _rows("Anthropic", _RESULT, _TYPE, "mcp_tool_result", "tool_use_id", values="content"),
    _rows("OpenAI Responses, Agent Framework", _CALL, _TYPE, "function_call", "call_id id",
          names="name", values="arguments"),
    _rows(_RESPONSES, _CALL, _TYPE, "local_shell_call", "call_id", alias="id", name="local_shell",
          values="action"),
    _rows(_RESPONSES, _RESULT, _TYPE, "local_shell_call_output", "call_id id", name="local_shell",
          values="output"),
    _rows(_RESPONSES, _CALL, _TYPE, "tool_search_call", "call_id", name="tool_search",
          values="arguments"),
    _rows(_RESPONSES, _RESULT, _TYPE, "tool_search_output", "call_id", name="tool_search",
          values="tools", marker=Marker.NONE),
    _rows(_RESPONSES, _RESULT, _TYPE, "computer_call_output", "call_id id", marker=Marker.NONE),
    _rows(_RESPONSES, _RESULT, _TYPE, "shell_call_output", "call_id id", values="output",
          marker=Marker.SHELL),
    _rows(_RESPONSES, _REQUEST, _TYPE, "mcp_approval_request", "id", names="name"),
    _rows(_RESPONSES, _RESPONSE, _TYPE, "mcp_approval_response", "approval_request_id",
          grants="approve"),
    _rows(_RESPONSES, _BOTH, _TYPE,
          "web_search_call file_search_call code_interpreter_call image_generation_call", "id",
          values="results outputs", arguments="code", marker=Marker.NONE),
    _rows(_RESPONSES, _BOTH, _TYPE, "mcp_call", "id", names="name", values="output",
          arguments="arguments"),
    _rows(_MODEL, _RESPONSE, _TYPE, "tool-approval-response", "approvalId", grants="approved"),
    _rows(_MODEL, _REQUEST, _TYPE, "tool-approval-request", "approvalId", has_state=False),
    _rows("pydantic-ai", _CALL, _TYPE, "tool-call", "tool_call_id", names="tool_name toolName",
          has_state=False, values="args input"),
    _rows(_MODEL, _RESULT, _TYPE, "tool-result", "tool_call_id", names="toolName tool_name",
          has_state=False, values="output result", marker=Marker.OUTPUT),
    _rows(_MODEL, _RESULT, _TYPE, "tool-error", "tool_call_id", names="toolName tool_name",
          has_state=False, values="error"),
    _rows("pydantic-ai", _CALL, _TYPE, "builtin-tool-call", "tool_call_id", names="tool_name",
          values="args"),
    _rows("pydantic-ai", _RESULT, _TYPE, "tool-return builtin-tool-return", "tool_call_id",
          names="tool_name", values="content"),
    _rows("pydantic-ai", _RESULT, _TYPE, "retry-prompt", "tool_call_id", names="tool_name",
          needs="tool_name", values="content"),
    _rows("LangChain", _CALL, _TYPE, "server_tool_call", "id", names="name", values="args"),
    _rows("LangChain", _RESULT, _TYPE, "server_tool_result", "tool_call_id", values="output"),
    _rows("Agent Framework", _RESULT, _TYPE, "function_result", "call_id", names="name",
          values="result"),

    _rows(_RESPONSES, _RESULT, _SUFFIX, "_call_output", "call_id id", values="output"),
    _rows(_RESPONSES, _CALL, _SUFFIX, "_call", "call_id", names="name", needs="call_id",
          values="input arguments action operation"),
    _rows("Anthropic", _CALL, _SUFFIX, "_tool_use", "id", names="name", values="input"),
    _rows("Anthropic", _RESULT, _SUFFIX, "_tool_result", "tool_use_id",
          values="content output result", marker=Marker.NONE),
))
# fmt: on
"""Calls, results and approvals in parts. Rows with the same `By` are together, in its order."""

ANSWERED_STATES: Final = frozenset({"output-available", "output-error", "output-denied"})
"""States of a UI part in which it holds its result; the AI SDK's `ToolUIPart`."""

CALLS_KEY: Final = "tool_calls"
"""Key of a message with a list of calls, each with `id` and `function.name` (or `name`)."""

CALL_KEY: Final = "function_call"
"""Key of a message with one call without an id, which OpenAI has deprecated."""

RESULT_ROLES: Final = frozenset({"tool", "function"})
"""Roles of messages that are results as a whole."""

RESULT_ID_KEY: Final = "tool_call_id"
RESULT_NAME_KEYS: Final = ("name", "tool_name")

USER_ROLES: Final = frozenset({"user"})
ASSISTANT_ROLES: Final = frozenset({"assistant", "model"})
INSTRUCTION_ROLES: Final = frozenset({"system", "developer"})

# fmt: off
REASONING_TYPES: Final = frozenset({
    "reasoning", "reasoning-file", "thinking", "redacted_thinking", "reasoningContent", "thought",
})
# fmt: on
REASONING_DATA_KEYS: Final = ("reasoningContent",)
REASONING_FLAG: Final = "thought"
"""Gemini's texts with this key true are reasoning."""
REASONING_KEYS: Final = ("reasoning", "reasoning_content", "reasoning_details")
"""Keys of a message."""
REASONING_ITEM_KEYS: Final = ("id", "summary", "encrypted_content")
"""What makes a part of type `reasoning` an item of the Responses API."""

COMPACTION_TYPE: Final = "compaction"
COMPACTION_KEYS: Final = ("content", "encrypted_content")
"""A compaction part stands for everything before it if one of these is not empty."""

TEXT_KEYS: Final = {
    "text": "text",
    "input_text": "text",
    "output_text": "text",
    "refusal": "refusal",
    "message": "",
}
"""Types that are texts, and the key of the text; a nested `message` contains several texts."""

MEDIA_TYPES: Final = frozenset(
    {"file", "document", "input_image", "input_file", "input_audio", "inlineData", "fileData"}
)
MEDIA_PREFIXES: Final = ("image", "audio", "video")
MEDIA_DATA_KEYS: Final = ("inlineData", "fileData")

PAGE_TYPES: Final = frozenset({"step-start"})
PAGE_PREFIXES: Final = ("data-", "source-")
"""Parts that only a page shows: the AI SDK never sends them to a model."""

STRUCTURAL_KEYS: Final = frozenset(
    {"role", "parts", "metadata", "seq", "version", "revises", "token_count", "inserted_at"}
)
"""Keys of a message that are counted elsewhere or are fastpaca's own."""

# fmt: off
BOOKKEEPING_KEYS: Final = frozenset({
    "id", "annotations", "created", "createdAt", "created_at", "experimental_attachments",
    "finishReason", "finish_reason", "index", "invalid_tool_calls", "lc_kwargs", "logprobs",
    "message_id", "model", "model_name", "object", "parent_id", "parentId", "provider_details",
    "provider_name", "provider_response_id", "response_metadata", "run_id", "service_tier",
    "session_id", "sessionId", "status", "stopReason", "stop_details", "stop_reason",
    "stop_sequence", "system_fingerprint", "thread_id", "timestamp", "updatedAt", "updated_at",
    "usage", "usageMetadata", "usage_metadata", "uuid",
})
# fmt: on
"""Keys of a message that never reach a model, and cost nothing. All others count."""

# fmt: off
OPAQUE_KEYS: Final = frozenset({
    "encryptedContent", "encrypted_content", "encrypted_index", "encrypted_stdout",
    "reasoningEncryptedContent", "redactedContent", "redactedData", "redacted_content", "signature",
    "thoughtSignature", "thought_signature",
})
# fmt: on
"""Keys, at any depth, of signatures and encrypted values, which are never cut."""

OPAQUE_TYPES: Final = {"redacted_thinking": "data"}
"""Types of parts with such a value under a key that means something else elsewhere."""

FIXED_KEYS: Final = frozenset({"type", "id", "name", "role", "url", "mediaType", "media_type"})
"""Keys whose strings are never cut. Neither are those of keys that end in an id or a URL."""


class Shape(IntEnum):
    """What a part is."""

    OPAQUE = 0
    """Unknown to the table: it belongs to the caller, and is counted as its JSON."""
    GONE = 1
    """It was taken out."""
    TEXT = 2
    BLANK = 3
    """A text of only white space."""
    REASONING = 4
    REASONING_ITEM = 5
    """Reasoning in the Responses API, which is bound to the item that it led to."""
    MEDIA = 6
    PAGE = 7
    """Only a page shows it."""
    COMPACTION = 8
    """A provider's own summary of everything before it."""
    CALL = 9
    RESULT = 10
    BOTH = 11
    REQUEST = 12
    RESPONSE = 13


_SHAPES: Final = {side: Shape[side.name] for side in Side}

WHOLE_PLACE: Final = -1
"""The place of a result that is its message as a whole."""

CALL_KEY_PLACE: Final = -2
"""The place of the call under `CALL_KEY`."""

_REASONING_PLACES: Final = {key: -3 - index for index, key in enumerate(REASONING_KEYS)}

CALLS_PLACE: Final = -16
"""The place of the first call under `CALLS_KEY`; the next is one less, and so on."""


def reasoning_place(key: str) -> int:
    """Return the place of the reasoning under *key*, one of `REASONING_KEYS`."""
    return _REASONING_PLACES[key]


def key_of_place(place: int) -> str | None:
    """Return the key of a message that holds *place*; None for a part."""
    if place <= CALLS_PLACE:
        return CALLS_KEY
    if place == CALL_KEY_PLACE:
        return CALL_KEY
    return next((key for key, own in _REASONING_PLACES.items() if own == place), None)


class ToolReference(msgspec.Struct, frozen=True, gc=False):
    """
    What a message does to the calls of its conversation, at one place.

    Attributes:
        place: The index of the part, or a negative place in the keys of the message.
        side: What it is.
        id: The id that binds it; empty if it has none.
        name: The name of its tool; empty if it has none.
        alias: Another id of a call.
        link: For an approval request, the id of the call that it is about.
        is_open: For a call that holds its own result, whether the result is still missing.
        denies: For an approval response, whether it denies the call, and so answers it.
        also: Other places in the message that say the same.
    """

    place: int
    side: Side
    id: str = ""
    name: str = ""
    alias: str = ""
    link: str = ""
    is_open: bool = False
    denies: bool = False
    also: tuple[int, ...] = ()

    @property
    def places(self) -> tuple[int, ...]:
        """All its places in its message."""
        return (self.place, *self.also)

    @property
    def answers(self) -> bool:
        """Whether it only answers an earlier call or approval request."""
        return self.side is Side.RESULT or self.side is Side.RESPONSE


class Speaker(IntEnum):
    """Who a message is from, as far as it decides which neighbours belong together."""

    OTHER = 0
    ASSISTANT = 1
    PASSED = 2
    """Instructions, or nothing that a model sees: skipped between two messages of the assistant."""


class Reading(msgspec.Struct, frozen=True, gc=False):
    """
    A message, read by the table.

    Attributes:
        shapes: The `Shape` of each part, a byte each.
        tool_references: Its calls, results and approvals: those of parts, then those of keys.
        opens_turn: Whether it is a user message that answers nothing, with a part that a model
            sees.
        reasoning_keys: Which of its keys hold reasoning.
        has_other_keys: Whether it has other counted keys than those of reasoning and calls.
        speaker: Who it is from.
        ends_in_reasoning: Whether the last visible part is reasoning.
    """

    shapes: bytes
    tool_references: tuple[ToolReference, ...] = ()
    opens_turn: bool = False
    reasoning_keys: tuple[str, ...] = ()
    has_other_keys: bool = False
    speaker: Speaker = Speaker.OTHER
    ends_in_reasoning: bool = False

    @property
    def holds_summary(self) -> bool:
        """Whether a part of it stands for everything before it; none does in a whole result."""
        return Shape.COMPACTION in self.shapes and not any(
            WHOLE_PLACE in reference.places for reference in self.tool_references
        )


Part = Mapping[str, Any]
"""A part: a JSON object, decoded as far as the table needs."""

_BY_KEY: Final = {row.word: row for row in ROWS if row.by is By.KEY}
_DATA_WORDS: Final = frozenset(_BY_KEY)
_BY_TOOL_CALL_ID: Final = [row for row in ROWS if row.by is By.TOOL_CALL_ID]
_BY_TYPE: Final = {
    word: [row for row in ROWS if row.by is By.TYPE and row.word == word]
    for word in {row.word for row in ROWS if row.by is By.TYPE}
}
_BY_SUFFIX: Final = [row for row in ROWS if row.by is By.SUFFIX]
_SUFFIXES: Final = tuple(row.word for row in _BY_SUFFIX)

DATA_KEYS: Final = frozenset({*_BY_KEY, *REASONING_DATA_KEYS, *MEDIA_DATA_KEYS})
"""Keys of a part that hold an object which says what the part is."""

PRESENCE_KEYS: Final = frozenset({*REASONING_ITEM_KEYS, *COMPACTION_KEYS} - {"id"})
"""Keys of a part for which only matters whether they hold something."""

PART_KEYS: Final = frozenset(
    {"type", "text", "refusal", "state", "toolCallId", REASONING_FLAG}
    | DATA_KEYS
    | PRESENCE_KEYS
    | {key for row in ROWS if row.by is not By.KEY for key in row.ids + row.names + row.needs}
    | {key for row in ROWS for key in (row.alias, row.link, row.grants) if key}
)
"""Keys of a part that are read here."""

NESTED_KEYS: Final = frozenset(
    key for row in ROWS if row.by is By.KEY for key in row.ids + row.names
)
"""Keys that are read in the objects under `DATA_KEYS`."""

MESSAGE_KEYS: Final = frozenset(
    {CALLS_KEY, CALL_KEY, RESULT_ID_KEY, *RESULT_NAME_KEYS, *REASONING_KEYS}
)
"""Keys of a message that are read here, besides its role and parts."""


def row_of(part: Part) -> Row | None:
    """Return the row of *part*; None if it is not a call, a result or an approval."""
    kind: str = part["type"]
    if not _DATA_WORDS.isdisjoint(part):
        for key in part:
            row = _BY_KEY.get(key)
            if row is not None and isinstance(part[key], Mapping):
                return row
    is_ui = isinstance(part.get("toolCallId"), str)
    if is_ui:
        for row in _BY_TOOL_CALL_ID:
            if _has_type(row, kind) and _fits(row, part):
                return row
    for row in _BY_TYPE.get(kind, ()):
        if _fits(row, part):
            return row
    if not is_ui and kind.endswith(_SUFFIXES):
        for row in _BY_SUFFIX:
            if kind.endswith(row.word) and _fits(row, part):
                return row
    return None


def _has_type(row: Row, kind: str) -> bool:
    if row.word.endswith("*"):
        return kind.startswith(row.word[:-1])
    return kind == row.word


def _fits(row: Row, part: Part) -> bool:
    if row.has_state is not None and isinstance(part.get("state"), str) != row.has_state:
        return False
    return not row.needs or all(_string(part.get(key)) for key in row.needs)


def shape_of(part: Part, row: Row | None) -> Shape:
    """Return what *part* is, given its *row* from `row_of`."""
    if row is not None:
        return _SHAPES[row.side]
    kind: str = part["type"]
    if kind == "text" and part.get(REASONING_FLAG) is not True:
        return Shape.TEXT if _string(part.get("text")).strip() else Shape.BLANK
    if _is_reasoning(kind, part):
        is_item = kind == "reasoning" and any(part.get(key) for key in REASONING_ITEM_KEYS)
        return Shape.REASONING_ITEM if is_item else Shape.REASONING
    if kind == COMPACTION_TYPE and any(part.get(key) for key in COMPACTION_KEYS):
        return Shape.COMPACTION
    if kind in TEXT_KEYS:
        key = TEXT_KEYS[kind]
        has_text = not key or _string(part.get(key)).strip()
        return Shape.TEXT if has_text else Shape.BLANK
    if kind in PAGE_TYPES or kind.startswith(PAGE_PREFIXES):
        return Shape.PAGE
    if kind in MEDIA_TYPES or kind.startswith(MEDIA_PREFIXES):
        return Shape.MEDIA
    if any(isinstance(part.get(key), Mapping) for key in MEDIA_DATA_KEYS):
        return Shape.MEDIA
    return Shape.OPAQUE


def _is_reasoning(kind: str, part: Part) -> bool:
    if kind in REASONING_TYPES or any(
        isinstance(part.get(key), Mapping) for key in REASONING_DATA_KEYS
    ):
        return True
    return part.get(REASONING_FLAG) is True and isinstance(part.get("text"), str)


def tool_reference_of(place: int, part: Part, row: Row) -> ToolReference:
    """Return the tool reference of *part* at *place*, which matches *row*."""
    held: Part = part[row.word] if row.by is By.KEY else part
    is_ui_tool = row.word == "tool-*"
    name = row.name or (part["type"].removeprefix("tool-") if is_ui_tool else "")
    return ToolReference(
        place=place,
        side=row.side,
        id=_first(held, row.ids),
        name=name or _first(held, row.names),
        alias=_string(part.get(row.alias)),
        link=_string(part.get(row.link)),
        is_open=row.has_state is True
        and row.side is Side.BOTH
        and part.get("state") not in ANSWERED_STATES,
        denies=bool(row.grants) and part.get(row.grants) is False,
    )


def _first(held: Part, keys: Iterable[str]) -> str:
    for key in keys:
        text = held.get(key)
        if text and isinstance(text, str):
            return text
    return ""


def _string(value: object) -> str:
    return value if isinstance(value, str) else ""


def read(role: str, parts: Sequence[Part], keys: Mapping[str, Any]) -> Reading:
    """
    Read a message by the table.

    Args:
        role: Its role.
        parts: Its parts, each with a string `type`.
        keys: Its other keys with a value; those of `MESSAGE_KEYS` decoded.
    """
    shapes = bytearray()
    tool_references: list[ToolReference] = []
    for place, part in enumerate(parts):
        row = row_of(part)
        shapes.append(shape_of(part, row))
        if row is not None:
            tool_references.append(tool_reference_of(place, part, row))
    return joined(role, bytes(shapes), tool_references, keys)


def joined(
    role: str, shapes: bytes, part_references: Sequence[ToolReference], keys: Mapping[str, Any]
) -> Reading:
    """Return the reading of a message from those of its parts, its role and its *keys*."""
    tool_references = tool_references_of(role, part_references, keys)
    reading = Reading(
        shapes=shapes,
        tool_references=tool_references,
        opens_turn=opens_turn(role, shapes, tool_references),
        reasoning_keys=reasoning_keys_of(keys),
        has_other_keys=not _ACCOUNTED_KEYS.issuperset(keys),
    )
    return placed(reading, role)


def tool_references_of(
    role: str, part_references: Sequence[ToolReference], keys: Mapping[str, Any]
) -> tuple[ToolReference, ...]:
    """Return all tool references of a message: those of its parts, then those of its *keys*."""
    key_references = _tool_references_of_keys(role, part_references, keys)
    if not part_references or not key_references:
        return (*part_references, *key_references)
    return tuple(_joined_references(part_references, key_references))


def reasoning_keys_of(keys: Mapping[str, Any]) -> tuple[str, ...]:
    """Return which of the *keys* of a message hold reasoning."""
    if keys.keys().isdisjoint(REASONING_KEYS):
        return ()
    return tuple([key for key in REASONING_KEYS if keys.get(key)])


def opens_turn(role: str, shapes: bytes, tool_references: Sequence[ToolReference]) -> bool:
    """Return whether a message opens a turn: its user says something that answers nothing."""
    if role not in USER_ROLES or not shapes.strip(_PAGE):
        return False
    return not any(reference.answers for reference in tool_references)


def placed(reading: Reading, role: str) -> Reading:
    """Return *reading* with its speaker, and whether it ends in reasoning."""
    seen = reading.shapes.translate(None, _UNSEEN)
    is_for_a_page = bool(reading.shapes) and not seen
    if role in INSTRUCTION_ROLES or (
        is_for_a_page and not reading.tool_references and not reading.has_other_keys
    ):
        speaker = Speaker.PASSED
    else:
        speaker = Speaker.ASSISTANT if role in ASSISTANT_ROLES else Speaker.OTHER
    if any(reference.place < WHOLE_PLACE for reference in reading.tool_references):
        ends = False  # the calls in its keys come after its parts
    elif seen:
        ends = seen[-1] in (Shape.REASONING, Shape.REASONING_ITEM)
    else:
        ends = bool(reading.reasoning_keys) and not reading.has_other_keys
    return msgspec.structs.replace(reading, speaker=speaker, ends_in_reasoning=ends)


_UNSEEN: Final = bytes([Shape.GONE, Shape.PAGE])
_PAGE: Final = bytes([Shape.PAGE])


_ACCOUNTED_KEYS: Final = STRUCTURAL_KEYS | BOOKKEEPING_KEYS | {CALLS_KEY, CALL_KEY, *REASONING_KEYS}


def is_counted(key: str) -> bool:
    """Return whether the value of a message under *key* is counted by itself."""
    return key not in STRUCTURAL_KEYS and key not in BOOKKEEPING_KEYS


def _tool_references_of_keys(
    role: str, part_references: Sequence[ToolReference], keys: Mapping[str, Any]
) -> list[ToolReference]:
    references: list[ToolReference] = []
    listed = keys.get(CALLS_KEY)
    for index, call in enumerate(listed if isinstance(listed, _LIST) else ()):
        if isinstance(call, _OBJECT):
            function = call.get("function")
            named = function if isinstance(function, _OBJECT) else call
            place, name = CALLS_PLACE - index, _string(named.get("name"))
            references.append(ToolReference(place, _CALL, _string(call.get("id")), name))
    legacy = keys.get(CALL_KEY)
    if isinstance(legacy, _OBJECT):
        name = _string(legacy.get("name"))
        references.append(ToolReference(CALL_KEY_PLACE, _CALL, "", name))
    if role in RESULT_ROLES:
        answered = _string(keys.get(RESULT_ID_KEY))
        if answered or not any(reference.answers for reference in part_references):
            name = _first(keys, RESULT_NAME_KEYS)
            references.append(ToolReference(WHOLE_PLACE, _RESULT, answered, name))
    return references


# Most values are of the first type of each pair, which is asked for much faster than the second.
_LIST: Final = (list, Sequence)
_OBJECT: Final = (dict, Mapping)


def _joined_references(
    part_references: Sequence[ToolReference], key_references: Sequence[ToolReference]
) -> Iterator[ToolReference]:
    """Join references of parts and keys; what both say is one reference, at the part's place."""
    waiting: dict[object, list[ToolReference]] = {}
    for reference in key_references:
        waiting.setdefault(_identity(reference), []).append(reference)
    twins: set[int] = set()
    for reference in part_references:
        same = waiting.get(_identity(reference))
        if not same:
            yield reference
            continue
        twin = same.pop(0)
        twins.add(twin.place)
        name = reference.name or twin.name
        yield msgspec.structs.replace(reference, name=name, also=(twin.place,))
    for reference in key_references:
        if reference.place not in twins:
            yield reference


def _identity(reference: ToolReference) -> object:
    return (reference.side, reference.id) if reference.id else (reference.side, "", reference.name)
