"""
Write the contexts of a store to a file, one after the other.

Each context is written as it was at one moment: its row is read first and says where its history
ends, and history up to there never changes. Other contexts may change meanwhile, so two contexts
may be from different moments.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final, Protocol

from fastpaca.store.base import ContextRow, Store
from fastpaca.transfer import history
from fastpaca.transfer.format import BadLine, HeaderLine, encode
from fastpaca.transfer.reader import ExportReader
from fastpaca.transfer.report import Report

LISTED_CONTEXTS: Final = 50
"""How many contexts to list at once."""


class Sink(Protocol):
    """Where lines go."""

    def write(self, text: bytes) -> None:
        """Append whole lines."""

    def offset(self) -> int:
        """Return the offset of the next line."""

    def truncate(self, offset: int) -> None:
        """
        Remove everything after *offset*.

        Raises:
            CannotTruncate: Its reader may have it already.
        """


class CannotTruncate(Exception):
    """The reader of a stream may already have what should be removed."""


async def export_contexts(
    store: Store, header: HeaderLine, reader: ExportReader, sink: Sink, report: Report
) -> None:
    """
    Write the contexts of *store* that come after the last one of *reader* to *sink*.

    Raises:
        CannotTruncate: A context was purged while it was being written.
        HistoryBroken: The store has lost rows, or holds rows that no node could read.
        ReadFailed: The store can't be read.
    """
    if reader.header is None:
        text = encode(header)
        reader.read(text)
        sink.write(text)
    async for row in _contexts(store, header.prefix, reader.last_id):
        await _write_context(store, row, reader, sink, report)
    text = reader.file_end()
    reader.read(text)
    sink.write(text)
    report(0, 0, len(text))


async def _contexts(store: Store, prefix: str, after: str) -> AsyncIterator[ContextRow]:
    while rows := await store.contexts(prefix, after, LISTED_CONTEXTS):
        for row in rows:
            yield row
        after = rows[-1].id


async def _write_context(
    store: Store, row: ContextRow, reader: ExportReader, sink: Sink, report: Report
) -> None:
    """Write one context; remove its lines again if it is purged before all of it is read."""
    begin = sink.offset()
    waiting = [encode(history.context_line(row))]
    reader.read(waiting[0])
    messages: int | None = None
    try:
        async for page in history.pages(store, row.id, 0, row.version):
            if messages is not None:  # write late: the first page shows most purges
                _write_lines(waiting, messages, sink, report)
            texts = [encode(line) for line in history.lines(page)]
            for text in texts:
                reader.read(text)
            waiting, messages = waiting + texts, len(page.messages)
    except history.ContextGone:
        reader.drop_open_context()
        sink.truncate(begin)
        return
    except BadLine as error:
        raise history.HistoryBroken(
            f"the store has rows of the context {row.id!r} that no node can read: a line {error}"
        ) from None
    end = reader.context_end()
    reader.read(end)
    _write_lines([*waiting, end], messages or 0, sink, report)
    report(1, 0, 0)


def _write_lines(lines: list[bytes], messages: int, sink: Sink, report: Report) -> None:
    text = b"".join(lines)
    lines.clear()
    sink.write(text)
    report(0, messages, len(text))
