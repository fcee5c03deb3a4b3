"""
Letting the contexts of an export happen again in another store.

A context that fits into one page is written in one commit, together with others. A longer one takes
a commit for each page, in the order of its versions, so that after each commit it is as it once
was, window included, and memory holds no more than a page. Until the last one it is a tombstone: a
node that works on the same database shows it as it then was, and lets nobody write to it. Only the
last commit makes it what it is in the file.

So an import may be ended at any moment and started again. What it finds of a context is compared
with the file, and it goes on behind it; a context that is there and is another is left alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

from msgspec.structs import replace

from fastpaca.store.base import Change, CommitOvertaken, ContextRow, Store
from fastpaca.store.snapshots import seq_at
from fastpaca.transfer import history
from fastpaca.transfer.comparison import difference_of_pages, difference_of_states
from fastpaca.transfer.file import Told
from fastpaca.transfer.format import Compaction, Message, State, Synthetic, Whole
from fastpaca.transfer.history import PAGE, Bounds, Gathering, Page

COMMIT_CONTEXTS: Final = 500
"""How many contexts are written together at most."""

Report = Callable[[int, int, int], None]
"""Is told what has been done since it was told last: contexts, messages, and bytes of the file."""


class ImportRefused(Exception):
    """The store has something else. The message is a sentence for the operator."""


class Imported(NamedTuple):
    """How many contexts were written, and how many of those found were there before."""

    written: int = 0
    found: int = 0


class _Target(NamedTuple):
    """
    What the store has of a context.

    Attributes:
        revision: Its revision; 0 if there is none.
        version: How far it goes.
        is_whole: Whether it is what it should be, if its history is.
    """

    revision: int = 0
    version: int = 0
    is_whole: bool = False


class Replay:
    """
    Writes contexts to *store*.

    Args:
        store: Where to.
        commit_ids: Gives 16 bytes that were never given before.
        report: Is told what is done.
        bounds: How much goes into one commit.
    """

    def __init__(
        self,
        store: Store,
        commit_ids: Callable[[], bytes],
        report: Report,
        bounds: Bounds = PAGE,
    ) -> None:
        self._store = store
        self._commit_ids = commit_ids
        self._report = report
        self._bounds = bounds
        self._waiting: list[tuple[State, Page]] = []  # contexts of one page each
        self._waiting_bytes = 0
        self.imported = Imported()

    async def run(self, lines: Iterable[Told]) -> None:
        """
        Write all contexts of the file that *lines* are those of.

        Raises:
            BadFile: The file is none.
            CommitFailed: A commit failed; the same import again goes on from there.
            CommitUnknown: One may have failed; the same holds.
            ImportRefused: The store has another context under the same id.
            ReadFailed: The store cannot be read.
        """
        state: State | None = None
        target: _Target | None = None
        gathering = Gathering(self._bounds)
        for line, begin, end in lines:
            self._report(0, 0, end - begin)
            if isinstance(line, State):
                state, target, gathering = line, None, Gathering(self._bounds)
            elif isinstance(line, Message | Synthetic | Compaction):
                assert state is not None
                if gathering.is_full_before(line):
                    target = await self._begun(state, target)
                    target = await self._write_page(state, gathering.taken(), target)
                gathering.add(line)
            elif isinstance(line, Whole):
                assert state is not None
                await self._finish(state, gathering.taken(), target)
        await self._write_waiting()

    async def _begun(self, state: State, target: _Target | None) -> _Target:
        """Begin with a context of several pages, at the first of them."""
        if target is not None:
            return target
        await self._write_waiting()
        return await self._found(state)

    async def _finish(self, state: State, page: Page, target: _Target | None) -> None:
        """Write the last page of a context; one that is the only page waits for others."""
        if target is not None:
            self._note(await self._write_page(state, page, target))
            return
        self._waiting.append((state, page))
        self._waiting_bytes += history.page_bytes(page) + len(bytes(state.metadata))
        if len(self._waiting) >= COMMIT_CONTEXTS or self._waiting_bytes >= self._bounds.bytes:
            await self._write_waiting()

    async def _write_waiting(self) -> None:
        """Write the contexts that wait, those that are new in one commit."""
        waiting, self._waiting, self._waiting_bytes = self._waiting, [], 0
        if not waiting:
            return
        existing = await self._store.revisions([state.id for state, _ in waiting])
        new: list[tuple[State, Page]] = []
        for state, page in waiting:
            if state.id in existing:
                target = await self._found(state)
                self._note(await self._write_page(state, page, target))
            else:
                new.append((state, page))
        if new:
            await self._commit([self._change(state, page, _Target()) for state, page in new])
            for _, page in new:
                self._report(0, len(page.messages), 0)
                self._note(_Target())

    def _note(self, target: _Target) -> None:
        """Count a context that is done."""
        written, found = self.imported
        was_there = target.is_whole
        self.imported = Imported(written + (not was_there), found + was_there)
        self._report(1, 0, 0)

    async def _found(self, state: State) -> _Target:
        """
        Look what the store has of a context.

        Raises:
            ImportRefused: It has another one under its id.
        """
        row = await history.row_of(self._store, state.id)
        if row is None:
            if await self._store.revisions([state.id]):
                raise ImportRefused(
                    f"the store has purged the context {state.id!r}; its id can never be used again"
                )
            return _Target()
        if row == history.context_row(state, row.revision, row.commit_id):
            return _Target(row.revision, row.version, is_whole=True)
        if row.commit_id == _mark(row.id, row.created_at_us, row.version) and (
            row.created_at_us == state.created_at_us and row.version <= state.version
        ):
            return _Target(row.revision, row.version)
        difference = difference_of_states(state, history.state(row))
        raise _another(state, difference or "it is the same")

    async def _write_page(self, state: State, page: Page, target: _Target) -> _Target:
        """Compare what is there of *page*, and write what is not."""
        common = page.up_to(target.version)
        if common.after < common.through:
            await self._compare(state, common)
        is_last = page.through == state.version
        if target.is_whole or (page.through <= target.version and not is_last):
            return target
        rest = page.behind(target.version)
        await self._commit([self._change(state, rest, target)])
        self._report(0, len(rest.messages), 0)
        return _Target(target.revision + 1, page.through)

    async def _compare(self, state: State, expected: Page) -> None:
        pages = history.pages(self._store, state.id, expected.after, expected.through)
        try:
            found = history.joined([page async for page in pages])
        except history.ContextGone:
            raise _overtaken(state.id) from None
        difference = difference_of_pages(expected, found)
        if difference is not None:
            raise _another(state, difference)

    def _change(self, state: State, page: Page, target: _Target) -> Change:
        """Make what one commit writes for a context: *page*, on top of *target*."""
        final = history.context_row(state, target.revision + 1, self._commit_ids())
        is_new = target.revision == 0
        is_last = page.through == state.version
        return Change(
            row=final if is_last else _as_it_was(final, page),
            expected_revision=target.revision,
            # What stood there last may have been begun from an older export.
            config_changed=is_new or is_last,
            metadata_changed=is_new or is_last,
            messages=page.messages,
            synthetics=page.synthetics,
            compactions=page.compactions,
        )

    async def _commit(self, changes: Sequence[Change]) -> None:
        try:
            await self._store.commit(changes)
        except CommitOvertaken as error:
            names = sorted(error.context_ids) or [change.row.id for change in changes]
            raise _overtaken(names[0]) from error


def _as_it_was(final: ContextRow, page: Page) -> ContextRow:
    """Give the row of a context at the end of *page*, closed for writing."""
    moments = [row.at_us for row in page.messages[-1:]]
    moments += [row.at_us for row in page.compactions[-1:]]
    spoken_at_us = max(moments)
    if page.compactions:
        last_seq = seq_at(page.through, page.compactions[-1])
    else:
        last_seq = page.messages[-1].seq
    return replace(
        final,
        status="tombstoned",
        version=page.through,
        last_seq=last_seq,
        commit_id=_mark(final.id, final.created_at_us, page.through),
        updated_at_us=max(final.created_at_us, spoken_at_us),
        spoken_at_us=spoken_at_us,
    )


def _mark(context_id: str, created_at_us: int, version: int) -> bytes:
    """
    Name the commit that brings a context to *version* on the way to its end.

    An import knows by it what an earlier one has left: no node ever writes such a name.
    """
    text = f"import {created_at_us} {version} {context_id}"
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def _another(state: State, difference: str) -> ImportRefused:
    return ImportRefused(
        f"the store has another context {state.id!r}, which is left as it is: {difference}"
    )


def _overtaken(context_id: str) -> ImportRefused:
    return ImportRefused(
        f"somebody else has written the context {context_id!r} at the same time; import again"
    )
