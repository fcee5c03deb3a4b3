"""HTTP by hand: a client that sends any bytes, and our connections on a port of their own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, NamedTuple

from fastpaca.clock import now_us
from fastpaca.http.bounds import ConnectionBounds
from fastpaca.http.messages import Application
from fastpaca.http.server import Protocol, Server

PATIENCE_SECONDS = 30
"""How long something may take that should take no time at all."""


GONE: Final = (ConnectionError, asyncio.IncompleteReadError)
"""What it means for a client that its server has ended."""


async def until(condition: Callable[[], object]) -> None:
    """Wait for what nothing announces."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.002)


class Reply(NamedTuple):
    """An answer as it came over the wire, header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """One connection to a server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        """Send *data*; a server that has gone away is met when reading."""
        self.writer.write(data)
        with suppress(ConnectionError):
            async with asyncio.timeout(PATIENCE_SECONDS):
                await self.writer.drain()

    async def reply(self, method: str = "GET") -> Reply:
        """Read one answer, to a request with *method*."""
        # Not `wait_for`, which may swallow a cancellation (Python 3.11).
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await self._reply(method)

    async def _reply(self, method: str) -> Reply:
        head = await self._reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")[:-2]
        version, status, _ = first.split(" ", 2)
        assert version == "HTTP/1.1"
        headers = {}
        for line in lines:
            name, _, value = line.partition(": ")
            assert name.lower() not in headers, f"{name} is given twice"
            headers[name.lower()] = value
        size = int(headers.get("content-length", 0))
        has_body = method != "HEAD" and int(status) >= 200
        return Reply(int(status), headers, await self._reader.readexactly(size * has_body))

    async def ask(
        self, method: str, path: str, body: object = None, key: str | None = None
    ) -> Reply:
        """
        Send a request, and read its answer.

        Raises:
            ConnectionError, asyncio.IncompleteReadError: The server is gone, see `GONE`.
        """
        text = b"" if body is None else json.dumps(body).encode()
        head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(text)}\r\n"
        if key is not None:
            head += f"Idempotency-Key: {key}\r\n"
        await self.send(head.encode() + b"\r\n" + text)
        return await self.reply(method)

    async def rest(self) -> bytes:
        """Read until the server closes; a reset counts as a close."""
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                return await self._reader.read()
        except ConnectionError:
            return b""


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[Client]:
    """Connect to a server on this machine."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**26)
    try:
        yield Client(reader, writer)
    finally:
        writer.transport.abort()
        await asyncio.sleep(0)


class Served(NamedTuple):
    """
    A server of our connections.

    Attributes:
        port: Where it listens.
        server: What it knows: connections and tasks.
        strays: Errors that nobody met.
    """

    port: int
    server: Server
    strays: list[dict[str, Any]]

    @property
    def connections(self) -> list[Protocol]:
        return [c for c in self.server.connections if isinstance(c, Protocol)]

    async def is_empty(self) -> None:
        """Wait until every connection and request is gone."""
        await until(lambda: not self.server.connections and not self.server.tasks)


@asynccontextmanager
async def serving(
    app: Application, bounds: ConnectionBounds | None = None
) -> AsyncIterator[Served]:
    """Serve *app* on a free port; errors that nobody met fail the test."""
    loop = asyncio.get_running_loop()
    server = Server(app, now_us, bounds)
    listener = await loop.create_server(server.protocol, "127.0.0.1", 0)
    served = Served(listener.sockets[0].getsockname()[1], server, [])
    loop.set_exception_handler(lambda _, context: served.strays.append(context))
    try:
        yield served
    finally:
        listener.close()
        for connection in list(server.connections):
            connection.abort()
        await served.is_empty()
        loop.set_exception_handler(None)
    assert served.strays == []
