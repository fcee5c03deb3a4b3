"""A write on its way through the engine: what is asked, who waits for it, and what came of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

from fastpaca.context import Context
from fastpaca.context.events import Event
from fastpaca.context.message import Entry
from fastpaca.context.ops import Append, Compact, Op
from fastpaca.store.base import AnswerRow


class Keyed(msgspec.Struct, frozen=True, gc=False):
    """An idempotency key, and a hash of the method, path and body that it came with."""

    key: str
    fingerprint: bytes


class Written(msgspec.Struct, frozen=True, gc=False):
    """
    What became of a write.

    Attributes:
        context: The state after it.
        events: What it did; empty if it changed nothing or was replayed.
        answer: The body to answer with.
        replayed: Whether the answer was stored before, under the same key.
    """

    context: Context
    events: tuple[Event, ...]
    answer: bytes
    replayed: bool = False


Shape = Callable[[Context, tuple[Event, ...]], bytes]
"""Writes the body of the answer, from the state after an op and what the op did."""


class PendingWrite:
    """
    A write that waits for its outcome.

    Attributes:
        context_id: Which context it is for.
        op: What is to be done.
        shape: Writes the answer.
        keyed: Its idempotency key, if it has one.
        future: What the caller waits for.
        size: Bytes of the messages that it carries.
        known: The answer that the store has under its key.
        looked_up_at: After how many commits the store was asked for that; see `Answers.commits`.
        tries: How often it was applied in vain, because another node was faster.
    """

    __slots__ = (
        "context_id",
        "future",
        "keyed",
        "known",
        "looked_up_at",
        "op",
        "shape",
        "size",
        "tries",
    )

    def __init__(
        self,
        context_id: str,
        op: Op,
        shape: Shape,
        keyed: Keyed | None,
        future: asyncio.Future[Written],
    ) -> None:
        self.context_id = context_id
        self.op = op
        self.shape = shape
        self.keyed = keyed
        self.future = future
        self.size = _size(op)
        self.known: AnswerRow | None = None
        self.looked_up_at = 0
        self.tries = 0

    def resolve(self, outcome: Written | BaseException) -> None:
        """Tell the caller, unless it has gone; what was decided stands either way."""
        if self.future.done():
            return
        if isinstance(outcome, BaseException):
            self.future.set_exception(outcome)
        else:
            self.future.set_result(outcome)


def _size(op: Op) -> int:
    if isinstance(op, Append):
        return sum(len(message.draft.body) for message in op.messages)
    if isinstance(op, Compact):
        return sum(
            len(item.body if isinstance(item, Entry) else item.draft.body)
            for item in op.replacement
        )
    return 0
