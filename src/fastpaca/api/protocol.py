"""
One HTTP/1.1 connection: uvicorn's protocol, with the bounds that its parser does not have.

httptools is fast and limits nothing: a header may grow without end. What is added here:

- A request line with its headers has at most 64 KiB and 100 headers, and arrives within 15 s.
- What is not HTTP gets an error like every other, in JSON and with a request id, and ends the
  connection. So does what two readers could understand in two ways: a request that states its
  length twice, a path that is not a path, two hosts. The error is sent in turn, after the responses
  to earlier requests of the connection.
- A response that is sent before its request was read to the end is not lost. Closing a connection
  with unread data means a reset, so sending ends first, and what still arrives is discarded for a
  while.
- A response to HTTP/1.0 whose length is not known ends by closing, not in chunks.
- A connection that sends no request, or does not read its responses, is closed.
- Too many connections get an error and are closed, before they cost memory.

Nothing here knows what a request asks for. The file is long because all of it works on the state of
one connection.
"""

from __future__ import annotations

import asyncio
import logging
import re
from dataclasses import dataclass, field
from typing import Any, Final, cast
from urllib.parse import unquote

import httptools
from uvicorn._types import (
    ASGI3Application,
    ASGIReceiveCallable,
    ASGISendCallable,
    ASGISendEvent,
    Scope,
)
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)
from uvicorn.server import ServerState

from fastpaca.api import errors, request_ids
from fastpaca.api.timer import DeadlineTimer
from fastpaca.api.websocket import Handshake, Socket, SocketBounds
from fastpaca.errors import (
    FastpacaError,
    HeadersTooLarge,
    InvalidRequest,
    RequestTimeout,
    Unavailable,
)
from fastpaca.telemetry import Metrics

logger = logging.getLogger(__name__)

WARNING_INTERVAL_SECONDS: Final = 60.0

_SOCKET_KEY: Final = re.compile(rb"[A-Za-z0-9+/]{21}[AQgw]==")


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionBounds:
    """
    The bounds of a connection.

    Attributes:
        head_bytes_max: Of a request line and its headers; also of the trailers after a body.
        headers_max: Headers of one request.
        head_seconds: From the first byte of a request to the end of its headers.
        idle_seconds: Between two requests, and before the first.
        unread_seconds: How often to check that the client is reading the response.
        unread_bytes: How much it must have read by then, if that much was sent.
        linger_seconds: How long the rest of a request is discarded after an early response.
        pipelined_max: Requests that may wait for an earlier one of their connection.
        connections_max: Connections at the same time.
        socket: The bounds of those that become WebSockets.
    """

    head_bytes_max: int = 64 * 1024
    headers_max: int = 100
    head_seconds: float = 15
    idle_seconds: float = 75
    unread_seconds: float = 60
    unread_bytes: int = 32 * 1024
    linger_seconds: float = 5
    pipelined_max: int = 64
    connections_max: int = 4096
    socket: SocketBounds = field(default_factory=SocketBounds)


class Refusals:
    """Counts the requests that never reach a route, for all connections of a server."""

    def __init__(self, metrics: Metrics) -> None:
        self._seconds = metrics.http_request_seconds
        self._warned_at = -WARNING_INTERVAL_SECONDS

    def note(
        self, error: FastpacaError, status: int, request_id: bytes, seconds: float, now: float
    ) -> None:
        """Count one; log it if an operator can do something about it, but not each time."""
        self._seconds.labels("other", "other", str(status)).observe(seconds)
        level = logging.DEBUG
        if isinstance(error, Unavailable) and now - self._warned_at >= WARNING_INTERVAL_SECONDS:
            self._warned_at = now
            level = logging.WARNING
        fields = {"type": error.code, "request_id": request_id.decode()}
        logger.log(level, "a request was refused: %s", error.message, extra=fields)


class _Enough(Exception):
    """This connection takes no more requests."""


class _Sending:
    """
    The transport of a connection as uvicorn sees it.

    uvicorn closes after a response, whether or not the request was read to the end.
    """

    __slots__ = ("_connection", "write")

    def __init__(self, socket: asyncio.Transport, connection: Connection) -> None:
        self._connection = connection
        self.write = socket.write

    def is_closing(self) -> bool:
        return self._connection.is_closing

    def close(self) -> None:
        self._connection.end()


class Connection(HttpToolsProtocol):
    """
    A connection to one client.

    The *head* of a request is its request line and headers, and a request is *open* from the end of
    its head to the end of its body. Of the requests without a complete response, one is *running*
    and later ones wait in `self.pipeline`; `self.cycle` is the newest.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        refusals: Refusals,
        bounds: ConnectionBounds,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._refusals = refusals
        self._bounds = bounds
        self._in_head = False
        self._is_open = False
        self._is_deaf = False  # nothing more is understood
        self._has_heard_all = False  # nothing more comes in
        self._is_ending = False  # nothing more goes out
        self._unused_bytes = 0  # read by the parser since its last callback
        self._hosts = 0
        self._began_at = 0.0
        self._running: RequestResponseCycle | None = None
        self._refusal: FastpacaError | None = None
        self._deadline = DeadlineTimer(self.loop)
        self._unsent = 0
        self._unread_timer: asyncio.TimerHandle | None = None
        self._handshake: Handshake | None = None  # for a WebSocket

    # --- the life of a connection -----------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for a request, or refuse the connection if there are too many."""
        super().connection_made(transport)
        self._socket = transport
        self.transport = cast(asyncio.Transport, _Sending(transport, self))
        excess = len(self.connections) - self._bounds.connections_max
        if excess > self._bounds.connections_max // 8 + 1:
            self.abort()
        elif excess > 0:
            self._refuse(Unavailable("Too many connections; try again in a second."))
        else:
            self._wait(self._bounds.idle_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the running request that its client has gone, and drop those that wait."""
        self._is_ending = True
        self._deadline.stop()
        self._stop_watching()
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True
            self._running.message_event.set()
        super().connection_lost(exc)
        # Connections and requests refer to each other; free them without the garbage collector.
        self.cycle = None  # type: ignore[assignment]
        self._running = None
        self.pipeline.clear()

    def eof_received(self) -> bool:  # type: ignore[override]
        """Keep a connection that the client has ended on its side until all responses are sent."""
        if self._is_open or self._is_ending or not self._owes_responses:
            return False
        self._has_heard_all = True
        self._hear_no_more()
        return True

    def shutdown(self) -> None:
        """Close as soon as all responses are sent."""
        if self._owes_responses:
            self.cycle.keep_alive = False
        else:
            self._socket.close()

    def end(self) -> None:
        """Close once the client can have read what was sent."""
        if self._is_ending:
            return
        self._is_ending = True
        has_unread = (self._is_open or self._is_deaf) and not self._has_heard_all
        if not has_unread or self._socket.is_closing():
            self._socket.close()
            return
        # Closing now would reset the connection, and the response could be lost.
        if self._socket.can_write_eof():
            self._socket.write_eof()
        self.flow.resume_reading()
        self._wait(self._bounds.linger_seconds)

    def abort(self) -> None:
        """Close now, and drop what is under way."""
        self._socket.abort()

    @property
    def is_closing(self) -> bool:
        """Whether no further response can be sent."""
        return self._is_ending or self._socket.is_closing()

    @property
    def _owes_responses(self) -> bool:
        running = self._running
        return running is not None and not (running.response_complete or running.disconnected)

    # --- what comes in ----------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Feed *data* to the parser, in pieces no larger than what a head may still have."""
        if self._unused_bytes + len(data) <= self._bounds.head_bytes_max:
            self._parse(data)
        else:
            rest = memoryview(data)
            while rest and not self._is_deaf:
                size = self._bounds.head_bytes_max - self._unused_bytes
                self._parse(rest[:size])
                rest = rest[size:]
        if self._in_head and not self._deadline.is_set and not self._is_deaf:
            self._wait_for_head()

    def _parse(self, data: bytes | memoryview) -> None:
        if self._is_deaf:
            return
        self._unused_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._is_deaf = True  # what follows is another protocol
            if self._handshake is not None:
                self._become_socket(self._handshake)
        except httptools.HttpParserCallbackError as error:
            self._fail(error.__context__ or error)
        except httptools.HttpParserError as error:
            self._fail(error)
        else:
            if self._unused_bytes >= self._bounds.head_bytes_max:
                self._refuse(HeadersTooLarge())

    def _fail(self, error: BaseException) -> None:
        """Handle *error*, which the parser or one of its callbacks raised."""
        if isinstance(error, _Enough):
            self._is_deaf = True
        elif isinstance(error, FastpacaError):
            self._refuse(error)
        elif isinstance(error, httptools.HttpParserError):
            self._refuse(InvalidRequest(f"This is not a valid HTTP/1.1 request: {error}."))
        else:
            raise error

    def on_message_begin(self) -> None:
        """Begin a request, unless the one before it was the last."""
        if self._is_ending or self._is_deaf:
            raise _Enough
        super().on_message_begin()
        self._deadline.clear()
        self._began_at = self.loop.time()
        self._in_head = True
        self._hosts = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        """
        Keep a header.

        Raises:
            HeadersTooLarge: There are too many.
            InvalidRequest: The body has an encoding that is not supported.
        """
        if not self._in_head:
            return  # a trailer: after the body it could change what was decided already
        if len(self.headers) >= self._bounds.headers_max:
            raise HeadersTooLarge(f"Too many headers; send at most {self._bounds.headers_max}.")
        name = name.lower()
        value = value.rstrip(b" \t")
        if name == b"host":
            self._hosts += 1
        elif name == b"expect":
            self.expect_100_continue = value.lower() == b"100-continue"
        elif name == b"transfer-encoding" and value.lower() != b"chunked":
            raise InvalidRequest("The only supported transfer encoding is 'chunked'.")
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """
        Begin to serve a request.

        Raises:
            InvalidRequest: The head cannot be understood, or in more than one way.
        """
        version = self.parser.get_http_version()
        self._check_head(version)
        if self._wants_socket():
            self._handshake = self._checked_socket()
        self._in_head = False
        self._is_open = True
        self._unused_bytes = 0
        self._deadline.clear()
        if version == "1.0":
            self.expect_100_continue = False
        if self._handshake is not None:
            return
        super().on_headers_complete()
        if self.parser.should_upgrade() or len(self.pipeline) >= self._bounds.pipelined_max:
            self.cycle.keep_alive = False

    def _check_head(self, version: str) -> None:
        if version not in {"1.1", "1.0"}:
            raise InvalidRequest(f"HTTP/{version} is not supported; use HTTP/1.1.")
        if not self.url.startswith(b"/"):
            raise InvalidRequest("The request target must be a path, such as '/v1/contexts'.")
        if b"#" in self.url:
            raise InvalidRequest("Encode '#' in a path or a query as '%23'.")
        if self._hosts > 1 or (self._hosts == 0 and version == "1.1"):
            raise InvalidRequest("An HTTP/1.1 request must have exactly one Host header.")
        if version == "1.0" and self._has(b"transfer-encoding"):
            raise InvalidRequest("HTTP/1.0 has no transfer encodings; send a Content-Length.")
        # The parser treats what follows an upgrade as the other protocol, and would skip the body.
        if self.parser.should_upgrade() and self._has(b"content-length", b"transfer-encoding"):
            raise InvalidRequest(
                "A request with a body cannot be upgraded; send it without Upgrade."
            )

    def _wants_socket(self) -> bool:
        """
        Return whether this request asks for a WebSocket.

        A request for another protocol is served as if it had not asked for it.
        """
        return (
            self.parser.should_upgrade()
            and self.parser.get_method() == b"GET"
            and self.parser.get_http_version() == "1.1"
            and self._get_upgrade() == b"websocket"
        )

    def _checked_socket(self) -> Handshake:
        headers = dict(self.headers)
        if headers.get(b"sec-websocket-version") != b"13":
            raise InvalidRequest("Open a WebSocket of version 13.", "Sec-WebSocket-Version")
        if not _SOCKET_KEY.fullmatch(headers.get(b"sec-websocket-key", b"")):
            raise InvalidRequest("Must be 16 random bytes in base64.", "Sec-WebSocket-Key")
        if self._owes_responses:
            raise InvalidRequest(
                "Open a WebSocket after all earlier requests have their responses."
            )
        url = httptools.parse_url(self.url)
        path = url.path.decode("ascii")
        return Handshake(unquote(path), url.path, url.query or b"", self.headers)

    def _become_socket(self, handshake: Handshake) -> None:
        """Pass the connection on to a WebSocket."""
        self._deadline.stop()
        self._stop_watching()
        self.connections.discard(self)
        bounds = self._bounds.socket
        socket = Socket(
            self.config, self.server_state, self.app_state, handshake=handshake, bounds=bounds
        )
        self._socket.set_protocol(socket)
        socket.connection_made(self._socket)
        socket.begin()

    def _has(self, *names: bytes) -> bool:
        return any(name in names for name, _ in self.headers)

    def on_body(self, body: bytes) -> None:
        """Pass on a piece of the body."""
        self._unused_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End a request."""
        self._is_open = False
        self._unused_bytes = 0
        if self._handshake is not None:
            return
        super().on_message_complete()
        if self._is_ending:
            self._socket.close()
        elif self.cycle.response_complete:
            self._wait(self._bounds.idle_seconds)
        elif len(self.pipeline) >= self._bounds.pipelined_max:
            self._is_deaf = True

    def _hear_no_more(self) -> None:
        """Make the request that was read last the last one of this connection."""
        self._is_deaf = True
        self.cycle.keep_alive = False

    # --- what goes out ----------------------------------------------------------------------------

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._running = cycle
        if cycle.scope["http_version"] == "1.0":
            app = _ended_by_closing(cycle, app)
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        """Serve the next request that waits, or wait for one."""
        self.server_state.total_requests += 1
        if self.is_closing:
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif self._refusal is not None:
            self._send_refusal(self._refusal)
        elif self._is_open and self.expect_100_continue:
            self.end()  # the client may never send a body that it was not asked for
        elif self._is_open:
            self._wait(self._bounds.linger_seconds)
        elif not self._in_head:
            self._wait(self._bounds.idle_seconds)

    def pause_writing(self) -> None:
        """Watch a client that does not read its response."""
        super().pause_writing()
        self._watch()

    def resume_writing(self) -> None:
        """Continue to send."""
        self._stop_watching()
        super().resume_writing()

    # --- refusals ---------------------------------------------------------------------------------

    def _refuse(self, error: FastpacaError) -> None:
        """Respond with *error* after the responses to earlier requests, and end the connection."""
        self._is_deaf = True
        self._deadline.clear()
        if self._is_ending:
            self._socket.close()
        elif self._is_open and not self._take_back():
            self.abort()  # the response has begun: the client must not take it for complete
        elif self._owes_responses:
            self._refusal = error
        else:
            self._send_refusal(error)

    def _take_back(self) -> bool:
        """Forget the open request; return False if its response has begun."""
        if self.cycle.response_started:
            return False
        self._is_open = False
        if self.pipeline:
            self.pipeline.popleft()
        else:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        return True

    def _send_refusal(self, error: FastpacaError) -> None:
        request_id = request_ids.request_id(dict(self.headers or ()).get(b"x-request-id"))
        response = errors.response(error)
        assert isinstance(response.body, bytes)
        headers = (
            *self.server_state.default_headers,
            *response.headers,
            (b"content-length", b"%d" % len(response.body)),
            (b"x-request-id", request_id),
            (b"connection", b"close"),
        )
        lines = b"".join(b"%b: %b\r\n" % header for header in headers)
        self._socket.write(STATUS_LINE[response.status] + lines + b"\r\n" + response.body)
        now = self.loop.time()
        seconds = now - self._began_at if self._began_at else 0.0
        self._refusals.note(error, response.status, request_id, seconds, now)
        self.end()

    # --- waiting ----------------------------------------------------------------------------------

    def _wait(self, seconds: float) -> None:
        """Close in *seconds* if nothing happens until then."""
        self._unsent = 0
        self._deadline.set(seconds, self._expire)

    def _expire(self) -> None:
        unsent = self._socket.get_write_buffer_size()
        if unsent and (not self._unsent or self._unsent - unsent >= self._bounds.unread_bytes):
            self._unsent = unsent  # the client is still reading its response
            self._deadline.set(self._bounds.unread_seconds, self._expire)
        else:
            self.abort()

    def _wait_for_head(self) -> None:
        self._deadline.set(self._bounds.head_seconds, self._refuse_slow_head)

    def _refuse_slow_head(self) -> None:
        if self.flow.read_paused:  # it is not the client that is slow
            self._wait_for_head()
            return
        self._refuse(
            RequestTimeout(
                f"The headers did not arrive within {self._bounds.head_seconds:g} seconds;"
                " send them without pauses."
            )
        )

    def _watch(self) -> None:
        unsent = self._socket.get_write_buffer_size()
        seconds = self._bounds.unread_seconds
        self._unread_timer = self.loop.call_later(seconds, self._check_reading, unsent)

    def _check_reading(self, unsent_before: int) -> None:
        taken = unsent_before - self._socket.get_write_buffer_size()
        if taken >= self._bounds.unread_bytes:
            self._watch()
        else:
            self.abort()

    def _stop_watching(self) -> None:
        if self._unread_timer is not None:
            self._unread_timer.cancel()
            self._unread_timer = None


def _ended_by_closing(cycle: RequestResponseCycle, app: ASGI3Application) -> ASGI3Application:
    """
    Let *app* serve a request of HTTP/1.0, which does not have chunks.

    A body of unknown length ends where the connection does: it is closed after every response to
    HTTP/1.0.
    """

    async def serve(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        has_length = True

        async def send_plain(message: ASGISendEvent) -> None:
            nonlocal has_length
            if message["type"] == "http.response.start":
                names = {name.lower() for name, _ in message.get("headers", ())}
                has_length = b"content-length" in names
                if not has_length:
                    cycle.chunked_encoding = False
            elif message["type"] == "http.response.body" and not has_length:
                cycle.expected_content_length = len(message.get("body", b""))
            await send(message)

        await app(scope, receive, send_plain)

    return serve
