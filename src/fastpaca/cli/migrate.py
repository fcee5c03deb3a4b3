"""
`fastpaca migrate`: bring the schema of a PostgreSQL database up to date, and distribute its tables.

That is the database of nodes that share it, or the archive of a node on SQLite.

A node does the first by itself when it starts, unless it is told not to. The second needs Citus. It
is done while no node runs, once and after each upgrade that adds a table. Neither has a time limit.
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
    Migrate the database that *args* or the environment names, and answer the exit code.

    Raises:
        SettingsError: It names no database, or the address cannot be used.
    """
    dsn = load_store(args.store)
    work: Coroutine[Any, Any, str]
    if dsn not in ("sqlite", "memory"):
        usable(dsn, "--store" if args.store else "FASTPACA_STORE")
        work = distribute(dsn, _tell) if args.distribute else migrate(dsn)
    elif dsn == "sqlite" and not args.distribute and (settings := load()).archiver_enabled:
        work = migrate_archive(usable(settings.archive_url, settings.archive_source))
    else:
        raise SettingsError(
            "There is nothing to migrate: FASTPACA_STORE names no PostgreSQL database."
        )
    try:
        done = asyncio.run(work)
    except (StoreRefused, ArchiveFailed) as error:
        print(f"fastpaca: {error}", file=sys.stderr)
        return 1
    print(done)
    return 0


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
