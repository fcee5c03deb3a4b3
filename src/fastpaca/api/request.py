"""
A request, and the response to it.

A handler takes a `Request` and returns a `Response`. How they travel is up to `fastpaca.http`, or
to a client in the same process.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import BinaryIO, Final

import msgspec

from fastpaca.api.request_ids import request_id
from fastpaca.errors import InvalidRequest
from fastpaca.http import messages as http
from fastpaca.http.messages import Chunks, Headers

JSON_TYPE: Final[Headers] = ((b"content-type", b"application/json"),)

CHUNK_BYTES: Final = 1024 * 1024

# Sent twice, these would be ambiguous: a proxy in front may read the other one.
_SINGLE_HEADERS: Final = frozenset(
    {b"authorization", b"content-length", b"content-type", b"host", b"idempotency-key", b"origin"}
)


class Request:
    """
    One request.

    Attributes:
        incoming: The request as it comes in; `limits.py` reads its body.
        method: `GET`, `POST` …
        path: As it was sent.
        query: The query string, without its question mark.
        headers: Its headers, names in lower case.
        id: Names it in logs and in `X-Request-Id`.
        context_id: The id of a context in its path, or empty.
        message_id: The id of a message in its path, or empty.
        is_socket: Whether it asks for a WebSocket.
        held_bytes: What it holds of the memory that large bodies share; see `limits.py`.
        cors: Headers that let a page in a browser read the response.
    """

    __slots__ = (
        "context_id",
        "cors",
        "headers",
        "held_bytes",
        "id",
        "incoming",
        "is_socket",
        "message_id",
        "method",
        "path",
        "query",
    )

    def __init__(self, incoming: http.HttpRequest) -> None:
        head = incoming.head
        self.incoming = incoming
        self.method = head.method
        self.path = head.path
        self.query = head.query
        self.headers = head.headers
        self.is_socket = head.wants_socket
        self.id = request_id(head.headers.get(b"x-request-id"))
        self.context_id = ""
        self.message_id = ""
        self.held_bytes = 0
        self.cors: Headers = ()

    @property
    def address(self) -> str:
        """The address of the client; empty on a Unix socket."""
        return self.incoming.address

    def check_headers(self) -> None:
        """
        Check that no header was sent twice whose values cannot be joined.

        Raises:
            InvalidRequest: One of them was.
        """
        for name in self.incoming.head.repeated:
            if name in _SINGLE_HEADERS:
                shown = name.decode("latin-1").title()
                raise InvalidRequest("This header appears twice; send it once.", shown)


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
