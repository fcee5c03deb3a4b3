"""
The sockets around `connection.py`: a protocol of asyncio for each connection, a task for each
request.

Nothing is decided here. Bytes and times go into the machine, and what it says is carried out.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import socket
from collections.abc import Callable
from email.utils import formatdate
from typing import Final, cast

from fastpaca.errors import Unavailable
from fastpaca.http.bounds import ConnectionBounds
from fastpaca.http.connection import Body, Connection, End, Refused
from fastpaca.http.messages import Application, Chunks, ClientGone, Head, HttpResponse
from fastpaca.http.socket_request import SocketRequest
from fastpaca.http.states import OPEN, Closing
from fastpaca.http.websocket import BROKEN, WebSocket, accepted

logger = logging.getLogger(__name__)

PIECE_BYTES: Final = 256 * 1024
"""How much of a large body the connection gets at once, so that a client's pace is felt."""

JOINED_BYTES_MAX: Final = 4096
"""Up to what size a body is copied after its head, rather than written next to it."""

ENDING_SECONDS: Final = 0.5
"""How long tasks of connections that were cut off may take to end."""


class Server:
    """
    Serves an application on connections, until it is stopped.

    Args:
        app: Responds to requests.
        clock: Returns the time of day, in microseconds since 1970; for the `Date` header.
        bounds: Of each connection.

    Attributes:
        bounds: Of each connection.
        connections: Those that are open, WebSockets among them.
        tasks: Those of requests that are not finished.
        is_stopping: Whether `stop` was called.
    """

    def __init__(
        self,
        app: Application,
        clock: Callable[[], int],
        bounds: ConnectionBounds | None = None,
    ) -> None:
        self.app = app
        self.bounds = bounds or ConnectionBounds()
        self.connections: set[Protocol | WebSocket] = set()
        self.tasks: dict[SocketRequest, asyncio.Task[None]] = {}
        self._clock = clock
        self._stopping = asyncio.Event()
        self.is_stopping = False
        self._grace_until = 0.0
        self._left = asyncio.Event()
        self._date_second = 0
        self._date = b""

    async def serve(self, listener: socket.socket, backlog: int) -> None:
        """Accept connections until `stop`, then let requests finish, and cut the rest off."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(self.protocol, sock=listener, backlog=backlog)
        try:
            await self._stopping.wait()
        finally:
            server.close()
            await self.close()

    def stop(self, grace_seconds: float) -> None:
        """Accept no more connections; requests have *grace_seconds* to finish, from now on."""
        self._grace_until = asyncio.get_running_loop().time() + grace_seconds
        self.is_stopping = True
        self._stopping.set()
        self._left.set()

    def protocol(self) -> Protocol:
        """Make the protocol of a new connection."""
        return Protocol(self)

    async def close(self) -> None:
        """End idle connections, give the others until the end of the grace, and cut them off."""
        for connection in list(self.connections):
            connection.drain()
        loop = asyncio.get_running_loop()
        while (self.connections or self.tasks) and loop.time() < self._grace_until:
            self._left.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(self._grace_until):
                    await self._left.wait()
        if self.connections:
            logger.warning("cutting off %d connections", len(self.connections))
        for connection in list(self.connections):
            connection.abort()
        if self.tasks:
            await asyncio.wait(self.tasks.values(), timeout=ENDING_SECONDS)

    def leave(self, connection: Protocol | WebSocket) -> None:
        """Note that *connection* has ended."""
        self.connections.discard(connection)
        self._left.set()

    def end(self, request: SocketRequest) -> None:
        """Note that the task of *request* is ending."""
        del self.tasks[request]
        if self.is_stopping:
            self._left.set()

    @property
    def date_line(self) -> bytes:
        """The `Date` header of a response that begins now."""
        second = self._clock() // 1_000_000
        if second != self._date_second:
            self._date_second = second
            self._date = b"date: %b\r\n" % formatdate(second, usegmt=True).encode()
        return self._date


class Protocol(asyncio.Protocol):
    """
    A connection as asyncio sees it.

    Attributes:
        address: That of the client; empty on a Unix socket.
    """

    __slots__ = (
        "_drained",
        "_fires_at",
        "_is_paused",
        "_loop",
        "_machine",
        "_request",
        "_server",
        "_timer",
        "_transport",
        "address",
    )

    _transport: asyncio.Transport

    def __init__(self, server: Server) -> None:
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._machine = Connection(server.bounds, self._loop.time())
        self._request: SocketRequest | None = None
        self._drained: asyncio.Future[None] | None = None
        self._is_paused = False
        self._timer: asyncio.TimerHandle | None = None
        self._fires_at = math.inf
        self.address = ""

    # --- the life of a connection -----------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for a request, or refuse the connection if there are too many."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is not a subclass
        peer = transport.get_extra_info("peername")
        self.address = peer[0] if isinstance(peer, tuple) else ""
        connections = self._server.connections
        connections.add(self)
        connections_max = self._server.bounds.connections_max
        excess = len(connections) - connections_max
        if excess > connections_max // 8 + 1:
            self.abort()
        elif excess > 0:
            error = Unavailable("Too many connections; try again in a second.")
            self._machine.refuse(error, self._loop.time())
        elif self._server.is_stopping:  # it was accepted just before
            self._machine.drain(self._loop.time())
        self._advance()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """Tell the application that its client has gone."""
        self._machine.lost()
        self._tell()
        if self._timer is not None:
            self._timer.cancel()
        self.resume_writing()
        self._server.leave(self)

    def eof_received(self) -> bool:
        """Keep a connection that the client ended on its side until all responses are sent."""
        self._machine.receive_eof(self._loop.time())
        self._advance()
        return self._machine.wants_close is OPEN

    def drain(self) -> None:
        """Close as soon as all responses are sent."""
        self._machine.drain(self._loop.time())
        self._advance()

    def abort(self) -> None:
        """Close now, and drop what is under way."""
        self._transport.abort()

    # --- what comes in ----------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Take bytes from the client."""
        self._machine.receive(data, self._loop.time())
        self._advance()

    def _advance(self) -> None:
        """Carry out what the machine says."""
        self._tell()
        machine = self._machine
        close = machine.wants_close
        if close is not OPEN:
            self._close(close)
        if machine.wants_data is self._is_paused:
            self._is_paused = not self._is_paused
            self._pause_or_resume()
        deadline = machine.deadline()
        if deadline < self._fires_at:
            self._set_timer(deadline)

    def _pause_or_resume(self) -> None:
        if self._transport.is_closing():
            return
        if self._is_paused:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def _tell(self) -> None:
        """Pass events on to the application."""
        machine = self._machine
        while (event := machine.next_event()) is not None:
            request = self._request
            if isinstance(event, Head):
                self._request = request = SocketRequest(event, self)
                task = self._loop.create_task(self._respond(request))
                self._server.tasks[request] = task
            elif isinstance(event, Refused):
                self._request = None
                self._refuse(event)
            elif request is None:
                pass
            elif isinstance(event, Body):
                request.feed(event.piece)
            elif isinstance(event, End):
                request.finish()
            else:
                self._request = None
                request.disconnect()

    def taken(self, size: int) -> None:
        """Note that the application has taken *size* bytes of a body."""
        self._machine.taken(size)
        if self._is_paused:
            self._advance()

    def ask(self) -> None:
        """Ask a client that waits with its body to send it."""
        if data := self._machine.continue_():
            self._transport.write(data)

    # --- what goes out ----------------------------------------------------------------------------

    async def _respond(self, request: SocketRequest) -> None:
        response: HttpResponse | None = None
        try:
            response = await self._server.app.respond(request)
            await self._writable()  # a client may ask for much that it never reads
            body = response.body
            if request.is_gone:
                if not isinstance(body, bytes):
                    body.close()
            elif not isinstance(body, bytes):
                await self._send_chunks(request, response, body)
            elif len(body) > PIECE_BYTES:
                await self._send_large(request, response, body)
            else:
                self._send(request, response, body)
        except ClientGone:
            pass
        except Exception:
            logger.exception("a response failed")
            if self._request is request:
                self._machine.fail()
                self._advance()
        finally:
            self._server.end(request)
            if response is not None and response.after is not None:
                response.after()

    def _send(self, request: SocketRequest, response: HttpResponse, body: bytes) -> None:
        """Send a response in one go."""
        machine = self._machine
        head = self._begin(request, response, len(body))
        body = machine.piece(body)
        machine.end(self._loop.time())
        if len(body) <= JOINED_BYTES_MAX:
            self._transport.write(head + body)
        else:
            self._transport.writelines((head, body))
        self._request = None
        self._advance()

    def _begin(self, request: SocketRequest, response: HttpResponse, size: int | None) -> bytes:
        machine = self._machine
        if not request.is_whole:
            machine.release()
        return machine.begin(response.status, response.headers, size, common=self._server.date_line)

    def _end(self) -> None:
        if tail := self._machine.end(self._loop.time()):
            self._transport.write(tail)
        self._request = None
        self._advance()

    async def _send_large(
        self, request: SocketRequest, response: HttpResponse, body: bytes
    ) -> None:
        """Send *body* piece by piece; this ends when the client has read nearly all of it."""
        self._transport.write(self._begin(request, response, len(body)))
        for at in range(0, len(body), PIECE_BYTES):
            self._transport.write(self._machine.piece(body[at : at + PIECE_BYTES]))
            await self._writable()
            if request.is_gone:
                return
        self._end()

    async def _send_chunks(
        self, request: SocketRequest, response: HttpResponse, body: Chunks
    ) -> None:
        try:
            if body.size is None:  # others are closed at their end: a file may be read right now
                request.on_disconnect(body.close)
            if request.head.wants_socket:
                await self._send_to_socket(request, response, body)
                return
            self._transport.write(self._begin(request, response, body.size))
            if request.head.method != "HEAD":
                async for chunk in body.chunks():
                    await self._writable()
                    if request.is_gone:
                        return
                    self._transport.write(self._machine.piece(chunk))
            if not request.is_gone:
                self._end()
        finally:
            body.close()

    async def _send_to_socket(
        self, request: SocketRequest, response: HttpResponse, body: Chunks
    ) -> None:
        """Hand the connection over to a WebSocket, and send *body*, which is ready frames."""
        rest = self._machine.upgrade()
        self._request = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._server.connections.discard(self)
        head = accepted(request.head, response.headers, self._server.date_line)
        connection = WebSocket(self._transport, self._server, body.close)
        connection.begin(head, rest)
        try:
            async for chunk in body.chunks():
                if not await connection.send(chunk):
                    return
        except BaseException:
            connection.close(BROKEN)
            raise
        connection.close(body.close_code)

    def _refuse(self, event: Refused) -> None:
        seconds = self._loop.time() - event.began_at if event.began_at else 0.0
        response = self._server.app.refuse(event.error, event.sent_id, seconds)
        assert isinstance(response.body, bytes)
        machine = self._machine
        size = len(response.body)
        common = self._server.date_line
        data = machine.begin(response.status, response.headers, size, common=common)
        self._transport.write(data + machine.piece(response.body))
        machine.end(self._loop.time())

    def _close(self, close: Closing) -> None:
        transport = self._transport
        if close is Closing.ABORT:
            transport.abort()
        elif close is Closing.SENT:
            transport.close()
        elif not transport.is_closing() and transport.can_write_eof():
            transport.write_eof()

    # --- waiting ----------------------------------------------------------------------------------

    def pause_writing(self) -> None:
        """Watch a client that does not read its response."""
        self._drained = self._loop.create_future()
        unsent = self._transport.get_write_buffer_size()
        self._machine.written(unsent, self._loop.time())
        self._advance_timer()

    def resume_writing(self) -> None:
        """Continue to send."""
        self._machine.written(0, self._loop.time())
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        self._drained = None

    async def _writable(self) -> None:
        if self._drained is not None:
            await self._drained

    def _advance_timer(self) -> None:
        deadline = self._machine.deadline()
        if deadline < self._fires_at:
            self._set_timer(deadline)

    def _set_timer(self, deadline: float) -> None:
        """
        Call `_expire` at *deadline*.

        Starting and canceling a timer costs about 2 µs, as much as all else that a connection does
        around a request, and most deadlines move with the next request. So a timer that fires too
        early is left alone: when it fires, the machine is asked when its deadline really is.
        """
        if self._timer is not None:
            self._timer.cancel()
        self._fires_at = deadline
        self._timer = self._loop.call_at(deadline, self._expire)

    def _expire(self) -> None:
        self._timer = None
        self._fires_at = math.inf
        self._machine.expire(self._transport.get_write_buffer_size(), self._loop.time())
        self._advance()
