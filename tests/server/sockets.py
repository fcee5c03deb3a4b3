"""A WebSocket by hand: a client that says what it likes, and reads when it likes."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, NamedTuple

from tests.kit.http import PATIENCE_SECONDS

TEXT, BINARY, CONT, CLOSE, PING, PONG = 1, 2, 0, 8, 9, 10

SMALL: Final = 4096
"""What a client that does not read keeps nevertheless."""

LARGE: Final = 2**20


def frame(opcode: int, payload: bytes = b"", *, ends: bool = True) -> bytes:
    """Write a frame as a client does, under a mask that changes nothing."""
    size = len(payload)
    if size < 126:
        head = bytes([ends << 7 | opcode, 0x80 | size])
    elif size < 2**16:
        head = bytes([ends << 7 | opcode, 0x80 | 126]) + size.to_bytes(2, "big")
    else:
        head = bytes([ends << 7 | opcode, 0x80 | 127]) + size.to_bytes(8, "big")
    return head + bytes(4) + payload


class Heard(NamedTuple):
    """A frame that came from the server."""

    opcode: int
    payload: bytes

    @property
    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.payload)
        return found


class Socket:
    """One connection of a client."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def say(self, data: bytes) -> None:
        """Send *data*; a server that has gone is met when reading."""
        self.writer.write(data)
        with suppress(ConnectionError):
            await asyncio.wait_for(self.writer.drain(), PATIENCE_SECONDS)

    async def hear(self) -> Heard:
        """
        Read a frame.

        Raises:
            ConnectionError, asyncio.IncompleteReadError: The server has gone.
        """
        return await asyncio.wait_for(self._hear(), PATIENCE_SECONDS)

    async def _hear(self) -> Heard:
        first, size = await self.reader.readexactly(2)
        assert first & 0x70 == 0
        assert first & 0x80, "the server sends whole messages"
        if size == 126:
            size = int.from_bytes(await self.reader.readexactly(2), "big")
        elif size == 127:
            size = int.from_bytes(await self.reader.readexactly(8), "big")
        return Heard(first & 15, await self.reader.readexactly(size))

    async def until_closed(self) -> tuple[list[Heard], int]:
        """Read to the end: what came, and the code that the server closed with."""
        heard = []
        while (found := await self.hear()).opcode != CLOSE:
            heard.append(found)
        return heard, int.from_bytes(found.payload[:2], "big")

    async def is_gone(self) -> bool:
        """Read until the server has gone, and tell whether that was a plain end."""
        try:
            while await asyncio.wait_for(self.reader.read(2**16), PATIENCE_SECONDS):
                pass
        except ConnectionError:
            return False
        return True


@asynccontextmanager
async def opened(
    port: int, path: str, headers: bytes = b"", *, reads: bool = False
) -> AsyncIterator[Socket]:
    """Send a request of a client that keeps little of what it does not read, or *reads* it."""
    system = socket.socket()
    if not reads:
        system.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)
    system.setblocking(False)
    await asyncio.get_running_loop().sock_connect(system, ("127.0.0.1", port))
    reader, writer = await asyncio.open_connection(sock=system, limit=LARGE if reads else SMALL)
    head = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n".encode()
    writer.write(head + headers + b"\r\n")
    try:
        yield Socket(reader, writer)
    finally:
        writer.transport.abort()
        await asyncio.sleep(0)


@asynccontextmanager
async def following(
    port: int, query: str = "", context_id: str = "c", *, reads: bool = False
) -> AsyncIterator[Socket]:
    """Follow a context over a WebSocket."""
    headers = (
        b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: %b\r\n" % base64.b64encode(os.urandom(16))
    )
    path = f"/v1/contexts/{context_id}/stream{query}"
    async with opened(port, path, headers, reads=reads) as client:
        answer = await asyncio.wait_for(client.reader.readuntil(b"\r\n\r\n"), PATIENCE_SECONDS)
        assert answer.startswith(b"HTTP/1.1 101 "), answer
        yield client


@asynccontextmanager
async def listening(port: int, query: str = "", context_id: str = "c") -> AsyncIterator[Socket]:
    """Follow a context as server-sent events, of which nothing is read yet."""
    async with opened(port, f"/v1/contexts/{context_id}/events{query}") as client:
        yield client
