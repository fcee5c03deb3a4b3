"""
The queue: writes wait here until they have an outcome. It is bounded in number and in bytes.

A write is *ready* unless it waits for one of two things: its idempotency key has to be looked up in
the store, or it is *parked* until its context is loaded, and until it is prepared if it needs that.
Ready and parked writes on one context keep their order, and no context delays another.

Batches come from load and never from a timer: while one is running the next one fills, so an idle
engine adds no delay.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, Final

from fastpaca.context import ContextState, Status
from fastpaca.engine.contexts import ContextStates
from fastpaca.engine.failures import unreadable
from fastpaca.engine.idempotency import IdempotencyRecords
from fastpaca.engine.writes import PendingWrite, Written
from fastpaca.errors import FastpacaError, RateLimited, Unavailable
from fastpaca.store.base import PartialRead, ReadFailed

logger = logging.getLogger(__name__)

QUEUE_OPS_MAX: Final = 4096
"""The most writes without an outcome; more are refused with 429."""

QUEUE_BYTES_MAX: Final = 128 * 1024 * 1024
"""The most bytes of messages in them."""

BATCH_OPS_MAX: Final = 256
"""The most writes in a batch (about 20 µs each), so that other tasks get their turn."""

TRIES_MAX: Final = 20
"""How often a write is applied again after another node was faster, before it is refused."""


class WriteQueue:
    """
    The writes without an outcome.

    Args:
        contexts: Loads the contexts of parked writes.
        records: Looks up idempotency keys.
        run_batch: Applies and commits a batch.
        ops_max: The most writes.

    Attributes:
        ops: The number of writes.
    """

    def __init__(
        self,
        contexts: ContextStates,
        records: IdempotencyRecords,
        run_batch: Callable[[list[PendingWrite]], Awaitable[None]],
        ops_max: int,
    ) -> None:
        self._contexts = contexts
        self._records = records
        self._run_batch = run_batch
        self._ops_max = ops_max
        self.ops = 0
        self._bytes = 0
        self._ready: deque[PendingWrite] = deque()
        self._parked: dict[str, list[PendingWrite]] = {}
        self._to_look_up: list[PendingWrite] = []
        self._running: asyncio.Task[None] | None = None
        self._batch_has_ended = asyncio.Event()  # of the batch that runs, or ran last
        self._looking_up: asyncio.Task[None] | None = None
        self._jobs: set[asyncio.Task[None]] = set()

    # --- in and out ---------------------------------------------------------------------------

    def add(self, write: PendingWrite) -> None:
        """
        Add a new write.

        Raises:
            RateLimited: Too many writes are waiting.
        """
        is_full = self.ops >= self._ops_max or self._bytes + write.size > QUEUE_BYTES_MAX
        if self.ops and is_full:
            raise RateLimited("Too many writes are waiting; try again in a second.")
        self.ops += 1
        self._bytes += write.size
        self._contexts.pin(write.context_id)
        if write.keyed is None or write.keyed.is_new:
            self.enqueue(write)
        else:
            self.look_up(write)

    def settle(self, write: PendingWrite, outcome: Written | BaseException) -> None:
        """Return the outcome of a write to its caller, and release what the write held."""
        self.ops -= 1
        self._bytes -= write.size
        self._contexts.unpin(write.context_id)
        write.resolve(outcome)

    def refuse(self, writes: Iterable[PendingWrite], error: FastpacaError) -> None:
        """Raise *error* for the callers of *writes*, which changed nothing."""
        for write in writes:
            self.settle(write, error)

    def retry(self, write: PendingWrite) -> None:
        """Apply a write again, to the state that another node has committed."""
        write.tries += 1
        if write.tries > TRIES_MAX:
            self.settle(write, Unavailable("Other nodes keep writing to this context; try again."))
        elif write.keyed is None:
            self.enqueue(write)
        else:  # the other node may have had the same request
            self.look_up(write)

    async def drain(self) -> None:
        """
        Wait until every write has an outcome.

        The tasks that work on them may have been cancelled, as `asyncio.run` does with all tasks
        before it ends. Then no caller is left either, and there is nothing to wait for.
        """
        while self.ops:
            tasks = (self._running, self._looking_up, *self._jobs)
            running = [task for task in tasks if task is not None]
            if not running:
                return
            await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)

    # --- ready --------------------------------------------------------------------------------

    def enqueue(self, write: PendingWrite) -> None:
        """Make a write ready, or park it after other parked writes of its context."""
        parked = self._parked.get(write.context_id)
        if parked is not None:
            parked.append(write)
            return
        self._ready.append(write)
        if self._running is None:
            self._running = asyncio.create_task(self._run())

    async def _run(self) -> None:
        """Run batches while there are ready writes."""
        try:
            while self._ready:
                size = min(len(self._ready), BATCH_OPS_MAX)
                self._batch_has_ended = asyncio.Event()
                try:
                    await self._run_batch([self._ready.popleft() for _ in range(size)])
                finally:
                    self._batch_has_ended.set()
        finally:
            self._running = None

    # --- parked -------------------------------------------------------------------------------

    def is_parked(self, context_id: str) -> bool:
        """Return whether writes wait until a context is loaded."""
        return context_id in self._parked

    def park(self, write: PendingWrite, *, is_postponed: bool = False) -> None:
        """
        Park a write until it is prepared; later writes on the context wait after it.

        If it *is_postponed*, it also waits for the end of the batch that is running.
        """
        self._parked[write.context_id] = [write]
        after = self._batch_has_ended if is_postponed else None
        self.start(self._unpark(write.context_id, after))

    async def _unpark(self, context_id: str, after: asyncio.Event | None) -> None:
        if after is not None:
            await after.wait()
        error: Unavailable | None = None
        context: ContextState | None = None
        try:
            context = await self._contexts.present(context_id)
            if context is None:
                self._contexts.record_absent(context_id)
        except Unavailable as raised:
            error = raised
        failed: dict[PendingWrite, Exception] = {}
        if context is not None and context.status is Status.ACTIVE:
            failed = await self._prepared(context_id, context)
        parked = self._parked.pop(context_id)
        for write in parked:
            outcome = error or failed.get(write)
            if outcome is None:
                self.enqueue(write)
            else:
                self.settle(write, outcome)

    async def _prepared(
        self, context_id: str, context: ContextState
    ) -> dict[PendingWrite, Exception]:
        """Prepare the parked writes of a *context*, including those that come meanwhile."""
        failed: dict[PendingWrite, Exception] = {}
        done = 0
        while done < len(self._parked[context_id]):
            write = self._parked[context_id][done]
            done += 1
            if write.prepare is None:
                continue
            try:
                write.op = await write.prepare(context)
            except FastpacaError as error:
                failed[write] = error
            except Exception as error:  # a defect
                logger.exception("an op could not be prepared", extra={"context_id": context_id})
                failed[write] = error
            else:
                write.prepared = context.revision
        return failed

    def start(self, job: Coroutine[Any, Any, None]) -> None:
        """Start a task that settles writes or makes them ready; `drain` waits for it."""
        task = asyncio.create_task(job)
        self._jobs.add(task)
        task.add_done_callback(self._jobs.discard)

    # --- idempotency keys ---------------------------------------------------------------------

    def look_up(self, write: PendingWrite) -> None:
        """Look up the idempotency key of a write, then make the write ready."""
        self._to_look_up.append(write)
        if self._looking_up is None:
            self._looking_up = asyncio.create_task(self._look_up_keys())

    async def _look_up_keys(self) -> None:
        """Look up the keys of all waiting writes; those that come meanwhile are next."""
        try:
            while self._to_look_up:
                batch, self._to_look_up = self._to_look_up, []
                looked_up_at = self._records.commits
                keys = {write.keyed.key for write in batch if write.keyed}
                try:
                    records = await self._records.look_up(keys)
                except PartialRead as error:
                    records = dict(error.results)
                    unread = [w for w in batch if w.keyed and w.keyed.key in error.failed]
                    self.refuse(unread, unreadable(error))
                    batch = [write for write in batch if write not in unread]
                except ReadFailed as error:
                    self.refuse(batch, unreadable(error))
                    continue
                for write in batch:
                    assert write.keyed is not None
                    write.known = records.get(write.keyed.key)
                    write.looked_up_at = looked_up_at
                    self.enqueue(write)
        finally:
            self._looking_up = None
