"""The smallest world an engine needs: a store whose commits can be held up or made to fail."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from fastpaca.context import Context, jsontext
from fastpaca.context.message import Counts, parse
from fastpaca.context.ops import Append, Counted, Op, Put
from fastpaca.engine import Engine, Keyed, Written
from fastpaca.store.base import AnswerRow, Change, Snapshot
from fastpaca.store.memory import MemoryStore

T = TypeVar("T")


class ScriptedStore(MemoryStore):
    """
    A memory store that notes what is asked of it.

    Attributes:
        commits: The changes of every commit that was tried, in order.
        loads: The ids of every load, in order.
        gate: Commits wait while it is closed.
        load_gate: Loads wait while it is closed.
        refuses: Gives the error to raise instead of committing these changes, or None.
        unreadable: The error to raise instead of loading, or None.
        keeps_next_load: Whether the next load reads, and then waits for *release* to answer.
        release: See above.
    """

    def __init__(self) -> None:
        super().__init__()
        self.commits: list[Sequence[Change]] = []
        self.loads: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.load_gate = asyncio.Event()
        self.load_gate.set()
        self.refuses: Callable[[Sequence[Change]], Exception | None] = lambda changes: None
        self.unreadable: Exception | None = None
        self.keeps_next_load = False
        self.release = asyncio.Event()

    async def load(self, context_id: str) -> Snapshot | None:
        self.loads.append(context_id)
        await self.load_gate.wait()
        if self.unreadable is not None:
            raise self.unreadable
        found = await super().load(context_id)
        if self.keeps_next_load:
            self.keeps_next_load = False
            await self.release.wait()
        return found

    async def commit(self, changes: Sequence[Change]) -> None:
        self.commits.append(changes)
        await self.gate.wait()
        error = self.refuses(changes)
        if error is not None:
            raise error
        await super().commit(changes)

    async def answers(self, keys: Sequence[str]) -> dict[str, AnswerRow]:
        await asyncio.sleep(0)
        return await super().answers(keys)


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
        op = Append(tuple(message(text) for text in texts), if_version)
        keyed = None if key is None else Keyed(key, f"{context_id} {texts}".encode())
        return await self.write(context_id, op, keyed)

    async def write(self, context_id: str, op: Op, keyed: Keyed | None = None) -> Written:
        return await self.engine.write(context_id, op, versions, keyed)


def versions(context: Context, events: object) -> bytes:
    """Answer with the version."""
    return b"%d" % context.version


def message(text: str, role: str = "user") -> Counted:
    """A message of one text part, counted as a token a character."""
    body = json.dumps({"role": role, "parts": [{"type": "text", "text": text}]}).encode()
    draft = parse(jsontext.minified(body), "message")
    return Counted(draft, Counts(4 + len(text), 4, (), (len(text),)))


def run(story: Callable[[World], Awaitable[T]], world: Callable[[], World] = World) -> T:
    """Play *story* with a started engine, and stop it."""

    async def play() -> T:
        scene = world()
        await scene.engine.start()
        try:
            return await story(scene)
        finally:
            scene.store.gate.set()
            scene.store.load_gate.set()
            await scene.engine.stop()

    return asyncio.run(play())


async def settle() -> None:
    """Let every task run that can."""
    for _ in range(20):
        await asyncio.sleep(0)
