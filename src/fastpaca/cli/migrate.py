"""
`fastpaca migrate`: bring the schema of a PostgreSQL database up to date, and distribute its tables.

A node does the first by itself when it starts, unless it is told not to. The second needs Citus,
and is done once, while no node runs.
"""

from __future__ import annotations

import argparse
import asyncio
import sys

from fastpaca.settings import SettingsError, load_store
from fastpaca.store.base import StoreRefused
from fastpaca.store.postgres import distribute, migrate


def run(args: argparse.Namespace) -> int:
    """
    Migrate the database that *args* or the environment names, and answer the exit code.

    Raises:
        SettingsError: It names no database.
    """
    dsn = load_store(args.store)
    if dsn in ("sqlite", "memory"):
        raise SettingsError(
            "There is nothing to migrate: FASTPACA_STORE names no PostgreSQL database."
        )
    try:
        done = asyncio.run(distribute(dsn) if args.distribute else migrate(dsn))
    except StoreRefused as error:
        print(f"fastpaca: {error}", file=sys.stderr)
        return 1
    print(done)
    return 0
