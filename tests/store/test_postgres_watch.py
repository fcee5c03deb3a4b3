"""Whether the database is of use, looked at by the store itself, and the time that it has."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import pytest

from fastpaca.store.base import Condition, StoreRefused
from fastpaca.store.postgres.connections import PostgresConnections
from fastpaca.store.postgres.store import PostgresStore
from fastpaca.store.postgres.watch import PATIENCE_SECONDS, SharedClock, Watch
from fastpaca.testing import ManualClock
from tests.kit.author import create
from tests.kit.postgres import (
    Server,
    database_of,
    locked,
    run_script,
    run_sql,
    until,
    until_waiting,
)
from tests.kit.proxy import Proxy, proxied
from tests.kit.stores import opened
from tests.store.test_postgres_primary import fenced, store_at

OFTEN: Final = 0.01
"""How long after one look the next one begins in these tests."""

MINUTE_US: Final = 60_000_000

DAY_US: Final = 24 * 60 * MINUTE_US


class World:
    """A watch, and the clock that it measures with."""

    def __init__(self, watch: Watch, clock: ManualClock) -> None:
        self.watch = watch
        self.clock = clock

    async def reason_after(self, seconds: float, words: str) -> str:
        """Let so much time pass, wait until the reason has these words, and give it."""
        self.clock.advance(seconds)

        async def is_told() -> bool:
            return words in (self.watch.condition.reason or "")

        await until(is_told)
        assert self.watch.condition.reason is not None
        assert not self.watch.condition.is_partial
        return self.watch.condition.reason

    async def until_well(self) -> None:
        async def is_well() -> bool:
            return self.watch.condition == Condition()

        await until(is_well)


@asynccontextmanager
async def watching(dsn: str, *, looks: float = OFTEN, answers: float = 30) -> AsyncIterator[World]:
    """Watch the database at *dsn*, by a clock that stands still."""
    clock = ManualClock()
    connections = PostgresConnections(dsn, 3, 10, allow_unsafe=True)
    watch = Watch(connections, look_seconds=looks, answer_seconds=answers, now=clock.monotonic)
    await watch.start()
    try:
        yield World(watch, clock)
    finally:
        await watch.stop()
        await connections.close()


def dsn_of(proxy: Proxy, server: Server, dsn: str) -> str:
    return server.dsn(database_of(dsn), proxy.directory)


async def test_database_that_is_away(
    fast_server: Server, fast_dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    """
    It has been of use until it went away, and may be away for five seconds; after that the store
    says so, without a request that would have noticed, until it is of use again. The log says why,
    once.
    """
    async with (
        proxied(fast_server) as proxy,
        watching(dsn_of(proxy, fast_server, fast_dsn)) as it,
    ):
        proxy.accepts = False
        proxy.end_all()
        await none_open(proxy)
        it.clock.advance(PATIENCE_SECONDS)
        assert it.watch.condition == Condition()
        reason = await it.reason_after(1, "reached")
        assert reason == "The database has been unusable for 6 seconds: it cannot be reached."

        async def is_logged() -> bool:
            return any(one.startswith("not ready: The database") for one in caplog.messages)

        await until(is_logged)
        assert sum(one.count("cannot be used") for one in caplog.messages) == 1
        proxy.accepts = True
        await it.until_well()


async def none_open(proxy: Proxy) -> None:
    """Wait until a proxy has no connection, so that no look is under way."""

    async def is_empty() -> bool:
        return not proxy.open_count

    await until(is_empty)


async def test_database_that_says_nothing(fast_server: Server, fast_dsn: str) -> None:
    """A machine that died does not end its connections: a look does not wait for it for long."""
    async with (
        proxied(fast_server) as proxy,
        watching(dsn_of(proxy, fast_server, fast_dsn), answers=0.1) as it,
    ):
        proxy.is_silent = True
        await it.reason_after(6, "it does not respond")
        proxy.is_silent = False
        await it.until_well()


async def test_database_that_takes_no_writes(fast_server: Server, fast_dsn: str) -> None:
    """One that can only be read is of no use, since another may have taken over from it."""
    async with watching(fast_dsn) as it:
        async with fenced(fast_server):
            await it.reason_after(6, "it accepts no writes")
        await it.until_well()


async def test_reason_names_nobody(fast_server: Server, fast_dsn: str) -> None:
    """Nothing that the server says is passed on: it names hosts, users and databases."""
    database = database_of(fast_dsn)
    await run_script(fast_dsn, "DROP ROLE IF EXISTS secretive; CREATE ROLE secretive LOGIN")
    dsn = fast_dsn.replace("fastpaca@", "secretive@")
    try:
        async with watching(dsn) as it:
            await run_sql(fast_server.dsn(), "ALTER ROLE secretive NOLOGIN")
            await run_sql(
                fast_server.dsn(),
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE usename = 'secretive'",
            )
            reason = await it.reason_after(6, "(28000)")
            for name in ("secretive", database, str(fast_server.directory)):
                assert name not in reason
    finally:
        await run_sql(fast_server.dsn(), "DROP ROLE secretive")


async def test_use_by_requests_counts(fast_server: Server, fast_dsn: str) -> None:
    """A store whose requests succeed is of use, whatever became of the look."""
    async with (
        proxied(fast_server) as proxy,
        watching(dsn_of(proxy, fast_server, fast_dsn), looks=3600) as it,
    ):
        await it.reason_after(6, "it does not respond")
        it.watch.note_use()
        assert it.watch.condition == Condition()


async def test_requests_that_succeed_are_noted(fast_dsn: str) -> None:
    """Whatever is read or written shows that the database is of use."""
    clock = ManualClock()
    async with opened(store_at(fast_dsn, look_seconds=3600, now=clock.monotonic)) as store:
        for request in (lambda: create(store, "c"), lambda: store.revisions(["c"])):
            clock.advance(PATIENCE_SECONDS + 1)
            assert store.condition.reason is not None
            await request()
            assert store.condition == Condition()


async def test_readers_that_wait_are_no_trouble(fast_dsn: str) -> None:
    """While readers hold all connections that they may have, a look takes that of the writers."""
    clock = ManualClock()
    async with opened(
        store_at(fast_dsn, connections=2, look_seconds=OFTEN, now=clock.monotonic)
    ) as store:
        async with locked(fast_dsn, "fastpaca.answers"):
            reads = [asyncio.create_task(store.idempotency_records(["k"])) for _ in range(5)]
            await until_waiting(fast_dsn)
            clock.advance(PATIENCE_SECONDS + 1)

            async def is_well() -> bool:
                return store.condition == Condition()

            await until(is_well)
            assert not any(read.done() for read in reads)
        assert await asyncio.gather(*reads) == [{}] * 5


async def test_database_of_no_use_is_no_start(fast_dsn: str) -> None:
    """A store that cannot look at its database does not open."""
    await run_script(
        fast_dsn,
        SHADOW.format(database=database_of(fast_dsn), body="now() - 1 / 0 * interval '1 s'"),
    )
    store = PostgresStore(fast_dsn, allow_unsafe=True)
    with pytest.raises(StoreRefused, match="cannot be used"):
        await store.open()
    await store.close()


# Found before PostgreSQL's own, as a database would answer whose clock is another one.
SHADOW: Final = """
CREATE SCHEMA shadow;
CREATE FUNCTION shadow.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS
    $$ SELECT {body} $$;
ALTER DATABASE {database} SET search_path = shadow, pg_catalog
"""

AHEAD: Final = "pg_catalog.clock_timestamp() + interval '8 days'"


async def test_time_is_that_of_the_database(fast_dsn: str) -> None:
    """Nodes whose own clocks differ have one time, however long they are open."""
    await run_script(fast_dsn, SHADOW.format(database=database_of(fast_dsn), body=AHEAD))
    clock = ManualClock()
    async with (
        opened(store_at(fast_dsn)) as one,
        opened(store_at(fast_dsn, now=clock.monotonic)) as other,
    ):
        ((there,),) = await run_sql(fast_dsn, f"SELECT extract(epoch FROM {AHEAD})")
        for store in (one, other):
            assert abs(store.clock() - int(there * 1_000_000)) < MINUTE_US


def test_time_runs_evenly() -> None:
    """What a look finds counts if it is certainly another time than was known, and only then."""
    now = 100.0
    clock = SharedClock(lambda: now)
    clock.note(DAY_US, 99.0, 101.0)
    assert clock.now_us() == DAY_US
    clock.note(DAY_US + 900_000, 99.0, 101.0)
    assert clock.now_us() == DAY_US
    now = 105.0
    assert clock.now_us() == DAY_US + 5_000_000
    clock.note(DAY_US + 5_001_500, 104.999, 105.001)
    assert clock.now_us() == DAY_US + 5_001_500
