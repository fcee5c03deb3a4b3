"""
The store of a node with an archive: new messages are here, old ones there, and nobody sees where.

A log has no holes. So a page that has some was trimmed there, and what is missing is fetched from
the archive; that needs no book-keeping that could be wrong.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from fastpaca.archive import local, trims
from fastpaca.archive.base import Archive, ArchiveFailed, ArchiveRefused
from fastpaca.archive.contact import Contact
from fastpaca.archive.trims import Piece
from fastpaca.archive.writer import FAILURES, Pace, Writer
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
    Snapshot,
    StoreRefused,
)
from fastpaca.store.pages import PageBounds, changes_page, size
from fastpaca.store.ranges import Range, clipped, count, missing_in, named
from fastpaca.store.snapshots import needs, news
from fastpaca.store.sqlite.store import SqliteStore
from fastpaca.telemetry import ArchiveMetrics

logger = logging.getLogger(__name__)

START_SECONDS: Final = 5.0
"""How long a start waits for the archive; then it goes on without, and the writer tries again."""

ERASE_SECONDS: Final = 2.0
"""How long a commit waits for its purge to reach the archive: other commits wait behind it."""

AWAY: Final = "Older messages are in the archive, which cannot be read now; try again."

NOT_ERASED: Final = "This context was purged, but not yet erased in the archive; try again."

ERASE_AGAIN_SECONDS: Final = 10.0
"""How long one waits who asks for the same purge again: nobody waits behind that."""

COUNTED_AT_ONCE: Final = 5000
"""Of how many contexts the messages are counted at once, after a start."""

_SEQ: Final = attrgetter("seq")


class ArchivedStore:
    """
    What *store* holds, and what was trimmed there since *archive* holds it.

    Args:
        store: Was told that it is archived.
        archive: Where old messages are.
        pace: How much is archived and kept.
        metrics: Told of all that goes on.
    """

    def __init__(
        self, store: SqliteStore, archive: Archive, pace: Pace, metrics: ArchiveMetrics
    ) -> None:
        self._store = store
        self._archive = archive
        self.metrics = metrics
        self._contact = Contact(store, archive)
        self.writer = Writer(store, self._contact, pace, metrics)
        self._job: asyncio.Task[None] | None = None
        self._erasing: set[asyncio.Task[None]] = set()

    @property
    def name(self) -> str:
        """What the start banner calls it; shows no password."""
        return f"{self._store.name}, archived in {self._archive.name}"

    @property
    def is_shared(self) -> bool:
        """Nobody else writes to it."""
        return False

    @property
    def clock(self) -> None:
        """This machine's will do."""

    @property
    def condition(self) -> Condition:
        """That of the store: an archive that is away holds up nobody but who reads old messages."""
        return self._store.condition

    # --- life ---------------------------------------------------------------------------------

    async def open(self) -> None:
        """
        Open the store, make contact with the archive if it can be reached, and begin to archive.

        Raises:
            StoreRefused: The store cannot be opened, or the archive is not one that can be used.
        """
        await self._store.open()
        try:
            async with asyncio.timeout(START_SECONDS):
                await self._contact.archive()
        except ArchiveRefused as error:
            await self.close()
            raise StoreRefused(str(error)) from error
        except ArchiveFailed as error:
            logger.warning("starting without the archive: %s", error)
        except TimeoutError:
            logger.warning("starting without the archive: it does not respond")
        self._job = asyncio.create_task(self._run(await self._store.in_reader(local.ends)))

    async def _run(self, ends: tuple[int, int]) -> None:
        with suppress(ReadFailed):  # only metrics suffer
            await self._count(*ends)
        await self.writer.run()

    async def _count(self, last_key: int, place: int) -> None:
        """Count the messages that are in the store, some at a time: it may hold many."""
        for after in range(0, last_key, COUNTED_AT_ONCE):
            found = await self._store.in_reader(
                partial(local.count_log, after=after, through=after + COUNTED_AT_ONCE, place=place)
            )
            self.metrics.note_log(*found)

    async def close(self) -> None:
        """Stop archiving, finish what is under way and let go."""
        jobs = [*self._erasing, *([self._job] if self._job is not None else [])]
        self._job = None
        for job in jobs:
            job.cancel()
        if jobs:
            await asyncio.wait(jobs)
        await self._archive.close()
        await self._store.close()

    # --- reads of what may have been trimmed --------------------------------------------------

    async def load(self, context_id: str) -> Snapshot | None:
        """Read what rebuilding the state of a context needs."""
        found = await self._store.load(context_id)
        if found is None:
            return None
        if found.row.status == "purged":
            await self._see_that_it_is_erased(context_id)
            return found
        wanted = needs(found.window, found.row.last_seq).log
        messages = await self._completed(context_id, wanted, found.messages)
        if messages is None:
            return await self.load(context_id)  # it was purged meanwhile
        return found._replace(messages=messages)

    async def load_since(self, context_id: str, known: Known) -> Delta | None:
        """Read what is new for one who has what *known* says."""
        found = await self._store.load_since(context_id, known)
        if found is None or found.row.status == "purged":
            return found
        wanted = news(found.window, found.row.last_seq, known).log
        messages = await self._completed(context_id, wanted, found.messages)
        if messages is None:
            return await self.load_since(context_id, known)
        return found._replace(messages=messages)

    async def load_at(self, context_id: str, version: int) -> Snapshot | None:
        """Read what rebuilding the window takes as it was after a version."""
        found = await self._store.load_at(context_id, version)
        if found is None:
            return None
        wanted = needs(found.window, found.row.last_seq).log
        messages = await self._completed(context_id, wanted, found.messages)
        if messages is None:
            return None
        newest_us = max([found.row.spoken_at_us, *(row.at_us for row in messages[-1:])])
        return found._replace(row=replace(found.row, spoken_at_us=newest_us), messages=messages)

    async def _completed(
        self, context_id: str, wanted: Sequence[Range], there: Sequence[MessageRow]
    ) -> Sequence[MessageRow] | None:
        """Add what is missing of the *wanted* messages; None if they were purged meanwhile."""
        if len(there) == count(wanted):
            return there
        gaps = missing_in(wanted, (row.seq for row in there))
        fetched = await self._fetch(context_id, gaps, None, None)
        if len(fetched) < count(gaps) and not await self._is_there(context_id):
            return None
        _check_whole(missing_in(gaps, (row.seq for row in fetched)))
        return sorted((*there, *fetched), key=_SEQ)

    async def messages(
        self, context_id: str, from_seq: int, to_seq: int, limit: int, max_bytes: int
    ) -> list[MessageRow]:
        """Read the log forward."""
        bounds = PageBounds(max(limit, 0), max_bytes)
        between = (from_seq, to_seq)
        piece = await self._store.in_reader(lambda c: trims.forward(c, context_id, between, bounds))
        return [] if piece is None else await self._page(context_id, piece, bounds)

    async def messages_before(
        self, context_id: str, before_seq: int, limit: int, max_bytes: int
    ) -> list[MessageRow]:
        """Read the newest messages below a seq."""
        bounds = PageBounds(max(limit, 0), max_bytes)
        piece = await self._store.in_reader(
            lambda c: trims.backward(c, context_id, before_seq, bounds)
        )
        if piece is None:
            return []
        return (await self._page(context_id, piece, bounds, newest_first=True))[::-1]

    async def _page(
        self, context_id: str, piece: Piece, bounds: PageBounds, *, newest_first: bool = False
    ) -> list[MessageRow]:
        """Make a page of what is here of a part of a log, and of what the archive has of it."""
        rows = piece.rows
        if piece.gaps:
            fetched = await self._fetch(
                context_id, piece.gaps, bounds.rows, bounds.bytes, newest_first=newest_first
            )
            rows = sorted((*rows, *fetched), key=_SEQ, reverse=newest_first)
        page, is_whole = _page_of(rows, piece, bounds.bytes, newest_first=newest_first)
        if is_whole:
            return page
        if not await self._is_there(context_id):
            return []
        _check_whole(missing_in([(piece.first, piece.last)], sorted(row.seq for row in rows)))
        raise AssertionError("what is there is not in order")

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
        bounds = PageBounds(max(limit, 1), max_bytes)
        found = await self._store.in_reader(
            lambda c: trims.replay(
                c, context_id, after_version, to_version, bounds, with_bodies=with_bodies
            )
        )
        if found is None:
            return ChangesPage([], [], after_version)
        rows, through = found.piece.rows, found.through
        if found.piece.ends_early:
            through = min(through, rows[-1].version)
        if found.piece.gaps:
            fetched = await self._fetch(
                context_id,
                found.piece.gaps,
                bounds.rows + 1,
                bounds.bytes,
                with_bodies=with_bodies,
            )
            if len(fetched) > bounds.rows or sum(map(size, fetched)) > bounds.bytes:
                through = min(through, fetched[-1].version)
            elif len(fetched) < count(found.piece.gaps) and not await self._is_there(context_id):
                return ChangesPage([], [], after_version)  # it was purged meanwhile
            rows = sorted((*rows, *fetched), key=_SEQ)
        return changes_page(
            [row for row in rows if row.version <= through],
            [row for row in found.compactions if row.version <= through],
            through,
            limit,
            max_bytes,
        )

    async def _fetch(
        self,
        context_id: str,
        ranges: Sequence[Range],
        limit: int | None,
        max_bytes: int | None,
        *,
        newest_first: bool = False,
        with_bodies: bool = True,
    ) -> list[MessageRow]:
        try:
            archive = await self._contact.archive()
            return await archive.messages(
                context_id,
                ranges,
                limit,
                max_bytes,
                newest_first=newest_first,
                with_bodies=with_bodies,
            )
        except ArchiveFailed as error:
            self._contact.lose()
            raise ReadFailed(
                f"older messages are in the archive, and {error}", told=AWAY
            ) from error

    async def _is_there(self, context_id: str) -> bool:
        """Tell whether a context that was there still is: a purge may have come in between."""
        found = await self._store.load(context_id)
        return found is not None and found.row.status != "purged"

    # --- other reads --------------------------------------------------------------------------

    async def revisions(self, context_ids: Sequence[str]) -> dict[str, int]:
        """Look up the revisions of contexts."""
        return await self._store.revisions(context_ids)

    async def compactions(
        self, context_id: str, after_version: int, to_version: int, limit: int, max_bytes: int
    ) -> list[CompactionRow]:
        """Read rewrites of the window."""
        return await self._store.compactions(
            context_id, after_version, to_version, limit, max_bytes
        )

    async def compactions_before(
        self, context_id: str, before_version: int, limit: int, max_bytes: int
    ) -> list[CompactionRow]:
        """Read rewrites of the window, newest first."""
        return await self._store.compactions_before(context_id, before_version, limit, max_bytes)

    async def contexts(self, prefix: str, after: str, limit: int) -> list[ContextRow]:
        """Read rows in byte order of their ids."""
        return await self._store.contexts(prefix, after, limit)

    async def answers(self, keys: Sequence[str]) -> dict[str, AnswerRow]:
        """Look up stored answers."""
        return await self._store.answers(keys)

    # --- writes -------------------------------------------------------------------------------

    async def commit(self, changes: Sequence[Change]) -> None:
        """
        Write *changes* in one durable transaction; what they purge is erased when this returns.

        Raises:
            CommitFailed: Certainly nothing was written.
            CommitUnknown: It may have been written, or it was and is not erased in the archive yet.
        """
        changes = [await self._with_referred(change) for change in changes]
        purged = [change.row.id for change in changes if change.purges]
        gone = [await self._count_of(context_id) for context_id in purged]
        await self._store.commit(changes)
        self.metrics.note_commit([row.at_us for c in changes if not c.purges for row in c.messages])
        if purged:
            self.metrics.note_gone(sum(gone))
            await self._erase_now(purged)

    async def _with_referred(self, change: Change) -> Change:
        """
        Bring back what a replacement refers to and was trimmed: a window needs no archive.

        Policies only let go of what a window has, so that this concerns no other compaction.

        Raises:
            CommitFailed: It cannot be brought back now.
        """
        if all(rewrite.strategy != "manual" for rewrite in change.compactions):
            return change
        context_id, new = change.row.id, len(change.messages)
        last_seq = change.row.last_seq
        window = change.compactions[-1].window
        wanted = clipped(needs(window, last_seq).log, last_seq - new)
        try:
            gaps = await self._store.in_reader(
                partial(trims.absent, context_id=context_id, wanted=wanted)
            )
            if not gaps:
                return change
            back = await self._fetch(context_id, gaps, None, None)
            _check_whole(missing_in(gaps, (row.seq for row in back)))
        except ReadFailed as error:
            raise CommitFailed(str(error)) from error
        return replace(change, messages=[*back, *change.messages])

    async def _count_of(self, context_id: str) -> int:
        try:
            return await self._store.in_reader(partial(local.count_of, context_id=context_id))
        except ReadFailed as error:
            raise CommitFailed(str(error)) from error

    async def _erase_now(self, purged: Sequence[str]) -> None:
        """Erase in the archive what was just purged, for a caller who is not told otherwise."""

        def left(reason: object, *, fatal: bool = False) -> CommitUnknown:
            message = f"purged, but not erased in the archive yet: {reason}"
            return CommitUnknown(message, fatal=fatal, context_ids=purged)

        if not self._contact.is_made:
            raise left("it cannot be reached")
        erasing = self._begin_to_erase()
        done, _ = await asyncio.wait([erasing], timeout=ERASE_SECONDS)
        if not done:
            self._contact.lose()  # so that the commits of more purges do not wait as long, each
            raise left("it does not answer")
        try:
            erasing.result()
        except FAILURES as error:
            is_fatal = isinstance(error, CommitUnknown) and error.fatal
            raise left(error, fatal=is_fatal) from error

    async def _see_that_it_is_erased(self, context_id: str) -> None:
        """
        Let nobody take a purge for done before it is.

        Raises:
            ReadFailed: It is not erased in the archive yet, and that can't be done now.
        """
        is_left = partial(local.is_to_erase, context_id=context_id)
        if not await self._store.in_reader(is_left):
            return
        left = "it was purged, but is not erased in the archive yet"
        erasing = self._begin_to_erase()
        done, _ = await asyncio.wait([erasing], timeout=ERASE_AGAIN_SECONDS)
        if not done:
            raise ReadFailed(f"{left}: that does not answer", told=NOT_ERASED)
        try:
            erasing.result()
        except FAILURES as error:
            raise ReadFailed(f"{left}: {error}", told=NOT_ERASED) from error

    def _begin_to_erase(self) -> asyncio.Task[None]:
        """Erase what is left, to the end even if nobody waits for it any more."""
        task = asyncio.create_task(self.writer.erase())
        self._erasing.add(task)
        task.add_done_callback(self._erased)
        return task

    def _erased(self, task: asyncio.Task[None]) -> None:
        self._erasing.discard(task)
        if not task.cancelled():
            task.exception()  # whoever waits has it; else the writer tries again

    async def forget_answers(self, before_us: int) -> None:
        """Delete old answers, and go on with an erasure that was interrupted."""
        await self._store.forget_answers(before_us)

    async def backup(self, path: Path) -> None:
        """
        Write a consistent copy of the store to the new file *path*; the archive has its own.

        Raises:
            CommitFailed: It could not be written.
        """
        await self._store.backup(path)


def _page_of(
    rows: Sequence[MessageRow], piece: Piece, max_bytes: int, *, newest_first: bool
) -> tuple[list[MessageRow], bool]:
    """
    Take *rows* up to the end of *piece*, or until they are too big; tell if none was missing.

    Each source of rows ends early only behind what makes any page too big that reaches there.
    """
    step = -1 if newest_first else 1
    at, end = (piece.last, piece.first) if newest_first else (piece.first, piece.last)
    page: list[MessageRow] = []
    left = max_bytes
    for row in rows:
        if row.seq != at:
            return page, False
        left -= size(row)
        if page and left < 0:
            return page, True
        page.append(row)
        at += step
        if left < 0:
            return page, True
    return page, (at - end) * step > 0


def _check_whole(lost: Sequence[Range]) -> None:
    """
    See that no message is missing in both places.

    Raises:
        ReadFailed: Some are.
    """
    if lost:
        raise ReadFailed(f"messages that were trimmed are not in the archive: seq {named(lost)}")
