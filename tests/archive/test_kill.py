"""
kill -9 of the node and of PostgreSQL while messages are archived: none is missing, none doubled.

One life of a node is one seed; `pytest tests/archive/test_kill.py --seed=17` lives it again, with
the same requests and kills, as far as timing lets it. `--runs=200` lives so many lives.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.archive.world import archived_rows, left_of
from tests.kit.http import connected
from tests.kit.load import Load
from tests.kit.postgres import Server, run_sql, running_server, until
from tests.kit.process import Process, started

KILLS = 5
"""How often one life is cut short."""

CLIENTS = 4
CONTEXTS = 8


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A server of its own, since it is killed."""
    with running_server() as running:
        yield running


@contextmanager
def node(directory: Path, dsn: str) -> Iterator[Process]:
    """Run a node that archives all the time, in small pieces, and trims nearly all."""
    with started(
        directory,
        FASTPACA_ARCHIVER_ENABLED="true",
        DATABASE_URL=dsn,
        FASTPACA_ARCHIVE_FLUSH_INTERVAL_MS="5",
        FASTPACA_ARCHIVER_BATCH_SIZE="20",
        FASTPACA_TAIL_KEEP="2",
    ) as process:
        yield process


@pytest.mark.slow
async def test_killed_while_archiving(tmp_path: Path, seed: int, server: Server) -> None:
    """
    After each kill every message is in the store or the archive, and in the end all are in the
    archive once, as the log has them, and most in the archive only.
    """
    chance = random.Random(seed)
    load = Load(CONTEXTS, seed, archive=True)
    dsn = server.dsn(await asyncio.to_thread(server.create_database))
    with node(tmp_path, dsn) as process:
        await load.create(process.port)
        await kill_under_load(process, load, chance)
    await check_nothing_is_missing(tmp_path, dsn)
    for _ in range(KILLS - 1):
        fate = chance.choice(["the node", "the archive", "both"])
        with node(tmp_path, dsn) as process:
            await load.check(process.port)
            if fate == "the node":
                await kill_under_load(process, load, chance)
            else:
                await kill_archive_under_load(process, server, load, chance, fate)
        if fate == "both":
            with node(tmp_path, dsn) as process:  # which starts without it
                async with connected(process.port) as http:
                    assert (await http.ask("GET", "/v1/contexts/c0")).status == 200
            await asyncio.to_thread(server.start)
        await check_nothing_is_missing(tmp_path, dsn)
    with node(tmp_path, dsn) as process:
        await load.check_to_the_end(process.port)
        await check_archive(load, process, dsn)
        await load.check(process.port)
        assert process.stop() == 0
    trimmed = [last_seq - len(there) for last_seq, there in left_of(tmp_path / "data").values()]
    assert sum(trimmed) > 0


async def kill_under_load(process: Process, load: Load, chance: random.Random) -> None:
    """Let clients write, and kill the node at some moment behind some answer."""
    async with asyncio.TaskGroup() as clients:
        for _ in range(CLIENTS):
            clients.create_task(load.keep_writing(process.port))
        await load.answered(chance.randint(20, 120))
        await asyncio.sleep(chance.uniform(0, 0.02))
        process.kill()


async def kill_archive_under_load(
    process: Process, server: Server, load: Load, chance: random.Random, fate: str
) -> None:
    """Kill PostgreSQL while clients write, who notice nothing, and then the node."""
    async with asyncio.TaskGroup() as clients:
        for _ in range(CLIENTS):
            clients.create_task(load.keep_writing(process.port))
        await load.answered(chance.randint(10, 60))
        await asyncio.to_thread(server.kill)
        await load.answered(30)
        if fate == "the archive":
            await asyncio.to_thread(server.start)
            await load.answered(chance.randint(1, 60))
        process.kill()


async def check_nothing_is_missing(directory: Path, dsn: str) -> None:
    """Hold what a dead node has left together with the archive: between them they have it all."""
    archive = {(name, seq): body for name, seq, body in await archived_rows(dsn)}
    for name, (last_seq, there) in left_of(directory / "data").items():
        for seq in range(1, last_seq + 1):
            found = {
                body for body in (there.get(seq), archive.get((name, seq))) if body is not None
            }
            assert len(found) == 1, f"{name} {seq}: {len(found)} messages"


async def check_archive(load: Load, process: Process, dsn: str) -> None:
    """Wait until all is archived, and hold it against the log that the node gives."""
    async with connected(process.port) as http:
        logs = {}
        for context_id in sorted([*load.known, *load.forks]):
            path = f"/v1/contexts/{context_id}/messages?limit=10000"
            logs[context_id] = (await http.ask("GET", path)).json["messages"]
    expected = [(name, message["seq"], message["id"]) for name in logs for message in logs[name]]
    told = "convert_from(body, 'UTF8')::json->>'id'"
    sql = f"SELECT context_id, seq, {told} FROM messages ORDER BY 1, 2"

    async def is_complete() -> bool:
        return len(await run_sql(dsn, "SELECT 1 FROM messages")) >= len(expected)

    await asyncio.wait_for(until(is_complete), 60)
    assert [tuple(row) for row in await run_sql(dsn, sql)] == expected
