"""Nodes that edit one conversation at the same time have one path of it, and one window."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

from fastpaca.context import ContextState
from fastpaca.context.context import create
from fastpaca.context.ops import Op, Put
from fastpaca.engine import Engine, rows
from fastpaca.store.base import PageBounds
from fastpaca.store.memory import MemoryStore
from fastpaca.store.postgres.store import PostgresStore
from tests.context.conversation import image
from tests.context.story import drawn_put
from tests.engine.turns import Turns, path_of
from tests.engine.world import versions
from tests.kit.author import ALL
from tests.store.contract import whole

SEEDS = 3

ROUNDS = 40

HOT_BYTES = (1 << 20, 1 << 20, 1)
"""What each node may keep in memory: the last one has to load the context again each time."""


class Core:
    """
    What the pure core says of the same ops: one state that was never read, and all rows it wrote.

    Attributes:
        context: The state.
        store: Its rows.
        windows: The window after each version that a write has ended with.
    """

    def __init__(self, context: ContextState) -> None:
        self.context = context
        self.store = MemoryStore()
        self.windows = {0: context.window}

    async def apply(self, op: Op, now_us: int) -> None:
        """Apply *op*, and keep what it writes."""
        after, events = self.context.apply(op, now_us)
        if events:
            self.context = rows.with_revision(after, self.context.revision + 1)
            await self.store.commit([rows.change(self.context, events, [], bytes(16))])
            self.windows[after.version] = after.window


class Nodes:
    """
    Several engines on one database, each with connections of its own.

    Attributes:
        now_us: The time of all of them.
        stores: The store of each.
        engines: The engines.
    """

    def __init__(self, dsn: str) -> None:
        self.now_us = 1_700_000_000_000_000
        self.stores = [PostgresStore(dsn, connections=3) for _ in HOT_BYTES]
        ids = itertools.count(1)
        self.engines = [
            Engine(
                store,
                clock=lambda: self.now_us,
                commit_ids=lambda: next(ids).to_bytes(16, "big"),
                hot_bytes=hot_bytes,
            )
            for store, hot_bytes in zip(self.stores, HOT_BYTES, strict=True)
        ]


@asynccontextmanager
async def nodes(dsn: str) -> AsyncIterator[Nodes]:
    """Start a node for each of `HOT_BYTES`."""
    started = Nodes(dsn)
    for engine in started.engines:
        await engine.start()
    try:
        yield started
    finally:
        for engine in started.engines:
            await engine.stop()


async def begun(nodes: Nodes, op: Put) -> Core:
    """Create the context `c`."""
    await nodes.engines[0].write("c", op, versions)
    context, events = create("c", op, nodes.now_us)
    core = Core(rows.with_revision(context, 1))
    await core.store.commit([rows.change(core.context, events, [], bytes(16))])
    return core


async def test_nodes_have_one_path(dsn: str, seed: int) -> None:
    """
    Nodes append, put messages by their ids, compact, rewind and configure, all at once. Each has
    the state and the path that the core has, hot or cold, and can tell every window of the past.
    """
    rng = Random(seed)
    async with nodes(dsn) as cluster:
        core = await begun(cluster, drawn_put(rng))
        turns = [Turns(rng, store) for store in cluster.stores]
        for _ in range(ROUNDS):
            cluster.now_us += 1000
            # With one write of each node, each commit has one: the revisions that they were applied
            # to say in which order.
            done = await asyncio.gather(
                *(turn.write(engine) for turn, engine in zip(turns, cluster.engines, strict=True))
            )
            for op, written in sorted(done, key=lambda turn: turn.written.context.revision):
                if written.events:
                    await core.apply(op, cluster.now_us)
                    committed = rows.with_revision(written.context, core.context.revision)
                    assert whole(core.context) == whole(committed)
            await check(rng, cluster, core)
        log = await core.store.messages("c", 1, ALL, PageBounds(ALL, ALL))
        assert len([row for row in log if row.revises]) > 5


async def check(rng: Random, cluster: Nodes, core: Core) -> None:
    """Compare what each node knows of the context with what the core says."""
    expected = await path_of(core.store, core.context)
    ranges = core.context.window.path.ranges(core.context.last_seq)
    for engine, store in zip(cluster.engines, cluster.stores, strict=True):
        context = await engine.read("c")
        assert whole(context) == whole(core.context)
        assert await path_of(store, context) == expected
        snapshot = await store.load("c")
        assert snapshot is not None
        assert whole(rows.rebuilt(snapshot)) == whole(core.context)
        version = rng.choice(list(core.windows))
        past = await engine.pages.at_version(context, version)
        assert image(past.window) == image(core.windows[version])
        bounds = PageBounds(rng.randint(1, 9), rng.choice((1, 1000, ALL)))
        start, newest_first = rng.randint(1, core.context.last_seq + 1), rng.random() < 0.5
        pages = [
            await some.path("c", ranges, start, ALL, bounds, newest_first=newest_first)
            for some in (store, core.store)
        ]
        assert pages[0] == pages[1]
