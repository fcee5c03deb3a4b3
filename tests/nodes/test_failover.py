"""
The primary is fenced and stays up, and its standby takes over: nodes never answer with what the old
one holds, say that they are of no use meanwhile, and go on by themselves.

`pytest tests/nodes/test_failover.py --runs=20` tries so many seeds, `--seed=7` that one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from tests.kit.http import Client
from tests.kit.postgres import Pair, running_pair, until
from tests.kit.proxy import proxied
from tests.nodes.clients import Clients
from tests.nodes.cluster import cluster_at
from tests.nodes.history import not_linearizable
from tests.nodes.node import Node, node, refusal
from tests.nodes.test_database import until_refused

CLIENTS: Final = 24
CONTEXTS: Final = 10
WRITES_BETWEEN: Final = 100

READS: Final = (
    "/v1/contexts/c",
    "/v1/contexts/c/context",
    "/v1/contexts/c/messages",
    "/v1/contexts/c/tail",
    "/v1/contexts/c/compactions",
    "/v1/contexts?prefix=c",
    "/v1/contexts/not-there",
)


@pytest.fixture
def pair() -> Iterator[Pair]:
    """A server with a standby that takes over."""
    with running_pair() as pair:
        yield pair


class Way(NamedTuple):
    """An address of both servers, and what leads it to the standby, if it does not by itself."""

    dsn: str
    switch: Callable[[], None]


@asynccontextmanager
async def way(pair: Pair, kind: str) -> AsyncIterator[Way]:
    """Lead to the primary, by one address that is moved or by two hosts."""
    if kind == "two hosts":
        yield Way(pair.dsn(), lambda: None)
        return
    async with proxied(pair.primary) as proxy:

        def switch() -> None:
            proxy.server = pair.standby  # what is connected stays so

        yield Way(pair.primary.dsn(directory=proxy.directory), switch)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["one address", "two hosts"])
async def test_old_primary_stays_up(pair: Pair, tmp_path: Path, kind: str) -> None:
    """
    A fenced primary is not read from, at once and in every way. The node is alive, and after some
    seconds no longer ready. When the standby takes writes and the address leads there, the node is
    ready without a request or a restart, and knows all that was acknowledged by any node.
    """
    async with way(pair, kind) as there, node(there.dsn, tmp_path) as it:
        for name in ("a", "b"):
            await it.appended(name)
        assert await it.log() == ["a", "b"]
        await pair.primary.fence()
        for path in READS:
            for _ in range(3):
                assert refusal(await it.client.ask("GET", path)) == "unavailable"
        assert refusal(await it.append("c")) == "unavailable"
        await until(partial(is_ready, it.client, ready=False))
        await asyncio.to_thread(pair.standby.promote)
        directory = tmp_path / "other"
        directory.mkdir()
        async with node_beside(pair.standby.dsn(), directory) as other:
            await other.appended("c")
            log = (await it.client.ask("GET", "/v1/contexts/c/messages")).json
            assert "messages" not in log or len(log["messages"]) == 3
            there.switch()
            await until(partial(is_ready, it.client, ready=True))
            assert await it.log() == ["a", "b", "c"]
            await it.appended("d")
            assert await other.log() == ["a", "b", "c", "d"]


async def is_ready(client: Client, *, ready: bool) -> bool:
    """Ask for the health of a node, which is alive, and tell whether it is (not) ready."""
    assert (await client.ask("GET", "/health/live")).json["status"] == "ok"
    reply = await client.ask("GET", "/health/ready")
    if reply.status == 200:
        assert reply.json == {"status": "ok"}
    else:
        assert reply.status == 503
        assert reply.json["status"] == "degraded"
        assert "accepts no writes" in reply.json["reason"]
        assert "/" not in reply.json["reason"], "it names an address"
    return (reply.status == 200) is ready


@asynccontextmanager
async def node_beside(dsn: str, directory: Path) -> AsyncIterator[Node]:
    """Run another node, on the context that is there."""
    async with cluster_at([dsn], directory) as nodes, nodes.client() as client:
        yield Node(client, nodes)


@pytest.mark.slow
async def test_nodes_are_one_over_a_failover(pair: Pair, tmp_path: Path, seed: int) -> None:
    """
    Clients write and read through three nodes, which follow a failover one after the other: each
    acknowledged write is there once, and no read is older than what anybody was told before it.
    """
    async with (
        way(pair, "one address") as first,
        way(pair, "one address") as second,
        way(pair, "two hosts") as third,
        cluster_at([way.dsn for way in (first, second, third)], tmp_path) as nodes,
    ):
        clients = Clients(nodes, CONTEXTS, seed)
        async with clients.busy(CLIENTS):
            await clients.answered(WRITES_BETWEEN)
            await pair.primary.fence()
            await until_refused(clients)
            await asyncio.to_thread(pair.standby.promote)
            await clients.answered(WRITES_BETWEEN)  # by the third alone
            for one in (first, second):
                one.switch()
                await clients.answered(WRITES_BETWEEN)
        for number in range(len(nodes.nodes)):
            async with nodes.client(number) as client:
                await until(partial(is_ready, client, ready=True))
        await clients.read_all()
    for context_id in clients.ids:
        stuck = not_linearizable(clients.calls[context_id])
        assert stuck is None, f"{context_id}: {stuck}"
    assert clients.lost == 0, "a node hung up on a client"
    assert clients.replays
