"""
One HTTP/1.1 connection as a pure machine: no I/O, no clock, no randomness.

Bytes and times go in, events and bytes to send come out. The states and the steps between them are
the tables of `states.py`; httptools only finds tokens, and limits nothing. This is decided here:

- A request line with its headers is bounded in size, number and time. So is everything else.
- What is not HTTP is refused in turn, after the responses to earlier requests, and ends the
  connection. So is what two readers could understand in two ways: a request that states its length
  twice, a path that is not a path, two hosts.
- A response that ends before its request was read to the end is not lost. Closing a connection with
  unread data means a reset, so sending ends first, and what still arrives is discarded for a while.
- A response to HTTP/1.0 whose length is not known ends by closing, not in chunks.
- A connection that sends no request, or does not read its responses, is closed.

The file is long because all of it works on the state of one connection.
"""

from __future__ import annotations

import math
import re
from typing import Final, NamedTuple

import httptools

from fastpaca.errors import FastpacaError, HeadersTooLarge, InvalidRequest, RequestTimeout
from fastpaca.http.bounds import ConnectionBounds
from fastpaca.http.messages import Head, Headers
from fastpaca.http.states import (
    BETWEEN,
    BODY,
    CLOSED,
    DEAF,
    HEAD,
    OPEN,
    OWING,
    QUIET,
    READS,
    SENDING,
    WRITES,
    Closing,
    ReadState,
    ReadStep,
    WriteState,
    WriteStep,
)

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"

NEVER: Final = math.inf

_REASONS: Final = {
    101: b"Switching Protocols",
    200: b"OK",
    201: b"Created",
    204: b"No Content",
    304: b"Not Modified",
    400: b"Bad Request",
    401: b"Unauthorized",
    403: b"Forbidden",
    404: b"Not Found",
    405: b"Method Not Allowed",
    408: b"Request Timeout",
    409: b"Conflict",
    413: b"Content Too Large",
    415: b"Unsupported Media Type",
    429: b"Too Many Requests",
    431: b"Request Header Fields Too Large",
    500: b"Internal Server Error",
    503: b"Service Unavailable",
}
"""The reason phrases of RFC 9110 and RFC 6585. Without one a status stands alone."""

STATUS_LINES: Final = {
    status: b"HTTP/1.1 %d %b\r\n" % (status, _REASONS.get(status, b""))
    for status in range(100, 600)
}

_BODILESS: Final = frozenset({101, 204, 304})
_SOCKET_KEY: Final = re.compile(rb"[A-Za-z0-9+/]{21}[AQgw]==")
_BEGIN: Final = ReadStep.BEGIN
_HEAD_END: Final = ReadStep.HEAD_END
_BODY_END: Final = ReadStep.BODY_END
_LAST_END: Final = ReadStep.LAST_END
_HAND_OUT: Final = WriteStep.HAND_OUT
_RESPONSE_BEGIN: Final = WriteStep.BEGIN
_RESPONSE_END: Final = WriteStep.END
_VERSIONS: Final = frozenset({"1.1", "1.0"})
_ENDING: Final = frozenset({b"connection", b"proxy-connection"})
_NO_LENGTH: Final = (None, b"0")
_OWED: Final = frozenset({OWING, SENDING})

# How a body is framed, if not by the number of bytes that are still to come.
_NO_BODY: Final = -1
_CHUNKED: Final = -2
_UNTIL_CLOSED: Final = -3
_STREAMS: Final = frozenset({_CHUNKED, _UNTIL_CLOSED})


class Body(NamedTuple):
    """A piece of the body of the current request."""

    piece: bytes | bytearray


class End(NamedTuple):
    """The body of the current request is whole."""


class Refused(NamedTuple):
    """What came is not a request: respond with *error*; the connection then ends."""

    error: FastpacaError
    sent_id: bytes | None
    began_at: float


class Disconnected(NamedTuple):
    """No response can reach the client of the current request any more."""


Event = Head | Body | End | Refused | Disconnected

_END: Final = End()
_DISCONNECTED: Final = Disconnected()


class _Enough(Exception):
    """This connection takes no more requests."""


class _Incoming(Head):
    """A head, and what the connection has to know of its request."""

    __slots__ = ("is_old", "keeps_alive", "length", "wants_continue")

    is_old: bool
    keeps_alive: bool
    length: int | None
    wants_continue: bool


_STARTS: Final = (_Incoming, Refused)
"""What a response is owed to."""


class Connection:
    """
    A connection to one client.

    Call an input (`receive`, `receive_eof`, `written`, `expire`, `drain`, `lost`), then
    `next_event` until it returns None. Respond to each `Head` and `Refused` with `begin`, `piece`
    and `end`.
    After each call, look at `wants_data`, `wants_close` and `deadline`.

    The *newest* request is the one that was read last; the *current* one is the one whose response
    is owed. Those between them wait, with their bodies, as events.

    Attributes:
        wants_close: How to close the connection, if at all.
    """

    __slots__ = (
        "_began_at",
        "_bounds",
        "_current",
        "_events",
        "_framing",
        "_has_unread",
        "_headers",
        "_held",
        "_is_eof",
        "_is_released",
        "_newest",
        "_now",
        "_parser",
        "_reading",
        "_repeated",
        "_rest",
        "_unread_before",
        "_unused_bytes",
        "_url",
        "_wait_until",
        "_waiting",
        "_watch_until",
        "_watched_bytes",
        "_writing",
        "wants_close",
    )

    def __init__(self, bounds: ConnectionBounds, now: float) -> None:
        self._bounds = bounds
        self._parser = httptools.HttpRequestParser(self)
        self._reading: ReadState = BETWEEN
        self._writing: WriteState = QUIET
        self._events: list[Event] = []
        self._current: _Incoming | None = None  # None while a refusal is sent
        self._newest: _Incoming | None = None
        self._waiting = 0  # heads among the events
        self._held = 0  # bytes of bodies that the application has not taken
        self._is_released = False
        self._is_eof = False
        self._has_unread = False  # the client may have sent what was not read
        self._rest = b""  # what came after the head of a WebSocket
        self._url = b""
        self._headers: dict[bytes, bytes] = {}
        self._repeated: tuple[bytes, ...] = ()
        self._unused_bytes = 0  # read by the parser since its last callback
        self._now = now
        self._began_at = 0.0
        self._framing = _NO_BODY
        self._wait_until = now + bounds.idle_seconds
        self._unread_before = 0
        self._watch_until = NEVER
        self._watched_bytes = 0
        self.wants_close = OPEN

    # --- what the shell looks at ------------------------------------------------------------------

    @property
    def wants_data(self) -> bool:
        """Whether to read from the client; False as long as the application is slower."""
        if self._held > self._bounds.held_bytes_max:
            return False
        newest = self._newest  # what follows a WebSocket's head is for others, unless it is denied
        return newest is None or not newest.wants_socket or self._writing is CLOSED

    @property
    def owes_response(self) -> bool:
        """Whether the response to a request is still to be sent, or to be sent whole."""
        return self._waiting > 0 or self._writing in _OWED

    def deadline(self) -> float:
        """Return when to call `expire`."""
        wait, watch = self._wait_until, self._watch_until
        return wait if wait < watch else watch  # noqa: FURB136 - `min` takes twice the time

    # --- what comes in ----------------------------------------------------------------------------

    def receive(self, data: bytes, now: float) -> None:
        """Take bytes from the client."""
        self._now = now
        if self._reading is DEAF:
            self._has_unread = True
        elif self._unused_bytes + len(data) <= self._bounds.head_bytes_max:
            self._parse(data)
        else:
            self._parse_in_pieces(memoryview(data))

    def receive_eof(self, now: float) -> None:
        """
        Note that the client ended its side. Responses that are owed are still sent.

        A stream has no end, and a client that closes looks the same: it would be sent to for long.
        """
        self._now = now
        self._is_eof = True
        if self._writing is CLOSED or self._reading is BODY:
            self._close_when_sent()
        elif self._writing is SENDING and self._framing in _STREAMS:
            self._abort()
        elif not self.owes_response:
            self._close()
        else:
            self._read_no_more()

    def drain(self, now: float) -> None:
        """End as soon as no response is owed."""
        self._now = now
        if self.owes_response:
            self._read_no_more()
        elif self._writing is not CLOSED:
            self._writing = WRITES[self._writing][WriteStep.CLOSE]
            self._close_when_sent()

    def _read_no_more(self) -> None:
        """Make the newest request the last."""
        assert self._newest is not None or self._current is None
        if self._newest is not None:
            self._newest.keeps_alive = False
        if self._reading is not BODY:
            self._has_unread |= self._reading is HEAD
            self._reading = READS[self._reading][ReadStep.STOP]
            self._wait_until = NEVER

    def lost(self) -> None:
        """Note that the connection is gone."""
        is_owed = self._writing in _OWED
        self._release_parser()
        self._events.clear()
        self._waiting = self._held = 0
        if is_owed:
            self._events.append(_DISCONNECTED)

    def upgrade(self) -> bytes:
        """Hand the connection over to a WebSocket; return what was read after its head."""
        assert self._current is not None
        assert self._current.wants_socket
        self._release_parser()
        return self._rest

    def _release_parser(self) -> None:
        self._reading = READS[self._reading].get(ReadStep.STOP, DEAF)
        self._writing = WRITES[self._writing][WriteStep.CLOSE]
        self._wait_until = self._watch_until = NEVER
        self._current = self._newest = None
        # Parser and connection refer to each other; free them without the garbage collector.
        del self._parser

    def written(self, unsent: int, now: float) -> None:
        """Watch a client that leaves *unsent* bytes to be sent; 0 if it reads again."""
        if unsent == 0:
            self._watch_until = NEVER
        elif self._watch_until == NEVER:
            self._watch_until = now + self._bounds.unread_seconds
            self._watched_bytes = unsent

    def expire(self, unsent: int, now: float) -> None:
        """Act on deadlines that have passed; *unsent* is what the client has not read yet."""
        self._now = now
        if now >= self._watch_until:
            if self._watched_bytes - unsent < self._bounds.unread_bytes:
                self._abort()
                return
            self._watch_until = now + self._bounds.unread_seconds
            self._watched_bytes = unsent
        if now < self._wait_until:
            return
        if self._reading is HEAD and self._writing is not CLOSED:
            self._expire_head()
        elif unsent and self._is_read(unsent):
            self._unread_before = unsent
            self._wait_until = now + self._bounds.unread_seconds
        else:
            self._abort()

    def _is_read(self, unsent: int) -> bool:
        """Return whether the client has read enough of its response since the last look."""
        before = self._unread_before
        return not before or before - unsent >= self._bounds.unread_bytes

    def _expire_head(self) -> None:
        seconds = self._bounds.head_seconds
        if not self.wants_data:  # it is not the client that is slow
            self._wait_until = self._now + seconds
            return
        self._refuse(
            RequestTimeout(
                f"The headers did not arrive within {seconds:g} seconds; send them without pauses."
            )
        )

    def _wait(self, seconds: float) -> None:
        self._unread_before = 0
        self._wait_until = self._now + seconds

    # --- what the parser finds --------------------------------------------------------------------

    def _parse(self, data: bytes | memoryview) -> None:
        self._unused_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._rest = bytes(data[upgrade.args[0] :])
        except httptools.HttpParserCallbackError as error:
            self._fail(error.__context__ or error)
        except httptools.HttpParserError as error:
            self._fail(error)
        else:
            if self._unused_bytes >= self._bounds.head_bytes_max:
                self._refuse(HeadersTooLarge())

    def _parse_in_pieces(self, rest: memoryview) -> None:
        """Parse no more at once than a head may still have."""
        while rest and self._reading is not DEAF:
            size = self._bounds.head_bytes_max - self._unused_bytes
            self._parse(rest[:size])
            rest = rest[size:]
        if self._newest is not None and self._newest.wants_socket:
            self._rest += rest

    def _fail(self, error: BaseException) -> None:
        """Handle *error*, which the parser or one of its callbacks raised."""
        if self._reading is DEAF or isinstance(error, _Enough):
            self._has_unread = True
        elif isinstance(error, FastpacaError):
            self._refuse(error)
        elif isinstance(error, httptools.HttpParserError):
            self._refuse(InvalidRequest(f"This is not a valid HTTP/1.1 request: {error}."))
        else:
            raise error

    def on_message_begin(self) -> None:
        """Begin a request, unless the one before it was the last."""
        if self._reading is DEAF or self._writing is CLOSED:
            raise _Enough
        self._reading = READS[self._reading][_BEGIN]
        self._wait(self._bounds.head_seconds)
        self._began_at = self._now
        self._url = b""
        self._headers = {}
        self._repeated = ()

    def on_url(self, url: bytes) -> None:
        """Keep a piece of the target."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """
        Keep a header.

        Raises:
            HeadersTooLarge: There are too many.
            InvalidRequest: The body has an encoding that is not supported.
        """
        if self._reading is not HEAD:
            self._take_trailer(name)
            return
        headers = self._headers
        if len(headers) + len(self._repeated) >= self._bounds.headers_max:
            raise HeadersTooLarge(f"Too many headers; send at most {self._bounds.headers_max}.")
        name = name.lower()
        value = value.rstrip(b" \t")
        if name in headers:
            self._repeated += (name,)
            headers[name] += b", " + value
        else:
            headers[name] = value

    def _take_trailer(self, name: bytes) -> None:
        """Drop a trailer: after the body it could change what was decided already."""
        if name.lower() in _ENDING:  # the parser obeys it, and would refuse what follows
            assert self._newest is not None
            self._newest.keeps_alive = False

    def on_headers_complete(self) -> None:
        """
        Begin to serve a request.

        Raises:
            InvalidRequest: The head cannot be understood, or in more than one way.
        """
        parser = self._parser
        headers = self._headers
        version = parser.get_http_version()
        upgrades = parser.should_upgrade()
        self._check_head(version, upgrades=upgrades)
        is_old = version == "1.0"
        path, _, query = self._url.partition(b"?")
        head = _Incoming(parser.get_method().decode(), path, query, headers, self._repeated)
        length = headers.get(b"content-length")
        head.has_body = length not in _NO_LENGTH or b"transfer-encoding" in headers
        # Without its zeros it is short: Python converts no number of more than 4300 digits.
        head.length = int(length.lstrip(b"0") or b"0") if length else None
        head.is_old = is_old
        head.wants_continue = not is_old and headers.get(b"expect", b"").lower() == b"100-continue"
        head.wants_socket = upgrades and self._checked_socket(head.method)
        head.keeps_alive = not is_old and not upgrades and parser.should_keep_alive()
        self._events.append(head)
        self._newest = head
        self._waiting += 1
        if self._waiting - (self._writing is QUIET) >= self._bounds.pipelined_max:
            head.keeps_alive = False
            self._has_unread = True
        self._has_unread |= upgrades
        self._reading = READS[self._reading][_HEAD_END]
        self._unused_bytes = 0
        self._wait_until = NEVER

    def _check_head(self, version: str, *, upgrades: bool) -> None:
        headers = self._headers
        if version not in _VERSIONS:
            raise InvalidRequest(f"HTTP/{version} is not supported; use HTTP/1.1.")
        if self._url[:1] != b"/":
            raise InvalidRequest("The request target must be a path, such as '/v1/contexts'.")
        if b"#" in self._url:
            raise InvalidRequest("Encode '#' in a path or a query as '%23'.")
        if b"host" in self._repeated or (b"host" not in headers and version != "1.0"):
            raise InvalidRequest("An HTTP/1.1 request must have exactly one Host header.")
        if b"transfer-encoding" in headers:
            if headers[b"transfer-encoding"].lower() != b"chunked":
                raise InvalidRequest("The only supported transfer encoding is 'chunked'.")
            if version == "1.0":
                raise InvalidRequest("HTTP/1.0 has no transfer encodings; send a Content-Length.")
        # The parser treats what follows an upgrade as the other protocol, and would skip the body.
        if upgrades and (b"content-length" in headers or b"transfer-encoding" in headers):
            raise InvalidRequest(
                "A request with a body cannot be upgraded; send it without Upgrade."
            )

    def _checked_socket(self, method: str) -> bool:
        """
        Return whether a request asks for a WebSocket.

        A request for another protocol is served as if it had not asked for it.

        Raises:
            InvalidRequest: It asks for a WebSocket in a way that cannot be granted.
        """
        headers = self._headers
        if method != "GET" or headers.get(b"upgrade", b"").lower() != b"websocket":
            return False
        if self._parser.get_http_version() != "1.1":
            return False
        if headers.get(b"sec-websocket-version") != b"13":
            raise InvalidRequest("Open a WebSocket of version 13.", "Sec-WebSocket-Version")
        if not _SOCKET_KEY.fullmatch(headers.get(b"sec-websocket-key", b"")):
            raise InvalidRequest("Must be 16 random bytes in base64.", "Sec-WebSocket-Key")
        if self.owes_response:
            raise InvalidRequest(
                "Open a WebSocket after all earlier requests have their responses."
            )
        return True

    def on_body(self, piece: bytes) -> None:
        """Keep a piece of the body, unless it is not wanted."""
        self._unused_bytes = 0
        assert self._newest is not None
        self._newest.wants_continue = False
        if self._waiting or (self._writing in _OWED and not self._is_released):
            self._held += len(piece)
            events = self._events
            if not (events and isinstance(last := events[-1], Body)):
                events.append(Body(piece))
            # Many small chunks must neither be many events nor be copied again for each.
            elif isinstance(last.piece, bytearray):
                last.piece.extend(piece)
            else:
                events[-1] = Body(bytearray(last.piece) + piece)

    def on_message_complete(self) -> None:
        """End a request."""
        self._unused_bytes = 0
        newest = self._newest
        assert newest is not None
        self._reading = READS[self._reading][_BODY_END if newest.keeps_alive else _LAST_END]
        if self.owes_response:
            if newest.has_body:
                self._events.append(_END)
        elif self._writing is CLOSED:
            self._close_when_sent()
        else:
            self._wait(self._bounds.idle_seconds)

    # --- refusals ---------------------------------------------------------------------------------

    def refuse(self, error: FastpacaError, now: float) -> None:
        """Respond with *error* instead of reading anything more."""
        self._now = now
        self._refuse(error)

    def _refuse(self, error: FastpacaError) -> None:
        """Respond with *error* after the responses to earlier requests, and end the connection."""
        was_in_body = self._reading is BODY
        self._reading = READS[self._reading][ReadStep.STOP]
        self._has_unread = True
        self._wait_until = NEVER
        if self._writing is CLOSED:
            self._close_when_sent()
        elif was_in_body and not self._take_back():
            self._abort()  # the response has begun: the client must not take it for complete
        else:
            sent_id = self._headers.get(b"x-request-id")
            self._events.append(Refused(error, sent_id, self._began_at))

    def _take_back(self) -> bool:
        """Forget the newest request; return False if its response has begun."""
        newest = self._newest
        assert newest is not None
        if self._waiting:
            del self._events[self._events.index(newest) :]
            self._waiting -= 1
        elif self._writing is OWING:
            self._writing = WRITES[self._writing][WriteStep.TAKE_BACK]
            self._events = [_DISCONNECTED]
        else:
            return False
        self._held = _size(self._events)
        return True

    # --- what goes to the application -------------------------------------------------------------

    def next_event(self) -> Event | None:
        """Return the next event, if there is one now."""
        events = self._events
        while events:
            event = events[0]
            if isinstance(event, _STARTS):
                if self._writing is not QUIET:
                    return None
                del events[0]
                self._hand_out(event)
                return event
            del events[0]
            if self._writing in _OWED or event is _DISCONNECTED:
                return event
            if isinstance(event, Body):  # of a request whose response was sent
                self._held -= len(event.piece)
        return None

    def _hand_out(self, event: _Incoming | Refused) -> None:
        self._writing = WRITES[self._writing][_HAND_OUT]
        self._is_released = False
        if isinstance(event, _Incoming):
            self._current = event
            self._waiting -= 1
        else:
            self._current = None

    def taken(self, size: int) -> None:
        """Note that the application has taken *size* bytes of its request's body."""
        self._held -= size

    def release(self) -> None:
        """Drop what is still to come of the body of the current request."""
        self._is_released = True
        events = self._events
        while events and isinstance(events[0], Body | End):
            del events[0]
        self._held = _size(events)

    # --- what goes out ----------------------------------------------------------------------------

    def continue_(self) -> bytes:
        """Return what asks the client for the body, if it waits for that."""
        current = self._current
        if current is None or not current.wants_continue or self._writing is not OWING:
            return b""
        current.wants_continue = False
        return CONTINUE

    def begin(
        self, status: int, headers: Headers, length: int | None, *, common: bytes = b""
    ) -> bytes:
        """
        Begin the response to the current request; return its head.

        Args:
            status: Its status.
            headers: All but those that frame it.
            length: The bytes of its body; None if that is not known yet.
            common: Lines of the head that every response has.
        """
        self._writing = WRITES[self._writing][_RESPONSE_BEGIN]
        lines = [STATUS_LINES[status], common]
        for name, value in headers:
            lines += (name, b": ", value, b"\r\n")
        current = self._current
        is_old = current is not None and current.is_old
        if status in _BODILESS:
            self._framing = 0
        elif length is not None:
            self._framing = length
            lines.append(b"content-length: %d\r\n" % length)
        elif is_old:
            self._framing = _UNTIL_CLOSED
        else:
            self._framing = _CHUNKED
            lines.append(b"transfer-encoding: chunked\r\n")
        if current is None or status == 408 or self._leaves_rest(current):
            self._keep_no_longer()
        if current is None or not current.keeps_alive:
            lines.append(b"connection: close\r\n")
        if current is not None and current.method == "HEAD":
            self._framing = _NO_BODY
        lines.append(b"\r\n")
        return b"".join(lines)

    def _keep_no_longer(self) -> None:
        if self._current is not None:
            self._current.keeps_alive = False

    def _leaves_rest(self, current: _Incoming) -> bool:
        """Return whether too much of the body of *current* is still to come to keep the client."""
        if self._reading is not BODY or self._waiting:
            return False
        length = current.length
        return length is None or length > self._bounds.rest_bytes_max or current.wants_continue

    def piece(self, data: bytes) -> bytes:
        """Return a piece of the body as it is sent."""
        assert self._writing is SENDING
        framing = self._framing
        if framing >= 0:
            assert len(data) <= framing
            self._framing = framing - len(data)
            return data
        if framing == _CHUNKED:
            return b"%x\r\n%b\r\n" % (len(data), data) if data else b""
        return data if framing == _UNTIL_CLOSED else b""

    def end(self, now: float) -> bytes:
        """End the response; return what is sent last."""
        self._now = now
        if self._framing > 0:
            self._abort()  # the client must not take it for complete
            return b""
        tail = b"0\r\n\r\n" if self._framing == _CHUNKED else b""
        current = self._current
        self._current = None
        if current is None or not current.keeps_alive:
            self._close()
            return tail
        self._writing = WRITES[self._writing][_RESPONSE_END]
        if self._held:
            self._held = _size(self._events)
        if self._events:
            pass  # the next request waits
        elif self._reading is BODY:
            self._wait(self._bounds.linger_seconds)
        elif self._reading is not HEAD:
            self._wait(self._bounds.idle_seconds)
        return tail

    def fail(self) -> None:
        """Break the response off, so that the client cannot take it for complete."""
        self._abort()

    def _abort(self) -> None:
        if self._writing in _OWED:
            self._events = [_DISCONNECTED]
        self.wants_close = Closing.ABORT
        self._writing = WRITES[self._writing][WriteStep.CLOSE]
        self._wait_until = self._watch_until = NEVER

    def _close(self) -> None:
        """End the connection, once the client can have read what was sent."""
        self._writing = WRITES[self._writing][WriteStep.CLOSE]
        self._events.clear()
        self._waiting = self._held = 0
        self._wait_until = NEVER
        if self._reading is BODY:
            self._has_unread = True
        else:
            self._has_unread |= self._reading is HEAD
            self._reading = READS[self._reading][ReadStep.STOP]
        if self._has_unread and not self._is_eof:
            self.wants_close = Closing.LINGER
            self._wait(self._bounds.linger_seconds)
        else:
            self._close_when_sent()

    def _close_when_sent(self) -> None:
        """Close once the client has everything; one that stops reading has as long as any other."""
        self.wants_close = Closing.SENT
        self._wait(self._bounds.unread_seconds)


def _size(events: list[Event]) -> int:
    return sum(len(event.piece) for event in events if isinstance(event, Body))
