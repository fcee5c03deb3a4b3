"""What operators do with a database besides serving from it: migrate it, distribute its tables."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final

from fastpaca.store.base import StoreRefused
from fastpaca.store.postgres.connections import STATEMENT_SECONDS, PostgresConnections
from fastpaca.store.postgres.errors import FAILURES, described
from fastpaca.store.postgres.schema import Tell, bring_up_to_date, distribute_tables

MIGRATION_SECONDS: Final = 600.0
"""How long a statement of a migration may take at the start of a node."""

UNLIMITED_SECONDS: Final = 0.0
"""How long one may take if an operator has asked for it: as long as it takes."""


@asynccontextmanager
async def migrating(
    connections: PostgresConnections, statement_seconds: float = MIGRATION_SECONDS
) -> AsyncIterator[Any]:
    """
    Lend a connection whose statements may take long.

    Raises:
        StoreRefused: There is none, or a statement failed.
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
    Bring the schema of the database at *dsn* up to date, and say what it is at.

    Raises:
        StoreRefused: That could not be done.
    """
    async with _operating(dsn) as connection:
        version = await bring_up_to_date(connection)
    return f"The schema is up to date: version {version}."


async def distribute(dsn: str, tell: Tell) -> str:
    """
    Bring the schema up to date, spread its tables over servers, and say which ones.

    Raises:
        StoreRefused: That could not be done; what was done until then stays.
    """
    async with _operating(dsn) as connection:
        await bring_up_to_date(connection)
        tables = await distribute_tables(connection, tell)
    if not tables:
        return "The tables are distributed already."
    return f"Distributed: {', '.join(tables)}."
