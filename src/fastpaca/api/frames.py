"""
How the frames of a stream are written: the names of their fields, and the forms in which they go
out, as frames of a WebSocket or as events.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from fastpaca.stream.hub import PingFrame
from fastpaca.stream.subscription import (
    CompactionFrame,
    ContextFrame,
    Frame,
    GapFrame,
    MessageFrame,
    ResetFrame,
    TombstonedFrame,
)

AnyFrame = Frame | PingFrame
Encode = Callable[[AnyFrame], bytes]

PING_COMMENT: Final = b": ping\n\n"


def text(frame: AnyFrame) -> bytes:
    """Write *frame* as JSON."""
    if isinstance(frame, MessageFrame):
        return b'{"type":"message","version":%d,"seq":%d,"message":%b,"cursor":%d}' % (
            frame.version,
            frame.seq,
            frame.body,
            frame.cursor,
        )
    if isinstance(frame, ContextFrame):
        return (
            b'{"type":"context","version":%d,"needs_compaction":%b,"used_tokens":%d,'
            b'"token_budget":%d,"cursor":%d}'
        ) % (
            frame.version,
            b"true" if frame.needs_compaction else b"false",
            frame.used_tokens,
            frame.token_budget,
            frame.cursor,
        )
    if isinstance(frame, CompactionFrame):
        return _compaction(frame)
    if isinstance(frame, TombstonedFrame):
        return b'{"type":"tombstoned","version":%d,"cursor":%d}' % (frame.version, frame.cursor)
    if isinstance(frame, GapFrame):
        return b'{"type":"gap","expected":%d,"actual":%d,"cursor":%d}' % (
            frame.expected,
            frame.actual,
            frame.cursor,
        )
    if isinstance(frame, ResetFrame):
        return b'{"type":"reset","version":%d,"cursor":%d}' % (frame.version, frame.cursor)
    return b'{"type":"ping","cursor":%d}' % frame.cursor


def _compaction(frame: CompactionFrame) -> bytes:
    if frame.from_seq is None or frame.to_seq is None:
        changed = b"null"
    else:
        changed = b'{"from_seq":%d,"to_seq":%d}' % (frame.from_seq, frame.to_seq)
    return (
        b'{"type":"compaction","version":%d,"range":%b,"strategy":"%b","used_tokens_before":%d,'
        b'"used_tokens_after":%d,"cursor":%d}'
    ) % (
        frame.version,
        changed,
        frame.strategy.encode(),
        frame.tokens_before,
        frame.tokens_after,
        frame.cursor,
    )


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
    # JSON text holds no line breaks, so that it is one line of data whatever is in it. An id tells
    # where to go on from, so one stands only where the cursor has moved.
    if isinstance(frame, PingFrame):
        return PING_COMMENT
    data = text(frame)
    has_moved = not isinstance(frame, MessageFrame | CompactionFrame) or (
        frame.cursor == frame.version
    )
    return b"id: %d\ndata: %b\n\n" % (frame.cursor, data) if has_moved else b"data: %b\n\n" % data


def event_without_messages(frame: AnyFrame) -> bytes:
    """Write *frame* as `event` does, but let a ping tell the cursor: it may move without frames."""
    if isinstance(frame, PingFrame):
        return b"id: %d\n%b" % (frame.cursor, PING_COMMENT)  # no data, so readers see no event
    return event(frame)
