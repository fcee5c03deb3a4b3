"""
The schema of a PostgreSQL database, brought up to date by whichever node comes first.

Nodes that start together wait for each other at an advisory lock. A database that has no such locks
refuses what the second one does, since it was done already; then that node looks again.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import asyncpg

from fastpaca.store.base import StoreRefused
from fastpaca.store.migrate import migrations, pending
from fastpaca.store.postgres_errors import described

_LOCK: Final = 0x66706361
"""The number of the lock: `fpca`."""

_ATTEMPTS: Final = 5
_PAUSE_SECONDS: Final = 0.2

_VERSION: Final = "SELECT coalesce(max(version), 0) FROM fastpaca.migrations"

_HAS_SCHEMA: Final = "SELECT true FROM pg_namespace WHERE nspname = 'fastpaca'"

# Only where it is missing: even if there is nothing to do it takes CREATE on the database.
_CREATE_SCHEMA: Final = "CREATE SCHEMA IF NOT EXISTS fastpaca"

_CREATE_VERSIONS: Final = """
CREATE TABLE IF NOT EXISTS fastpaca.migrations (
    version integer PRIMARY KEY,
    applied_at timestamptz NOT NULL DEFAULT now()
)
"""

_RECORD: Final = "INSERT INTO fastpaca.migrations (version) VALUES ($1)"


_HAS_CITUS: Final = "SELECT to_regproc('create_distributed_table') IS NOT NULL"

_DISTRIBUTED: Final = """
SELECT pg_namespace.nspname || '.' || pg_class.relname
FROM pg_dist_partition
JOIN pg_class ON pg_class.oid = pg_dist_partition.logicalrelid
JOIN pg_namespace ON pg_namespace.oid = pg_class.relnamespace
"""

_DISTRIBUTE: Final = """
SELECT create_distributed_table($1::text::regclass, 'context_id', colocate_with => $2)
"""

# The others lie where the rows of the first one lie.
_TABLES: Final = tuple(
    f"fastpaca.{table}"
    for table in ("contexts", "messages", "synthetics", "compactions", "answers")
)


async def check(connection: Any) -> None:
    """
    See that nothing is left to migrate.

    Raises:
        StoreRefused: Something is, or a newer release has migrated it.
    """
    if pending(migrations("postgres"), await _version(connection)):
        raise StoreRefused(
            "The database needs a migration, and this node was told not to do it: run"
            " `fastpaca migrate`."
        )


async def bring_up_to_date(connection: Any) -> int:
    """
    Run the migrations that the database lacks, and give the version that it has then.

    A role that may only read and write is enough when there is nothing to do.

    Raises:
        StoreRefused: A newer release has migrated it, or this role may not.
    """
    if pending(migrations("postgres"), await _version(connection)):
        await _migrate_in_turn(connection)
    return await _version(connection)


async def distribute_tables(connection: Any) -> list[str]:
    """
    Spread the tables over the nodes of a Citus cluster by context, and list those that were not.

    Raises:
        StoreRefused: This database can't do that.
    """
    if not await connection.fetchval(_HAS_CITUS):
        raise StoreRefused("The tables cannot be distributed: the database has no Citus.")
    there = {table for (table,) in await connection.fetch(_DISTRIBUTED)}
    missing = [table for table in _TABLES if table not in there]
    async with connection.transaction():
        for table in missing:
            beside = "none" if table == _TABLES[0] else _TABLES[0]
            await connection.execute(_DISTRIBUTE, table, beside)
    return missing


async def _migrate_in_turn(connection: Any) -> None:
    for attempts_left in reversed(range(_ATTEMPTS)):
        try:
            await _migrate(connection)
        except asyncpg.InsufficientPrivilegeError as error:
            raise StoreRefused(
                f"The database needs a migration that its role may not do: {described(error)}."
                " Let a role run `fastpaca migrate` that owns the schema fastpaca, or that has"
                " CREATE on the database where the schema is missing."
            ) from error
        except asyncpg.PostgresError:
            if not attempts_left:
                raise
            await asyncio.sleep(_PAUSE_SECONDS)  # another node may be doing the same
        else:
            return


async def _version(connection: Any) -> int:
    try:
        version: int = await connection.fetchval(_VERSION)
    except (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError):
        return 0
    except asyncpg.InsufficientPrivilegeError as error:
        raise StoreRefused(
            f"The role of the address may not use the schema fastpaca: {described(error)}. Let the"
            " owner of the schema grant it USAGE there, and SELECT, INSERT, UPDATE and DELETE on"
            " its tables."
        ) from error
    return version


async def _lock(connection: Any) -> None:
    """Wait until no other node migrates; the lock goes with the transaction."""
    try:
        async with connection.transaction():  # a savepoint: the outer one goes on without the lock
            await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
    except (asyncpg.FeatureNotSupportedError, asyncpg.UndefinedFunctionError):
        return


async def _migrate(connection: Any) -> None:
    """Run one migration after the other, each in a transaction that has seen what was missing."""
    is_done = False
    while not is_done:
        async with connection.transaction():
            if connection.is_pooled:
                await connection.execute(connection.settings)
            await _lock(connection)
            if not await connection.fetchval(_HAS_SCHEMA):
                await connection.execute(_CREATE_SCHEMA)
            await connection.execute(_CREATE_VERSIONS)
            missing = pending(migrations("postgres"), await connection.fetchval(_VERSION))
            is_done = len(missing) <= 1
            for migration in missing[:1]:
                for statement in migration.statements:
                    await connection.execute(statement)
                await connection.execute(_RECORD, migration.version)
