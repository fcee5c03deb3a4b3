"""
Reads of a log, parts of which may be in the archive.

A log has no holes, so holes in a page mean trimmed messages, which are fetched from the archive.
This needs no bookkeeping that could be wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import takewhile
from operator import attrgetter
from typing import Final

from msgspec.structs import replace

from fastpaca.archive import trims
from fastpaca.archive.base import ArchiveFailed
from fastpaca.archive.purges import Purges
from fastpaca.archive.session import ArchiveSession
from fastpaca.archive.trims import LogPiece
from fastpaca.context.config import VERSIONED_REWRITES
from fastpaca.ranges import Range, clipped, count, missing, named, runs
from fastpaca.store.base import (
    Change,
    ChangesPage,
    CommitFailed,
    Diff,
    Have,
    MessageRow,
    PageBounds,
    ReadFailed,
    Snapshot,
)
from fastpaca.store.pages import bounded, changes_page, size
from fastpaca.store.snapshots import needs, needs_besides, needs_of
from fastpaca.store.sqlite import paths
from fastpaca.store.sqlite.store import SqliteStore

AWAY: Final = "Older messages are in the archive, which cannot be read now; try again."

_SEQ: Final = attrgetter("seq")


class ArchivedReads:
    """
    Reads from *store*, and trimmed messages from the archive.

    Args:
        store: The store, which has the newest messages, and everything except messages.
        session: The access to the archive.
        purges: Checks whether a purged context is erased in the archive.
    """

    def __init__(self, store: SqliteStore, session: ArchiveSession, purges: Purges) -> None:
        self._store = store
        self._session = session
        self._purges = purges

    async def load(self, context_id: str) -> Snapshot | None:
        """Read what rebuilding the state of a context needs."""
        snapshot = await self._store.load(context_id)
        if snapshot is None:
            return None
        if snapshot.row.status == "purged":
            await self._purges.check(context_id)
            return snapshot
        wanted = needs_of(snapshot.row, snapshot.window).log
        messages = await self._completed(context_id, wanted, snapshot.messages)
        if messages is None:
            return await self.load(context_id)  # it was purged meanwhile
        return snapshot._replace(messages=messages)

    async def load_since(self, context_id: str, have: Have) -> Diff | None:
        """Read what changed in a context since *have*."""
        diff = await self._store.load_since(context_id, have)
        if diff is None or diff.row.status == "purged":
            return diff
        wanted = needs_besides(have, diff.window, diff.row.last_seq).log
        messages = await self._completed(context_id, wanted, diff.messages)
        if messages is None:
            return await self.load_since(context_id, have)
        return diff._replace(messages=messages)

    async def load_at(self, context_id: str, version: int) -> Snapshot | None:
        """Read what rebuilding the window as it was after a version needs."""
        snapshot = await self._store.load_at(context_id, version)
        if snapshot is None:
            return None
        wanted = needs_of(snapshot.row, snapshot.window).log
        messages = await self._completed(context_id, wanted, snapshot.messages)
        if messages is None:
            return None
        newest_us = max([snapshot.row.spoken_at_us, *(row.at_us for row in messages[-1:])])
        return snapshot._replace(
            row=replace(snapshot.row, spoken_at_us=newest_us), messages=messages
        )

    async def _completed(
        self, context_id: str, wanted: Sequence[Range], there: Sequence[MessageRow]
    ) -> Sequence[MessageRow] | None:
        """Add the missing ones of the *wanted* messages; None if they were purged meanwhile."""
        if len(there) == count(wanted):
            return there
        gaps = missing(wanted, runs(row.seq for row in there))
        fetched = await self._fetch(context_id, gaps)
        if len(fetched) < count(gaps) and not await self._is_there(context_id):
            return None
        _check_whole(missing(gaps, runs(row.seq for row in fetched)))
        return sorted((*there, *fetched), key=_SEQ)

    async def messages(
        self, context_id: str, from_seq: int, to_seq: int, bounds: PageBounds
    ) -> list[MessageRow]:
        """Read the log forward."""
        between = (from_seq, to_seq)
        piece = await self._store.in_reader(lambda c: trims.forward(c, context_id, between, bounds))
        return [] if piece is None else await self._page(context_id, piece, bounds)

    async def messages_before(
        self, context_id: str, before_seq: int, bounds: PageBounds
    ) -> list[MessageRow]:
        """Read the newest messages below a seq."""
        piece = await self._store.in_reader(
            lambda c: trims.backward(c, context_id, before_seq, bounds)
        )
        if piece is None:
            return []
        return (await self._page(context_id, piece, bounds, newest_first=True))[::-1]

    async def _page(
        self, context_id: str, piece: LogPiece, bounds: PageBounds, *, newest_first: bool = False
    ) -> list[MessageRow]:
        """Return a page of what the store and the archive have of a part of a log."""
        rows = piece.rows
        if piece.gaps:
            gaps = piece.gaps[::-1] if newest_first else piece.gaps
            fetched = await self._fetch(context_id, gaps, bounds, newest_first=newest_first)
            rows = sorted((*rows, *fetched), key=_SEQ, reverse=newest_first)
        page, is_whole = _page_of(rows, piece, bounds.bytes, newest_first=newest_first)
        if is_whole:
            return page
        if not await self._is_there(context_id):
            return []
        _check_whole(missing([(piece.first, piece.last)], runs(sorted(row.seq for row in rows))))
        raise AssertionError("what is there is not in order")

    async def path(
        self,
        context_id: str,
        ranges: Sequence[Range],
        from_place: int,
        to_place: int,
        bounds: PageBounds,
        *,
        skip: int = 0,
        newest_first: bool = False,
    ) -> list[MessageRow]:
        """Read the messages on the path."""
        between = (from_place, to_place)
        piece = await self._store.in_reader(
            lambda c: paths.piece(
                c, context_id, ranges, between, bounds, skip=skip, newest_first=newest_first
            )
        )
        if piece is None:
            return []
        there = {row.seq: row for row in piece.rows}
        lacking = [seq for seq in piece.seqs if seq not in there]
        if lacking:
            wanted = paths.stretches(lacking, newest_first=newest_first)
            fetched = await self._fetch(context_id, wanted, bounds, newest_first=newest_first)
            there |= {row.seq: row for row in fetched}
        rows = [there[seq] for seq in takewhile(there.__contains__, piece.seqs)]
        # Each source ends early only after a row with which every page is too big.
        if len(rows) == len(piece.seqs) or sum(map(size, rows)) > bounds.bytes:
            return bounded(rows, bounds.bytes)
        if not await self._is_there(context_id):
            return []
        _check_whole(runs(sorted(seq for seq in piece.seqs if seq not in there)))
        raise AssertionError("what is there is not in order")

    async def changes(
        self,
        context_id: str,
        after_version: int,
        to_version: int,
        bounds: PageBounds,
        *,
        with_bodies: bool = True,
    ) -> ChangesPage:
        """Read what happened between two versions."""
        bounds = bounds._replace(rows=max(bounds.rows, 1))
        local = await self._store.in_reader(
            lambda c: trims.replay(
                c, context_id, after_version, to_version, bounds, with_bodies=with_bodies
            )
        )
        if local is None:
            return ChangesPage([], [], after_version)
        rows, through = local.piece.rows, local.through
        if local.piece.ends_early:
            through = min(through, rows[-1].version)
        if local.piece.gaps:
            one_more = bounds._replace(rows=bounds.rows + 1)
            fetched = await self._fetch(
                context_id, local.piece.gaps, one_more, with_bodies=with_bodies
            )
            if len(fetched) > bounds.rows or sum(map(size, fetched)) > bounds.bytes:
                through = min(through, fetched[-1].version)
            elif len(fetched) < count(local.piece.gaps) and not await self._is_there(context_id):
                return ChangesPage([], [], after_version)  # it was purged meanwhile
            rows = sorted((*rows, *fetched), key=_SEQ)
        return changes_page(
            [row for row in rows if row.version <= through],
            [row for row in local.compactions if row.version <= through],
            through,
            bounds,
        )

    async def _fetch(
        self,
        context_id: str,
        ranges: Sequence[Range],
        bounds: PageBounds | None = None,
        *,
        newest_first: bool = False,
        with_bodies: bool = True,
    ) -> list[MessageRow]:
        try:
            archive = await self._session.archive()
            return await archive.messages(
                context_id, ranges, bounds, newest_first=newest_first, with_bodies=with_bodies
            )
        except ArchiveFailed as error:
            self._session.lose()
            raise ReadFailed(
                f"older messages are in the archive, and {error}", told=AWAY
            ) from error

    async def _is_there(self, context_id: str) -> bool:
        """Return whether a context still exists: it may have been purged meanwhile."""
        snapshot = await self._store.load(context_id)
        return snapshot is not None and snapshot.row.status != "purged"

    async def with_references(self, change: Change) -> Change:
        """
        Restore trimmed messages that a replacement refers to, since windows are kept in the store.

        Policies only drop messages of the window, so their trims need nothing.

        Raises:
            CommitFailed: They can't be restored now.
        """
        if all(one.strategy not in VERSIONED_REWRITES for one in change.compactions):
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
            back = await self._fetch(context_id, gaps)
            _check_whole(missing(gaps, runs(row.seq for row in back)))
        except ReadFailed as error:
            raise CommitFailed(str(error)) from error
        return replace(change, restored=back)


def _page_of(
    rows: Sequence[MessageRow], piece: LogPiece, bytes_max: int, *, newest_first: bool
) -> tuple[list[MessageRow], bool]:
    """
    Return *rows* up to the end of *piece* or to *bytes_max*, and whether none was missing.

    Each source of rows ends early only after a row with which every page is too big.
    """
    step = -1 if newest_first else 1
    at, end = (piece.last, piece.first) if newest_first else (piece.first, piece.last)
    page: list[MessageRow] = []
    left = bytes_max
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
    Check that no message is missing in both places.

    Raises:
        ReadFailed: Some are.
    """
    if lost:
        raise ReadFailed(f"trimmed messages are missing from the archive: seq {named(lost)}")
