"""The PostgreSQL store behind PgBouncer in transaction mode, with few connections for many."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import pytest

from fastpaca.store.base import PageBounds
from fastpaca.store.postgres.address import address_of
from fastpaca.store.postgres.operations import migrate
from fastpaca.store.postgres.session import Session, connect
from fastpaca.store.postgres.store import PostgresStore
from tests.kit.author import create
from tests.kit.pgbouncer import IGNORED, running_pgbouncer
from tests.kit.postgres import Server, run_sql
from tests.store.contract import MakeStore, StoreContract, loaded_row

POOL_SIZE = 2

ADVISORY_LOCKS = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory'"


@pytest.fixture(scope="session")
def poolers(fast_server: Server) -> Iterator[dict[str, Path]]:
    """Two poolers before one server: as it is installed, and one that ignores what nodes send."""
    with ExitStack() as stack:
        yield {
            "refuses": stack.enter_context(running_pgbouncer(fast_server, POOL_SIZE)),
            "ignores": stack.enter_context(
                running_pgbouncer(fast_server, POOL_SIZE, ignore_startup_parameters=IGNORED)
            ),
        }


@pytest.fixture(params=["refuses", "ignores"])
def pooled_dsn(
    request: pytest.FixtureRequest, poolers: dict[str, Path], fast_server: Server
) -> Iterator[str]:
    """The address of a database of its own, through a pooler."""
    name = fast_server.create_database()
    yield fast_server.dsn(name, poolers[request.param])
    fast_server.drop_database(name)


def store_of(dsn: str) -> PostgresStore:
    return PostgresStore(dsn, allow_unsafe=True)


class TestPooledPostgresStore(StoreContract):
    """The contract."""

    @pytest.fixture
    def make_store(self, fast_dsn: str, fast_server: Server, poolers: dict[str, Path]) -> MakeStore:
        """Make a store in a database of its own."""
        dsn = fast_dsn.replace(str(fast_server.directory), str(poolers["refuses"]))
        return lambda: store_of(dsn)


@asynccontextmanager
async def connected(dsn: str) -> AsyncIterator[Session]:
    """Connect as a node does that knows nothing yet."""
    address = address_of(dsn)
    (host,) = address.hosts
    settings = {"enable_seqscan": "off", "jit": "off"}
    session = await connect(address, host, settings, is_pooled=False)
    try:
        yield session
    finally:
        session.terminate()


async def test_pooler_is_noticed(pooled_dsn: str, fast_server: Server) -> None:
    """Behind a pooler nothing is left to the session; at the server itself all of it is."""
    async with connected(pooled_dsn) as session:
        assert session.is_pooled
    async with connected(fast_server.dsn()) as session:
        assert not session.is_pooled
        assert await session.fetchval("SHOW enable_seqscan") == "off"


async def test_settings_are_those_of_a_transaction(pooled_dsn: str) -> None:
    """A transaction of ours has the settings, and leaves nothing of them to others."""
    async with connected(pooled_dsn) as session:
        await session.execute(session.begin)
        assert await session.fetchval("SHOW enable_seqscan") == "off"
        await session.execute("COMMIT")
    for _ in range(2 * POOL_SIZE):
        assert await run_sql(pooled_dsn, "SHOW enable_seqscan") == [("on",)]


async def test_many_starts_at_once(pooled_dsn: str) -> None:
    """Nodes that meet an empty database together all open, and no lock outlives its migration."""
    stores = [store_of(pooled_dsn) for _ in range(5)]
    await asyncio.gather(*(store.open() for store in stores))
    assert await run_sql(pooled_dsn, "SELECT version FROM fastpaca.migrations") == [(1,)]
    assert await run_sql(pooled_dsn, ADVISORY_LOCKS) == []
    for store in stores:
        await store.close()
    assert (await migrate(pooled_dsn)).startswith("The schema is up to date")


async def test_sessions_are_shared_by_many(pooled_dsn: str) -> None:
    """Stores with far more connections than the pool get their own answers, none of another."""
    stores = [store_of(pooled_dsn) for _ in range(4)]
    for store in stores:
        await store.open()
    authors = await create(stores[0], *(f"c{number}" for number in range(8)))
    for _ in range(10):
        changes = [author.append(count=1) for author in authors]
        commits = [stores[n % 4].commit([change]) for n, change in enumerate(changes)]
        answers = [store.idempotency_records([f"k{number}"]) for number, store in enumerate(stores)]
        pages = [store.contexts("", "", 1) for store in stores]
        _, found, rows = await asyncio.gather(
            asyncio.gather(*commits), asyncio.gather(*answers), asyncio.gather(*pages)
        )
        assert found == [{}] * 4
        assert [len(page) for page in rows] == [1] * 4
    for author in authors:
        for store in stores:
            assert await loaded_row(store, author.row.id) == author.row
            assert await store.messages(author.row.id, 1, 99, PageBounds(99, 1 << 20)) == author.log
    for store in stores:
        await store.close()
