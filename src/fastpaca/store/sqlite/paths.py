"""
What the threads of readers do to read the path.

A log has no holes, so a seq that revises nothing is a place, whether its row is here or was trimmed
into an archive: the table `revisions` alone tells which rows a page has. It is searched, never read
as a whole, so that a message that was revised thousands of times costs a page what others cost.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from operator import itemgetter
from typing import Final, NamedTuple

import apsw

from fastpaca.ranges import Range, contains, divide
from fastpaca.store.base import MessageRow, PageBounds
from fastpaca.store.pages import bounded, size
from fastpaca.store.sqlite.reads import KEY_AND_LAST_SEQ, LOG, one_moment
from fastpaca.store.sqlite.rows import id_bytes, message_id_bytes

SEQS_AT_ONCE: Final = 512
SEQS_AT_ONCE_MAX: Final = 8192
"""How many seqs to examine at first for the places of a page, and at most."""

_LOG_BACKWARD: Final = LOG.replace("ORDER BY seq", "ORDER BY seq DESC")

_REVISING: Final = "SELECT seq FROM revisions WHERE context = ? AND seq BETWEEN ? AND ?"

# Of each revised place between two, the newest revision up to a seq. It jumps from one to the next.
_NEWEST: Final = """
WITH RECURSIVE revised (place) AS (
    SELECT (
        SELECT r.place FROM revisions AS r WHERE r.context = ?1 AND r.place >= ?2
        ORDER BY r.place LIMIT 1
    )
    UNION ALL
    SELECT (
        SELECT r.place FROM revisions AS r WHERE r.context = ?1 AND r.place > revised.place
        ORDER BY r.place LIMIT 1
    ) FROM revised WHERE revised.place < ?3
)
SELECT place, (
    SELECT r.seq FROM revisions AS r
    WHERE r.context = ?1 AND r.place = revised.place AND r.seq <= ?4 ORDER BY r.seq DESC LIMIT 1
) FROM revised WHERE place <= ?3
"""

_NEWEST_OF: Final = """
SELECT seq FROM revisions WHERE context = ? AND place = ? AND seq <= ? ORDER BY seq DESC LIMIT 1
"""

_NEWEST_WITH_ID: Final = """
SELECT place - (1 << 40) FROM message_ids
WHERE context = ? + (1 << 40) AND id_hash = ? AND place <= ? + (1 << 40)
ORDER BY place DESC LIMIT 1
"""

_REVISIONS_OF: Final = """
SELECT place, seq FROM revisions WHERE context = ? AND place BETWEEN ? AND ? ORDER BY place, seq
"""


class PathPiece(NamedTuple):
    """
    What is here of a page of the path.

    Attributes:
        seqs: The seqs of the rows on the page, in the order of reading. They end early after a row
            with which the rows that are here exceed the bytes of a page.
        rows: Those of the rows that are here, in the same order.
    """

    seqs: list[int]
    rows: list[MessageRow]


def path(
    connection: apsw.Connection,
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
    page = piece(
        connection, context_id, ranges, between, bounds, skip=skip, newest_first=newest_first
    )
    return [] if page is None else bounded(page.rows, bounds.bytes)


def piece(
    connection: apsw.Connection,
    context_id: str,
    ranges: Sequence[Range],
    between: Range,
    bounds: PageBounds,
    *,
    skip: int,
    newest_first: bool,
) -> PathPiece | None:
    """Read what is here of the path *between* two places; None if there is no such context."""
    log = _LOG_BACKWARD if newest_first else LOG
    page = PathPiece([], [])
    left = bounds.bytes
    with one_moment(connection):
        key, last_seq = connection.execute(KEY_AND_LAST_SEQ, (id_bytes(context_id),)).get or (0, 0)
        if not key:
            return None
        first, last = max(between[0], 1), min(between[1], last_seq)
        places = divide(ranges, [(first, last)])[0] if first <= last else []
        end = skip + bounds.rows
        seqs = islice(_standing(connection, key, ranges, places, end, newest_first), skip, end)
        while some := list(islice(seqs, SEQS_AT_ONCE)):
            wanted = stretches(some, newest_first=newest_first)
            cursor = connection.executemany(log, [(key, *stretch) for stretch in wanted])
            for row in map(MessageRow._make, cursor):
                page.rows.append(row)
                left -= size(row)
                if left < 0:
                    cursor.close(force=True)  # it has more to run
                    page.seqs.extend(some[: some.index(row.seq) + 1])
                    return page
            page.seqs.extend(some)
    return page


def stretches(seqs: Iterable[int], *, newest_first: bool) -> list[Range]:
    """Return *seqs* as the fewest ranges in their order, each to be read in that direction."""
    listed: list[Range] = []
    for seq in seqs:
        if listed and newest_first and seq == listed[-1][0] - 1:
            listed[-1] = (seq, listed[-1][1])
        elif listed and not newest_first and seq == listed[-1][1] + 1:
            listed[-1] = (listed[-1][0], seq)
        else:
            listed.append((seq, seq))
    return listed


def _standing(
    connection: apsw.Connection,
    key: int,
    ranges: Sequence[Range],
    places: Sequence[Range],
    rows: int,
    newest_first: bool,
) -> Iterator[int]:
    """
    Yield the seqs of the rows that stand at the *places*, which may hold seqs of revisions.

    About *rows* of them will be used.
    """
    for first, last in _divided(places, rows, newest_first):
        revising = {seq for (seq,) in connection.execute(_REVISING, (key, first, last))}
        if len(revising) > last - first:
            continue
        newest = dict(connection.execute(_NEWEST, (key, first, last, ranges[-1][1])))
        for place in range(last, first - 1, -1) if newest_first else range(first, last + 1):
            if place in revising:
                continue
            seq = newest.get(place)
            if seq is not None and not contains(ranges, seq):
                seq = _newest_of(connection, key, place, ranges)
            yield place if seq is None else seq


def _divided(places: Sequence[Range], rows: int, newest_first: bool) -> Iterator[Range]:
    """Divide *places* into pieces, in the order of reading, that grow from one to the next."""
    room = min(rows, SEQS_AT_ONCE)
    for start, end in reversed(places) if newest_first else places:
        first, last = start, end
        while first <= last:
            if newest_first:
                some = (max(last - room + 1, first), last)
                last = some[0] - 1
            else:
                some = (first, min(first + room - 1, last))
                first = some[1] + 1
            yield some
            room = min(2 * room, SEQS_AT_ONCE_MAX)


def _newest_of(
    connection: apsw.Connection, key: int, place: int, ranges: Sequence[Range]
) -> int | None:
    """Return the newest revision of *place* in *ranges*."""
    return next(
        _inside(ranges, lambda seq: connection.execute(_NEWEST_OF, (key, place, seq)).get), None
    )


def _inside(ranges: Sequence[Range], newest: Callable[[int], int | None]) -> Iterator[int]:
    """Yield numbers in *ranges*, descending; *newest* finds the largest number up to another."""
    at = ranges[-1][1] if ranges else 0
    while (number := newest(at)) is not None:
        index = bisect_right(ranges, number, key=itemgetter(0)) - 1
        if index < 0:
            return
        if number <= ranges[index][1]:
            yield number
            at = number - 1
        else:
            at = ranges[index][1]


def places_of_id(
    connection: apsw.Connection,
    context_id: str,
    id_hash: bytes,
    ranges: Sequence[Range],
    limit: int,
) -> list[int]:
    """Return the places of messages that were appended with an id, newest first."""
    stored_hash = message_id_bytes(id_hash)
    with one_moment(connection):
        key, _ = connection.execute(KEY_AND_LAST_SEQ, (id_bytes(context_id),)).get or (0, 0)
        places = _inside(
            ranges,
            lambda place: connection.execute(_NEWEST_WITH_ID, (key, stored_hash, place)).get,
        )
        return list(islice(places, limit))


def revisions_of(
    connection: apsw.Connection, context_id: str, places: Sequence[Range]
) -> list[tuple[int, int]]:
    """Return which rows of the log revise a message at *places*."""
    with one_moment(connection):
        key, _ = connection.execute(KEY_AND_LAST_SEQ, (id_bytes(context_id),)).get or (0, 0)
        cursor = connection.executemany(_REVISIONS_OF, [(key, *between) for between in places])
        return [(place, seq) for place, seq in cursor]
