"""What operators do with a database: migrate it, and distribute its tables."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final

from fastpaca.store.base import StoreRefused
from fastpaca.store.postgres.connections import STATEMENT_SECONDS, PostgresConnections
from fastpaca.store.postgres.errors import FAILURES, described
from fastpaca.store.postgres.schema import Tell, bring_up_to_date, distribute_tables

MIGRATION_SECONDS: Final = 600.0
"""How long a statement of a migration may take when a node starts."""

UNLIMITED_SECONDS: Final = 0.0
"""No limit, for migrations that an operator runs."""


@asynccontextmanager
async def migrating(
    connections: PostgresConnections, statement_seconds: float = MIGRATION_SECONDS
) -> AsyncIterator[Any]:
    """
    Yield a connection whose statements may take long.

    Raises:
        StoreRefused: It can't connect, or a statement failed.
    """
    connection = await connections.connect(statement_seconds=statement_seconds)
    try:
        yield connection
    except FAILURES as error:
        raise StoreRefused(f"The database cannot be migrated: {described(error)}.") from error
    finally:
        connection.terminate()


def _operating(dsn: str) -> AbstractAsyncContextManager[Any]:
    connections = PostgresConnections(dsn, 2, STATEMENT_SECONDS, allow_unsafe=True)
    return migrating(connections, UNLIMITED_SECONDS)


async def migrate(dsn: str) -> str:
    """
    Migrate the schema of the database at *dsn*, and return a sentence with its version.

    Raises:
        StoreRefused: That failed.
    """
    async with _operating(dsn) as connection:
        version = await bring_up_to_date(connection)
    return f"The schema is up to date: version {version}."


async def distribute(dsn: str, tell: Tell) -> str:
    """
    Migrate the schema, distribute its tables over servers, and return a sentence that names them.

    Raises:
        StoreRefused: That failed; tables that were distributed before stay so.
    """
    async with _operating(dsn) as connection:
        await bring_up_to_date(connection)
        tables = await distribute_tables(connection, tell)
    if not tables:
        return "The tables are distributed already."
    return f"Distributed: {', '.join(tables)}."
