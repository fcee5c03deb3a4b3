"""
Changes as rows for SQL: a commit is one statement per table, for any number of contexts.

Every statement has the contexts of a batch in the order of their stored ids, so that two nodes lock
common rows in the same order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import NamedTuple

from msgspec.structs import astuple, replace

from fastpaca.store.base import COMMIT_ID_BYTES, Change, CommitStale, ContextRow, IdempotencyRecord
from fastpaca.store.postgres import statements as sql
from fastpaca.store.postgres.statements import COMMIT_IDS_KEPT
from fastpaca.store.snapshots import purged_row

Rows = list[tuple[object, ...]]


def hashed(text: str) -> bytes:
    """Return the hash of an id or a key; collisions are practically impossible."""
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


class Witness(NamedTuple):
    """What shows whether a batch was committed, in one of its contexts."""

    expected_revision: int
    commit_id: bytes
    insertion: tuple[object, ...] | None  # as the batch would insert the context, if it is new


class PostgresBatch:
    """
    What one commit writes, in the order of the stored ids.

    Attributes:
        ids: The ids of all contexts, by their stored form.
        updates: Rows for `UPDATE_CONTEXTS`.
        insertions: Rows for `INSERT_CONTEXTS`.
        records: Rows for `INSERT_ANSWERS`, in the order of their keys.
        content: Statements with their rows, all of which must be inserted.
        purges: The stored ids of purged contexts.
        keys: The ids of contexts with idempotency records, by the hash of the key.
    """

    def __init__(self, changes: Iterable[Change]) -> None:
        self._changes = sorted(
            ((hashed(change.row.id), change) for change in changes), key=lambda pair: pair[0]
        )
        self.ids = {context_id: change.row.id for context_id, change in self._changes}
        self.updates: Rows = []
        self.insertions: Rows = []
        self.purges: list[bytes] = []
        self.keys: dict[bytes, str] = {}
        messages: Rows = []
        synthetics: Rows = []
        compactions: Rows = []
        self.records: Rows = []
        for context_id, change in self._changes:
            self._add_state(context_id, change)
            if change.purges:
                self.purges.append(context_id)
                continue
            assert not change.restored, "nothing is ever trimmed here"
            id_hashes = {row.place: row.id_hash for row in change.ids}
            messages += [(context_id, *row, id_hashes.get(row.seq)) for row in change.messages]
            synthetics += [(context_id, *row) for row in change.synthetics]
            compactions += [(context_id, *row) for row in change.compactions]
            self.records += [self._record(context_id, change, row) for row in change.records]
        self.records.sort()
        everything = (
            (sql.INSERT_MESSAGES, messages),
            (sql.INSERT_SYNTHETICS, synthetics),
            (sql.INSERT_COMPACTIONS, compactions),
        )
        self.content = [(statement, rows) for statement, rows in everything if rows]

    def _add_state(self, context_id: bytes, change: Change) -> None:
        row = _cleared(change.row) if change.purges else change.row
        if change.expected_revision == 0:
            self.insertions.append(_insertion(context_id, row))
            return
        configured = change.config_changed or change.purges
        described = change.metadata_changed or change.purges
        self.updates.append(
            (
                context_id,
                change.expected_revision,
                row.status,
                row.token_budget if configured else None,
                row.trigger_ratio if configured else None,
                row.token_factor if configured else None,
                row.policy if configured else None,
                row.metadata if described else None,
                row.version,
                row.last_seq,
                row.revision,
                row.commit_id,
                row.created_at_us,
                row.updated_at_us,
                row.spoken_at_us,
                row.usage,
            )
        )

    def _record(
        self, context_id: bytes, change: Change, record: IdempotencyRecord
    ) -> tuple[object, ...]:
        key_hash = hashed(record.key)
        if key_hash in self.keys:
            both = {self.keys[key_hash], change.row.id}
            raise CommitStale("a key is used twice", frozenset(both))
        self.keys[key_hash] = change.row.id
        return key_hash, context_id, record.fingerprint, record.response, record.at_us

    def witnesses(self) -> dict[bytes, Witness]:
        """Return for each stored id what shows whether the batch was committed."""
        return {
            context_id: Witness(
                change.expected_revision,
                change.row.commit_id,
                None if change.expected_revision else _insertion(context_id, change.row),
            )
            for context_id, change in self._changes
        }


def _cleared(row: ContextRow) -> ContextRow:
    """Return the row that is kept of a purged context."""
    return replace(purged_row(row.id), revision=row.revision, commit_id=row.commit_id)


def _insertion(context_id: bytes, row: ContextRow) -> tuple[object, ...]:
    name, *state = astuple(row)
    return (context_id, None if row.status == "purged" else name, *state)


def columns(rows: Rows) -> Iterable[Sequence[object]]:
    """Transpose *rows*, since PostgreSQL accepts many rows as one array per column."""
    return zip(*rows, strict=True)


def pieces(statement: sql.Rows, rows: Rows) -> Iterator[tuple[str, list[object]]]:
    """
    Divide *rows* into pieces; yield a statement for each, with its parameters.

    Each piece is padded to a power of two, so that few statements have to be prepared. The padding
    is its last row without large values, which is not inserted again.
    """
    for start in range(0, len(rows), statement.rows_max):
        piece = rows[start : start + statement.rows_max]
        count = 1 << (len(piece) - 1).bit_length()
        last = piece[-1]
        filling = last[: statement.keys] + tuple(
            b"" if isinstance(value, bytes) else value for value in last[statement.keys :]
        )
        whole = [*piece, *[filling] * (count - len(piece))]
        yield _values(statement, count), [value for row in whole for value in row]


@cache
def _values(statement: sql.Rows, count: int) -> str:
    return statement.values(count)


def is_landed(witness: Witness, revision: int, commit_ids: bytes) -> bool | None:
    """
    Return whether *revision* and *commit_ids* of a context include the commit of *witness*.

    Each revision was written by one commit, whose id is kept for some revisions; None if it was too
    long ago.
    """
    commits_since = revision - witness.expected_revision - 1
    if commits_since < 0:
        return False
    if commits_since >= COMMIT_IDS_KEPT:
        return None
    start = commits_since * COMMIT_ID_BYTES
    return commit_ids[start : start + COMMIT_ID_BYTES] == witness.commit_id
