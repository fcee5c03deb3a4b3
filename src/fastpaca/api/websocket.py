"""
One WebSocket connection: uvicorn's protocol, with the bounds that it does not have.

The streams here go one way. It only matters that a client sends something, which shows that it is
still there, so nothing of it is kept. A client that floods the connection is disconnected, and so
is one that is silent, or that does not read what it is sent.

Closing takes bounded time, for every reason: first the client gets what was sent, at no less than
the least pace, then it has a moment to close on its side.
"""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, cast

from uvicorn._types import ASGIReceiveEvent, ASGISendEvent
from uvicorn.config import Config
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.frames import Frame
from websockets.http11 import Request

GOING_AWAY: Final = 1001
FLOODING: Final = 1008
SILENT: Final = 4408
TOO_SLOW: Final = 4409

INCOMING_BYTES_MAX: Final = 4096
"""The largest message that a client may send; a pong has 15 bytes."""

PIECE_BYTES: Final = 4096
"""How much is read from a client before a check whether that is too much."""

_HANDSHAKE: Final = (
    b"GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %b\r\n\r\n"
)
"""What the library needs of the request; the rest was checked before, by stricter rules."""

FRAMES: Final = "fastpaca.frames"
"""A kind of ASGI message in addition to those of a WebSocket: ready frames, heads included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SocketBounds:
    """
    The bounds of a WebSocket connection.

    Attributes:
        silent_seconds: How long a client may send nothing.
        unread_seconds: How often to check that the client is reading what it is sent.
        unread_bytes: How much it must have read by then, if that much was sent.
        frames_max: How many frames a client may send in about *silent_seconds*.
        close_seconds: How long the client may take to close after the last frame.
        system_bytes: The largest buffer of the system for what is sent, as the system counts.
    """

    silent_seconds: float = 90
    unread_seconds: float = 30
    unread_bytes: int = 32 * 1024
    frames_max: int = 1000
    close_seconds: float = 5
    system_bytes: int = 128 * 1024


class Handshake(NamedTuple):
    """The request for a WebSocket, as the HTTP connection read it."""

    path: str
    raw_path: bytes
    query: bytes
    headers: list[tuple[bytes, bytes]]


class ReceiveQueue:
    """
    What the application receives from a connection.

    A queue of asyncio takes 3 kB for each connection, and all that it would hold is its beginning
    and its end.
    """

    __slots__ = ("_events", "_waiter")

    def __init__(self) -> None:
        self._events: list[ASGIReceiveEvent] = []
        self._waiter: asyncio.Future[None] | None = None

    def put_nowait(self, event: ASGIReceiveEvent) -> None:
        """Add *event*."""
        self._events.append(event)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def get(self) -> ASGIReceiveEvent:
        """Return the next event, once there is one."""
        while not self._events:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        return self._events.pop(0)

    def empty(self) -> bool:
        """Return whether there is none."""
        return not self._events


class Socket(WebSocketsSansIOProtocol):
    """A WebSocket connection to one client."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        handshake: Handshake,
        bounds: SocketBounds,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.queue = cast(asyncio.Queue[ASGIReceiveEvent], ReceiveQueue())
        self._handshake = handshake
        self._bounds = bounds
        self._heard_at = 0.0
        self._is_deaf = False  # nothing more is understood
        self._frames = 0
        self._silence: asyncio.TimerHandle | None = None
        self._reading: asyncio.TimerHandle | None = None

    # --- the life of a connection -----------------------------------------------------------------

    def begin(self) -> None:
        """Shake hands over the connection that was passed on."""
        system: socket.socket | None = self.transport.get_extra_info("socket")
        if system is not None:
            system.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self._bounds.system_bytes)
        self.data_received(_HANDSHAKE % dict(self._handshake.headers)[b"sec-websocket-key"])
        self.transport.pause_reading()  # nothing can be said before the application has accepted

    def handle_connect(self, event: Request) -> None:
        """Call the application with the request as it was sent."""
        super().handle_connect(event)
        scope = cast(dict[str, Any], self.scope)
        scope["path"], scope["raw_path"] = self._handshake.path, self._handshake.raw_path
        scope["query_string"], scope["headers"] = self._handshake.query, self._handshake.headers
        scope["extensions"][FRAMES] = {}

    def start_keepalive(self) -> None:
        """Start reading and the silence timeout, once the application has accepted."""
        del self.request, self.response, self._handshake
        self.transport.resume_reading()
        self._heard_at = self.loop.time()
        self._await_frame(self._bounds.silent_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop all timers, and release the parser."""
        for timer in (self._silence, self._reading):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)
        # The parser refers to itself; free it without the garbage collector.
        self._is_deaf = True
        del self.conn.parser

    def shutdown(self) -> None:
        """Close, since the server stops."""
        if not self.handshake_complete:
            self.transport.close()
        elif not self.close_sent:
            self.cut(GOING_AWAY)

    def abort(self) -> None:
        """Close now, and drop what is under way."""
        self.transport.abort()

    def cut(self, code: int) -> None:
        """Close with *code*; at once if it is closing already."""
        if self.close_sent or self.transport.is_closing():
            self.transport.abort()
            return
        self.conn.send_close(code)
        self.transport.write(b"".join(self.conn.data_to_send()))
        # Closing with unread data would reset the connection, and the code could be lost.
        self.transport.write_eof()
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": ""})
        self._end()

    def _end(self) -> None:
        """Send and read nothing more, and close as soon as everything is sent."""
        self.close_sent = self.disconnected = self._is_deaf = True
        self.writable.set()
        self._end_in_time()

    def _end_in_time(self) -> None:
        if self.close_timer is not None:
            self.close_timer.cancel()
        self.close_timer = self.loop.call_later(
            self._bounds.close_seconds, self._check_end, self.transport.get_write_buffer_size()
        )

    def _check_end(self, unsent_before: int) -> None:
        taken = unsent_before - self.transport.get_write_buffer_size()
        seconds = self._bounds.close_seconds
        self.close_timer = None
        if taken > 0 and taken >= self._bounds.unread_bytes * seconds / self._bounds.unread_seconds:
            self._end_in_time()
        else:
            self.transport.abort()

    # --- what comes in ----------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Record that the client is there."""
        self._heard_at = self.loop.time()
        for start in range(0, len(data), PIECE_BYTES):
            if self._is_deaf:
                return
            super().data_received(data[start : start + PIECE_BYTES])

    def eof_received(self) -> None:
        """End, since the client will send nothing more."""
        self.queue.put_nowait({"type": "websocket.disconnect", "code": 1006})
        self._end()

    def handle_close(self, event: Frame) -> None:
        """End as the client asks, or has agreed to."""
        super().handle_close(event)
        self._end()

    def handle_parser_exception(self) -> None:
        """End, since the client broke the protocol."""
        super().handle_parser_exception()
        self._end()

    def send_receive_event_to_app(self) -> None:
        """Drop a message from the client."""
        self.frames = []
        self._count_frame()

    def handle_cont(self, event: Frame) -> None:
        """Drop a piece of a message from the client."""
        del event
        self._count_frame()

    def handle_ping(self) -> None:
        """Send a pong, unless the client does not read."""
        if self.writable.is_set() and not self.close_sent:
            super().handle_ping()
        else:
            self.conn.data_to_send()
        self._count_frame()

    def handle_pong(self, event: Frame) -> None:
        """Count a pong."""
        del event
        self._count_frame()

    def _count_frame(self) -> None:
        self._frames += 1
        if self._frames > self._bounds.frames_max and not self._is_deaf:
            self.cut(FLOODING)

    def _await_frame(self, seconds: float) -> None:
        self._silence = self.loop.call_later(seconds, self._check_silence)

    def _check_silence(self) -> None:
        left = self._heard_at + self._bounds.silent_seconds - self.loop.time()
        if left > 0:
            self._frames = 0
            self._await_frame(left)
        else:
            self.cut(SILENT)

    # --- what goes out ----------------------------------------------------------------------------

    async def send(self, message: ASGISendEvent) -> None:
        """
        Send a message of the application.

        Raises:
            ClientDisconnected: The client has gone.
        """
        if cast(str, message["type"]) == FRAMES:
            await self._send_frames(cast(dict[str, Any], message)["data"])
            return
        await super().send(message)
        if message["type"] == "websocket.http.response.body":
            self.handshake_complete = True  # it was refused, and nothing is left to do
        if message["type"] == "websocket.close" and self.close_sent:
            self._end_in_time()

    async def _send_frames(self, data: bytes) -> None:
        # Frames are shared by many followers; they are not encoded or copied for each.
        if not self.writable.is_set():
            await self.writable.wait()
        if self.disconnected:
            raise ClientDisconnected
        self.transport.write(data)

    def pause_writing(self) -> None:
        """Watch a client that does not read."""
        super().pause_writing()
        self._watch()

    def resume_writing(self) -> None:
        """Continue to send."""
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None
        super().resume_writing()

    def _watch(self) -> None:
        self._reading = self.loop.call_later(
            self._bounds.unread_seconds,
            self._check_reading,
            self.transport.get_write_buffer_size(),
        )

    def _check_reading(self, unsent_before: int) -> None:
        taken = unsent_before - self.transport.get_write_buffer_size()
        if taken >= self._bounds.unread_bytes:
            self._watch()
        elif not self.disconnected:
            self.cut(TOO_SLOW)
