"""
Which store the settings ask for, and how a command has it for itself.

The one place where a store is put together: what `serve` serves with, `export` and `import` use.
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
    Make the store that *settings* name; it is not opened.

    *on_fatal* is told why it cannot be trusted any more, if it comes to that.

    Raises:
        SettingsError: The address of a database cannot be used.
    """
    if settings.store == "memory":
        return MemoryStore()
    if settings.is_postgres:
        from fastpaca.store.postgres.store import PostgresStore  # others need no driver

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
    Give the address *dsn* back, if it can be used; it is from the variable *source*.

    Raises:
        SettingsError: It cannot.
    """
    from fastpaca.store.postgres.address import BadAddress, address_of  # as above

    try:
        address_of(dsn)
    except BadAddress as error:
        raise SettingsError(f"{source} cannot be used: {error}.") from None
    return dsn


def settings_of(args: argparse.Namespace) -> Settings:
    """
    Read which store a command is for, from its flags and from the environment as a node does.

    Raises:
        SettingsError: A setting cannot be used, or it names a store that ends with its process.
    """
    settings = load({"store": args.store, "data_dir": args.data_dir})
    if settings.store == "memory":
        raise SettingsError("FASTPACA_STORE is memory, which exists only inside a running node.")
    return settings


@asynccontextmanager
async def opened(settings: Settings, *, may_make: bool) -> AsyncIterator[Store]:
    """
    Open the store of *settings*, and close it in the end.

    *may_make* says whether one that is not there is made, and an old one brought up to date.

    Raises:
        StoreRefused: It is not there, is in use, or cannot be used.
    """
    if not may_make:
        if settings.store == "sqlite" and not (settings.data_dir / DATABASE_NAME).is_file():
            raise StoreRefused(f"There is no {DATABASE_NAME} in {settings.data_dir}.")
        settings = replace(settings, migrate_on_boot=False)
    store = store_of(settings)
    try:
        await store.open()
        yield store
    finally:
        await store.close()
