"""
Writing the contexts of a store down, one after the other.

Each context is written as it was at one moment: its row is read first, and says how far its history
goes; what it says is there is never changed. Others may go on meanwhile, so two contexts may be of
two moments.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Final, Protocol

from fastpaca.store.base import ContextRow, Store
from fastpaca.transfer import history
from fastpaca.transfer.format import BadLine, Header, encode
from fastpaca.transfer.reading import Reading

LISTED_AT_ONCE: Final = 50

Report = Callable[[int, int, int], None]
"""Is told what has been done since it was told last: contexts, messages, and bytes of the file."""


class Sink(Protocol):
    """Where lines go."""

    def write(self, text: bytes) -> None:
        """Write whole lines behind those that are there."""

    def mark(self) -> int:
        """Tell where the next line will stand."""

    def take_back(self, mark: int) -> None:
        """
        Take back what was written since *mark*.

        Raises:
            CannotTakeBack: It is out of reach.
        """


class CannotTakeBack(Exception):
    """What was written has gone where it cannot be taken back from."""


async def write(store: Store, header: Header, reading: Reading, sink: Sink, report: Report) -> None:
    """
    Write all contexts of *store* to *sink*, or those behind the last one that *reading* has read.

    Raises:
        CannotTakeBack: A context was purged while it was written.
        HistoryBroken: The store lacks what it must have, or holds what no node could read.
        ReadFailed: The store cannot be read.
    """
    if reading.header is None:
        text = encode(header)
        reading.take(text)
        sink.write(text)
    async for row in _contexts(store, header.prefix, reading.last_id):
        await _write_context(store, row, reading, sink, report)
    text = reading.end()
    reading.take(text)
    sink.write(text)
    report(0, 0, len(text))


async def _contexts(store: Store, prefix: str, after: str) -> AsyncIterator[ContextRow]:
    while rows := await store.contexts(prefix, after, LISTED_AT_ONCE):
        for row in rows:
            yield row
        after = rows[-1].id


async def _write_context(
    store: Store, row: ContextRow, reading: Reading, sink: Sink, report: Report
) -> None:
    """Write one context; if it is purged before all of it is read, nothing of it stays."""
    mark = sink.mark()
    waiting = [encode(history.state(row))]
    reading.take(waiting[0])
    messages: int | None = None
    try:
        async for page in history.pages(store, row.id, 0, row.version):
            if messages is not None:  # not before it: most purges are found out by the first page
                _pass_on(waiting, messages, sink, report)
            found = [encode(line) for line in history.lines(page)]
            for text in found:
                reading.take(text)
            waiting, messages = waiting + found, len(page.messages)
    except history.ContextGone:
        reading.leave_out()
        sink.take_back(mark)
        return
    except BadLine as error:
        raise history.HistoryBroken(
            f"of the context {row.id!r} the store holds what no node could read: its line {error}"
        ) from None
    ending = reading.whole()
    reading.take(ending)
    _pass_on([*waiting, ending], messages or 0, sink, report)
    report(1, 0, 0)


def _pass_on(lines: list[bytes], messages: int, sink: Sink, report: Report) -> None:
    text = b"".join(lines)
    lines.clear()
    sink.write(text)
    report(0, messages, len(text))
