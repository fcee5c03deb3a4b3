"""Several engines over one store, as several nodes on one database."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from fastpaca.context.ops import Append, Delete, Purge, Put
from fastpaca.engine import Engine, Keyed
from fastpaca.errors import (
    ContextNotFound,
    ContextPurged,
    ContextTombstoned,
    IdempotencyConflict,
    Unavailable,
    VersionConflict,
)
from fastpaca.store.base import Change, CommitOvertaken
from fastpaca.store.memory import MemoryStore
from fastpaca.stream.hub import Follower
from tests.engine.world import message
from tests.engine.world import versions as shape


class SharedStore(MemoryStore):
    """One database, of which every node has a view of its own; each query takes a while."""

    is_shared = True

    def __init__(self) -> None:
        super().__init__()
        self.random = random.Random(1)
        self.queries = 0

    async def _wait(self) -> None:
        for _ in range(self.random.randint(0, 3)):
            await asyncio.sleep(0)

    async def revisions(self, context_ids: Sequence[str]) -> dict[str, int]:
        self.queries += 1
        await self._wait()
        found = await super().revisions(context_ids)
        await self._wait()
        return found

    async def commit(self, changes: Sequence[Change]) -> None:
        await self._wait()
        found = await MemoryStore.revisions(self, [change.row.id for change in changes])
        late = [c.row.id for c in changes if found.get(c.row.id, 0) != c.expected_revision]
        if late:
            raise CommitOvertaken("another node was faster", late)
        try:
            await super().commit(changes)
        except CommitOvertaken as error:  # a key that another node has used meanwhile
            raise CommitOvertaken(str(error), [change.row.id for change in changes]) from error
        await self._wait()

    async def close(self) -> None:
        pass


def append(text: str, if_version: int | None = None) -> Append:
    """Append a message of one text part."""
    return Append((message(text),), if_version)


@asynccontextmanager
async def nodes(count: int = 2) -> AsyncIterator[list[Engine]]:
    """Start so many engines on one store."""
    store = SharedStore()
    ticks = itertools.count(1_000_000, 1000)
    ids = itertools.count(1)
    engines = [
        Engine(
            store,
            clock=lambda: next(ticks),
            commit_ids=lambda: next(ids).to_bytes(16, "big"),
            hot_bytes=1 << 20,
        )
        for _ in range(count)
    ]
    for engine in engines:
        await engine.start()
    try:
        yield engines
    finally:
        for engine in engines:
            await engine.stop()


async def test_writes_through_two_nodes_meet_no_false_conflict() -> None:
    """
    A client that alternates between nodes with the version it was given always succeeds.
    """
    async with nodes() as engines:
        await engines[0].write("c", Put(), shape)
        for version in range(20):
            written = await engines[version % 2].write("c", append("m", version), shape)
            assert written.context.version == version + 1


async def test_reads_see_what_any_node_has_acknowledged() -> None:
    """
    Configuration and deletion included.
    """
    async with nodes() as (left, right):
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
    async with nodes() as (left, right):
        with pytest.raises(ContextNotFound):
            await right.write("c", append("one"), shape)
        await left.write("c", Put(), shape)
        await right.write("c", append("one"), shape)
        await left.write("c", append("two"), shape)
        with pytest.raises(VersionConflict) as conflict:
            await right.write("c", append("three", 1), shape)
        assert conflict.value.found == 2
        await left.write("c", Put(token_budget=7), shape)
        written = await right.write("c", Put(token_budget=8000), shape)
        assert written.context.config.token_budget == 8000
        assert (await left.read("c")).config.token_budget == 8000
        await right.write("c", Delete(), shape)
        with pytest.raises(ContextTombstoned):
            await left.write("c", append("four"), shape)


async def test_purged_context_refuses_at_all_nodes() -> None:
    """
    What is left of a purged context is the same for ever, and refuses for that reason everywhere.
    """
    async with nodes() as (a, b):
        await a.write("c", Put(), shape)
        await a.write("c", append("one"), shape)
        await b.write("c", append("two"), shape)
        await a.write("c", Purge(), shape)
        for node in (a, b):
            with pytest.raises(ContextPurged):
                await node.write("c", append("three"), shape)
            assert (await node.write("c", Purge(), shape)).events == ()


async def test_the_same_key_at_two_nodes_is_done_once() -> None:
    """
    Also when both are asked at the same time.
    """
    async with nodes() as (left, right):
        await left.write("c", Put(), shape)
        for number in range(20):
            keyed = Keyed(f"key {number}", b"same")
            first, second = await asyncio.gather(
                left.write("c", append("m"), shape, keyed),
                right.write("c", append("m"), shape, keyed),
            )
            assert first.answer == second.answer
            assert {first.replayed, second.replayed} == {True, False}
            with pytest.raises(IdempotencyConflict):
                await left.write("c", append("m"), shape, Keyed(f"key {number}", b"other"))
        assert (await right.read("c")).last_seq == 20


async def test_many_writers_through_many_nodes() -> None:
    """
    Every append is there once, with the version that was answered.
    """
    async with nodes(3) as engines:
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
            for engine in engines:
                assert (await engine.read(context_id)).version == max(versions)
            assert sorted(versions) == list(range(1, max(versions) + 1))


async def test_followers_hear_of_other_nodes() -> None:
    """
    What one node appends, those who follow at another are sent, once and in order.
    """

    def encode(frame: object) -> bytes:
        return json.dumps([type(frame).__name__, getattr(frame, "version", None)]).encode()

    async with nodes() as (left, right):
        await left.write("c", Put(), shape)
        follower = await right.hub.follow("c", 0, encode)
        seen: list[int] = []
        writing = asyncio.create_task(_write_many(left, 30))
        async with asyncio.timeout(20):
            while len(seen) < 30:
                seen += await _messages(follower)
        await writing
        assert seen == list(range(1, 31))
        follower.close()


async def _write_many(engine: Engine, count: int) -> None:
    for _ in range(count):
        await engine.write("c", append("m"), shape)
        await asyncio.sleep(0)


async def _messages(follower: Follower) -> list[int]:
    frames = [json.loads(text) for text in await follower.next()]
    return [version for kind, version in frames if kind == "MessageFrame"]
