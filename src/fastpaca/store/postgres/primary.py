"""
Whether a server is the one to ask: it takes writes, so no other server has taken over from it.

After a failover the old primary may stay up, fenced read-only or as a standby of the new one, and
connections to it may stay open. It refuses writes (25006), but it answers reads, with a state that
grows old. So each statement that reads asks in its own WHERE whether it could write, and is refused
in the same way if it could not. That costs no round trip, nothing can happen between question and
answer, and it holds behind a pooler, where two statements may meet two servers.
"""

from __future__ import annotations

from typing import Any, Final

import asyncpg

READ_ONLY: Final = "current_setting('transaction_read_only') <> 'off'"
"""
True on a standby, and on a server that was told to take no writes.

PostgreSQL sets it as each transaction starts, also for one statement alone: from
`pg_is_in_recovery()`, and else from `default_transaction_read_only`.
"""

# No function of PostgreSQL raises an error on demand, and one of our own would be another thing to
# migrate and to distribute. A cast that fails does it. The condition names no column and is stable,
# so the planner makes it a one-time filter: it is looked at once, and also where no row is found.
_REFUSAL: Final = "the server takes no writes"

TAKES_WRITES: Final = f"(CASE WHEN {READ_ONLY} THEN '{_REFUSAL}' ELSE 'true' END)::boolean"
"""A condition that is true, or fails the statement; see `fetched`."""


def read_only() -> asyncpg.ReadOnlySQLTransactionError:
    """Make the error of a server that takes no writes, as it would say it to one who writes."""
    return asyncpg.ReadOnlySQLTransactionError(f"{_REFUSAL}, so what it holds may be old")


async def fetched(connection: Any, sql: str, *values: object, timeout: float) -> list[Any]:  # noqa: ASYNC109  # that of a statement
    """
    Read with *sql*, in whose WHERE `TAKES_WRITES` stands.

    Raises:
        asyncpg.ReadOnlySQLTransactionError: The server takes no writes; nothing was read.
    """
    try:
        rows: list[Any] = await connection.fetch(sql, *values, timeout=timeout)
    except asyncpg.InvalidTextRepresentationError as error:
        if _REFUSAL not in str(error):
            raise
        raise read_only() from error
    return rows
