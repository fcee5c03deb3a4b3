"""
`fastpaca migrate`: bring the schema of a PostgreSQL database up to date, and distribute its tables.

The database is one that nodes share, or the archive of a node on SQLite.

A node migrates by itself when it starts, unless its settings forbid it. Distributing the tables
needs Citus; do it while no node runs, once, and again after each upgrade that adds a table. Neither
has a time limit.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Coroutine
from typing import Any

from fastpaca.archive.base import ArchiveFailed
from fastpaca.archive.postgres import migrate as migrate_archive
from fastpaca.cli.stores import usable
from fastpaca.settings import SettingsError, load, load_store
from fastpaca.store.base import StoreRefused
from fastpaca.store.postgres.operations import distribute, migrate


def run(args: argparse.Namespace) -> int:
    """
    Migrate the database that *args* or the environment names, and return the exit code.

    Raises:
        SettingsError: They name no database, or its address can't be used.
    """
    dsn = load_store(args.store)
    work: Coroutine[Any, Any, str]
    if dsn not in ("sqlite", "memory"):
        usable(dsn, "--store" if args.store else "FASTPACA_STORE")
        work = distribute(dsn, _print_progress) if args.distribute else migrate(dsn)
    elif dsn == "sqlite" and not args.distribute and (settings := load()).archiver_enabled:
        work = migrate_archive(usable(settings.archive_url, settings.archive_source))
    else:
        raise SettingsError(
            "There is nothing to migrate: the store is not a PostgreSQL database. Name one in"
            " FASTPACA_STORE; a node on SQLite migrates its data directory when it starts."
        )
    try:
        done = asyncio.run(work)
    except (StoreRefused, ArchiveFailed) as error:
        print(f"fastpaca: {error}", file=sys.stderr)
        return 1
    print(done)
    return 0


def _print_progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
