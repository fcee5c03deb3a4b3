"""A write on its way through the engine: the op, its caller and its outcome."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import msgspec

from fastpaca.context import ContextState
from fastpaca.context.events import Event
from fastpaca.context.message import Entry
from fastpaca.context.ops import Append, Compact, Op, PutMessage
from fastpaca.store.base import IdempotencyRecord


class Keyed(msgspec.Struct, frozen=True, gc=False):
    """
    An idempotency key, and a hash of the method, path and body that it came with.

    A key that *is_new* was never used before, so it is not looked up.
    """

    key: str
    fingerprint: bytes
    is_new: bool = False


class Written(msgspec.Struct, frozen=True, gc=False):
    """
    The outcome of a write.

    Attributes:
        context: The state after it.
        events: What it did; empty if it changed nothing or was replayed.
        response: The body of the response.
        replayed: Whether the response was stored by an earlier request with the same key.
    """

    context: ContextState
    events: tuple[Event, ...]
    response: bytes
    replayed: bool = False


ResponseWriter = Callable[[ContextState, tuple[Event, ...]], bytes]
"""Writes the body of a response, from the state after an op and the events of the op."""

Prepare = Callable[[ContextState], Awaitable[Op]]
"""
Completes an op with what it needs to know of the committed state, such as messages of the log.

The op is applied only to that state. If another write comes first, it is prepared again.
"""


class PendingWrite(msgspec.Struct, eq=False):
    """
    A write without an outcome.

    Attributes:
        context_id: The id of its context.
        op: The operation.
        write_response: Writes the response.
        keyed: Its idempotency key, if it has one.
        future: What the caller waits for.
        prepare: Completes *op* before it is applied; None if it is complete.
        prepared: The revision of the state that *op* was completed for.
        size: The bytes of its messages.
        known: The idempotency record that the store has for its key.
        looked_up_at: The number of commits at that lookup; see `IdempotencyRecords.commits`.
        tries: How often it was applied in vain, because another node was faster.
    """

    context_id: str
    op: Op
    write_response: ResponseWriter
    keyed: Keyed | None
    future: asyncio.Future[Written]
    prepare: Prepare | None = None
    prepared: int | None = None
    size: int = 0
    known: IdempotencyRecord | None = None
    looked_up_at: int = 0
    tries: int = 0

    def __post_init__(self) -> None:
        """Add up its messages."""
        self.size = _size(self.op)

    def resolve(self, outcome: Written | BaseException) -> None:
        """Return the outcome to the caller, unless it was cancelled; the outcome holds anyway."""
        if self.future.done():
            return
        if isinstance(outcome, BaseException):
            self.future.set_exception(outcome)
        else:
            self.future.set_result(outcome)


def _size(op: Op) -> int:
    if isinstance(op, Append):
        return sum(len(message.draft.body) for message in op.messages)
    if isinstance(op, PutMessage):
        return len(op.message.draft.body)
    if isinstance(op, Compact):
        return sum(
            len(item.body if isinstance(item, Entry) else item.draft.body)
            for item in op.replacement
        )
    return 0
