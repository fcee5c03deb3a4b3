"""
Every change once, in order, for followers that are cut off anywhere, while many write.

`pytest tests/server/test_stream_once.py --runs=20` tries so many seeds, `--seed=7` that one.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.kit.followers import CONTEXT, EventFollower, Follower, Node, SocketFollower, read_all
from tests.kit.http import GONE, connected
from tests.kit.messages import user
from tests.kit.process import Process, started

WRITERS = 20
COMPACTERS = 3
EVENTS = 5_000

BUDGET = 1500
"""Small, so that policies trim often."""


class Writing:
    """
    Clients that append to one context and compact it, as long as it takes.

    Attributes:
        version: The newest version that was acknowledged.
        is_over: Whether the context takes no more.
    """

    def __init__(self, node: Node, seed: int) -> None:
        self.version = 0
        self.is_over = False
        self._node = node
        self._seed = seed

    async def append(self, number: int, goal: int) -> None:
        """Append batches until the context has come to the version *goal*."""
        chance = random.Random(f"{self._seed}/{number}")
        await self._write(goal, lambda: ("messages", {"messages": batch(chance)}), chance, 0.02)

    async def compact(self, number: int, goal: int) -> None:
        """Compact now and then, until the context has come to the version *goal*."""
        chance = random.Random(f"{self._seed}/compact {number}")
        summary = user("what was said")
        await self._write(goal, lambda: ("compact", {"replacement": [summary]}), chance, 0.1)

    async def _write(self, goal: int, make: Any, chance: random.Random, pause: float) -> None:
        while self.version < goal and not self.is_over:
            with suppress(*GONE):
                async with connected(self._node.port) as http:
                    while self.version < goal and not self.is_over:
                        place, body = make()
                        answer = await http.ask("POST", f"{CONTEXT}/{place}", body)
                        if answer.status in {404, 409}:
                            self.is_over = True
                            return
                        assert answer.status in {200, 201}, answer.body
                        result = answer.json.get("results", [answer.json])[-1]
                        self.version = max(self.version, result["version"])
                        await asyncio.sleep(chance.uniform(0, pause))
            await asyncio.sleep(0.05)

    async def until(self, version: int) -> None:
        """Wait until so much was acknowledged."""
        while self.version < version:  # noqa: ASYNC110 - nothing announces it
            await asyncio.sleep(0.01)


def batch(chance: random.Random) -> list[dict[str, Any]]:
    """Some messages, few or many, short or long."""
    texts = ["word " * chance.randint(1, 60) for _ in range(chance.choice((1, 1, 10, 100)))]
    return [user(text) for text in texts]


class Scene:
    """A context that is written and followed."""

    def __init__(self, node: Node, seed: int, goal: int) -> None:
        self.node = node
        self.goal = goal
        self.writing = Writing(node, seed)
        kinds: list[type[Follower]] = [SocketFollower, EventFollower]
        self.followers = [
            kinds[number % 2](node, random.Random(f"{seed}/follower {number}"))
            for number in range(4)
        ]

    async def play(self) -> None:
        """Write up to the goal, and let the followers come to the end."""
        async with asyncio.TaskGroup() as following:
            for follower in self.followers:
                following.create_task(follower.follow())
            await self.write()
            if not self.writing.is_over:
                async with connected(self.node.port) as http:
                    goal = (await http.ask("GET", CONTEXT)).json["version"]
                    for follower in self.followers:
                        follower.goal = goal
                    # One more frame, for those who are there already.
                    await http.ask("PUT", CONTEXT, {"token_budget": BUDGET + 1})

    async def write(self) -> None:
        async with asyncio.TaskGroup() as writing:
            for number in range(WRITERS):
                writing.create_task(self.writing.append(number, self.goal))
            for number in range(COMPACTERS):
                writing.create_task(self.writing.compact(number, self.goal))

    async def check(self) -> None:
        """Every follower was told what can be read."""
        truth = await read_all(self.node.port)
        assert {piece.kind for piece in truth} == {"message", "compaction"}
        for follower in self.followers:
            assert follower.told == truth


@asynccontextmanager
async def scene(directory: Path, seed: int, goal: int, *flags: str) -> AsyncIterator[Scene]:
    """Run a node with a context."""
    with started(directory, *flags) as process:
        await create(process)
        yield Scene(Node(process.port), seed, goal)
        assert process.stop() == 0
        assert '"level":"error"' not in process.errors


async def create(process: Process) -> None:
    async with connected(process.port) as http:
        answer = await http.ask("PUT", CONTEXT, {"token_budget": BUDGET})
        assert answer.status == 201


@pytest.mark.slow
async def test_every_change_is_told_once(tmp_path: Path, seed: int) -> None:
    """
    Whoever writes and compacts how often, and wherever followers are cut off, each is told exactly
    what can be read.
    """
    async with scene(tmp_path, seed, EVENTS) as it:
        await it.play()
        await it.check()
        assert sum(follower.connections for follower in it.followers) > 12
        kinds = set().union(*(follower.kinds for follower in it.followers))
        assert kinds >= {"message", "compaction", "context"}


@pytest.mark.slow
async def test_kill_is_survived_by_followers(tmp_path: Path, seed: int) -> None:
    """
    A node is killed and comes back, and its followers have missed nothing and met nothing twice.
    """
    node = Node(0)
    it = Scene(node, seed, 2000)
    playing: asyncio.Task[None] | None = None
    try:
        for kill_at in (300, 900, 1500):
            with started(tmp_path) as process:
                node.port = process.port
                if playing is None:
                    await create(process)
                    playing = asyncio.create_task(it.play())
                await it.writing.until(kill_at)
                process.kill()
        assert playing is not None
        with started(tmp_path) as process:
            node.port = process.port
            await playing
            await it.check()
    finally:
        if playing is not None:
            playing.cancel()


async def test_evicted_context_is_followed(tmp_path: Path) -> None:
    """
    Followers are told of a context that leaves memory all the time.
    """
    async with scene(tmp_path, 1, 600, "--hot-bytes", "1000") as it:
        await it.play()
        await it.check()


@pytest.mark.parametrize("query", ["", "?purge=true"], ids=["delete", "purge"])
async def test_end_of_a_context_is_told_to_all(tmp_path: Path, query: str) -> None:
    """
    Deleted in the middle, a context ends for everybody with its last change; purged, at once.
    """
    async with scene(tmp_path, 2, 100_000) as it:
        patient = it.followers[:2]
        for follower in patient:
            follower.cuts = (1_000_000,)
        playing = asyncio.create_task(it.play())
        await it.writing.until(300)
        async with connected(it.node.port) as http:
            assert (await http.ask("DELETE", f"{CONTEXT}{query}")).status == 204
        await playing
        if not query:
            await it.check()
        assert {follower.end for follower in patient} == {"tombstoned"}
        ends = {follower.end for follower in it.followers}
        assert ends <= {"tombstoned", "status 404", "status 204"}
