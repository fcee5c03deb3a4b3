"""What the writer's thread does: one transaction per call."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import apsw

from fastpaca.store.base import CommitStale
from fastpaca.store.sqlite.errors import judged
from fastpaca.store.sqlite.rows import (
    CLEAR_CONTEXT_ID,
    DELETE_LONG_ID,
    DELETE_SHORT_ID,
    INSERT_ERASURE,
    Rows,
    id_bytes,
    is_short,
)

PIECE_ROWS: Final = 1000
"""The most rows that a transaction erases or deletes, so that commits don't wait for big purges."""

PIECE_BYTES: Final = 4 * 1024 * 1024
"""The most bytes that a transaction erases; each of their pages is written to the log."""

# --- erasing the content of purged contexts ---

_ANY_ERASURE: Final = "SELECT context FROM erasures LIMIT 1"

# A trimmed message has no body left, but perhaps a stored response.
_MESSAGES: Final = """
SELECT place, coalesce(length(body), 0) FROM messages WHERE context = ? LIMIT ?
"""

_SYNTHETICS: Final = "SELECT place, length(body) FROM synthetics WHERE context = ? LIMIT ?"

_COMPACTIONS: Final = "SELECT place, length(window) FROM compactions WHERE context = ? LIMIT ?"

_CONFIGURATION: Final = "SELECT place, 0 FROM configurations WHERE context = ? LIMIT ?"

_METADATA: Final = "SELECT place, length(body) FROM metadata WHERE context = ? LIMIT ?"

_ERASE_ANSWER: Final = """
UPDATE answers SET context = NULL, key_hash = NULL, fingerprint = NULL, answer = NULL
WHERE place = ? AND NOT EXISTS (SELECT 1 FROM contexts WHERE key = answers.context)
"""

_ERASE_MESSAGE: Final = """
UPDATE messages SET context = NULL, seq = NULL, version = NULL, at_us = NULL, origin = NULL,
    usage = NULL, revises = NULL, counts = NULL, body = NULL
WHERE place = ?
"""

_ERASE_SYNTHETIC: Final = """
UPDATE synthetics SET context = NULL, version = NULL, position = NULL, at_us = NULL, origin = NULL,
    counts = NULL, body = NULL
WHERE place = ?
"""

_ERASE_COMPACTION: Final = """
UPDATE compactions SET context = NULL, version = NULL, strategy = NULL, from_seq = NULL,
    to_seq = NULL, tokens_before = NULL, tokens_after = NULL, at_us = NULL, window = NULL
WHERE place = ?
"""

_ERASE_CONFIGURATION: Final = """
UPDATE configurations SET context = NULL, token_budget = NULL, trigger_ratio = NULL,
    token_factor = NULL, policy = NULL, forked_from = NULL
WHERE place = ?
"""

_ERASE_METADATA: Final = "UPDATE metadata SET context = NULL, body = NULL WHERE place = ?"

# Of tables without content, the rows are deleted; see the first migration.
_REVISIONS: Final = "SELECT context, place, seq, 0 FROM revisions WHERE context = ? LIMIT ?"

_DELETE_REVISION: Final = "DELETE FROM revisions WHERE context = ? AND place = ? AND seq = ?"

_MESSAGE_IDS: Final = """
SELECT context, id_hash, place, 0 FROM message_ids WHERE context = ? + (1 << 40) LIMIT ?
"""

_DELETE_MESSAGE_ID: Final = """
DELETE FROM message_ids WHERE context = ? AND id_hash = ? AND place = ?
"""

# --- removing forks that were not finished ---

_FORMING: Final = """
SELECT key FROM contexts
WHERE key = (SELECT context FROM ids WHERE id = ?) AND revision = ? AND status = 2
"""

_ALL_FORMING: Final = "SELECT key, id FROM contexts JOIN context_ids USING (key) WHERE status = 2"

_DELETE_FORMING: Final = "DELETE FROM contexts WHERE key = ?"

_END_ERASURE: Final = "DELETE FROM erasures WHERE context = ?"

# Queries for the keys of a context's rows and their bytes, and what to run for these keys.
_CONTENT: Final = (
    (_MESSAGES, (_ERASE_ANSWER, _ERASE_MESSAGE)),
    (_COMPACTIONS, (_ERASE_ANSWER, _ERASE_COMPACTION)),
    (_SYNTHETICS, (_ERASE_SYNTHETIC,)),
    (_CONFIGURATION, (_ERASE_CONFIGURATION,)),
    (_METADATA, (_ERASE_METADATA,)),
    (_MESSAGE_IDS, (_DELETE_MESSAGE_ID,)),
    (_REVISIONS, (_DELETE_REVISION,)),
)

# --- forgetting stored responses ---

# Rows are in order of arrival. If the clock was set back, an old one may be after a newer one, and
# is deleted after that.
_FORGET_ANSWERS: Final = """
DELETE FROM answers
WHERE place IN (SELECT place FROM answers ORDER BY place LIMIT ?1) AND at_us < ?2
RETURNING place
"""

# A trimmed message kept its context only for its stored response.
_EMPTY_TRIMMED: Final = """
UPDATE messages SET context = NULL WHERE place = ? AND seq IS NULL AND context IS NOT NULL
"""


@contextmanager
def transaction(connection: apsw.Connection) -> Iterator[None]:
    """
    Write in one durable transaction.

    Raises:
        CommitFailed: Certainly nothing was written.
        CommitUnknown: It may have been written.
    """
    at_commit = False
    try:
        connection.execute("BEGIN IMMEDIATE")
        yield
        at_commit = True
        connection.execute("COMMIT")
    except BaseException as error:
        raise judged(connection, error, at_commit=at_commit) from error


def commit(connection: apsw.Connection, statements: Sequence[tuple[str, Rows]]) -> None:
    """
    Run *statements*, each for all of its rows, every one of which must change exactly one row.

    Rows are written one by one (`executemany`). Measurements show that many rows per statement are
    not faster: short steps rarely lose the interpreter's lock to the event loop.

    Raises:
        CommitFailed: Certainly nothing was written.
        CommitUnknown: It may have been written.
    """
    with transaction(connection):
        changes = connection.total_changes()
        for statement, rows in statements:
            connection.executemany(statement, rows)
            changes += len(rows)
        if connection.total_changes() != changes:
            raise CommitStale("a revision is not the expected one, or an id or a key is taken")


def drop(connection: apsw.Connection, context_id: str, revision: int) -> bool:
    """
    Remove a forming context at *revision*, and return whether there was one.

    What it holds is erased by `erase_some`.

    Raises:
        CommitFailed: Certainly nothing was written.
        CommitUnknown: It may have been written.
    """
    with transaction(connection):
        key = connection.execute(_FORMING, (id_bytes(context_id), revision)).get
        if key is None:
            return False
        _remove(connection, key, context_id)
    return True


def drop_forming(connection: apsw.Connection) -> None:
    """
    Remove all forming contexts: the process that copied them is gone.

    Raises:
        CommitFailed: Certainly nothing was written.
        CommitUnknown: It may have been written.
    """
    forming: list[tuple[Any, ...]] = connection.execute(_ALL_FORMING).fetchall()
    if not forming:
        return
    with transaction(connection):
        for key, name in forming:
            _remove(connection, key, name.decode())


def _remove(connection: apsw.Connection, key: int, context_id: str) -> None:
    stored_id = id_bytes(context_id)
    connection.execute(DELETE_SHORT_ID if is_short(stored_id) else DELETE_LONG_ID, (stored_id,))
    connection.execute(_DELETE_FORMING, (key,))
    connection.execute(INSERT_ERASURE, (key,))
    connection.execute(CLEAR_CONTEXT_ID, (key,))


def erase_some(connection: apsw.Connection) -> bool:
    """
    Erase some content of purged contexts, and return whether there may be more.

    Raises:
        CommitFailed: Certainly nothing was written.
        CommitUnknown: It may have been written.
    """
    with transaction(connection):
        key = connection.execute(_ANY_ERASURE).get
        if key is None:
            return False
        for query, statements in _CONTENT:
            rows = _piece(connection, query, key)
            if rows:
                for statement in statements:
                    connection.executemany(statement, rows)
                break
        else:
            connection.execute(_END_ERASURE, (key,))
    return True


def _piece(connection: apsw.Connection, query: str, key: int) -> list[tuple[Any, ...]]:
    """Return the keys of as many rows as one transaction should erase."""
    keys: list[tuple[Any, ...]] = []
    size = 0
    rows: Iterable[tuple[Any, ...]] = connection.execute(query, (key, PIECE_ROWS)).fetchall()
    for *row_key, length in rows:
        keys.append(tuple(row_key))
        size += length
        if size >= PIECE_BYTES:
            break
    return keys


def forget_some(connection: apsw.Connection, before_us: int) -> bool:
    """
    Delete some stored responses older than *before_us*, and return whether there may be more.

    Raises:
        CommitFailed: Certainly nothing was written.
        CommitUnknown: It may have been written.
    """
    with transaction(connection):
        places = connection.execute(_FORGET_ANSWERS, (PIECE_ROWS, before_us)).fetchall()
        connection.executemany(_EMPTY_TRIMMED, places)
    return bool(places)
