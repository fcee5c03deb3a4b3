"""
What a database can refuse: the client is told to try again, nothing is lost or done twice, and the
node goes on as soon as the database does.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from tests.kit.postgres import Server, database_of, locked, run_sql, until_found
from tests.nodes.disk import can_mount, small_disk
from tests.nodes.node import Node, node, refusal

CUT = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
"""

CUT_NODES = f"{CUT} AND application_name = 'fastpaca'"


async def configure(dsn: str, setting: str) -> None:
    """Let a setting hold for all who connect to a database from now on."""
    await run_sql(dsn, f"ALTER DATABASE {database_of(dsn)} SET {setting}")


async def test_lock_timeout(dsn: str, tmp_path: Path) -> None:
    """Rows that somebody else keeps: the append is given up in the time that the operator set."""
    await configure(dsn, "lock_timeout = '100ms'")
    async with node(dsn, tmp_path) as it:
        await it.appended("a")
        for table in ("contexts", "messages", "answers"):
            async with locked(dsn, f"fastpaca.{table}"):
                assert refusal(await it.append("b")) == "unavailable"
        await it.appended("b")
        assert await it.log() == ["a", "b"]


async def test_server_that_ends_idle_sessions(server: Server, dsn: str, tmp_path: Path) -> None:
    """Connections end while nobody uses them: others are made, and nothing is lost."""
    await configure(dsn, "idle_session_timeout = '20ms'")
    names = [str(number) for number in range(10)]
    ended = (
        "SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM pg_stat_activity"
        f" WHERE datname = '{database_of(dsn)}' AND application_name = 'fastpaca')"
    )
    async with node(dsn, tmp_path) as it:
        for name in names:
            await until_done(it, name)
            await until_found(server.dsn(), ended)  # of another database: not ended itself
        assert await it.log() == names


async def until_done(it: Node, name: str) -> None:
    """Append a message, again and again while that is refused."""
    while (reply := await it.append(name)).status != 201:
        assert refusal(reply) in {"unavailable", "outcome_unknown"}
        await asyncio.sleep(0.05)


async def test_no_connection_left(dsn: str, tmp_path: Path) -> None:
    """Others use all connections that the server has: it is tried again until one is free."""
    role = f"narrow_{database_of(dsn)}"
    await run_sql(dsn, f"CREATE ROLE {role} LOGIN CONNECTION LIMIT 2")
    await run_sql(dsn, f"GRANT CREATE ON DATABASE {database_of(dsn)} TO {role}")
    narrow = dsn.replace("fastpaca@", f"{role}@")
    try:
        async with node(narrow, tmp_path) as it:
            await it.appended("a")
            await run_sql(dsn, CUT)
            taken = [await take(narrow, dsn) for _ in range(2)]
            with pytest.raises(asyncpg.TooManyConnectionsError):
                await asyncpg.connect(narrow)
            assert refusal(await it.append("b")) == "unavailable"
            for connection in taken:
                await connection.close()
            await until_done(it, "b")
            assert await it.log() == ["a", "b"]
    finally:
        await run_sql(dsn, f"DROP OWNED BY {role}")
        await run_sql(dsn, f"DROP ROLE {role}")


async def take(narrow: str, dsn: str) -> asyncpg.Connection:
    """Connect before the node does."""
    while True:
        try:
            return await asyncpg.connect(narrow)
        except asyncpg.TooManyConnectionsError:
            await run_sql(dsn, CUT_NODES)  # a node looks at its database all the time


@pytest.fixture(params=["mounted", "raised"] if can_mount() else ["raised"])
def disk_kind(request: pytest.FixtureRequest) -> str:
    """A real disk where this machine lets us have one, and an error like that of a full one."""
    kind: str = request.param
    return kind


@pytest.fixture
def names() -> Iterator[str]:
    """Names for messages."""
    return map(str, itertools.count())


async def test_disk_full(
    server: Server, dsn: str, tmp_path: Path, disk_kind: str, names: Iterator[str]
) -> None:
    """
    No room is left: appends are refused and nothing is changed, reads go on, and so do appends as
    soon as there is room.
    """
    done: list[str] = []
    async with small_disk(server, dsn, disk_kind) as disk, node(dsn, tmp_path) as it:
        await disk.prepare()
        done.append(next(names))
        await it.appended(done[-1])
        await disk.fill()
        while (reply := await it.append(name := next(names))).status == 201:
            done.append(name)
        for _ in range(3):
            assert refusal(reply) == "unavailable"
            assert "(53100)" in it.log_lines
            assert await it.log() == done
            reply = await it.append(name)
        await disk.clear()
        await it.appended(name)
        assert await it.log() == [*done, name]
