"""
A random life of an engine over a store: what is asked of it, and what the store must hold in the
end.

Everything is drawn from one seed. Operations come in concurrent bursts, so that batches form;
callers leave while they wait; contexts are evicted; keys are used again. Messages are revised,
contexts go back, and forks of them are made and written to.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
from collections.abc import Sequence
from typing import NamedTuple

from msgspec.structs import replace

from fastpaca.context import ContextState, LastN, Manual, SkipParts
from fastpaca.context.context import create
from fastpaca.context.draft import parse
from fastpaca.context.events import Event
from fastpaca.context.message import Counts
from fastpaca.context.ops import (
    Append,
    Compact,
    Counted,
    Delete,
    Op,
    Past,
    PatchMetadata,
    Purge,
    Put,
    PutMessage,
    Rewind,
)
from fastpaca.engine import Engine, Keyed
from fastpaca.engine.rows import log_entry_of
from fastpaca.errors import FastpacaError
from fastpaca.forks import ForkRequest, Forks
from fastpaca.store.base import (
    Change,
    CommitFailed,
    CommitUnknown,
    IdempotencyRecord,
    MessageRow,
    PageBounds,
    Snapshot,
    Store,
)
from fastpaca.store.memory import MemoryStore

CONTEXTS = tuple(f"c{n}" for n in range(6))
FORKS = tuple(f"f{n}" for n in range(12))
IDS = tuple(f"m{n}" for n in range(5))
FOREVER = 2**53


class Done(NamedTuple):
    """An op that was applied: its context, its moment, what became of it."""

    context_id: str
    op: Op
    at_us: int
    context: ContextState


class Recorder:
    """
    A store that hands everything on, and notes what became of each commit.

    Attributes:
        commits: The changes of every commit that was tried, in order.
        succeeded: The numbers of those that were confirmed.
        failed: Of those that certainly failed.
        unknown: Of those whose outcome nobody knows.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self.commits: list[Sequence[Change]] = []
        self.succeeded: list[int] = []
        self.failed: list[int] = []
        self.unknown: list[int] = []

    def __getattr__(self, name: str) -> object:
        return getattr(self.store, name)

    @property
    def confirmed(self) -> int:
        """How many commits were confirmed."""
        return len(self.succeeded)

    async def commit(self, changes: Sequence[Change]) -> None:
        number = len(self.commits)
        self.commits.append(changes)
        try:
            await self.store.commit(changes)
        except CommitFailed:
            self.failed.append(number)
            raise
        except CommitUnknown:
            self.unknown.append(number)
            raise
        self.succeeded.append(number)


class Story:
    """Plays *bursts* bursts of operations, drawn from *rng*, on an engine over *store*."""

    def __init__(self, rng: random.Random, store: Store) -> None:
        self.rng = rng
        self.store = Recorder(store)
        self.done: list[Done] = []
        self.keys: list[tuple[str, Op, Keyed]] = []
        self.forks_made = 0
        ticks = itertools.count(1_700_000_000_000_000, 1_000)
        ids = itertools.count(1)
        self.engine = Engine(
            self.store,  # type: ignore[arg-type]  # it hands on what it does not have
            clock=lambda: next(ticks),
            commit_ids=lambda: next(ids).to_bytes(16, "big"),
            hot_bytes=40_000,
        )
        self._forks = Forks(self.engine)

    async def play(self, bursts: int) -> None:
        """Start, play, and stop; errors of a store that failed are what callers get."""
        await self.engine.start()
        await self.play_on(bursts)
        await self.engine.stop()

    async def play_on(self, bursts: int) -> None:
        """Play without starting and stopping."""
        for _ in range(bursts):
            await self._burst()

    async def put(self, context_id: str) -> None:
        """Create a context."""
        await self.engine.write(context_id, Put(), lambda *_: b"")

    async def append_code(self, context_id: str) -> str:
        """Append a message; gives the code of the error that it met, or 201."""
        try:
            await self.engine.write(context_id, Append((self._message(),)), lambda *_: b"")
        except FastpacaError as error:
            return error.code
        return "201"

    async def _burst(self) -> None:
        tasks = [asyncio.create_task(self._one()) for _ in range(self.rng.randint(1, 8))]
        if self.rng.random() < 0.2:
            await asyncio.sleep(0)
            self.rng.choice(tasks).cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self.rng.random() < 0.3:
            self.engine.cache.drop(self.rng.choice(CONTEXTS))

    async def _one(self) -> None:
        if self.rng.random() < 0.06:
            with contextlib.suppress(FastpacaError):
                await self._fork(self.rng.choice(CONTEXTS), self.rng.choice(FORKS))
            return
        context_id, op, keyed = self._draw()
        applied = [op]

        def shape(context: ContextState, events: tuple[Event, ...]) -> bytes:
            # Called in the order in which ops are applied, whoever still waits for the answer.
            if events:
                self.done.append(Done(context_id, applied[0], context.updated_at_us, context))
            return b"%d" % context.version

        async def prepare(context: ContextState) -> Op:
            applied[0] = await self._completed(op, context)
            return applied[0]

        is_prepared = isinstance(op, Rewind | PutMessage)
        with contextlib.suppress(FastpacaError):
            await self.engine.write(context_id, op, shape, keyed, prepare if is_prepared else None)

    async def _completed(self, op: Op, context: ContextState) -> Op:
        """Complete an op that refers to earlier messages, for the state that it is applied to."""
        if isinstance(op, PutMessage):
            message_id = op.message.draft.message_id
            row = await self.engine.pages.message_on_path(context, message_id)
            return replace(op, current=None if row is None else log_entry_of(row))
        assert isinstance(op, Rewind)
        version = context.version * op.target // 100
        if version == context.version:
            return Rewind(version)
        past = await self.engine.pages.at_version(context, version)
        return Rewind(version, past=Past(past.version, past.last_seq, past.window))

    async def _fork(self, source: str, name: str) -> None:
        past = await self.engine.read(source)
        request = ForkRequest(name, b"{}", lambda *_: b"", None)
        await self._forks.make(past, request)
        self.forks_made += 1

    def _draw(self) -> tuple[str, Op, Keyed | None]:
        if self.keys and self.rng.random() < 0.1:
            return self.rng.choice(self.keys)
        context_id = self.rng.choice(CONTEXTS)
        op = self._op()
        if isinstance(op, Append | Rewind) and self.rng.random() < 0.2:
            context_id = self.rng.choice(FORKS)
        if isinstance(op, Append | Compact | Rewind) and self.rng.random() < 0.3:
            number = len(self.keys)
            keyed = Keyed(f"key-{number}", b"%d" % number)
            self.keys.append((context_id, op, keyed))
            return context_id, op, keyed
        return context_id, op, None

    def _op(self) -> Op:
        rng = self.rng
        draw = rng.random()
        if draw < 0.15:
            policy = rng.choice([LastN(limit=rng.randint(1, 20)), SkipParts(), Manual(), None])
            return Put(rng.choice([None, 50, 200, 1000]), rng.choice([None, 0.5, 1.0]), policy)
        if draw < 0.3:
            return PutMessage(self._message(rng.choice(IDS)))
        if draw < 0.36:
            return Rewind(rng.choice([0, 50, 90, 99]))
        if draw < 0.8:
            guard = rng.choice([None, None, None, rng.randint(0, 20)])
            return Append(tuple(self._message() for _ in range(rng.choice([1, 1, 2, 5]))), guard)
        if draw < 0.9:
            return Compact(tuple(self._message() for _ in range(rng.randint(0, 3))))
        if draw < 0.97:
            return PatchMetadata({rng.choice("ab"): rng.choice([None, b'"x"', b"1.0"])})
        return Delete() if rng.random() < 0.5 else Purge()

    def _message(self, message_id: str = "") -> Counted:
        rng = self.rng
        call = b'{"type":"tool_call","tool_call_id":"t%d"}' % rng.randint(0, 3)
        result = b'{"type":"tool_result","tool_call_id":"t%d","content":"%s"}' % (
            rng.randint(0, 3),
            b"r" * rng.randint(0, 200),
        )
        text = b'{"type":"text","text":"%s"}' % (b"w " * rng.choice([1, 10, 40, 3000]))
        role, part = rng.choice(
            [(b"user", text), (b"assistant", text), (b"assistant", call), (b"tool", result)]
        )
        if message_id:
            role = (b"user", b"assistant")[int(message_id[1:]) % 2]  # a revision keeps it
        name = b',"id":"%s"' % message_id.encode() if message_id else b""
        draft = parse(b'{"role":"%s","parts":[%s]%s}' % (role, part, name), "message")
        tokens, keys = len(part) // 4, (1,) if message_id else ()
        return Counted(draft, Counts(tokens + 4 + sum(keys), 4, keys, (tokens,)))


def check_batches(done: Sequence[Done]) -> None:
    """Apply the ops of *done* one by one: each must come to the state that its batch came to."""
    states: dict[str, ContextState] = {}
    for index, (context_id, op, at_us, reached) in enumerate(done):
        if context_id in FORKS:  # what made it is not among them
            continue
        before = states.get(context_id)
        if before is None:
            after, _ = create(context_id, op, at_us)
        else:
            after, _ = before.apply(op, at_us)
        states[context_id] = after
        assert image(after) == image(reached), f"op {index} on {context_id}: {op!r}"


def image(context: ContextState) -> tuple[object, ...]:
    """All that a reader can tell of a context."""
    view = context.view()
    return (
        *(context.status, context.config, context.metadata, context.version, context.last_seq),
        [(entry.seq, entry.tokens, entry.body) for entry in context.window],
        [entry.body for entry in view.entries],
        (view.used_tokens, view.segments, view.fit, view.needs_compaction),
    )


async def content(store: Store, keys: Sequence[str]) -> dict[str, object]:
    """Read all of *store* through its port."""
    found: dict[str, object] = {"answers": await store.idempotency_records(keys)}
    for context_id in (*CONTEXTS, *FORKS):
        snapshot: Snapshot | None = await store.load(context_id)
        log: list[MessageRow] = []
        if snapshot is not None and snapshot.row.status != "purged":
            log = await store.messages(context_id, 1, FOREVER, PageBounds(10_000, FOREVER))
            found[context_id] = (snapshot, log)
        else:
            found[context_id] = None if snapshot is None else "purged"
    found["listed"] = await store.contexts("", "", 1000)
    return found


async def content_after(commits: Sequence[Sequence[Change]], keys: Sequence[str]) -> object:
    """Say what a store holds after *commits*."""
    store = MemoryStore()
    await store.open()
    for changes in commits:
        new = [change.row.id for change in changes if not change.expected_revision]
        await _drop_forming(store, new)  # it was dropped before
        await store.commit(changes)
    await _drop_forming(store, FORKS)  # as a start does
    return await content(store, keys)


async def _drop_forming(store: Store, context_ids: Sequence[str]) -> None:
    for context_id, revision in (await store.revisions(context_ids)).items():
        await store.drop(context_id, revision)


def all_keys(commits: Sequence[Sequence[Change]]) -> list[str]:
    """List the idempotency keys that were ever written."""
    rows: list[IdempotencyRecord] = [
        row for changes in commits for change in changes for row in change.records
    ]
    return [row.key for row in rows]
