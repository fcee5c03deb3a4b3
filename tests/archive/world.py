"""A node's store with an archive, as tests want it: eager, or standing still until it is told."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import apsw

from fastpaca.archive.base import Archive, ArchiveFailed, Inserted, LogRow
from fastpaca.archive.postgres import PostgresArchive
from fastpaca.archive.store import ArchivedStore
from fastpaca.archive.writer import Pace
from fastpaca.clock import now_us
from fastpaca.ranges import Range
from fastpaca.store.base import Change, MessageRow, PageBounds
from fastpaca.store.sqlite.files import DATABASE_NAME
from fastpaca.store.sqlite.store import SqliteStore
from fastpaca.telemetry import ArchiveMetrics
from tests.kit.postgres import run_sql


class Quiet(ArchivedStore):
    """Archives when it is told to."""

    async def _run(self, ends: tuple[int, int]) -> None:
        await self._count(*ends)


class Eager(Quiet):
    """Archives and trims behind each commit, so that whatever can be trimmed is."""

    async def commit(self, changes: Sequence[Change]) -> None:
        await super().commit(changes)
        await self.writer.catch_up()


def archived(
    directory: Path,
    archive: str | Archive,
    *,
    tail_keep: int = 0,
    batch_rows: int = 5000,
    kind: type[ArchivedStore] = Quiet,
) -> ArchivedStore:
    """Put the store of a node together; its *archive* is one, or the address of one."""
    if isinstance(archive, str):
        archive = PostgresArchive(archive, connections=4, allow_unsafe=True)
    return kind(
        SqliteStore(directory, is_archived=True),
        archive,
        Pace(0.001, batch_rows, tail_keep),
        ArchiveMetrics(now_us),
    )


class Fragile:
    """
    An archive that fails when it is told to.

    Attributes:
        is_down: Whether it cannot be reached.
        inserts: What was sent to it, batch by batch.
    """

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self.is_down = False
        self.inserts: list[list[LogRow]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.waiting = asyncio.Event()

    @property
    def name(self) -> str:
        return self._archive.name

    def _check(self) -> None:
        if self.is_down:
            raise ArchiveFailed("it is down")

    async def open(self) -> bytes:
        self._check()
        return await self._archive.open()

    async def insert(self, rows: Sequence[LogRow]) -> Inserted:
        self._check()
        self.inserts.append(list(rows))
        self.waiting.set()
        await self.gate.wait()
        return await self._archive.insert(rows)

    async def messages(
        self,
        context_id: str,
        ranges: Sequence[Range],
        bounds: PageBounds | None = None,
        *,
        newest_first: bool = False,
        with_bodies: bool = True,
    ) -> list[MessageRow]:
        self._check()
        return await self._archive.messages(
            context_id, ranges, bounds, newest_first=newest_first, with_bodies=with_bodies
        )

    async def erase(self, context_ids: Sequence[str]) -> None:
        self._check()
        await self._archive.erase(context_ids)

    async def close(self) -> None:
        await self._archive.close()


def fragile(dsn: str) -> Fragile:
    """Make an archive at *dsn* that fails when it is told to."""
    return Fragile(PostgresArchive(dsn, connections=4, allow_unsafe=True))


def local_seqs(directory: Path) -> list[tuple[int, int]]:
    """List which messages are in the store's own file: keys of contexts and seqs."""
    connection = apsw.Connection(str(directory / DATABASE_NAME), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        sql = "SELECT context, seq FROM messages WHERE seq IS NOT NULL ORDER BY context, seq"
        return list(connection.execute(sql))
    finally:
        connection.close()


def left_of(directory: Path) -> dict[str, tuple[int, dict[int, bytes]]]:
    """Read what a node that is gone has left: by context, where its log ends, and what is there."""
    connection = apsw.Connection(str(directory / DATABASE_NAME))
    try:
        contexts = {
            key: (name.decode(), last_seq)
            for key, name, last_seq in connection.execute(
                "SELECT key, id, last_seq FROM contexts JOIN context_ids USING (key)"
            )
        }
        left: dict[str, tuple[int, dict[int, bytes]]] = {
            name: (last_seq, {}) for name, last_seq in contexts.values()
        }
        for key, seq, body in connection.execute(
            "SELECT context, seq, body FROM messages WHERE seq IS NOT NULL"
        ):
            left[contexts[key][0]][1][seq] = body
    finally:
        connection.close()
    return left


async def archived_rows(dsn: str) -> list[tuple[str, int, bytes]]:
    """List what the archive holds."""
    sql = "SELECT context_id, seq, body FROM messages ORDER BY context_id, seq"
    return [tuple(row) for row in await run_sql(dsn, sql)]
