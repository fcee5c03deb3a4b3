"""
A message: what a caller sends, and how it stands in a log and a window.

A message is kept as the JSON text it came in (`Draft.body`), and served as that text between the
fields that the log adds (`Entry.body`). Nothing decodes it again unless something must be taken
out.

Token counts are decided once, when the message comes in: an overhead of 3 for the message plus the
count of its role, one for each key that can reach a model, and one for each part. A message that
loses parts later costs what is left of these, never more than it had, so a new estimator changes no
existing window.

What its parts and keys mean is read by the table in `fastpaca.shapes`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final, Literal

import msgspec

from fastpaca import shapes
from fastpaca.context import jsontext
from fastpaca.context.oddities import EMPTY_CALL_ID, Oddity, oddity_of_part
from fastpaca.errors import InvalidRequest
from fastpaca.shapes import Reading, Shape, ToolReference

MESSAGE_OVERHEAD_TOKENS: Final = 3
"""Tokens that frame a message, as OpenAI's chat format has them."""

ANSWERED_KEYS: Final = frozenset({"seq", "version", "inserted_at"})
"""Keys that the log itself answers; ignored on the way in."""

PARTS_MAX: Final = 10_000
"""The most parts of a message; each costs every look at it some microseconds."""

CALLS_IN_KEYS_MAX: Final = 1_000
"""The most calls in the keys of a message; providers end at 128."""

_ADDED_KEYS: Final = ANSWERED_KEYS | {"token_count"}

KNOWN_KEYS: Final = frozenset(
    {"role", "parts", "id", "metadata", "token_count", *shapes.MESSAGE_KEYS, *ANSWERED_KEYS}
)
"""Keys of a message that mean something here: given twice, they would mean two things."""

_NOTHING: Final = frozenset({b"null", b"[]", b"{}", b'""'})
_FALSE: Final = frozenset({*_NOTHING, b"false"})

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Part(msgspec.Struct, frozen=True, gc=False):
    """
    One part of a message, as far as it is counted.

    Attributes:
        kind: Its type.
        body: Its JSON text; empty for a part that its *text* stands for.
        text: The text of a text; empty for a part that only a page shows; else None.
        opaque: JSON text of a text part that has more than its text, which may be signed.
    """

    kind: str
    body: bytes
    text: str | None
    opaque: bytes = b""


class Draft(msgspec.Struct, frozen=True, gc=False):
    """
    A message as a caller sent it, checked, not yet in a log.

    Attributes:
        role: Who speaks.
        body: The message as a JSON object without the fields that the log adds; has `metadata`.
        parts: Its parts, in order.
        keys: JSON text of each key, with its value, that fastpaca does not read itself, in order;
            empty for those that cost nothing.
        reading: What its parts and keys are.
        token_count: The caller's own count in tokens, or None.
        seq: The seq that the caller named, or None; only a compaction looks at it.
        oddities: What is odd about it by itself.
    """

    role: str
    body: bytes
    parts: tuple[Part, ...]
    keys: tuple[bytes, ...]
    reading: Reading
    token_count: int | None
    seq: int | None
    oddities: tuple[Oddity, ...] = ()


class Counts(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """
    What a message costs, in tokens, piece by piece.

    Attributes:
        total: What counts: the caller's own count if there is one, else the sum of the rest.
        overhead: The message itself and its role.
        keys: Each key of the message that is not one of `shapes.STRUCTURAL_KEYS`, in order; 0 for
            those that never reach a model.
        parts: Each part.
    """

    total: int
    overhead: int
    keys: tuple[int, ...]
    parts: tuple[int, ...]

    @property
    def counted(self) -> int:
        """The sum of all but *total*."""
        return self.overhead + sum(self.keys) + sum(self.parts)


def scaled(counts: Counts, factor: float, token_count: int | None) -> Counts:
    """
    Multiply *counts* by *factor*, each piece rounded up; a caller's *token_count* stays.

    In binary floating point, so that a client that computes it comes to the same number.
    """
    if factor == 1:
        return counts
    pieces = Counts(
        0,
        math.ceil(counts.overhead * factor),
        tuple([math.ceil(tokens * factor) for tokens in counts.keys]),
        tuple([math.ceil(tokens * factor) for tokens in counts.parts]),
    )
    total = pieces.counted if token_count is None else token_count
    return msgspec.structs.replace(pieces, total=total)


class Entry(msgspec.Struct, frozen=True, gc=False):
    """
    A message in a window or in a page of the log.

    Attributes:
        seq: Its place in the log; None for a synthetic message.
        version: The version of the context that brought it.
        position: Its place among the messages of its replacement; 0 for a message of the log.
        role: Who speaks.
        counts: What it costs as it stands here.
        body: The JSON text as it is served.
        reading: What its parts and keys are, as far as they are left. Whether it opens a turn was
            decided when it was appended.
        covers_from: First seq it stands for.
        covers_to: Last seq it stands for.
        without: Places of all that was ever taken out of it, ascending; see `shapes.ToolReference`.
        is_task: Whether a cut fell into the turn that it opened, and it stayed as the task.
    """

    seq: int | None
    version: int
    position: int
    role: str
    counts: Counts
    body: bytes
    reading: Reading
    covers_from: int
    covers_to: int
    without: tuple[int, ...] = ()
    is_task: bool = False

    @property
    def tokens(self) -> int:
        """Tokens that this entry adds to a window."""
        return self.counts.total

    @property
    def tool_references(self) -> tuple[ToolReference, ...]:
        """Its calls, results and approvals, as far as they are left."""
        return self.reading.tool_references

    @property
    def opens_turn(self) -> bool:
        """Whether it opens a turn."""
        return self.reading.opens_turn

    @property
    def at_seq(self) -> int:
        """Where in the log it stands: at its seq, or at the last one that it is a summary of."""
        return self.covers_to if self.seq is None else self.seq


def parse(text: bytes, field: str) -> Draft:
    """
    Check one message, given as minified JSON, and take it apart.

    *field* is the path of the message in the request, for error messages.

    Raises:
        InvalidRequest: It is not a message; the error names the field and what would be right.
    """
    draft = plain(text)
    if draft is not None:
        return draft
    jsontext.check_depth(text, field)
    message = jsontext.members(text, KNOWN_KEYS, field)
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
    )


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


class _Text(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A part that is nothing but text."""

    type: Literal["text"]
    text: str


class _Plain(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A message that is nothing but a role, texts and metadata."""

    role: str
    parts: list[_Text]
    metadata: msgspec.Raw = msgspec.Raw()


_plain_decoder = msgspec.json.Decoder(_Plain)


def plain(text: bytes) -> Draft | None:
    """
    Read a message that is nothing but a role, texts and metadata, as most are, in one go.

    *text* is minified. None if it is anything else, or might be: `parse` then takes it apart piece
    by piece, and comes to the same for those that are read here.
    """
    try:
        message = _plain_decoder.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return None
    role, texts, metadata = message.role, message.parts, bytes(message.metadata)
    # All keys are there. That none is there twice is certain if there are no more than these.
    keys = 2 + 2 * len(texts)
    if metadata:
        keys += 1 + metadata.count(b'":')
        if metadata[:1] != b"{" or not jsontext.is_shallow(metadata):
            return None
    if text.count(b'":') != keys or not role or not 0 < len(texts) <= PARTS_MAX:
        return None
    return Draft(
        role=role,
        body=text if metadata else text[:-1] + b',"metadata":{}}',
        parts=tuple([Part("text", b"", part.text) for part in texts]),
        keys=(),
        reading=_reading_without_keys(
            role, bytes([Shape.TEXT if part.text.strip() else Shape.BLANK for part in texts])
        ),
        token_count=None,
        seq=None,
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
            "A message needs a role, such as 'user' or 'assistant'.", f"{field}.role"
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
            'A message needs parts, such as [{"type": "text", "text": "Hello"}].', f"{field}.parts"
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
    """Read one part; what is odd about it is added to *oddities*."""
    found = jsontext.members(body, shapes.PART_KEYS, field)
    if "type" not in found:
        raise InvalidRequest("A part needs a type, such as 'text'.", f"{field}.type")
    kind = jsontext.string(found["type"], f"{field}.type")
    if kind == "text" and len(found) == 2 and found.get("text", b"")[:1] == b'"':
        text = jsontext.string(found["text"], "text")
        return Part(kind, b"", text), Shape.TEXT if text.strip() else Shape.BLANK, None
    decoded = decoded_part(found)
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
        return Part(kind, b"", said, body if len(found) > 2 else b""), shape, None
    return Part(kind, body, None), shape, None


def decoded_part(found: jsontext.Members) -> dict[str, Any]:
    """Decode of a part, given as its members, what `shapes` reads."""
    part: dict[str, Any] = {}
    for key, value in found.items():
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
        key: jsontext.string(found, key)
        for key, found in jsontext.members(value, (), None).items()
        if key in shapes.NESTED_KEYS and found[:1] == b'"'
    }


def _decoded_keys(keys: jsontext.Members) -> dict[str, Any]:
    """Decode of the *keys* of a message what `shapes` reads; any other value is true."""
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
    """Give what is kept of the *text* of a message: all but what the log adds, with metadata."""
    metadata = message.get("metadata")
    if metadata is not None and metadata[:1] != b"{":
        raise InvalidRequest(
            f"Must be an object, not {jsontext.kind_of(metadata)}.", f"{field}.metadata"
        )
    if not _ADDED_KEYS.isdisjoint(message):
        text = jsontext.without(text, _ADDED_KEYS)
    return text if metadata is not None else text[:-1] + b',"metadata":{}}'


def log_entry(draft: Draft, counts: Counts, seq: int, version: int, at_us: int) -> Entry:
    """Give *draft* its place in the log. *at_us* is microseconds since 1970, UTC."""
    return Entry(
        seq=seq,
        version=version,
        position=0,
        role=draft.role,
        counts=counts,
        body=render(draft.body, seq, version, counts.total, at_us),
        reading=draft.reading,
        covers_from=seq,
        covers_to=seq,
    )


def as_appended(entry: Entry) -> Entry:
    """
    Return an *entry* of the log, of which nothing was taken out, as it was when it was appended.
    """
    assert entry.seq is not None
    assert not entry.without
    return msgspec.structs.replace(entry, is_task=False) if entry.is_task else entry


def synthetic_entry(
    draft: Draft, counts: Counts, version: int, position: int, covers: tuple[int, int], at_us: int
) -> Entry:
    """Make an entry that stands in the window only, for the seqs in *covers* (inclusive)."""
    return Entry(
        seq=None,
        version=version,
        position=position,
        role=draft.role,
        counts=counts,
        body=render(draft.body, None, version, counts.total, at_us),
        reading=draft.reading,
        covers_from=covers[0],
        covers_to=covers[1],
    )


def render(body: bytes, seq: int | None, version: int, tokens: int, at_us: int) -> bytes:
    """Write the JSON text of a stored message as readers get it."""
    place = b"null" if seq is None else b"%d" % seq
    return b'{"seq":%b,"version":%d,%b,"token_count":%d,"inserted_at":"%b"}' % (
        place,
        version,
        body[1:-1],
        tokens,
        timestamp(at_us),
    )


def unrendered(body: bytes) -> bytes:
    """Give back the JSON text of a message from what `render` made of it."""
    return jsontext.without(body, _ADDED_KEYS)


def timestamp(at_us: int) -> bytes:
    """Write microseconds since 1970 as UTC ISO-8601 with `Z`."""
    seconds, microseconds = divmod(at_us, 1_000_000)
    return b"%b.%06dZ" % (_to_the_second(seconds), microseconds)


@lru_cache(maxsize=4096)
def _to_the_second(seconds: int) -> bytes:
    moment = _EPOCH + timedelta(seconds=seconds)
    return moment.replace(tzinfo=None).isoformat().encode()


_counts_decoder = msgspec.msgpack.Decoder(Counts)


def encode_counts(counts: Counts) -> bytes:
    """Write *counts* as they are stored."""
    return msgspec.msgpack.encode(counts)


def decode_counts(stored: bytes) -> Counts:
    """Read what `encode_counts` wrote."""
    return _counts_decoder.decode(stored)
