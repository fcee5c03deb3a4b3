"""What the threads of readers do: each call sees one moment, in one short read transaction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

import apsw

from fastpaca.store.base import AnswerRow, ContextRow, MessageRow, Snapshot, SyntheticRow
from fastpaca.store.snapshots import needs, purged_row
from fastpaca.store.sqlite_rows import LONG_ID_BYTES, Numbers, id_bytes, id_hash, key_hash

_KEYS: Final = "SELECT id, context FROM ids WHERE id IN (SELECT value FROM carray(?))"

# As the fields of ContextRow behind the id.
_STATE: Final = """
SELECT key, status, token_budget, trigger_ratio, policy, metadata, version, last_seq, revision,
    commit_id, created_at_us, updated_at_us, spoken_at_us
FROM states WHERE key = (SELECT context FROM ids WHERE id = ?)
"""

_IS_PURGED: Final = "SELECT 1 FROM purged WHERE id_hash = ?"

_WINDOW: Final = """
SELECT window FROM compactions WHERE context = ? ORDER BY version DESC LIMIT 1
"""

# As the fields of MessageRow.
_LOG: Final = """
SELECT seq, version, body, counts, at_us FROM messages
WHERE context = ? AND seq BETWEEN ? AND ? ORDER BY seq
"""

# As the fields of SyntheticRow.
_REPLACEMENT: Final = """
SELECT version, position, body, counts, at_us FROM synthetics
WHERE context = ? AND version = ? AND position BETWEEN ? AND ? ORDER BY position
"""

_PAGE: Final = """
SELECT seq, version, body, counts, at_us FROM messages
WHERE context = (SELECT context FROM ids WHERE id = ?) AND seq BETWEEN ? AND ?
ORDER BY seq LIMIT ?
"""

_PAGE_BEFORE: Final = """
SELECT seq, version, body, counts, at_us FROM messages
WHERE context = (SELECT context FROM ids WHERE id = ?) AND seq < ?
ORDER BY seq DESC LIMIT ?
"""

# Both tables of ids are walked in order and merged: a page costs the same wherever it begins.
_STATES: Final = """
WITH page AS MATERIALIZED (
    SELECT id, context FROM ids WHERE id > ? AND id >= ? AND id < ? ORDER BY id LIMIT ?
)
SELECT page.id, status, token_budget, trigger_ratio, policy, metadata, version, last_seq, revision,
    commit_id, created_at_us, updated_at_us, spoken_at_us
FROM page CROSS JOIN states ON states.key = page.context ORDER BY page.id
"""

# The answers of a purged context are gone from the moment of the purge, and erased after it.
_ANSWERS: Final = """
SELECT answers.key_hash, answers.fingerprint, answers.answer, answers.at_us
FROM answers JOIN contexts ON contexts.key = answers.context
WHERE answers.key_hash IN (SELECT value FROM carray(?))
"""

_IS_ERASURE_LEFT: Final = "SELECT EXISTS (SELECT 1 FROM erasures)"

_LAST_KEY: Final = """
SELECT max(
    (SELECT coalesce(max(key), 0) FROM contexts),
    (SELECT coalesce(max(context), 0) FROM erasures)
)
"""

_LAST_PLACE: Final = """
SELECT max(
    (SELECT coalesce(max(place), 0) FROM messages),
    (SELECT coalesce(max(place), 0) FROM compactions)
)
"""


class Bounds(NamedTuple):
    """Where a page of messages ends: after so many, or at the one that makes it too big."""

    messages: int
    bytes: int


def numbers(connection: apsw.Connection) -> Numbers:
    """Find the last numbers that were given, so that none is given twice."""
    return Numbers(connection.execute(_LAST_KEY).get, connection.execute(_LAST_PLACE).get)


def is_erasure_left(connection: apsw.Connection) -> bool:
    """Tell whether content of purged contexts is still to be erased."""
    return bool(connection.execute(_IS_ERASURE_LEFT).get)


def keys(connection: apsw.Connection, context_ids: Sequence[str]) -> dict[str, int]:
    """Look up the keys of contexts, as far as they exist."""
    by_bytes = {id_bytes(context_id): context_id for context_id in context_ids}
    found = connection.execute(_KEYS, (_array(by_bytes),))
    return {by_bytes[stored_id]: key for stored_id, key in found}


def load(connection: apsw.Connection, context_id: str) -> tuple[int, Snapshot] | None:
    """Read what rebuilding the state of a context needs, and its key."""
    connection.execute("BEGIN")
    try:
        found = connection.execute(_STATE, (id_bytes(context_id),)).get
        if found is None:
            return _purged(connection, context_id)
        key, *state = found
        return key, _snapshot(connection, key, ContextRow(context_id, *state))
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _purged(connection: apsw.Connection, context_id: str) -> tuple[int, Snapshot] | None:
    if connection.execute(_IS_PURGED, (id_hash(context_id),)).get is None:
        return None
    return 0, Snapshot(purged_row(context_id), None, [], [])


def _snapshot(connection: apsw.Connection, key: int, row: ContextRow) -> Snapshot:
    window: bytes | None = connection.execute(_WINDOW, (key,)).get
    needed = needs(window, row.last_seq)
    log = connection.executemany(_LOG, [(key, *between) for between in needed.log])
    messages = list(map(MessageRow._make, log))
    replacements = connection.executemany(
        _REPLACEMENT, [(key, *between) for between in needed.replacements]
    )
    return Snapshot(row, window, messages, list(map(SyntheticRow._make, replacements)))


def page(
    connection: apsw.Connection, context_id: str, from_seq: int, to_seq: int, bounds: Bounds
) -> list[MessageRow]:
    """Read the log forward."""
    found = connection.execute(_PAGE, (id_bytes(context_id), from_seq, to_seq, bounds.messages))
    return _bounded(found, bounds)


def page_before(
    connection: apsw.Connection, context_id: str, before_seq: int, bounds: Bounds
) -> list[MessageRow]:
    """Read the newest messages below a seq, ascending."""
    found = connection.execute(_PAGE_BEFORE, (id_bytes(context_id), before_seq, bounds.messages))
    return _bounded(found, bounds)[::-1]


def _bounded(found: apsw.Cursor, bounds: Bounds) -> list[MessageRow]:
    """Take messages until they are too big together; the first one is always taken."""
    rows: list[MessageRow] = []
    size = 0
    for values in found:
        row = MessageRow._make(values)
        size += len(row.body)
        if rows and size > bounds.bytes:
            found.close()  # it holds a snapshot of the database
            break
        rows.append(row)
    return rows


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
    """Give the smallest bytes that are greater than all that begins with *prefix* (UTF-8)."""
    if not prefix:
        return b"\xff"
    return prefix[:-1] + bytes([prefix[-1] + 1])


def _array(values: Iterable[bytes]) -> Any:
    """Bind many values as one: a fraction of the work of a statement for each."""
    return apsw.carray(tuple(values), flags=apsw.SQLITE_CARRAY_BLOB)


def answers(connection: apsw.Connection, wanted: Iterable[str]) -> dict[str, AnswerRow]:
    """Look up stored answers, at least one."""
    by_hash = {key_hash(key): key for key in wanted}
    found = connection.execute(_ANSWERS, (_array(by_hash),))
    return {
        by_hash[hashed]: AnswerRow(by_hash[hashed], fingerprint, answer, at_us)
        for hashed, fingerprint, answer, at_us in found
    }
