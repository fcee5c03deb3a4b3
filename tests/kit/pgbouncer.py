"""A real PgBouncer between nodes and their PostgreSQL server, in transaction mode."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg

from tests.kit.postgres import Server, run_sql, until
from tests.kit.programs import program

IGNORED = (
    "statement_timeout, idle_in_transaction_session_timeout,"
    " enable_hashjoin, enable_mergejoin, enable_seqscan, jit"
)
"""Settings that PgBouncer takes and forgets, if it is told to ignore them."""

_SOCKET_PORT = 5432


@contextmanager
def running_pgbouncer(server: Server, pool_size: int, **settings: str) -> Iterator[Path]:
    """
    Stand before *server* with so many connections for each database, and give where it listens.

    It has the *settings* besides those without which it could not be reached.
    """
    command = program("pgbouncer")
    directory = Path(tempfile.mkdtemp(prefix="fastpaca-pool-", dir="/tmp"))
    account = "nobody" if os.geteuid() == 0 else None  # it refuses to be run by root
    (directory / "users").write_text('"fastpaca" ""\n')
    all_settings = {
        "pool_mode": "transaction",
        "default_pool_size": str(pool_size),
        "unix_socket_dir": str(directory),
        "listen_port": str(_SOCKET_PORT),
        "auth_type": "trust",
        "auth_file": str(directory / "users"),
        **settings,
    }
    lines = [f"{name} = {value}" for name, value in all_settings.items()]
    config = directory / "config.ini"
    config.write_text(f"[databases]\n* = host={server.directory}\n[pgbouncer]\n" + "\n".join(lines))
    if account is not None:
        for path in (directory, directory / "users", config):
            shutil.chown(path, account)
    # It ends with this block, or with this process if it is killed.
    script = '"$0" "$1" >"$2" 2>&1 & read -r _; kill -KILL "$!"; wait; rm -rf "$3"'
    process = subprocess.Popen(
        ["sh", "-c", script, command, str(config), str(directory / "log"), str(directory)],
        stdin=subprocess.PIPE,
        user=account,
        cwd="/",
        start_new_session=True,
    )
    try:
        asyncio.run(until(lambda: _answers(server.dsn(directory=directory))))
        yield directory
    finally:
        process.communicate()
        shutil.rmtree(directory, ignore_errors=True)


async def _answers(dsn: str) -> bool:
    try:
        await run_sql(dsn, "SELECT 1")
    except (OSError, asyncpg.PostgresError):
        return False
    return True
