"""
The store of a node with an archive, which has the old messages; callers see no difference.

Its reads that join the two are those of `ArchivedReads`. `ArchiveWriter` archives and trims after
the commits, and `Purges` erases in both. The store does everything else.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Final

from fastpaca.archive import local
from fastpaca.archive.base import Archive, ArchiveFailed, ArchiveRefused
from fastpaca.archive.purges import Purges
from fastpaca.archive.reads import ArchivedReads
from fastpaca.archive.session import ArchiveSession
from fastpaca.archive.writer import ArchiveWriter, Pace
from fastpaca.store.base import Change, CommitFailed, Condition, ReadFailed, StoreRefused
from fastpaca.store.sqlite.store import SqliteStore
from fastpaca.telemetry import ArchiveMetrics

logger = logging.getLogger(__name__)

START_SECONDS: Final = 5.0
"""How long a start waits for the archive; then the node starts, and the writer tries again."""

COUNTED_AT_ONCE: Final = 5000
"""How many contexts to count the messages of at once, after a start."""


class ArchivedStore(ArchivedReads):
    """
    The content of *store*, and of *archive* what was trimmed from it.

    Args:
        store: The store, opened with *is_archived*.
        archive: The archive.
        pace: How much is archived and kept.
        metrics: The metrics of the archive.
    """

    is_shared = False
    clock = None

    def __init__(
        self, store: SqliteStore, archive: Archive, pace: Pace, metrics: ArchiveMetrics
    ) -> None:
        self.name = f"{store.name}, archived in {archive.name}"
        self._archive = archive
        self.metrics = metrics
        session = ArchiveSession(store, archive)
        self.writer = ArchiveWriter(store, session, pace, metrics)
        super().__init__(store, session, Purges(store, session, self.writer))
        # What the archive has no part in.
        self.revisions = store.revisions
        self.places_of_id = store.places_of_id
        self.revisions_of = store.revisions_of
        self.compactions = store.compactions
        self.compactions_before = store.compactions_before
        self.contexts = store.contexts
        self.idempotency_records = store.idempotency_records
        self.forget_idempotency_records = store.forget_idempotency_records
        self.abandoned = store.abandoned
        self.backup = store.backup  # without the archive
        self._job: asyncio.Task[None] | None = None

    @property
    def condition(self) -> Condition:
        """The condition of the store: without the archive, only reads of old messages fail."""
        return self._store.condition

    # --- life ---------------------------------------------------------------------------------

    async def open(self) -> None:
        """
        Open the store, and the archive if it can be reached, and start to archive.

        Raises:
            StoreRefused: The store can't be opened, or the archive can't be used.
        """
        await self._store.open()
        try:
            async with asyncio.timeout(START_SECONDS):
                await self._session.archive()
        except ArchiveRefused as error:
            await self.close()
            raise StoreRefused(str(error)) from error
        except ArchiveFailed as error:
            logger.warning("starting without the archive: %s", error)
        except TimeoutError:
            logger.warning("starting without the archive: it does not respond")
        self._job = asyncio.create_task(self._run(await self._store.in_reader(local.ends)))

    async def _run(self, ends: tuple[int, int]) -> None:
        with suppress(ReadFailed):  # only metrics need it
            await self._count(*ends)
        await self.writer.run()

    async def _count(self, last_key: int, place: int) -> None:
        """Count the messages in the store, some at a time, since there may be many."""
        for after in range(0, last_key, COUNTED_AT_ONCE):
            counts = await self._store.in_reader(
                partial(local.count_log, after=after, through=after + COUNTED_AT_ONCE, place=place)
            )
            self.metrics.note_log(*counts)

    async def close(self) -> None:
        """Stop archiving, finish running calls and close."""
        jobs = [*self._purges.tasks, *([self._job] if self._job is not None else [])]
        self._job = None
        for job in jobs:
            job.cancel()
        if jobs:
            await asyncio.wait(jobs)
        await self._archive.close()
        await self._store.close()

    # --- writes -------------------------------------------------------------------------------

    async def commit(self, changes: Sequence[Change]) -> None:
        """
        Write *changes* in one durable transaction; purged content is erased when this returns.

        Raises:
            CommitFailed: Certainly nothing was written.
            CommitUnknown: It may have been written, or it is not erased in the archive yet.
        """
        changes = [await self.with_references(change) for change in changes]
        purged = [change.row.id for change in changes if change.purges]
        gone = [await self._count_of(context_id) for context_id in purged]
        await self._store.commit(changes)
        written = [row for c in changes if not c.purges for row in (*c.restored, *c.messages)]
        self.metrics.note_commit([row.at_us for row in written])
        if any(change.activates for change in changes):
            self.writer.try_halted()
        if purged:
            self.metrics.note_gone(sum(gone))
            await self._purges.erase(purged)

    async def drop(self, context_id: str, revision: int) -> None:
        """
        Erase a forming context; it was never archived.

        Raises:
            CommitFailed: Nothing, or not all of it, is erased yet.
            CommitUnknown: It may not be erased.
        """
        before = await self._count_of(context_id)
        await self._store.drop(context_id, revision)
        self.metrics.note_gone(before - await self._count_of(context_id))

    async def _count_of(self, context_id: str) -> int:
        try:
            return await self._store.in_reader(partial(local.count_of, context_id=context_id))
        except ReadFailed as error:
            raise CommitFailed(str(error)) from error
