"""
A commit that waits for a standby, and what ends the wait too early: what a client is told is true.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.postgres import Pair, database_of, run_sql, running_pair, until_found, until_waiting
from tests.kit.proxy import proxied
from tests.nodes.node import is_replayed, node, refusal

WAITING = "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep'"


@pytest.fixture(scope="module")
def server_pair() -> Iterator[Pair]:
    """A server and a standby for which each commit waits."""
    with running_pair() as pair:
        yield pair


@pytest.fixture
def pair(server_pair: Pair) -> Pair:
    """The same, and commits go through."""
    return server_pair


@pytest.fixture
def dsn(pair: Pair) -> Iterator[str]:
    """The address of a database of its own on both."""
    name = pair.primary.create_database()
    yield pair.dsn(name)
    pair.primary.drop_database(name)


async def until_commit_waits(pair: Pair) -> None:
    """Wait until a commit waits for the standby."""
    await until_found(pair.primary.dsn(), WAITING)


async def end_wait(pair: Pair, how: str) -> None:
    """End the wait of a commit for the standby, by a function that ends something of a process."""
    await until_commit_waits(pair)
    ended = f"SELECT {how}(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
    await run_sql(pair.primary.dsn(), ended)


async def test_commit_that_lands_late(pair: Pair, dsn: str, tmp_path: Path) -> None:
    """
    The connection breaks right after COMMIT while the standby is away: the client is answered when
    the standby has it, and what was appended is there once.
    """
    async with (
        proxied(pair.primary) as proxy,
        node(pair.dsn(database_of(dsn), proxy.directory), tmp_path) as it,
    ):
        await it.appended("a")
        async with pair.paused():
            proxy.cut(b"COMMIT\0", "after")
            task = asyncio.create_task(it.append("b"))
            await proxy.held.wait()
            await until_commit_waits(pair)
            await until_waiting(pair.primary.dsn())  # the look-up, for the commit
            assert not task.done()
        reply = await task
        assert reply.status == 201
        assert not is_replayed(reply)
        assert is_replayed(await it.appended("b"))
        assert await it.log() == ["a", "b"]


async def test_wait_that_was_cancelled(pair: Pair, dsn: str, tmp_path: Path) -> None:
    """
    The server warns that the standby may not have it: the outcome is unknown. Asked for again it is
    told only when the standby has it, and it was done once.
    """
    async with node(dsn, tmp_path) as it:
        await it.appended("a")
        async with pair.paused():
            task = asyncio.create_task(it.append("b"))
            await end_wait(pair, "pg_cancel_backend")
            assert refusal(await task) == "outcome_unknown"
            again = asyncio.create_task(it.append("b"))
            await until_commit_waits(pair)
            assert not again.done()
        reply = await again
        assert reply.status == 201
        assert is_replayed(reply)
        assert await it.log() == ["a", "b"]


async def test_replay_whose_wait_was_cancelled(pair: Pair, dsn: str, tmp_path: Path) -> None:
    """An answer that is there but not safe is not given, however often that is given up."""
    async with node(dsn, tmp_path) as it:
        async with pair.paused():
            task = asyncio.create_task(it.append("a"))
            await end_wait(pair, "pg_cancel_backend")
            assert refusal(await task) == "outcome_unknown"
            for _ in range(3):
                task = asyncio.create_task(it.append("a"))
                await end_wait(pair, "pg_cancel_backend")
                assert refusal(await task) == "unavailable"
        assert is_replayed(await it.appended("a"))
        assert await it.log() == ["a"]


async def test_wait_that_was_terminated(pair: Pair, dsn: str, tmp_path: Path) -> None:
    """
    The process that waits for the standby is ended: the commit is looked up, and counts when the
    standby has it.
    """
    async with node(dsn, tmp_path) as it:
        await it.appended("a")
        async with pair.paused():
            task = asyncio.create_task(it.append("b"))
            await end_wait(pair, "pg_terminate_backend")
            await until_commit_waits(pair)
            assert not task.done()
        reply = await task
        assert reply.status == 201
        assert not is_replayed(reply)
        assert await it.log() == ["a", "b"]
