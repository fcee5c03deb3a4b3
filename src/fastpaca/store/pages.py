"""Where a page of rows ends, for every store."""

from __future__ import annotations

from collections.abc import Iterable
from heapq import merge
from itertools import groupby
from operator import attrgetter
from typing import Final, TypeVar

from fastpaca.store.base import ChangesPage, CompactionRow, MessageRow, PageBounds

Row = MessageRow | CompactionRow
R = TypeVar("R", MessageRow, CompactionRow)

VERSION: Final = attrgetter("version")


def size(row: Row) -> int:
    """Return the bytes that *row* adds to a page: those of its unbounded field."""
    return len(row.body if isinstance(row, MessageRow) else row.window)


def bounded(rows: Iterable[R], bytes_max: int) -> list[R]:
    """Take *rows* up to *bytes_max* in total; always at least the first."""
    page: list[R] = []
    left = bytes_max
    for row in rows:
        left -= size(row)
        if page and left < 0:
            break
        page.append(row)
    return page


def changes_page(
    messages: Iterable[MessageRow],
    compactions: Iterable[CompactionRow],
    through: int,
    bounds: PageBounds,
) -> ChangesPage:
    """
    Take whole versions of *messages* and *compactions*, at least one, up to *bounds*.

    *through* is the last version that may have rows.
    """
    page = ChangesPage([], [], through)
    sources: tuple[Iterable[Row], ...] = (messages, compactions)
    left = bounds.bytes
    for taken, (version, group) in enumerate(groupby(merge(*sources, key=VERSION), VERSION)):
        rows = list(group)
        left -= sum(map(size, rows))
        if taken and (taken >= bounds.rows or left < 0):
            return page._replace(through=version - 1)
        for row in rows:
            if isinstance(row, MessageRow):
                page.messages.append(row)
            else:
                page.compactions.append(row)
    return page
