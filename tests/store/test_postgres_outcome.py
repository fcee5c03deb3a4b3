"""A commit to PostgreSQL that loses its connection is looked up, never guessed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Literal

import pytest

from fastpaca.store.base import Change, CommitFailed, CommitUnknown, PageBounds, ReadFailed
from fastpaca.store.postgres.rows import Witness, is_landed
from fastpaca.store.postgres.statements import COMMIT_IDS_KEPT
from fastpaca.store.postgres.store import PostgresStore
from tests.kit.author import ALL, Author
from tests.kit.postgres import Server, database_of, run_sql, until, until_found, until_waiting
from tests.kit.proxy import Proxy, proxied
from tests.kit.stores import opened
from tests.store.contract import loaded_row

COMMIT = b"COMMIT\0"

KINDS = ("existing", "new", "both")

Kind = Literal["existing", "new", "both"]


class World:
    """
    A store behind a proxy, and one that reaches the server directly.

    Attributes:
        store: The one behind the proxy.
        other: The other one.
    """

    def __init__(self, proxy: Proxy, store: PostgresStore, other: PostgresStore) -> None:
        self.proxy = proxy
        self.store = store
        self.other = other
        self.old = Author("old")
        self.new = Author("new")

    def changes(self, kind: Kind) -> list[Change]:
        """Make a commit of changes to contexts of a kind."""
        found = [self.old.append(count=2)] if kind != "new" else []
        return found + ([self.new.create()] if kind != "existing" else [])

    async def is_there(self, changes: Sequence[Change]) -> bool:
        """Tell whether all of *changes* are there; it must be all or none."""
        found = set()
        for change in changes:
            snapshot = await self.other.load(change.row.id)
            found.add(snapshot is not None and snapshot.row == change.row)
        (answer,) = found
        assert len(await self.other.messages("old", 1, ALL, PageBounds(9, ALL))) in {0, 2}
        return answer


@asynccontextmanager
async def world(server: Server, dsn: str, resolve_seconds: float = 30) -> AsyncIterator[World]:
    """Open both stores on one database, in which one context exists."""
    database = database_of(dsn)
    async with opened(PostgresStore(dsn)) as other, proxied(server) as proxy:
        near = PostgresStore(server.dsn(database, proxy.directory), resolve_seconds=resolve_seconds)
        async with opened(near) as store:
            it = World(proxy, store, other)
            await other.commit([it.old.create()])
            yield it


@pytest.mark.parametrize("kind", KINDS)
async def test_lost_before_the_commit_arrived(
    safe_server: Server, safe_dsn: str, kind: Kind
) -> None:
    """The server never heard of the commit: it failed, and the next one goes through."""
    async with world(safe_server, safe_dsn) as it:
        changes = it.changes(kind)
        it.proxy.cut(COMMIT, "before")
        with pytest.raises(CommitFailed):
            await it.store.commit(changes)
        assert not await it.is_there(changes)
        await it.store.commit(changes)
        assert await it.is_there(changes)


@pytest.mark.parametrize("kind", KINDS)
async def test_lost_after_the_commit_arrived(
    safe_server: Server, safe_dsn: str, kind: Kind
) -> None:
    """The commit is done and only its answer is lost: that is a success."""
    async with world(safe_server, safe_dsn) as it:
        changes = it.changes(kind)
        it.proxy.cut(COMMIT, "after")
        await it.store.commit(changes)
        assert await it.is_there(changes)


@pytest.mark.parametrize("forward", [True, False])
@pytest.mark.parametrize("kind", KINDS)
async def test_commit_that_is_late_is_waited_for(
    safe_server: Server, safe_dsn: str, kind: Kind, *, forward: bool
) -> None:
    """While the server still has the transaction, no outcome is told; then it is the true one."""
    async with world(safe_server, safe_dsn) as it:
        changes = it.changes(kind)
        it.proxy.cut(COMMIT, "hold")
        task = asyncio.create_task(it.store.commit(changes))
        await it.proxy.held.wait()
        await until_waiting(safe_dsn)
        assert not task.done()
        it.proxy.release(forward=forward)
        if forward:
            await task
        else:
            with pytest.raises(CommitFailed):
                await task
        assert await it.is_there(changes) is forward


async def test_server_lets_go_of_a_lost_transaction(safe_server: Server, safe_dsn: str) -> None:
    """Even if the server never sees the connection end, its transaction does not stay for ever."""
    async with world(safe_server, safe_dsn) as it:
        changes = it.changes("existing")
        it.proxy.cut(COMMIT, "hold")
        with pytest.raises(CommitFailed):
            await it.store.commit(changes)
        assert not await it.is_there(changes)
        it.proxy.release(forward=True)


@pytest.mark.parametrize("how", ["before", "after"])
async def test_nobody_to_ask(
    safe_server: Server, safe_dsn: str, how: Literal["before", "after"]
) -> None:
    """If the server stays away, the outcome is unknown, and said to be."""
    async with world(safe_server, safe_dsn, resolve_seconds=0.3) as it:
        changes = it.changes("both")
        it.proxy.cut(COMMIT, how, accepts=False)
        with pytest.raises(CommitUnknown) as raised:
            await it.store.commit(changes)
        assert not raised.value.fatal
        assert await it.is_there(changes) is (how == "after")
        it.proxy.accepts = True


@pytest.mark.parametrize("more", [1, COMMIT_IDS_KEPT - 1, COMMIT_IDS_KEPT])
async def test_overwritten_before_it_was_asked(
    safe_server: Server, safe_dsn: str, more: int
) -> None:
    """What other nodes have committed on top does not hide a commit, until it is very much."""
    async with world(safe_server, safe_dsn) as it:
        it.proxy.cut(COMMIT, "after", accepts=False)
        task = asyncio.create_task(it.store.commit([it.old.describe(b"{}")]))
        await it.proxy.held.wait()
        for _ in range(more):
            await it.other.commit([it.old.append(count=1)])
        it.proxy.accepts = True
        if more < COMMIT_IDS_KEPT:
            await task
        else:
            with pytest.raises(CommitUnknown):
                await task


async def test_another_commit_in_its_place(safe_server: Server, safe_dsn: str) -> None:
    """A revision that somebody else has taken is not mistaken for one's own."""
    async with world(safe_server, safe_dsn) as it:
        before = it.old.row
        mine = it.old.describe(b'{"mine":1}')
        it.old.row = before
        theirs = it.old.describe(b'{"theirs":1}')
        it.proxy.cut(COMMIT, "before", accepts=False)
        task = asyncio.create_task(it.store.commit([mine]))
        await it.proxy.held.wait()
        await it.other.commit([theirs])
        it.proxy.accepts = True
        with pytest.raises(CommitFailed):
            await task
        assert await loaded_row(it.other, "old") == theirs.row


@pytest.mark.parametrize("at", [b"BEGIN", b"UPDATE fastpaca", b"INSERT INTO fastpaca.messages"])
async def test_lost_before_the_end(safe_server: Server, safe_dsn: str, at: bytes) -> None:
    """A transaction that lost its connection before COMMIT has failed, and nobody is asked."""
    async with world(safe_server, safe_dsn, resolve_seconds=0) as it:
        changes = it.changes("existing")
        it.proxy.cut(at, "after")
        with pytest.raises(CommitFailed):
            await it.store.commit(changes)
        assert not await it.is_there(changes)
        await it.other.commit(changes)
        assert await it.is_there(changes)


async def test_lost_while_reading(safe_server: Server, safe_dsn: str) -> None:
    """A read that lost its connection has failed; the next one makes another."""
    async with world(safe_server, safe_dsn) as it:
        it.proxy.cut(b"FROM fastpaca.contexts", "before")
        with pytest.raises(ReadFailed):
            await it.store.load("old")
        assert await loaded_row(it.store, "old") == it.old.row
        it.proxy.end_all()
        await asyncio.sleep(0.05)
        assert await loaded_row(it.store, "old") == it.old.row


async def test_standby_that_did_not_confirm(safe_server: Server, safe_dsn: str) -> None:
    """A commit that the server gave up replicating is not acknowledged."""
    async with world(safe_server, safe_dsn) as it:
        await set_standby(safe_dsn, "'nobody'")
        try:
            task = asyncio.create_task(it.store.commit([it.old.append(count=1)]))
            await until_found(
                safe_dsn,
                "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'",
            )
            with pytest.raises(CommitUnknown, match="synchronous replication") as raised:
                await task
            assert not raised.value.fatal
        finally:
            await set_standby(safe_dsn, "''")


async def test_standby_that_takes_its_time(safe_server: Server, safe_dsn: str) -> None:
    """A commit is not cancelled for being slow: it waits for its standby, or stays unknown."""
    seconds = {"answer_seconds": 0.2, "resolve_seconds": 0.5}
    async with waiting_for_a_standby(safe_dsn, **seconds) as (store, author):
        with pytest.raises(CommitUnknown, match="no answer"):
            await store.commit([author.append(count=1)])
        assert (await loaded_row(store, "c")).version == 0
    await until(lambda: is_version(store, 1))
    await store.close()


async def test_commit_may_take_longer_than_a_statement(safe_server: Server, safe_dsn: str) -> None:
    """The time that statements have does not end a commit that only waits for its standby."""
    async with waiting_for_a_standby(safe_dsn, statement_seconds=0.5) as (store, author):
        task = asyncio.create_task(store.commit([author.append(count=1)]))
        waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
        await until_found(safe_dsn, waiting)
        await asyncio.sleep(1)
        assert await run_sql(safe_dsn, waiting)
    await task
    await store.close()


async def test_visible_is_not_safe(safe_server: Server, safe_dsn: str) -> None:
    """A commit whose wait for a standby was ended from outside counts when the standby has it."""
    async with waiting_for_a_standby(safe_dsn) as (store, author):
        task = asyncio.create_task(store.commit([author.append(count=1)]))
        ended = (
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
        )
        await until_found(safe_dsn, ended)
        await until(lambda: is_version(store, 1))
        await until_found(safe_dsn, "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
        assert not task.done()
    await task
    await store.close()


@asynccontextmanager
async def waiting_for_a_standby(
    dsn: str, **seconds: Any
) -> AsyncIterator[tuple[PostgresStore, Author]]:
    """Open a store with a context, whose commits wait for a standby up to the end of this block."""
    store, author = PostgresStore(dsn, **seconds), Author("c")
    await store.open()
    await run_first(dsn, author.create())
    await set_standby(dsn, "'nobody'")
    try:
        yield store, author
    finally:
        await set_standby(dsn, "''")


async def run_first(dsn: str, change: Change) -> None:
    """Commit by a store with time on its hands."""
    store = PostgresStore(dsn)
    await store.open()
    await store.commit([change])
    await store.close()


async def set_standby(dsn: str, names: str) -> None:
    """Say whose confirmation a commit waits for, and wait until the server has read it."""
    await run_sql(dsn, f"ALTER SYSTEM SET synchronous_standby_names = {names}")
    await run_sql(dsn, "SELECT pg_reload_conf()")
    await until_found(dsn, f"SELECT 1 WHERE current_setting('synchronous_standby_names') = {names}")
    if names != "''":
        await until(lambda: is_waiting_for_standby(dsn))


async def is_waiting_for_standby(dsn: str) -> bool:
    """Tell whether commits wait by now: another process of the server had to read it, too."""
    try:
        async with asyncio.timeout(0.3):
            await run_sql(dsn, "SELECT pg_logical_emit_message(true, '', '')")
    except TimeoutError:
        return True
    return False


async def is_version(store: PostgresStore, version: int) -> bool:
    """Tell whether the context is at *version*."""
    return (await loaded_row(store, "c")).version == version


def test_a_witness_tells_what_it_can() -> None:
    """Each of the last revisions is known with the commit that made it."""
    ids = [bytes([number]) * 16 for number in range(COMMIT_IDS_KEPT)]
    kept = b"".join(ids)
    for since, commit_id in enumerate(ids):
        mine = Witness(99 - since, commit_id, None)
        assert is_landed(mine, 100, kept) is True
        assert is_landed(mine._replace(commit_id=b"x" * 16), 100, kept) is False
    assert is_landed(Witness(100, ids[0], None), 100, kept) is False
    assert is_landed(Witness(99 - COMMIT_IDS_KEPT, ids[0], None), 100, kept) is None
