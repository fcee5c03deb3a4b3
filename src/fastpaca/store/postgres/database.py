"""
Work on a database: each piece on a connection of its own, to its end, and noted by the watch.

Work that has begun goes on if its caller is cancelled, so that a connection is never given back in
the middle of a statement, and the outcome of a commit is always found out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from typing import Any, Final, TypeVar

import asyncpg

from fastpaca.store.base import CommitFailed, PartialRead, ReadFailed
from fastpaca.store.postgres.connections import PostgresConnections
from fastpaca.store.postgres.errors import FAILURES, Unreachable, described
from fastpaca.store.postgres.reads import Reader
from fastpaca.store.postgres.rows import hashed
from fastpaca.store.postgres.watch import Watch

T = TypeVar("T")

ALONE_AT_ONCE: Final = 4
"""How many of the names that could not be looked up together are looked up at once."""

ALONE_FAILED_MAX: Final = 16
"""How many of them may fail before the rest is given up, if none could be looked up."""

CLOSED: Final = "the store is closed"


class _Refused(ReadFailed):
    """The database has answered, and said that it can't: a part of it may be away."""


class Database:
    """
    Runs reads and writes on *connections*.

    Args:
        connections: Lends connections.
        watch: Told of what the database did, and of what it refused.

    Attributes:
        is_open: Whether work may begin.
        is_distributed: Whether its tables are spread over several servers.
    """

    def __init__(self, connections: PostgresConnections, watch: Watch) -> None:
        self.connections = connections
        self.watch = watch
        self.is_open = False
        self.is_distributed = False
        self._under_way: set[asyncio.Task[Any]] = set()

    @property
    def timeout(self) -> float:
        """How long this side waits for a statement, in seconds."""
        return self.connections.timeout

    # --- tasks --------------------------------------------------------------------------------

    def start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run *work* to its end, even if its caller has stopped waiting."""
        task = asyncio.create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._under_way.discard(task)
        if not task.cancelled():
            task.exception()  # those who wait have it; if there are none, it is of no interest

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run *work* and wait for it; it goes on if the caller is cancelled."""
        task = self.start(work)
        await asyncio.wait([task])
        return task.result()

    async def close(self) -> None:
        """Finish what is under way, and close the connections."""
        self.is_open = False
        await self.watch.stop()
        while self._under_way:
            await asyncio.wait(self._under_way)
        await self.connections.close()

    # --- reads --------------------------------------------------------------------------------

    async def read(self, job: Callable[[Reader], Awaitable[T]], *about: str) -> T:
        """
        Run *job*, which reads *about* these contexts.

        Raises:
            ReadFailed: The database cannot be read.
        """
        if not self.is_open:
            raise ReadFailed(CLOSED)
        return await self.run(self._read(job, about))

    async def _read(self, job: Callable[[Reader], Awaitable[T]], about: Iterable[str]) -> T:
        try:
            async with self.connections.reader() as connection:
                result = await job(Reader(connection, self.timeout))
        except asyncpg.PostgresError as error:
            self.note_refusal(map(hashed, about))
            raise _Refused(described(error)) from error
        except (*FAILURES, Unreachable) as error:
            raise ReadFailed(described(error)) from error
        self.watch.note_use()
        return result

    async def read_each(
        self,
        names: Sequence[str],
        job: Callable[[Reader, Sequence[str]], Awaitable[dict[str, T]]],
    ) -> dict[str, T]:
        """
        Look up all *names* in one query, or one by one if the database fails at that.

        One server of several may be away, and a query that needs it fails for all that it asks of.

        Raises:
            PartialRead: Some could not be read.
            ReadFailed: None could.
        """
        if not names:
            return {}
        try:
            return await self.read(lambda r: job(r, names))
        except _Refused as error:
            if len(names) == 1:
                raise
            return await self._read_one_by_one(names, job, error)

    async def _read_one_by_one(
        self,
        names: Sequence[str],
        job: Callable[[Reader, Sequence[str]], Awaitable[dict[str, T]]],
        refusal: ReadFailed,
    ) -> dict[str, T]:
        results: dict[str, T] = {}
        failed: list[str] = []
        left = iter(names)
        has_read = False

        async def work() -> None:
            nonlocal has_read
            for name in left:
                if has_read or len(failed) < ALONE_FAILED_MAX:
                    try:
                        results.update(await self.read(lambda r: job(r, [name])))  # noqa: B023  # it is run at once
                    except ReadFailed:
                        failed.append(name)
                    else:
                        has_read = True
                else:
                    failed.append(name)

        async with asyncio.TaskGroup() as group:
            for _ in range(ALONE_AT_ONCE):
                group.create_task(work())
        if not has_read:
            raise refusal
        if failed:
            raise PartialRead(str(refusal), results, failed)
        return results

    # --- writes -------------------------------------------------------------------------------

    async def write(
        self,
        job: Callable[[Any], Awaitable[None]],
        passed_on: tuple[type[Exception], ...] = (),
        about: Iterable[bytes] = (),
    ) -> None:
        """
        Run *job* on a connection, in the task of the caller.

        Args:
            job: Writes in transactions of its own.
            passed_on: Errors that the caller handles.
            about: The stored ids of the contexts that it writes, where it writes few.

        Raises:
            CommitFailed: Certainly nothing was committed by the transaction that failed.
        """
        try:
            async with self.connections.writer() as connection:
                await job(connection)
        except passed_on:
            raise
        except (*FAILURES, Unreachable) as error:
            if isinstance(error, asyncpg.PostgresError):
                self.note_refusal(about)
            raise CommitFailed(described(error)) from error

    def note_refusal(self, about: Iterable[bytes]) -> None:
        """Of a distributed database a part may be away; a single server has its own reasons."""
        if self.is_distributed:
            self.watch.note_refusal(about)
