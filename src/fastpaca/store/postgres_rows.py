"""
Changes as columns for SQL: a commit is one statement per table, whatever the number of contexts.

The contexts of a batch are in the order of their stored ids in every statement, so that two nodes
lock the rows that they both want in the same order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from msgspec.structs import replace

from fastpaca.store.base import AnswerRow, Change, CommitOvertaken, ContextRow
from fastpaca.store.snapshots import purged_row

COMMIT_ID_BYTES: Final = 16

COMMIT_IDS_KEPT: Final = 8
"""How many ids of commits a context keeps: of one that stands further back nobody can tell."""

# What a change leaves as it is comes as NULL. The id of a purged context goes.
UPDATE_CONTEXTS: Final = f"""
UPDATE fastpaca.contexts AS c SET
    id = CASE WHEN n.status = 'purged' THEN NULL ELSE c.id END,
    status = n.status,
    token_budget = coalesce(n.token_budget, c.token_budget),
    trigger_ratio = coalesce(n.trigger_ratio, c.trigger_ratio),
    policy = coalesce(n.policy, c.policy),
    metadata = coalesce(n.metadata, c.metadata),
    version = n.version,
    last_seq = n.last_seq,
    revision = n.revision,
    commit_ids = substring(n.commit_id || c.commit_ids FROM 1 FOR
        {COMMIT_ID_BYTES * COMMIT_IDS_KEPT}),
    created_at_us = n.created_at_us,
    updated_at_us = n.updated_at_us,
    spoken_at_us = n.spoken_at_us,
    must_erase = n.status = 'purged'
FROM unnest(
    $1::bytea[], $2::bigint[], $3::text[], $4::bigint[], $5::double precision[], $6::bytea[],
    $7::bytea[], $8::bigint[], $9::bigint[], $10::bigint[], $11::bytea[], $12::bigint[],
    $13::bigint[], $14::bigint[]
) AS n (
    context_id, expected_revision, status, token_budget, trigger_ratio, policy, metadata, version,
    last_seq, revision, commit_id, created_at_us, updated_at_us, spoken_at_us
)
WHERE c.context_id = n.context_id AND c.revision = n.expected_revision AND c.status <> 'purged'
RETURNING c.context_id
"""

INSERT_CONTEXTS: Final = """
INSERT INTO fastpaca.contexts (
    context_id, id, status, token_budget, trigger_ratio, policy, metadata, version, last_seq,
    revision, commit_ids, created_at_us, updated_at_us, spoken_at_us, must_erase
)
SELECT *, false FROM unnest(
    $1::bytea[], $2::text[], $3::text[], $4::bigint[], $5::double precision[], $6::bytea[],
    $7::bytea[], $8::bigint[], $9::bigint[], $10::bigint[], $11::bytea[], $12::bigint[],
    $13::bigint[], $14::bigint[]
)
ON CONFLICT (context_id) DO NOTHING
RETURNING context_id
"""

INSERT_MESSAGES: Final = """
INSERT INTO fastpaca.messages (context_id, seq, version, body, counts, at_us)
SELECT * FROM unnest(
    $1::bytea[], $2::bigint[], $3::bigint[], $4::bytea[], $5::bytea[], $6::bigint[]
)
"""

INSERT_SYNTHETICS: Final = """
INSERT INTO fastpaca.synthetics (context_id, version, position, body, counts, at_us)
SELECT * FROM unnest(
    $1::bytea[], $2::bigint[], $3::bigint[], $4::bytea[], $5::bytea[], $6::bigint[]
)
"""

INSERT_COMPACTIONS: Final = """
INSERT INTO fastpaca.compactions (
    context_id, version, strategy, from_seq, to_seq, tokens_before, tokens_after, "window", at_us
)
SELECT * FROM unnest(
    $1::bytea[], $2::bigint[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[],
    $8::bytea[], $9::bigint[]
)
"""

INSERT_ANSWERS: Final = """
INSERT INTO fastpaca.answers (context_id, key_hash, fingerprint, answer, at_us)
SELECT * FROM unnest($1::bytea[], $2::bytea[], $3::bytea[], $4::bytea[], $5::bigint[])
"""

Rows = list[tuple[object, ...]]


def hashed(text: str) -> bytes:
    """Give what stands for an id or a key: enough that no two ever meet."""
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


class Witness(NamedTuple):
    """What tells whether a batch has landed in one of its contexts."""

    expected_revision: int
    commit_id: bytes
    insertion: tuple[object, ...] | None  # as the batch would insert the context, if it is new


class Batch:
    """
    What one commit writes, in the order of the stored ids.

    Attributes:
        ids: The ids of all contexts, by their stored form.
        updates: Rows for `UPDATE_CONTEXTS`.
        insertions: Rows for `INSERT_CONTEXTS`.
        content: Statements with their rows, which must all be taken.
        purges: The stored ids of those that are purged.
        keys: The ids of the contexts that keep an answer under a key, by the hash of the key.
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
        answers: Rows = []
        for context_id, change in self._changes:
            self._add_state(context_id, change)
            if change.purges:
                self.purges.append(context_id)
                continue
            messages += [(context_id, *row) for row in change.messages]
            synthetics += [(context_id, *row) for row in change.synthetics]
            compactions += [(context_id, *row) for row in change.compactions]
            answers += [self._answer(context_id, change, row) for row in change.answers]
        everything = (
            (INSERT_MESSAGES, messages),
            (INSERT_SYNTHETICS, synthetics),
            (INSERT_COMPACTIONS, compactions),
            (INSERT_ANSWERS, answers),
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
                row.policy if configured else None,
                row.metadata if described else None,
                row.version,
                row.last_seq,
                row.revision,
                row.commit_id,
                row.created_at_us,
                row.updated_at_us,
                row.spoken_at_us,
            )
        )

    def _answer(self, context_id: bytes, change: Change, answer: AnswerRow) -> tuple[object, ...]:
        key_hash = hashed(answer.key)
        other = self.keys.setdefault(key_hash, change.row.id)
        if other != change.row.id:
            raise CommitOvertaken("a key is used twice", frozenset({other, change.row.id}))
        return context_id, key_hash, answer.fingerprint, answer.answer, answer.at_us

    def witnesses(self) -> dict[bytes, Witness]:
        """Map the stored id of each context to what tells whether the batch has landed there."""
        return {
            context_id: Witness(
                change.expected_revision,
                change.row.commit_id,
                None if change.expected_revision else _insertion(context_id, change.row),
            )
            for context_id, change in self._changes
        }


def _cleared(row: ContextRow) -> ContextRow:
    """Give what stays of a context that is purged."""
    return replace(purged_row(row.id), revision=row.revision, commit_id=row.commit_id)


def _insertion(context_id: bytes, row: ContextRow) -> tuple[object, ...]:
    return (
        context_id,
        None if row.status == "purged" else row.id,
        row.status,
        row.token_budget,
        row.trigger_ratio,
        row.policy,
        row.metadata,
        row.version,
        row.last_seq,
        row.revision,
        row.commit_id,
        row.created_at_us,
        row.updated_at_us,
        row.spoken_at_us,
    )


def columns(rows: Rows) -> Iterable[Sequence[object]]:
    """Turn *rows* by a quarter, since PostgreSQL takes many rows as one array for each column."""
    return zip(*rows, strict=True)


def is_landed(witness: Witness, revision: int, commit_ids: bytes) -> bool | None:
    """
    Tell by a context's *revision* and *commit_ids* whether the commit of *witness* is in there.

    Each revision was written by one commit, whose id is kept for some more. None if it was too long
    ago.
    """
    commits_since = revision - witness.expected_revision - 1
    if commits_since < 0:
        return False
    if commits_since >= COMMIT_IDS_KEPT:
        return None
    start = commits_since * COMMIT_ID_BYTES
    return commit_ids[start : start + COMMIT_ID_BYTES] == witness.commit_id
