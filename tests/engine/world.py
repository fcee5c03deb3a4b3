"""The smallest world an engine needs: a store that a test holds up, and a clock that ticks."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastpaca.context import ContextState
from fastpaca.context.ops import Op, Put
from fastpaca.engine import Engine, Keyed, Written
from tests.kit.messages import append
from tests.kit.stores import ScriptedStore


class World:
    """An engine over a scripted store, with a clock that ticks at every look."""

    def __init__(
        self,
        store: ScriptedStore | None = None,
        *,
        hot_bytes: int = 10_000_000,
        queue_ops_max: int = 1000,
    ) -> None:
        self.store = store or ScriptedStore()
        self.fatal: list[str] = []
        ticks = itertools.count(1_000_000, 1000)
        ids = itertools.count(1)
        self.engine = Engine(
            self.store,
            clock=lambda: next(ticks),
            commit_ids=lambda: next(ids).to_bytes(16, "big"),
            hot_bytes=hot_bytes,
            queue_ops_max=queue_ops_max,
            on_fatal=self.fatal.append,
        )

    async def put(self, context_id: str, token_budget: int | None = None) -> Written:
        return await self.write(context_id, Put(token_budget))

    async def append(
        self,
        context_id: str,
        *texts: str,
        if_version: int | None = None,
        key: str | None = None,
    ) -> Written:
        op = append(*texts, if_version=if_version)
        keyed = None if key is None else Keyed(key, f"{context_id} {texts}".encode())
        return await self.write(context_id, op, keyed)

    async def write(self, context_id: str, op: Op, keyed: Keyed | None = None) -> Written:
        return await self.engine.write(context_id, op, versions, keyed)


def versions(context: ContextState, events: object) -> bytes:
    """Answer with the version."""
    return b"%d" % context.version


@asynccontextmanager
async def started(world: World) -> AsyncIterator[World]:
    """Start the engine of *world*, and stop it."""
    await world.engine.start()
    try:
        yield world
    finally:
        world.store.gate.set()
        world.store.load_gate.set()
        await world.engine.stop()
