"""Several engines over one store, as several nodes on one database."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from fastpaca.context import ContextState
from fastpaca.engine import Engine, rows
from fastpaca.store.base import Change, ChangesPage, CommitStale, Diff, Have, PageBounds, Snapshot
from fastpaca.store.memory import MemoryStore


class SharedStore(MemoryStore):
    """
    One database, of which every node has a view of its own; each query takes a while.

    Attributes:
        queries: How often revisions were asked for.
        asked: Of how many contexts, at most, at once.
        pages: How often pages of changes were read.
        loads: The ids of the contexts that were loaded whole, in order.
        deltas: What was new, of each that was not.
        answering: What is have to the store is told while this is set.
        confirming: That a commit is done is told while this is set.
    """

    is_shared = True

    def __init__(self) -> None:
        super().__init__()
        self.random = random.Random(1)
        self.queries = self.asked = self.pages = 0
        self._ends: dict[str, int] = {}  # the revisions of purged contexts
        self.loads: list[str] = []
        self.deltas: list[Diff] = []
        self.answering = asyncio.Event()
        self.answering.set()
        self.confirming = asyncio.Event()
        self.confirming.set()

    async def _wait(self) -> None:
        for _ in range(self.random.randint(0, 3)):
            await asyncio.sleep(0)

    async def revisions(self, context_ids: Sequence[str]) -> dict[str, int]:
        self.queries += 1
        self.asked = max(self.asked, len(context_ids))
        await self._wait()
        found = await super().revisions(context_ids)
        ends = {name: self._ends[name] for name in context_ids if name in self._ends}
        await self._wait()
        return found | ends

    async def load(self, context_id: str) -> Snapshot | None:
        self.loads.append(context_id)
        await self._wait()
        found = await super().load(context_id)
        await self._wait()
        await self.answering.wait()
        return found

    async def load_since(self, context_id: str, have: Have) -> Diff | None:
        await self._wait()
        found = await super().load_since(context_id, have)
        if found is not None:
            self.deltas.append(found)
        await self._wait()
        await self.answering.wait()
        return found

    async def changes(
        self,
        context_id: str,
        after_version: int,
        to_version: int,
        bounds: PageBounds,
        *,
        with_bodies: bool = True,
    ) -> ChangesPage:
        self.pages += 1
        return await super().changes(
            context_id, after_version, to_version, bounds, with_bodies=with_bodies
        )

    async def commit(self, changes: Sequence[Change]) -> None:
        await self._wait()
        found = await MemoryStore.revisions(self, [change.row.id for change in changes])
        late = [c.row.id for c in changes if found.get(c.row.id, 0) != c.expected_revision]
        if late:
            raise CommitStale("another node was faster", late)
        try:
            await super().commit(changes)
        except CommitStale as error:  # a key that another node has used meanwhile
            raise CommitStale(str(error), [change.row.id for change in changes]) from error
        self._ends |= {change.row.id: change.row.revision for change in changes if change.purges}
        await self._wait()
        await self.confirming.wait()

    async def close(self) -> None:
        pass


@asynccontextmanager
async def nodes(
    count: int = 2, store: SharedStore | None = None
) -> AsyncIterator[tuple[SharedStore, list[Engine]]]:
    """Start so many engines on one store."""
    store = store or SharedStore()
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
        yield store, engines
    finally:
        for engine in engines:
            await engine.stop()


async def as_after_a_restart(store: SharedStore, context_id: str) -> ContextState:
    """Load a context as a node that has just started."""
    snapshot = await MemoryStore.load(store, context_id)
    assert snapshot is not None
    return rows.rebuilt(snapshot)
