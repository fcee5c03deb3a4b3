"""What happens to a conversation next, drawn at random and written through any node."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from random import Random
from typing import NamedTuple

from fastpaca.context import ContextState
from fastpaca.context.draft import parse
from fastpaca.context.message import Entry, unrendered
from fastpaca.context.ops import (
    Append,
    Compact,
    Counted,
    Op,
    Past,
    PatchMetadata,
    PutMessage,
    Rewind,
)
from fastpaca.context.usage import Usage
from fastpaca.engine import Engine, Written
from fastpaca.engine.rows import log_entry_of
from fastpaca.store.base import MessageRow, PageBounds, Store, message_id_hash
from tests.context.story import Talk, drawn_put
from tests.engine.world import versions
from tests.kit.author import ALL
from tests.kit.messages import Message, count, counted

IDS = [f"m{number}" for number in range(12)]
"""Few ids, so that most of what is put by its id revises a message."""

WHOLE = PageBounds(ALL, ALL)


class Turn(NamedTuple):
    """An op as it was applied in the end, and what it did."""

    op: Op
    written: Written


class Turns:
    """
    Draws what happens to the context `c`, from *rng*.

    An op that refers to earlier messages is completed for the state that it is applied to, from
    *store*.
    """

    def __init__(self, rng: Random, store: Store) -> None:
        self._rng = rng
        self._store = store
        self._talk = Talk(rng)

    async def write(self, engine: Engine) -> Turn:
        """Let something happen, through *engine*."""
        draw = self._rng.random()
        if draw < 0.5:
            return await self._write(engine, self._append())
        if draw < 0.77:
            return await self._put_message(engine)
        if draw < 0.87:
            return await self._complete(engine, Compact(()), self._replacement)
        if draw < 0.9:
            return await self._rewind(engine)
        if draw < 0.97:
            return await self._write(engine, drawn_put(self._rng))
        return await self._write(engine, PatchMetadata({"n": b"%d" % self._rng.randrange(9)}))

    async def _write(self, engine: Engine, op: Op) -> Turn:
        return Turn(op, await engine.write("c", op, versions))

    async def _complete(
        self, engine: Engine, op: Op, complete: Callable[[ContextState], Awaitable[Op]]
    ) -> Turn:
        applied = [op]

        async def prepare(context: ContextState) -> Op:
            applied[0] = await complete(context)
            return applied[0]

        written = await engine.write("c", op, versions, None, prepare)
        return Turn(applied[0], written)

    def _append(self) -> Append:
        messages = [self._message() for _ in range(self._rng.choice((1, 1, 1, 2, 5)))]
        return Append(tuple(map(counted, messages)), None, self._usage())

    def _message(self) -> Message:
        message = self._talk.next()
        return {**message, "id": self._rng.choice(IDS)} if self._rng.random() < 0.3 else message

    def _usage(self) -> Usage | None:
        usage = Usage(self._rng.randrange(10_000), 1, model=self._rng.choice("ab"))
        return usage if self._rng.random() < 0.5 else None

    async def _put_message(self, engine: Engine) -> Turn:
        message = {**self._talk.next(), "id": self._rng.choice(IDS)}
        usage, is_repeated = self._usage(), self._rng.random() < 0.1

        async def complete(context: ContextState) -> PutMessage:
            current = await current_of(self._store, context, message["id"])
            if current is None:
                return PutMessage(counted(message), None, None, usage)
            if is_repeated:
                draft = parse(unrendered(current.body), "message")
                return PutMessage(Counted(draft, count(draft)), current, None, usage)
            return PutMessage(counted({**message, "role": current.role}), current, None, usage)

        return await self._complete(engine, PutMessage(counted(message)), complete)

    async def _rewind(self, engine: Engine) -> Turn:
        share = self._rng.random() ** 0.5  # most go back a little

        async def complete(context: ContextState) -> Rewind:
            version = int(context.version * share)
            if version == context.version:
                return Rewind(version)
            past = await engine.pages.at_version(context, version)
            return Rewind(version, past=Past(past.version, past.last_seq, past.window))

        return await self._complete(engine, Rewind(0), complete)

    async def _replacement(self, context: ContextState) -> Compact:
        """Draw a window of summaries and of messages on the path, those that were cut included."""
        kept: list[Entry | Counted] = []
        for row in await path_of(self._store, context):
            if self._rng.random() < 0.1:
                kept.append(counted(self._talk.summary()))
            if self._rng.random() < 0.3:
                kept.append(log_entry_of(row))
        return Compact(tuple(kept))


async def current_of(store: Store, context: ContextState, message_id: str) -> Entry | None:
    """Return the newest message with an id on the path of *context*; None if there is none."""
    ranges = context.window.path.ranges(context.last_seq)
    for place in await store.places_of_id(context.id, message_id_hash(message_id), ranges, 1):
        (row,) = await store.path(context.id, ranges, place, place, WHOLE)
        return log_entry_of(row)
    return None


async def path_of(store: Store, context: ContextState) -> list[MessageRow]:
    """Return the path of *context*."""
    ranges = context.window.path.ranges(context.last_seq)
    return await store.path(context.id, ranges, 1, context.window.end, WHOLE)
