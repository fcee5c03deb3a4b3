"""
Trimming: which messages to remove here because the archive has them, and reading the others.

A trimmed message leaves an empty row, as a purged one does; the first migration says why. A log has
no holes, so holes here show what to fetch from the archive.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple

import apsw

from fastpaca.archive.local import state
from fastpaca.ranges import Range, missing, runs
from fastpaca.store.base import CompactionRow, MessageRow, PageBounds
from fastpaca.store.pages import R, size
from fastpaca.store.snapshots import needs, seq_at
from fastpaca.store.sqlite.reads import (
    COMPACTIONS,
    KEY_AND_LAST_SEQ,
    LOG,
    VERSION,
    WINDOW,
    compaction_at,
    one_moment,
)
from fastpaca.store.sqlite.rows import id_bytes
from fastpaca.store.sqlite.writes import PIECE_BYTES, PIECE_ROWS, transaction

PIECE_CONTEXTS: Final = 200
"""The most contexts that a transaction trims."""

LOOK_PLACES: Final = 20_000
"""How many places to search at once for contexts to trim."""

# After a compaction, a window may need fewer messages, so it counts like a message.
_TO_TRIM: Final = """
SELECT t.context FROM (
    SELECT context FROM messages WHERE place > ?1 AND place <= ?2
    UNION SELECT context FROM compactions WHERE place > ?1 AND place <= ?2
) AS t CROSS JOIN contexts AS c ON c.key = t.context WHERE c.last_seq > ?3
"""

_LAST_SEQ: Final = """
SELECT last_seq FROM contexts
WHERE key = ?1 AND status <> 2 AND NOT EXISTS (SELECT 1 FROM archive_halts WHERE context = ?1)
"""

_IN_RANGE: Final = """
SELECT place, length(body) FROM messages
WHERE context = ? AND seq BETWEEN ? AND ? AND place <= ? ORDER BY seq LIMIT ?
"""

_EMPTY: Final = """
UPDATE messages SET
    context = iif(EXISTS (SELECT 1 FROM answers WHERE place = messages.place), context, NULL),
    seq = NULL, version = NULL, at_us = NULL, origin = NULL, usage = NULL, revises = NULL,
    counts = NULL, body = NULL
WHERE place = ?
"""

_NOTE_TRIMS: Final = "UPDATE archive SET has_trimmed = 1 WHERE NOT has_trimmed"

_NOTE_TRIMMED: Final = "UPDATE archive SET trimmed_place = ? WHERE trimmed_place < ?"

_SEQS: Final = "SELECT seq FROM messages WHERE context = ? AND seq BETWEEN ? AND ? ORDER BY seq"

_HEADS: Final = LOG.replace("body, counts", "x'', x''")

# As the fields of MessageRow.
_BACKWARD: Final = """
SELECT seq, version, body, counts, at_us, origin, usage, revises FROM messages
WHERE context = ? AND seq BETWEEN ? AND ? ORDER BY seq DESC
"""


class LogPiece(NamedTuple):
    """
    What is here of a part of a log.

    Attributes:
        rows: The messages, in the order of reading; there may be one more than requested.
        gaps: What is missing between the first and the last row, and, unless they end early, up to
            the end; ascending.
        first: The first seq of the part.
        last: The last seq of the part, which is in the log.
        ends_early: Whether there were too many rows, or too many bytes.
    """

    rows: list[MessageRow]
    gaps: list[Range]
    first: int
    last: int
    ends_early: bool


class Replay(NamedTuple):
    """
    What is here of the changes after a version.

    Attributes:
        piece: The messages.
        compactions: All compactions up to *through*; they are never trimmed.
        through: The last version that was read.
    """

    piece: LogPiece
    compactions: list[CompactionRow]
    through: int


# --- reads ----------------------------------------------------------------------------------------


def to_trim(connection: apsw.Connection, keep: int) -> tuple[list[int], int]:
    """Return the keys of the contexts to trim up to a place, and that place."""
    with one_moment(connection):
        _, archived, trimmed, _ = state(connection)
        through = min(trimmed + LOOK_PLACES, archived)
        keys = [key for (key,) in connection.execute(_TO_TRIM, (trimmed, through, keep))]
        return keys, through


def absent(connection: apsw.Connection, context_id: str, wanted: Sequence[Range]) -> list[Range]:
    """Return what is not here of the ranges *wanted* of a log."""
    with one_moment(connection):
        key, _ = connection.execute(KEY_AND_LAST_SEQ, (id_bytes(context_id),)).get or (0, 0)
        cursor = connection.executemany(_SEQS, [(key, *between) for between in wanted])
        return missing(wanted, runs(seq for (seq,) in cursor))


def forward(
    connection: apsw.Connection, context_id: str, between: Range, bounds: PageBounds
) -> LogPiece | None:
    """Read what is here of a log *between* two seqs; None if there is no such context."""
    with one_moment(connection):
        key, last_seq = connection.execute(KEY_AND_LAST_SEQ, (id_bytes(context_id),)).get or (0, 0)
        first = max(between[0], 1)
        last = min(between[1], last_seq, first + bounds.rows - 1)
        return _piece(connection, key, (first, last), bounds, LOG) if key else None


def backward(
    connection: apsw.Connection, context_id: str, before_seq: int, bounds: PageBounds
) -> LogPiece | None:
    """Read what is here of the newest messages below a seq; None if there is no such context."""
    with one_moment(connection):
        key, last_seq = connection.execute(KEY_AND_LAST_SEQ, (id_bytes(context_id),)).get or (0, 0)
        last = min(before_seq - 1, last_seq)
        first = max(last - bounds.rows + 1, 1)
        return _piece(connection, key, (first, last), bounds, _BACKWARD) if key else None


def _piece(
    connection: apsw.Connection, key: int, between: Range, bounds: PageBounds, sql: str
) -> LogPiece:
    """Read rows up to the first that exceeds *bounds*, including it."""
    cursor = connection.execute(sql, (key, *between))
    rows, ends_early = _taken(cursor, MessageRow._make, bounds)
    first, last = between
    if ends_early:
        first, last = (rows[-1].seq, last) if sql is _BACKWARD else (first, rows[-1].seq)
    there = sorted((row.seq, row.seq) for row in rows)
    return LogPiece(rows, missing([(first, last)], there), *between, ends_early)


def _taken(
    cursor: apsw.Cursor, make: Callable[[Iterable[Any]], R], bounds: PageBounds
) -> tuple[list[R], bool]:
    """Return rows up to the first that exceeds *bounds*, and whether there was one."""
    rows: list[R] = []
    left = bounds.bytes
    try:
        for row in map(make, cursor):
            rows.append(row)
            left -= size(row)
            if left < 0 or len(rows) > bounds.rows:
                return rows, True
    finally:
        cursor.close()  # it holds a snapshot of the database
    return rows, False


def replay(
    connection: apsw.Connection,
    context_id: str,
    after: int,
    to: int,
    bounds: PageBounds,
    *,
    with_bodies: bool,
) -> Replay | None:
    """Read what is here of the changes between two versions; None if there are no such versions."""
    with one_moment(connection):
        stored_id = id_bytes(context_id)
        key, version = connection.execute(VERSION, (stored_id,)).get or (0, 0)
        through = min(to, version)
        if through <= after:
            return None
        ends = [seq_at(at, compaction_at(connection, key, at)) for at in (after, through)]
        log = LOG if with_bodies else _HEADS
        piece = _piece(connection, key, (ends[0] + 1, ends[1]), bounds, log)
        cursor = connection.execute(COMPACTIONS, (stored_id, after, through, bounds.rows + 1))
        rewrites, ends_early = _taken(cursor, CompactionRow._make, bounds)
        return Replay(piece, rewrites, rewrites[-1].version if ends_early else through)


# --- writes, each in one durable transaction ------------------------------------------------------


def trim_some(connection: apsw.Connection, keys: Sequence[int], keep: int) -> tuple[int, int]:
    """
    Trim some messages that are archived and neither new nor in the window.

    What stays is decided from the current state: the newest *keep* messages, those that the window
    needs, and those that are not archived. Returns how many of the contexts *keys* are done, and
    how many messages were trimmed.

    Raises:
        CommitFailed: Certainly nothing was written.
        CommitUnknown: It may have been written.
    """
    done = rows = 0
    left_bytes = PIECE_BYTES
    with transaction(connection):
        archived = state(connection).archived_place
        for key in keys[:PIECE_CONTEXTS]:
            bounds = PageBounds(PIECE_ROWS - rows, left_bytes)
            places, length, is_done = _trimmable(connection, key, keep, archived, bounds)
            connection.executemany(_EMPTY, places)
            rows += len(places)
            left_bytes -= length
            if not is_done:
                break
            done += 1
        if rows:
            connection.execute(_NOTE_TRIMS)
    return done, rows


def _trimmable(
    connection: apsw.Connection, key: int, keep: int, archived: int, bounds: PageBounds
) -> tuple[list[tuple[int]], int, bool]:
    """Return the places to trim, their bytes, and whether that is all of the context."""
    places: list[tuple[int]] = []
    length = 0
    last_seq = connection.execute(_LAST_SEQ, (key,)).get
    if last_seq is None:
        return places, length, True
    window = connection.execute(WINDOW, (key,)).get
    # Search only between the messages to keep, so that these are not read each time.
    for between in missing([(1, last_seq - keep)], needs(window, last_seq).log):
        if len(places) >= bounds.rows or length >= bounds.bytes:
            return places, length, False
        wanted = (key, *between, archived, bounds.rows - len(places))
        rows: list[tuple[Any, ...]] = connection.execute(_IN_RANGE, wanted).fetchall()
        for place, size_of_body in rows:
            places.append((place,))
            length += size_of_body
            if length >= bounds.bytes:
                return places, length, False
    return places, length, len(places) < bounds.rows


def note_trimmed(connection: apsw.Connection, through: int) -> None:
    """Record that the contexts with rows up to the place *through* were trimmed."""
    with transaction(connection):
        connection.execute(_NOTE_TRIMMED, (through, through))
