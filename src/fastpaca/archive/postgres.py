"""
The archive in PostgreSQL: the table `messages`, for queries and for reading trimmed messages.

Transactions that write take turns at a lock of the database. So an insert whose response was lost,
and which may still be running, has ended before a purge erases.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final, NamedTuple

import msgspec

from fastpaca.archive import schema
from fastpaca.archive.base import ArchiveFailed, Inserted, LogRow
from fastpaca.context.message import decode_counts
from fastpaca.offload import WRITE_COLUMNS, offload
from fastpaca.ranges import Range
from fastpaca.store.base import CommitFailed, CommitUnknown, MessageRow, PageBounds
from fastpaca.store.postgres.address import shown
from fastpaca.store.postgres.connections import PostgresConnections
from fastpaca.store.postgres.errors import FAILURES, Unreachable, described
from fastpaca.store.postgres.primary import TAKES_WRITES, fetched
from fastpaca.store.postgres.writes import AnswerLost, end

CONNECTIONS: Final = 10

STATEMENT_SECONDS: Final = 60.0
"""How long a statement may take; one may send 16 MiB over a slow line."""

IDLE_SECONDS: Final = 10
"""After how long the server ends a transaction whose node is gone, and releases the lock."""

ERASED_AT_ONCE: Final = 10_000

TURN: Final = 0x6670_6172
"""The number of the lock for transactions that write: `fpar`."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)

# For this transaction only, since with a pooler each transaction may run on another connection.
_BOUND: Final = """
SELECT set_config('statement_timeout', $1, true),
    set_config('idle_in_transaction_session_timeout', $2, true)
"""

_TAKE_TURN: Final = "SELECT pg_advisory_xact_lock($1)"

# This locks the row, which counts as a write: only then does COMMIT wait for standbys. Otherwise,
# if an earlier transaction with the same rows did not wait, COMMIT would acknowledge rows that no
# standby has.
_IS_IDENTITY: Final = "SELECT true FROM fastpaca_archive WHERE identity = $1 FOR UPDATE"

_INSERT: Final = """
INSERT INTO messages (context_id, seq, version, role, parts, metadata, token_count, inserted_at,
    origin, usage, revises, counts, body)
SELECT context_id, seq, version, role, parts::json, metadata::json, token_count, inserted_at,
    origin, usage::json, revises, counts, body
FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::text[],
    $7::bigint[], $8::timestamptz[], $9::text[], $10::text[], $11::bigint[], $12::bytea[],
    $13::bytea[])
    AS new (context_id, seq, version, role, parts, metadata, token_count, inserted_at, origin,
    usage, revises, counts, body)
ON CONFLICT DO NOTHING
RETURNING context_id, seq
"""

_DIFFERENT: Final = """
SELECT new.context_id, min(new.seq) FROM unnest($1::text[], $2::bigint[], $3::bigint[],
    $4::timestamptz[], $5::bigint[], $6::bytea[], $7::bytea[])
    AS new (context_id, seq, version, inserted_at, revises, counts, body)
JOIN messages AS old ON old.context_id = new.context_id AND old.seq = new.seq
WHERE (old.version, old.inserted_at, old.revises, old.counts, old.body)
    IS DISTINCT FROM (new.version, new.inserted_at, new.revises, new.counts, new.body)
GROUP BY new.context_id
"""


def _messages(order: str, content: str) -> str:
    # Each range is read by the index, and only as far as needed; the database ends the page by the
    # sum of sizes.
    return f"""
SELECT seq, version, body, counts, inserted_at, origin, usage, revises FROM (
    SELECT *, sum(octet_length(body)) OVER (ORDER BY turn, seq {order}) - octet_length(body)
        AS before
    FROM (
        SELECT found.*, wanted.turn
        FROM unnest($2::bigint[], $3::bigint[]) WITH ORDINALITY AS wanted (first, last, turn)
        CROSS JOIN LATERAL (
            SELECT m.seq, m.version, {content}, m.inserted_at, m.origin,
                m.usage::text, m.revises
            FROM messages AS m
            WHERE m.context_id = $1 AND m.seq >= wanted.first AND m.seq <= wanted.last
            ORDER BY m.seq {order} LIMIT $4
        ) AS found
        WHERE EXISTS (SELECT 1 FROM fastpaca_archive WHERE identity = $6)
        ORDER BY wanted.turn, found.seq {order} LIMIT $4
    ) AS page
) AS counted
WHERE ($5::bigint IS NULL OR before <= $5) AND {TAKES_WRITES}
ORDER BY turn, seq {order}
"""  # noqa: S608  # order and content are constants


# By whether the newest come first, and whether bodies are wanted.
_MESSAGES: Final = {
    (newest_first, with_bodies): _messages(order, content)
    for newest_first, order in ((False, "ASC"), (True, "DESC"))
    for with_bodies, content in (
        (True, "m.body, m.counts"),
        (False, "''::bytea AS body, ''::bytea AS counts"),
    )
}

_ERASE: Final = """
DELETE FROM messages WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM messages WHERE context_id = ANY($1::text[]) LIMIT $2
))
"""


class PostgresArchive:
    """
    Message logs in the current schema of the database at *dsn*.

    Args:
        dsn: An address for libpq, perhaps of several hosts.
        connections: The most connections; at least 2.
        statement_seconds: How long a statement may take.
        migrates: Whether opening migrates the schema, or only checks that it is up to date.
        allow_unsafe: Whether to use a server that may lose acknowledged writes.
    """

    def __init__(
        self,
        dsn: str,
        *,
        connections: int = CONNECTIONS,
        statement_seconds: float = STATEMENT_SECONDS,
        migrates: bool = True,
        allow_unsafe: bool = False,
    ) -> None:
        self.name = shown(dsn)
        self._connections = PostgresConnections(
            dsn, connections, statement_seconds, allow_unsafe=True
        )
        self._migrates = migrates
        self._allow_unsafe = allow_unsafe
        self._identity = b""

    async def open(self) -> bytes:
        """
        Connect, migrate the schema, and return the identity of the archive.

        Raises:
            ArchiveRefused: It can't be used.
        """
        async with self._connection() as connection:
            await schema.check_server(connection, allow_unsafe=self._allow_unsafe)
            prepare = schema.bring_up_to_date if self._migrates else schema.check
            self._identity = await prepare(connection)
        return self._identity

    async def close(self) -> None:
        """Close all connections."""
        await self._connections.close()

    async def insert(self, rows: Sequence[LogRow]) -> Inserted:
        """Add those of *rows* that don't exist yet, in one transaction."""
        columns = await _columns(rows)
        try:
            async with self._turn() as connection:
                return await self._insert(connection, rows, columns)
        except _Conflict as conflict:
            return Inserted(0, 0, conflict.seqs)

    async def _insert(self, connection: Any, rows: Sequence[LogRow], columns: _Columns) -> Inserted:
        inserted = await connection.fetch(_INSERT, *columns, timeout=self._timeout)
        new = {(name, seq) for name, seq in inserted}
        old = [one for one in rows if (one.context_id, one.row.seq) not in new]
        if old:
            again = await _columns(old)
            different = await connection.fetch(
                _DIFFERENT,
                again.context_ids,
                again.seqs,
                again.versions,
                again.times,
                again.revises,
                again.counts,
                again.bodies,
                timeout=self._timeout,
            )
            if different:
                raise _Conflict(dict(map(tuple, different)))
        size = sum(len(one.row.body) for one in rows) - sum(len(one.row.body) for one in old)
        return Inserted(len(new), size, {})

    async def messages(
        self,
        context_id: str,
        ranges: Sequence[Range],
        bounds: PageBounds | None = None,
        *,
        newest_first: bool = False,
        with_bodies: bool = True,
    ) -> list[MessageRow]:
        """Read the messages in *ranges* of a log."""
        sql = _MESSAGES[newest_first, with_bodies]
        firsts, lasts = [first for first, _ in ranges], [last for _, last in ranges]
        values = (context_id, firsts, lasts, *(bounds or (None, None)), self._identity)
        async with self._connection(reads=True) as connection:
            rows = await fetched(connection, sql, *values, timeout=self._timeout)
        return [
            MessageRow(
                seq,
                version,
                body,
                counts,
                (at - _EPOCH) // _MICROSECOND,
                origin,
                (usage or "").encode(),
                revises,
            )
            for seq, version, body, counts, at, origin, usage, revises in rows
        ]

    async def erase(self, context_ids: Sequence[str]) -> None:
        """Delete these contexts, in pieces."""
        erased = ERASED_AT_ONCE
        while erased == ERASED_AT_ONCE:
            async with self._turn() as connection:
                done = await connection.execute(
                    _ERASE, list(context_ids), ERASED_AT_ONCE, timeout=self._timeout
                )
            erased = int(done.split()[-1])

    @property
    def _timeout(self) -> float:
        return self._connections.timeout

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[Any]:
        """
        Yield a connection in a transaction that excludes all other writers.

        It checks the identity, so that it does not write to another archive, and ends when the
        server's synchronous standbys have it.
        """
        bounds = (f"{self._timeout * 1000:.0f}", f"{IDLE_SECONDS * 1000}")
        async with self._connection() as connection:
            await connection.execute(connection.begin, timeout=self._timeout)
            await connection.fetchrow(_BOUND, *bounds, timeout=self._timeout)
            await connection.fetchval(_TAKE_TURN, TURN, timeout=self._timeout)
            if not await connection.fetchval(_IS_IDENTITY, self._identity, timeout=self._timeout):
                raise ArchiveFailed("a different archive responds at its address")
            yield connection
            await end(connection, self._timeout)

    @asynccontextmanager
    async def _connection(self, *, reads: bool = False) -> AsyncIterator[Any]:
        lend = self._connections.reader if reads else self._connections.writer
        try:
            async with lend() as connection:
                yield connection
        except AnswerLost as error:
            raise ArchiveFailed("the database did not respond to a commit") from error
        except _Conflict:
            raise
        except (CommitFailed, CommitUnknown) as error:
            raise ArchiveFailed(str(error)) from error
        except (*FAILURES, Unreachable) as error:
            raise ArchiveFailed(described(error)) from error


class _Conflict(CommitFailed):
    """The archive has different messages under these seqs, by context; rolls the insert back."""

    def __init__(self, seqs: dict[str, int]) -> None:
        self.seqs = seqs
        super().__init__("the archive has something else")


# --- rows -----------------------------------------------------------------------------------------


class _Columns(NamedTuple):
    """Messages as columns for SQL."""

    context_ids: list[str]
    seqs: list[int]
    versions: list[int]
    roles: list[str | None]
    parts: list[str | None]
    metadata: list[str | None]
    token_counts: list[int | None]
    times: list[datetime]
    origins: list[str]
    usages: list[str | None]
    revises: list[int | None]
    counts: list[bytes]
    bodies: list[bytes]


class _Shown(msgspec.Struct):
    """The parts of a message for queries."""

    role: str
    parts: msgspec.Raw
    metadata: msgspec.Raw


_shown_decoder = msgspec.json.Decoder(_Shown)


async def _columns(rows: Sequence[LogRow]) -> _Columns:
    size = sum([len(row.body) for _, row in rows])
    return await offload(WRITE_COLUMNS, size, partial(_made_columns, rows), items=len(rows))


def _made_columns(rows: Sequence[LogRow]) -> _Columns:
    columns = _Columns(*([] for _ in _Columns._fields))
    for context_id, row in rows:
        values = (
            context_id,
            row.seq,
            row.version,
            *_shown(row.body),
            _tokens(row.counts),
            _EPOCH + row.at_us * _MICROSECOND,
            row.origin,
            row.usage.decode() or None,
            row.revises,
            row.counts,
            row.body,
        )
        for column, value in zip(columns, values, strict=True):
            column.append(value)  # type: ignore[attr-defined]  # a zip forgets which is which
    return columns


def _shown(body: bytes) -> tuple[str | None, str | None, str | None]:
    """Return role, parts and metadata of a message; empty if they can't be read."""
    try:
        shown = _shown_decoder.decode(body)
        parts, metadata = bytes(shown.parts).decode(), bytes(shown.metadata).decode()
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None, None, None
    return shown.role.replace("\0", "\ufffd"), parts, metadata


def _tokens(counts: bytes) -> int | None:
    try:
        return decode_counts(counts).total
    except msgspec.DecodeError:
        return None


async def migrate(dsn: str) -> str:
    """
    Migrate the schema of the archive at *dsn*, and return a sentence with its version.

    Raises:
        ArchiveFailed: That failed.
    """
    archive = PostgresArchive(dsn, allow_unsafe=True)
    try:
        await archive.open()
        async with archive._connection() as connection:  # noqa: SLF001  # it is ours
            version = await schema.version(connection)
    finally:
        await archive.close()
    return f"The archive is up to date: version {version}."
