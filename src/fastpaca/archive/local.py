"""
What a node with an archive reads from its own database: what is archived, and what to archive or
erase. Places grow in the order of commits, so one number says what is archived of all contexts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import apsw

from fastpaca.ranges import Range
from fastpaca.store.base import MessageRow, PageBounds
from fastpaca.store.pages import size
from fastpaca.store.sqlite.reads import LAST_PLACE, one_moment
from fastpaca.store.sqlite.rows import CLEAR_CONTEXT_ID, id_bytes
from fastpaca.store.sqlite.writes import transaction

SURVEY_ROWS: Final = 200_000
"""How many waiting rows to examine to estimate the lag of the archive."""

ERASURES_AT_ONCE: Final = 100

_STATE: Final = "SELECT identity, archived_place, trimmed_place, has_trimmed FROM archive"

# As the fields of Logged.
_PENDING: Final = """
SELECT m.place, m.context, i.id, m.seq, m.version, m.body, m.counts, m.at_us, m.origin,
    m.usage, m.revises
FROM messages AS m CROSS JOIN contexts AS c ON c.key = m.context
    CROSS JOIN context_ids AS i ON i.key = c.key
WHERE m.place > ? AND m.seq IS NOT NULL AND c.status <> 2
    AND NOT EXISTS (SELECT 1 FROM archive_halts AS h WHERE h.context = m.context)
ORDER BY m.place LIMIT ?
"""

# The same of a halted context, up to the place of the others.
_HALTED: Final = """
SELECT m.place, m.context, i.id, m.seq, m.version, m.body, m.counts, m.at_us, m.origin,
    m.usage, m.revises
FROM archive_halts AS h CROSS JOIN context_ids AS i ON i.key = h.context
    CROSS JOIN messages AS m INDEXED BY messages_by_seq
    ON m.context = h.context AND m.seq > h.archived_seq
WHERE h.context = ? AND m.place <= (SELECT archived_place FROM archive)
ORDER BY m.seq LIMIT ?
"""

_HALTS: Final = "SELECT context FROM archive_halts"

_NOTE_IDENTITY: Final = """
UPDATE archive SET identity = ?, archived_place = 0, trimmed_place = 0 WHERE NOT has_trimmed
"""

_CLEAR_HALTS: Final = "DELETE FROM archive_halts"

_NOTE_ARCHIVED: Final = "UPDATE archive SET archived_place = ? WHERE identity = ?"

_HALT: Final = """
INSERT INTO archive_halts VALUES (?, ?)
ON CONFLICT (context) DO UPDATE SET archived_seq = excluded.archived_seq
"""

_GO_ON: Final = """
DELETE FROM archive_halts WHERE context = ?1 AND NOT EXISTS (
    SELECT 1 FROM messages WHERE context = ?1 AND seq > archived_seq
        AND place <= (SELECT archived_place FROM archive)
)
"""

_SURVEY: Final = """
SELECT coalesce(sum(rows), 0), count(*), coalesce(max(rows), 0) FROM (
    SELECT count(*) AS rows FROM (
        SELECT context FROM messages WHERE place > ?1 AND seq IS NOT NULL LIMIT ?2
    ) GROUP BY context
)
"""

_OLDEST: Final = """
SELECT at_us FROM messages WHERE place > ? AND seq IS NOT NULL ORDER BY place LIMIT 1
"""

_COUNT_HALTS: Final = "SELECT count(*) FROM archive_halts"

_COUNT_LOG: Final = """
SELECT count(*), coalesce(sum(place > (SELECT archived_place FROM archive)), 0)
FROM messages INDEXED BY messages_by_seq
WHERE context IS NOT NULL AND context > ?1 AND context <= ?2 AND seq > 0 AND place <= ?3
"""

_LAST_KEY: Final = "SELECT coalesce(max(key), 0) FROM contexts"

_COUNT_OF: Final = """
SELECT count(*) FROM messages
WHERE context = (SELECT context FROM ids WHERE id = ?) AND seq > 0
"""

_ERASURES: Final = """
SELECT e.context, i.id FROM archive_erasures AS e JOIN context_ids AS i ON i.key = e.context LIMIT ?
"""

_IS_TO_ERASE: Final = """
SELECT 1 FROM archive_erasures AS e JOIN context_ids AS i ON i.key = e.context WHERE i.id = ?
"""

_END_HALT: Final = "DELETE FROM archive_halts WHERE context = ?"

_END_ERASURE: Final = "DELETE FROM archive_erasures WHERE context = ?"


class State(NamedTuple):
    """The row of the table `archive`."""

    identity: bytes | None
    archived_place: int
    trimmed_place: int
    has_trimmed: bool


class Logged(NamedTuple):
    """A message to archive, with its place, and the key and the id of its context."""

    place: int
    key: int
    context_id: str
    row: MessageRow


class Pending(NamedTuple):
    """
    The next messages to archive.

    Attributes:
        rows: The messages, in the order of places.
        through: The place up to which there are no others.
        has_more: Whether there may be more after it.
    """

    rows: list[Logged]
    through: int
    has_more: bool


class Survey(NamedTuple):
    """
    The lag of the archive, by its oldest `SURVEY_ROWS` waiting rows.

    Attributes:
        rows: How many messages wait.
        contexts: The number of their contexts.
        lag: The most waiting messages of one context.
        oldest_us: When the oldest arrived; None if none waits.
        halted_contexts: How many contexts are no longer archived.
    """

    rows: int
    contexts: int
    lag: int
    oldest_us: int | None
    halted_contexts: int


# --- reads ----------------------------------------------------------------------------------------


def state(connection: apsw.Connection) -> State:
    """Read the state of the archive."""
    identity, archived, trimmed, has_trimmed = connection.execute(_STATE).get
    return State(identity, archived, trimmed, bool(has_trimmed))


def pending(connection: apsw.Connection, bounds: PageBounds) -> Pending:
    """Read the next messages for the archive; at least one, if there is one."""
    with one_moment(connection):
        archived = state(connection).archived_place
        rows, has_more = _logged(connection, _PENDING, archived, bounds)
        last: int = rows[-1].place if has_more else connection.execute(LAST_PLACE).get
        return Pending(rows, last, has_more)


def halted(connection: apsw.Connection, key: int, bounds: PageBounds) -> list[Logged]:
    """Read the next messages of a halted context that are not archived."""
    return _logged(connection, _HALTED, key, bounds)[0]


def _logged(
    connection: apsw.Connection, sql: str, first: int, bounds: PageBounds
) -> tuple[list[Logged], bool]:
    rows: list[Logged] = []
    left = bounds.bytes
    cursor = connection.execute(sql, (first, bounds.rows))
    try:
        for place, key, name, *fields in cursor:
            rows.append(Logged(place, key, name.decode(), MessageRow._make(fields)))
            left -= size(rows[-1].row)
            if left <= 0:
                return rows, True
    finally:
        cursor.close()
    return rows, len(rows) >= bounds.rows


def halts(connection: apsw.Connection) -> list[int]:
    """Return the keys of halted contexts."""
    return [key for (key,) in connection.execute(_HALTS)]


def survey(connection: apsw.Connection) -> Survey:
    """Return the lag of the archive."""
    with one_moment(connection):
        archived = state(connection).archived_place
        rows, contexts, lag = connection.execute(_SURVEY, (archived, SURVEY_ROWS)).get
        oldest_us = connection.execute(_OLDEST, (archived,)).get
        return Survey(rows, contexts, lag, oldest_us, connection.execute(_COUNT_HALTS).get)


def ends(connection: apsw.Connection) -> tuple[int, int]:
    """Return the last key of a context and the last place."""
    with one_moment(connection):
        return connection.execute(_LAST_KEY).get, connection.execute(LAST_PLACE).get


def count_log(connection: apsw.Connection, after: int, through: int, place: int) -> tuple[int, int]:
    """
    Return how many messages there are, and how many of them are not archived.

    This counts contexts with keys above *after* and up to *through*, up to a *place*.
    """
    counts: tuple[int, int] = connection.execute(_COUNT_LOG, (after, through, place)).get
    return counts


def count_of(connection: apsw.Connection, context_id: str) -> int:
    """Return how many messages of a context are here."""
    rows: int = connection.execute(_COUNT_OF, (id_bytes(context_id),)).get
    return rows


def erasures(connection: apsw.Connection) -> list[tuple[int, str]]:
    """Return key and id of some purged contexts that are still to be erased in the archive."""
    cursor = connection.execute(_ERASURES, (ERASURES_AT_ONCE,))
    return [(key, name.decode()) for key, name in cursor]


def is_to_erase(connection: apsw.Connection, context_id: str) -> bool:
    """Return whether a purged context is still to be erased in the archive."""
    return connection.execute(_IS_TO_ERASE, (context_id.encode(),)).get is not None


# --- writes, each in one durable transaction ------------------------------------------------------


def note_identity(connection: apsw.Connection, identity: bytes) -> None:
    """Record the *identity* of a new archive, unless messages were trimmed."""
    with transaction(connection):
        connection.execute(_NOTE_IDENTITY, (identity,))
        connection.execute(_CLEAR_HALTS)


def note_archived(
    connection: apsw.Connection, identity: bytes, through: int, conflicts: Iterable[Range]
) -> None:
    """
    Record that everything up to the place *through* is in the archive *identity*.

    The exception are halted contexts: *conflicts* are their keys, each with the last seq that the
    archive and the store have in common.
    """
    with transaction(connection):
        connection.executemany(_HALT, list(conflicts))
        connection.execute(_NOTE_ARCHIVED, (through, identity))


def note_tried(
    connection: apsw.Connection, key: int, archived_seq: int | None, *, goes_on: bool
) -> None:
    """Record the progress of a halted context, and resume it if it has caught up with the rest."""
    with transaction(connection):
        if archived_seq is not None:
            connection.execute(_HALT, (key, archived_seq))
        if goes_on:
            connection.execute(_GO_ON, (key,))


def end_erasures(connection: apsw.Connection, keys: Sequence[int]) -> None:
    """Forget the ids of purged contexts, which are now erased in the archive."""
    with transaction(connection):
        for statement in (CLEAR_CONTEXT_ID, _END_HALT, _END_ERASURE):
            connection.executemany(statement, [(key,) for key in keys])
