"""
Running work on a database: each piece runs on a connection, to its end, and informs the watch.

Work continues if its caller is cancelled, so that no connection is returned in the middle of a
statement, and the outcome of each commit is found out.
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
"""How many names to look up at once, each by itself, after a query for all of them failed."""

ALONE_FAILED_MAX: Final = 16
"""How many of these may fail before giving up, if none has succeeded."""

CLOSED: Final = "the store is closed"


class _Refused(ReadFailed):
    """The database responded with an error: a part of it may be down."""


class Database:
    """
    Runs reads and writes on *connections*.

    Args:
        connections: The connections.
        watch: Is informed of what the database did and refused.

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
        """Run *work* to its end, even if its caller stops waiting."""
        task = asyncio.create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._under_way.discard(task)
        if not task.cancelled():
            task.exception()  # callers have it; without callers, it does not matter

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run *work* and wait for it; it continues if the caller is cancelled."""
        task = self.start(work)
        await asyncio.wait([task])
        return task.result()

    async def close(self) -> None:
        """Finish running work, and close the connections."""
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
        self, names: Sequence[str], job: Callable[[Reader, Sequence[str]], Awaitable[dict[str, T]]]
    ) -> dict[str, T]:
        """
        Look up all *names* in one query, or one by one if that fails.

        If one of several servers is down, a query that needs it fails for all names.

        Raises:
            PartialRead: Some could not be read.
            ReadFailed: None could be read.
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
            job: Writes in its own transactions.
            passed_on: Errors that the caller handles.
            about: The stored ids of the contexts that it writes, if these are few.

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
        """Inform the watch, if the database is distributed, so that a part of it may be down."""
        if self.is_distributed:
            self.watch.note_refusal(about)
