"""
Changes as rows for SQL, built on the event loop, so the writer's thread runs hardly any Python.

Each row changes exactly one row of a table. This is how commits are checked: if a revision is not
the expected one, or an id or a key is taken, fewer rows change.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from fastpaca.store.base import Change, CommitFailed, MessageRow

SHORT_ID_BYTES: Final = 128
LONG_ID_BYTES: Final = 512

STATUSES: Final = ("active", "tombstoned", "forming")
"""What the numbers in `contexts.status` stand for."""
MESSAGE_ID_BYTES: Final = 97
"""The room of an id in each table of ids; the first migration says why."""

# --- statements, in the order in which they run ---

DELETE_SHORT_ID: Final = "DELETE FROM short_ids WHERE id = ?"

DELETE_LONG_ID: Final = "DELETE FROM long_ids WHERE id = ?"

DELETE_CONTEXT: Final = "DELETE FROM contexts WHERE key = ? AND revision = ?"

INSERT_PURGED: Final = """
INSERT INTO purged SELECT ?1
WHERE NOT EXISTS (SELECT 1 FROM short_ids WHERE id = ?2)
    AND NOT EXISTS (SELECT 1 FROM long_ids WHERE id = ?2)
"""

INSERT_ERASURE: Final = "INSERT INTO erasures VALUES (?)"

UPDATE_CONTEXT: Final = """
UPDATE contexts SET version = ?1, last_seq = ?2, revision = ?3, status = ?4, created_at_us = ?5,
    updated_at_us = ?6, spoken_at_us = ?7, commit_id = ?8, usage = ?9
WHERE key = ?10 AND revision = ?11 AND created_at_us <= ?5
"""

INSERT_CONTEXT: Final = "INSERT INTO contexts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"

INSERT_CONTEXT_ID: Final = "INSERT INTO context_ids VALUES (?, ?)"

# A purge erases the id at once, or after the archive has been told of it.
CLEAR_CONTEXT_ID: Final = "UPDATE context_ids SET id = NULL WHERE key = ?"

INSERT_ARCHIVE_ERASURE: Final = "INSERT INTO archive_erasures VALUES (?)"

# What was copied while it was forming was not archived. So it catches up like one that was halted.
INSERT_ARCHIVE_HALT: Final = "INSERT INTO archive_halts VALUES (?, 0)"

INSERT_SHORT_ID: Final = """
INSERT INTO short_ids SELECT ?1, ?2 + (1 << 40)
WHERE NOT EXISTS (SELECT 1 FROM purged WHERE id_hash = ?3)
"""

INSERT_LONG_ID: Final = """
INSERT INTO long_ids SELECT ?1, ?2 + (1 << 40)
WHERE NOT EXISTS (SELECT 1 FROM purged WHERE id_hash = ?3)
"""

CLEAR_CONFIGURATION: Final = """
UPDATE configurations SET context = NULL, token_budget = NULL, trigger_ratio = NULL,
    token_factor = NULL, policy = NULL, forked_from = NULL
WHERE context = ?
"""

INSERT_CONFIGURATION: Final = """
INSERT INTO configurations (context, token_budget, trigger_ratio, token_factor, policy, forked_from)
VALUES (?, ?, ?, ?, ?, ?)
"""

CLEAR_METADATA: Final = "UPDATE metadata SET context = NULL, body = NULL WHERE context = ?"

INSERT_METADATA: Final = "INSERT INTO metadata (context, body) VALUES (?, ?)"

INSERT_MESSAGE: Final = """
INSERT INTO messages (place, context, seq, version, body, counts, at_us, origin, usage, revises)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""

INSERT_REVISION: Final = "INSERT INTO revisions VALUES (?, ?, ?)"

INSERT_MESSAGE_ID: Final = "INSERT INTO message_ids VALUES (?1 + (1 << 40), ?2, ?3 + (1 << 40))"

INSERT_SYNTHETIC: Final = """
INSERT INTO synthetics (context, version, position, body, counts, at_us, origin)
VALUES (?, ?, ?, ?, ?, ?, ?)
"""

INSERT_COMPACTION: Final = """
INSERT INTO compactions (place, context, version, strategy, from_seq, to_seq, tokens_before,
    tokens_after, window, at_us)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""

# A key is free if only a purged context used it, whose stored responses are not erased yet.
INSERT_ANSWER: Final = """
INSERT INTO answers (place, context, key_hash, fingerprint, answer, at_us) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (key_hash) DO UPDATE SET place = excluded.place, context = excluded.context,
    fingerprint = excluded.fingerprint, answer = excluded.answer, at_us = excluded.at_us
WHERE NOT EXISTS (SELECT 1 FROM contexts WHERE key = answers.context)
"""

_ORDER: Final = (
    DELETE_SHORT_ID,
    DELETE_LONG_ID,
    DELETE_CONTEXT,
    INSERT_PURGED,
    INSERT_ERASURE,
    CLEAR_CONTEXT_ID,
    INSERT_ARCHIVE_ERASURE,
    INSERT_ARCHIVE_HALT,
    UPDATE_CONTEXT,
    INSERT_CONTEXT,
    INSERT_CONTEXT_ID,
    INSERT_SHORT_ID,
    INSERT_LONG_ID,
    CLEAR_CONFIGURATION,
    INSERT_CONFIGURATION,
    CLEAR_METADATA,
    INSERT_METADATA,
    INSERT_MESSAGE,
    INSERT_REVISION,
    INSERT_MESSAGE_ID,
    INSERT_SYNTHETIC,
    INSERT_COMPACTION,
    INSERT_ANSWER,
)

Rows = list[tuple[object, ...]]


class Numbers(NamedTuple):
    """The last numbers in use: keys of contexts, and places of rows."""

    key: int
    place: int


def id_bytes(context_id: str) -> bytes:
    """Return an id as its table stores it: all rows of a table have the same size."""
    text = context_id.encode()
    return text.ljust(SHORT_ID_BYTES if is_short(text) else LONG_ID_BYTES, b"\0")


def message_id_bytes(hashed: bytes) -> bytes:
    """Return the hash of a message's id as its table stores it."""
    return hashed.ljust(MESSAGE_ID_BYTES, b"\0")


def is_short(stored_id: bytes) -> bool:
    """Return whether an id belongs to the table of short ids."""
    return len(stored_id) <= SHORT_ID_BYTES


def id_hash(context_id: str) -> bytes:
    """Return the hash that is kept of an id after a purge."""
    return hashlib.sha256(context_id.encode()).digest()


def key_hash(key: str) -> bytes:
    """Return the hash of an idempotency key; collisions are practically impossible."""
    return hashlib.blake2b(key.encode(), digest_size=16).digest()


class SqliteBatch:
    """
    The rows of one commit.

    Args:
        keys: The keys of existing contexts, by id.
        numbers: The last numbers in use; new contexts and rows get the next ones.
        is_archived: Whether there is an archive that purges must reach too.
    """

    def __init__(
        self, keys: Mapping[str, int], numbers: Numbers, *, is_archived: bool = False
    ) -> None:
        self._keys = keys
        self._is_archived = is_archived
        self._rows: dict[str, Rows] = {statement: [] for statement in _ORDER}
        self._key, self._place = numbers
        self.new_keys: dict[str, int] = {}
        self.purges: list[str] = []

    @property
    def numbers(self) -> Numbers:
        """The last numbers in use, including this batch."""
        return Numbers(self._key, self._place)

    @property
    def statements(self) -> list[tuple[str, Rows]]:
        """What to run, in order."""
        return [(statement, rows) for statement, rows in self._rows.items() if rows]

    def add(self, change: Change) -> None:
        """
        Add the rows of *change*.

        Raises:
            CommitFailed: It has more idempotency records than messages and compactions.
        """
        if change.purges:
            self._purge(change)
            return
        key = self._create(change) if change.expected_revision == 0 else self._update(change)
        self._configure(key, change)
        if change.activates and self._is_archived:
            self._rows[INSERT_ARCHIVE_HALT].append((key,))
        self._add_messages(key, change.restored)
        first_place = self._place + 1
        self._add_messages(key, change.messages)
        self._add_path(key, change)
        self._add_compactions(key, change)
        self._add_answers(key, change, range(first_place, self._place + 1))

    def _create(self, change: Change) -> int:
        row = change.row
        self._key += 1
        self.new_keys[row.id] = self._key
        stored_id = id_bytes(row.id)
        insert = INSERT_SHORT_ID if is_short(stored_id) else INSERT_LONG_ID
        self._rows[insert].append((stored_id, self._key, id_hash(row.id)))
        self._rows[INSERT_CONTEXT_ID].append((self._key, row.id.encode()))
        self._rows[INSERT_CONTEXT].append(
            (
                self._key,
                row.version,
                row.last_seq,
                row.revision,
                STATUSES.index(row.status),
                row.created_at_us,
                row.updated_at_us,
                row.spoken_at_us,
                row.commit_id,
                row.usage,
            )
        )
        return self._key

    def _update(self, change: Change) -> int:
        row = change.row
        key = self._keys[row.id]
        self._rows[UPDATE_CONTEXT].append(
            (
                row.version,
                row.last_seq,
                row.revision,
                STATUSES.index(row.status),
                row.created_at_us,
                row.updated_at_us,
                row.spoken_at_us,
                row.commit_id,
                row.usage,
                key,
                change.expected_revision,
            )
        )
        return key

    def _configure(self, key: int, change: Change) -> None:
        row = change.row
        is_new = change.expected_revision == 0
        if is_new or change.config_changed:
            self._rows[INSERT_CONFIGURATION].append(
                (
                    key,
                    row.token_budget,
                    row.trigger_ratio,
                    row.token_factor,
                    row.policy,
                    row.forked_from,
                )
            )
        if is_new or change.metadata_changed:
            self._rows[INSERT_METADATA].append((key, row.metadata))
        if change.config_changed and not is_new:
            self._rows[CLEAR_CONFIGURATION].append((key,))
        if change.metadata_changed and not is_new:
            self._rows[CLEAR_METADATA].append((key,))

    def _add_messages(self, key: int, messages: Iterable[MessageRow]) -> None:
        rows = self._rows[INSERT_MESSAGE]
        for message in messages:
            self._place += 1
            rows.append((self._place, key, *message))

    def _add_path(self, key: int, change: Change) -> None:
        self._rows[INSERT_REVISION] += [
            (key, row.revises, row.seq) for row in change.messages if row.revises is not None
        ]
        self._rows[INSERT_MESSAGE_ID] += [
            (key, message_id_bytes(row.id_hash), row.place) for row in change.ids
        ]

    def _add_compactions(self, key: int, change: Change) -> None:
        rows = self._rows[INSERT_COMPACTION]
        for compaction in change.compactions:
            self._place += 1
            rows.append((self._place, key, *compaction))
        self._rows[INSERT_SYNTHETIC] += [(key, *synthetic) for synthetic in change.synthetics]

    def _add_answers(self, key: int, change: Change, places: Sequence[int]) -> None:
        if len(change.records) > len(places):
            raise CommitFailed("there are more responses than messages and compactions")
        rows = self._rows[INSERT_ANSWER]
        for record, place in zip(change.records, places, strict=False):
            hashed = key_hash(record.key)
            rows.append((place, key, hashed, record.fingerprint, record.response, record.at_us))

    def _purge(self, change: Change) -> None:
        context_id = change.row.id
        self.purges.append(context_id)
        stored_id = id_bytes(context_id)
        self._rows[INSERT_PURGED].append((id_hash(context_id), stored_id))
        if change.expected_revision == 0:
            return
        key = self._keys[context_id]
        delete = DELETE_SHORT_ID if is_short(stored_id) else DELETE_LONG_ID
        self._rows[delete].append((stored_id,))
        self._rows[DELETE_CONTEXT].append((key, change.expected_revision))
        self._rows[INSERT_ERASURE].append((key,))
        forget = INSERT_ARCHIVE_ERASURE if self._is_archived else CLEAR_CONTEXT_ID
        self._rows[forget].append((key,))


def ids_of_existing(changes: Iterable[Change]) -> list[str]:
    """Return the ids of the contexts that must exist for *changes*."""
    return [change.row.id for change in changes if change.expected_revision]
