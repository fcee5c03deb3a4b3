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


def full(frame: AnyFrame) -> bytes:
    """Write *frame* as JSON."""
    if isinstance(frame, MessageFrame):
        return b'{"type":"message","version":%d,"seq":%d,"message":%b,"cursor":%d}' % (
            frame.version,
            frame.seq,
            frame.body,
            frame.cursor,
        )
    return without_messages(frame)


def without_messages(frame: AnyFrame) -> bytes:
    """Write *frame* as JSON, but of a message only that it came."""
    if isinstance(frame, MessageFrame):
        return b'{"type":"message","version":%d,"seq":%d,"cursor":%d}' % (
            frame.version,
            frame.seq,
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


def full_socket(frame: AnyFrame) -> bytes:
    """Write *frame* as a WebSocket sends it."""
    return _socket(full(frame))


def socket_without_messages(frame: AnyFrame) -> bytes:
    """Write *frame* as a WebSocket sends it, but of a message only that it came."""
    return _socket(without_messages(frame))


def _socket(text: bytes) -> bytes:
    # A whole text message, not masked, since it comes from a server (RFC 6455, 5.2).
    size = len(text)
    if size < 126:
        return b"\x81%c%b" % (size, text)
    if size < 2**16:
        return b"\x81\x7e%b%b" % (size.to_bytes(2, "big"), text)
    return b"\x81\x7f%b%b" % (size.to_bytes(8, "big"), text)


def full_event(frame: AnyFrame) -> bytes:
    """Write *frame* as a server-sent event."""
    return _event(frame, full(frame))


def event_without_messages(frame: AnyFrame) -> bytes:
    """Write *frame* as a server-sent event, but of a message only that it came."""
    return _event(frame, without_messages(frame))


def _event(frame: AnyFrame, text: bytes) -> bytes:
    # JSON text holds no line breaks, so that it is one line of data whatever is in it. An id tells
    # where to go on from, so one stands only where the cursor has moved.
    if isinstance(frame, PingFrame):
        return PING_COMMENT
    has_moved = not isinstance(frame, MessageFrame | CompactionFrame) or (
        frame.cursor == frame.version
    )
    return b"id: %d\ndata: %b\n\n" % (frame.cursor, text) if has_moved else b"data: %b\n\n" % text
