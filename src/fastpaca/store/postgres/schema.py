"""
The schema of a PostgreSQL database, which the first node to start migrates.

Nodes that start together wait for each other at an advisory lock. On a database without such locks,
the second node's migration fails, since it was already done; then that node checks again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import asyncpg

from fastpaca.store.base import StoreRefused
from fastpaca.store.migrate import migrations, pending
from fastpaca.store.postgres.errors import described

_LOCK: Final = 0x66706361
"""The number of the lock: `fpca`."""

_ATTEMPTS: Final = 5
_PAUSE_SECONDS: Final = 0.2

_VERSION: Final = "SELECT coalesce(max(version), 0) FROM fastpaca.migrations"

_HAS_SCHEMA: Final = "SELECT true FROM pg_namespace WHERE nspname = 'fastpaca'"

# Only if it is missing: even if there is nothing to do, this requires CREATE on the database.
_CREATE_SCHEMA: Final = "CREATE SCHEMA IF NOT EXISTS fastpaca"

_CREATE_VERSIONS: Final = """
CREATE TABLE IF NOT EXISTS fastpaca.migrations (
    version integer PRIMARY KEY,
    applied_at timestamptz NOT NULL DEFAULT now()
)
"""

_RECORD: Final = "INSERT INTO fastpaca.migrations (version) VALUES ($1)"

_HAS_CITUS: Final = "SELECT to_regproc('create_distributed_table') IS NOT NULL"

_HAS_LAYOUT: Final = "SELECT to_regclass('pg_dist_partition') IS NOT NULL"

# By hash (h), or whole on every server: no key (n), replicated in two phases (t). Local tables that
# Citus knows have neither.
_LAYOUT: Final = """
SELECT pg_namespace.nspname || '.' || pg_class.relname
FROM pg_dist_partition
JOIN pg_class ON pg_class.oid = pg_dist_partition.logicalrelid
JOIN pg_namespace ON pg_namespace.oid = pg_class.relnamespace
WHERE partmethod = 'h' OR (partmethod = 'n' AND repmodel = 't')
"""

_DISTRIBUTE: Final = """
SELECT create_distributed_table($1::text::regclass, $2, colocate_with => $3)
"""

_COPY_TO_ALL: Final = "SELECT create_reference_table($1::text::regclass)"

_SIZE: Final = "SELECT pg_size_pretty(pg_total_relation_size($1::text::regclass))"

_HAS_LEFT: Final = "SELECT pg_relation_size($1::text::regclass) > 0"

_TRUNCATE: Final = "SELECT truncate_local_data_after_distributing_table($1::text::regclass)"

_CONTEXTS: Final = "fastpaca.contexts"

_PACKAGE: Final = "fastpaca.store.postgres"

_MIGRATIONS: Final = "fastpaca.migrations"

_TABLES: Final = {
    _CONTEXTS: ("context_id", "none"),
    "fastpaca.messages": ("context_id", _CONTEXTS),
    "fastpaca.synthetics": ("context_id", _CONTEXTS),
    "fastpaca.compactions": ("context_id", _CONTEXTS),
    "fastpaca.answers": ("key_hash", "none"),
}
"""The column that each table is distributed by, and the table that its rows are stored with."""

PROGRESS_SECONDS: Final = 30.0
"""How often a long step reports that it continues."""

Tell = Callable[[str], None]
"""Shows a line to the operator."""


async def check(connection: Any) -> None:
    """
    Check that no migration is missing.

    Raises:
        StoreRefused: One is, or a newer release has migrated the database.
    """
    if pending(migrations(_PACKAGE), await _version(connection)):
        raise StoreRefused(
            "The database needs a migration, which this node is configured not to run: run"
            " `fastpaca migrate`."
        )


async def bring_up_to_date(connection: Any) -> int:
    """
    Run the missing migrations, and return the version of the schema.

    If there is nothing to do, a role that may only read and write is enough.

    Raises:
        StoreRefused: A newer release has migrated it, or this role may not.
    """
    if pending(migrations(_PACKAGE), await _version(connection)):
        await _migrate_in_turn(connection)
    return await _version(connection)


async def is_distributed(connection: Any) -> bool:
    """Return whether the contexts are spread over several servers."""
    if not await connection.fetchval(_HAS_LAYOUT):
        return False
    return _CONTEXTS in {table for (table,) in await connection.fetch(_LAYOUT)}


async def distribute_tables(
    connection: Any, tell: Tell, progress_seconds: float = PROGRESS_SECONDS
) -> list[str]:
    """
    Distribute the tables over the servers of a Citus cluster, and return those that were not yet.

    Each table has its own transaction, so an interrupted run can be continued. The versions of the
    schema are copied to all servers, since a node may connect to any of them.

    Raises:
        StoreRefused: This database can't do that.
    """
    if not await connection.fetchval(_HAS_CITUS):
        raise StoreRefused(
            "The tables cannot be distributed: Citus is not installed in the database."
        )
    there = {table for (table,) in await connection.fetch(_LAYOUT)}
    steps: dict[str, tuple[str, ...]] = {
        **{table: (_DISTRIBUTE, table, *how) for table, how in _TABLES.items()},
        _MIGRATIONS: (_COPY_TO_ALL, _MIGRATIONS),
    }
    step = partial(_step, connection, tell=tell, progress_seconds=progress_seconds)
    for table, statement in steps.items():
        if table not in there:
            size = await connection.fetchval(_SIZE, table)
            await step(f"Distributing {table} ({size})", *statement)
        if await connection.fetchval(_HAS_LEFT, table):
            await step(f"Removing the old rows of {table} from the coordinator", _TRUNCATE, table)
    return [table for table in steps if table not in there]


async def _step(
    connection: Any, what: str, *statement: object, tell: Tell, progress_seconds: float
) -> None:
    """Run a *statement* that may take hours, and report that it continues."""
    tell(f"{what} …")
    telling = asyncio.create_task(_tell_on(what, tell, progress_seconds))
    try:
        async with connection.transaction():
            if connection.is_pooled:
                await connection.execute(connection.settings)
            await connection.fetchval(*statement)
    finally:
        telling.cancel()


async def _tell_on(what: str, tell: Tell, progress_seconds: float) -> None:
    now = asyncio.get_running_loop().time
    started = now()
    while True:
        await asyncio.sleep(progress_seconds)
        tell(f"{what}: {now() - started:,.0f} seconds so far …")


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
    """Wait until no other node migrates; the lock ends with the transaction."""
    try:
        async with connection.transaction():  # a savepoint: the outer one continues without a lock
            await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
    except (asyncpg.FeatureNotSupportedError, asyncpg.UndefinedFunctionError):
        return


async def _migrate(connection: Any) -> None:
    """Run the missing migrations, each in a transaction that checks which one is next."""
    is_done = False
    while not is_done:
        async with connection.transaction():
            if connection.is_pooled:
                await connection.execute(connection.settings)
            await _lock(connection)
            if not await connection.fetchval(_HAS_SCHEMA):
                await connection.execute(_CREATE_SCHEMA)
            await connection.execute(_CREATE_VERSIONS)
            missing = pending(migrations(_PACKAGE), await connection.fetchval(_VERSION))
            is_done = len(missing) <= 1
            for migration in missing[:1]:
                for statement in migration.statements:
                    await connection.execute(statement)
                await connection.execute(_RECORD, migration.version)
