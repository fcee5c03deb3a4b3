"""
Many clients of several nodes on one database meet what one node alone could have answered.

`pytest tests/nodes/test_linearizable.py --runs=20` tries so many seeds, `--seed=7` that one.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.nodes.clients import Clients
from tests.nodes.cluster import cluster
from tests.nodes.history import Fork, PutMessage, Rewind, not_linearizable

NODES = 3
CLIENTS = 50
CONTEXTS = 20
TOMBS = 4
FORKS = 6

KILLS = 3

WRITES_BETWEEN = 150
"""How many writes are acknowledged before a kill, and as many while the node is gone."""


@pytest.mark.slow
async def test_nodes_are_one(dsn: str, tmp_path: Path, seed: int) -> None:
    """
    Clients write to the same contexts through all nodes while these are killed and come back: each
    acknowledged write is there once, where it was said to be; no read is older than what anybody
    was told before it; nobody is refused for a state that is no more.
    """
    async with cluster(dsn, tmp_path, NODES) as nodes:
        clients = Clients(nodes, CONTEXTS, seed, TOMBS, FORKS)
        async with clients.busy(CLIENTS):
            for kill in range(KILLS):
                await clients.answered(WRITES_BETWEEN)
                nodes.kill((seed + kill) % NODES)
                await clients.answered(WRITES_BETWEEN)
                await nodes.start((seed + kill) % NODES)
            await clients.answered(WRITES_BETWEEN)
        await clients.read_all()
        await clients.fill_in_forks()
    for context_id in clients.ids:
        stuck = not_linearizable(clients.calls[context_id])
        assert stuck is None, f"{context_id}: {stuck}"
    assert clients.lost, "no request met a kill"
    assert clients.replays
    asked = [type(call.asked) for calls in clients.calls.values() for call in calls]
    assert {PutMessage, Rewind, Fork} <= set(asked)
