"""
Replay exported contexts into another store.

A context that fits into one page is written in one commit, together with others. A longer one takes
a commit for each page, in the order of its versions. After each commit it is in a state that it
once had, window included, and memory never holds more than a page. Until the last commit it is a
tombstone: a node on the same database shows it in that state and refuses writes. Only the last
commit makes it what it is in the file.

You can therefore interrupt an import at any moment and start it again. It compares the part of a
context that is in the store with the file, and continues after it. It never changes a context that
is different.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

from msgspec.structs import replace

from fastpaca.store.base import COMMIT_ID_BYTES, Change, CommitStale, ContextRow, PageBounds, Store
from fastpaca.store.snapshots import seq_at
from fastpaca.transfer import history
from fastpaca.transfer.comparison import context_difference, page_difference
from fastpaca.transfer.file import PlacedLine
from fastpaca.transfer.format import (
    CompactionLine,
    ContextEndLine,
    ContextLine,
    MessageLine,
    SyntheticLine,
)
from fastpaca.transfer.history import PAGE, HistoryPage, PageBuilder
from fastpaca.transfer.report import Report

COMMIT_CONTEXTS: Final = 500
"""The most contexts in one commit."""


class ImportRefused(Exception):
    """The store has a different context. The message is a sentence for the operator."""


class Imported(NamedTuple):
    """How many contexts were written, and how many the store already had."""

    written: int = 0
    present: int = 0


class _Stored(NamedTuple):
    """
    The part of a context that the store has.

    Attributes:
        revision: Its revision; 0 if the store doesn't have the context.
        version: Its version.
        is_whole: Whether its row is that of the complete context.
    """

    revision: int = 0
    version: int = 0
    is_whole: bool = False


class Importer:
    """
    Writes contexts to *store*.

    Args:
        store: The store to import into.
        commit_ids: Returns 16 new random bytes.
        report: Takes the progress.
        bounds: How much goes into one commit.
    """

    def __init__(
        self,
        store: Store,
        commit_ids: Callable[[], bytes],
        report: Report,
        bounds: PageBounds = PAGE,
    ) -> None:
        self._store = store
        self._commit_ids = commit_ids
        self._report = report
        self._bounds = bounds
        self._waiting: list[tuple[ContextLine, HistoryPage]] = []  # contexts of one page each
        self._waiting_bytes = 0
        self.imported = Imported()

    async def run(self, lines: Iterable[PlacedLine]) -> None:
        """
        Write the contexts of a file with these *lines*.

        Raises:
            BadFile: The file is not a complete export.
            CommitFailed: A commit failed; the same import continues from there.
            CommitUnknown: A commit may have failed; the same import continues from there.
            ImportRefused: The store has a different context under the same id.
            ReadFailed: The store can't be read.
        """
        context: ContextLine | None = None
        stored: _Stored | None = None
        builder = PageBuilder(self._bounds)
        for line, begin, end in lines:
            self._report(0, 0, end - begin)
            if isinstance(line, ContextLine):
                context, stored, builder = line, None, PageBuilder(self._bounds)
            elif isinstance(line, MessageLine | SyntheticLine | CompactionLine):
                assert context is not None
                if builder.is_full_before(line):
                    stored = await self._begun(context, stored)
                    stored = await self._write_page(context, builder.take(), stored)
                builder.add(line)
            elif isinstance(line, ContextEndLine):
                assert context is not None
                await self._finish(context, builder.take(), stored)
        await self._write_waiting()

    async def _begun(self, context: ContextLine, stored: _Stored | None) -> _Stored:
        """Return *stored*, or for the first of several pages, what the store has."""
        if stored is not None:
            return stored
        await self._write_waiting()
        return await self._look_up(context)

    async def _finish(
        self, context: ContextLine, page: HistoryPage, stored: _Stored | None
    ) -> None:
        """Write the last page of a context; if it is the only one, it waits for other contexts."""
        if stored is not None:
            self._count(await self._write_page(context, page, stored))
            return
        self._waiting.append((context, page))
        self._waiting_bytes += history.page_bytes(page) + len(bytes(context.metadata))
        if len(self._waiting) >= COMMIT_CONTEXTS or self._waiting_bytes >= self._bounds.bytes:
            await self._write_waiting()

    async def _write_waiting(self) -> None:
        """Write the waiting contexts; new ones share a commit."""
        waiting, self._waiting, self._waiting_bytes = self._waiting, [], 0
        if not waiting:
            return
        existing = await self._store.revisions([context.id for context, _ in waiting])
        new: list[tuple[ContextLine, HistoryPage]] = []
        for context, page in waiting:
            if context.id in existing:
                stored = await self._look_up(context)
                self._count(await self._write_page(context, page, stored))
            else:
                new.append((context, page))
        if new:
            await self._commit([self._change(context, page, _Stored()) for context, page in new])
            for _, page in new:
                self._report(0, len(page.messages), 0)
                self._count(_Stored())

    def _count(self, stored: _Stored) -> None:
        """Count a finished context."""
        written, present = self.imported
        was_present = stored.is_whole
        self.imported = Imported(written + (not was_present), present + was_present)
        self._report(1, 0, 0)

    async def _look_up(self, context: ContextLine) -> _Stored:
        """
        Return what the store has of a context.

        Raises:
            ImportRefused: It has a different context under this id.
        """
        row = await history.row_of(self._store, context.id)
        if row is None:
            if await self._store.revisions([context.id]):
                raise ImportRefused(
                    f"the store has purged the context {context.id!r}; its id can never be used"
                    " again"
                )
            return _Stored()
        if row == history.context_row(context, row.revision, row.commit_id):
            return _Stored(row.revision, row.version, is_whole=True)
        if row.commit_id == _partial_commit_id(row.id, row.created_at_us, row.version) and (
            row.created_at_us == context.created_at_us and row.version <= context.version
        ):
            return _Stored(row.revision, row.version)
        difference = context_difference(context, history.context_line(row))
        raise _different(context, difference or "it is the same")

    async def _write_page(
        self, context: ContextLine, page: HistoryPage, stored: _Stored
    ) -> _Stored:
        """Compare the part of *page* that the store has, and write the rest."""
        common = page.up_to(stored.version)
        if common.after < common.through:
            await self._compare(context, common)
        is_last = page.through == context.version
        if stored.is_whole or (page.through <= stored.version and not is_last):
            return stored
        rest = page.after_version(stored.version)
        await self._commit([self._change(context, rest, stored)])
        self._report(0, len(rest.messages), 0)
        return _Stored(stored.revision + 1, page.through)

    async def _compare(self, context: ContextLine, expected: HistoryPage) -> None:
        pages = history.pages(self._store, context.id, expected.after, expected.through)
        try:
            actual = history.joined([page async for page in pages])
        except history.ContextGone:
            raise _changed_meanwhile(context.id) from None
        difference = page_difference(expected, actual)
        if difference is not None:
            raise _different(context, difference)

    def _change(self, context: ContextLine, page: HistoryPage, stored: _Stored) -> Change:
        """Return the change of one commit to a context: *page*, on top of *stored*."""
        final = history.context_row(context, stored.revision + 1, self._commit_ids())
        is_new = stored.revision == 0
        is_last = page.through == context.version
        return Change(
            row=final if is_last else _row_after(page, final),
            expected_revision=stored.revision,
            # An earlier import may have begun the context from an older export.
            config_changed=is_new or is_last,
            metadata_changed=is_new or is_last,
            messages=page.messages,
            ids=history.id_rows(page.messages),
            synthetics=page.synthetics,
            compactions=page.compactions,
        )

    async def _commit(self, changes: Sequence[Change]) -> None:
        try:
            await self._store.commit(changes)
        except CommitStale as error:
            names = sorted(error.context_ids) or [change.row.id for change in changes]
            raise _changed_meanwhile(names[0]) from error


def _row_after(page: HistoryPage, final: ContextRow) -> ContextRow:
    """Return the row of a context after *page*, as a tombstone; *final* is the row at the end."""
    times_us = [row.at_us for row in page.messages[-1:]]
    times_us += [row.at_us for row in page.compactions[-1:]]
    spoken_at_us = max(times_us)
    if page.compactions:
        last_seq = seq_at(page.through, page.compactions[-1])
    else:
        last_seq = page.messages[-1].seq
    return replace(
        final,
        status="tombstoned",
        version=page.through,
        last_seq=last_seq,
        commit_id=_partial_commit_id(final.id, final.created_at_us, page.through),
        updated_at_us=max(final.created_at_us, spoken_at_us),
        spoken_at_us=spoken_at_us,
    )


def _partial_commit_id(context_id: str, created_at_us: int, version: int) -> bytes:
    """
    Return the id of the commit that brings an incomplete context to *version*.

    By this id an import recognises what an interrupted one has left: a node's ids are random.
    """
    text = f"import {created_at_us} {version} {context_id}"
    return hashlib.blake2b(text.encode(), digest_size=COMMIT_ID_BYTES).digest()


def _different(context: ContextLine, difference: str) -> ImportRefused:
    return ImportRefused(
        f"the store has a different context {context.id!r}, which stays as it is: {difference}"
    )


def _changed_meanwhile(context_id: str) -> ImportRefused:
    return ImportRefused(
        f"another writer changed the context {context_id!r} during the import; import again"
    )
