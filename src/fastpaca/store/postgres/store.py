"""
The store of many nodes, in PostgreSQL.

A few connections are shared by all that is under way. Nothing is locked between two calls, and
nothing is remembered from one to the next: any node may write any context, and the revisions on
which a commit rests tell who was first.

A purge deletes rows. The space is returned, and written over, as VACUUM gets there; copies in the
write-ahead log, on standbys and in backups are the operator's.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final, TypeVar

import asyncpg

from fastpaca.clock import Clock
from fastpaca.store.base import (
    AnswerRow,
    Change,
    ChangesPage,
    CommitFailed,
    CommitUnknown,
    CompactionRow,
    Condition,
    ContextRow,
    Delta,
    Known,
    MessageRow,
    ReadFailed,
    ReadPartly,
    Snapshot,
    StoreRefused,
)
from fastpaca.store.pages import PageBounds
from fastpaca.store.postgres import writes
from fastpaca.store.postgres.address import shown
from fastpaca.store.postgres.connections import Connections, jittered
from fastpaca.store.postgres.errors import FAILURES, TIES, Unreachable, described
from fastpaca.store.postgres.reads import Reader
from fastpaca.store.postgres.rows import Batch, hashed
from fastpaca.store.postgres.schema import (
    Tell,
    bring_up_to_date,
    check,
    distribute_tables,
    is_distributed,
)
from fastpaca.store.postgres.watch import LOOK_SECONDS, Watch

T = TypeVar("T")

CONNECTIONS: Final = 10

STATEMENT_SECONDS: Final = 10.0

RESOLVE_SECONDS: Final = 20.0
"""How long to look for the outcome of a commit whose answer did not come."""

ATTEMPTS: Final = 6
"""How often a commit is tried that loses ties against those of other nodes."""

PAUSE_SECONDS: Final = 0.02
"""How long to wait after the first lost tie; twice as long after each more."""

MIGRATION_SECONDS: Final = 600.0
"""How long a statement of a migration may take at the start of a node."""

UNLIMITED_SECONDS: Final = 0.0
"""How long one may take if an operator has asked for it: as long as it takes."""

ALONE_AT_ONCE: Final = 4
"""How many of the names that could not be looked up together are looked up at once."""

ALONE_FAILED_MAX: Final = 16
"""How many of them may fail before the rest is given up, if none could be looked up."""

_CLOSED: Final = "the store is closed"


class _Refused(ReadFailed):
    """The database has answered, and said that it can't: a part of it may be away."""


class PostgresStore:
    """
    Durable truth in the schema `fastpaca` of the database at *dsn*.

    Args:
        dsn: An address as libpq has them, perhaps of several hosts.
        connections: How many are open at most; at least 2.
        statement_seconds: How long a statement may run.
        answer_seconds: How long to wait for the answer to a commit.
        resolve_seconds: How long to look for the outcome of one whose answer did not come.
        migrates: Whether opening brings the schema up to date, or only sees that it is.
        allow_unsafe: Whether a server is taken that may lose what it has acknowledged.
        look_seconds: How long after one look whether the database can be used the next one begins.
        now: A clock that only measures, in seconds.
    """

    def __init__(
        self,
        dsn: str,
        *,
        connections: int = CONNECTIONS,
        statement_seconds: float = STATEMENT_SECONDS,
        answer_seconds: float = writes.ANSWER_SECONDS,
        resolve_seconds: float = RESOLVE_SECONDS,
        migrates: bool = True,
        allow_unsafe: bool = False,
        look_seconds: float = LOOK_SECONDS,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = shown(dsn)
        self._migrates = migrates
        self._answer_seconds = answer_seconds
        self._resolve_seconds = resolve_seconds
        self._connections = Connections(
            dsn, connections, statement_seconds, allow_unsafe=allow_unsafe
        )
        self._watch = Watch(self._connections, look_seconds=look_seconds, now=now)
        self._is_open = False
        self._is_distributed = False
        self._under_way: set[asyncio.Task[Any]] = set()
        self._erasing: asyncio.Task[None] | None = None

    @property
    def name(self) -> str:
        """What the start banner calls it; shows no password."""
        return self._name

    @property
    def is_shared(self) -> bool:
        """Whether other nodes may write to it."""
        return True

    @property
    def clock(self) -> Clock:
        """That of the database."""
        return self._watch.clock.now_us

    @property
    def condition(self) -> Condition:
        """Whether the database has been of use lately."""
        return self._watch.condition

    # --- life ---------------------------------------------------------------------------------

    async def open(self) -> None:
        """
        Connect, and bring the schema up to date.

        Raises:
            StoreRefused: It cannot be reached, is not one to trust, or a newer release wrote it.
        """
        async with _migrating(self._connections) as connection:
            await (bring_up_to_date if self._migrates else check)(connection)
            self._is_distributed = await is_distributed(connection)
        await self._connections.first()
        await self._watch.start()
        self._is_open = True
        self._erasing = self._start(self._erase_what_is_left())

    async def close(self) -> None:
        """Finish what is under way and let go."""
        self._is_open = False
        await self._watch.stop()
        while self._under_way:
            await asyncio.wait(self._under_way)
        await self._connections.close()

    def _start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run *work* to its end, even if nobody waits for it any more."""
        task = asyncio.create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._under_way.discard(task)
        if not task.cancelled():
            task.exception()  # whoever waits has it; if nobody does, it is of no interest

    # --- reads --------------------------------------------------------------------------------

    async def load(self, context_id: str) -> Snapshot | None:
        """Read what rebuilding the state of a context needs."""
        return await self._read(lambda r: r.load(context_id), context_id)

    async def load_since(self, context_id: str, known: Known) -> Delta | None:
        """Read what is new for one who has what *known* says."""
        return await self._read(lambda r: r.load_since(context_id, known), context_id)

    async def load_at(self, context_id: str, version: int) -> Snapshot | None:
        """Read what rebuilding the window takes as it was after a version."""
        return await self._read(lambda r: r.load_at(context_id, version), context_id)

    async def messages(
        self, context_id: str, from_seq: int, to_seq: int, limit: int, max_bytes: int
    ) -> list[MessageRow]:
        """Read the log forward."""
        bounds = PageBounds(limit, max_bytes)
        return await self._read(lambda r: r.page(context_id, from_seq, to_seq, bounds), context_id)

    async def messages_before(
        self, context_id: str, before_seq: int, limit: int, max_bytes: int
    ) -> list[MessageRow]:
        """Read the newest messages below a seq."""
        bounds = PageBounds(limit, max_bytes)
        return await self._read(lambda r: r.page_before(context_id, before_seq, bounds), context_id)

    async def changes(
        self,
        context_id: str,
        after_version: int,
        to_version: int,
        limit: int,
        max_bytes: int,
        *,
        with_bodies: bool = True,
    ) -> ChangesPage:
        """Read what happened between two versions."""
        bounds = PageBounds(limit, max_bytes)
        return await self._read(
            lambda r: r.changes(
                context_id, after_version, to_version, bounds, with_bodies=with_bodies
            ),
            context_id,
        )

    async def compactions(
        self, context_id: str, after_version: int, to_version: int, limit: int, max_bytes: int
    ) -> list[CompactionRow]:
        """Read rewrites of the window."""
        bounds = PageBounds(limit, max_bytes)
        return await self._read(
            lambda r: r.compactions(context_id, after_version, to_version, bounds), context_id
        )

    async def compactions_before(
        self, context_id: str, before_version: int, limit: int, max_bytes: int
    ) -> list[CompactionRow]:
        """Read rewrites of the window, newest first."""
        bounds = PageBounds(limit, max_bytes)
        return await self._read(
            lambda r: r.compactions_before(context_id, before_version, bounds), context_id
        )

    async def contexts(self, prefix: str, after: str, limit: int) -> list[ContextRow]:
        """Read rows in byte order of their ids."""
        return await self._read(lambda r: r.contexts(prefix, after, limit))

    async def answers(self, keys: Sequence[str]) -> dict[str, AnswerRow]:
        """Look up stored answers; what is found is as safe as when it was given."""
        try:
            found = await self._read_each(keys, lambda r, some: r.answers(some))
        except ReadPartly as error:
            await self._see_that_they_are_safe(error.found)
            raise
        await self._see_that_they_are_safe(found)
        return found

    async def _see_that_they_are_safe(self, keys: Iterable[str]) -> None:
        if keys:
            await self._waited(self._start(self._secure(keys)))

    async def _secure(self, keys: Iterable[str]) -> None:
        key_hashes = sorted(map(hashed, keys))
        try:
            await self._write(lambda c: writes.secure(c, key_hashes, self._timeout))
        except (CommitFailed, CommitUnknown, writes.AnswerLost) as error:
            raise ReadFailed(f"an answer is not known to be safe: {error}") from error

    async def revisions(self, context_ids: Sequence[str]) -> dict[str, int]:
        """Look up the revisions of contexts, in one query."""
        try:
            return await self._read_each(context_ids, lambda r, some: r.revisions(some))
        except ReadPartly as error:
            self._note_refusal(map(hashed, error.failed))
            raise

    async def _read_each(
        self,
        names: Sequence[str],
        job: Callable[[Reader, Sequence[str]], Awaitable[dict[str, T]]],
    ) -> dict[str, T]:
        """
        Look up all *names* in one query, or one by one if the database fails at that.

        One server of several may be away, and a query that needs it fails for all that it asks of.

        Raises:
            ReadPartly: Some could not be read.
            ReadFailed: None could.
        """
        if not names:
            return {}
        try:
            return await self._read(lambda r: job(r, names))
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
        found: dict[str, T] = {}
        failed: list[str] = []
        left = iter(names)
        has_read = False

        async def work() -> None:
            nonlocal has_read
            for name in left:
                if has_read or len(failed) < ALONE_FAILED_MAX:
                    try:
                        found.update(await self._read(lambda r: job(r, [name])))  # noqa: B023  # it is run at once
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
            raise ReadPartly(str(refusal), found, failed)
        return found

    async def _read(self, job: Callable[[Reader], Awaitable[T]], *about: str) -> T:
        if not self._is_open:
            raise ReadFailed(_CLOSED)
        return await self._waited(self._start(self._run_read(job, about)))

    async def _run_read(self, job: Callable[[Reader], Awaitable[T]], about: Iterable[str]) -> T:
        try:
            async with self._connections.reader() as connection:
                found = await job(Reader(connection, self._connections.timeout))
        except asyncpg.PostgresError as error:
            self._note_refusal(map(hashed, about))
            raise _Refused(described(error)) from error
        except (*FAILURES, Unreachable) as error:
            raise ReadFailed(described(error)) from error
        self._watch.note_use()
        return found

    async def _waited(self, task: asyncio.Task[T]) -> T:
        """Wait for *task*, which goes on if the caller is cancelled."""
        await asyncio.wait([task])
        return task.result()

    # --- writes -------------------------------------------------------------------------------

    async def commit(self, changes: Sequence[Change]) -> None:
        """
        Write *changes* in one transaction; what they purge is erased when this returns.

        Raises:
            CommitOvertaken: Another node was first, or an id or a key is taken.
            CommitFailed: Certainly nothing was written.
            CommitUnknown: It may have been written.
        """
        if not self._is_open:
            raise CommitFailed(_CLOSED)
        batch = Batch(changes)
        if batch.ids:
            await self._waited(self._start(self._run_commit(batch)))

    async def _run_commit(self, batch: Batch) -> None:
        await self._commit(batch)
        if not batch.purges:
            return
        try:
            await self._write(lambda c: writes.erase(c, batch.purges, self._timeout))
        except CommitFailed as error:
            message = f"purged, but not erased yet: {error}"
            purged = [batch.ids[stored_id] for stored_id in batch.purges]
            raise CommitUnknown(message, fatal=False, context_ids=purged) from error

    async def _commit(self, batch: Batch) -> None:
        """Commit, again and again while that loses a tie: the expected revisions make it safe."""
        for attempt in range(ATTEMPTS):
            try:
                await self._write(
                    lambda c: self._transact(c, batch),
                    passed_on=TIES,
                    about=batch.ids if len(batch.ids) == 1 else (),
                )
            except TIES as error:
                if attempt == ATTEMPTS - 1:
                    raise CommitFailed(described(error)) from error
                await asyncio.sleep(jittered(PAUSE_SECONDS * 2**attempt))
            except writes.AnswerLost as error:
                await self._resolve(batch, described(error.__cause__ or error))
                return
            else:
                return

    async def _transact(self, connection: Any, batch: Batch) -> None:
        await writes.write(connection, batch, self._timeout, is_distributed=self._is_distributed)
        await writes.end(connection, self._answer_seconds)
        self._watch.note_use()

    async def _resolve(self, batch: Batch, reason: str) -> None:
        """Find out what became of a commit whose answer was lost; return if it has landed."""
        try:
            async with asyncio.timeout(self._resolve_seconds):
                landed = await self._landed(batch)
        except TimeoutError:
            landed = None
        if landed is None:
            raise CommitUnknown(f"no answer to a commit: {reason}", fatal=False)
        if not landed:
            raise CommitFailed(f"the connection was lost at the commit: {reason}")

    async def _landed(self, batch: Batch) -> bool | None:
        """Ask until there is an answer; None if the database itself does not know any more."""
        pause = PAUSE_SECONDS
        while True:
            try:
                async with self._connections.writer() as connection:
                    return await writes.find_out(
                        connection, batch, self._timeout, is_distributed=self._is_distributed
                    )
            except (*FAILURES, Unreachable, writes.AnswerLost, writes.OutcomeOpen):
                await asyncio.sleep(jittered(pause))
                pause = min(pause * 2, 1.0)

    async def forget_answers(self, before_us: int) -> None:
        """Delete old answers, and go on with erasures that were interrupted."""
        if not self._is_open:
            raise CommitFailed(_CLOSED)
        try:
            await self._write(lambda c: writes.forget(c, before_us, self._timeout))
        finally:  # one may need a server that the other does not
            await self._write(self._erase_left)

    async def _erase_what_is_left(self) -> None:
        """Go on with erasures that another process could not finish."""
        with suppress(CommitFailed):  # `forget_answers` tries again
            await self._write(self._erase_left)

    async def _erase_left(self, connection: Any) -> None:
        while left := await writes.left_to_erase(connection, self._timeout):
            await writes.erase(connection, left, self._timeout)

    async def _write(
        self,
        job: Callable[[Any], Awaitable[None]],
        passed_on: tuple[type[Exception], ...] = (),
        about: Iterable[bytes] = (),
    ) -> None:
        """Run *job* on a connection; what it raises says that certainly nothing was committed."""
        try:
            async with self._connections.writer() as connection:
                await job(connection)
        except passed_on:
            raise
        except (*FAILURES, Unreachable) as error:
            if isinstance(error, asyncpg.PostgresError):
                self._note_refusal(about)
            raise CommitFailed(described(error)) from error

    def _note_refusal(self, about: Iterable[bytes]) -> None:
        """Of a distributed database a part may be away; a single server has its own reasons."""
        if self._is_distributed:
            self._watch.note_refusal(about)

    @property
    def _timeout(self) -> float:
        return self._connections.timeout

    async def backup(self, path: Path) -> None:  # noqa: ARG002  # the port has it
        """
        Refuse: PostgreSQL has tools of its own for that.

        Raises:
            CommitFailed: Always.
        """
        raise CommitFailed("a PostgreSQL database is copied with its own tools, such as pg_dump")


@asynccontextmanager
async def _migrating(
    connections: Connections, statement_seconds: float = MIGRATION_SECONDS
) -> AsyncIterator[Any]:
    """Lend a connection whose statements may take long; raises `StoreRefused`."""
    connection = await connections.connect(statement_seconds=statement_seconds)
    try:
        yield connection
    except FAILURES as error:
        raise StoreRefused(f"The database cannot be migrated: {described(error)}.") from error
    finally:
        connection.terminate()


def _operating(dsn: str) -> AbstractAsyncContextManager[Any]:
    connections = Connections(dsn, 2, STATEMENT_SECONDS, allow_unsafe=True)
    return _migrating(connections, UNLIMITED_SECONDS)


async def migrate(dsn: str) -> str:
    """
    Bring the schema of the database at *dsn* up to date, and say what it is at.

    Raises:
        StoreRefused: That could not be done.
    """
    async with _operating(dsn) as connection:
        version = await bring_up_to_date(connection)
    return f"The schema is up to date: version {version}."


async def distribute(dsn: str, tell: Tell) -> str:
    """
    Bring the schema up to date, spread its tables over servers, and say which ones.

    Raises:
        StoreRefused: That could not be done; what was done until then stays.
    """
    async with _operating(dsn) as connection:
        await bring_up_to_date(connection)
        tables = await distribute_tables(connection, tell)
    if not tables:
        return "The tables are distributed already."
    return f"Distributed: {', '.join(tables)}."
