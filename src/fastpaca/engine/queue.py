"""
The queue: where writes wait, bounded in number and bytes, until each has its outcome.

A write is *ready*, unless it waits for one of two things. Its idempotency key may have to be looked
up in the store; or its context is not in memory, and the write is *parked* until it is loaded.
Writes on one context that are ready or parked keep their order, and no context holds up another.

Batches come from load and never from a timer: while one is under way the next one fills, so that an
idle engine adds no delay.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, Final

from fastpaca.engine.answers import Answers
from fastpaca.engine.contexts import Contexts
from fastpaca.engine.failures import unreadable
from fastpaca.engine.writes import PendingWrite, Written
from fastpaca.errors import FastpacaError, RateLimited, Unavailable
from fastpaca.store.base import ReadFailed, ReadPartly

QUEUE_OPS_MAX: Final = 4096
"""How many writes may wait or be under way; more are refused with 429."""

QUEUE_BYTES_MAX: Final = 128 * 1024 * 1024
"""How many bytes of messages may wait or be under way."""

BATCH_OPS_MAX: Final = 256
"""How many writes are applied in one go (about 20 µs each), so that others get their turn."""

TRIES_MAX: Final = 20
"""How often a write is applied anew because another node was faster, before it is refused."""


class WriteQueue:
    """
    The writes that have no outcome yet.

    Args:
        contexts: Where parked writes are waited for.
        answers: Where idempotency keys are looked up.
        run_batch: Applies and commits a batch.
        ops_max: How many writes there may be.

    Attributes:
        ops: How many writes there are.
    """

    def __init__(
        self,
        contexts: Contexts,
        answers: Answers,
        run_batch: Callable[[list[PendingWrite]], Awaitable[None]],
        ops_max: int,
    ) -> None:
        self._contexts = contexts
        self._answers = answers
        self._run_batch = run_batch
        self._ops_max = ops_max
        self.ops = 0
        self._bytes = 0
        self._ready: deque[PendingWrite] = deque()
        self._parked: dict[str, list[PendingWrite]] = {}
        self._to_look_up: list[PendingWrite] = []
        self._running: asyncio.Task[None] | None = None
        self._looking_up: asyncio.Task[None] | None = None
        self._jobs: set[asyncio.Task[None]] = set()

    # --- in and out ---------------------------------------------------------------------------

    def add(self, write: PendingWrite) -> None:
        """
        Take a new write.

        Raises:
            RateLimited: Too much is waiting.
        """
        is_full = self.ops >= self._ops_max or self._bytes + write.size > QUEUE_BYTES_MAX
        if self.ops and is_full:
            raise RateLimited("Too many writes are waiting; try again in a second.")
        self.ops += 1
        self._bytes += write.size
        self._contexts.pin(write.context_id)
        if write.keyed is None:
            self.enqueue(write)
        else:
            self.look_up(write)

    def settle(self, write: PendingWrite, outcome: Written | BaseException) -> None:
        """Tell the caller what became of a write, and release what the write held."""
        self.ops -= 1
        self._bytes -= write.size
        self._contexts.unpin(write.context_id)
        write.resolve(outcome)

    def refuse(self, writes: Iterable[PendingWrite], error: FastpacaError) -> None:
        """Tell the callers of *writes* that nothing was changed, and why."""
        for write in writes:
            self.settle(write, error)

    def retry(self, write: PendingWrite) -> None:
        """Let a write be applied again, to the state that another node has made."""
        write.tries += 1
        if write.tries > TRIES_MAX:
            self.settle(write, Unavailable("Other nodes keep writing to this context; try again."))
        elif write.keyed is None:
            self.enqueue(write)
        else:  # the other node may have been asked the same
            self.look_up(write)

    async def drain(self) -> None:
        """
        Wait until every write has its outcome.

        What works on them may have been cancelled, as `asyncio.run` does with all tasks before it
        ends. Then no caller is left either, and there is nothing to wait for.
        """
        while self.ops:
            working = (self._running, self._looking_up, *self._jobs)
            at_work = [task for task in working if task is not None]
            if not at_work:
                return
            await asyncio.wait(at_work, return_when=asyncio.FIRST_COMPLETED)

    # --- ready --------------------------------------------------------------------------------

    def enqueue(self, write: PendingWrite) -> None:
        """Make a write ready, or let it wait after the parked ones of its context."""
        parked = self._parked.get(write.context_id)
        if parked is not None:
            parked.append(write)
            return
        self._ready.append(write)
        if self._running is None:
            self._running = asyncio.create_task(self._run())

    async def _run(self) -> None:
        """Run batches for as long as any write is ready."""
        try:
            while self._ready:
                size = min(len(self._ready), BATCH_OPS_MAX)
                await self._run_batch([self._ready.popleft() for _ in range(size)])
        finally:
            self._running = None

    # --- parked -------------------------------------------------------------------------------

    def is_parked(self, context_id: str) -> bool:
        """Tell whether writes wait until a context is loaded."""
        return context_id in self._parked

    def park(self, write: PendingWrite) -> None:
        """Let a write wait until its context is loaded; writes that come later wait after it."""
        self._parked[write.context_id] = [write]
        self.start(self._unpark(write.context_id))

    async def _unpark(self, context_id: str) -> None:
        error: Unavailable | None = None
        try:
            if await self._contexts.load(context_id) is None:
                self._contexts.note_absent(context_id)
        except Unavailable as raised:
            error = raised
        parked = self._parked.pop(context_id)
        for write in parked:
            if error is None:
                self.enqueue(write)
            else:
                self.settle(write, error)

    def start(self, job: Coroutine[Any, Any, None]) -> None:
        """Let a task settle writes, or make them ready; `drain` waits for it."""
        task = asyncio.create_task(job)
        self._jobs.add(task)
        task.add_done_callback(self._jobs.discard)

    # --- idempotency keys ---------------------------------------------------------------------

    def look_up(self, write: PendingWrite) -> None:
        """Make a write ready once the store was asked for its idempotency key."""
        self._to_look_up.append(write)
        if self._looking_up is None:
            self._looking_up = asyncio.create_task(self._look_up_keys())

    async def _look_up_keys(self) -> None:
        """Look up the keys of all writes that wait for it; those that come meanwhile are next."""
        try:
            while self._to_look_up:
                batch, self._to_look_up = self._to_look_up, []
                looked_up_at = self._answers.commits
                try:
                    found = await self._answers.look_up({w.keyed.key for w in batch if w.keyed})
                except ReadPartly as error:
                    found = dict(error.found)
                    unread = [w for w in batch if w.keyed and w.keyed.key in error.failed]
                    self.refuse(unread, unreadable(error))
                    batch = [write for write in batch if write not in unread]
                except ReadFailed as error:
                    self.refuse(batch, unreadable(error))
                    continue
                for write in batch:
                    assert write.keyed is not None
                    write.known = found.get(write.keyed.key)
                    write.looked_up_at = looked_up_at
                    self.enqueue(write)
        finally:
            self._looking_up = None
