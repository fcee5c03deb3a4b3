"""
The store of a single node, in SQLite.

One thread writes, one transaction per commit; a few threads read, one short transaction per page;
one keeps the write-ahead log short. The event loop builds the rows and never waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from functools import partial, wraps
from pathlib import Path
from typing import Any, Concatenate, Final, NamedTuple, ParamSpec, TypeVar

import apsw

from fastpaca.store.base import (
    Change,
    CommitFailed,
    CommitStale,
    CommitUnknown,
    Condition,
    ReadFailed,
    Snapshot,
    StoreRefused,
)
from fastpaca.store.sqlite import paths, reads, writes
from fastpaca.store.sqlite.backup import Backup
from fastpaca.store.sqlite.errors import described
from fastpaca.store.sqlite.files import DataDirectory
from fastpaca.store.sqlite.rows import Numbers, SqliteBatch, ids_of_existing
from fastpaca.store.sqlite.threads import Job, Threads
from fastpaca.store.sqlite.wal import WAL_BYTES_MAX, Wal
from fastpaca.store.sqlite.writer import CLOSED, Writer

T = TypeVar("T")
P = ParamSpec("P")

READERS: Final = 3

WRITER_CACHE_BYTES: Final = 32 * 1024 * 1024

KEYS_KEPT_MAX: Final = 16_384
"""How many keys of contexts are remembered; others are looked up, many at once."""


class _Open(NamedTuple):
    """What an open store has besides its writer."""

    readers: Threads
    wal: Wal
    connections: list[apsw.Connection]


def _in_reader(
    read: Callable[Concatenate[apsw.Connection, P], T],
) -> Callable[Concatenate[SqliteStore, P], Coroutine[Any, Any, T]]:
    """Return a method of the store that runs *read* in the thread of a reader."""

    @wraps(read)
    async def method(self: SqliteStore, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self.in_reader(lambda connection: read(connection, *args, **kwargs))

    return method


class SqliteStore:
    """
    A durable store in *directory*.

    Args:
        directory: The directory, which only this store uses; created if it is missing.
        vfs: The name of the VFS to open the database with; None means the default.
        synchronous: SQLite's setting of that name; all but FULL can lose acknowledged writes.
        wal_bytes_max: The ceiling of the write-ahead log.
        is_archived: Whether there is an archive, which has the trimmed messages.
        on_fatal: Called once on the event loop, at any time, with the reason when the database
            can't be trusted any more.
    """

    name = "sqlite"
    is_shared = False
    clock = None

    def __init__(
        self,
        directory: Path,
        *,
        vfs: str | None = None,
        synchronous: str = "FULL",
        wal_bytes_max: int = WAL_BYTES_MAX,
        is_archived: bool = False,
        on_fatal: Callable[[str], None] | None = None,
    ) -> None:
        self._directory = DataDirectory(directory, vfs, synchronous)
        self._wal_bytes_max = wal_bytes_max
        self._is_archived = is_archived
        self._has_archive = is_archived
        self._writer = Writer(on_fatal)
        self._open: _Open | None = None
        self._keys: dict[str, int] = {}
        self._numbers = Numbers(0, 0)
        self._is_erasure_left = False
        self._erasing: asyncio.Task[None] | None = None
        self._backing_up = asyncio.Lock()

    @property
    def condition(self) -> Condition:
        """Always healthy: failures appear in calls, and no other node would do better."""
        return Condition()

    # --- life ---------------------------------------------------------------------------------

    async def open(self) -> None:
        """
        Lock the directory, recover and migrate the database, and start the threads.

        Raises:
            StoreRefused: It is in use by another process, was written by a newer release, or can't
                be used.
        """
        connections = await self._connected()
        first, second, *others = connections
        readers = Threads("reader", others)
        wal = Wal(second, self._wal_bytes_max, readers.outlast, self._writer.lose_trust)
        wal.start()
        self._writer.start(first, wal)
        self._open = _Open(readers, wal, connections)
        self._erasing = asyncio.create_task(self._erase_what_is_left())

    async def _connected(self) -> list[apsw.Connection]:
        """Connect in a thread; a caller that is cancelled leaves the directory as it was."""
        connecting = asyncio.get_running_loop().run_in_executor(None, self._connect)
        try:
            return await asyncio.shield(connecting)
        except asyncio.CancelledError:
            await asyncio.wait([connecting])  # a thread cannot be interrupted
            if connecting.exception() is None:
                self._release(connecting.result())
            raise

    def _connect(self) -> list[apsw.Connection]:
        """Return connections for the writer, for checkpoints, and for the readers."""
        self._directory.take()
        connections: list[apsw.Connection] = []
        try:
            connections.append(self._directory.prepare(WRITER_CACHE_BYTES))
            # If a huge commit has made the log longer, it shrinks when it restarts.
            connections[0].pragma("journal_size_limit", self._wal_bytes_max)
            connections += [self._directory.connect() for _ in range(1 + READERS)]
            for reader in connections[2:]:
                reader.pragma("query_only", True)
            writes.drop_forming(connections[0])
            self._numbers = reads.numbers(connections[0])
            self._check_archive(reads.elsewhere(connections[0]))
        except BaseException as error:
            self._release(connections)
            cause = error.__cause__ if isinstance(error, CommitFailed | CommitUnknown) else error
            if isinstance(cause, apsw.Error):
                raise StoreRefused(self._directory.refusal(cause)) from error
            raise
        return connections

    def _check_archive(self, elsewhere: reads.Elsewhere) -> None:
        if elsewhere.has_rest and not self._is_archived:
            raise StoreRefused(
                "Older messages of these logs are only in the archive: start with"
                " FASTPACA_ARCHIVER_ENABLED=true and the DATABASE_URL of that archive."
            )
        # If the archive is turned off, purges must reach its content when it is turned on again.
        self._has_archive = self._is_archived or elsewhere.has_copies

    async def close(self) -> None:
        """Finish running calls and close."""
        if self._open is None:
            return
        opened, self._open = self._open, None
        self._writer.close()
        async with self._backing_up:  # a backup notices at its next slice
            if self._erasing is not None:
                self._erasing.cancel()
                await asyncio.wait([self._erasing])
            await opened.readers.stop()
            await self._writer.stop()
        await asyncio.to_thread(self._end, opened)

    def _end(self, opened: _Open) -> None:
        opened.wal.stop()
        if self._writer.loss is not None:
            # The log stays as it is, for the next start to recover.
            for connection in opened.connections:
                connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        self._release(opened.connections)

    def _release(self, connections: Sequence[apsw.Connection]) -> None:
        for connection in connections:
            connection.close(force=True)
        self._directory.release()

    # --- reads --------------------------------------------------------------------------------

    async def load(self, context_id: str) -> Snapshot | None:
        """Read what rebuilding the state of a context needs."""
        loaded = await self.in_reader(partial(reads.load, context_id=context_id))
        if loaded is None:
            return None
        key, snapshot = loaded
        if snapshot.row.status != "purged":
            self._remember({context_id: key})
        return snapshot

    revisions = _in_reader(reads.revisions)
    load_since = _in_reader(reads.load_since)
    load_at = _in_reader(reads.load_at)
    messages = _in_reader(reads.messages)
    messages_before = _in_reader(reads.messages_before)
    path = _in_reader(paths.path)
    places_of_id = _in_reader(paths.places_of_id)
    revisions_of = _in_reader(paths.revisions_of)
    changes = _in_reader(reads.changes)
    compactions = _in_reader(reads.compactions)
    compactions_before = _in_reader(reads.compactions_before)
    contexts = _in_reader(reads.contexts)
    idempotency_records = _in_reader(reads.idempotency_records)
    abandoned = _in_reader(reads.abandoned)

    async def in_reader(self, job: Job[T]) -> T:
        """
        Run *job* in the thread of a reader.

        Raises:
            ReadFailed: The database cannot be read.
        """
        if self._open is None:
            raise ReadFailed(CLOSED)
        try:
            return await self._open.readers.submit(job)
        except (apsw.Error, OSError, MemoryError) as error:
            raise ReadFailed(described(error)) from error

    # --- writes -------------------------------------------------------------------------------

    async def commit(self, changes: Sequence[Change]) -> None:
        """
        Write *changes* in one durable transaction; purged content is erased when this returns.

        Raises:
            CommitFailed: Certainly nothing was written.
            CommitUnknown: It may have been written.
        """
        keys = await self._find_keys(ids_of_existing(changes))
        batch = SqliteBatch(keys, self._numbers, is_archived=self._has_archive)
        for change in changes:
            batch.add(change)
        self._numbers = batch.numbers
        if not batch.statements:
            return
        await self._writer.commit(batch.statements)
        self._remember(batch.new_keys)
        for context_id in batch.purges:
            self._keys.pop(context_id, None)
        if batch.purges:
            await self._erase_now()

    async def _find_keys(self, context_ids: Sequence[str]) -> dict[str, int]:
        """Return the keys of existing contexts, from memory if possible."""
        known = {name: self._keys[name] for name in context_ids if name in self._keys}
        if len(known) == len(context_ids):
            return known
        unknown = [name for name in context_ids if name not in known]
        try:
            read = await self.in_reader(lambda c: reads.keys(c, unknown))
        except ReadFailed as error:
            raise CommitFailed(str(error)) from error
        if len(read) < len(unknown):
            raise CommitStale("a context to change does not exist")
        self._remember(read)
        return known | read

    def _remember(self, keys: dict[str, int]) -> None:
        self._keys.update(keys)
        while len(self._keys) > KEYS_KEPT_MAX:
            del self._keys[next(iter(self._keys))]

    async def drop(self, context_id: str, revision: int) -> None:
        """
        Erase a forming context.

        Raises:
            CommitFailed: Nothing, or not all of it, is erased yet.
            CommitUnknown: It may not be erased.
        """
        if await self._writer.write(partial(writes.drop, context_id=context_id, revision=revision)):
            self._keys.pop(context_id, None)
            await self._erase()

    async def forget_idempotency_records(self, before_us: int) -> None:
        """Delete old records, and continue an interrupted erasure."""
        while await self._writer.write(partial(writes.forget_some, before_us=before_us)):
            pass
        if self._is_erasure_left:
            await self._erase()

    async def in_writer(self, job: Job[T], *, erases: bool = False) -> T:
        """
        Run *job*, which writes in its own transactions, in the writer's thread.

        With *erases*, what it erased is no longer in the write-ahead log when this returns.

        Raises:
            CommitFailed: Certainly nothing was written.
            CommitUnknown: It may have been written.
        """
        result = await self._writer.write(job)
        if erases:
            await self._erase()
        return result

    async def _erase_now(self) -> None:
        """Erase what was just purged; failures never say that nothing was written."""
        try:
            await self._erase()
        except CommitFailed as error:
            raise CommitUnknown(f"purged, but not yet erased: {error}", fatal=False) from error

    async def _erase_what_is_left(self) -> None:
        """Continue erasures that the last process could not finish."""
        # If this fails, `forget_idempotency_records` tries again.
        with suppress(ReadFailed, CommitFailed, CommitUnknown):
            self._is_erasure_left = await self.in_reader(reads.is_erasure_left)
            if self._is_erasure_left:
                await self._erase()

    async def _erase(self) -> None:
        """Erase content of purged contexts, piece by piece, so that commits don't wait long."""
        self._is_erasure_left = True
        while await self._writer.write(writes.erase_some):
            pass
        await self._writer.empty_log()
        self._is_erasure_left = False

    async def backup(self, path: Path) -> None:
        """
        Write a consistent copy of everything to the new file *path*, while the node serves.

        Raises:
            CommitFailed: It could not be written.
        """
        async with self._backing_up:
            if self._open is None:
                raise CommitFailed(CLOSED)
            backup = Backup(path)
            try:
                while await self._writer.write(backup.copy_slice):
                    pass
                await asyncio.to_thread(backup.sync)
            except BaseException as error:
                await self._writer.submit(backup.release)  # after a slice that may be running
                await asyncio.to_thread(backup.remove)
                if isinstance(error, apsw.Error | OSError):
                    raise CommitFailed(f"it cannot be written: {described(error)}") from error
                raise
