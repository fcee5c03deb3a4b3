"""
The store of many nodes, in PostgreSQL.

All calls share a few connections. Nothing is locked or remembered between two calls: any node may
write any context, and the revisions that a commit is based on show which node was first.

A purge deletes rows. VACUUM returns and overwrites their space; copies in the write-ahead log, on
standbys and in backups are up to the operator.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from contextlib import suppress
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

from fastpaca.clock import Clock
from fastpaca.store.base import (
    Change,
    CommitFailed,
    CommitUnknown,
    Condition,
    ContextRow,
    IdempotencyRecord,
    PartialRead,
    ReadFailed,
)
from fastpaca.store.postgres import writes
from fastpaca.store.postgres.address import shown
from fastpaca.store.postgres.commits import RESOLVE_SECONDS, PostgresCommits
from fastpaca.store.postgres.connections import STATEMENT_SECONDS, PostgresConnections
from fastpaca.store.postgres.database import CLOSED, Database
from fastpaca.store.postgres.operations import migrating
from fastpaca.store.postgres.reads import Reader
from fastpaca.store.postgres.rows import PostgresBatch, hashed
from fastpaca.store.postgres.schema import bring_up_to_date, check, is_distributed
from fastpaca.store.postgres.watch import LOOK_SECONDS, Watch

T = TypeVar("T")
P = ParamSpec("P")

CONNECTIONS: Final = 10


def _reading(
    read: Callable[Concatenate[Reader, str, P], Awaitable[T]],
) -> Callable[Concatenate[PostgresStore, str, P], Coroutine[Any, Any, T]]:
    """Return a method of the store that calls *read*, which reads one context."""

    @wraps(read)
    async def method(
        self: PostgresStore, context_id: str, /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        return await self._database.read(lambda r: read(r, context_id, *args, **kwargs), context_id)

    return method


class PostgresStore:
    """
    A durable store in the schema `fastpaca` of the database at *dsn*.

    Args:
        dsn: An address for libpq, perhaps of several hosts.
        connections: The most connections; at least 2.
        statement_seconds: How long a statement may run.
        answer_seconds: How long to wait for the response to a commit.
        resolve_seconds: How long to look for the outcome of one whose response was lost.
        migrates: Whether opening migrates the schema, or only checks that it is up to date.
        allow_unsafe: Whether to use a server that may lose acknowledged writes.
        look_seconds: The pause between two checks of whether the database can be used.
        now: A monotonic clock, in seconds.
    """

    is_shared = True

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
        self.name = shown(dsn)
        self._migrates = migrates
        pool = PostgresConnections(dsn, connections, statement_seconds, allow_unsafe=allow_unsafe)
        self._watch = Watch(pool, look_seconds=look_seconds, now=now)
        self._database = Database(pool, self._watch)
        self._commits = PostgresCommits(self._database, answer_seconds, resolve_seconds)
        self._erasing: asyncio.Task[None] | None = None

    @property
    def clock(self) -> Clock:
        """The clock of the database."""
        return self._watch.clock.now_us

    @property
    def condition(self) -> Condition:
        """Whether the database can be used."""
        return self._watch.condition

    # --- life ---------------------------------------------------------------------------------

    async def open(self) -> None:
        """
        Connect, and migrate the schema.

        Raises:
            StoreRefused: It can't be reached or trusted, or a newer release wrote it.
        """
        database = self._database
        async with migrating(database.connections) as connection:
            await (bring_up_to_date if self._migrates else check)(connection)
            database.is_distributed = await is_distributed(connection)
        await database.connections.first()
        await self._watch.start()
        database.is_open = True
        self._erasing = database.start(self._erase_what_is_left())

    async def close(self) -> None:
        """Finish running work, and close all connections."""
        await self._database.close()

    # --- reads --------------------------------------------------------------------------------

    load = _reading(Reader.load)
    load_since = _reading(Reader.load_since)
    load_at = _reading(Reader.load_at)
    messages = _reading(Reader.messages)
    messages_before = _reading(Reader.messages_before)
    path = _reading(Reader.path)
    places_of_id = _reading(Reader.places_of_id)
    revisions_of = _reading(Reader.revisions_of)
    changes = _reading(Reader.changes)
    compactions = _reading(Reader.compactions)
    compactions_before = _reading(Reader.compactions_before)

    async def contexts(self, prefix: str, after: str, limit: int) -> list[ContextRow]:
        """Read rows in byte order of their ids."""
        return await self._database.read(lambda r: r.contexts(prefix, after, limit))

    async def abandoned(self, before_us: int) -> list[str]:
        """Return some forming contexts that no node has touched."""
        return await self._database.read(lambda r: r.abandoned(before_us))

    async def idempotency_records(self, keys: Sequence[str]) -> dict[str, IdempotencyRecord]:
        """Return the idempotency records of *keys*, which are certainly durable."""
        try:
            records = await self._database.read_each(
                keys, lambda r, some: r.idempotency_records(some)
            )
        except PartialRead as error:
            await self._make_durable(error.results)
            raise
        await self._make_durable(records)
        return records

    async def _make_durable(self, keys: Iterable[str]) -> None:
        if keys:
            await self._database.run(self._secure(keys))

    async def _secure(self, keys: Iterable[str]) -> None:
        key_hashes = sorted(map(hashed, keys))
        timeout = self._database.timeout
        try:
            await self._database.write(lambda c: writes.secure(c, key_hashes, timeout))
        except (CommitFailed, CommitUnknown, writes.AnswerLost) as error:
            raise ReadFailed(f"an answer is not known to be safe: {error}") from error

    async def revisions(self, context_ids: Sequence[str]) -> dict[str, int]:
        """Return the revisions of the contexts that exist, in one query."""
        try:
            return await self._database.read_each(context_ids, lambda r, some: r.revisions(some))
        except PartialRead as error:
            self._database.note_refusal(map(hashed, error.failed))
            raise

    # --- writes -------------------------------------------------------------------------------

    async def commit(self, changes: Sequence[Change]) -> None:
        """
        Write *changes* in one transaction; purged content is erased when this returns.

        Raises:
            CommitStale: Another node was first, or an id or a key is taken.
            CommitFailed: Certainly nothing was written.
            CommitUnknown: It may have been written.
        """
        if not self._database.is_open:
            raise CommitFailed(CLOSED)
        batch = PostgresBatch(changes)
        if batch.ids:
            await self._database.run(self._commits.commit(batch))

    async def drop(self, context_id: str, revision: int) -> None:
        """
        Erase a forming context.

        Raises:
            CommitFailed: It may be erased in part.
            CommitUnknown: It may be erased in part, or as a whole.
        """
        key, timeout = hashed(context_id), self._database.timeout
        await self._database.run(
            self._database.write(lambda c: writes.drop(c, key, revision, timeout))
        )

    async def forget_idempotency_records(self, before_us: int) -> None:
        """Delete old records, and continue interrupted erasures."""
        if not self._database.is_open:
            raise CommitFailed(CLOSED)
        timeout = self._database.timeout
        try:
            await self._database.write(lambda c: writes.forget(c, before_us, timeout))
        finally:  # one may need a server that the other does not
            await self._database.write(self._erase_left)

    async def _erase_what_is_left(self) -> None:
        """Continue erasures that another process could not finish."""
        with suppress(CommitFailed):  # `forget_idempotency_records` tries again
            await self._database.write(self._erase_left)

    async def _erase_left(self, connection: Any) -> None:
        while left := await writes.left_to_erase(connection, self._database.timeout):
            await writes.erase(connection, left, self._database.timeout)

    async def backup(self, path: Path) -> None:  # noqa: ARG002  # the port has it
        """
        Refuse, since PostgreSQL has its own tools for that.

        Raises:
            CommitFailed: Always.
        """
        raise CommitFailed("a PostgreSQL database is copied with its own tools, such as pg_dump")
