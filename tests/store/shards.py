"""A network between a store and its database in which servers behind that database are away."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, suppress
from pathlib import Path

from fastpaca.store.postgres.rows import hashed
from fastpaca.store.postgres.statements import Statement
from tests.docs.statements import ALL
from tests.kit.postgres import Server
from tests.kit.proxy import SOCKET, between

ADDRESS = "10.11.12.13"

SERVERS = 3

_EVERYWHERE = [
    statement.sql.encode()
    for statement in ALL
    if isinstance(statement, Statement) and statement.everywhere
]

_MESSAGE = f"connection to the remote node {ADDRESS}:5432 failed"

_FIELDS = f"SERROR\0VERROR\0C08006\0M{_MESSAGE}\0\0".encode()

_ERROR = b"E" + (len(_FIELDS) + 4).to_bytes(4, "big") + _FIELDS


def server_of(name: str) -> int:
    """Tell on which of the servers a context or a key lies."""
    return hashed(name)[0] % SERVERS


class Shards:
    """
    Passes messages on, but for statements about keys that lie on a server that is away.

    These are refused as a distributed database refuses them.

    Attributes:
        away: The servers that are away.
    """

    def __init__(self, server: Server, directory: Path) -> None:
        self.directory = directory
        self.away: set[int] = set()
        self._server = server
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass on what one connection brings."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        server = await asyncio.open_unix_connection(str(self._server.directory / SOCKET))
        link = _Link(self)
        pumps = [
            asyncio.create_task(_pump(reader, server[1], link.to_server, has_start=True)),
            asyncio.create_task(_pump(server[0], writer, link.to_client)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            for end in (writer, server[1]):
                end.close()
            self._tasks.discard(task)

    async def close(self) -> None:
        """End what is left."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)


class _Link:
    """What one connection has prepared, and whether its statement is being refused."""

    def __init__(self, shards: Shards) -> None:
        self._shards = shards
        self._prepared: dict[bytes, bytes] = {}
        self._is_refusing = False

    def to_server(self, kind: bytes, body: bytes) -> bytes:
        if kind == b"P":
            name, sql, _ = body.split(b"\0", 2)
            self._prepared[name] = sql
        if kind == b"B" and self._is_away(body):
            self._is_refusing = True
        if self._is_refusing and kind != b"S":
            return b""
        return kind + (len(body) + 4).to_bytes(4, "big") + body

    def to_client(self, kind: bytes, body: bytes) -> bytes:
        error = _ERROR if kind == b"Z" and self._is_refusing else b""
        self._is_refusing = self._is_refusing and kind != b"Z"
        return error + kind + (len(body) + 4).to_bytes(4, "big") + body

    def _is_away(self, body: bytes) -> bool:
        """Tell whether what is bound here needs a server that is away."""
        away = self._shards.away
        if not away:
            return False
        sql = self._prepared[body.split(b"\0", 2)[1]]
        if sql in _EVERYWHERE:
            return True
        return b"fastpaca." in sql and any(key[0] % SERVERS in away for key in _keys(body))


def _keys(body: bytes) -> Iterator[bytes]:
    """Find the keys in what is bound: in the first parameter, alone or in an array."""
    place = body.index(b"\0", body.index(b"\0") + 1) + 1
    formats = int.from_bytes(body[place : place + 2], "big")
    place += 2 + 2 * formats
    count = int.from_bytes(body[place : place + 2], "big")
    place += 2
    for _ in range(count):
        size = int.from_bytes(body[place : place + 4], "big", signed=True)
        value = body[place + 4 : place + 4 + max(size, 0)]
        place += 4 + max(size, 0)
        if size == 16:
            yield value
        elif size >= 20 and value[:8] in (b"\0\0\0\1" + flag for flag in _FLAGS):
            yield from _elements(value)


_FLAGS = (b"\0\0\0\0", b"\0\0\0\1")
_BYTEA = 17


def _elements(array: bytes) -> Iterator[bytes]:
    if int.from_bytes(array[8:12], "big") != _BYTEA:
        return
    place = 20
    while place < len(array):
        size = int.from_bytes(array[place : place + 4], "big", signed=True)
        if size == 16:
            yield array[place + 4 : place + 20]
        place += 4 + max(size, 0)


async def _pump(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    change: Callable[[bytes, bytes], bytes],
    *,
    has_start: bool = False,
) -> None:
    with suppress(ConnectionError, asyncio.IncompleteReadError):
        if has_start:  # the first message has no kind
            size = await reader.readexactly(4)
            writer.write(size + await reader.readexactly(int.from_bytes(size, "big") - 4))
        while True:
            kind = await reader.readexactly(1)
            size = await reader.readexactly(4)
            body = await reader.readexactly(int.from_bytes(size, "big") - 4)
            writer.write(change(kind, body))


def sharded(server: Server) -> AbstractAsyncContextManager[Shards]:
    """Stand between a store and *server*."""
    return between(Shards, server)
