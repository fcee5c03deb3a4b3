"""
Proving that a store holds what an export says.

Each context is read from the store again, all of it, and compared with the lines of the file. Then
its window is made twice, of the rows of the file and of what a node would load, and compared byte
for byte.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from operator import itemgetter

from fastpaca.context import Context
from fastpaca.context.window import persisted
from fastpaca.engine.rows import rebuilt
from fastpaca.store.base import ContextRow, MessageRow, Snapshot, Store, SyntheticRow
from fastpaca.store.snapshots import needs
from fastpaca.transfer import history
from fastpaca.transfer.comparison import difference_of_pages, difference_of_states
from fastpaca.transfer.file import ExportFile, Told
from fastpaca.transfer.format import Compaction, Line, Message, Past, State, Synthetic, Whole
from fastpaca.transfer.history import Gathering, Page

Report = Callable[[int, int, int], None]
"""Is told what has been done since it was told last: contexts, messages, and bytes of the file."""


class Verification:
    """
    Compares the contexts of *file* with those of *store*.

    Attributes:
        differences: A sentence for each context that is not the same.
    """

    def __init__(self, store: Store, file: ExportFile, report: Report) -> None:
        self._store = store
        self._file = file
        self._report = report
        self.differences: list[str] = []

    async def run(self, lines: Iterable[Told]) -> None:
        """
        Compare everything; *lines* are those of the file.

        Raises:
            BadFile: The file is none.
            ReadFailed: The store cannot be read.
        """
        check: _Check | None = None
        for line, begin, end in lines:
            self._report(0, 0, end - begin)
            if isinstance(line, State):
                check = _Check(self._store, line, begin)
                await check.begin()
            elif isinstance(line, Message | Synthetic | Compaction):
                assert check is not None
                await check.take(line)
            elif isinstance(line, Whole):
                assert check is not None
                await check.end(self._file.again(check.at, end))
                if check.difference is not None:
                    self.differences.append(f"context {check.state.id!r}: {check.difference}")
                self._report(1, line.messages, 0)


class _Check:
    """
    Compares one context.

    Attributes:
        state: What the file says it is.
        at: Where it begins in the file.
        difference: The first difference that was found.
    """

    def __init__(self, store: Store, state: State, at: int) -> None:
        self.state = state
        self.at = at
        self.difference: str | None = None
        self._store = store
        self._row: ContextRow | None = None
        self._gathering = Gathering()
        self._window: bytes | None = None

    async def begin(self) -> None:
        """Compare the state."""
        self._row = await history.row_of(self._store, self.state.id)
        if self._row is None:
            self.difference = "the store does not have it"
        else:
            self.difference = difference_of_states(self.state, history.state(self._row))

    async def take(self, line: Past) -> None:
        """Compare the history, whenever a page of it has come together."""
        if self._gathering.is_full_before(line):
            await self._compare(self._gathering.taken())
        self._gathering.add(line)
        if isinstance(line, Compaction):
            self._window = bytes(line.window)

    async def end(self, again: Iterator[Line]) -> None:
        """Compare what is left, and the window, for which the lines of the file come *again*."""
        await self._compare(self._gathering.taken())
        if self._row is None or self.difference is not None:
            return
        loaded = await self._store.load(self.state.id)
        if loaded is None:
            self.difference = "the store does not load it"
            return
        expected = _snapshot(self._row, self._window, again)
        if _written(rebuilt(expected)) != _written(rebuilt(loaded)):
            self.difference = "its window is another"

    async def _compare(self, expected: Page) -> None:
        if self.difference is not None or expected.after == expected.through:
            return
        pages = history.pages(self._store, self.state.id, expected.after, expected.through)
        try:
            found = history.joined([page async for page in pages])
        except history.ContextGone:
            self.difference = "it was purged just now"
        except history.HistoryBroken as error:
            self.difference = str(error)
        else:
            self.difference = difference_of_pages(expected, found)


def _snapshot(row: ContextRow, window: bytes | None, lines: Iterator[Line]) -> Snapshot:
    """Choose from the *lines* of a context what its window needs."""
    needed = needs(window, row.last_seq)
    messages: list[MessageRow] = []
    synthetics: list[SyntheticRow] = []
    for line in lines:
        if isinstance(line, Message) and _is_within(needed.log, line.seq):
            messages.append(history.message_row(line))
        elif isinstance(line, Synthetic) and any(
            version == line.version and first <= line.position <= last
            for version, first, last in needed.replacements
        ):
            synthetics.append(history.synthetic_row(line))
    return Snapshot(row, window, messages, synthetics)


def _is_within(ranges: list[tuple[int, int]], seq: int) -> bool:
    place = bisect_right(ranges, seq, key=itemgetter(0))
    return place > 0 and seq <= ranges[place - 1][1]


def _written(context: Context) -> tuple[bytes, list[bytes]]:
    """Write a window down: its stored form, and its entries as they are served."""
    stored = persisted(context.window, context.last_seq).encode()
    return stored, [entry.body for entry in context.window]
