"""Requests that no client would send, to an application: odd bytes, odd pieces, odd timing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from fastpaca.http.messages import Application, ClientGone, Head, HttpResponse, joined


class Reply(NamedTuple):
    """What an application returned: its status, headers and body, and whether all of it came."""

    status: int
    headers: dict[str, str]
    body: bytes
    is_whole: bool

    def json(self) -> Any:
        """Read the body."""
        return json.loads(self.body)


class PiecesRequest:
    """A request as a test wants it: a number among the pieces is a pause, None is the end."""

    def __init__(
        self, head: Head, pieces: Sequence[bytes | float | None], address: str = "127.0.0.1"
    ) -> None:
        self.head = head
        self.address = address
        self.is_whole = not head.has_body
        self.asked = 0
        self._pieces = list(pieces)
        self._come = b""

    def take(self) -> bytes:
        """Return what has come."""
        come, self._come = self._come, b""
        self.is_whole = self.is_whole or (self.asked > 0 and not self._pieces)
        return come

    async def wait(self) -> None:
        """Wait for the next piece."""
        self.asked += 1
        piece = self._pieces.pop(0) if self._pieces else await asyncio.Future()
        while isinstance(piece, float):
            pause, piece = piece, self._pieces.pop(0) if self._pieces else await asyncio.Future()
            await asyncio.sleep(pause)
        if piece is None:
            raise ClientGone
        assert isinstance(piece, bytes)
        self._come += piece

    def on_disconnect(self, then: Callable[[], None]) -> None:
        """Never call *then*: a test reads to the end."""


async def send(
    app: Application,
    method: str,
    path: bytes,
    *,
    query: bytes = b"",
    headers: Sequence[tuple[bytes, bytes]] = (),
    pieces: Sequence[bytes | float | None] = (),
    address: str = "127.0.0.1",
) -> Reply:
    """Send a request that is exactly this to *app*, with a body in *pieces*."""
    request = PiecesRequest(head_of(method, path, query, headers), pieces, address)
    reply = await whole(await app.respond(request))
    return reply._replace(body=b"") if method == "HEAD" else reply  # as a connection does


async def whole(response: HttpResponse) -> Reply:
    """Read a response to its end."""
    body = response.body
    if not isinstance(body, bytes):
        try:
            body = b"".join([chunk async for chunk in body.chunks()])
        finally:
            response.body.close()  # type: ignore[union-attr]
    if response.after is not None:
        response.after()
    names = [name for name, _ in response.headers]
    assert len(names) == len(set(names)), names
    headers = {name.decode(): value.decode() for name, value in response.headers}
    return Reply(response.status, headers, body, True)


def head_of(method: str, path: bytes, query: bytes, headers: Sequence[tuple[bytes, bytes]]) -> Head:
    """What a connection makes of a head."""
    values, repeated = joined(headers)
    has_body = b"content-length" in values or b"transfer-encoding" in values
    return Head(method, path, query, values, repeated, has_body=has_body)


def body_headers(*pieces: bytes) -> list[tuple[bytes, bytes]]:
    """The headers of a JSON body of these pieces."""
    size = sum(map(len, pieces))
    return [(b"content-type", b"application/json"), (b"content-length", b"%d" % size)]
