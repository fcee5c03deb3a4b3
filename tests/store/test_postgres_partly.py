"""A distributed database of which one server is away serves what lies on the others."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import httpx
import pytest

from fastpaca.store.base import CommitFailed, CommitUnknown, PageBounds, PartialRead, ReadFailed
from fastpaca.store.postgres.store import PostgresStore
from fastpaca.store.postgres.watch import PATIENCE_SECONDS
from fastpaca.testing import ManualClock, composed, running
from tests.kit.app import create
from tests.kit.author import ALL, answer
from tests.kit.author import create as create_in
from tests.kit.messages import HELLO
from tests.kit.postgres import Server, database_of, until
from tests.store import citus
from tests.store.shards import ADDRESS, SERVERS, Shards, server_of, sharded

AWAY = 1

NAMES = [f"c{number}" for number in range(12)]
NEAR = [name for name in NAMES if server_of(name) != AWAY]
FAR = [name for name in NAMES if server_of(name) == AWAY]


def name_on(server: int, prefix: str) -> str:
    """Find a name that lies on a server."""
    return next(name for n in itertools.count() if server_of(name := f"{prefix}{n}") == server)


@asynccontextmanager
async def partly(
    server: Server, dsn: str, now: Callable[[], float] = time.monotonic
) -> AsyncIterator[tuple[Shards, PostgresStore]]:
    """Open a store on distributed tables."""
    await citus.distributed(dsn)
    database = database_of(dsn)
    async with sharded(server) as shards:
        store = PostgresStore(
            server.dsn(database, shards.directory), allow_unsafe=True, look_seconds=0.01, now=now
        )
        yield shards, store


async def test_what_can_be_read_is_read(fast_server: Server, fast_dsn: str) -> None:
    """Of many asked for at once, those that can't be read are named; the others are answered."""
    async with partly(fast_server, fast_dsn) as (shards, store):
        await store.open()
        authors = await create_in(store, *NAMES)
        near_key, far_key = name_on(0, "k"), name_on(AWAY, "k")
        for key, author in zip((near_key, far_key), authors, strict=False):
            await store.commit([author.append(count=1, records=[answer(key)])])
        shards.away = {AWAY}
        with pytest.raises(PartialRead) as raised:
            await store.revisions(NAMES)
        assert raised.value.failed == {*FAR}
        assert raised.value.results.keys() == {*NEAR}
        with pytest.raises(PartialRead) as raised:
            await store.idempotency_records([near_key, far_key])
        assert raised.value.failed == {far_key}
        assert raised.value.results == {near_key: answer(near_key)}
        shards.away = {*range(SERVERS)}
        with pytest.raises(ReadFailed) as failed:
            await store.revisions(NAMES)
        assert not isinstance(failed.value, PartialRead)
        shards.away = set()
        assert (await store.revisions(NAMES)).keys() == {*NAMES}
        await store.close()


async def test_commits_and_purges_of_the_others_go_on(fast_server: Server, fast_dsn: str) -> None:
    """A commit needs the servers of its contexts alone; what a purge leaves is erased later."""
    async with partly(fast_server, fast_dsn) as (shards, store):
        await store.open()
        authors = {author.row.id: author for author in await create_in(store, *NAMES)}
        shards.away = {AWAY}
        await store.commit([authors[name].append(count=3) for name in NEAR])
        for name in NEAR:
            assert await store.messages(name, 1, ALL, PageBounds(9, ALL)) == authors[name].log
        with pytest.raises(CommitFailed, match=ADDRESS):
            await store.commit([authors[FAR[0]].append(count=1)])
        purge = authors[NEAR[0]].purge()
        with pytest.raises(CommitUnknown) as raised:
            await store.commit([purge])
        assert raised.value.context_ids == {NEAR[0]}
        shards.away = set()
        await store.forget_idempotency_records(0)
        assert await store.messages(NEAR[0], 1, ALL, PageBounds(9, ALL)) == []
        await store.close()


async def test_a_node_serves_what_there_is(fast_server: Server, fast_dsn: str) -> None:
    """
    Over HTTP contexts on the other servers are read and written, all at once, with and without
    keys; the rest is 503 without a name of a server. The node is ready, and says `degraded`.
    """
    async with partly(fast_server, fast_dsn) as (shards, store), running(composed(store)) as client:
        for name in NAMES:
            await create(client, name)
        shards.away = {AWAY}
        assert {await status(client, name) for name in NEAR} == {200}
        written = await asyncio.gather(*(append(client, name) for name in NAMES * 2))
        assert {name for name, code in zip(NAMES * 2, written, strict=True) if code == 201} == {
            *NEAR
        }
        read = await asyncio.gather(*(status(client, name) for name in NAMES))
        assert {name for name, code in zip(NAMES, read, strict=True) if code == 200} == {*NEAR}
        keys = [name_on(server, "k") for server in range(SERVERS)]
        keyed = await asyncio.gather(*(append(client, NEAR[0], key) for key in keys))
        assert [code == 201 for code in keyed] == [server != AWAY for server in range(SERVERS)]
        found = await client.get("/health/ready")
        assert (found.status_code, found.json()["status"]) == (200, "degraded")
        assert (await client.get("/v1/contexts")).status_code == 503
        shards.away = set()
        assert {await status(client, name) for name in NAMES} == {200}

        async def is_well() -> bool:
            found = await client.get("/health/ready")
            return bool(found.json() == {"status": "ok"})

        await until(is_well)
        assert {await append(client, name) for name in NAMES} == {201}


async def test_a_database_that_serves_nothing_is_of_no_use(
    fast_server: Server, fast_dsn: str
) -> None:
    """
    While all servers behind it are away the database itself answers, and the node is not ready;
    when one is back it is, and when all are it is well.
    """
    clock = ManualClock()
    async with partly(fast_server, fast_dsn, now=clock.monotonic) as (shards, store):

        async def is_in(condition: tuple[bool, bool]) -> bool:
            found = store.condition
            return (found.reason is not None, found.is_partial) == condition

        async def is_out() -> bool:
            clock.advance(PATIENCE_SECONDS)
            return await is_in((True, False))

        await store.open()
        await create_in(store, *NAMES)
        shards.away = {*range(SERVERS)}
        with pytest.raises(ReadFailed):
            await store.revisions(NAMES)
        assert await is_in((True, True))
        await until(is_out)
        assert ADDRESS not in (store.condition.reason or "")
        shards.away = {AWAY}
        await until(lambda: is_in((True, True)))
        with pytest.raises(ReadFailed):
            await store.load(FAR[0])
        shards.away = set()
        await until(lambda: is_in((False, False)))
        await store.close()


async def status(client: httpx.AsyncClient, name: str) -> int:
    """Read a context; what is refused names no server."""
    found = await client.get(f"/v1/contexts/{name}/context")
    assert found.status_code in (200, 503)
    assert ADDRESS not in found.text
    return found.status_code


async def append(client: httpx.AsyncClient, name: str, key: str | None = None) -> int:
    """Append a message; what is refused names no server."""
    headers = {"Idempotency-Key": key} if key else {}
    path = f"/v1/contexts/{name}/messages"
    found = await client.post(path, json={"message": HELLO}, headers=headers)
    assert found.status_code in (201, 503)
    assert ADDRESS not in found.text
    return found.status_code
