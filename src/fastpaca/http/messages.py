"""
A request and its response, as an application sees them, over a socket or without one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any, Protocol

import msgspec

from fastpaca.errors import FastpacaError

Headers = tuple[tuple[bytes, bytes], ...]


class ClientGone(Exception):
    """The client left before its request was complete: no response can reach it."""


class Head:
    """
    The head of a request.

    Attributes:
        method: `GET`, `POST` …
        path: As it was sent, without the query.
        query: As it was sent, without its question mark.
        headers: By name in lower case; the values of a name that was sent twice are joined by a
            comma, as HTTP says.
        repeated: The names that were sent more than once.
        has_body: Whether a body follows, perhaps an empty one.
        wants_socket: Whether it asks for a WebSocket, in a way that can be granted.
    """

    __slots__ = ("has_body", "headers", "method", "path", "query", "repeated", "wants_socket")

    def __init__(
        self,
        method: str,
        path: bytes,
        query: bytes = b"",
        headers: dict[bytes, bytes] | None = None,
        repeated: tuple[bytes, ...] = (),
        *,
        has_body: bool = False,
        wants_socket: bool = False,
    ) -> None:
        self.method = method
        self.path = path
        self.query = query
        self.headers = headers or {}
        self.repeated = repeated
        self.has_body = has_body
        self.wants_socket = wants_socket


def joined(
    headers: Iterable[tuple[bytes, bytes]],
) -> tuple[dict[bytes, bytes], tuple[bytes, ...]]:
    """Return the `headers` and the `repeated` of a `Head` with these headers."""
    values: dict[bytes, bytes] = {}
    repeated: tuple[bytes, ...] = ()
    for name, value in headers:
        key = name.lower()
        if key in values:
            values[key] += b", " + value
            repeated += (key,)
        else:
            values[key] = value
    return values, repeated


class HttpRequest(Protocol):
    """
    A request.

    Attributes:
        head: Its request line and headers.
        address: The address of the client; empty on a Unix socket.
        is_whole: Whether `take` has returned the whole body.
    """

    head: Head
    address: str
    is_whole: bool

    def take(self) -> bytes:
        """Return what has come of the body since the last call; perhaps nothing."""

    async def wait(self) -> None:
        """
        Wait until `take` returns more, or the body is whole.

        Raises:
            ClientGone: The client left.
        """

    def on_disconnect(self, then: Callable[[], None]) -> None:
        """Call *then* if the client leaves before the response was sent; at once if it has left."""


class ReadyRequest:
    """A request that came without a socket, with its whole *body*; see `HttpRequest`."""

    __slots__ = ("_body", "_is_gone", "_then", "address", "head", "is_whole")

    def __init__(self, head: Head, body: bytes = b"", address: str = "127.0.0.1") -> None:
        self.head = head
        self.address = address
        self.is_whole = not body
        self._body = body
        self._is_gone = False
        self._then: Callable[[], None] | None = None

    def take(self) -> bytes:
        """Return the body."""
        self.is_whole = True
        body, self._body = self._body, b""
        return body

    async def wait(self) -> None:
        """Return at once: everything is there."""

    def on_disconnect(self, then: Callable[[], None]) -> None:
        """Call *then* on `leave`; at once if that was before."""
        if self._is_gone:
            then()
        else:
            self._then = then

    def leave(self) -> None:
        """Note that the caller no longer waits for the response."""
        self._is_gone = True
        if self._then is not None:
            self._then()


class Chunks(Protocol):
    """
    A body that is sent piece by piece; to a WebSocket, as ready frames.

    Attributes:
        size: How many bytes it has; None if it has no end.
        close_code: The code that a WebSocket is closed with after it.
    """

    size: int | None
    close_code: int

    def chunks(self) -> AsyncIterator[bytes]:
        """Yield the pieces."""

    def close(self) -> None:
        """Release what it is made of; `chunks` then ends."""


class HttpResponse(msgspec.Struct, frozen=True):
    """
    A response.

    Attributes:
        status: Its status; 101 to send *body* to a WebSocket.
        body: None is sent with 204 and 304.
        headers: Without those that frame it (Content-Length, Connection, Date).
        after: Called once it was sent, or could not be.
    """

    status: int
    body: bytes | Chunks = b""
    headers: Headers = ()
    after: Callable[[], Any] | None = None


class Application(Protocol):
    """What responds to requests."""

    async def respond(self, request: HttpRequest) -> HttpResponse:
        """
        Return the response to *request*.

        Raises:
            ClientGone: The client left before its request was complete.
        """

    def refuse(self, error: FastpacaError, sent_id: bytes | None, seconds: float) -> HttpResponse:
        """
        Return the response to what is not a request, and count it.

        Args:
            error: What is wrong.
            sent_id: The request id that the client sent, if it came so far.
            seconds: How long it took to come.
        """
