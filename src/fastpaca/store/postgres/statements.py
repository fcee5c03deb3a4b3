"""
Every statement of the PostgreSQL store, with what it is for and how often it runs.

On a distributed database, a statement goes to the servers of the keys that it names. So each table
in it has its key (`context_id`, or `key_hash` for stored responses) bound to a parameter in the
table's own condition. If a key only followed from a join, the statement would go to all servers,
and would fail for every context when one is down. The few statements that must go everywhere say
why in `everywhere`.

The file is long because it is the complete list, for database administrators. `docs/scaling.md` has
the same list, and a test checks where each statement goes.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from fastpaca.store.base import COMMIT_ID_BYTES
from fastpaca.store.postgres.primary import TAKES_WRITES

COMMIT_IDS_KEPT: Final = 8
"""How many commit ids a context keeps: the outcome of older commits is unknown."""

PIECE_ROWS: Final = 1000
"""The most rows that a transaction erases or forgets."""

PARAMETERS_MAX: Final = 2176
"""
The most parameters of a statement.

The protocol allows 32,767. But asyncpg keeps only statements of up to 15 KiB prepared, and each
parameter takes up to 7 bytes: `$2176, `.
"""


class Statement(NamedTuple):
    """
    A statement.

    Attributes:
        name: Its name in `docs/distribution.md`.
        purpose: What it is for.
        often: How often it runs.
        sql: Its text.
        everywhere: Why it may go to all servers, if it does.
    """

    name: str
    purpose: str
    often: str
    sql: str
    everywhere: str = ""


class Rows(NamedTuple):
    """
    A statement that writes any number of rows, in two forms.

    An array for each column (`arrays`) is fastest on a single server. A distributed database would
    copy arrays to all servers; with `values`, it finds the right server for each row.

    Attributes:
        name, purpose, often, everywhere: As in `Statement`.
        arrays: The text with an array for each column.
        begin, end: The text before and after the rows in `values`.
        columns: How many columns a row has.
        keys: How many of the first columns make a row unique.
    """

    name: str
    purpose: str
    often: str
    arrays: str
    begin: str
    end: str
    columns: int
    keys: int
    everywhere: str = ""

    @property
    def rows_max(self) -> int:
        """The most rows in `values`: a power of two."""
        return 1 << (PARAMETERS_MAX // self.columns).bit_length() - 1

    def values(self, count: int) -> str:
        """Return the text with *count* rows of parameters."""
        rows = (
            ", ".join(f"${row * self.columns + column}" for column in range(1, self.columns + 1))
            for row in range(count)
        )
        return f"{self.begin} VALUES ({'), ('.join(rows)}){self.end}"


def _inserting(
    what: tuple[str, str, str], table: str, columns: dict[str, str], *, keys: int, end: str = ""
) -> Rows:
    """
    Return the statement that inserts rows.

    In `values`, rows may be repeated as padding. In arrays they never are, so if *end* is empty, a
    row that exists already makes the statement fail.
    """
    begin = f"INSERT INTO fastpaca.{table} ({', '.join(columns)})"
    arrays = ", ".join(f"${n}::{kind}[]" for n, kind in enumerate(columns.values(), 1))
    conflict = f" ON CONFLICT ({', '.join(list(columns)[:keys])}) DO NOTHING"
    return Rows(
        *what,
        f"{begin} SELECT * FROM unnest({arrays})" + (conflict + end if end else ""),
        begin,
        conflict + end,
        len(columns),
        keys,
    )


# --- what is read ---------------------------------------------------------------------------------

# As the fields of ContextRow.
_ROW: Final = f"""
c.id, c.status, c.token_budget, c.trigger_ratio, c.token_factor, c.policy, c.metadata, c.version,
c.last_seq, c.revision, substring(c.commit_ids FROM 1 FOR {COMMIT_ID_BYTES}), c.created_at_us,
c.updated_at_us, c.spoken_at_us, c.usage, c.forked_from
"""

# As the fields of CompactionRow.
_COMPACTION: Final = """
k.version, k.strategy, k.from_seq, k.to_seq, k.tokens_before, k.tokens_after, k."window", k.at_us
"""

# As the fields of MessageRow.
_MESSAGE: Final = "m.seq, m.version, m.body, m.counts, m.at_us, m.origin, m.usage, m.revises"

# The row, and the newest compaction up to a version.
STATE: Final = Statement(
    "state",
    "the row of a context and its newest window",
    "once for each context that is not in memory, and for each read of a past version",
    f"""
SELECT {_ROW}, {_COMPACTION}
FROM fastpaca.contexts AS c LEFT JOIN LATERAL (
    SELECT * FROM fastpaca.compactions AS found
    WHERE found.context_id = $1 AND found.version <= coalesce($2, c.version)
    ORDER BY found.version DESC LIMIT 1
) AS k ON true
WHERE c.context_id = $1 AND {TAKES_WRITES}
""",
)

# The row, the newest window after a version, and the fields of MessageRow: one row for each new
# message, with the metadata, which may be large, only in the first. If the window was rewritten,
# there are no messages: the window says which ones to read.
NEWS: Final = Statement(
    "news",
    "what changed in a context that another node wrote to",
    "once for each such change that a node meets",
    f"""
SELECT {_ROW.replace("c.metadata", "CASE WHEN coalesce(m.number, 1) = 1 THEN c.metadata END")},
    k."window", {_MESSAGE}
FROM fastpaca.contexts AS c LEFT JOIN LATERAL (
    SELECT found."window" FROM fastpaca.compactions AS found
    WHERE found.context_id = $1 AND found.version > $2
    ORDER BY found.version DESC LIMIT 1
) AS k ON true LEFT JOIN LATERAL (
    SELECT *, row_number() OVER (ORDER BY seq) AS number FROM fastpaca.messages AS found
    WHERE found.context_id = $1 AND found.seq > $3 AND k."window" IS NULL
) AS m ON true
WHERE c.context_id = $1 AND {TAKES_WRITES} ORDER BY m.seq
""",
)

LOG: Final = Statement(
    "log",
    "the messages that a window needs",
    "once for each loaded context",
    f"""
SELECT {_MESSAGE}
FROM unnest($2::bigint[], $3::bigint[]) AS between_them (first, last)
JOIN fastpaca.messages AS m ON m.context_id = $1
    AND m.seq >= between_them.first AND m.seq <= between_them.last
WHERE {TAKES_WRITES}
ORDER BY m.seq
""",
)

# As the fields of SyntheticRow.
REPLACEMENTS: Final = Statement(
    "replacements",
    "the summaries that a window needs",
    "once for each loaded context that has any",
    f"""
SELECT s.version, s.position, s.body, s.counts, s.at_us, s.origin
FROM unnest($2::bigint[], $3::bigint[], $4::bigint[]) AS between_them (version, first, last)
JOIN fastpaca.synthetics AS s ON s.context_id = $1 AND s.version = between_them.version
    AND s.position >= between_them.first AND s.position <= between_them.last
WHERE {TAKES_WRITES}
ORDER BY s.version, s.position
""",
)

# The database ends a page by the sum of sizes, so unwanted rows are never sent.
PAGE: Final = Statement(
    "page",
    "a page of a log, forwards",
    "once for each such request",
    f"""
SELECT {_MESSAGE} FROM (
    SELECT *,
        row_number() OVER (ORDER BY seq) AS number,
        sum(octet_length(body)) OVER (ORDER BY seq) AS total
    FROM (
        SELECT * FROM fastpaca.messages
        WHERE context_id = $1 AND seq >= $2 AND seq <= $3
        ORDER BY seq LIMIT $4
    ) AS page
) AS m
WHERE (total <= $5 OR number = 1) AND {TAKES_WRITES}
ORDER BY seq
""",
)

PAGE_BEFORE: Final = Statement(
    "page before",
    "a page of a log, backwards",
    "once for each such request",
    f"""
SELECT {_MESSAGE} FROM (
    SELECT *,
        row_number() OVER (ORDER BY seq DESC) AS number,
        sum(octet_length(body)) OVER (ORDER BY seq DESC) AS total
    FROM (
        SELECT * FROM fastpaca.messages
        WHERE context_id = $1 AND seq < $2
        ORDER BY seq DESC LIMIT $3
    ) AS page
) AS m
WHERE (total <= $4 OR number = 1) AND {TAKES_WRITES}
ORDER BY seq
""",
)


def _in_ranges(seq: str, firsts: str, lasts: str) -> str:
    """
    Return the condition that *seq* is in one of the ascending ranges of two arrays.

    It is a binary search, since a path has up to 1,000 ranges. Below the first of them, the index
    is 0, and the condition NULL.
    """
    return f"{seq} <= ({lasts}::bigint[])[width_bucket({seq}, {firsts}::bigint[])]"


def _path(order: str) -> str:
    """
    Return the statement that reads the path in *order*.

    $2 and $3 are the first and last places of each range of the page, $4 and $5 the seqs of all
    ranges of the path, since any later row may revise a message.

    A range is read only until the page is full: the ranges are sorted before the join, and the rows
    of each are found in order, so nothing has to be read before it can be sorted.
    """
    return f"""
SELECT {_MESSAGE} FROM (
    SELECT found.*, page.place,
        row_number() OVER (ORDER BY page.place {order}) AS number,
        sum(octet_length(found.body)) OVER (ORDER BY page.place {order}) AS total
    FROM (
        SELECT original.seq AS place
        FROM (
            SELECT * FROM unnest($2::bigint[], $3::bigint[]) AS bounds (first, last)
            ORDER BY bounds.first {order}
        ) AS places CROSS JOIN LATERAL (
            SELECT found.seq FROM fastpaca.messages AS found
            WHERE found.context_id = $1 AND found.revises IS NULL
                AND found.seq >= places.first AND found.seq <= places.last
            ORDER BY found.seq {order} LIMIT $6::bigint + $8::bigint
        ) AS original
        ORDER BY places.first {order}, original.seq {order} LIMIT $6 OFFSET $8
    ) AS page LEFT JOIN LATERAL (
        SELECT found.seq FROM fastpaca.messages AS found
        WHERE found.context_id = $1 AND found.revises = page.place
            AND {_in_ranges("found.seq", "$4", "$5")}
        ORDER BY found.seq DESC LIMIT 1
    ) AS revision ON true
    JOIN fastpaca.messages AS found ON found.context_id = $1
        AND found.seq = coalesce(revision.seq, page.place)
) AS m
WHERE (total <= $7 OR number = 1) AND {TAKES_WRITES}
ORDER BY m.place {order}
"""


PATH: Final = Statement(
    "path", "a page of a path, forwards", "once for each such request", _path("ASC")
)

PATH_BACKWARDS: Final = Statement(
    "path backwards", "a page of a path, newest first", "once for each such request", _path("DESC")
)

PLACES_OF_ID: Final = Statement(
    "places of id",
    "the messages on a path that have an id",
    "once for each message that is put or read by its id",
    f"""
SELECT seq FROM fastpaca.messages
WHERE context_id = $1 AND id_hash = $2 AND {_in_ranges("seq", "$3", "$4")} AND {TAKES_WRITES}
ORDER BY seq DESC LIMIT $5
""",
)

REVISIONS_OF: Final = Statement(
    "revisions of",
    "which messages were revised, and by which rows",
    "once for each page of the log that a compact call names, and for some reads by id",
    f"""
SELECT revision.revises, revision.seq
FROM unnest($2::bigint[], $3::bigint[]) AS places (first, last)
CROSS JOIN LATERAL (
    SELECT found.revises, found.seq FROM fastpaca.messages AS found
    WHERE found.context_id = $1 AND found.revises >= places.first AND found.revises <= places.last
    ORDER BY found.revises, found.seq
) AS revision
WHERE {TAKES_WRITES}
ORDER BY revision.revises, revision.seq
""",
)

COMPACTIONS: Final = Statement(
    "compactions",
    "a page of compactions",
    "once for each such request",
    f"""
SELECT {_COMPACTION} FROM (
    SELECT *,
        row_number() OVER (ORDER BY version) AS number,
        sum(octet_length("window")) OVER (ORDER BY version) AS total
    FROM (
        SELECT * FROM fastpaca.compactions
        WHERE context_id = $1 AND version > $2 AND version <= $3
        ORDER BY version LIMIT $4
    ) AS page
) AS k
WHERE (total <= $5 OR number = 1) AND {TAKES_WRITES}
ORDER BY version
""",
)

COMPACTIONS_BEFORE: Final = Statement(
    "compactions before",
    "a page of compactions, backwards",
    "once for each 100 compactions that a read with `explain` covers",
    f"""
SELECT {_COMPACTION} FROM (
    SELECT *,
        row_number() OVER (ORDER BY version DESC) AS number,
        sum(octet_length("window")) OVER (ORDER BY version DESC) AS total
    FROM (
        SELECT * FROM fastpaca.compactions
        WHERE context_id = $1 AND version < $2
        ORDER BY version DESC LIMIT $3
    ) AS page
) AS k
WHERE (total <= $4 OR number = 1) AND {TAKES_WRITES}
ORDER BY version DESC
""",
)

# Up to the first row with which the sum is exceeded, and at least two: the extra row shows where
# the page ends.
CHANGED_MESSAGES: Final = Statement(
    "changed messages",
    "the messages between two versions",
    "once for each page that a stream catches up with",
    f"""
SELECT {_MESSAGE} FROM (
    SELECT *,
        row_number() OVER (ORDER BY seq) AS number,
        sum(octet_length(body)) OVER (ORDER BY seq) - octet_length(body) AS before
    FROM (
        SELECT * FROM fastpaca.messages
        WHERE context_id = $1 AND version > $2 AND version <= $3 AND seq >= $6 AND seq <= $7
        ORDER BY seq LIMIT $4
    ) AS page
) AS m
WHERE (before <= $5 OR number <= 2) AND {TAKES_WRITES}
ORDER BY seq
""",
)

# Without sizes, since bodies are not read.
CHANGED_HEADS: Final = Statement(
    "changed heads",
    "the same without bodies",
    "once for each page of a stream without messages",
    f"""
SELECT seq, version, ''::bytea, ''::bytea, at_us, origin, usage, revises
FROM fastpaca.messages
WHERE context_id = $1 AND version > $2 AND version <= $3 AND seq >= $5 AND seq <= $6
    AND {TAKES_WRITES}
ORDER BY seq LIMIT $4
""",
)

CHANGED_WINDOWS: Final = Statement(
    "changed windows",
    "the compactions between two versions",
    "once for each page that a stream catches up with",
    f"""
SELECT {_COMPACTION} FROM (
    SELECT *,
        row_number() OVER (ORDER BY version) AS number,
        sum(octet_length("window")) OVER (ORDER BY version) - octet_length("window") AS before
    FROM (
        SELECT * FROM fastpaca.compactions
        WHERE context_id = $1 AND version > $2 AND version <= $3
        ORDER BY version LIMIT $4
    ) AS page
) AS k
WHERE (before <= $5 OR number <= 2) AND {TAKES_WRITES}
ORDER BY version
""",
)

REVISIONS: Final = Statement(
    "revisions",
    "whether contexts have changed",
    "once for all waiting reads; 40 times a second for the contexts that are followed",
    f"""
SELECT context_id, revision FROM fastpaca.contexts
WHERE context_id = ANY($1::bytea[]) AND {TAKES_WRITES}
""",
)

ANSWERS: Final = Statement(
    "answers",
    "the stored responses of idempotency keys",
    "once for all waiting requests with a key",
    f"""
SELECT key_hash, fingerprint, answer, at_us FROM fastpaca.answers
WHERE key_hash = ANY($1::bytea[]) AND {TAKES_WRITES}
""",
)

CONTEXTS: Final = Statement(
    "contexts",
    "a page of the list of contexts",
    "once for each such request",
    f"""
SELECT {_ROW} FROM fastpaca.contexts AS c
WHERE c.id > $1 AND c.id >= $2 AND ($3::text IS NULL OR c.id < $3) AND c.status <> 'forming'
    AND {TAKES_WRITES}
ORDER BY c.id LIMIT $4
""",
    "contexts are listed by id, and every server has some of them",
)

# --- what is committed ----------------------------------------------------------------------------

_EACH_COMMIT: Final = "at most once in each commit"

_UPDATE: Final = f"""
UPDATE fastpaca.contexts AS c SET
    id = CASE WHEN n.status = 'purged' THEN NULL ELSE c.id END,
    status = n.status,
    token_budget = coalesce(n.token_budget, c.token_budget),
    trigger_ratio = coalesce(n.trigger_ratio, c.trigger_ratio),
    token_factor = coalesce(n.token_factor, c.token_factor),
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
    usage = n.usage,
    forked_from = CASE WHEN n.status = 'purged' THEN ''::bytea ELSE c.forked_from END,
    must_erase = n.status = 'purged'
FROM unnest(
    $1::bytea[], $2::bigint[], $3::text[], $4::bigint[], $5::double precision[],
    $6::double precision[], $7::bytea[], $8::bytea[], $9::bigint[], $10::bigint[], $11::bigint[],
    $12::bytea[], $13::bigint[], $14::bigint[], $15::bigint[], $16::bytea[]
) AS n (
    context_id, expected_revision, status, token_budget, trigger_ratio, token_factor, policy,
    metadata, version, last_seq, revision, commit_id, created_at_us, updated_at_us, spoken_at_us,
    usage
)
WHERE c.context_id = n.context_id AND c.revision = n.expected_revision AND c.status <> 'purged'
    AND (c.created_at_us <= n.created_at_us OR n.status = 'purged')
"""

# NULL means unchanged. The id of a purged context is erased.
UPDATE_CONTEXTS: Final = Statement(
    "update contexts",
    "the new state of each context that is at the expected revision",
    _EACH_COMMIT,
    f"{_UPDATE} AND c.context_id = ANY($1::bytea[]) RETURNING c.context_id",
)

# One server finds each row by the join. The condition of the list would cost a third more.
UPDATE_CONTEXTS_OF_ONE_SERVER: Final = f"{_UPDATE} RETURNING c.context_id"

INSERT_CONTEXTS: Final = _inserting(
    ("insert contexts", "new contexts", _EACH_COMMIT),
    "contexts",
    {
        "context_id": "bytea",
        "id": "text",
        "status": "text",
        "token_budget": "bigint",
        "trigger_ratio": "double precision",
        "token_factor": "double precision",
        "policy": "bytea",
        "metadata": "bytea",
        "version": "bigint",
        "last_seq": "bigint",
        "revision": "bigint",
        "commit_ids": "bytea",
        "created_at_us": "bigint",
        "updated_at_us": "bigint",
        "spoken_at_us": "bigint",
        "usage": "bytea",
        "forked_from": "bytea",
    },
    keys=1,
    end=" RETURNING context_id",
)

INSERT_ANSWERS: Final = _inserting(
    ("insert answers", "the responses of idempotency keys that are free", _EACH_COMMIT),
    "answers",
    {
        "key_hash": "bytea",
        "context_id": "bytea",
        "fingerprint": "bytea",
        "answer": "bytea",
        "at_us": "bigint",
    },
    keys=1,
    end=" RETURNING key_hash",
)

INSERT_MESSAGES: Final = _inserting(
    ("insert messages", "the messages", _EACH_COMMIT),
    "messages",
    {
        "context_id": "bytea",
        "seq": "bigint",
        "version": "bigint",
        "body": "bytea",
        "counts": "bytea",
        "at_us": "bigint",
        "origin": "text",
        "usage": "bytea",
        "revises": "bigint",
        "id_hash": "bytea",
    },
    keys=2,
)

INSERT_SYNTHETICS: Final = _inserting(
    ("insert synthetics", "the messages of summaries", _EACH_COMMIT),
    "synthetics",
    {
        "context_id": "bytea",
        "version": "bigint",
        "position": "bigint",
        "body": "bytea",
        "counts": "bytea",
        "at_us": "bigint",
        "origin": "text",
    },
    keys=3,
)

INSERT_COMPACTIONS: Final = _inserting(
    ("insert compactions", "the compactions", _EACH_COMMIT),
    "compactions",
    {
        "context_id": "bytea",
        "version": "bigint",
        "strategy": "text",
        "from_seq": "bigint",
        "to_seq": "bigint",
        "tokens_before": "bigint",
        "tokens_after": "bigint",
        '"window"': "bytea",
        "at_us": "bigint",
    },
    keys=2,
)

# Content is erased after the commit of a purge, but keys that are needed at once within it.
FREE_KEYS: Final = Statement(
    "free keys",
    "the keys of purged contexts that other writes now use",
    "once in a commit that both purges contexts and stores keys",
    "DELETE FROM fastpaca.answers WHERE key_hash = ANY($1::bytea[]) AND context_id = ANY($2)",
)

# --- what became of a commit ----------------------------------------------------------------------

# An update locks: distributed databases refuse FOR UPDATE on rows of several servers.
TOUCH_CONTEXTS: Final = Statement(
    "touch contexts",
    "whether a commit happened whose response was lost",
    "up to twice for each such commit",
    """
UPDATE fastpaca.contexts SET revision = revision WHERE context_id = ANY($1::bytea[])
RETURNING context_id, revision, commit_ids
""",
)

TOUCH_ANSWERS: Final = Statement(
    "touch answers",
    "wait until a stored response is as safe as when it was first sent",
    "once for all requests that are retried at the same time",
    "UPDATE fastpaca.answers SET at_us = at_us WHERE key_hash = ANY($1::bytea[])",
)

# --- forks that were not finished -----------------------------------------------------------------

ABANDONED: Final = Statement(
    "abandoned",
    "forks that no node has touched for a while",
    "once an hour",
    f"""
SELECT id FROM fastpaca.contexts
WHERE status = 'forming' AND updated_at_us < $1 AND {TAKES_WRITES} LIMIT 100
""",
    "they can be anywhere; each server searches an index that holds nothing else",
)

TOUCH_FORK: Final = Statement(
    "touch fork",
    "whether a fork is still the one to erase",
    "once for each fork that was not finished",
    """
UPDATE fastpaca.contexts SET must_erase = must_erase
WHERE context_id = $1 AND status = 'forming' AND revision = $2
""",
)

DROP_FORK: Final = Statement(
    "drop fork",
    "its row, after its messages",
    "once for each fork that was not finished",
    """
DELETE FROM fastpaca.contexts WHERE context_id = $1 AND status = 'forming' AND revision = $2
""",
)

# --- what is erased -------------------------------------------------------------------------------

ERASE_MESSAGES: Final = Statement(
    "erase messages",
    "the messages of a purged context",
    "once for each 1,000 rows",
    f"""
DELETE FROM fastpaca.messages WHERE context_id = $1 AND seq < {PIECE_ROWS} + (
    SELECT min(seq) FROM fastpaca.messages WHERE context_id = $1
)
""",
)

ERASE_SYNTHETICS: Final = Statement(
    "erase synthetics",
    "the messages of summaries of a purged context",
    "once for each 1,000 rows",
    f"""
DELETE FROM fastpaca.synthetics WHERE context_id = $1 AND version < {PIECE_ROWS} + (
    SELECT min(version) FROM fastpaca.synthetics WHERE context_id = $1
)
""",
)

ERASE_COMPACTIONS: Final = Statement(
    "erase compactions",
    "the compactions of a purged context",
    "once for each 1,000 rows",
    f"""
DELETE FROM fastpaca.compactions WHERE context_id = $1 AND version < {PIECE_ROWS} + (
    SELECT min(version) FROM fastpaca.compactions WHERE context_id = $1
)
""",
)

ERASE_ANSWERS: Final = Statement(
    "erase answers",
    "the stored responses of a purged context",
    "twice for each purge",
    "DELETE FROM fastpaca.answers WHERE context_id = $1",
    "responses are stored by their keys, and every server may have some of the context",
)

ERASED: Final = Statement(
    "erased",
    "record that a purge is complete",
    "once for each purge",
    """
UPDATE fastpaca.contexts SET must_erase = false WHERE context_id = $1
""",
)

TO_ERASE: Final = Statement(
    "to erase",
    "interrupted purges",
    "when a node starts, then once an hour",
    f"""
SELECT context_id FROM fastpaca.contexts WHERE must_erase AND {TAKES_WRITES} LIMIT 100
""",
    "they can be anywhere; each server searches an index that holds nothing else",
)

# The time up to which a piece is deleted: that of its last row.
OLD_ANSWERS: Final = Statement(
    "old answers",
    "where a batch of expired responses ends",
    "once an hour, and once more for each 1,000 of them",
    f"""
SELECT at_us FROM (
    SELECT at_us FROM fastpaca.answers WHERE at_us < $1 ORDER BY at_us LIMIT {PIECE_ROWS}
) AS piece WHERE {TAKES_WRITES} ORDER BY at_us DESC LIMIT 1
""",
    "age does not determine where a response is stored; each server searches an index",
)

FORGET_ANSWERS: Final = Statement(
    "forget answers",
    "that batch",
    "once for each 1,000 responses",
    """
DELETE FROM fastpaca.answers WHERE at_us <= $1
""",
    "as above",
)
