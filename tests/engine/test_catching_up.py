"""A state that other nodes have overtaken is caught up with, and only what is new is read."""

from __future__ import annotations

import asyncio
from random import Random

import pytest

from fastpaca.context.message import Entry
from fastpaca.context.ops import Append, Compact, Counted, Op, PatchMetadata, Purge, Put
from fastpaca.context.usage import Usage
from fastpaca.engine import Engine, rows
from fastpaca.errors import ContextNotFound
from tests.context.story import Talk, drawn_put
from tests.engine.nodes import SharedStore, as_after_a_restart, nodes
from tests.engine.world import versions as shape
from tests.kit.messages import append, counted
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


async def test_whatever_others_wrote_it_is_as_after_a_restart(seed: int) -> None:
    """Any node, however long it has not looked, comes to the same as one that reads everything."""
    rng = Random(seed)
    async with nodes(3) as (store, engines):
        await engines[0].write("c", drawn_put(rng), shape)
        talk = Talk(rng)
        for _ in range(80):
            await rng.choice(engines).write("c", await drawn(rng, talk, engines[0]), shape)
            if rng.random() < 0.4:
                read = await rng.choice(engines[1:]).read("c")
                assert whole(read) == whole(await as_after_a_restart(store, "c"))
        assert len(store.loads) <= len(engines)  # all else was caught up with
        assert len(store.deltas) > 30


async def drawn(rng: Random, talk: Talk, engine: Engine) -> Op:
    """Draw what happens to a context next."""
    draw = rng.random()
    if draw < 0.75:
        messages = tuple(counted(talk.next()) for _ in range(rng.choice((1, 1, 1, 2, 5))))
        usage = Usage(rng.randrange(10_000), 1, model=rng.choice("ab"))
        return Append(messages, None, usage if rng.random() < 0.5 else None)
    if draw < 0.87:
        return await replacement(rng, talk, engine)
    return drawn_put(rng) if draw < 0.97 else PatchMetadata({"n": b"%d" % rng.randrange(9)})


async def replacement(rng: Random, talk: Talk, engine: Engine) -> Compact:
    """Draw a window of summaries and of messages of the log, those that were cut included."""
    context = await engine.read("c")
    log = await engine.pages.messages(context, 1, context.last_seq, 1000)
    kept: list[Entry | Counted] = []
    for row in log:
        if rng.random() < 0.1:
            kept.append(counted(talk.summary()))
        if rng.random() < 0.3:
            kept.append(rows.log_entry_of(row))
    return Compact(tuple(kept))
