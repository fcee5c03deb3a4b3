"""
Commits: the changes of a batch become durable, then visible, and then its callers get responses.

A batch is **one** commit. If the store refuses it, its contexts are tried one by one, since a store
of several servers may be able to write some of them. Contexts that another node has changed are
removed from the commit, and their writes are applied again. A failed commit drops its stages, and
memory doesn't change. After one with an unknown outcome, all contexts that it touched are evicted.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Final

from fastpaca.context.config import FORK, REWIND
from fastpaca.context.events import Compacted, Event
from fastpaca.engine import feed, rows
from fastpaca.engine.batch import Stage
from fastpaca.engine.contexts import ContextStates
from fastpaca.engine.failures import lost, uncommitted
from fastpaca.engine.idempotency import IdempotencyRecords
from fastpaca.engine.queue import WriteQueue
from fastpaca.errors import FastpacaError, OutcomeUnknown, Unavailable
from fastpaca.store.base import (
    Change,
    CommitBlocked,
    CommitFailed,
    CommitStale,
    CommitUnknown,
    IdempotencyRecord,
    Store,
)
from fastpaca.stream.hub import Hub
from fastpaca.telemetry import Metrics

logger = logging.getLogger(__name__)

SINGLE_COMMITS: Final = 4
"""How many contexts of a refused batch are committed at the same time, in commits of their own."""

SINGLE_FAILURES_MAX: Final = 16
"""
How many of them may fail before the others are refused without a try, if none has succeeded.

With one of three servers down, the first 16 contexts are all on it once in 43 million batches.
"""


class Commits:
    """
    Commits the stages of batches.

    Args:
        store: The store to commit to.
        contexts: Publishes committed states.
        records: Keeps committed idempotency records.
        queue: Settles writes, or takes them back.
        hub: Notifies followers.
        metrics: Records the time and the effects of commits.
        commit_ids: Returns a new id for a commit.
        on_fatal: Called once, with the reason, when the store can no longer be trusted.

    Attributes:
        loss: Why the store can no longer be trusted; None as long as it can.
        settled: Cleared during a commit, whose states the store may already show.
    """

    def __init__(
        self,
        store: Store,
        contexts: ContextStates,
        records: IdempotencyRecords,
        queue: WriteQueue,
        hub: Hub,
        metrics: Metrics,
        commit_ids: Callable[[], bytes],
        on_fatal: Callable[[str], None] | None,
    ) -> None:
        self._store = store
        self._contexts = contexts
        self._records = records
        self._queue = queue
        self._hub = hub
        self._metrics = metrics
        self._commit_ids = commit_ids
        self._on_fatal = on_fatal
        self.loss: str | None = None
        self.settled = asyncio.Event()
        self.settled.set()

    def lose_trust(self, reason: str) -> None:
        """Stop committing: the store has failed permanently."""
        if self.loss is not None:
            return
        self.loss = reason
        if self._on_fatal is not None:
            self._on_fatal(reason)

    # --- without a change ---------------------------------------------------------------------

    def settle(self, stage: Stage) -> None:
        """Return the outcomes of *stage* to its callers."""
        for write, outcome in stage.outcomes:
            self._queue.settle(write, outcome)

    async def confirm(self, context_id: str, stage: Stage) -> None:
        """Settle writes that change nothing, or apply them again if their state was stale."""
        try:
            is_current = await self._contexts.is_current(context_id, stage.before)
        except Unavailable as error:
            self._refuse([stage], error)
            return
        if is_current:
            self.settle(stage)
        else:
            self._retry(context_id, stage)

    # --- commits ------------------------------------------------------------------------------

    async def commit(self, staged: dict[str, Stage]) -> None:
        """Commit the stages of a batch together or, if that is refused, one by one."""
        self.settled.clear()
        try:
            await self._commit(staged)
        finally:
            self.settled.set()

    async def _commit(self, staged: dict[str, Stage]) -> None:
        error = await self._commit_together(list(staged.values()))
        while isinstance(error, CommitStale) and not error.context_ids.isdisjoint(staged):
            for context_id in error.context_ids & staged.keys():
                self._retry(context_id, staged.pop(context_id))
            error = await self._commit_together(list(staged.values())) if staged else None
        if error is None:
            return
        stages = list(staged.values())
        if len(stages) == 1 or isinstance(error, CommitBlocked):
            self._refuse(stages, uncommitted(error))
            return
        logger.warning("commit refused, trying its contexts one by one: %s", error)
        await self._commit_one_by_one(stages)

    async def _commit_one_by_one(self, stages: Sequence[Stage]) -> None:
        """Commit each of *stages* in a commit of its own, a few at the same time."""
        waiting = iter(stages)
        failed = written = 0

        async def work() -> None:
            nonlocal failed, written
            for stage in waiting:
                if self.loss is not None:
                    self._refuse([stage], lost())
                elif failed >= SINGLE_FAILURES_MAX and not written:
                    self._refuse([stage], Unavailable())  # the store fails for all contexts
                elif await self._commit_alone(stage):
                    written += 1
                else:
                    failed += 1

        async with asyncio.TaskGroup() as group:
            for _ in range(SINGLE_COMMITS):
                group.create_task(work())

    async def _commit_alone(self, stage: Stage) -> bool:
        """Commit *stage* by itself; return whether the store could, or another node was faster."""
        assert stage.context is not None
        error = await self._commit_together([stage])
        if isinstance(error, CommitStale) and stage.context.id in error.context_ids:
            self._retry(stage.context.id, stage)
        elif error is not None:
            self._refuse([stage], uncommitted(error))
            return False
        return True

    async def _commit_together(self, stages: Sequence[Stage]) -> CommitFailed | None:
        """Commit *stages* and publish them; return the error if certainly nothing was written."""
        commit_id = self._commit_ids()
        changes = [_change(stage, commit_id) for stage in stages]
        started = time.perf_counter()
        try:
            await self._store.commit(changes)
        except CommitFailed as error:
            if isinstance(error, CommitStale) and len(stages) == 1 and not error.context_ids:
                self._contexts.forget(changes[0].row.id)
            return error
        except CommitUnknown as error:
            unknown = error.context_ids or {change.row.id for change in changes}
            certain = [s for c, s in zip(changes, stages, strict=True) if c.row.id not in unknown]
            self._publish(certain)
            self._lose([stage for stage in stages if stage not in certain], error)
            return None
        except Exception as error:
            logger.exception("the store failed in a way that it does not document")
            reason = f"{type(error).__name__}, which the store does not document"
            self._lose(stages, CommitUnknown(reason, fatal=True))
            return None
        self._metrics.commit_seconds.observe(time.perf_counter() - started)
        self._metrics.commit_ops.observe(sum(len(stage.outcomes) for stage in stages))
        self._publish(stages)
        return None

    # --- outcomes -----------------------------------------------------------------------------

    def _publish(self, stages: Sequence[Stage]) -> None:
        records: list[IdempotencyRecord] = []
        for stage in stages:
            assert stage.context is not None
            if stage.has_formed:  # memory does not have its window
                self._contexts.forget(stage.context.id)
            else:
                self._contexts.publish(stage.context)
            records += stage.records.values()
            self._count(stage.events)
            self.settle(stage)
        self._records.committed(records)
        self._contexts.measure()
        if self._hub.channels:
            for stage in stages:
                assert stage.context is not None
                feed.notify(self._hub, stage.context, partial(feed.changes_of, stage.events))

    def _retry(self, context_id: str, stage: Stage) -> None:
        """Apply the writes of *stage* again, to the state that another node has committed."""
        self._contexts.mark_stale(context_id)
        for write, _ in stage.outcomes:
            self._queue.retry(write)

    def _refuse(self, stages: Iterable[Stage], error: FastpacaError) -> None:
        """Refuse all writes of *stages*, of which nothing was written."""
        for stage in stages:
            self._queue.refuse((write for write, _ in stage.outcomes), error)

    def _lose(self, stages: Sequence[Stage], error: CommitUnknown) -> None:
        """Evict *stages*, whose outcome is unknown, and stop if that is fatal."""
        logger.error("the outcome of a commit is unknown: %s", error)
        self._records.drop_all()
        for stage in stages:
            assert stage.context is not None
            self._contexts.forget(stage.context.id)
            self._hub.ring(stage.context.id)  # the commit may have happened
            for write, _ in stage.outcomes:
                self._queue.settle(write, OutcomeUnknown())
        if error.fatal:
            self.lose_trust(str(error))

    def _count(self, events: Iterable[Event]) -> None:
        for event in events:
            if isinstance(event, Compacted) and event.strategy not in (REWIND, FORK):
                self._metrics.compactions.labels(event.strategy).inc()
                removed = event.tokens_before - event.tokens_after
                self._metrics.compaction_tokens_removed.inc(max(removed, 0))


def _change(stage: Stage, commit_id: bytes) -> Change:
    """Return the rows of *stage*, whose state gets the next revision."""
    assert stage.context is not None
    revision = 0 if stage.before is None else stage.before.revision
    stage.context = rows.with_revision(stage.context, revision + 1)
    return rows.change(stage.context, stage.events, list(stage.records.values()), commit_id)
