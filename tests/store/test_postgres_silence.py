"""Servers that say nothing: a lost answer, a machine that has died, and many who wait for them."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final, Protocol

import pytest

from fastpaca.store.base import CommitFailed, PageBounds, ReadFailed
from fastpaca.store.postgres.connections import PAUSE_SECONDS, PAUSE_SECONDS_MAX, jittered
from fastpaca.store.postgres.store import PostgresStore
from tests.kit.author import ALL, create
from tests.kit.postgres import Server, database_of, locked, until, until_waiting
from tests.kit.proxy import Proxy, proxied
from tests.store.contract import loaded_row
from tests.store.test_postgres_connections import until_reached

CALLERS: Final = 100

PATIENCE_SECONDS: Final = 30
"""How long something may take that must not take for ever."""


class OpenStore(Protocol):
    """Opens a store, which is closed whatever happens."""

    async def __call__(self, dsn: str, **options: Any) -> PostgresStore: ...


@pytest.fixture
async def open_store() -> AsyncIterator[OpenStore]:
    """A way to open stores."""
    async with AsyncExitStack() as stack:

        async def open_one(dsn: str, **options: Any) -> PostgresStore:
            store = PostgresStore(dsn, **options)
            stack.push_async_callback(store.close)
            await store.open()
            return store

        yield open_one


def dsn_of(proxy: Proxy, *others: Path, database: str) -> str:
    """Give the address of a database through a proxy, and perhaps by other hosts."""
    hosts = ",".join(map(str, (proxy.directory, *others)))
    return f"postgresql://fastpaca@/{database}?host={hosts}"


async def test_answer_that_never_comes(
    safe_server: Server, safe_dsn: str, open_store: OpenStore
) -> None:
    """The connection stays open and the answer to COMMIT is not in it: the outcome is looked up."""
    async with proxied(safe_server) as proxy, asyncio.timeout(PATIENCE_SECONDS):
        dsn = dsn_of(proxy, database=database_of(safe_dsn))
        store = await open_store(dsn, answer_seconds=0.2, resolve_seconds=math.inf)
        (author,) = await create(store, "c")
        proxy.cut(b"COMMIT\0", "silence")
        await store.commit([author.append(count=2)])
        assert await loaded_row(store, "c") == author.row
        assert await store.messages("c", 1, ALL, PageBounds(9, ALL)) == author.log


async def test_machine_that_dies_without_a_word(
    safe_server: Server, safe_dsn: str, open_store: OpenStore
) -> None:
    """
    A host says nothing any more, on all connections and to new ones: one write fails, and the next
    one is done by the other host.
    """
    async with proxied(safe_server) as proxy, asyncio.timeout(PATIENCE_SECONDS):
        dsn = dsn_of(proxy, safe_server.directory, database=database_of(safe_dsn))
        store = await open_store(dsn, connections=8, statement_seconds=0.2)
        (author,) = await create(store, "c")
        await asyncio.gather(*(store.load("c") for _ in range(50)))
        assert proxy.open_max > 2
        before = author.row
        proxy.is_silent = True
        with pytest.raises(CommitFailed):
            await store.commit([author.append(count=1)])
        author.row = before
        author.log.clear()
        await store.commit([author.append(count=1)])
        assert await store.messages("c", 1, ALL, PageBounds(9, ALL)) == author.log
        proxy.attempts = 0
        await asyncio.gather(*(store.load("c") for _ in range(50)))
        assert proxy.attempts == 0, "the host that was good last is tried first"


async def test_end_does_not_wait_for_the_dead(
    safe_server: Server, safe_dsn: str, open_store: OpenStore
) -> None:
    """A store with many connections to a dead machine lets go of them together."""
    async with proxied(safe_server) as proxy:
        store = await open_store(dsn_of(proxy, database=database_of(safe_dsn)), connections=20)
        async with locked(safe_dsn, "fastpaca.answers"):
            reads = [asyncio.create_task(store.idempotency_records(["k"])) for _ in range(CALLERS)]
            await until_waiting(safe_dsn, 19)
        assert await asyncio.gather(*reads) == [{}] * CALLERS
        assert proxy.open_count > 15
        proxy.is_silent = True
        async with asyncio.timeout(PATIENCE_SECONDS):
            await store.close()


async def test_many_wait_for_one_connection(
    safe_server: Server, safe_dsn: str, open_store: OpenStore
) -> None:
    """While a server does not answer, one connection is tried for all who need one."""
    async with proxied(safe_server) as proxy, asyncio.timeout(PATIENCE_SECONDS):
        store = await open_store(dsn_of(proxy, database=database_of(safe_dsn)), connections=64)
        await create(store, "c")
        proxy.is_silent = True
        proxy.end_all()
        await until(lambda: none_open(proxy))
        proxy.attempts = proxy.open_max = 0
        calls: list[asyncio.Task[Any]] = [
            asyncio.create_task(store.load("c")) for _ in range(CALLERS)
        ]
        await until(lambda: was_tried(proxy))
        await asyncio.sleep(0.2)
        assert proxy.attempts == 1
        proxy.end_all()
        done = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(error, ReadFailed) for error in done)
        assert proxy.open_max == 1
        proxy.is_silent = False
        await until_reached(store)


async def none_open(proxy: Proxy) -> bool:
    return not proxy.open_count


async def was_tried(proxy: Proxy) -> bool:
    return proxy.attempts > 0


async def test_attempts_become_rare(
    safe_server: Server, safe_dsn: str, open_store: OpenStore
) -> None:
    """However often they are asked for, connections to a server that is away are tried rarely."""
    async with proxied(safe_server) as proxy:
        store = await open_store(dsn_of(proxy, database=database_of(safe_dsn)))
        proxy.accepts = False
        proxy.end_all()
        await until(lambda: none_open(proxy))
        proxy.attempts = 0
        now = asyncio.get_running_loop().time
        began = now()
        refused = await asyncio.gather(*(insist(store, 20) for _ in range(CALLERS)))
        assert sum(refused) == 20 * CALLERS
        assert 2 <= proxy.attempts <= attempts_max(now() - began)
        proxy.accepts = True
        await until_reached(store)


async def insist(store: PostgresStore, times: int) -> int:
    """Read so often, as a client that does not wait for long."""
    refused = 0
    for _ in range(times):
        try:
            await store.load("c")
        except ReadFailed:
            refused += 1
        await asyncio.sleep(0.05)
    return refused


def attempts_max(seconds: float) -> int:
    """Give how many attempts there may be in a time, if pauses are as short as chance has them."""
    count, pause = 1, PAUSE_SECONDS
    while seconds > 0:
        seconds -= pause / 2
        pause = min(2 * pause, PAUSE_SECONDS_MAX)
        count += 1
    return count


def test_those_who_wait_part_company() -> None:
    """Pauses differ, and are neither longer than asked for nor much shorter."""
    pauses = {jittered(1.0) for _ in range(100)}
    assert len(pauses) > 10
    assert all(0.5 <= pause <= 1 for pause in pauses)
