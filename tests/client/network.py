"""A network between a client and a node that fails as a test wants it to."""

from __future__ import annotations

import asyncio
import re
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from random import Random
from typing import NamedTuple

UNAVAILABLE = "unavailable"
OUTCOME_UNKNOWN = "outcome_unknown"


class Fate(NamedTuple):
    """
    What becomes of one connection.

    Attributes:
        up_bytes: It is cut when so many bytes have gone to the node.
        down_bytes: It is cut when so many bytes have come back.
        refusal: Its first request meets a 503 with this code: the node never sees it, or, if the
            outcome is to be unknown, has answered it.
        hangs: It is not cut where it would be, but nothing passes any more.
    """

    up_bytes: int | None = None
    down_bytes: int | None = None
    refusal: str | None = None
    hangs: bool = False


WHOLE = Fate()


class Network:
    """
    Passes on what connections bring, each with its fate.

    Attributes:
        node: The port of the node, which may be another after a restart.
        port: Where to connect.
        connections: How many there were.
        open: How many of them there are.
    """

    def __init__(
        self, node: int, fates: Callable[[], Fate], tls: ssl.SSLContext | None = None
    ) -> None:
        self.node = node
        self.port = 0
        self.connections = 0
        self.open = 0
        self._changed = threading.Condition()
        self._fates = fates
        self._tls = tls
        self._over = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> str:
        return f"http{'s' if self._tls else ''}://127.0.0.1:{self.port}"

    def wait_for_open(self, count: int) -> None:
        """Wait until so many connections are open, as this end sees it."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.open == count, 30), self.open

    def _count(self, change: int) -> None:
        with self._changed:
            self.open += change
            self._changed.notify_all()

    async def run(self, ready: Callable[[], None]) -> None:
        """Serve until it is over."""
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0, ssl=self._tls)
        self.port = server.sockets[0].getsockname()[1]
        ready()
        await self._over.wait()
        server.close()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await asyncio.sleep(0)  # for what was aborted to be closed

    def end(self) -> None:
        """Serve no more."""
        self._over.set()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._count(1)
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        fate = self._fates()
        try:
            if fate.refusal is not None:
                await self._refuse(fate.refusal, reader, writer)
            else:
                await self._pass_on(fate, reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()
            self._tasks.discard(task)
            self._count(-1)

    async def _refuse(
        self, code: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        request = await _read_request(reader)
        if code == OUTCOME_UNKNOWN:
            node_reader, node_writer = await asyncio.open_connection("127.0.0.1", self.node)
            node_writer.write(request)
            await node_reader.read(1)
            node_writer.transport.abort()
        body = b'{"error":"%b","message":"Made up."}' % code.encode()
        writer.write(
            b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 0\r\nConnection: close\r\n"
            b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        )
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def _pass_on(
        self, fate: Fate, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        node_reader, node_writer = await asyncio.open_connection("127.0.0.1", self.node)
        ways = [
            asyncio.create_task(_pump(reader, node_writer, fate.up_bytes)),
            asyncio.create_task(_pump(node_reader, writer, fate.down_bytes)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            if fate.hangs:
                await self._over.wait()
        finally:
            for way in ways:
                way.cancel()
            node_writer.transport.abort()


async def _pump(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, limit: int | None
) -> None:
    with suppress(OSError):
        while limit is None or limit > 0:
            data = await reader.read(1 << 16 if limit is None else min(limit, 1 << 16))
            if not data:
                return
            writer.write(data)
            await writer.drain()
            if limit is not None:
                limit -= len(data)


async def _read_request(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    size = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
    return head + (await reader.readexactly(int(size[1])) if size else b"")


def always(fate: Fate) -> Callable[[], Fate]:
    """Give every connection the same fate."""
    return lambda: fate


def one_by_one(*fates: Fate) -> Callable[[], Fate]:
    """Give the first connections these fates, and let the others be whole."""
    coming = iter(fates)
    return lambda: next(coming, WHOLE)


def troubled(seed: int, bytes_max: int = 3000) -> Callable[[], Fate]:
    """Let all connections fail at some point, from a *seed*."""
    random = Random(seed)

    def fate() -> Fate:
        kind = random.randrange(6)
        if kind == 0:
            return Fate(refusal=UNAVAILABLE)
        if kind == 1:
            return Fate(refusal=OUTCOME_UNKNOWN)
        if kind == 2:
            return Fate(up_bytes=random.randrange(bytes_max // 20))  # less than a request
        return Fate(down_bytes=random.randrange(bytes_max))

    return fate


@contextmanager
def network(
    node: int, fates: Callable[[], Fate], tls: ssl.SSLContext | None = None
) -> Iterator[Network]:
    """Stand between clients and the node at a port, in a thread of its own."""
    found = Network(node, fates, tls)
    ready = threading.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def run() -> None:
        loops.append(asyncio.get_running_loop())
        await found.run(ready.set)

    thread = threading.Thread(target=asyncio.run, args=(run(),))
    thread.start()
    ready.wait()
    try:
        yield found
    finally:
        loops[0].call_soon_threadsafe(found.end)
        thread.join()
