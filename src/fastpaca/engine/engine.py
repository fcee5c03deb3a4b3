"""
The engine: operations wait, are applied in batches, and are answered once their commit is durable.

How a write goes
----------------
An op for a context waits in a queue. When no commit is under way, all that wait are taken, applied
in order to the committed states, and what they changed goes to the store as **one commit**. While
it is under way the next batch fills: batching comes from load and never from a timer, so an idle
engine adds no delay. Only after the commit are the new states published and the callers answered,
refusals that rested on them included. A failed commit drops the batch, and memory is as it was.

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
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

import msgspec

from fastpaca.clock import Clock
from fastpaca.context import Context, Manual, Status, create
from fastpaca.context.events import Compacted, Event
from fastpaca.context.message import Entry
from fastpaca.context.ops import Append, Compact, Op, PatchMetadata
from fastpaca.engine import feed, history, rows
from fastpaca.engine.answers import Answers
from fastpaca.engine.doorbell import Doorbell
from fastpaca.engine.freshness import Freshness
from fastpaca.engine.hot import Hot
from fastpaca.errors import (
    ContextNotFound,
    FastpacaError,
    IdempotencyConflict,
    OutcomeUnknown,
    RateLimited,
    Unavailable,
)
from fastpaca.offload import APPLY, PARSE, REBUILD, REWRITE, Work, offload
from fastpaca.store.base import (
    AnswerRow,
    Change,
    CommitBlocked,
    CommitFailed,
    CommitOvertaken,
    CommitUnknown,
    CompactionRow,
    ContextRow,
    Delta,
    MessageRow,
    ReadFailed,
    ReadPartly,
    Snapshot,
    Store,
    SyntheticRow,
)
from fastpaca.stream import subscription
from fastpaca.stream.hub import Hub
from fastpaca.stream.subscription import Page
from fastpaca.telemetry import Metrics

logger = logging.getLogger(__name__)

QUEUE_OPS_MAX: Final = 4096
"""How many ops may wait or be under way; more are refused with 429."""

QUEUE_BYTES_MAX: Final = 128 * 1024 * 1024
"""How many bytes of messages may wait or be under way."""

BATCH_OPS_MAX: Final = 256
"""How many ops are applied in one go (about 20 µs each), so that others get their turn."""

PAGE_BYTES_MAX: Final = 16 * 1024 * 1024
"""Where a page of messages ends early."""

TRIES_MAX: Final = 20
"""How often an op is applied anew because another node was faster, before it is refused."""

ALONE_AT_ONCE: Final = 4
"""How many contexts of a refused batch are committed at once, each for itself."""

ALONE_FAILED_MAX: Final = 16
"""
How many of them may fail before the others are refused without a try, if none has succeeded.

With one server of three away, 16 contexts in a row lie there once in 43 million batches.
"""

UNREAD_AT_ONCE: Final = 500
"""How many entries of a window may be read on the event loop to find the call of a result."""

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


News = Callable[[], list[subscription.Change]]
"""Makes the changes that those who follow a context are told of."""

Shape = Callable[[Context, tuple[Event, ...]], bytes]
"""Writes the body of the answer, from the state after an op and what the op did."""


class _Waiting:
    """An op that waits, with the future of its caller."""

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
        if self.future.done():  # the caller has gone; what was decided stands
            return
        if isinstance(outcome, BaseException):
            self.future.set_exception(outcome)
        else:
            self.future.set_result(outcome)


class _Staged:
    """What the ops of one batch have made of one context so far."""

    __slots__ = ("answers", "before", "context", "events", "outcomes")

    def __init__(self, context: Context | None) -> None:
        self.before = context
        self.context = context
        self.events: list[Event] = []
        self.answers: dict[str, AnswerRow] = {}
        self.outcomes: list[tuple[_Waiting, Written | Exception]] = []


class Engine:
    """
    Applies operations to contexts over one store. Lives on one event loop.

    Attributes:
        hub: Where those who follow contexts are told what was committed.
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
        self._commit_ids = commit_ids
        self._metrics = metrics or Metrics()
        self._hot = Hot(hot_bytes)
        self.hub = Hub(self)
        self._doorbell = Doorbell(store, self.hub)
        self._answers = Answers(store)
        self._freshness = Freshness(store)
        self._queue_ops_max = queue_ops_max
        self._on_fatal = on_fatal
        self._queued_ops = 0
        self._queued_bytes = 0
        self._ready: deque[_Waiting] = deque()
        self._parked: dict[str, list[_Waiting]] = {}
        self._absent: set[str] = set()
        self._unanswered: list[_Waiting] = []
        self._loads: dict[str, asyncio.Task[Context | None]] = {}
        self._overtaken: set[str] = set()  # loads that a commit of their context has overtaken
        self._jobs: set[asyncio.Task[None]] = set()
        self._running: asyncio.Task[None] | None = None
        self._looking_up: asyncio.Task[None] | None = None
        self._committed = _set_event()
        self._state = "starting"
        self._fatal: str | None = None
        self._metrics.ready.set_function(lambda: float(self.health.is_ready))

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
        """Take no more writes: the store has failed for good."""
        if self._fatal is not None:
            return
        self._fatal = reason
        if self._on_fatal is not None:
            self._on_fatal(reason)

    async def stop(self) -> None:
        """Refuse new writes, finish and commit what is under way, and close the store."""
        self._state = "stopping"
        self.hub.stop()
        await self._settle_all()
        await self._doorbell.stop()
        for load in list(self._loads.values()):
            load.cancel()
        await self._store.close()

    async def _settle_all(self) -> None:
        """
        Wait until no op waits.

        What works on them may have been cancelled, as `asyncio.run` does with all tasks before it
        ends. Then no caller is left either, and there is nothing to wait for.
        """
        while self._queued_ops:
            working = (self._running, self._looking_up, *self._jobs)
            at_work = [task for task in working if task is not None]
            if not at_work:
                return
            await asyncio.wait(at_work, return_when=asyncio.FIRST_COMPLETED)

    @property
    def health(self) -> Health:
        """How the node is, with all that it knows of its store."""
        if self._fatal is not None:
            return Health("degraded", self._fatal, is_live=False, is_ready=False)
        if self._state != "ok":
            return Health(self._state, None, is_live=True, is_ready=False)
        reason, is_partial = self._store.condition
        if reason is None:
            return Health("ok", None, is_live=True, is_ready=True)
        return Health("degraded", reason, is_live=True, is_ready=is_partial)

    @property
    def queued_ops(self) -> int:
        """Operations that wait or are under way."""
        return self._queued_ops

    @property
    def hot(self) -> Hot:
        """The contexts in memory."""
        return self._hot

    # --- reads --------------------------------------------------------------------------------

    def peek(self, context_id: str) -> Context | None:
        """Give the committed state of a context if it is in memory."""
        return self._hot.get(context_id)

    async def read(self, context_id: str) -> Context:
        """
        Give the committed state of a context.

        Raises:
            ContextNotFound: There is none, or it was purged.
            Unavailable: The store cannot be read.
        """
        if self._store.is_shared:
            context = await self._fresh(context_id)
        else:
            context = self._hot.get(context_id)
            if context is None and context_id not in self._absent:
                context = await self._load(context_id)
        if context is None:
            raise ContextNotFound
        if context.status is Status.PURGED:
            raise ContextNotFound("This context was purged; its id can never be used again.")
        return context

    async def messages(
        self, context: Context, from_seq: int, to_seq: int, limit: int
    ) -> list[MessageRow]:
        """
        Read a page of the log forward, up to what *context* has published.

        Raises:
            ContextNotFound: It was purged meanwhile.
            Unavailable: The store cannot be read.
        """
        end = min(to_seq, context.last_seq)
        if from_seq > end or limit == 0:
            return []
        try:
            page = await self._store.messages(context.id, from_seq, end, limit, PAGE_BYTES_MAX)
        except ReadFailed as error:
            raise _unreadable(error) from error
        if not page:
            await self._see_that_it_is_there(context.id)
        return page

    async def tail(self, context: Context, offset: int, limit: int) -> list[MessageRow]:
        """
        Read the newest *limit* messages but for *offset*, ascending.

        Raises:
            ContextNotFound: It was purged meanwhile.
            Unavailable: The store cannot be read.
        """
        before = context.last_seq - offset + 1
        if before <= 1 or limit == 0:
            return []
        try:
            page = await self._store.messages_before(context.id, before, limit, PAGE_BYTES_MAX)
        except ReadFailed as error:
            raise _unreadable(error) from error
        if not page:
            await self._see_that_it_is_there(context.id)
        return page

    async def _see_that_it_is_there(self, context_id: str) -> None:
        """
        Take nothing for an answer only if a purge has not come in between.

        Raises:
            ContextNotFound: It has.
            Unavailable: The store cannot be read.
        """
        await self._committed.wait()  # what is written already may not be published yet
        await self.read(context_id)

    async def changes(
        self,
        context_id: str,
        after: int,
        through: int,
        limit: int,
        max_bytes: int,
        *,
        with_bodies: bool,
    ) -> Page:
        """
        Read the changes after the version *after*, up to *through* at most, for those who follow.

        Without bodies, messages are there and their bodies empty.

        Raises:
            Unavailable: The store cannot be read.
        """
        try:
            found = await self._store.changes(
                context_id, after, through, limit, max_bytes, with_bodies=with_bodies
            )
        except ReadFailed as error:
            raise _unreadable(error) from error
        return feed.page_of(after, found)

    async def contexts(self, prefix: str, after: str, limit: int) -> list[ContextRow]:
        """
        Read rows of contexts in byte order of their ids; none is ahead of what is published.

        Raises:
            Unavailable: The store cannot be read.
        """
        try:
            found = await self._store.contexts(prefix, after, limit)
        except ReadFailed as error:
            raise _unreadable(error) from error
        await self._committed.wait()
        return found

    async def compactions(self, context: Context, after: int, limit: int) -> list[CompactionRow]:
        """
        Read rewrites of the window behind the version *after*, up to what *context* has published.

        Raises:
            ContextNotFound: It was purged meanwhile.
            Unavailable: The store cannot be read.
        """
        end = context.version
        try:
            found = await self._store.compactions(context.id, after, end, limit, PAGE_BYTES_MAX)
        except ReadFailed as error:
            raise _unreadable(error) from error
        if not found:
            await self._see_that_it_is_there(context.id)
        return found

    async def compactions_before(
        self, context: Context, before: int, limit: int
    ) -> list[CompactionRow]:
        """
        Read the newest rewrites of the window below the version *before*, newest first.

        Raises:
            ContextNotFound: It was purged meanwhile.
            Unavailable: The store cannot be read.
        """
        try:
            found = await self._store.compactions_before(context.id, before, limit, PAGE_BYTES_MAX)
        except ReadFailed as error:
            raise _unreadable(error) from error
        if not found:
            await self._see_that_it_is_there(context.id)
        return found

    async def at_version(self, context: Context, version: int) -> Context:
        """
        Give *context* as it was after *version*; see `history.at_version`.

        Raises:
            ContextNotFound: It was purged meanwhile.
            Unavailable: The store cannot be read.
        """
        try:
            return await history.at_version(self._store, context, version)
        except ReadFailed as error:
            raise _unreadable(error) from error

    async def _fresh(self, context_id: str) -> Context | None:
        """
        Give a state that is not older than this call, whatever other nodes do.

        Raises:
            Unavailable: The store cannot be read.
        """
        if context_id not in self._hot and context_id not in self._loads:
            return await self._load(context_id)  # begins now, and finds what was there by then
        try:
            revision = await self._freshness.revision(context_id)
        except ReadFailed as error:
            raise _unreadable(error) from error
        context = self._hot.get(context_id)
        while revision and not _is_as_new_as(revision, context):
            self._hot.overtake(context_id)
            # One that was under way may have begun too early, and is then followed by another.
            context = await self._load(context_id)
            if context is None:
                return None
        return context if revision else None

    async def _load(self, context_id: str) -> Context | None:
        """Load a context into memory, once for all who ask, also if the first of them leaves."""
        load = self._loads.get(context_id)
        if load is None:
            load = self._loads[context_id] = asyncio.create_task(self._load_once(context_id))
        try:
            return await asyncio.shield(load)
        except ReadFailed as error:
            raise _unreadable(error) from error

    async def _load_once(self, context_id: str) -> Context | None:
        try:
            while True:
                self._overtaken.discard(context_id)
                context, news = await self._read(context_id)
                held = self._hot.get(context_id)
                if held is not None and not _is_newer(context, held):
                    return held
                if held is not None or context_id not in self._overtaken:
                    break
            if context is not None:
                self._hot.overtake(context_id)
                self._hot.put(context)
                self._note_hot()
                self._tell_followers(context, news)
            return context
        finally:
            del self._loads[context_id]

    async def _read(self, context_id: str) -> tuple[Context | None, News]:
        """Read a context from the store: all that it needs, or what is new since it was here."""
        earlier = self._hot.earlier(context_id)
        if earlier is not None:
            delta = await self._store.load_since(context_id, rows.known(earlier))
            if delta is None:
                return None, list
            return await _caught_up(earlier, delta), partial(feed.changes_since, earlier, delta)
        snapshot = await self._store.load(context_id)
        return None if snapshot is None else await _rebuilt(snapshot), list

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
        self._check_open()
        future: asyncio.Future[Written] = asyncio.get_running_loop().create_future()
        waiting = _Waiting(context_id, op, shape, keyed, future)
        if self._queued_ops and (
            self._queued_ops >= self._queue_ops_max
            or self._queued_bytes + waiting.size > QUEUE_BYTES_MAX
        ):
            raise RateLimited("Too many writes are waiting; try again in a second.")
        self._queued_ops += 1
        self._queued_bytes += waiting.size
        self._hot.pin(context_id)
        if keyed is None:
            self._enqueue(waiting)
        else:
            self._look_up(waiting)
        return await future

    def _check_open(self) -> None:
        if self._fatal is not None:
            raise _failed()
        if self._state != "ok":
            raise Unavailable(f"The server is {self._state}; try again.")

    def _enqueue(self, waiting: _Waiting) -> None:
        parked = self._parked.get(waiting.context_id)
        if parked is not None:
            parked.append(waiting)
            return
        self._ready.append(waiting)
        if self._running is None:
            self._running = asyncio.create_task(self._run())

    def _settle(self, waiting: _Waiting, outcome: Written | BaseException) -> None:
        """Answer the caller of an op and let go of what it held."""
        self._queued_ops -= 1
        self._queued_bytes -= waiting.size
        if self._hot.unpin(waiting.context_id):
            self._absent.discard(waiting.context_id)
        waiting.resolve(outcome)

    def _look_up(self, waiting: _Waiting) -> None:
        self._unanswered.append(waiting)
        if self._looking_up is None:
            self._looking_up = asyncio.create_task(self._look_up_answers())

    async def _look_up_answers(self) -> None:
        """Look up the keys of all ops that wait for it; ops that come meanwhile are the next."""
        try:
            while self._unanswered:
                batch, self._unanswered = self._unanswered, []
                looked_up_at = self._answers.commits
                try:
                    found = await self._answers.look_up({w.keyed.key for w in batch if w.keyed})
                except ReadPartly as error:
                    found = dict(error.found)
                    unread = [w for w in batch if w.keyed and w.keyed.key in error.failed]
                    self._refuse(unread, _unreadable(error))
                    batch = [waiting for waiting in batch if waiting not in unread]
                except ReadFailed as error:
                    self._refuse(batch, _unreadable(error))
                    continue
                for waiting in batch:
                    assert waiting.keyed is not None
                    waiting.known = found.get(waiting.keyed.key)
                    waiting.looked_up_at = looked_up_at
                    self._enqueue(waiting)
        finally:
            self._looking_up = None

    def _refuse(self, batch: Iterable[_Waiting], error: FastpacaError) -> None:
        for waiting in batch:
            self._settle(waiting, error)

    async def _run(self) -> None:
        """Take batches and commit them for as long as anything is ready."""
        try:
            while self._ready:
                size = min(len(self._ready), BATCH_OPS_MAX)
                await self._run_batch([self._ready.popleft() for _ in range(size)])
        finally:
            self._running = None

    async def _run_batch(self, batch: list[_Waiting]) -> None:
        staged: dict[str, _Staged] = {}
        keys: dict[str, AnswerRow] = {}
        now_us = self._clock()
        parked: set[str] = set()
        for waiting in batch:
            await self._stage(waiting, staged, keys, parked, now_us)
        changed = {key: stage for key, stage in staged.items() if stage.events}
        for context_id, stage in staged.items():
            if stage.events:
                continue
            if self._store.is_shared:
                self._start(self._confirm(context_id, stage))
            else:
                self._answer(stage)
        if changed:
            self._committed.clear()
            try:
                await self._commit(changed)
            finally:
                self._committed.set()
        self._metrics.write_queue_ops.set(self._queued_ops)

    async def _stage(
        self,
        waiting: _Waiting,
        staged: dict[str, _Staged],
        keys: dict[str, AnswerRow],
        parked: set[str],
        now_us: int,
    ) -> None:
        """
        Apply one op to what the batch has made of its context so far.

        *parked* are contexts that an earlier op of the batch waits for. Long work may let them be
        loaded meanwhile; an op that comes after the earlier one stays behind it all the same.
        """
        context_id = waiting.context_id
        if context_id in parked or context_id in self._parked:
            self._enqueue(waiting)
            return
        if waiting.keyed is not None and not self._answers.reaches_back_to(waiting.looked_up_at):
            self._look_up(waiting)
            return
        stage = staged.get(context_id)
        if stage is None:
            context = self._hot.get(context_id)
            if context is None and context_id not in self._absent:
                parked.add(context_id)
                self._park(waiting)
                return
            stage = staged[context_id] = _Staged(context)
        stage.outcomes.append((waiting, await self._outcome(waiting, stage, keys, now_us)))

    async def _outcome(
        self, waiting: _Waiting, stage: _Staged, keys: dict[str, AnswerRow], now_us: int
    ) -> Written | Exception:
        op, context = waiting.op, stage.context
        try:
            if waiting.keyed and context is not None and context.status is not Status.PURGED:
                replay = self._replay(waiting, waiting.keyed, context, keys)
                if replay is not None:
                    return replay
            if context is None:
                after, events = create(waiting.context_id, op, now_us)
            else:
                kind, size, items = _work(op, waiting.size, context)
                apply = partial(context.apply, op, now_us)
                after, events = await offload(kind, size, apply, items=items)
            answer = waiting.shape(after, events)
        except FastpacaError as error:
            return error
        except Exception as error:
            # A defect. Deciding is pure, so nothing has changed, and the neighbours go on.
            logger.exception("an op failed", extra={"context_id": waiting.context_id})
            return error
        stage.context = after
        stage.events += events
        if waiting.keyed is not None and events:
            row = AnswerRow(waiting.keyed.key, waiting.keyed.fingerprint, answer, now_us)
            stage.answers[row.key] = keys[row.key] = row
        return Written(after, events, answer)

    def _replay(
        self, waiting: _Waiting, keyed: Keyed, context: Context, keys: dict[str, AnswerRow]
    ) -> Written | None:
        """Answer as before if the key of an op was used before, in the store or in this batch."""
        row = keys.get(keyed.key) or self._answers.recent(keyed.key) or waiting.known
        if row is None:
            return None
        if row.fingerprint != keyed.fingerprint:
            raise IdempotencyConflict
        return Written(context, (), row.answer, replayed=True)

    def _park(self, waiting: _Waiting) -> None:
        """Let an op wait until its context is loaded; ops that come after it wait behind it."""
        self._parked[waiting.context_id] = [waiting]
        self._start(self._unpark(waiting.context_id))

    def _start(self, job: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(job)
        self._jobs.add(task)
        task.add_done_callback(self._jobs.discard)

    async def _unpark(self, context_id: str) -> None:
        outcome: Unavailable | None = None
        try:
            if await self._load(context_id) is None:
                self._absent.add(context_id)
        except Unavailable as error:
            outcome = error
        parked = self._parked.pop(context_id)
        for waiting in parked:
            if outcome is None:
                self._enqueue(waiting)
            else:
                self._settle(waiting, outcome)

    async def _confirm(self, context_id: str, stage: _Staged) -> None:
        """Answer what changes nothing, or do it again if it rested on an old state."""
        try:
            revision = await self._freshness.revision(context_id)
        except ReadFailed as error:
            self._fail([stage], _unreadable(error))
            return
        if _is_current(revision, stage.before):
            self._answer(stage)
        else:
            self._do_again(context_id, stage)

    def _do_again(self, context_id: str, stage: _Staged) -> None:
        """Let the ops of *stage* wait for the state that another node has made."""
        self._hot.overtake(context_id)
        self._absent.discard(context_id)
        for waiting, _ in stage.outcomes:
            waiting.tries += 1
            if waiting.tries > TRIES_MAX:
                self._settle(
                    waiting, Unavailable("Other nodes write to this context all the time.")
                )
            elif waiting.keyed is None:
                self._enqueue(waiting)
            else:  # the other node may have been asked the same
                self._look_up(waiting)

    # --- commits ------------------------------------------------------------------------------

    async def _commit(self, staged: dict[str, _Staged]) -> None:
        """Commit what a batch has changed, in one piece or, if that is refused, one by one."""
        error = await self._commit_together(list(staged.values()))
        while isinstance(error, CommitOvertaken) and not error.context_ids.isdisjoint(staged):
            for context_id in error.context_ids & staged.keys():
                self._do_again(context_id, staged.pop(context_id))
            error = await self._commit_together(list(staged.values())) if staged else None
        if error is None:
            return
        stages = list(staged.values())
        if len(stages) == 1 or isinstance(error, CommitBlocked):
            self._fail(stages, _uncommitted(error))
            return
        logger.warning("commit refused, trying its contexts one by one: %s", error)
        await self._commit_one_by_one(stages)

    async def _commit_one_by_one(self, stages: Sequence[_Staged]) -> None:
        """Commit each of *stages* for itself, some at once: the store may be able to do some."""
        waiting = iter(stages)
        failed = written = 0

        async def work() -> None:
            nonlocal failed, written
            for stage in waiting:
                if self._fatal is not None:
                    self._fail([stage], _failed())
                elif failed >= ALONE_FAILED_MAX and not written:
                    self._fail([stage], Unavailable())  # it is not this context that is refused
                elif await self._commit_alone(stage):
                    written += 1
                else:
                    failed += 1

        async with asyncio.TaskGroup() as group:
            for _ in range(ALONE_AT_ONCE):
                group.create_task(work())

    async def _commit_alone(self, stage: _Staged) -> bool:
        """Commit *stage*, and tell whether the store could do so, or somebody else was faster."""
        assert stage.context is not None
        error = await self._commit_together([stage])
        if isinstance(error, CommitOvertaken) and stage.context.id in error.context_ids:
            self._do_again(stage.context.id, stage)
        elif error is not None:
            self._fail([stage], _uncommitted(error))
            return False
        return True

    async def _commit_together(self, stages: Sequence[_Staged]) -> CommitFailed | None:
        """Commit *stages* and publish them; the error if certainly nothing was written."""
        commit_id = self._commit_ids()
        changes = [self._change(stage, commit_id) for stage in stages]
        started = time.perf_counter()
        try:
            await self._store.commit(changes)
        except CommitFailed as error:
            if isinstance(error, CommitOvertaken) and len(stages) == 1 and not error.context_ids:
                self._forget(changes[0].row.id)
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

    def _change(self, stage: _Staged, commit_id: bytes) -> Change:
        assert stage.context is not None
        revision = 0 if stage.before is None else stage.before.revision
        stage.context = rows.with_revision(stage.context, revision + 1)
        return rows.change(stage.context, stage.events, list(stage.answers.values()), commit_id)

    def _publish(self, stages: Sequence[_Staged]) -> None:
        answers: list[AnswerRow] = []
        for stage in stages:
            assert stage.context is not None
            self._hot.put(stage.context)
            self._absent.discard(stage.context.id)
            if stage.context.id in self._loads:
                self._overtaken.add(stage.context.id)
            answers += stage.answers.values()
            self._count(stage.events)
            self._answer(stage)
        self._answers.committed(answers)
        self._note_hot()
        if self.hub.channels:
            for stage in stages:
                assert stage.context is not None
                self._tell_followers(stage.context, partial(feed.changes_of, stage.events))

    def _tell_followers(self, context: Context, news: News) -> None:
        """Let those who follow *context* know what has become of it, here or at another node."""
        if context.id not in self.hub.channels:
            return
        try:
            self.hub.publish(context, news())
        except Exception:  # no defect there may touch a commit
            logger.exception("followers could not be told of a commit")
            self.hub.ring(context.id)

    def _answer(self, stage: _Staged) -> None:
        for waiting, outcome in stage.outcomes:
            self._settle(waiting, outcome)

    def _fail(self, stages: Iterable[_Staged], error: FastpacaError) -> None:
        """Nothing of *stages* was written: all their callers are told so, refused ones too."""
        for stage in stages:
            for waiting, _ in stage.outcomes:
                self._settle(waiting, error)

    def _lose(self, stages: Sequence[_Staged], error: CommitUnknown) -> None:
        """Nobody knows whether *stages* were written: forget them, and stop if that is fatal."""
        logger.error("the outcome of a commit is unknown: %s", error)
        self._answers.drop_all()
        for stage in stages:
            assert stage.context is not None
            self._forget(stage.context.id)
            self.hub.ring(stage.context.id)  # it may have happened
            for waiting, _ in stage.outcomes:
                self._settle(waiting, OutcomeUnknown())
        if error.fatal:
            self.fail(str(error))

    def _forget(self, context_id: str) -> None:
        """What memory says of a context is not to be relied on: the next op loads it anew."""
        self._hot.drop(context_id)
        self._absent.discard(context_id)

    def _count(self, events: Iterable[Event]) -> None:
        for event in events:
            if isinstance(event, Compacted):
                self._metrics.compactions.labels(event.strategy).inc()
                removed = event.tokens_before - event.tokens_after
                self._metrics.compaction_tokens_removed.inc(max(removed, 0))

    def _note_hot(self) -> None:
        self._metrics.hot_contexts.set(len(self._hot))
        self._metrics.hot_bytes.set(self._hot.bytes)

    async def forget_old_answers(self) -> None:
        """Delete stored answers that are older than they are promised to be kept."""
        await self._store.forget_answers(self._clock() - ANSWERS_KEPT_US)


def _size(op: Op) -> int:
    """Bytes of the messages that *op* carries."""
    if isinstance(op, Append):
        return sum(len(message.draft.body) for message in op.messages)
    if isinstance(op, Compact):
        return sum(
            len(item.body if isinstance(item, Entry) else item.draft.body)
            for item in op.replacement
        )
    return 0


def _work(op: Op, size: int, context: Context) -> tuple[Work, int, int]:
    """Foresee what it takes to apply *op*, with messages of *size* bytes, to *context*."""
    if isinstance(op, PatchMetadata):
        return PARSE, len(context.metadata), 0
    if not isinstance(op, Append | Compact):
        return APPLY, 0, 0
    window, config = context.window, context.config
    if isinstance(op, Append):
        tokens = window.tokens + sum([message.counts.total for message in op.messages])
        if isinstance(config.policy, Manual) or tokens <= config.trigger(config.token_budget):
            if window.unread > UNREAD_AT_ONCE and _answers(op):
                return REWRITE, size, window.unread
            return APPLY, size, len(op.messages)
    return REWRITE, size + window.text_bytes, len(window)


def _answers(op: Append) -> bool:
    """Tell whether a message of *op* holds a result, whose call has to be found."""
    return any(mark.answers for message in op.messages for mark in message.draft.reading.marks)


async def _rebuilt(snapshot: Snapshot) -> Context:
    """Make a context of its rows, in a thread if that would hold up the event loop."""
    size, items = _extent(snapshot.messages, snapshot.synthetics)
    return await offload(REBUILD, size, partial(rows.rebuilt, snapshot), items=items)


async def _caught_up(context: Context, delta: Delta) -> Context:
    """Make of an old state the present one, in a thread if that would hold up the event loop."""
    size, items = _extent(delta.messages, delta.synthetics)
    if delta.window is not None:  # all of it is made anew, of what is here and what was read
        size, items = size + context.window.text_bytes, items + len(context.window)
    return await offload(REBUILD, size, partial(rows.caught_up, context, delta), items=items)


def _extent(log: Sequence[MessageRow], synthetics: Sequence[SyntheticRow]) -> tuple[int, int]:
    """Sum up the bytes of rows of messages, and how many there are."""
    size = sum([len(row.body) for row in log]) + sum([len(row.body) for row in synthetics])
    return size, len(log) + len(synthetics)


def _is_current(revision: int, context: Context | None) -> bool:
    if context is None:
        return revision == 0
    return context.revision == revision or context.status is Status.PURGED  # nothing follows


def _is_as_new_as(revision: int, context: Context | None) -> bool:
    if context is None:
        return False
    return context.revision >= revision or context.status is Status.PURGED  # nothing follows


def _is_newer(context: Context | None, held: Context) -> bool:
    if context is None or held.status is Status.PURGED:
        return False
    return context.revision > held.revision or context.status is Status.PURGED


def _set_event() -> asyncio.Event:
    event = asyncio.Event()
    event.set()
    return event


# What a store says is for the log: it may name servers that callers have no business with.


def _uncommitted(error: CommitFailed) -> Unavailable:
    logger.error("a commit failed, nothing was changed: %s", error)
    return Unavailable()


def _unreadable(error: ReadFailed) -> Unavailable:
    logger.error("the store could not be read: %s", error)
    return Unavailable(error.told or "The store cannot be read now; try again.")


def _failed() -> Unavailable:
    return Unavailable("The store has failed, and this node takes no more writes.")
