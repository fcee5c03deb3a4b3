"""
A message: what a caller sends, and how it stands in a log and a window.

A message is kept as the JSON text it came in (`Draft.body`), and served as that text between the
fields that the log adds (`Entry.body`). Nothing decodes it again unless something must be taken
out.

Token counts are decided once, when the message comes in: one per part, one for the calls that stand
in its keys, and an overhead of 3 for the message plus the count of its role. A message that loses
parts later costs what is left of these, never more than it had, so a new estimator changes no
existing window.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final, Literal

import msgspec

from fastpaca.context import calls, jsontext
from fastpaca.context.calls import Mark
from fastpaca.errors import InvalidRequest

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
    {"role", "parts", "id", "metadata", "token_count", *calls.MESSAGE_KEYS, *ANSWERED_KEYS}
)
"""Keys of a message that mean something here: given twice, they would mean two things."""

_NOTHING: Final = frozenset({b"null", b"[]", b"{}", b'""'})

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Part(msgspec.Struct, frozen=True, gc=False):
    """
    One part of a message, as far as it is counted.

    Attributes:
        kind: Its type.
        body: Its JSON text; empty for a text part, which its *text* stands for.
        text: The text of a text part, else None.
    """

    kind: str
    body: bytes
    text: str | None


class Draft(msgspec.Struct, frozen=True, gc=False):
    """
    A message as a caller sent it, checked, not yet in a log.

    Attributes:
        role: Who speaks.
        body: The message as a JSON object without the fields that the log adds; has `metadata`.
        parts: Its parts, in order.
        keys: JSON text of the calls and results that stand in keys of the message, or None.
        marks: Its calls and results.
        opens_turn: Whether it is a user message that holds more than tool results.
        token_count: The caller's own count in tokens, or None.
        seq: The seq that the caller named, or None; only a compaction looks at it.
    """

    role: str
    body: bytes
    parts: tuple[Part, ...]
    keys: bytes | None
    marks: tuple[Mark, ...]
    opens_turn: bool
    token_count: int | None
    seq: int | None


class Counts(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """
    What a message costs, in tokens, piece by piece.

    Attributes:
        total: What counts: the caller's own count if there is one, else the sum of the rest.
        overhead: The message itself and its role.
        keys: The calls and results in its keys.
        parts: Each part.
    """

    total: int
    overhead: int
    keys: int
    parts: tuple[int, ...]


class Form(msgspec.Struct, frozen=True, gc=False):
    """
    What was taken out of a message on its way into the window.

    Attributes:
        kinds: The skip kinds that were stripped, sorted.
        rules: The version of the stripping rules that did it.
        without: Places of the results that were taken out, since their calls had been cut before.
    """

    kinds: tuple[str, ...] = ()
    rules: int = 0
    without: tuple[int, ...] = ()


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
        marks: Its calls and results.
        opens_turn: Whether it is a user message that holds more than tool results.
        covers_from: First seq it stands for, messages that were stripped and vanished before it
            included.
        covers_to: Last seq it stands for, messages that vanished behind it included where no other
            entry can stand for them.
        form: What was taken out of it; None if nothing was.
        cut_after: Whether a cut fell into the turn that it opened, and it stayed: the calls that
            made it stay may be gone.
    """

    seq: int | None
    version: int
    position: int
    role: str
    counts: Counts
    body: bytes
    marks: tuple[Mark, ...]
    opens_turn: bool
    covers_from: int
    covers_to: int
    form: Form | None = None
    cut_after: bool = False

    @property
    def tokens(self) -> int:
        """Tokens that this entry adds to a window."""
        return self.counts.total

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
    parts, part_marks = _parts(message, field)
    token_count, seq = message.get("token_count"), message.get("seq")
    body = _kept(text, message, field)
    marks = calls.marks_of(part_marks, message)
    if len(marks) > CALLS_IN_KEYS_MAX + len(part_marks):
        raise InvalidRequest(
            f"A message makes at most {CALLS_IN_KEYS_MAX} calls in its keys.", f"{field}.tool_calls"
        )
    return Draft(
        role=role,
        body=body,
        parts=parts,
        keys=_call_keys(message),
        marks=marks,
        opens_turn=opens_turn(role, [part.kind for part in parts], message),
        token_count=None
        if token_count is None
        else jsontext.integer(token_count, f"{field}.token_count", 0),
        seq=int(seq) if seq is not None and seq.isdigit() and len(seq) < 20 else None,
    )


class _Text(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A part that is nothing but text."""

    type: Literal["text"]
    text: str


class _Plain(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A message that is nothing but a role and texts."""

    role: str
    parts: list[_Text]


_plain_decoder = msgspec.json.Decoder(_Plain)


def plain(text: bytes) -> Draft | None:
    """
    Read a message that is nothing but a role and texts, as most are, in one go.

    *text* is minified. None if it is anything else, or might be: `parse` then takes it apart piece
    by piece, and comes to the same for those that are read here.
    """
    try:
        message = _plain_decoder.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return None
    role, texts = message.role, message.parts
    # All keys are there. That none is there twice is certain if there are no more than these.
    if text.count(b'":') != 2 + 2 * len(texts) or not role or not 0 < len(texts) <= PARTS_MAX:
        return None
    return Draft(
        role=role,
        body=text[:-1] + b',"metadata":{}}',
        parts=tuple([Part("text", b"", part.text) for part in texts]),
        keys=None,
        marks=(),
        opens_turn=role == "user",
        token_count=None,
        seq=None,
    )


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


def _parts(message: jsontext.Members, field: str) -> tuple[tuple[Part, ...], list[Mark]]:
    if "parts" not in message:
        raise InvalidRequest(
            'A message needs parts, such as [{"type": "text", "text": "Hello"}].', f"{field}.parts"
        )
    bodies = jsontext.items(message["parts"], f"{field}.parts")
    if len(bodies) > PARTS_MAX:
        raise InvalidRequest(
            f"A message has at most {PARTS_MAX} parts, not {len(bodies)}; send several messages.",
            f"{field}.parts",
        )
    parts = []
    marks = []
    for place, body in enumerate(bodies):
        part, mark = _part(place, body, f"{field}.parts[{place}]")
        parts.append(part)
        if mark is not None:
            marks.append(mark)
    return tuple(parts), marks


def _part(place: int, body: bytes, field: str) -> tuple[Part, Mark | None]:
    found = jsontext.members(body, calls.PART_KEYS, field)
    if "type" not in found:
        raise InvalidRequest("A part needs a type, such as 'text'.", f"{field}.type")
    kind = jsontext.string(found["type"], f"{field}.type")
    text = jsontext.string_or_none(found.get("text")) if kind == "text" else None
    return Part(kind, body if text is None else b"", text), calls.mark_of_part(place, kind, found)


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


def _call_keys(message: jsontext.Members) -> bytes | None:
    found: jsontext.Members = {
        key: message[key] for key in calls.MESSAGE_KEYS if message.get(key, b"null") not in _NOTHING
    }
    return jsontext.joined(found) if found else None


def opens_turn(role: str, kinds: Iterable[str], message: jsontext.Members) -> bool:
    """
    Tell whether a *message* with parts of these *kinds* is a user's, of more than tool results.
    """
    if role != "user" or calls.answered_in_keys(message) is not None:
        return False
    return not all(map(calls.is_result, kinds))


def log_entry(draft: Draft, counts: Counts, seq: int, version: int, at_us: int) -> Entry:
    """Give *draft* its place in the log. *at_us* is microseconds since 1970, UTC."""
    return Entry(
        seq=seq,
        version=version,
        position=0,
        role=draft.role,
        counts=counts,
        body=render(draft.body, seq, version, counts.total, at_us),
        marks=draft.marks,
        opens_turn=draft.opens_turn,
        covers_from=seq,
        covers_to=seq,
    )


def as_appended(entry: Entry) -> Entry:
    """
    Give an *entry* of the log, of which nothing was taken out, as it was when it was appended.
    """
    assert entry.seq is not None
    assert entry.form is None
    if entry.covers_from == entry.covers_to and not entry.cut_after:
        return entry
    return msgspec.structs.replace(
        entry, covers_from=entry.seq, covers_to=entry.seq, cut_after=False
    )


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
        marks=draft.marks,
        opens_turn=draft.opens_turn,
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
