"""What the threads of readers do: each call sees one moment, in one short read transaction."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

import apsw

from fastpaca.store.base import (
    ChangesPage,
    CompactionRow,
    ContextRow,
    Diff,
    Have,
    IdempotencyRecord,
    MessageRow,
    PageBounds,
    Snapshot,
    SyntheticRow,
)
from fastpaca.store.pages import R, bounded, changes_page
from fastpaca.store.snapshots import (
    Needs,
    dated,
    needs_besides,
    needs_of,
    purged_diff,
    purged_row,
    row_at,
    seq_at,
)
from fastpaca.store.sqlite.rows import LONG_ID_BYTES, Numbers, id_bytes, id_hash, key_hash

_KEYS: Final = "SELECT id, context FROM ids WHERE id IN (SELECT value FROM carray(?))"

# As the fields of ContextRow after the id.
_STATE: Final = """
SELECT key, status, token_budget, trigger_ratio, token_factor, policy, metadata, version, last_seq,
    revision, commit_id, created_at_us, updated_at_us, spoken_at_us, usage,
    forked_from
FROM states WHERE key = (SELECT context FROM ids WHERE id = ?)
"""

_REVISIONS: Final = "SELECT key, revision FROM contexts WHERE key IN (SELECT value FROM carray(?))"

_PURGED: Final = "SELECT id_hash FROM purged WHERE id_hash IN (SELECT value FROM carray(?))"

_IS_PURGED: Final = "SELECT 1 FROM purged WHERE id_hash = ?"

WINDOW: Final = """
SELECT window FROM compactions WHERE context = ? ORDER BY version DESC LIMIT 1
"""

_WINDOW_SINCE: Final = """
SELECT window FROM compactions WHERE context = ? AND version > ? ORDER BY version DESC LIMIT 1
"""

# As the fields of CompactionRow.
_COMPACTION_AT: Final = """
SELECT version, strategy, from_seq, to_seq, tokens_before, tokens_after, window, at_us
FROM compactions WHERE context = ? AND version <= ? ORDER BY version DESC LIMIT 1
"""

# As the fields of MessageRow.
LOG: Final = """
SELECT seq, version, body, counts, at_us, origin, usage, revises FROM messages
WHERE context = ? AND seq BETWEEN ? AND ? ORDER BY seq
"""

# As the fields of SyntheticRow.
_REPLACEMENT: Final = """
SELECT version, position, body, counts, at_us, origin FROM synthetics
WHERE context = ? AND version = ? AND position BETWEEN ? AND ? ORDER BY position
"""

_PAGE: Final = """
SELECT seq, version, body, counts, at_us, origin, usage, revises FROM messages
WHERE context = (SELECT context FROM ids WHERE id = ?) AND seq BETWEEN ? AND ?
ORDER BY seq LIMIT ?
"""

# The body is at the end of its row, so none of it is read.
_HEADS: Final = _PAGE.replace("body, counts", "x'', x''")

_PAGE_BEFORE: Final = """
SELECT seq, version, body, counts, at_us, origin, usage, revises FROM messages
WHERE context = (SELECT context FROM ids WHERE id = ?) AND seq < ?
ORDER BY seq DESC LIMIT ?
"""

KEY_AND_LAST_SEQ: Final = """
SELECT key, last_seq FROM contexts WHERE key = (SELECT context FROM ids WHERE id = ?)
"""

VERSION: Final = """
SELECT key, version FROM contexts WHERE key = (SELECT context FROM ids WHERE id = ?)
"""

# As the fields of CompactionRow.
COMPACTIONS: Final = """
SELECT version, strategy, from_seq, to_seq, tokens_before, tokens_after, window, at_us
FROM compactions WHERE context = (SELECT context FROM ids WHERE id = ?)
    AND version > ? AND version <= ? ORDER BY version LIMIT ?
"""

_COMPACTIONS_BEFORE: Final = """
SELECT version, strategy, from_seq, to_seq, tokens_before, tokens_after, window, at_us
FROM compactions WHERE context = (SELECT context FROM ids WHERE id = ?)
    AND version < ? ORDER BY version DESC LIMIT ?
"""

# Both tables of ids are read in order and merged, so a page costs the same wherever it begins.
_STATES: Final = """
WITH page AS MATERIALIZED (
    SELECT id, context FROM ids
    WHERE id > ? AND id >= ? AND id < ?
        AND context NOT IN (SELECT key FROM contexts WHERE status = 2)
    ORDER BY id LIMIT ?
)
SELECT page.id, status, token_budget, trigger_ratio, token_factor, policy, metadata, version,
    last_seq, revision, commit_id, created_at_us, updated_at_us, spoken_at_us, usage,
    forked_from
FROM page CROSS JOIN states ON states.key = page.context ORDER BY page.id
"""

# The stored responses of a purged context are invisible after the purge, and erased later.
_ANSWERS: Final = """
SELECT answers.key_hash, answers.fingerprint, answers.answer, answers.at_us
FROM answers JOIN contexts ON contexts.key = answers.context
WHERE answers.key_hash IN (SELECT value FROM carray(?))
"""

_ELSEWHERE: Final = "SELECT identity IS NOT NULL, has_trimmed FROM archive"

# Contexts that are forming are few.
_ABANDONED: Final = """
SELECT id FROM contexts JOIN context_ids USING (key) WHERE status = 2 AND updated_at_us < ?
"""

_IS_ERASURE_LEFT: Final = "SELECT EXISTS (SELECT 1 FROM erasures)"

_LAST_KEY: Final = """
SELECT max(
    (SELECT coalesce(max(key), 0) FROM context_ids),
    (SELECT coalesce(max(context), 0) FROM erasures)
)
"""

LAST_PLACE: Final = """
SELECT max(
    (SELECT coalesce(max(place), 0) FROM messages),
    (SELECT coalesce(max(place), 0) FROM compactions)
)
"""


class Elsewhere(NamedTuple):
    """
    What of the logs is in an archive.

    Attributes:
        has_copies: Whether there was ever an archive, so that purges must reach it.
        has_rest: Whether messages were trimmed here, so that only the archive has them.
    """

    has_copies: bool
    has_rest: bool


def numbers(connection: apsw.Connection) -> Numbers:
    """Return the last numbers in use."""
    return Numbers(connection.execute(_LAST_KEY).get, connection.execute(LAST_PLACE).get)


def elsewhere(connection: apsw.Connection) -> Elsewhere:
    """Return what an archive has of the logs."""
    return Elsewhere(*map(bool, connection.execute(_ELSEWHERE).get))


def is_erasure_left(connection: apsw.Connection) -> bool:
    """Return whether content of purged contexts is still to be erased."""
    return bool(connection.execute(_IS_ERASURE_LEFT).get)


def keys(connection: apsw.Connection, context_ids: Sequence[str]) -> dict[str, int]:
    """Return the keys of the contexts that exist."""
    by_bytes = {id_bytes(context_id): context_id for context_id in context_ids}
    cursor = connection.execute(_KEYS, (_array(by_bytes),))
    return {by_bytes[stored_id]: key for stored_id, key in cursor}


def revisions(connection: apsw.Connection, context_ids: Sequence[str]) -> dict[str, int]:
    """Return the revisions of the contexts that exist; that of purged ones is 1."""
    if not context_ids:
        return {}
    by_key = {key: context_id for context_id, key in keys(connection, context_ids).items()}
    cursor = connection.execute(_REVISIONS, (apsw.carray(array("q", by_key)),)) if by_key else ()
    revisions = {by_key[key]: revision for key, revision in cursor}
    by_hash = {id_hash(context_id): context_id for context_id in context_ids}
    purged = connection.execute(_PURGED, (_array(by_hash),))
    return revisions | {by_hash[hashed]: 1 for (hashed,) in purged}


def load(connection: apsw.Connection, context_id: str) -> tuple[int, Snapshot] | None:
    """Read what rebuilding the state of a context needs, and its key."""
    with one_moment(connection):
        row = connection.execute(_STATE, (id_bytes(context_id),)).get
        if row is None:
            return _purged(connection, context_id)
        key, *state = row
        window = connection.execute(WINDOW, (key,)).get
        return key, _snapshot(connection, key, ContextRow(context_id, *state), window)


def load_since(connection: apsw.Connection, context_id: str, have: Have) -> Diff | None:
    """Read what changed in a context since *have*."""
    with one_moment(connection):
        row = connection.execute(_STATE, (id_bytes(context_id),)).get
        if row is None:
            is_purged = _purged(connection, context_id) is not None
            return purged_diff(context_id) if is_purged else None
        key, *state = row
        row = ContextRow(context_id, *state)
        window = connection.execute(_WINDOW_SINCE, (key, have.version)).get
        return Diff(
            row, window, *_needed(connection, key, needs_besides(have, window, row.last_seq))
        )


def load_at(connection: apsw.Connection, context_id: str, version: int) -> Snapshot | None:
    """Read what rebuilding the window as it was after a version needs."""
    with one_moment(connection):
        row = connection.execute(_STATE, (id_bytes(context_id),)).get
        if row is None:
            return None
        key, *state = row
        row = ContextRow(context_id, *state)
        if not 0 <= version <= row.version:
            return None
        compaction = compaction_at(connection, key, version)
        window = None if compaction is None else compaction.window
        past = row_at(row, version, compaction)
        return dated(_snapshot(connection, key, past, window), compaction)


@contextmanager
def one_moment(connection: apsw.Connection) -> Iterator[None]:
    """Let several statements see the same state of the database."""
    connection.execute("BEGIN")
    try:
        yield
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def compaction_at(connection: apsw.Connection, key: int, version: int) -> CompactionRow | None:
    """Read the newest compaction up to *version*."""
    row = connection.execute(_COMPACTION_AT, (key, version)).get
    return None if row is None else CompactionRow._make(row)


def _purged(connection: apsw.Connection, context_id: str) -> tuple[int, Snapshot] | None:
    if connection.execute(_IS_PURGED, (id_hash(context_id),)).get is None:
        return None
    return 0, Snapshot(purged_row(context_id), None, [], [])


def _snapshot(
    connection: apsw.Connection, key: int, row: ContextRow, window: bytes | None
) -> Snapshot:
    return Snapshot(row, window, *_needed(connection, key, needs_of(row, window)))


def _needed(
    connection: apsw.Connection, key: int, needed: Needs
) -> tuple[list[MessageRow], list[SyntheticRow]]:
    log = connection.executemany(LOG, [(key, *between) for between in needed.log])
    messages = list(map(MessageRow._make, log))
    replacements = connection.executemany(
        _REPLACEMENT, [(key, *between) for between in needed.replacements]
    )
    return messages, list(map(SyntheticRow._make, replacements))


def messages(
    connection: apsw.Connection, context_id: str, from_seq: int, to_seq: int, bounds: PageBounds
) -> list[MessageRow]:
    """Read the log forward."""
    cursor = connection.execute(_PAGE, (id_bytes(context_id), from_seq, to_seq, bounds.rows))
    return _bounded(MessageRow._make, cursor, bounds)


def messages_before(
    connection: apsw.Connection, context_id: str, before_seq: int, bounds: PageBounds
) -> list[MessageRow]:
    """Read the newest messages below a seq, ascending."""
    cursor = connection.execute(_PAGE_BEFORE, (id_bytes(context_id), before_seq, bounds.rows))
    return _bounded(MessageRow._make, cursor, bounds)[::-1]


def _bounded(
    make: Callable[[Iterable[Any]], R], cursor: apsw.Cursor, bounds: PageBounds
) -> list[R]:
    try:
        return bounded(map(make, cursor), bounds.bytes)
    finally:
        cursor.close()  # it holds a snapshot of the database


def changes(
    connection: apsw.Connection,
    context_id: str,
    after_version: int,
    to_version: int,
    bounds: PageBounds,
    *,
    with_bodies: bool = True,
) -> ChangesPage:
    """Read what happened between two versions."""
    with one_moment(connection):
        stored_id = id_bytes(context_id)
        key, version = connection.execute(VERSION, (stored_id,)).get or (0, 0)
        through = min(to_version, version)
        if through <= after_version:
            return ChangesPage([], [], after_version)
        ends = [seq_at(at, compaction_at(connection, key, at)) for at in (after_version, through)]
        # One more row than wanted shows where the page ends if rows are missing.
        more = max(bounds.rows, 1) + 1
        log = _PAGE if with_bodies else _HEADS
        messages = connection.execute(log, (stored_id, ends[0] + 1, ends[1], more))
        compactions = connection.execute(COMPACTIONS, (stored_id, after_version, through, more))
        try:
            return changes_page(
                map(MessageRow._make, messages),
                map(CompactionRow._make, compactions),
                through,
                bounds,
            )
        finally:
            messages.close()
            compactions.close()


def compactions(
    connection: apsw.Connection,
    context_id: str,
    after_version: int,
    to_version: int,
    bounds: PageBounds,
) -> list[CompactionRow]:
    """Read rewrites of the window."""
    cursor = connection.execute(
        COMPACTIONS, (id_bytes(context_id), after_version, to_version, bounds.rows)
    )
    return _bounded(CompactionRow._make, cursor, bounds)


def compactions_before(
    connection: apsw.Connection, context_id: str, before_version: int, bounds: PageBounds
) -> list[CompactionRow]:
    """Read rewrites of the window, newest first."""
    cursor = connection.execute(
        _COMPACTIONS_BEFORE, (id_bytes(context_id), before_version, bounds.rows)
    )
    return _bounded(CompactionRow._make, cursor, bounds)


def contexts(connection: apsw.Connection, prefix: str, after: str, limit: int) -> list[ContextRow]:
    """Read rows in byte order of their ids."""
    first = prefix.encode()
    # An id is greater than `after` filled up with NULs exactly if it is greater than `after`.
    bounds = (after.encode().ljust(LONG_ID_BYTES, b"\0"), first, _behind(first), limit)
    return [
        ContextRow(name.rstrip(b"\0").decode(), *state)
        for name, *state in connection.execute(_STATES, bounds)
    ]


def _behind(prefix: bytes) -> bytes:
    """Return the smallest bytes greater than all texts that begin with *prefix* (UTF-8)."""
    if not prefix:
        return b"\xff"
    return prefix[:-1] + bytes([prefix[-1] + 1])


def _array(values: Iterable[bytes]) -> Any:
    """Bind many values as one parameter, which is much faster than a statement for each."""
    return apsw.carray(tuple(values), flags=apsw.SQLITE_CARRAY_BLOB)


def abandoned(connection: apsw.Connection, before_us: int) -> list[str]:
    """Return the forming contexts that were last changed before a time."""
    return [name.decode() for (name,) in connection.execute(_ABANDONED, (before_us,))]


def idempotency_records(
    connection: apsw.Connection, keys: Sequence[str]
) -> dict[str, IdempotencyRecord]:
    """Return the idempotency records of *keys*."""
    if not keys:
        return {}
    by_hash = {key_hash(key): key for key in keys}
    cursor = connection.execute(_ANSWERS, (_array(by_hash),))
    return {
        by_hash[hashed]: IdempotencyRecord(by_hash[hashed], fingerprint, answer, at_us)
        for hashed, fingerprint, answer, at_us in cursor
    }
