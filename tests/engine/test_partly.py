"""A store of several servers of which one is away: contexts on the others go on as ever."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import pytest

from fastpaca.context.ops import Put
from fastpaca.engine import Engine, Keyed, Written
from fastpaca.engine.commits import SINGLE_COMMITS, SINGLE_FAILURES_MAX
from fastpaca.errors import Unavailable
from fastpaca.store.base import (
    Change,
    CommitFailed,
    IdempotencyRecord,
    PartialRead,
    ReadFailed,
    Snapshot,
)
from tests.engine.nodes import SharedStore, nodes
from tests.engine.world import versions as shape
from tests.kit.messages import append

REASON = "connection to the remote node 10.11.12.13:5432 failed"


class Split(SharedStore):
    """
    A store of two servers: contexts and keys lie on the one that their first letter says.

    Attributes:
        away: The letter of the server that does not answer.
        commits: How many were tried.
        first: What is done once before a context is committed alone, with its id.
    """

    def __init__(self) -> None:
        super().__init__()
        self.away = "-"
        self.commits = 0
        self.first: Callable[[str], Awaitable[object]] | None = None

    def is_away(self, name: str) -> bool:
        return name.startswith(self.away)

    async def revisions(self, context_ids: Sequence[str]) -> dict[str, int]:
        near = [name for name in context_ids if not self.is_away(name)]
        found = await super().revisions(near)
        if len(near) < len(context_ids):
            raise PartialRead(REASON, found, {*context_ids} - {*near})
        return found

    async def idempotency_records(self, keys: Sequence[str]) -> dict[str, IdempotencyRecord]:
        near = [key for key in keys if not self.is_away(key)]
        found = await super().idempotency_records(near)
        if len(near) < len(keys):
            raise PartialRead(REASON, found, {*keys} - {*near})
        return found

    async def load(self, context_id: str) -> Snapshot | None:
        if self.is_away(context_id):
            raise ReadFailed(REASON)
        return await super().load(context_id)

    async def commit(self, changes: Sequence[Change]) -> None:
        self.commits += 1
        if any(self.is_away(change.row.id) for change in changes):
            raise CommitFailed(REASON)
        if len(changes) == 1 and self.first is not None:
            first, self.first = self.first, None
            await first(changes[0].row.id)
        await super().commit(changes)


def say(engine: Engine, name: str, key: str | None = None) -> asyncio.Task[Written]:
    """Append a message."""
    keyed = None if key is None else Keyed(key, b"f")
    return asyncio.create_task(engine.write(name, append("hi"), shape, keyed))


async def both(*tasks: asyncio.Task[object]) -> list[bool]:
    """Tell which of *tasks* were done; the others were refused, and say nothing of servers."""
    done = await asyncio.gather(*tasks, return_exceptions=True)
    for outcome in done:
        if isinstance(outcome, BaseException):
            assert isinstance(outcome, Unavailable)
            assert "10.11" not in str(outcome)
    return [not isinstance(outcome, BaseException) for outcome in done]


async def test_a_batch_commits_what_can_be_committed() -> None:
    """Of one batch, contexts on the server that is there are written, all others certainly not."""
    store = Split()
    names = [f"{letter}{number}" for letter in "nf" for number in range(5)]
    async with nodes(1, store) as (_, (engine,)):
        await asyncio.gather(*(engine.write(name, Put(), shape) for name in names))
        store.away = "f"
        assert await both(*(say(engine, name) for name in names)) == [True] * 5 + [False] * 5
        store.away = "-"
        rows = await store.contexts("", "", 99)
        assert {row.id: row.version for row in rows} == {
            name: int(name.startswith("n")) for name in names
        }
        assert await both(*(say(engine, name) for name in names)) == [True] * 10


async def test_reads_that_are_asked_for_together_fail_apart() -> None:
    """The question whether anything is new is answered for the contexts that can be asked for."""
    store = Split()
    async with nodes(1, store) as (_, (engine,)):
        for name in ("near", "far"):
            await engine.write(name, Put(), shape)
        store.away = "f"
        reads = [asyncio.create_task(engine.read(name)) for name in ("near", "far", "near", "no")]
        with pytest.raises(Unavailable, match="cannot be read"):
            await reads[1]
        assert [(await reads[n]).version for n in (0, 2)] == [0, 0]
        await asyncio.wait(reads)


async def test_keys_that_can_be_looked_up_are() -> None:
    """A key on the server that is away refuses its request, and none that waits with it."""
    store = Split()
    async with nodes(1, store) as (_, (engine,)):
        await engine.write("near", Put(), shape)
        store.away = "f"
        tasks = [say(engine, "near", key) for key in ("n1", "f1", "n2")]
        assert await both(*tasks) == [True, False, True]
        assert (await engine.read("near")).version == 2


async def test_followers_of_the_others_are_told() -> None:
    """What another node writes is seen, though not all that is followed can be asked for."""
    store = Split()
    async with nodes(2, store) as (_, (left, right)):
        for name in ("near", "far"):
            await left.write(name, Put(), shape)
        followers = [
            await right.hub.follow(name, 0, lambda frame: type(frame).__name__.encode())
            for name in ("far", "near")
        ]
        store.away = "f"
        await left.write("near", append("hi"), shape)
        frames: list[bytes] = []
        async with asyncio.timeout(20):
            while b"MessageFrame" not in frames:
                frames += await followers[1].next()
        for follower in followers:
            follower.close()


async def test_a_store_that_takes_nothing_is_not_tried_for_ever() -> None:
    """If the first contexts of a batch are refused one and all, the rest is not tried."""
    store = Split()
    names = [f"f{number}" for number in range(100)]
    async with nodes(1, store) as (_, (engine,)):
        await asyncio.gather(*(engine.write(name, Put(), shape) for name in names))
        store.away, store.commits = "f", 0
        assert not any(await both(*(say(engine, name) for name in names)))
        assert store.commits <= 1 + SINGLE_FAILURES_MAX + SINGLE_COMMITS


async def test_whoever_was_overtaken_alone_tries_again() -> None:
    """A context that another node has changed while a batch is taken apart is done again."""
    store = Split()
    async with nodes(2, store) as (_, (left, right)):
        for name in ("near", "far"):
            await left.write(name, Put(), shape)
        store.away = "f"
        store.first = lambda name: right.write(name, append("first"), shape)
        assert await both(say(left, "near"), say(left, "far")) == [True, False]
        assert (await left.read("near")).version == 2
