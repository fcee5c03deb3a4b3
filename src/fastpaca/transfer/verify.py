"""
Prove that a store holds the contexts of an export.

Each context is read from the store with its whole history and compared with the lines of the file.
Then its window is rebuilt twice, from the file and from what a node would load, and the two are
compared byte for byte.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from fastpaca.context import ContextState
from fastpaca.context.persisted import persisted
from fastpaca.engine.rows import rebuilt
from fastpaca.ranges import contains
from fastpaca.store.base import ContextRow, MessageRow, Snapshot, Store, SyntheticRow
from fastpaca.store.snapshots import needs
from fastpaca.transfer import history
from fastpaca.transfer.comparison import context_difference, page_difference
from fastpaca.transfer.file import ExportFile, PlacedLine
from fastpaca.transfer.format import (
    CompactionLine,
    ContextEndLine,
    ContextLine,
    HistoryLine,
    Line,
    MessageLine,
    SyntheticLine,
)
from fastpaca.transfer.history import HistoryPage, PageBuilder
from fastpaca.transfer.report import Report


class Verification:
    """
    Compares the contexts of *file* with those of *store*.

    Attributes:
        differences: A sentence for each context that differs.
    """

    def __init__(self, store: Store, file: ExportFile, report: Report) -> None:
        self._store = store
        self._file = file
        self._report = report
        self.differences: list[str] = []

    async def run(self, lines: Iterable[PlacedLine]) -> None:
        """
        Compare all contexts; *lines* are those of the file.

        Raises:
            BadFile: The file is not a complete export.
            ReadFailed: The store can't be read.
        """
        check: _ContextCheck | None = None
        for line, begin, end in lines:
            self._report(0, 0, end - begin)
            if isinstance(line, ContextLine):
                check = _ContextCheck(self._store, line, begin)
                await check.begin()
            elif isinstance(line, MessageLine | SyntheticLine | CompactionLine):
                assert check is not None
                await check.add(line)
            elif isinstance(line, ContextEndLine):
                assert check is not None
                await check.end(self._file.read_again(check.offset, end))
                if check.difference is not None:
                    self.differences.append(f"context {check.context.id!r}: {check.difference}")
                self._report(1, line.messages, 0)


class _ContextCheck:
    """
    Compares one context.

    Attributes:
        context: Its line in the file.
        offset: The offset of that line.
        difference: The first difference; None if there is none yet.
    """

    def __init__(self, store: Store, context: ContextLine, offset: int) -> None:
        self.context = context
        self.offset = offset
        self.difference: str | None = None
        self._store = store
        self._row: ContextRow | None = None
        self._builder = PageBuilder()
        self._window: bytes | None = None

    async def begin(self) -> None:
        """Compare the row of the context."""
        self._row = await history.row_of(self._store, self.context.id)
        if self._row is None:
            self.difference = "the store does not have it"
        else:
            self.difference = context_difference(self.context, history.context_line(self._row))

    async def add(self, line: HistoryLine) -> None:
        """Add the next line; compare the history before it if that makes a full page."""
        if self._builder.is_full_before(line):
            await self._compare(self._builder.take())
        self._builder.add(line)
        if isinstance(line, CompactionLine):
            self._window = bytes(line.window)

    async def end(self, lines: Iterator[Line]) -> None:
        """Compare the rest of the history, and the window; *lines* are the context's, once more."""
        await self._compare(self._builder.take())
        if self._row is None or self.difference is not None:
            return
        loaded = await self._store.load(self.context.id)
        if loaded is None:
            self.difference = "the store cannot load it"
            return
        expected = _snapshot(self._row, self._window, lines)
        if _window_bytes(rebuilt(expected)) != _window_bytes(rebuilt(loaded)):
            self.difference = "its window differs"

    async def _compare(self, expected: HistoryPage) -> None:
        if self.difference is not None or expected.after == expected.through:
            return
        pages = history.pages(self._store, self.context.id, expected.after, expected.through)
        try:
            actual = history.joined([page async for page in pages])
        except history.ContextGone:
            self.difference = "it was purged meanwhile"
        except history.HistoryBroken as error:
            self.difference = str(error)
        else:
            self.difference = page_difference(expected, actual)


def _snapshot(row: ContextRow, window: bytes | None, lines: Iterator[Line]) -> Snapshot:
    """Select the *lines* of a context that its window needs."""
    needed = needs(window, row.last_seq)
    messages: list[MessageRow] = []
    synthetics: list[SyntheticRow] = []
    for line in lines:
        if isinstance(line, MessageLine) and contains(needed.log, line.seq):
            messages.append(history.message_row(line))
        elif isinstance(line, SyntheticLine) and any(
            version == line.version and first <= line.position <= last
            for version, first, last in needed.replacements
        ):
            synthetics.append(history.synthetic_row(line))
    return Snapshot(row, window, messages, synthetics)


def _window_bytes(context: ContextState) -> tuple[bytes, list[bytes]]:
    """Return the stored form of a window, and the bodies of its entries."""
    stored = persisted(context.window, context.last_seq).encode()
    return stored, [entry.body for entry in context.window]
