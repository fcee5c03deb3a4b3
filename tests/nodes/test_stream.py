"""
Followers at one node are told what others append, once and in order, whatever breaks.

`pytest tests/nodes/test_stream.py --runs=20` tries so many seeds, `--seed=7` that one.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from tests.kit.followers import CONTEXT, EventFollower, Follower, Node, SocketFollower, read_all
from tests.kit.http import GONE, connected
from tests.kit.messages import user
from tests.kit.postgres import run_sql
from tests.nodes.cluster import Cluster, cluster

WRITERS = 4
FOLLOWERS = 4
GOAL = 600
"""How many versions are written."""

CUTS = 5

# All connections of nodes but those of other databases.
CUT = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE application_name = 'fastpaca' AND datname = current_database()
"""


class Writers:
    """
    Clients that append to one context through one node until it has come to a version.

    Attributes:
        version: The newest version that was acknowledged.
    """

    def __init__(self, node: Node, seed: int) -> None:
        self.version = 0
        self._node = node
        self._seed = seed

    async def write(self, goal: int) -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(WRITERS):
                group.create_task(self._keep_writing(random.Random(f"{self._seed}/{number}"), goal))

    async def _keep_writing(self, chance: random.Random, goal: int) -> None:
        while self.version < goal:
            with suppress(*GONE):
                async with connected(self._node.port) as http:
                    while self.version < goal:
                        answer = await http.ask("POST", *_any_write(chance))
                        if answer.status == 503:
                            break
                        assert answer.status in {200, 201}, answer.body
                        result = answer.json.get("results", [answer.json])[-1]
                        self.version = max(self.version, result["version"])
                        await asyncio.sleep(chance.uniform(0, 0.02))
            await asyncio.sleep(0.05)

    async def until(self, version: int) -> None:
        """Wait until so much was acknowledged."""
        async with asyncio.timeout(60):
            while self.version < version:  # noqa: ASYNC110 - nothing announces it
                await asyncio.sleep(0.005)


def _any_write(chance: random.Random) -> tuple[str, dict[str, Any]]:
    """A path and a body."""
    texts = ["word " * chance.randint(1, 60) for _ in range(chance.choice((1, 1, 3)))]
    messages = [user(text) for text in texts]
    if chance.random() < 0.05:
        return f"{CONTEXT}/compact", {"replacement": messages}
    return f"{CONTEXT}/messages", {"messages": messages}


class Scene:
    """Clients that write through one node, and followers at another who are never cut off."""

    def __init__(self, nodes: Cluster, seed: int) -> None:
        self.nodes = nodes
        self.writers = Writers(nodes.nodes[0], seed)
        kinds: list[type[Follower]] = [SocketFollower, EventFollower]
        self.followers = [
            kinds[number % 2](nodes.nodes[1], Patient(number)) for number in range(FOLLOWERS)
        ]

    @asynccontextmanager
    async def play(self) -> AsyncIterator[None]:
        """Write up to the goal during this block, and let the followers come to the end."""
        async with self.nodes.client(1) as http:
            assert (await http.ask("PUT", CONTEXT, {"token_budget": 1500})).status == 201
        async with asyncio.TaskGroup() as following:
            for follower in self.followers:
                following.create_task(follower.follow())
            async with asyncio.TaskGroup() as writing:
                writing.create_task(self.writers.write(GOAL))
                yield
            async with self.nodes.client(1) as http:
                goal = (await http.ask("GET", CONTEXT)).json["version"]
            for follower in self.followers:
                follower.goal = goal
            async with self.nodes.client(0) as http:  # one more frame, for those who are there
                await http.ask("PUT", CONTEXT, {"token_budget": 1501})

    async def check(self) -> None:
        """Every follower was told what can be read, over one connection."""
        truth = await read_all(self.nodes.nodes[1].port)
        assert {piece.kind for piece in truth} == {"message", "compaction"}
        for follower in self.followers:
            assert follower.told == truth
            assert follower.connections == 1


class Patient(random.Random):
    """The choice of a follower that leaves by itself only at the end."""

    def choice(self, _: Any) -> Any:
        return float("inf")


@asynccontextmanager
async def scene(dsn: str, directory: Path, seed: int) -> AsyncIterator[Scene]:
    async with cluster(dsn, directory, 2) as nodes:
        yield Scene(nodes, seed)


async def test_followers_hear_another_node(dsn: str, tmp_path: Path, seed: int) -> None:
    """
    What is written through one node comes to the followers at another once and in order.
    """
    async with scene(dsn, tmp_path, seed) as it:
        async with it.play():
            pass
        await it.check()


async def test_followers_outlive_the_node_of_the_writers(
    dsn: str, tmp_path: Path, seed: int
) -> None:
    """
    The node that was written through is killed and comes back; those at the other miss nothing.
    """
    async with scene(dsn, tmp_path, seed) as it:
        async with it.play():
            for part in (1, 2):
                await it.writers.until(part * GOAL // 3)
                it.nodes.kill(0)
                await it.nodes.start(0)
        await it.check()


async def test_followers_outlive_connections_to_the_database(
    dsn: str, tmp_path: Path, seed: int
) -> None:
    """
    All connections to the database are cut, again and again; followers keep theirs, and are told
    everything.
    """
    async with scene(dsn, tmp_path, seed) as it:
        cut = 0
        async with it.play():
            for part in range(1, CUTS + 1):
                await it.writers.until(part * GOAL // (CUTS + 2))
                cut += len(await run_sql(dsn, CUT))
        await it.check()
    assert cut >= CUTS
