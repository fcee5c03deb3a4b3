"""Stores for a while, and a store that a test holds up, or lets fail."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

from fastpaca.store.base import Change, Condition, IdempotencyRecord, Snapshot, Store
from fastpaca.store.memory import MemoryStore

AnyStore = TypeVar("AnyStore", bound=Store)


@asynccontextmanager
async def opened(store: AnyStore) -> AsyncIterator[AnyStore]:
    """Open *store* for a while, and close it whatever happens."""
    try:
        await store.open()
        yield store
    finally:
        await store.close()


async def settle() -> None:
    """Let every task run that can."""
    for _ in range(20):
        await asyncio.sleep(0)


class ScriptedStore(MemoryStore):
    """
    A memory store that notes what is asked of it, and waits or fails as a test wants.

    Attributes:
        commits: The changes of every commit that was tried, in order.
        loads: The ids of every load, in order.
        gate: Commits wait while it is closed.
        load_gate: Loads wait while it is closed.
        commit_error: The error to raise instead of committing, or None.
        refuses: Returns the error to raise instead of committing these changes, or None.
        load_error: The error to raise instead of loading, or None.
        keeps_next_load: Whether the next load reads, and then waits for *release* to answer.
        release: See above.
        condition: How it says that it is.
    """

    def __init__(self) -> None:
        super().__init__()
        self.commits: list[Sequence[Change]] = []
        self.loads: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.load_gate = asyncio.Event()
        self.load_gate.set()
        self.commit_error: Exception | None = None
        self.refuses: Callable[[Sequence[Change]], Exception | None] = lambda changes: None
        self.load_error: Exception | None = None
        self.keeps_next_load = False
        self.release = asyncio.Event()
        self._condition = Condition()

    @property
    def condition(self) -> Condition:
        return self._condition

    @condition.setter
    def condition(self, condition: Condition) -> None:
        self._condition = condition

    async def load(self, context_id: str) -> Snapshot | None:
        self.loads.append(context_id)
        await self.load_gate.wait()
        if self.load_error is not None:
            raise self.load_error
        found = await super().load(context_id)
        if self.keeps_next_load:
            self.keeps_next_load = False
            await self.release.wait()
        return found

    async def commit(self, changes: Sequence[Change]) -> None:
        self.commits.append(changes)
        await self.gate.wait()
        error = self.commit_error or self.refuses(changes)
        if error is not None:
            raise error
        await super().commit(changes)

    async def idempotency_records(self, keys: Sequence[str]) -> dict[str, IdempotencyRecord]:
        await asyncio.sleep(0)
        return await super().idempotency_records(keys)
