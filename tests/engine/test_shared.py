"""What callers of several nodes on one database are promised."""

from __future__ import annotations

import asyncio
import random

import pytest

from fastpaca.context.ops import Delete, Purge, Put
from fastpaca.engine import Keyed
from fastpaca.errors import (
    ContextNotFound,
    IdempotencyConflict,
    Purged,
    Tombstoned,
    Unavailable,
    VersionConflict,
)
from tests.engine.nodes import as_after_a_restart, nodes
from tests.engine.world import versions as shape
from tests.kit.messages import append
from tests.store.contract import whole


async def test_writes_through_two_nodes_meet_no_false_conflict() -> None:
    """
    A client that alternates between nodes with the version it was given always succeeds.
    """
    async with nodes() as (_, engines):
        await engines[0].write("c", Put(), shape)
        for version in range(20):
            written = await engines[version % 2].write("c", append("m", if_version=version), shape)
            assert written.context.version == version + 1


async def test_reads_see_what_any_node_has_acknowledged() -> None:
    """
    Configuration and deletion included.
    """
    async with nodes() as (_, (left, right)):
        await left.write("c", Put(), shape)
        assert (await right.read("c")).version == 0
        await left.write("c", append("one"), shape)
        assert (await right.read("c")).last_seq == 1
        await left.write("c", Put(token_budget=7), shape)
        assert (await right.read("c")).config.token_budget == 7
        await left.write("c", Delete(), shape)
        assert (await right.read("c")).status == "tombstoned"


async def test_nothing_is_refused_on_an_old_state() -> None:
    """
    A refusal, and an op that changes nothing, rest on what the store says now.
    """
    async with nodes() as (_, (left, right)):
        with pytest.raises(ContextNotFound):
            await right.write("c", append("one"), shape)
        await left.write("c", Put(), shape)
        await right.write("c", append("one"), shape)
        await left.write("c", append("two"), shape)
        with pytest.raises(VersionConflict) as conflict:
            await right.write("c", append("three", if_version=1), shape)
        assert conflict.value.found == 2
        await left.write("c", Put(token_budget=7), shape)
        written = await right.write("c", Put(token_budget=8000), shape)
        assert written.context.config.token_budget == 8000
        assert (await left.read("c")).config.token_budget == 8000
        await right.write("c", Delete(), shape)
        with pytest.raises(Tombstoned):
            await left.write("c", append("four"), shape)


async def test_purged_context_refuses_at_all_nodes() -> None:
    """
    What is left of a purged context is the same for ever, and refuses for that reason everywhere.
    """
    async with nodes() as (_, (a, b)):
        await a.write("c", Put(), shape)
        await a.write("c", append("one"), shape)
        await b.write("c", append("two"), shape)
        await a.write("c", Purge(), shape)
        for node in (a, b):
            with pytest.raises(Purged):
                await node.write("c", append("three"), shape)
            assert (await node.write("c", Purge(), shape)).events == ()


async def test_purge_between_a_state_and_its_page_is_noticed() -> None:
    """
    A log that another node purges while it is read is not found, and never an empty one.
    """
    async with nodes() as (_, (a, b)):
        await a.write("c", Put(), shape)
        await a.write("c", append("one"), shape)
        context = await a.read("c")
        await b.write("c", Purge(), shape)
        with pytest.raises(ContextNotFound):
            await a.pages.messages(context, 1, 1, 10)
        with pytest.raises(ContextNotFound):
            await a.pages.tail(context, 0, 10)
        with pytest.raises(ContextNotFound):
            await a.pages.compactions(context, 0, 10)


async def test_the_same_key_at_two_nodes_is_done_once() -> None:
    """
    Also when both are asked at the same time.
    """
    async with nodes() as (_, (left, right)):
        await left.write("c", Put(), shape)
        for number in range(20):
            keyed = Keyed(f"key {number}", b"same")
            first, second = await asyncio.gather(
                left.write("c", append("m"), shape, keyed),
                right.write("c", append("m"), shape, keyed),
            )
            assert first.response == second.response
            assert {first.replayed, second.replayed} == {True, False}
            with pytest.raises(IdempotencyConflict):
                await left.write("c", append("m"), shape, Keyed(f"key {number}", b"other"))
        assert (await right.read("c")).last_seq == 20


async def test_many_writers_through_many_nodes() -> None:
    """
    Every append is there once, with the version that was answered.
    """
    async with nodes(3) as (store, engines):
        chance = random.Random(7)
        for number in range(4):
            await engines[0].write(f"c{number}", Put(), shape)
        answered: dict[str, list[int]] = {f"c{number}": [] for number in range(4)}

        async def client() -> None:
            for _ in range(15):
                context_id = f"c{chance.randrange(4)}"
                engine = chance.choice(engines)
                try:
                    written = await engine.write(context_id, append("m"), shape)
                except Unavailable:  # twenty times in a row another node was faster
                    continue
                answered[context_id].append(written.context.version)
                read = await chance.choice(engines).read(context_id)
                assert read.version >= written.context.version

        await asyncio.gather(*[client() for _ in range(20)])
        for context_id, versions in answered.items():
            assert len(set(versions)) == len(versions)
            found = await as_after_a_restart(store, context_id)
            for engine in engines:
                assert whole(await engine.read(context_id)) == whole(found)
            assert found.version == max(versions)
            assert sorted(versions) == list(range(1, max(versions) + 1))
