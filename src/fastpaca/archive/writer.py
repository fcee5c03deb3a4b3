"""
What happens after commits: messages are archived, then trimmed, and purged ones are erased.

The store records the place up to which everything is archived. It moves after the archive has
acknowledged, so a crash only repeats some inserts, which changes nothing. Failures are retried
while the node runs, at growing intervals.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Sequence
from functools import partial
from typing import Final, NamedTuple

from fastpaca.archive import local, trims
from fastpaca.archive.base import Archive, ArchiveFailed, ArchiveRefused, LogRow
from fastpaca.archive.local import Logged
from fastpaca.archive.session import AnotherArchive, ArchiveSession
from fastpaca.store.base import CommitFailed, CommitUnknown, PageBounds, ReadFailed
from fastpaca.store.sqlite.store import SqliteStore
from fastpaca.telemetry import ArchiveMetrics

logger = logging.getLogger(__name__)

BATCH_BYTES_MAX: Final = 16 * 1024 * 1024
"""The most bytes of messages in one insert; a larger message is inserted alone."""

BATCH_BYTES_MIN: Final = 64 * 1024
"""The fewest, after failures: a small batch may pass a slow line in time when a large one can't."""

PAUSE_SECONDS: Final = 0.5
PAUSE_SECONDS_MAX: Final = 30.0
"""How long to wait after one failure, and at most."""

LOG_SECONDS: Final = 300.0
"""How often a continuing failure is logged again."""

FAILURES: Final = (ArchiveFailed, ReadFailed, CommitFailed, CommitUnknown)
"""Failures of the store and the archive, which are retried."""


class Pace(NamedTuple):
    """
    How much is archived and kept.

    Attributes:
        interval_seconds: How long to wait when everything is archived.
        batch_rows: The most messages in one insert.
        tail_keep: How many messages of a context stay in the store.
    """

    interval_seconds: float = 5.0
    batch_rows: int = 5000
    tail_keep: int = 1000


class ArchiveWriter:
    """Archives the messages of *store*, through *session*."""

    def __init__(
        self, store: SqliteStore, session: ArchiveSession, pace: Pace, metrics: ArchiveMetrics
    ) -> None:
        self._store = store
        self._session = session
        self._pace = pace
        self._metrics = metrics
        self._batch_bytes = BATCH_BYTES_MAX
        # Nothing is erased in the archive between reading messages to archive and recording that
        # they are: otherwise, messages read before a purge could be inserted after it.
        self._turn = asyncio.Lock()
        self._catching_up = asyncio.Lock()
        self._halts_to_try: list[int] | None = None
        self._told: tuple[str, float] = ("", 0.0)

    # --- the loop -----------------------------------------------------------------------------

    async def run(self) -> None:
        """Archive, trim and erase repeatedly, until this is cancelled."""
        failures = 0
        while True:
            try:
                await self.catch_up()
            except FAILURES as error:
                failures += 1
                self._fail(error)
            except Exception:  # a defect; the node continues, and so may this
                failures += 1
                logger.exception("archiving failed; trying again")
            else:
                failures = 0
                self._recover()
            await self._survey()
            await asyncio.sleep(self._pause(failures))

    def _pause(self, failures: int) -> float:
        if not failures:
            return self._pace.interval_seconds
        seconds = min(PAUSE_SECONDS * 2.0 ** min(failures - 1, 10), PAUSE_SECONDS_MAX)
        return seconds * (0.5 + secrets.randbelow(1001) / 2000)  # jitter: avoids a thundering herd

    def _fail(self, error: Exception) -> None:
        self._session.lose()
        self._batch_bytes = max(self._batch_bytes // 2, BATCH_BYTES_MIN)
        reason, now = str(error), time.monotonic()
        if reason != self._told[0] or now - self._told[1] > LOG_SECONDS:
            is_alarm = isinstance(error, AnotherArchive | ArchiveRefused)
            level = logging.ERROR if is_alarm else logging.WARNING
            logger.log(level, "the archive is falling behind, trying again: %s", reason)
            self._told = (reason, now)

    def _recover(self) -> None:
        if self._told[0]:
            logger.info("the archive accepts writes again")
            self._told = ("", 0.0)

    async def _survey(self) -> None:
        try:
            survey = await self._store.in_reader(local.survey)
        except ReadFailed:
            return  # `catch_up` fails too, and its failure is logged
        self._metrics.note_survey(
            rows=survey.rows if survey.rows < local.SURVEY_ROWS else None,
            contexts=survey.contexts,
            lag=survey.lag,
            oldest_us=survey.oldest_us,
            halted=survey.halted_contexts,
        )

    def try_halted(self) -> None:
        """Try at the next turn whether halted contexts can continue."""
        self._halts_to_try = None

    async def catch_up(self) -> None:
        """
        Erase, archive and trim until nothing is left to do.

        Raises:
            ArchiveFailed: The archive can't be reached or used.
            ReadFailed: The store can't be read.
            CommitFailed: The store can't be written; nothing is lost by that.
            CommitUnknown: The same.
        """
        async with self._catching_up:
            await self.erase()
            await self._try_halted()
            has_more = True
            while has_more:
                has_more = await self._archive_some()
                await self._trim()

    # --- archiving ----------------------------------------------------------------------------

    async def _archive_some(self) -> bool:
        """Archive one batch, and return whether there may be more."""
        async with self._turn:
            archive = await self._session.archive()
            known = await self._store.in_reader(local.state)
            pending = await self._store.in_reader(partial(local.pending, bounds=self._bounds))
            conflicts = await self._insert(archive, pending.rows) if pending.rows else {}
            if pending.through > known.archived_place:
                note = partial(
                    local.note_archived,
                    identity=self._session.identity,
                    through=pending.through,
                    conflicts=[(key, seq - 1) for key, seq in conflicts.items()],
                )
                await self._store.in_writer(note)
            self._metrics.note_archived(len(pending.rows))
            self._batch_bytes = min(self._batch_bytes * 2, BATCH_BYTES_MAX)
        return pending.has_more

    @property
    def _bounds(self) -> PageBounds:
        return PageBounds(self._pace.batch_rows, self._batch_bytes)

    async def _insert(self, archive: Archive, rows: Sequence[Logged]) -> dict[int, int]:
        """
        Insert *rows* into the archive, and return the conflicts.

        These are, by key of the context, the first seqs under which the archive has a different
        message. Messages before them are inserted.
        """
        keys = {one.context_id: one.key for one in rows}
        conflicts: dict[str, int] = {}
        while True:
            new = [
                LogRow(one.context_id, one.row)
                for one in rows
                if one.row.seq < conflicts.get(one.context_id, one.row.seq + 1)
            ]
            if not new:
                break
            started = time.perf_counter()
            done = await archive.insert(new)
            self._metrics.note_insert(
                seconds=time.perf_counter() - started,
                attempted=(len(new), sum(len(one.row.body) for one in new)),
                inserted=(done.rows, done.bytes),
            )
            if not done.conflicts:
                break
            conflicts |= done.conflicts
        for context_id, seq in conflicts.items():
            logger.error(
                "the archive has a different message under this seq: the context is no longer"
                " archived or trimmed",
                extra={"context_id": context_id, "seq": seq},
            )
        return {keys[context_id]: seq for context_id, seq in conflicts.items()}

    async def _try_halted(self) -> None:
        """Try at the start of a node, and after each fork, whether halted contexts can continue."""
        if self._halts_to_try is None:
            self._halts_to_try = await self._store.in_reader(local.halts)
        keys = self._halts_to_try  # another fork may be made meanwhile
        while keys:
            if not await self._try_some(keys[-1]):
                await self._trim_all([keys.pop()])  # its places were passed long ago

    async def _try_some(self, key: int) -> bool:
        """Archive some messages of a halted context, and return whether there is more to try."""
        async with self._turn:
            archive = await self._session.archive()
            halted = partial(local.halted, key=key, bounds=self._bounds)
            rows = await self._store.in_reader(halted)
            conflicts = await self._insert(archive, rows) if rows else {}
            archived_seq = conflicts[key] - 1 if conflicts else rows[-1].row.seq if rows else None
            note = partial(
                local.note_tried, key=key, archived_seq=archived_seq, goes_on=not conflicts
            )
            await self._store.in_writer(note)
            return bool(rows) and not conflicts

    # --- trimming -----------------------------------------------------------------------------

    async def _trim(self) -> None:
        """Trim the contexts that have changed since they were last trimmed."""
        keep = self._pace.tail_keep
        while True:
            known = await self._store.in_reader(local.state)
            if known.trimmed_place >= known.archived_place:
                return
            keys, through = await self._store.in_reader(partial(trims.to_trim, keep=keep))
            await self._trim_all(keys)
            await self._store.in_writer(partial(trims.note_trimmed, through=through))

    async def _trim_all(self, keys: Sequence[int]) -> None:
        """Trim the contexts *keys*, piece by piece."""
        keep = self._pace.tail_keep
        while keys:
            done, rows = await self._store.in_writer(partial(trims.trim_some, keys=keys, keep=keep))
            keys = keys[done:]
            self._metrics.note_trimmed(rows)

    # --- erasing ------------------------------------------------------------------------------

    async def erase(self) -> None:
        """
        Erase in the archive what was purged here.

        Raises:
            ArchiveFailed: That can't be done now.
            ReadFailed: The store can't be read.
            CommitFailed: It can't be recorded, and will be repeated.
            CommitUnknown: The same.
        """
        async with self._turn:
            while left := await self._store.in_reader(local.erasures):
                archive = await self._session.archive()
                await archive.erase([context_id for _, context_id in left])
                end = partial(local.end_erasures, keys=[key for key, _ in left])
                await self._store.in_writer(end, erases=True)  # the ids are in the log too
