"""
A message as a caller sends it: parsing it, and refusing what is not a message.

A message is kept as the JSON text that arrived (`Draft.body`). The table in `fastpaca.shapes` says
what its parts and keys mean.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, Final, Literal

import msgspec
from msgspec.structs import replace

from fastpaca import shapes
from fastpaca.context import jsontext
from fastpaca.context.oddities import EMPTY_CALL_ID, Oddity, oddity_of_part
from fastpaca.errors import InvalidRequest
from fastpaca.shapes import Reading, Shape, ToolReference

ADDED_KEYS: Final = frozenset({"seq", "version", "revises", "inserted_at", "token_count"})
"""Keys that the log sets. From a caller, all but `token_count` are ignored."""

PARTS_MAX: Final = 10_000
"""The most parts of a message; each costs every use of the message some microseconds."""

CALLS_IN_KEYS_MAX: Final = 1_000
"""The most calls in the keys of a message; providers allow 128."""

MESSAGE_ID_BYTES_MAX: Final = 512
"""The longest id by which a message is found; longer ones are kept, but nothing finds them."""

KNOWN_KEYS: Final = ADDED_KEYS.union({"role", "parts", "id", "metadata"}, shapes.MESSAGE_KEYS)
"""Keys of a message that mean something here, so each may appear only once."""

_NOTHING: Final = frozenset({b"null", b"[]", b"{}", b'""'})
_FALSE: Final = frozenset({*_NOTHING, b"false"})


class Part(msgspec.Struct, frozen=True, gc=False):
    """
    What counting tokens needs of one part of a message.

    Attributes:
        kind: Its type.
        body: Its JSON text; empty if *text* is all there is to count.
        text: The text of a text part; empty for a part that only a page shows; else None.
        opaque: The JSON text of a text part with other keys, which may be signatures.
    """

    kind: str
    body: bytes
    text: str | None
    opaque: bytes = b""


class Draft(msgspec.Struct, frozen=True, gc=False):
    """
    A checked message from a caller, not yet in a log.

    Attributes:
        role: Its role.
        body: The message as a JSON object, with `metadata` and without the keys that the log sets.
        parts: Its parts, in order.
        keys: The JSON text of each key, with its value, that fastpaca does not use itself, in
            order; empty for keys that cost nothing.
        reading: What its parts and keys are.
        token_count: The caller's own count of its tokens, or None.
        seq: The seq that the caller sent, or None; only a compaction uses it.
        oddities: What is odd about it, without regard to other messages.
        origin: How it came: the format and the form of its content, such as `anthropic/string`;
            empty if it came with parts. No part of what it says.
        message_id: The caller's id by which it is found; empty if it has none that can be.
    """

    role: str
    body: bytes
    parts: tuple[Part, ...]
    keys: tuple[bytes, ...]
    reading: Reading
    token_count: int | None
    seq: int | None
    oddities: tuple[Oddity, ...] = ()
    origin: str = ""
    message_id: str = ""


def parse(
    text: bytes, field: str, parse_content: Callable[[bytes, str], Draft] | None = None
) -> Draft:
    """
    Parse and check one message, given as minified JSON.

    Args:
        text: The message.
        field: Its path in the request, for error messages.
        parse_content: Parses a message that has `content` in place of parts, if it may.

    Raises:
        InvalidRequest: It is not a message; the error names the field and what is expected.
    """
    draft = plain(text)
    if draft is not None:
        return draft
    jsontext.check_depth(text, field)
    message = jsontext.members(text, KNOWN_KEYS, field)
    if parse_content is not None and "parts" not in message and "content" in message:
        return parse_content(text, field)
    role = _role(message, field)
    parts, read_shapes, part_references, oddities = _parts(message, field)
    token_count, seq = message.get("token_count"), message.get("seq")
    body = _kept(text, message, field)
    keys = {
        key: value
        for key, value in message.items()
        if key not in shapes.STRUCTURAL_KEYS and value not in _NOTHING
    }
    decoded, counted = _decoded_keys(keys), _counted_keys(message)
    if keys or part_references:
        reading = shapes.joined(role, read_shapes, part_references, decoded)
    else:
        reading = _reading_without_keys(role, read_shapes)
    if len(reading.tool_references) > CALLS_IN_KEYS_MAX + len(part_references):
        raise InvalidRequest(
            f"A message can have at most {CALLS_IN_KEYS_MAX} calls in its keys.",
            f"{field}.tool_calls",
        )
    return Draft(
        role=role,
        body=body,
        parts=parts,
        keys=counted,
        reading=reading,
        token_count=None
        if token_count is None
        else jsontext.integer(token_count, f"{field}.token_count", 0),
        seq=int(seq) if seq is not None and seq.isdigit() and len(seq) < 20 else None,
        oddities=(*oddities, *_oddities_of_keys(message, decoded, reading))
        if counted
        else oddities,
        message_id=_message_id(message),
    )


def _message_id(message: jsontext.Members) -> str:
    text = message.get("id", b"")
    return findable_id(jsontext.string(text, "id")) if text[:1] == b'"' else ""


def findable_id(message_id: str) -> str:
    """Return *message_id* if a message can be found by it, else an empty string."""
    return message_id if len(message_id.encode()) <= MESSAGE_ID_BYTES_MAX else ""


def _oddities_of_keys(
    message: jsontext.Members, keys: dict[str, Any], reading: Reading
) -> Iterator[Oddity]:
    for index, call in enumerate(keys.get(shapes.CALLS_KEY, ())):
        if call is not None and call.get("id") == "":
            yield Oddity(EMPTY_CALL_ID, f".{shapes.CALLS_KEY}[{index}]")
    if message.get(shapes.RESULT_ID_KEY) == b'""' and any(
        reference.place == shapes.WHOLE_PLACE for reference in reading.tool_references
    ):
        yield Oddity(EMPTY_CALL_ID, f".{shapes.RESULT_ID_KEY}")


def with_id(draft: Draft, message_id: str, field: str) -> Draft:
    """
    Return *draft* with the id *message_id*, which it may have already.

    Raises:
        InvalidRequest: It has another id.
    """
    if draft.message_id == message_id:
        return draft
    if "id" in jsontext.members(draft.body, (), None):
        raise InvalidRequest(
            "The id of the message is not the one in the path; leave it out, or send the same.",
            f"{field}.id",
        )
    body = draft.body[:-1] + b',"id":' + msgspec.json.encode(message_id) + b"}"
    # Each key has its place among the counts, and an id costs nothing.
    return replace(draft, body=body, keys=(*draft.keys, b""), message_id=message_id)


class _Text(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A part with only a text."""

    type: Literal["text"]
    text: str


class _Plain(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A message with only a role, texts, metadata and an id."""

    role: str
    parts: list[_Text]
    metadata: msgspec.Raw = msgspec.Raw()
    id: str | msgspec.UnsetType | None = msgspec.UNSET


_plain_decoder = msgspec.json.Decoder(_Plain)


def plain(text: bytes) -> Draft | None:
    """
    Parse a message with only a role, texts, metadata and an id, as most have, in one pass.

    *text* is minified. None if the message has, or might have, anything else; then call `parse`,
    which returns the same drafts but is slower.
    """
    try:
        message = _plain_decoder.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return None
    role, texts, metadata = message.role, message.parts, bytes(message.metadata)
    # All keys are there. With as many colons as keys, none is there twice.
    keys = 2 + 2 * len(texts)
    if metadata:
        keys += 1 + metadata.count(b'":')
        if metadata[:1] != b"{" or not jsontext.is_shallow(metadata):
            return None
    message_id = ""
    if message.id is not msgspec.UNSET:
        if message.id is None:
            return None
        keys += 1
        message_id = findable_id(message.id)
    if text.count(b'":') != keys or not role or not 0 < len(texts) <= PARTS_MAX:
        return None
    return Draft(
        role=role,
        body=text if metadata else text[:-1] + b',"metadata":{}}',
        parts=tuple([Part("text", b"", part.text) for part in texts]),
        keys=(b"",) if message.id is not msgspec.UNSET else (),  # an id costs nothing
        reading=_reading_without_keys(
            role, bytes([Shape.TEXT if part.text.strip() else Shape.BLANK for part in texts])
        ),
        token_count=None,
        seq=None,
        message_id=message_id,
    )


def _reading_without_keys(role: str, read_shapes: bytes) -> Reading:
    """Read a message without tool references or keys; equal ones share one reading."""
    if len(role) + len(read_shapes) > _SHARED_BYTES_MAX:
        return shapes.joined(role, read_shapes, (), {})
    return _shared_reading(role, read_shapes)


@lru_cache(maxsize=1024)
def _shared_reading(role: str, read_shapes: bytes) -> Reading:
    return shapes.joined(role, read_shapes, (), {})


_SHARED_BYTES_MAX: Final = 64


def _role(message: jsontext.Members, field: str) -> str:
    if "role" not in message:
        raise InvalidRequest(
            "A message needs a role, such as 'user' or 'assistant'; if it is a provider's own, name"
            " its format.",
            f"{field}.role",
        )
    role = jsontext.string(message["role"], f"{field}.role")
    if not role:
        raise InvalidRequest(
            "The role is empty; name one, such as 'user' or 'assistant'.", f"{field}.role"
        )
    return role


def _parts(
    message: jsontext.Members, field: str
) -> tuple[tuple[Part, ...], bytes, tuple[ToolReference, ...], tuple[Oddity, ...]]:
    if "parts" not in message:
        raise InvalidRequest(
            'A message needs content, such as "Hello", or parts, such as'
            ' [{"type": "text", "text": "Hello"}].',
            f"{field}.parts",
        )
    bodies = jsontext.items(message["parts"], f"{field}.parts")
    if len(bodies) > PARTS_MAX:
        raise InvalidRequest(
            f"A message can have at most {PARTS_MAX} parts, not {len(bodies)}; send several"
            " messages.",
            f"{field}.parts",
        )
    parts = []
    read_shapes = bytearray()
    tool_references = []
    oddities: list[Oddity] = []
    for place, body in enumerate(bodies):
        part, shape, reference = _part(place, body, f"{field}.parts[{place}]", oddities)
        parts.append(part)
        read_shapes.append(shape)
        if reference is not None:
            tool_references.append(reference)
    return tuple(parts), bytes(read_shapes), tuple(tool_references), tuple(oddities)


def _part(
    place: int, body: bytes, field: str, oddities: list[Oddity]
) -> tuple[Part, Shape, ToolReference | None]:
    """Read one part, and add what is odd about it to *oddities*."""
    members = jsontext.members(body, shapes.PART_KEYS, field)
    if "type" not in members:
        raise InvalidRequest(
            "A part needs a type, such as 'text'; if it is a provider's own, name its format.",
            f"{field}.type",
        )
    kind = jsontext.string(members["type"], f"{field}.type")
    if kind == "text" and len(members) == 2 and members.get("text", b"")[:1] == b'"':
        text = jsontext.string(members["text"], "text")
        return Part(kind, b"", text), Shape.TEXT if text.strip() else Shape.BLANK, None
    decoded = decoded_part(members)
    row = shapes.row_of(decoded)
    shape = shapes.shape_of(decoded, row)
    reference = None if row is None else shapes.tool_reference_of(place, decoded, row)
    if reference is not None or shape is Shape.OPAQUE:
        oddity = oddity_of_part(place, decoded, row, reference)
        if oddity is not None:
            oddities.append(oddity)
        return Part(kind, body, None), shape, reference
    if shape is Shape.PAGE:
        return Part(kind, b"", ""), shape, None
    said = decoded.get(shapes.TEXT_KEYS.get(kind, ""))
    if isinstance(said, str) and shape in (Shape.TEXT, Shape.BLANK):
        return Part(kind, b"", said, body if len(members) > 2 else b""), shape, None
    return Part(kind, body, None), shape, None


def decoded_part(members: jsontext.Members) -> dict[str, Any]:
    """Decode the *members* of a part that `shapes` reads."""
    part: dict[str, Any] = {}
    for key, value in members.items():
        if key not in shapes.PART_KEYS:
            continue
        if key in shapes.PRESENCE_KEYS:
            part[key] = value not in _FALSE
        elif value[:1] == b'"':
            part[key] = jsontext.string(value, key)
        elif value[:1] == b"{":
            if key in shapes.DATA_KEYS:
                part[key] = _strings(value)
        elif value in (b"true", b"false"):
            part[key] = value == b"true"
    return part


def _strings(value: bytes) -> dict[str, str]:
    """Decode the strings of an object that `shapes` reads."""
    return {
        key: jsontext.string(text, key)
        for key, text in jsontext.members(value, (), None).items()
        if key in shapes.NESTED_KEYS and text[:1] == b'"'
    }


def _decoded_keys(keys: jsontext.Members) -> dict[str, Any]:
    """Decode the *keys* of a message that `shapes` reads; any other value is true."""
    decoded: dict[str, Any] = {}
    for key, value in keys.items():
        if key == shapes.CALLS_KEY:
            decoded[key] = [] if value[:1] != b"[" else list(map(_decoded_call, _items(value)))
        elif key == shapes.CALL_KEY:
            decoded[key] = _strings(value) if value[:1] == b"{" else True
        elif key in shapes.MESSAGE_KEYS and value[:1] == b'"':
            decoded[key] = jsontext.string(value, key)
        else:
            decoded[key] = True
    return decoded


def _items(value: bytes) -> list[bytes]:
    return jsontext.items(value, shapes.CALLS_KEY)


def _decoded_call(value: bytes) -> dict[str, Any] | None:
    if value[:1] != b"{":
        return None
    members = jsontext.members(value, (), None)
    call: dict[str, Any] = {
        key: jsontext.string(members[key], key)
        for key in ("id", "name")
        if members.get(key, b"")[:1] == b'"'
    }
    if members.get("function", b"")[:1] == b"{":
        call["function"] = _strings(members["function"])
    return call


def _counted_keys(message: jsontext.Members) -> tuple[bytes, ...]:
    return tuple(
        msgspec.json.encode(key) + b":" + value
        if value not in _NOTHING and shapes.is_counted(key)
        else b""
        for key, value in message.items()
        if key not in shapes.STRUCTURAL_KEYS
    )


def _kept(text: bytes, message: jsontext.Members, field: str) -> bytes:
    """Return the *text* of a message without the keys that the log sets, and with metadata."""
    metadata = message.get("metadata")
    if metadata is not None and metadata[:1] != b"{":
        raise InvalidRequest(
            f"Must be an object, not {jsontext.kind_of(metadata)}.", f"{field}.metadata"
        )
    if not ADDED_KEYS.isdisjoint(message):
        text = jsontext.without(text, ADDED_KEYS)
    return text if metadata is not None else text[:-1] + b',"metadata":{}}'
