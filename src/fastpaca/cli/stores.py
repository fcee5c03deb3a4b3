"""
The store that the settings name, for `serve`, `export` and `import`.

Only this module assembles stores.
"""

from __future__ import annotations

import argparse
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

from fastpaca.clock import now_us
from fastpaca.settings import Settings, SettingsError, load
from fastpaca.store.base import Store, StoreRefused
from fastpaca.store.memory import MemoryStore
from fastpaca.store.sqlite.files import DATABASE_NAME
from fastpaca.store.sqlite.store import SqliteStore
from fastpaca.telemetry import ArchiveMetrics


def store_of(settings: Settings, on_fatal: Callable[[str], None] | None = None) -> Store:
    """
    Make the store that *settings* name, without opening it.

    *on_fatal* is called with the reason when the store can no longer be trusted.

    Raises:
        SettingsError: The address of a database can't be used.
    """
    if settings.store == "memory":
        return MemoryStore()
    if settings.is_postgres:
        from fastpaca.store.postgres.store import PostgresStore  # other stores need no driver

        return PostgresStore(
            usable(settings.store, "FASTPACA_STORE"),
            connections=settings.db_pool_size,
            migrates=settings.migrate_on_boot,
            allow_unsafe=settings.allow_unsafe_postgres,
        )
    if settings.archiver_enabled:
        return _archived(settings, on_fatal)
    return SqliteStore(settings.data_dir, on_fatal=on_fatal)


def _archived(settings: Settings, on_fatal: Callable[[str], None] | None) -> Store:
    from fastpaca.archive.postgres import PostgresArchive  # as above
    from fastpaca.archive.store import ArchivedStore
    from fastpaca.archive.writer import Pace

    archive = PostgresArchive(
        usable(settings.archive_url, settings.archive_source),
        connections=settings.db_pool_size,
        migrates=settings.migrate_on_boot,
        allow_unsafe=settings.allow_unsafe_postgres,
    )
    pace = Pace(
        interval_seconds=settings.archive_flush_interval_ms / 1000,
        batch_rows=settings.archiver_batch_size,
        tail_keep=settings.tail_keep,
    )
    store = SqliteStore(settings.data_dir, is_archived=True, on_fatal=on_fatal)
    return ArchivedStore(store, archive, pace, ArchiveMetrics(now_us))


def usable(dsn: str, source: str) -> str:
    """
    Return the address *dsn* if it can be used; *source* is the variable that it is from.

    Raises:
        SettingsError: It can't be used.
    """
    from fastpaca.store.postgres.address import BadAddress, address_of  # as above

    try:
        address_of(dsn)
    except BadAddress as error:
        raise SettingsError(f"{source} cannot be used: {error}.") from None
    return dsn


def settings_of(args: argparse.Namespace) -> Settings:
    """
    Read the settings of a command's store from its flags and the environment, as a node does.

    Raises:
        SettingsError: A setting can't be used, or the store is in memory.
    """
    settings = load({"store": args.store, "data_dir": args.data_dir})
    if settings.store == "memory":
        raise SettingsError("FASTPACA_STORE is memory, which exists only inside a running node.")
    return settings


@asynccontextmanager
async def opened(settings: Settings, *, may_create: bool) -> AsyncIterator[Store]:
    """
    Open the store of *settings* for a block.

    *may_create* says whether to create a missing store and to migrate an old one.

    Raises:
        StoreRefused: It is missing, is in use, or can't be used.
    """
    if not may_create:
        if settings.store == "sqlite" and not (settings.data_dir / DATABASE_NAME).is_file():
            raise StoreRefused(
                f"There is no {DATABASE_NAME} in {settings.data_dir}; name the data directory with"
                " --data-dir, or a database with FASTPACA_STORE."
            )
        settings = replace(settings, migrate_on_boot=False)
    store = store_of(settings)
    try:
        await store.open()
        yield store
    finally:
        await store.close()
