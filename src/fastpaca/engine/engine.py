"""
The engine: operations wait, are applied in batches, and are answered once their commit is durable.

How a write goes
----------------
An op for a context waits in a `queue`. When no commit is under way, all that wait are taken as a
`batch` and applied in order to the committed states, and what they changed goes to the store as
**one commit** (`commits`). While it is under way the next batch fills: batching comes from load and
never from a timer, so an idle engine adds no delay. Only after the commit are the new states
published (`contexts`) and the callers answered, refusals that rested on them included. A failed
commit drops the batch, and memory is as it was.

Ops on a context that is not in memory wait until it is loaded, in order, and do not hold up others.

What is promised
----------------
- Memory equals committed state at every moment.
- A write that was answered is durable; a refused one has left no trace.
- Ops on one context are applied one after another, whatever the batches.
- Everything that grows is bounded: the queue in ops and bytes, the hot contexts in bytes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import Final, NamedTuple

from fastpaca.clock import Clock
from fastpaca.context import Context, create
from fastpaca.context.ops import Op
from fastpaca.engine import feed
from fastpaca.engine.answers import Answers
from fastpaca.engine.batch import Batch, Stage, work
from fastpaca.engine.cache import ContextCache
from fastpaca.engine.commits import Commits
from fastpaca.engine.contexts import Contexts
from fastpaca.engine.doorbell import Doorbell
from fastpaca.engine.failures import lost
from fastpaca.engine.pages import Pages
from fastpaca.engine.queue import QUEUE_OPS_MAX, WriteQueue
from fastpaca.engine.writes import Keyed, PendingWrite, Shape, Written
from fastpaca.errors import FastpacaError, Unavailable
from fastpaca.offload import offload
from fastpaca.store.base import Store
from fastpaca.stream.hub import Hub
from fastpaca.stream.subscription import Page
from fastpaca.telemetry import Metrics

logger = logging.getLogger(__name__)

ANSWERS_KEPT_US: Final = 7 * 24 * 3600 * 1_000_000
"""How long an answer is kept under its idempotency key."""


class Health(NamedTuple):
    """
    How a node is.

    Attributes:
        status: `ok`, `starting`, `stopping` or `degraded`.
        reason: Why it is degraded.
        is_live: Whether the process is of use; one that is not has to be started again.
        is_ready: Whether requests should be sent to it.
    """

    status: str
    reason: str | None
    is_live: bool
    is_ready: bool


class Engine:
    """
    Applies operations to contexts over one store. Lives on one event loop.

    Attributes:
        hub: Where those who follow contexts are told what was committed.
        pages: Reads of logs, of rewrites and of the list of contexts.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        commit_ids: Callable[[], bytes],
        *,
        hot_bytes: int,
        metrics: Metrics | None = None,
        queue_ops_max: int = QUEUE_OPS_MAX,
        on_fatal: Callable[[str], None] | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._metrics = metrics = metrics or Metrics()
        self.hub = Hub(self)
        self._doorbell = Doorbell(store, self.hub)
        self._contexts = Contexts(store, partial(feed.tell, self.hub), hot_bytes, metrics)
        self._answers = Answers(store)
        self._queue = WriteQueue(self._contexts, self._answers, self._run_batch, queue_ops_max)
        self._commits = Commits(
            store,
            self._contexts,
            self._answers,
            self._queue,
            self.hub,
            metrics,
            commit_ids,
            on_fatal,
        )
        self.pages = Pages(store, self._contexts, self._commits.settled)
        self._state = "starting"
        metrics.ready.set_function(lambda: float(self.health.is_ready))

    # --- life ---------------------------------------------------------------------------------

    async def start(self) -> None:
        """
        Open the store and begin to serve.

        Raises:
            StoreRefused: The store cannot be opened.
        """
        await self._store.open()
        if self._store.is_shared:
            self._doorbell.start()
        self._state = "ok"

    def fail(self, reason: str) -> None:
        """Take no more writes: the store has failed permanently."""
        self._commits.lose_trust(reason)

    async def stop(self) -> None:
        """Refuse new writes, finish and commit what is under way, and close the store."""
        self._state = "stopping"
        self.hub.stop()
        await self._queue.drain()
        await self._doorbell.stop()
        self._contexts.stop_loading()
        await self._store.close()

    @property
    def health(self) -> Health:
        """How the node is, with all that it knows of its store."""
        loss = self._commits.loss
        if loss is not None:
            return Health("degraded", loss, is_live=False, is_ready=False)
        if self._state != "ok":
            return Health(self._state, None, is_live=True, is_ready=False)
        reason, is_partial = self._store.condition
        if reason is None:
            return Health("ok", None, is_live=True, is_ready=True)
        return Health("degraded", reason, is_live=True, is_ready=is_partial)

    @property
    def queued_ops(self) -> int:
        """Operations that wait or are under way."""
        return self._queue.ops

    @property
    def cache(self) -> ContextCache:
        """The contexts in memory."""
        return self._contexts.cache

    async def forget_old_answers(self) -> None:
        """Delete stored answers that are older than they are promised to be kept."""
        await self._store.forget_answers(self._clock() - ANSWERS_KEPT_US)

    # --- reads --------------------------------------------------------------------------------

    async def read(self, context_id: str) -> Context:
        """
        Return the committed state of a context.

        Raises:
            ContextNotFound: There is none, or it was purged.
            Unavailable: The store cannot be read.
        """
        return await self._contexts.read(context_id)

    async def changes(
        self,
        context_id: str,
        after: int,
        through: int,
        limit: int,
        bytes_max: int,
        *,
        with_bodies: bool,
    ) -> Page:
        """Read what happened to a context, for those who follow it; see `Pages.changes`."""
        return await self.pages.changes(
            context_id, after, through, limit, bytes_max, with_bodies=with_bodies
        )

    # --- writes -------------------------------------------------------------------------------

    async def write(
        self, context_id: str, op: Op, shape: Shape, keyed: Keyed | None = None
    ) -> Written:
        """
        Apply *op* to a context and answer once that is durable.

        Raises:
            FastpacaError: The op was refused (see `Context.apply`), and nothing has changed.
            IdempotencyConflict: The key was used before with another request.
            RateLimited: Too much is waiting.
            Unavailable: The store cannot commit; certainly nothing has changed.
            OutcomeUnknown: The commit may have happened.
        """
        if self._commits.loss is not None:
            raise lost()
        if self._state != "ok":
            raise Unavailable(f"The server is {self._state}; try again.")
        future: asyncio.Future[Written] = asyncio.get_running_loop().create_future()
        self._queue.add(PendingWrite(context_id, op, shape, keyed, future))
        return await future

    async def _run_batch(self, writes: list[PendingWrite]) -> None:
        """Apply *writes* in order, commit what they changed, and answer them all."""
        batch = Batch(self._clock(), self._answers.recent)
        for write in writes:
            await self._stage(write, batch)
        changed: dict[str, Stage] = {}
        for context_id, stage in batch.stages.items():
            if stage.events:
                changed[context_id] = stage
            elif self._store.is_shared:
                self._queue.start(self._commits.confirm(context_id, stage))
            else:
                self._commits.answer(stage)
        if changed:
            await self._commits.commit(changed)
        self._metrics.write_queue_ops.set(self._queue.ops)

    async def _stage(self, write: PendingWrite, batch: Batch) -> None:
        """Apply a write to what *batch* has made of its context, or let it wait until it can be."""
        context_id = write.context_id
        if context_id in batch.postponed or self._queue.is_parked(context_id):
            self._queue.enqueue(write)
            return
        if write.keyed is not None and not self._answers.reaches_back_to(write.looked_up_at):
            self._queue.look_up(write)
            return
        stage = batch.stages.get(context_id)
        if stage is None:
            context = self.cache.get(context_id)
            if context is None and not self._contexts.is_absent(context_id):
                batch.postponed.add(context_id)
                self._queue.park(write)
                return
            stage = batch.stages[context_id] = Stage(context)
        stage.outcomes.append((write, await self._outcome(write, stage, batch)))

    async def _outcome(
        self, write: PendingWrite, stage: Stage, batch: Batch
    ) -> Written | Exception:
        """Apply a write, in a thread if that would hold up the event loop."""
        op, context = write.op, stage.context
        try:
            replayed = batch.replayed(write, stage)
            if replayed is not None:
                return replayed
            if context is None:
                after, events = create(write.context_id, op, batch.now_us)
            else:
                kind, size, items = work(op, write.size, context)
                apply = partial(context.apply, op, batch.now_us)
                after, events = await offload(kind, size, apply, items=items)
            return batch.applied(write, stage, after, events)
        except FastpacaError as error:
            return error
        except Exception as error:
            # A defect. Deciding is pure, so nothing has changed, and the neighbours go on.
            logger.exception("an op failed", extra={"context_id": write.context_id})
            return error
