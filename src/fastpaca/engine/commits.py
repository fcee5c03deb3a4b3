"""
Commits: what a batch has changed becomes durable, then visible, then its callers are told.

A batch is **one** commit. If the store refuses it, its contexts are tried one by one, since a store
of several servers may be able to write some. Contexts that another node was faster to change are
taken out, and their writes are applied again. A commit that failed drops what was staged, and
memory is as it was. Of one whose outcome is unknown, memory forgets all that it touched.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Final

from fastpaca.context.events import Compacted, Event
from fastpaca.engine import feed, rows
from fastpaca.engine.answers import Answers
from fastpaca.engine.batch import Stage
from fastpaca.engine.contexts import Contexts
from fastpaca.engine.failures import lost, uncommitted
from fastpaca.engine.queue import WriteQueue
from fastpaca.errors import FastpacaError, OutcomeUnknown, Unavailable
from fastpaca.store.base import (
    AnswerRow,
    Change,
    CommitBlocked,
    CommitFailed,
    CommitOvertaken,
    CommitUnknown,
    Store,
)
from fastpaca.stream.hub import Hub
from fastpaca.telemetry import Metrics

logger = logging.getLogger(__name__)

ALONE_AT_ONCE: Final = 4
"""How many contexts of a refused batch are committed at once, each for itself."""

ALONE_FAILED_MAX: Final = 16
"""
How many of them may fail before the others are refused without a try, if none has succeeded.

With one server of three away, 16 contexts in a row lie there once in 43 million batches.
"""


class Commits:
    """
    Commits what batches have staged.

    Args:
        store: Where it is committed.
        contexts: Where committed states are published.
        answers: Where committed answers are noted.
        queue: Where writes are settled, or wait again.
        hub: Where those who follow contexts are told.
        metrics: Told how long commits take, and what they did.
        commit_ids: Makes 16 bytes that no other commit has.
        on_fatal: Told once why the store can't be trusted any more.

    Attributes:
        loss: Why the store can't be trusted any more; None as long as it can.
        settled: Set unless a commit is under way, whose states the store may already show.
    """

    def __init__(
        self,
        store: Store,
        contexts: Contexts,
        answers: Answers,
        queue: WriteQueue,
        hub: Hub,
        metrics: Metrics,
        commit_ids: Callable[[], bytes],
        on_fatal: Callable[[str], None] | None,
    ) -> None:
        self._store = store
        self._contexts = contexts
        self._answers = answers
        self._queue = queue
        self._hub = hub
        self._metrics = metrics
        self._commit_ids = commit_ids
        self._on_fatal = on_fatal
        self.loss: str | None = None
        self.settled = asyncio.Event()
        self.settled.set()

    def lose_trust(self, reason: str) -> None:
        """Commit no more: the store has failed permanently."""
        if self.loss is not None:
            return
        self.loss = reason
        if self._on_fatal is not None:
            self._on_fatal(reason)

    # --- without a change ---------------------------------------------------------------------

    def answer(self, stage: Stage) -> None:
        """Tell the callers of *stage* what became of their writes."""
        for write, outcome in stage.outcomes:
            self._queue.settle(write, outcome)

    async def confirm(self, context_id: str, stage: Stage) -> None:
        """Answer what changes nothing, or do it again if it rested on a stale state."""
        try:
            is_current = await self._contexts.is_current(context_id, stage.before)
        except Unavailable as error:
            self._refuse([stage], error)
            return
        if is_current:
            self.answer(stage)
        else:
            self._do_again(context_id, stage)

    # --- commits ------------------------------------------------------------------------------

    async def commit(self, staged: dict[str, Stage]) -> None:
        """Commit what a batch has changed, in one piece or, if that is refused, one by one."""
        self.settled.clear()
        try:
            await self._commit(staged)
        finally:
            self.settled.set()

    async def _commit(self, staged: dict[str, Stage]) -> None:
        error = await self._commit_together(list(staged.values()))
        while isinstance(error, CommitOvertaken) and not error.context_ids.isdisjoint(staged):
            for context_id in error.context_ids & staged.keys():
                self._do_again(context_id, staged.pop(context_id))
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
        """Commit each of *stages* for itself, some at once: the store may be able to do some."""
        waiting = iter(stages)
        failed = written = 0

        async def work() -> None:
            nonlocal failed, written
            for stage in waiting:
                if self.loss is not None:
                    self._refuse([stage], lost())
                elif failed >= ALONE_FAILED_MAX and not written:
                    self._refuse([stage], Unavailable())  # it is not this context that is refused
                elif await self._commit_alone(stage):
                    written += 1
                else:
                    failed += 1

        async with asyncio.TaskGroup() as group:
            for _ in range(ALONE_AT_ONCE):
                group.create_task(work())

    async def _commit_alone(self, stage: Stage) -> bool:
        """Commit *stage*, and tell whether the store could do so, or somebody else was faster."""
        assert stage.context is not None
        error = await self._commit_together([stage])
        if isinstance(error, CommitOvertaken) and stage.context.id in error.context_ids:
            self._do_again(stage.context.id, stage)
        elif error is not None:
            self._refuse([stage], uncommitted(error))
            return False
        return True

    async def _commit_together(self, stages: Sequence[Stage]) -> CommitFailed | None:
        """Commit *stages* and publish them; the error if certainly nothing was written."""
        commit_id = self._commit_ids()
        changes = [_change(stage, commit_id) for stage in stages]
        started = time.perf_counter()
        try:
            await self._store.commit(changes)
        except CommitFailed as error:
            if isinstance(error, CommitOvertaken) and len(stages) == 1 and not error.context_ids:
                self._contexts.forget(changes[0].row.id)
            return error
        except CommitUnknown as error:
            doubtful = error.context_ids or {change.row.id for change in changes}
            certain = [s for c, s in zip(changes, stages, strict=True) if c.row.id not in doubtful]
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
        answers: list[AnswerRow] = []
        for stage in stages:
            assert stage.context is not None
            self._contexts.publish(stage.context)
            answers += stage.answers.values()
            self._count(stage.events)
            self.answer(stage)
        self._answers.committed(answers)
        self._contexts.measure()
        if self._hub.channels:
            for stage in stages:
                assert stage.context is not None
                feed.tell(self._hub, stage.context, partial(feed.changes_of, stage.events))

    def _do_again(self, context_id: str, stage: Stage) -> None:
        """Let the writes of *stage* wait for the state that another node has made."""
        self._contexts.mark_stale(context_id)
        for write, _ in stage.outcomes:
            self._queue.retry(write)

    def _refuse(self, stages: Iterable[Stage], error: FastpacaError) -> None:
        """Nothing of *stages* was written: all their callers are told so, refused ones too."""
        for stage in stages:
            self._queue.refuse((write for write, _ in stage.outcomes), error)

    def _lose(self, stages: Sequence[Stage], error: CommitUnknown) -> None:
        """Nobody knows whether *stages* were written: forget them, and stop if that is fatal."""
        logger.error("the outcome of a commit is unknown: %s", error)
        self._answers.drop_all()
        for stage in stages:
            assert stage.context is not None
            self._contexts.forget(stage.context.id)
            self._hub.ring(stage.context.id)  # it may have happened
            for write, _ in stage.outcomes:
                self._queue.settle(write, OutcomeUnknown())
        if error.fatal:
            self.lose_trust(str(error))

    def _count(self, events: Iterable[Event]) -> None:
        for event in events:
            if isinstance(event, Compacted):
                self._metrics.compactions.labels(event.strategy).inc()
                removed = event.tokens_before - event.tokens_after
                self._metrics.compaction_tokens_removed.inc(max(removed, 0))


def _change(stage: Stage, commit_id: bytes) -> Change:
    """Make the rows of *stage*, whose state gets the next revision."""
    assert stage.context is not None
    revision = 0 if stage.before is None else stage.before.revision
    stage.context = rows.with_revision(stage.context, revision + 1)
    return rows.change(stage.context, stage.events, list(stage.answers.values()), commit_id)
