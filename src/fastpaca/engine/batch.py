"""
One batch of writes: what they make of their contexts, in order, before anything is stored.

Pure: no I/O, no clock, no randomness and no waiting. The time comes in with the batch, states come
in with the first write on a context, and what writes did comes in with `applied`. So a batch can
be dropped at any moment, and nothing has happened.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from fastpaca.context import Context, Manual, Status
from fastpaca.context.events import Event
from fastpaca.context.ops import Append, Compact, Op, PatchMetadata
from fastpaca.engine.writes import PendingWrite, Written
from fastpaca.errors import IdempotencyConflict
from fastpaca.offload import APPLY, PARSE, REWRITE, Work
from fastpaca.store.base import AnswerRow

UNREAD_AT_ONCE: Final = 500
"""How many entries of a window may be read on the event loop to find the call of a result."""


class Stage:
    """
    What the writes of one batch have made of one context so far.

    Attributes:
        before: The committed state, None if there is none.
        context: The state after the writes, None as long as none has created it.
        events: What the writes did, in order; empty if the context is as it was.
        answers: The answers to store, by idempotency key.
        outcomes: Each write, and what its caller is told once this is committed.
    """

    __slots__ = ("answers", "before", "context", "events", "outcomes")

    def __init__(self, context: Context | None) -> None:
        self.before = context
        self.context = context
        self.events: list[Event] = []
        self.answers: dict[str, AnswerRow] = {}
        self.outcomes: list[tuple[PendingWrite, Written | Exception]] = []


class Batch:
    """
    What a batch has made of its contexts so far.

    Args:
        now_us: When all of its writes happen.
        recent: Returns the answer that a recent commit has stored under a key.

    Attributes:
        stages: By context id.
        postponed: Contexts that a write of this batch waits for. They may be loaded before the
            batch ends; a later write on them stays after the earlier one all the same.
    """

    def __init__(self, now_us: int, recent: Callable[[str], AnswerRow | None]) -> None:
        self.now_us = now_us
        self.stages: dict[str, Stage] = {}
        self.postponed: set[str] = set()
        self._recent = recent
        self._keys: dict[str, AnswerRow] = {}

    def replayed(self, write: PendingWrite, stage: Stage) -> Written | None:
        """
        Answer *write* as before, if its key was used before, in the store or in this batch.

        Raises:
            IdempotencyConflict: The key was used with another request.
        """
        keyed, context = write.keyed, stage.context
        if keyed is None or context is None or context.status is Status.PURGED:
            return None
        row = self._keys.get(keyed.key) or self._recent(keyed.key) or write.known
        if row is None:
            return None
        if row.fingerprint != keyed.fingerprint:
            raise IdempotencyConflict
        return Written(context, (), row.answer, replayed=True)

    def applied(
        self, write: PendingWrite, stage: Stage, after: Context, events: tuple[Event, ...]
    ) -> Written:
        """Take over the state *after* a write, and what it did."""
        answer = write.shape(after, events)
        stage.context = after
        stage.events += events
        if write.keyed is not None and events:
            row = AnswerRow(write.keyed.key, write.keyed.fingerprint, answer, self.now_us)
            stage.answers[row.key] = self._keys[row.key] = row
        return Written(after, events, answer)


def work(op: Op, size: int, context: Context) -> tuple[Work, int, int]:
    """
    Foresee what it takes to apply *op*, with messages of *size* bytes, to *context*.

    Returns the kind of work, its bytes and its items, as `offload` takes them.
    """
    if isinstance(op, PatchMetadata):
        return PARSE, len(context.metadata), 0
    if not isinstance(op, Append | Compact):
        return APPLY, 0, 0
    window, config = context.window, context.config
    if isinstance(op, Append):
        tokens = window.tokens + sum([message.counts.total for message in op.messages])
        if isinstance(config.policy, Manual) or tokens <= config.trigger(config.token_budget):
            if window.unread > UNREAD_AT_ONCE and _has_result(op):
                return REWRITE, size, window.unread
            return APPLY, size, len(op.messages)
    return REWRITE, size + window.text_bytes, len(window)


def _has_result(op: Append) -> bool:
    """Tell whether a message of *op* holds a tool result, whose call has to be found."""
    return any(mark.answers for message in op.messages for mark in message.draft.reading.marks)
