"""Forks that are forming: what other nodes know of them, and of the ids that they had."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from fastpaca.context import ContextState, Status
from fastpaca.context.config import Config
from fastpaca.context.context import FORMING_US
from fastpaca.context.message import Counts, encode_counts
from fastpaca.context.ops import BeginFork, Copied, CopyMessages, Op, Put, TakeOver
from fastpaca.engine import Engine
from fastpaca.errors import AlreadyExists, ContextNotFound, Unavailable
from fastpaca.store.memory import MemoryStore
from tests.engine.nodes import as_after_a_restart, nodes
from tests.engine.world import World, started, versions
from tests.kit.author import BEGINNING_US, body
from tests.kit.messages import append
from tests.kit.stores import ScriptedStore, settle
from tests.store.contract import whole

BEGIN = BeginFork(Config(), b"{}", ("c", 9))

COUNTS = encode_counts(Counts(10, 4, (), (6,)))


async def write(engine: Engine, op: Op, context_id: str = "fork") -> ContextState:
    """Apply an op, and give the state that is committed."""
    await engine.write(context_id, op, versions)
    context = await engine._contexts.present(context_id)
    assert context is not None
    return context


def piece(forming: ContextState, count: int = 3, **more: Any) -> CopyMessages:
    """Make the next piece of a fork."""
    after = forming.last_seq
    copied = [
        Copied(body(after + number), COUNTS, "", "", BEGINNING_US) for number in range(1, count + 1)
    ]
    return CopyMessages(tuple(copied), after, forming.created_at_us, **more)


async def test_another_node_that_looked_too_early_has_all_of_it() -> None:
    """What a node has seen of a fork that was forming is no beginning of the context."""
    async with nodes() as (store, (one, two)):
        forming = await write(one, BEGIN)
        forming = await write(one, piece(forming))
        for _ in range(2):
            with pytest.raises(ContextNotFound):
                await two.read("fork")
        with pytest.raises(AlreadyExists):
            await write(two, Put())
        with pytest.raises(AlreadyExists):
            await write(two, BEGIN)
        with pytest.raises(ContextNotFound):
            await write(two, append("too early"))
        await write(one, piece(forming, ends=True))
        expected = await as_after_a_restart(store, "fork")
        assert [entry.seq for entry in expected.window] == [1, 2, 3, 4, 5, 6]
        for engine in (one, two):
            assert whole(await engine.read("fork")) == whole(expected)
        appended = await write(two, append("in time"))
        assert [entry.seq for entry in appended.window] == [1, 2, 3, 4, 5, 6, 7]


async def test_a_fork_is_not_loaded_while_it_forms() -> None:
    """That it is forming is told without its messages, of which there may be millions."""
    async with nodes() as (store, (one, two)):
        forming = await write(one, BEGIN)
        await write(one, piece(forming, count=100))
        snapshot = await MemoryStore.load(store, "fork")
        assert snapshot is not None
        assert (snapshot.row.last_seq, snapshot.messages) == (100, [])
        with pytest.raises(ContextNotFound):
            await two.read("fork")


async def test_revisions_of_an_id_that_was_free_come_again() -> None:
    """A node that knows an erased fork by its revision does not take what follows for it."""
    async with nodes() as (store, (one, two)):
        forming = await write(one, BEGIN)
        forming = await write(one, piece(forming))
        with pytest.raises(ContextNotFound):
            await two.read("fork")
        await one.drop_fork("fork", forming.created_at_us)
        assert await MemoryStore.load(store, "fork") is None
        await write(one, Put())
        await write(one, append("another life"))
        assert (await two.read("fork")).revision == forming.revision
        assert (await write(two, Put(token_budget=9))).revision == forming.revision + 1


async def test_a_refusal_is_not_that_of_an_earlier_fork() -> None:
    """A write that was refused for a fork is looked at again if another context has its id now."""
    async with nodes() as (store, (one, two)):
        forming = await write(one, BEGIN)
        store.answering.clear()
        put = asyncio.create_task(write(two, Put(token_budget=9)))
        await settle()
        store.answering.set()
        await one.drop_fork("fork", forming.created_at_us)
        await write(one, Put())
        await asyncio.wait([put])
        error = put.exception()
        assert error is None or isinstance(error, AlreadyExists)


async def test_an_owner_that_wakes_up_changes_nothing() -> None:
    """Whatever has its id now, a node that still copies a fork that was taken over fails."""
    for later in ("forming", "fork", "context"):
        async with nodes() as (store, (one, two)):
            forming = await write(one, BEGIN)
            copied = await write(one, piece(forming))
            await two.drop_fork("fork", copied.created_at_us)
            if later == "context":
                await write(two, Put())
                await write(two, Put(token_budget=9))
            else:
                again = await write(two, BEGIN)
                await write(two, piece(again, ends=later == "fork"))
            before = await MemoryStore.load(store, "fork")
            assert before is not None
            assert before.row.revision == copied.revision
            with pytest.raises((Unavailable, AlreadyExists)):
                await write(one, piece(copied))
            with pytest.raises(AlreadyExists):
                await write(one, TakeOver(copied.created_at_us))
            assert await MemoryStore.load(store, "fork") == before


async def test_what_is_abandoned_is_erased() -> None:
    """After a minute another node takes it over, or the next round erases it."""
    async with nodes() as (store, (one, two)):
        forming = await write(one, BEGIN)
        await write(one, piece(forming))
        await two.forget_old_records()
        assert await store.abandoned(forming.updated_at_us + FORMING_US) == ["fork"]


async def test_a_look_at_a_fork_that_is_dropped_is_forgotten() -> None:
    """One that began before the end and was answered after it leaves nothing in memory."""
    world = World(ScriptedStore())
    async with started(world):
        forming = await world.write("fork", BEGIN)
        world.engine._contexts.forget("fork")
        world.store.keeps_next_load = True
        look = asyncio.create_task(world.engine.read("fork"))
        await settle()
        drop = asyncio.create_task(world.engine.drop_fork("fork", forming.context.created_at_us))
        await settle()
        world.store.release.set()
        await drop
        with pytest.raises(ContextNotFound):
            await look
        assert (await world.put("fork")).context.status is Status.ACTIVE
