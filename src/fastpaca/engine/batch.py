"""
One batch of writes: what they do to their contexts, in order, before anything is stored.

Pure: no I/O, no clock, no randomness and no waiting. The batch is given the time, the state of each
context with its first write, and the result of each write by `applied`. It can be dropped at any
moment, and nothing has happened.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from fastpaca.context import ContextState, Manual, Status
from fastpaca.context.events import Event
from fastpaca.context.ops import Append, Compact, Op, PatchMetadata, PutMessage
from fastpaca.engine.writes import Keyed, PendingWrite, Written
from fastpaca.errors import IdempotencyConflict
from fastpaca.offload import APPLY, PARSE, REWRITE, Work
from fastpaca.store.base import IdempotencyRecord

UNREAD_ENTRIES_MAX: Final = 500
"""How many entries of a window the event loop may read to find the call of a tool result."""


class Stage(msgspec.Struct, eq=False):
    """
    What the writes of one batch have done to one context so far.

    Attributes:
        before: The committed state; None if the context doesn't exist.
        context: The state after the writes; None until a write has created the context.
        events: What the writes did, in order; empty if nothing has changed.
        records: The idempotency records to store, by key.
        has_formed: Whether the context was forming, and is active now; it must be loaded then.
        outcomes: Each write, and the outcome for its caller once this is committed.
    """

    before: ContextState | None
    context: ContextState | None
    events: list[Event] = []
    records: dict[str, IdempotencyRecord] = {}
    has_formed: bool = False
    outcomes: list[tuple[PendingWrite, Written | Exception]] = []


class Batch:
    """
    What a batch has done to its contexts so far.

    Args:
        now_us: The time of all its writes.
        recent: Returns the record of a key if a recent commit wrote it.

    Attributes:
        stages: The contexts with writes, by id.
        postponed: The contexts that a write of this batch waits for. They may be loaded before the
            batch ends, but later writes on them still come after the earlier one.
    """

    def __init__(self, now_us: int, recent: Callable[[str], IdempotencyRecord | None]) -> None:
        self.now_us = now_us
        self.stages: dict[str, Stage] = {}
        self.postponed: set[str] = set()
        self._recent = recent
        self._records: dict[str, IdempotencyRecord] = {}

    def replayed(self, write: PendingWrite, stage: Stage) -> Written | None:
        """
        Return the stored response to *write*, if its key was used before or in this batch.

        Raises:
            IdempotencyConflict: The key was used with another request.
        """
        keyed, context = write.keyed, stage.context
        if keyed is None or context is None or context.status is Status.PURGED:
            return None
        record = self._record(write, keyed)
        if record is None:
            return None
        if record.fingerprint != keyed.fingerprint:
            raise IdempotencyConflict
        return Written(context, (), record.response, replayed=True)

    def _record(self, write: PendingWrite, keyed: Keyed) -> IdempotencyRecord | None:
        return self._records.get(keyed.key) or self._recent(keyed.key) or write.known

    def is_prepared(self, write: PendingWrite, stage: Stage) -> bool:
        """
        Return whether a write can be applied now.

        One that has to be prepared can be applied only to the state that it was prepared for. But
        what is refused or replayed in any case needs nothing. Nothing can be applied to a context
        that has just been formed, until it is loaded.
        """
        context = stage.context
        if stage.has_formed:
            return False
        if write.prepare is None or context is None or context.status is not Status.ACTIVE:
            return True
        if write.keyed is not None and self._record(write, write.keyed) is not None:
            return True
        return write.prepared == context.revision and not stage.events

    def applied(
        self, write: PendingWrite, stage: Stage, after: ContextState, events: tuple[Event, ...]
    ) -> Written:
        """Record the state *after* a write, and what it did."""
        before = stage.context
        assert events or after is before
        assert before is None or before.version <= after.version
        assert before is None or before.revision == after.revision  # it grows when this commits
        response = write.write_response(after, events)
        stage.context = after
        stage.events += events
        is_formed = before is not None and before.status is Status.FORMING
        stage.has_formed |= is_formed and after.status is Status.ACTIVE
        if write.keyed is not None and events:
            key, fingerprint = write.keyed.key, write.keyed.fingerprint
            record = IdempotencyRecord(key, fingerprint, response, self.now_us)
            stage.records[key] = self._records[key] = record
        return Written(after, events, response)


def work(op: Op, size: int, context: ContextState) -> tuple[Work, int, int]:
    """
    Estimate the work of applying *op*, with messages of *size* bytes, to *context*.

    Returns the kind of work, its bytes and its items, as `offload` takes them.
    """
    if isinstance(op, PatchMetadata):
        return PARSE, len(context.metadata), 0
    if not isinstance(op, Append | PutMessage | Compact):
        return APPLY, 0, 0
    window, config = context.window, context.config
    if isinstance(op, Append):
        tokens = window.tokens + sum([message.counts.total for message in op.messages])
        if isinstance(config.policy, Manual) or tokens <= config.trigger(config.token_budget):
            if window.unread > UNREAD_ENTRIES_MAX and _has_result(op):
                return REWRITE, size, window.unread
            return APPLY, size, len(op.messages)
    return REWRITE, size + window.text_bytes, len(window)


def _has_result(op: Append) -> bool:
    """Return whether a message of *op* holds a tool result, whose call has to be found."""
    return any(
        reference.answers
        for message in op.messages
        for reference in message.draft.reading.tool_references
    )
