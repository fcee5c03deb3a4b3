"""
The tables of an archive in PostgreSQL, which the first node to start migrates.

Everything runs in transactions, and locks end with them, so it works with a pooler that runs each
transaction on another connection.
"""

from __future__ import annotations

import secrets
from typing import Any, Final

import asyncpg

from fastpaca.archive.base import ArchiveRefused
from fastpaca.store.base import StoreRefused
from fastpaca.store.migrate import Migration, migrations, pending
from fastpaca.store.postgres.errors import described

MIGRATION_LOCK: Final = 0x6670_616D
"""The number of the lock for migrations: `fpam`."""

IDENTITY_BYTES: Final = 16

_SCHEMA: Final = "SELECT current_schema()"

# Not `to_regclass`, whose cache may be older than a lock just waited for. And both in one query,
# since another node may create both between two.
_TABLES: Final = """
SELECT relname::text FROM pg_class JOIN pg_namespace ON pg_namespace.oid = pg_class.relnamespace
WHERE nspname = current_schema() AND relname IN ('messages', 'fastpaca_archive_migrations')
"""

_VERSION: Final = "SELECT coalesce(max(version), 0) FROM fastpaca_archive_migrations"

_PREPARE: Final = """
CREATE TABLE IF NOT EXISTS fastpaca_archive_migrations (
    version integer PRIMARY KEY,
    applied_at timestamptz NOT NULL DEFAULT now()
)
"""

_LOCK: Final = "SELECT pg_advisory_xact_lock($1)"

_RECORD: Final = "INSERT INTO fastpaca_archive_migrations (version) VALUES ($1)"

_IDENTIFY: Final = "INSERT INTO fastpaca_archive (identity) VALUES ($1) ON CONFLICT DO NOTHING"

_IDENTITY: Final = "SELECT identity FROM fastpaca_archive"

_SERVER: Final = """
SELECT current_setting('server_encoding'), current_setting('fsync'),
    current_setting('synchronous_commit')
"""


async def check_server(connection: Any, *, allow_unsafe: bool) -> None:
    """
    Check that the server keeps acknowledged writes, since messages are trimmed after them.

    Raises:
        ArchiveRefused: It does not, or can't store every text.
    """
    encoding, fsync, commit = await connection.fetchrow(_SERVER)
    if encoding != "UTF8":
        raise ArchiveRefused(f"The archive's database has the encoding {encoding}; use UTF8.")
    for name, value in (("fsync", fsync), ("synchronous_commit", commit)):
        if value == "off" and not allow_unsafe:
            raise ArchiveRefused(
                f"The archive's database runs with {name} = off: a crash can lose what it"
                " acknowledged, and with it messages that were already trimmed. Turn it on."
            )


async def check(connection: Any) -> bytes:
    """
    Check that no migration is missing, and return the identity of the archive.

    Raises:
        ArchiveRefused: One is missing, or a newer release has migrated it.
    """
    if await _pending(connection):
        raise ArchiveRefused(
            "The archive needs a migration, which this node is configured not to run: run"
            " `fastpaca migrate`."
        )
    return await _identity(connection)


async def bring_up_to_date(connection: Any) -> bytes:
    """
    Run the missing migrations, and return the identity of the archive.

    If there is nothing to do, a role that may only read and write is enough.

    Raises:
        ArchiveRefused: There is a table of another program, a newer release has migrated it, or
            this role may not.
    """
    if await _pending(connection):
        try:
            async with connection.transaction():
                await connection.fetchval(_LOCK, MIGRATION_LOCK)
                await _migrate(connection)
        except asyncpg.InsufficientPrivilegeError as error:
            raise ArchiveRefused(
                f"The archive needs a migration that its role may not do: {described(error)}. Let"
                " the owner of the schema grant it CREATE there, or run `fastpaca migrate` as a"
                " role that has it."
            ) from error
    return await _identity(connection)


async def version(connection: Any) -> int:
    """Return the version of the schema; 0 if there is none."""
    schema = await connection.fetchval(_SCHEMA)
    if schema is None:
        raise ArchiveRefused(
            "The archive's database has no schema for the tables: the search_path of DATABASE_URL"
            " names none that exists. Create it."
        )
    tables = {name for (name,) in await connection.fetch(_TABLES)}
    if "fastpaca_archive_migrations" in tables:
        return await _migrated(connection)
    if tables:
        raise ArchiveRefused(
            f"The schema {schema} of the archive's database has a table messages that belongs to"
            " another program. Create a schema for the archive, and add"
            " ?options=-csearch_path%3D<schema> to DATABASE_URL."
        )
    return 0


async def _migrated(connection: Any) -> int:
    try:
        version: int = await connection.fetchval(_VERSION)
    except asyncpg.InsufficientPrivilegeError as error:
        raise ArchiveRefused(
            f"The role of the archive's address may not use its tables: {described(error)}. Let"
            " their owner grant it SELECT, INSERT, UPDATE and DELETE."
        ) from error
    return version


async def _pending(connection: Any) -> list[Migration]:
    try:
        return pending(migrations("fastpaca.archive"), await version(connection))
    except StoreRefused as error:
        raise ArchiveRefused(str(error)) from error


async def _migrate(connection: Any) -> None:
    for migration in await _pending(connection):  # another node may have been faster
        await connection.execute(_PREPARE)
        for statement in migration.statements:
            await connection.execute(statement)
        await connection.execute(_RECORD, migration.version)
    await connection.execute(_IDENTIFY, secrets.token_bytes(IDENTITY_BYTES))


async def _identity(connection: Any) -> bytes:
    identity: bytes | None = await connection.fetchval(_IDENTITY)
    if identity is None:
        raise ArchiveRefused("The table fastpaca_archive of the archive is empty; restore it.")
    return identity
