"""
The frames of a stream as JSON, and the forms in which they go out: as messages of a WebSocket, or
as server-sent events.
"""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import UNSET, Raw, Struct, UnsetType

from fastpaca.api.responses import Count, Ordinal, SeqRangeJSON, doc, encode, schema, seq_range
from fastpaca.stream.subscription import (
    AnyFrame,
    CompactionFrame,
    ContextFrame,
    GapFrame,
    MessageFrame,
    PingFrame,
    ResetFrame,
    RewindFrame,
    TombstonedFrame,
)

PING_COMMENT: Final = b": ping\n\n"

Version = Annotated[Count, doc("The version of the change.")]
Cursor = Annotated[Count, doc("What to resume from once you have processed this frame.")]


class MessageFrameJSON(Struct, frozen=True, gc=False, tag_field="type", tag="message"):
    """A message was appended, or took the place of another."""

    version: Version
    seq: Annotated[Ordinal, doc("Its position in the log.")]
    message: Annotated[Raw, schema("Message")]
    cursor: Cursor
    revises: Annotated[
        Ordinal | UnsetType, doc("The place that it takes; absent if it was appended.")
    ] = UNSET


class CompactionFrameJSON(Struct, frozen=True, gc=False, tag_field="type", tag="compaction"):
    """The window was rewritten."""

    version: Version
    range: Annotated[SeqRangeJSON | None, doc("The seqs whose place in the window changed.")]
    strategy: Annotated[
        str, doc("The policy that rewrote the window; `manual` for a compact call.")
    ]
    used_tokens_before: Annotated[Count, doc("Tokens in the window before it.")]
    used_tokens_after: Annotated[Count, doc("Tokens in the window after it.")]
    cursor: Cursor


class RewindFrameJSON(Struct, frozen=True, gc=False, tag_field="type", tag="rewind"):
    """The path went back, or to another branch."""

    version: Version
    to_version: Annotated[Count, doc("The version whose path it has now.")]
    cursor: Cursor


class ContextFrameJSON(Struct, frozen=True, gc=False, tag_field="type", tag="context"):
    """What the LLM context has come to."""

    version: Version
    needs_compaction: Annotated[bool, doc("Whether the window is above its trigger.")]
    used_tokens: Annotated[Count, doc("Tokens that a read of the LLM context returns.")]
    token_budget: Annotated[Ordinal, doc("The budget of the context.")]
    cursor: Cursor


class TombstonedFrameJSON(Struct, frozen=True, gc=False, tag_field="type", tag="tombstoned"):
    """The context was deleted."""

    version: Version
    cursor: Cursor


class GapFrameJSON(Struct, frozen=True, gc=False, tag_field="type", tag="gap"):
    """Versions are lost permanently."""

    expected: Annotated[Ordinal, doc("The first version that is missing.")]
    actual: Annotated[Ordinal, doc("The next version that is not.")]
    cursor: Cursor


class ResetFrameJSON(Struct, frozen=True, gc=False, tag_field="type", tag="reset"):
    """The cursor was above the current version: read everything again."""

    version: Version
    cursor: Cursor


class PingFrameJSON(Struct, frozen=True, gc=False, tag_field="type", tag="ping"):
    """Nothing has happened for a while."""

    cursor: Cursor


def frame_json(frame: AnyFrame) -> Struct:
    """Return *frame* as it is sent."""
    match frame:
        case MessageFrame():
            revises = UNSET if frame.revises is None else frame.revises
            return MessageFrameJSON(
                frame.version, frame.seq, Raw(frame.body), frame.cursor, revises
            )
        case ContextFrame():
            return ContextFrameJSON(
                version=frame.version,
                needs_compaction=frame.needs_compaction,
                used_tokens=frame.used_tokens,
                token_budget=frame.token_budget,
                cursor=frame.cursor,
            )
        case CompactionFrame():
            return CompactionFrameJSON(
                version=frame.version,
                range=seq_range(frame.from_seq, frame.to_seq),
                strategy=frame.strategy,
                used_tokens_before=frame.tokens_before,
                used_tokens_after=frame.tokens_after,
                cursor=frame.cursor,
            )
        case RewindFrame():
            return RewindFrameJSON(frame.version, frame.to_version, frame.cursor)
        case TombstonedFrame():
            return TombstonedFrameJSON(frame.version, frame.cursor)
        case GapFrame():
            return GapFrameJSON(frame.expected, frame.actual, frame.cursor)
        case ResetFrame():
            return ResetFrameJSON(frame.version, frame.cursor)
        case PingFrame():
            return PingFrameJSON(frame.cursor)


def text(frame: AnyFrame) -> bytes:
    """Write *frame* as JSON."""
    return encode(frame_json(frame))


def socket(frame: AnyFrame) -> bytes:
    """Write *frame* as a WebSocket sends it."""
    # A whole text message, not masked, since it comes from a server (RFC 6455, 5.2).
    payload = text(frame)
    size = len(payload)
    if size < 126:
        return b"\x81%c%b" % (size, payload)
    if size < 2**16:
        return b"\x81\x7e%b%b" % (size.to_bytes(2, "big"), payload)
    return b"\x81\x7f%b%b" % (size.to_bytes(8, "big"), payload)


def event(frame: AnyFrame) -> bytes:
    """Write *frame* as a server-sent event."""
    # JSON text contains no line breaks, so it is always one line of data. An id is where a client
    # resumes, so only frames that move the cursor have one.
    if isinstance(frame, PingFrame):
        return PING_COMMENT
    data = text(frame)
    has_moved = not isinstance(frame, MessageFrame | CompactionFrame | RewindFrame) or (
        frame.cursor == frame.version
    )
    return b"id: %d\ndata: %b\n\n" % (frame.cursor, data) if has_moved else b"data: %b\n\n" % data


def event_without_messages(frame: AnyFrame) -> bytes:
    """Write *frame* as `event` does, but let a ping tell the cursor: it may move without frames."""
    if isinstance(frame, PingFrame):
        return b"id: %d\n%b" % (frame.cursor, PING_COMMENT)  # no data, so readers see no event
    return event(frame)
