"""
The engine: operations wait, are applied in batches, and return once their commit is durable.

The life of a write
-------------------
An op for a context waits in a `queue`. When no commit is running, all waiting ops are taken as a
`batch` and applied in order to the committed states, and their changes go to the store as **one
commit** (`commits`). During the commit the next batch fills:
batching comes from load and never from a timer, so an idle engine adds no delay. Only after the
commit are the new states published (`contexts`) and the callers answered, including callers whose
refusal depended on those states. A failed commit drops the batch, and memory doesn't change.

Ops on a context that is not in memory wait, in order, until it is loaded, and don't delay others.

Promises
--------
- Memory equals the committed state at every moment.
- An acknowledged write is durable; a refused one has left no trace.
- Ops on one context are applied one after another, in whichever batches they are.
- Everything that grows is bounded: the queue in ops and bytes, the hot contexts in bytes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Final, NamedTuple

from fastpaca.clock import Clock
from fastpaca.context import ContextState, create
from fastpaca.context.context import FORMING_US
from fastpaca.context.ops import Op, TakeOver
from fastpaca.engine import feed
from fastpaca.engine.batch import Batch, Stage, work
from fastpaca.engine.cache import ContextCache
from fastpaca.engine.commits import Commits
from fastpaca.engine.contexts import ContextStates
from fastpaca.engine.doorbell import Doorbell
from fastpaca.engine.failures import READING, lost
from fastpaca.engine.idempotency import IdempotencyRecords
from fastpaca.engine.pages import Pages
from fastpaca.engine.queue import QUEUE_OPS_MAX, WriteQueue
from fastpaca.engine.writes import Keyed, PendingWrite, Prepare, ResponseWriter, Written
from fastpaca.errors import (
    AlreadyExists,
    ContextNotFound,
    FastpacaError,
    IdempotencyConflict,
    Unavailable,
)
from fastpaca.offload import offload
from fastpaca.store.base import CommitFailed, CommitUnknown, PageBounds, Store
from fastpaca.stream.hub import Hub
from fastpaca.stream.recent import PAGE_BYTES_MAX
from fastpaca.stream.subscription import Page
from fastpaca.telemetry import Metrics

logger = logging.getLogger(__name__)

RECORDS_KEPT_US: Final = 7 * 24 * 3600 * 1_000_000
"""How long an idempotency record is kept."""


class Health(NamedTuple):
    """
    The health of a node.

    Attributes:
        status: `ok`, `starting`, `stopping` or `degraded`.
        reason: Why it is degraded.
        is_live: Whether the process works; otherwise it has to be restarted.
        is_ready: Whether to send it requests.
    """

    status: str
    reason: str | None
    is_live: bool
    is_ready: bool


class Engine:
    """
    Applies operations to the contexts of one store, on one event loop.

    Attributes:
        hub: Notifies the followers of contexts.
        pages: Reads logs, compactions and the list of contexts.
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
        self._contexts = ContextStates(store, partial(feed.notify, self.hub), hot_bytes, metrics)
        self._records = IdempotencyRecords(store)
        self._queue = WriteQueue(self._contexts, self._records, self._run_batch, queue_ops_max)
        self._commits = Commits(
            store,
            self._contexts,
            self._records,
            self._queue,
            self.hub,
            metrics,
            commit_ids,
            on_fatal,
        )
        self.pages = Pages(store, self._contexts, self._commits.settled)
        self._state = "starting"
        metrics.ready.set_function(lambda: float(self.health.is_ready))

    # --- lifecycle
    # ---------------------------------------------------------------------------------

    async def start(self) -> None:
        """
        Open the store and start serving.

        Raises:
            StoreRefused: The store can't be opened.
        """
        await self._store.open()
        if self._store.is_shared:
            self._doorbell.start()
        self._state = "ok"

    def fail(self, reason: str) -> None:
        """Stop accepting writes: the store has failed permanently."""
        self._commits.lose_trust(reason)

    async def stop(self) -> None:
        """Refuse new writes, commit the accepted ones, and close the store."""
        self._state = "stopping"
        self.hub.stop()
        await self._queue.drain()
        await self._doorbell.stop()
        self._contexts.stop_loading()
        await self._store.close()

    @property
    def health(self) -> Health:
        """The health of the node and, as far as it is known, of its store."""
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
    def cache(self) -> ContextCache:
        """The contexts in memory."""
        return self._contexts.cache

    async def forget_old_records(self) -> None:
        """Delete idempotency records after their promised time, and forks that were abandoned."""
        await self._store.forget_idempotency_records(self._clock() - RECORDS_KEPT_US)
        with READING:
            abandoned = await self._store.abandoned(self._clock() - FORMING_US)
        for context_id in abandoned:
            with suppress(AlreadyExists, ContextNotFound):  # another node was first
                await self.drop_fork(context_id)

    # --- reads --------------------------------------------------------------------------------

    async def read(self, context_id: str) -> ContextState:
        """
        Return the committed state of a context.

        Raises:
            ContextNotFound: It doesn't exist, or it was purged.
            Unavailable: The store can't be read.
        """
        return await self._contexts.read(context_id)

    async def changes(
        self, context_id: str, after: int, through: int, *, with_bodies: bool
    ) -> Page:
        """
        Read the changes of a context, for its followers; see `Source.changes`.

        Raises:
            Unavailable: The store can't be read.
        """
        bounds = PageBounds(through - after, PAGE_BYTES_MAX)
        with READING:
            page = await self._store.changes(
                context_id, after, through, bounds, with_bodies=with_bodies
            )
        return feed.page_of(after, page)

    # --- writes -------------------------------------------------------------------------------

    async def stored_response(self, keyed: Keyed) -> bytes | None:
        """
        Return the response that is stored under a key; None if there is none.

        Raises:
            IdempotencyConflict: The key was used with another request.
            Unavailable: The store can't be read.
        """
        record = self._records.recent(keyed.key)
        if record is None and not keyed.is_new:
            with READING:
                record = (await self._records.look_up([keyed.key])).get(keyed.key)
        if record is not None and record.fingerprint != keyed.fingerprint:
            raise IdempotencyConflict
        return None if record is None else record.response

    async def drop_fork(self, context_id: str, created_at_us: int | None = None) -> None:
        """
        Erase a context that is forming, and that is abandoned or was created here at a time.

        Raises:
            AlreadyExists: It is not abandoned, or not forming.
            ContextNotFound: There is no such context.
            Unavailable: It can't be erased now.
        """
        written = await self.write(context_id, TakeOver(created_at_us), lambda *_: b"")
        try:
            await self._store.drop(context_id, written.context.revision + 1)
        except (CommitFailed, CommitUnknown) as error:
            logger.warning("a fork could not be erased: %s", error)
            raise Unavailable from error
        finally:
            self._contexts.forget(context_id)

    async def write(
        self,
        context_id: str,
        op: Op,
        write_response: ResponseWriter,
        keyed: Keyed | None = None,
        prepare: Prepare | None = None,
    ) -> Written:
        """
        Apply *op* to a context, and return once that is durable.

        With *prepare*, the op that this returns is applied; *op* then only says how much it holds.

        Raises:
            FastpacaError: The op was refused (see `ContextState.apply`), and nothing has changed.
            IdempotencyConflict: The key was used before with another request.
            RateLimited: Too many writes are waiting.
            Unavailable: The store can't commit; certainly nothing has changed.
            OutcomeUnknown: The commit may have happened.
        """
        if self._commits.loss is not None:
            raise lost()
        if self._state != "ok":
            raise Unavailable(f"The server is {self._state}; try again.")
        future: asyncio.Future[Written] = asyncio.get_running_loop().create_future()
        self._queue.add(PendingWrite(context_id, op, write_response, keyed, future, prepare))
        return await future

    async def _run_batch(self, writes: list[PendingWrite]) -> None:
        """Apply *writes* in order, commit their changes, and settle all of them."""
        batch = Batch(self._clock(), self._records.recent)
        for write in writes:
            await self._stage(write, batch)
        changed: dict[str, Stage] = {}
        for context_id, stage in batch.stages.items():
            if stage.events:
                changed[context_id] = stage
            elif self._store.is_shared:
                self._queue.start(self._commits.confirm(context_id, stage))
            else:
                self._commits.settle(stage)
        if changed:
            await self._commits.commit(changed)
        self._metrics.write_queue_ops.set(self._queue.ops)

    async def _stage(self, write: PendingWrite, batch: Batch) -> None:
        """Apply a write in *batch*, or let it wait until its context is loaded."""
        context_id = write.context_id
        if context_id in batch.postponed or self._queue.is_parked(context_id):
            self._queue.enqueue(write)
            return
        is_looked_up = write.keyed is None or write.keyed.is_new
        if not is_looked_up and not self._records.reaches_back_to(write.looked_up_at):
            self._queue.look_up(write)
            return
        stage = batch.stages.get(context_id)
        if stage is None:
            context = self.cache.get(context_id)
            if context is None and not self._contexts.is_absent(context_id):
                batch.postponed.add(context_id)
                self._queue.park(write)
                return
            stage = Stage(context, context)
        if (write.prepare or stage.has_formed) and not batch.is_prepared(write, stage):
            batch.postponed.add(context_id)
            self._queue.park(write, is_postponed=True)
            return
        batch.stages[context_id] = stage
        stage.outcomes.append((write, await self._outcome(write, stage, batch)))

    async def _outcome(
        self, write: PendingWrite, stage: Stage, batch: Batch
    ) -> Written | Exception:
        """Apply a write, in a thread if it takes long."""
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
            # A defect. Applying an op is pure, so nothing has changed, and other writes continue.
            logger.exception("an op failed", extra={"context_id": write.context_id})
            return error
