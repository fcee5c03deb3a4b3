"""
A request, and the response to it.

A handler takes a `Request` and returns a `Response`. Only `app.py`, `limits.py` and `sending.py`
speak ASGI.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import BinaryIO, Final, Protocol

import msgspec
from starlette.types import Receive, Scope

from fastpaca.api.request_ids import request_id
from fastpaca.errors import InvalidRequest

Headers = tuple[tuple[bytes, bytes], ...]

JSON_TYPE: Final[Headers] = ((b"content-type", b"application/json"),)

CHUNK_BYTES: Final = 1024 * 1024

# Sent twice, these would be ambiguous: a proxy in front may read the other one.
_SINGLE_HEADERS: Final = frozenset(
    {b"authorization", b"content-length", b"content-type", b"host", b"idempotency-key", b"origin"}
)


class ClientGone(Exception):
    """The client closed the connection before its request was complete: there is no response."""


class Request:
    """
    One request.

    Attributes:
        scope: Its ASGI scope.
        receive: Returns the next piece of its body; `limits.py` calls it.
        method: `GET`, `POST` …
        headers: Its headers, names in lower case.
        id: Names it in logs and in `X-Request-Id`.
        context_id: The id in its path, or empty.
        is_socket: Whether it asks for a WebSocket.
        unread: Whether it has a body that was not read to the end.
        held_bytes: What it holds of the memory that large bodies share; see `limits.py`.
        cors: Headers that let a page in a browser read the response.
    """

    __slots__ = (
        "context_id",
        "cors",
        "headers",
        "held_bytes",
        "id",
        "is_socket",
        "method",
        "receive",
        "scope",
        "unread",
    )

    def __init__(self, scope: Scope, receive: Receive) -> None:
        headers: dict[bytes, bytes] = dict(scope["headers"])
        self.scope = scope
        self.receive = receive
        self.is_socket = scope["type"] == "websocket"
        self.method: str = "GET" if self.is_socket else scope["method"]
        self.headers = headers
        self.id = request_id(headers.get(b"x-request-id"))
        self.context_id = ""
        self.unread = b"content-length" in headers or b"transfer-encoding" in headers
        self.held_bytes = 0
        self.cors: Headers = ()

    @property
    def query(self) -> bytes:
        """The query string, without its question mark."""
        query: bytes = self.scope["query_string"]
        return query

    @property
    def address(self) -> str:
        """The address of the client; empty on a Unix socket."""
        client = self.scope.get("client")
        return client[0] if client else ""

    def merge_headers(self) -> None:
        """
        Join headers that were sent more than once, as HTTP says.

        Raises:
            InvalidRequest: One of them must not be sent more than once.
        """
        pairs = self.scope["headers"]
        if len(self.headers) == len(pairs):
            return
        merged: dict[bytes, bytes] = {}
        for name, value in pairs:
            if name in merged and name in _SINGLE_HEADERS:
                shown = name.decode("latin-1").title()
                raise InvalidRequest("This header appears twice; send it once.", shown)
            merged[name] = merged[name] + b", " + value if name in merged else value
        self.headers = merged


class Chunks(Protocol):
    """
    A body that is sent piece by piece; on a WebSocket, a message each.

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


class FileBody:
    """A body that is read from an open *file*; `close` closes it, then calls *on_close*."""

    def __init__(self, file: BinaryIO, on_close: Callable[[], None]) -> None:
        self._file = file
        self._on_close = on_close
        self.size: int | None = os.fstat(file.fileno()).st_size
        self.close_code = 1000

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the file, piece by piece."""
        while chunk := await asyncio.to_thread(self._file.read, CHUNK_BYTES):
            yield chunk

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        self._on_close()


class Response(msgspec.Struct, frozen=True, gc=False):
    """A status, a body (none for 204 and 304), and headers."""

    status: int
    body: bytes | Chunks = b""
    headers: Headers = JSON_TYPE


Handler = Callable[[Request], Awaitable[Response]]
