"""
One WebSocket connection, over the sans-I/O protocol of `websockets`, with the bounds that it lacks.

The streams here go one way. It only matters that a client sends something, which shows that it is
still there, so nothing of it is kept. A client that floods the connection is disconnected, and so
is one that is silent, or that does not read what it is sent.

Closing takes bounded time, for every reason: first the client gets what was sent, at no less than
the least pace, then it has a moment to close on its side.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol, Side
from websockets.utils import accept_key

from fastpaca.http.messages import Head, Headers

if TYPE_CHECKING:
    from fastpaca.http.server import Server

GOING_AWAY: Final = 1001
FLOODING: Final = 1008
BROKEN: Final = 1011
SILENT: Final = 4408
TOO_SLOW: Final = 4409

PIECE_BYTES: Final = 4096
"""How much is read from a client before a check whether that is too much."""

_logger = logging.getLogger("fastpaca.websockets")
_logger.setLevel(logging.WARNING)  # that a client comes and goes is no news


def accepted(head: Head, headers: Headers, date_line: bytes) -> bytes:
    """Return the response that accepts the WebSocket that *head* asks for."""
    key = accept_key(head.headers[b"sec-websocket-key"].decode()).encode()
    lines = b"".join(b"%b: %b\r\n" % header for header in headers)
    return (
        b"HTTP/1.1 101 Switching Protocols\r\n%bupgrade: websocket\r\nconnection: Upgrade\r\n"
        b"sec-websocket-accept: %b\r\n%b\r\n" % (date_line, key, lines)
    )


class WebSocket(asyncio.Protocol):
    """
    A WebSocket connection to one client.

    Args:
        transport: The connection.
        server: Knows all connections and their bounds.
        on_end: Called when nothing more can be sent.

    Attributes:
        is_closing: Whether nothing more is sent.
    """

    def __init__(
        self, transport: asyncio.Transport, server: Server, on_end: Callable[[], None]
    ) -> None:
        self._transport = transport
        self._server = server
        self._bounds = server.bounds.socket
        self._on_end = on_end
        self._loop = asyncio.get_running_loop()
        self._protocol: Protocol | None = Protocol(
            Side.SERVER, max_size=self._bounds.message_bytes_max, logger=_logger
        )
        self._heard_at = self._loop.time()
        self._frames = 0
        self._drained: asyncio.Future[None] | None = None
        self._closing: asyncio.TimerHandle | None = None
        self._reading: asyncio.TimerHandle | None = None
        self._silence: asyncio.TimerHandle | None = None
        self._is_deaf = False  # nothing more is understood
        self.is_closing = False

    # --- the life of a connection -----------------------------------------------------------------

    def begin(self, head: bytes, rest: bytes) -> None:
        """Take the connection over: send *head*, and take *rest*, which was read already."""
        system: socket.socket | None = self._transport.get_extra_info("socket")
        if system is not None:
            system.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self._bounds.system_bytes)
        self._server.connections.add(self)
        self._transport.set_protocol(self)
        self._transport.write(head)
        self._transport.resume_reading()
        self._await_frame(self._bounds.silent_seconds)
        if rest:
            self.data_received(rest)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """Stop all timers, and release the parser."""
        for timer in (self._silence, self._reading, self._closing):
            if timer is not None:
                timer.cancel()
        self._server.leave(self)
        self._is_deaf = True
        self._stop_sending()
        # The parser refers to itself; free it without the garbage collector.
        if self._protocol is not None:
            del self._protocol.parser
            self._protocol = None

    def drain(self) -> None:
        """Close, since the server stops."""
        if not self.is_closing:
            self._cut(GOING_AWAY)

    def abort(self) -> None:
        """Close now, and drop what is under way."""
        self._transport.abort()

    def close(self, code: int) -> None:
        """Close with *code* after what was sent; the client then has a moment to close too."""
        if self.is_closing or self._protocol is None:
            return
        self._protocol.send_close(code)
        self._flush()
        self._stop_sending()
        self._end_in_time()

    def _cut(self, code: int) -> None:
        """Close with *code* and read nothing more; close at once if it is closing already."""
        if self.is_closing or self._protocol is None or self._transport.is_closing():
            self._transport.abort()
            return
        self._protocol.send_close(code)
        self._flush()
        # Closing with unread data would reset the connection, and the code could be lost.
        self._transport.write_eof()
        self._end()

    def _end(self) -> None:
        """Send and read nothing more, and close as soon as everything is sent."""
        self._is_deaf = True
        self._stop_sending()
        self._end_in_time()

    def _stop_sending(self) -> None:
        if not self.is_closing:
            self.is_closing = True
            self._on_end()
        self._wake()

    def _end_in_time(self) -> None:
        if self._closing is not None:
            self._closing.cancel()
        unsent = self._transport.get_write_buffer_size()
        self._closing = self._loop.call_later(self._bounds.close_seconds, self._check_end, unsent)

    def _check_end(self, unsent_before: int) -> None:
        taken = unsent_before - self._transport.get_write_buffer_size()
        seconds = self._bounds.close_seconds
        self._closing = None
        if taken > 0 and taken >= self._bounds.unread_bytes * seconds / self._bounds.unread_seconds:
            self._end_in_time()
        else:
            self._transport.abort()

    # --- what comes in ----------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Note that the client is there, and take its frames."""
        self._heard_at = self._loop.time()
        for start in range(0, len(data), PIECE_BYTES):
            protocol = self._protocol
            if self._is_deaf or protocol is None:
                return
            protocol.receive_data(data[start : start + PIECE_BYTES])
            for event in protocol.events_received():
                assert isinstance(event, Frame)
                self._take(event)
            if protocol.parser_exc is not None and not self._is_deaf:
                self._leave()

    def eof_received(self) -> None:
        """End, since the client will send nothing more."""
        self._end()

    def _take(self, frame: Frame) -> None:
        """Drop a frame; what counts is that it came."""
        if frame.opcode is Opcode.CLOSE:
            self._leave()
            return
        if frame.opcode is Opcode.PING and self._drained is None and not self.is_closing:
            self._flush()
        self._frames += 1
        if self._frames > self._bounds.frames_max and not self._is_deaf:
            self._cut(FLOODING)

    def _leave(self) -> None:
        """End as the client asks, has agreed to, or deserves because it broke the protocol."""
        if not self._transport.is_closing():
            self._flush()
            self._transport.close()
        self._end()

    def _await_frame(self, seconds: float) -> None:
        self._silence = self._loop.call_later(seconds, self._check_silence)

    def _check_silence(self) -> None:
        left = self._heard_at + self._bounds.silent_seconds - self._loop.time()
        if left > 0:
            self._frames = 0
            self._await_frame(left)
        else:
            self._cut(SILENT)

    # --- what goes out ----------------------------------------------------------------------------

    async def send(self, frames: bytes) -> bool:
        """
        Send ready *frames*; return False once nothing more can be sent.

        Frames are shared by many followers, so they are not encoded or copied for each.
        """
        if self._drained is not None:
            await self._drained
        if self.is_closing:
            return False
        self._transport.write(frames)
        return True

    @property
    def is_writable(self) -> bool:
        """Whether `send` would not have to wait for the client."""
        return self._drained is None

    def _flush(self) -> None:
        assert self._protocol is not None
        if data := b"".join(self._protocol.data_to_send()):
            self._transport.write(data)

    def pause_writing(self) -> None:
        """Watch a client that does not read."""
        self._drained = self._loop.create_future()
        self._watch()

    def resume_writing(self) -> None:
        """Continue to send."""
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None
        self._wake()

    def _wake(self) -> None:
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        self._drained = None

    def _watch(self) -> None:
        self._reading = self._loop.call_later(
            self._bounds.unread_seconds,
            self._check_reading,
            self._transport.get_write_buffer_size(),
        )

    def _check_reading(self, unsent_before: int) -> None:
        taken = unsent_before - self._transport.get_write_buffer_size()
        if taken >= self._bounds.unread_bytes:
            self._watch()
        elif not self.is_closing:
            self._cut(TOO_SLOW)
