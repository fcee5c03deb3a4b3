"""A server that takes no writes may have been replaced: nothing rests on what it says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import pytest

from fastpaca.archive.base import ArchiveFailed
from fastpaca.archive.postgres import PostgresArchive
from fastpaca.store.base import CommitFailed, Have, PageBounds, ReadFailed, StoreRefused
from fastpaca.store.postgres.store import PostgresStore
from tests.kit.author import ALL, answer, create
from tests.kit.pgbouncer import running_pgbouncer
from tests.kit.postgres import Server, database_of, locked, run_sql, until_waiting
from tests.kit.proxy import proxied
from tests.kit.stores import opened
from tests.store.contract import loaded_row
from tests.store.test_postgres_connections import until_reached

NOTHING: Final = Have(0, 0, (), frozenset())

READS: Final[dict[str, Callable[[PostgresStore, str], Awaitable[Any]]]] = {
    "load": lambda store, name: store.load(name),
    "load_since": lambda store, name: store.load_since(name, NOTHING),
    "load_at": lambda store, name: store.load_at(name, 1),
    "messages": lambda store, name: store.messages(name, 1, ALL, PageBounds(9, ALL)),
    "messages_before": lambda store, name: store.messages_before(name, ALL, PageBounds(9, ALL)),
    "changes": lambda store, name: store.changes(name, 0, ALL, PageBounds(9, ALL)),
    "compactions": lambda store, name: store.compactions(name, 0, ALL, PageBounds(9, ALL)),
    "contexts": lambda store, name: store.contexts(name, "", 9),
    "answers": lambda store, name: store.idempotency_records([f"key of {name}"]),
    "revisions": lambda store, name: store.revisions([name]),
}
"""All that a store reads, of a context."""


def store_at(dsn: str, **options: Any) -> PostgresStore:
    """Make a store that takes any server."""
    return PostgresStore(dsn, allow_unsafe=True, **options)


@asynccontextmanager
async def fenced(server: Server) -> AsyncIterator[None]:
    """Let *server* take no writes during this block."""
    await server.fence()
    try:
        yield
    finally:
        await server.unfence()


async def fill(store: PostgresStore) -> None:
    """Make a context with some of everything."""
    (author,) = await create(store, "there")
    await store.commit([author.append(count=3, records=[answer("key of there")])])
    await store.commit([author.compact([])])


async def see_that_all_reads_fail(store: PostgresStore) -> None:
    for name in ("there", "not there"):
        for read in READS.values():
            for _ in range(2):  # those who kept a connection, and those who make one
                with pytest.raises(ReadFailed, match=r"takes no writes.*\(25006\)"):
                    await read(store, name)


async def test_no_read_rests_on_a_server_that_takes_no_writes(
    fast_server: Server, fast_dsn: str
) -> None:
    """
    Whatever is asked for, and whether it is there or not, a server that takes no writes is not
    believed, on connections from before; as soon as it takes them again, it is.
    """
    async with opened(store_at(fast_dsn)) as store:
        await fill(store)
        before = {name: await read(store, "there") for name, read in READS.items()}
        async with fenced(fast_server):
            await see_that_all_reads_fail(store)
        await until_reached(store)
        for name, read in READS.items():
            assert await read(store, "there") == before[name]


@pytest.mark.parametrize("what", READS)
async def test_first_read_after_a_fence_fails(
    fast_server: Server, fast_dsn: str, what: str
) -> None:
    """Each read notices by itself, on a connection that has done the same read before."""
    async with opened(store_at(fast_dsn)) as store:
        await fill(store)
        await READS[what](store, "there")
        async with fenced(fast_server):
            with pytest.raises(ReadFailed, match="25006"):
                await READS[what](store, "there")


async def test_no_read_rests_on_one_behind_a_pooler(fast_server: Server, fast_dsn: str) -> None:
    """
    The same through PgBouncer, which tells new clients what servers were like some time ago: a node
    neither believes a server that takes no writes, nor refuses one that takes them again.
    """
    pooler = running_pgbouncer(fast_server, pool_size=3)
    directory = await asyncio.to_thread(pooler.__enter__)
    try:
        dsn = fast_dsn.replace(str(fast_server.directory), str(directory))
        async with fenced(fast_server):
            with pytest.raises(StoreRefused, match="25006"):
                await PostgresStore(dsn, allow_unsafe=True).open()
        async with opened(store_at(dsn)) as store:
            await fill(store)
            async with fenced(fast_server):
                await see_that_all_reads_fail(store)
            await until_reached(store)
    finally:
        await asyncio.to_thread(pooler.__exit__, None, None, None)


async def test_one_address_that_leads_elsewhere(safe_server: Server, fast_server: Server) -> None:
    """
    A proxy sends new connections to another server, and the old one is read-only: one refusal lets
    go of all connections to it, and the next write is done where the address leads.
    """
    database = await asyncio.to_thread(safe_server.create_database)
    await run_sql(fast_server.dsn(), f"CREATE DATABASE {database} TEMPLATE template0")
    try:
        async with (
            proxied(safe_server) as proxy,
            opened(store_at(fast_server.dsn(database))) as other,
            opened(store_at(safe_server.dsn(database, proxy.directory), connections=5)) as store,
        ):
            (author,) = await create(store, "c")
            await asyncio.gather(*(store.load("c") for _ in range(50)))
            assert proxy.open_count > 2
            async with fenced(safe_server):
                proxy.server = fast_server
                before = author.row
                with pytest.raises(CommitFailed, match="25006"):
                    await store.commit([author.append(count=1)])
                author.row = before
                (there,) = await create(store, "d")
                assert await loaded_row(other, "d") == there.row
                found = await asyncio.gather(*(store.load("c") for _ in range(50)))
                assert found == [None] * 50, "the old server was asked"
    finally:
        for server in (safe_server, fast_server):
            await run_sql(server.dsn(), f"DROP DATABASE {database} WITH (FORCE)")


async def test_connections_in_use_are_given_up_too(fast_server: Server, fast_dsn: str) -> None:
    """A connection that was in use while another one noticed is not used again."""
    ours = f"SELECT pid FROM pg_stat_activity WHERE datname = '{database_of(fast_dsn)}'"
    async with opened(store_at(fast_dsn, connections=3)) as store:
        await fill(store)
        async with locked(fast_dsn, "fastpaca.answers"):
            waiting = asyncio.create_task(store.idempotency_records(["k"]))
            await until_waiting(fast_dsn)
            old = {pid for (pid,) in await run_sql(fast_server.dsn(), ours)}
            async with fenced(fast_server):
                with pytest.raises(ReadFailed, match="25006"):
                    await store.load("there")
        assert await waiting == {}
        await until_reached(store)
        await asyncio.gather(*(store.load("there") for _ in range(9)))
        kept = {pid for (pid,) in await run_sql(fast_server.dsn(), ours)}
        assert kept
        assert not kept & old


async def test_host_that_takes_no_writes_is_passed_over(
    safe_server: Server, fast_server: Server
) -> None:
    """Of several hosts, one that takes no writes any more is left for another, also to read."""
    database = await asyncio.to_thread(safe_server.create_database)
    await run_sql(fast_server.dsn(), f"CREATE DATABASE {database} TEMPLATE template0")
    hosts = f"{safe_server.directory},{fast_server.directory}"
    try:
        async with (
            opened(store_at(fast_server.dsn(database))) as other,
            opened(store_at(f"postgresql://fastpaca@/{database}?host={hosts}")) as store,
        ):
            await create(store, "c")
            (author,) = await create(other, "c")
            await other.commit([author.append(count=2)])
            async with fenced(safe_server):
                with pytest.raises(ReadFailed, match="25006"):
                    await store.revisions(["c"])
                assert await store.revisions(["c"]) == {"c": author.row.revision}
                assert await store.messages("c", 1, ALL, PageBounds(9, ALL)) == author.log
    finally:
        for server in (safe_server, fast_server):
            await run_sql(server.dsn(), f"DROP DATABASE {database} WITH (FORCE)")


async def test_no_page_comes_from_an_archive_that_takes_no_writes(
    fast_server: Server, fast_dsn: str
) -> None:
    """An archive that was replaced may lack messages, so it is not believed either."""
    archive = PostgresArchive(fast_dsn, allow_unsafe=True)
    try:
        await archive.open()
        assert await archive.messages("c", [(1, 9)]) == []
        async with fenced(fast_server):
            for newest_first in (False, True):
                with pytest.raises(ArchiveFailed, match="25006"):
                    await archive.messages("c", [(1, 9)], newest_first=newest_first)
    finally:
        await archive.close()
