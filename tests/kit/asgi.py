"""Requests that no client would send, to an application: odd bytes, odd pieces, odd timing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from starlette.types import ASGIApp, Message


class Reply(NamedTuple):
    """What an application sent: its status, its headers, its body, and whether all of it came."""

    status: int
    headers: dict[str, str]
    body: bytes
    is_whole: bool

    def json(self) -> Any:
        """Read the body."""
        return json.loads(self.body)


class Connection:
    """The server's side of a request, as a test wants it: odd bytes, odd pieces, odd timing."""

    def __init__(self, pieces: Iterable[bytes | float | None]) -> None:
        self._pieces = list(pieces)
        self.sent: list[Message] = []
        self.asked = 0

    async def receive(self) -> Message:
        """Give the next piece; a number is a pause, None is the end of the connection."""
        self.asked += 1
        piece = self._pieces.pop(0) if self._pieces else await asyncio.Future()
        while isinstance(piece, float):
            pause, piece = piece, self._pieces.pop(0) if self._pieces else await asyncio.Future()
            await asyncio.sleep(pause)
        if piece is None:
            return {"type": "http.disconnect"}
        assert isinstance(piece, bytes)
        return {"type": "http.request", "body": piece, "more_body": bool(self._pieces)}

    async def send(self, message: Message) -> None:
        """Note what is sent."""
        self.sent.append(message)

    @property
    def reply(self) -> Reply:
        """What was sent."""
        start, *rest = self.sent
        names = [name for name, _ in start["headers"]]
        assert len(names) == len(set(names)), names
        return Reply(
            start["status"],
            {name.decode(): value.decode() for name, value in start["headers"]},
            b"".join(message["body"] for message in rest),
            bool(rest) and not rest[-1].get("more_body", False),
        )


async def send(
    app: ASGIApp,
    method: str,
    path: bytes,
    *,
    query: bytes = b"",
    headers: Sequence[tuple[bytes, bytes]] = (),
    pieces: Sequence[bytes | float | None] = (),
    address: str = "127.0.0.1",
) -> Reply:
    """Send a request that is exactly this to *app*, with a body in *pieces*."""
    connection = Connection(pieces)
    await app(scope_of(method, path, query, headers, address), connection.receive, connection.send)
    return connection.reply


def scope_of(
    method: str,
    path: bytes,
    query: bytes,
    headers: Sequence[tuple[bytes, bytes]],
    address: str = "127.0.0.1",
) -> dict[str, Any]:
    """What a server says of a request."""
    return {
        "type": "http",
        "method": method,
        "path": path.decode("latin-1"),
        "raw_path": path,
        "query_string": query,
        "headers": list(headers),
        "client": (address, 50_000),
    }


def body_headers(*pieces: bytes) -> list[tuple[bytes, bytes]]:
    """The headers of a JSON body of these pieces."""
    size = sum(map(len, pieces))
    return [(b"content-type", b"application/json"), (b"content-length", b"%d" % size)]
