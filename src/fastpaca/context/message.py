"""
A message in a log or a window: its place, what it costs, and the text that readers receive.

That text is what the caller sent, between the fields that the log adds. It is not decoded again
unless something is taken out of the message.

Tokens are counted once, when the message arrives: an overhead of 3 plus the count of its role, one
count for each key that can reach a model, and one for each part. A message that loses parts later
costs what is left of these, never more than before, so a new estimator changes no existing window.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final

import msgspec

from fastpaca.context import jsontext
from fastpaca.context.draft import ADDED_KEYS, Draft
from fastpaca.shapes import Reading, ToolReference

MESSAGE_OVERHEAD_TOKENS: Final = 3
"""Tokens that frame a message, as OpenAI's chat format has them."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Counts(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """
    What a message costs, in tokens, piece by piece.

    Attributes:
        total: The caller's own count, if any, else the sum of the others; this is what counts.
        overhead: The message itself and its role.
        keys: Each key except `shapes.STRUCTURAL_KEYS`, in order; 0 if it never reaches a model.
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

    Computed in binary floating point, so that a client can compute the same number.
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
        seq: Its seq in the log; None for a synthetic message.
        version: The version of the context that added it.
        position: Its index in its replacement; 0 for a message of the log.
        role: Its role.
        counts: What it costs, without what was taken out of it.
        body: The JSON text that readers receive.
        reading: What its remaining parts and keys are. Whether it opens a turn was decided when it
            was appended.
        covers_from: The first place it stands for; its own, for a message of the log.
        covers_to: The last place it stands for.
        without: Places of all that was ever taken out of it, ascending; see `shapes.ToolReference`.
        is_task: Whether it stayed as the task, because a cut fell into the turn that it opened.
        origin: How it came; see `Draft.origin`.
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
    origin: str = ""

    @property
    def tokens(self) -> int:
        """Tokens that this entry adds to a window."""
        return self.counts.total

    @property
    def place(self) -> int:
        """Where it stands on the path: the seq of its first row; of a message of the log only."""
        assert self.seq is not None
        return self.covers_to

    @property
    def revises(self) -> int | None:
        """The place of the message that it revises, if it does."""
        return self.covers_to if self.seq is not None and self.seq != self.covers_to else None

    @property
    def tool_references(self) -> tuple[ToolReference, ...]:
        """Its remaining calls, results and approvals."""
        return self.reading.tool_references

    @property
    def opens_turn(self) -> bool:
        """Whether it opens a turn."""
        return self.reading.opens_turn


def log_entry(
    draft: Draft,
    counts: Counts,
    seq: int,
    version: int,
    at_us: int,
    origin: str = "",
    revises: int | None = None,
) -> Entry:
    """
    Return the entry of *draft* in the log. *at_us* is microseconds since 1970, UTC.

    *origin* is how the message came, which the draft of a stored message does not know. *revises*
    is the place of the message that it revises, if it does.
    """
    place = seq if revises is None else revises
    return Entry(
        seq=seq,
        version=version,
        position=0,
        role=draft.role,
        counts=counts,
        body=render(draft.body, seq, version, counts.total, at_us, revises),
        reading=draft.reading,
        covers_from=place,
        covers_to=place,
        origin=origin,
    )


def as_appended(entry: Entry) -> Entry:
    """Return an *entry* of the log, from which nothing was taken out, as it was appended."""
    assert entry.seq is not None
    assert not entry.without
    return msgspec.structs.replace(entry, is_task=False) if entry.is_task else entry


def synthetic_entry(
    draft: Draft,
    counts: Counts,
    version: int,
    position: int,
    covers: tuple[int, int],
    at_us: int,
    origin: str = "",
) -> Entry:
    """
    Return an entry that is only in the window, and stands for the places *covers*, inclusive.

    *at_us* and *origin* are as in `log_entry`.
    """
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
        origin=origin,
    )


def render(
    body: bytes,
    seq: int | None,
    version: int,
    tokens: int,
    at_us: int,
    revises: int | None = None,
) -> bytes:
    """Return the JSON text that readers receive for the stored *body* of a message."""
    return b'{"seq":%b,"version":%d,%b%b,"token_count":%d,"inserted_at":"%b"}' % (
        b"null" if seq is None else b"%d" % seq,
        version,
        b"" if revises is None else b'"revises":%d,' % revises,
        body[1:-1],
        tokens,
        timestamp(at_us),
    )


def unrendered(body: bytes) -> bytes:
    """Return the stored text of a message from the *body* that `render` returned."""
    return jsontext.without(body, ADDED_KEYS)


def says_the_same(draft: Draft, original: Entry) -> bool:
    """Return whether *draft* says the same as *original*, value for value."""
    if draft.token_count is not None and draft.token_count != original.tokens:
        return False
    return jsontext.same_value(draft.body, unrendered(original.body))


def timestamp(at_us: int) -> bytes:
    """Format microseconds since 1970 as UTC in ISO 8601, with `Z`."""
    seconds, microseconds = divmod(at_us, 1_000_000)
    return b"%b.%06dZ" % (_to_the_second(seconds), microseconds)


@lru_cache(maxsize=4096)
def _to_the_second(seconds: int) -> bytes:
    moment = _EPOCH + timedelta(seconds=seconds)
    return moment.replace(tzinfo=None).isoformat().encode()


_counts_decoder = msgspec.msgpack.Decoder(Counts)


def encode_counts(counts: Counts) -> bytes:
    """Encode *counts* for a store."""
    return msgspec.msgpack.encode(counts)


def decode_counts(stored: bytes) -> Counts:
    """Decode what `encode_counts` returned."""
    return _counts_decoder.decode(stored)
