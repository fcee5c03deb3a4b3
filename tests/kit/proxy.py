"""A network between a store and its server that breaks where a test wants it to."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from typing import Literal, Protocol, TypeVar

from tests.kit.postgres import Server

Cut = Literal["before", "after", "hold", "silence"]

ANSWER_SECONDS = 2.0
"""How long a server has for an answer that is to be lost."""

SOCKET = ".s.PGSQL.5432"


class Proxy:
    """
    Listens on a socket in *directory*, and passes on to the server's.

    Attributes:
        accepts: Whether connections are taken at all.
        is_silent: Whether it passes on nothing any more, like a machine that has died.
        attempts: How many connections were tried.
        open_max: The most that were open at once.
        held: Set when a message is held back for good or for now.
        server: Where new connections lead; those that are open stay with theirs.
    """

    def __init__(self, server: Server, directory: Path) -> None:
        self.directory = directory
        self.accepts = True
        self.is_silent = False
        self.attempts = 0
        self.open_max = 0
        self.held = asyncio.Event()
        self.server = server
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._cut: tuple[bytes, Cut] | None = None
        self._accepts_after_cut = True
        self._released: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    @property
    def open_count(self) -> int:
        """How many connections are open."""
        return len(self._open)

    def cut(self, at: bytes, how: Cut, *, accepts: bool = True) -> None:
        """
        Break the connection over which *at* is sent, once.

        The message is lost (`before`), or is answered and the answer is lost (`after`). Or the
        sender loses the connection, and the receiver sees nothing of it until `release` (`hold`).
        Or it is answered, the answer is lost, and the connection seems to be there (`silence`).
        With *accepts* false all others break with it, and none can be made from then on.
        """
        self._cut = (at, how)
        self._accepts_after_cut = accepts

    def release(self, *, forward: bool) -> None:
        """Let the server have the message that was held back, or see the end of the connection."""
        self._released.set_result(forward)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass on what one connection brings."""
        self.attempts += 1
        if not self.accepts:
            writer.close()
            return
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._open.add(writer)
        self.open_max = max(self.open_max, len(self._open))
        server = await asyncio.open_unix_connection(str(self.server.directory / SOCKET))
        back = asyncio.create_task(self._pump(server[0], writer))
        try:
            while data := await reader.read(1 << 16):
                if self.is_silent:
                    continue
                if self._cut is not None and self._cut[0] in data:
                    await self._break(data, (reader, writer), server, back)
                    return
                server[1].write(data)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            back.cancel()
            for end in (writer, server[1]):
                end.close()
            self._open.discard(writer)
            self._tasks.discard(task)

    async def _break(
        self,
        data: bytes,
        client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        server: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        back: asyncio.Task[None],
    ) -> None:
        assert self._cut is not None
        how, self._cut = self._cut[1], None
        back.cancel()
        await asyncio.wait([back])
        if how == "silence":
            server[1].write(data)
            self.held.set()
            while await client[0].read(1 << 16):
                pass
            return
        if how == "after":
            server[1].write(data)
            with suppress(TimeoutError):  # a commit that waits for a standby is not answered
                await asyncio.wait_for(server[0].read(1), ANSWER_SECONDS)
        self.accepts = self._accepts_after_cut
        if not self.accepts:
            self.end_all()
        client[1].transport.abort()
        if how == "hold":
            self.held.set()
            if await self._released:
                server[1].write(data)
                await server[1].drain()
        self.held.set()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.CancelledError):
            while data := await reader.read(1 << 16):
                if not self.is_silent:
                    writer.write(data)
            writer.close()

    def end_all(self) -> None:
        """Break all connections."""
        for writer in self._open:
            writer.transport.abort()

    async def close(self) -> None:
        """End what is left."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)


class Link(Protocol):
    """What stands between a store and its server."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None: ...

    async def close(self) -> None: ...


L = TypeVar("L", bound=Link)


@asynccontextmanager
async def between(make: Callable[[Server, Path], L], server: Server) -> AsyncIterator[L]:
    """Stand between a store and *server* with what *make* makes of it and of a directory."""
    directory = Path(tempfile.mkdtemp(prefix="fastpaca-proxy-", dir="/tmp"))
    link = make(server, directory)
    listener = await asyncio.start_unix_server(link.serve, str(directory / SOCKET))
    try:
        yield link
    finally:
        listener.close()
        await link.close()
        shutil.rmtree(directory)


def proxied(server: Server) -> AbstractAsyncContextManager[Proxy]:
    """Stand between a store and *server*."""
    return between(Proxy, server)
