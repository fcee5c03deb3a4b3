"""
The database goes away under load, and comes back or is replaced by its standby: nodes say so
meanwhile, and then go on.

`pytest tests/nodes/test_database.py --runs=20` tries so many seeds, `--seed=7` that one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.kit.postgres import Pair, Server, run_sql, running_pair, running_server
from tests.nodes.clients import Clients
from tests.nodes.cluster import cluster
from tests.nodes.history import not_linearizable

NODES = 2
CLIENTS = 12
CONTEXTS = 6
WRITES_BETWEEN = 60
CUTS = 5
RESTARTS = 3

CUT = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE application_name = 'fastpaca' AND datname = current_database()
"""


@pytest.fixture
def own_server() -> Iterator[Server]:
    """A server that may be stopped: no other test uses it."""
    with running_server() as server:
        yield server


@pytest.fixture
def pair() -> Iterator[Pair]:
    """A server with a standby that takes over in the end."""
    with running_pair() as pair:
        yield pair


@asynccontextmanager
async def under_load(dsn: str, directory: Path, seed: int) -> AsyncIterator[Clients]:
    """
    Let clients write through two nodes during this block, then judge what they met.

    A write with a key is sent again until it is answered, so each of them is there once.
    """
    async with cluster(dsn, directory, NODES) as nodes:
        clients = Clients(nodes, CONTEXTS, seed)
        async with clients.busy(CLIENTS):
            await clients.answered(WRITES_BETWEEN)
            yield clients
            await clients.answered(WRITES_BETWEEN)
        await clients.read_all()
    for context_id in clients.ids:
        stuck = not_linearizable(clients.calls[context_id])
        assert stuck is None, f"{context_id}: {stuck}"
    assert clients.lost == 0, "a node hung up on a client"


async def until_refused(clients: Clients) -> None:
    """Wait until clients were told that nothing can be done now."""
    goal = clients.unavailable + CLIENTS
    async with asyncio.timeout(60):
        while clients.unavailable < goal:  # noqa: ASYNC110 - nothing announces it
            await asyncio.sleep(0.005)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["immediate", "fast"])
async def test_restart_of_the_database(
    own_server: Server, tmp_path: Path, seed: int, mode: str
) -> None:
    """
    The server crashes, or is stopped: meanwhile clients are answered 503 and when to try again, and
    when it is back, nodes go on by themselves with all that they had acknowledged.
    """
    async with under_load(own_server.dsn(), tmp_path, seed) as clients:
        for _ in range(RESTARTS):
            await asyncio.to_thread(own_server.stop, mode)
            await until_refused(clients)
            await asyncio.to_thread(own_server.start)
            await clients.answered(WRITES_BETWEEN)


@pytest.mark.slow
async def test_standby_takes_over(pair: Pair, tmp_path: Path, seed: int) -> None:
    """
    The server is killed and its standby promoted: nodes that know both hosts go on by themselves
    with all that they had acknowledged, once.
    """
    async with under_load(pair.dsn(), tmp_path, seed) as clients:
        await asyncio.to_thread(pair.primary.kill)
        await until_refused(clients)
        await asyncio.to_thread(pair.standby.promote)
        await clients.answered(WRITES_BETWEEN)


async def test_database_that_is_only_read(dsn: str, tmp_path: Path, seed: int) -> None:
    """
    The server takes no writes for a while: they are refused, and go on when it takes them again.
    """
    async with under_load(dsn, tmp_path, seed) as clients:
        try:
            await run_sql(dsn, "ALTER SYSTEM SET default_transaction_read_only = on")
            await run_sql(dsn, "SELECT pg_reload_conf()")
            await until_refused(clients)
        finally:
            await run_sql(dsn, "ALTER SYSTEM RESET default_transaction_read_only")
            await run_sql(dsn, "SELECT pg_reload_conf()")
        await clients.answered(WRITES_BETWEEN)


async def test_cut_connections(dsn: str, tmp_path: Path, seed: int) -> None:
    """
    All connections to the database are cut again and again, and nothing is lost or done twice.
    """
    cut = 0
    async with under_load(dsn, tmp_path, seed) as clients:
        for _ in range(CUTS):
            cut += len(await run_sql(dsn, CUT))
            await clients.answered(WRITES_BETWEEN)
    assert cut >= CUTS
