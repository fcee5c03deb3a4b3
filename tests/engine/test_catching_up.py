"""A state that other nodes have overtaken is caught up with, and only what is new is read."""

from __future__ import annotations

import asyncio
from random import Random

import pytest
from msgspec.structs import replace

from fastpaca.context import ContextState
from fastpaca.context.ops import Append, Op, Purge, Put, PutMessage
from fastpaca.engine import Engine, Written
from fastpaca.errors import ContextNotFound
from tests.context.story import drawn_put
from tests.engine.nodes import SharedStore, as_after_a_restart, nodes
from tests.engine.turns import Turns, current_of, path_of
from tests.engine.world import versions as shape
from tests.kit.messages import append, counted, user
from tests.kit.stores import settle
from tests.store.contract import whole

SEEDS = 12


def seqs(store: SharedStore) -> list[list[int]]:
    """List which messages of the log were read, each time that not all were."""
    return [[row.seq for row in delta.messages] for delta in store.deltas]


async def test_a_read_fetches_only_what_is_new() -> None:
    """A node that has a context in memory reads the messages that it has not, and no other."""
    async with nodes() as (store, (left, right)):
        await left.write("c", Put(token_budget=10_000), shape)
        await left.write("c", append("1", "2", "3"), shape)
        assert (await right.read("c")).last_seq == 3
        await left.write("c", append("4"), shape)
        await left.write("c", append("5", "6"), shape)
        assert (await right.read("c")).last_seq == 6
        await left.write("c", Put(token_budget=9_000), shape)
        assert (await right.read("c")).config.token_budget == 9_000
        assert (store.loads, seqs(store)) == (["c", "c"], [[4, 5, 6], []])  # once by each node
        assert whole(await right.read("c")) == whole(await as_after_a_restart(store, "c"))


async def test_an_op_that_was_overtaken_fetches_only_what_is_new() -> None:
    """To be applied anew it needs what another node has appended, and not all of the context."""
    async with nodes() as (store, (left, right)):
        await left.write("c", Put(token_budget=10_000), shape)
        await left.write("c", append("1", "2", "3"), shape)
        await right.read("c")
        await left.write("c", append("4"), shape)
        assert (await right.write("c", append("5"), shape)).context.last_seq == 5
        assert (await left.write("c", append("6"), shape)).context.last_seq == 6
        assert (store.loads, seqs(store)) == (["c", "c"], [[4], [5]])  # once by each node


async def test_what_is_not_in_memory_is_read_at_once() -> None:
    """A read of it asks for no revision, since a load that has just begun finds what there is."""
    async with nodes() as (store, (left, right)):
        await left.write("c", Put(), shape)
        store.loads.clear()
        await right.read("c")
        assert (store.loads, store.queries) == (["c"], 0)
        await asyncio.gather(*(right.read("c") for _ in range(10)))
        assert (store.loads, store.queries) == (["c"], 1)


async def test_a_load_under_way_is_not_relied_on_by_those_who_come_later() -> None:
    """It may have begun before a write that they were told of."""
    async with nodes() as (store, (left, right)):
        await left.write("c", Put(), shape)
        store.answering.clear()
        first = asyncio.create_task(right.read("c"))
        await settle()
        await left.write("c", append("1"), shape)
        second = asyncio.create_task(right.read("c"))
        await settle()
        store.answering.set()
        assert (await first).last_seq == 0
        assert (await second).last_seq == 1


async def test_an_older_state_does_not_take_the_place_of_a_newer() -> None:
    """What was read counts, also if a commit before it is only now known to have happened."""
    async with nodes() as (store, (left, right)):
        await left.write("c", Put(), shape)
        await right.read("c")
        store.confirming.clear()
        first = asyncio.create_task(right.write("c", append("1"), shape))
        await settle()
        second = asyncio.create_task(left.write("c", append("2"), shape))
        await settle()
        store.deltas.clear()
        store.answering.clear()
        reading = asyncio.create_task(right.read("c"))
        await settle()
        store.confirming.set()
        assert (await first).context.last_seq == 1
        store.answering.set()
        assert (await reading).last_seq == 2
        assert seqs(store) == [[1, 2]]
        assert right.cache.get("c") is await reading
        await second


async def test_a_purge_elsewhere_takes_the_place_of_what_was_in_memory() -> None:
    """A node that had a context in memory knows of nothing but the purge, and asks no more."""
    async with nodes() as (store, (left, right)):
        await left.write("c", Put(), shape)
        await right.write("c", append("1"), shape)
        await left.write("c", Purge(), shape)
        with pytest.raises(ContextNotFound):
            await right.read("c")
        gone = right.cache.get("c")
        assert gone is not None
        assert (gone.status, len(gone.window)) == ("purged", 0)
        store.loads.clear()
        store.deltas.clear()
        with pytest.raises(ContextNotFound):
            await right.read("c")
        assert (store.loads, store.deltas) == ([], [])


async def test_a_state_that_caught_up_shares_nothing_with_the_old() -> None:
    """It may be made in a thread, while ops that were decided on the old one still go on."""
    async with nodes() as (_, (left, right)):
        await left.write("c", Put(), shape)
        await left.write("c", append("1", "2"), shape)
        old = await right.read("c")
        before = whole(old)
        await left.write("c", append("3"), shape)
        new = await right.read("c")
        assert new.window.shared is not old.window.shared
        assert whole(old) == before


async def test_a_revision_is_read_as_any_new_message() -> None:
    """A node learns of it with what else is new, and has it in the place of the old one."""
    async with nodes() as (store, (left, right)):
        await left.write("c", Put(token_budget=10_000), shape)
        await left.write("c", Append((counted(user("1", id="a")), counted(user("2")))), shape)
        await right.read("c")
        current = await current_of(store, await left.read("c"), "a")
        await left.write("c", PutMessage(counted(user("3", id="a")), current), shape)
        await left.write("c", append("4"), shape)
        assert [entry.seq for entry in (await right.read("c")).window] == [3, 2, 4]
        assert (store.loads, seqs(store)) == (["c", "c"], [[3, 4]])
        assert whole(await right.read("c")) == whole(await as_after_a_restart(store, "c"))


async def test_an_op_that_was_overtaken_revises_what_is_there_then() -> None:
    """Two nodes put a message that was not there at once, and one revises that of the other."""
    async with nodes() as (store, engines):
        await engines[0].write("c", Put(token_budget=10_000), shape)
        await engines[1].read("c")
        left, right = await asyncio.gather(
            *(put_message(store, engine, text) for engine, text in zip(engines, "xy", strict=True))
        )
        assert {left.context.version, right.context.version} == {1, 2}
        assert [row.revises for row in await path_of(store, await engines[0].read("c"))] == [1]
        assert (await put_message(store, engines[0], "z")).context.version == 3
        assert not (await put_message(store, engines[1], "z")).events


async def put_message(store: SharedStore, engine: Engine, text: str) -> Written:
    """Put a message of the id `a`, through *engine*."""
    op = PutMessage(counted(user(text, id="a")))

    async def prepare(context: ContextState) -> Op:
        return replace(op, current=await current_of(store, context, "a"))

    return await engine.write("c", op, shape, None, prepare)


async def test_whatever_others_wrote_it_is_as_after_a_restart(seed: int) -> None:
    """Any node, however long it has not looked, comes to the same as one that reads everything."""
    rng = Random(seed)
    async with nodes(3) as (store, engines):
        await engines[0].write("c", drawn_put(rng), shape)
        turns = Turns(rng, store)
        for _ in range(80):
            await turns.write(rng.choice(engines))
            if rng.random() < 0.4:
                read = await rng.choice(engines[1:]).read("c")
                assert whole(read) == whole(await as_after_a_restart(store, "c"))
        assert len(store.loads) <= len(engines)  # all else was caught up with
        assert len(store.deltas) > 30
        assert any(row.revises for diff in store.deltas for row in diff.messages)
