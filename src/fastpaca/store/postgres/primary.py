"""
Whether a server is the primary: it accepts writes, so no other server has replaced it.

After a failover, the old primary may stay up, fenced read-only or as a standby of the new one, and
connections to it may stay open. It refuses writes (25006), but returns stale reads. So each
statement that reads checks in its own WHERE whether it could write, and otherwise fails in the same
way. That costs no round trip and leaves no gap between check and read, and it also works with a
pooler, where two statements may reach two servers.
"""

from __future__ import annotations

from typing import Any, Final

import asyncpg

READ_ONLY: Final = "current_setting('transaction_read_only') <> 'off'"
"""
True on a standby, and on a server that is configured to refuse writes.

PostgreSQL sets it when a transaction starts, even for a single statement: from
`pg_is_in_recovery()`, or else from `default_transaction_read_only`.
"""

# PostgreSQL has no function that raises an error, and our own would have to be migrated and
# distributed. A failing cast raises one. The condition names no column and is stable, so the
# planner makes it a one-time filter, which is evaluated once, even if there are no rows.
_REFUSAL: Final = "the server takes no writes"

TAKES_WRITES: Final = f"(CASE WHEN {READ_ONLY} THEN '{_REFUSAL}' ELSE 'true' END)::boolean"
"""A condition that is true, or fails the statement; see `fetched`."""


def read_only() -> asyncpg.ReadOnlySQLTransactionError:
    """Return the error with which a server refuses writes."""
    return asyncpg.ReadOnlySQLTransactionError(f"{_REFUSAL}, so what it holds may be old")


async def fetched(connection: Any, sql: str, *values: object, timeout: float) -> list[Any]:  # noqa: ASYNC109  # that of a statement
    """
    Read with *sql*, whose WHERE contains `TAKES_WRITES`.

    Raises:
        asyncpg.ReadOnlySQLTransactionError: The server refuses writes; nothing was read.
    """
    try:
        rows: list[Any] = await connection.fetch(sql, *values, timeout=timeout)
    except asyncpg.InvalidTextRepresentationError as error:
        if _REFUSAL not in str(error):
            raise
        raise read_only() from error
    return rows
