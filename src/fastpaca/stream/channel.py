"""
The channel of one context, which its followers share: its state, and reads of its changes.

A channel never waits for a follower. It wakes followers in small groups, so that a thousand of them
don't block the event loop.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, Protocol

from fastpaca.context import ContextState, Manual, Status
from fastpaca.errors import ContextNotFound, Unavailable
from fastpaca.offload import FIT, offload
from fastpaca.stream.recent import PAGE_CHANGES, PAGE_HEADS, FrameCache, RecentChanges
from fastpaca.stream.subscription import AnyFrame, LatestState, Page, VersionChange

logger = logging.getLogger(__name__)

WOKEN_FOLLOWERS: Final = 50
"""How many followers to wake before other tasks get their turn."""


class Source(Protocol):
    """The part of the engine that the stream uses."""

    async def read(self, context_id: str) -> ContextState:
        """
        Return the committed state of a context.

        Raises:
            ContextNotFound: It doesn't exist, or it was purged.
            Unavailable: The store can't be read.
        """

    async def changes(
        self, context_id: str, after: int, through: int, *, with_bodies: bool
    ) -> Page:
        """
        Read the changes after the version *after*, up to and including *through*.

        A page ends early at `PAGE_BYTES_MAX`. Without *with_bodies*, the bodies of messages are
        empty.

        Raises:
            Unavailable: The store can't be read.
        """


class Listener(Protocol):
    """A follower, as far as its channel uses it."""

    @property
    def sent_at(self) -> float:
        """When it last had frames, by the clock of the event loop."""

    def wake(self) -> None:
        """Check for new frames."""

    def ping(self) -> None:
        """Send a ping, unless there are other frames to send."""


class Channel:
    """
    What the followers of one context share.

    Args:
        context_id: The id of the context.
        source: Reads its state and its old changes.
        recent: The newest changes of all channels.
        encoded: The newest encoded frames of all channels.
        on_leave: Called when a follower has left.
        retry_seconds: How long to wait before reading from a failed store again.

    Attributes:
        followers: The followers, in the order in which they came.
        state: The newest state of the context; None until `learn` has read it.
        is_stopping: Whether the node is shutting down.
    """

    def __init__(
        self,
        context_id: str,
        source: Source,
        recent: RecentChanges,
        encoded: FrameCache[AnyFrame],
        on_leave: Callable[[Channel], None],
        retry_seconds: float,
    ) -> None:
        self.context_id = context_id
        self.encoded = encoded
        self.retry_seconds = retry_seconds
        self.followers: dict[Listener, None] = {}
        self.state: LatestState | None = None
        self.is_stopping = False
        self._source = source
        self._recent = recent
        self._on_leave = on_leave
        self._reads: dict[tuple[int, int, bool], asyncio.Future[Page]] = {}
        self._is_waking = False
        self._jobs: set[asyncio.Task[None]] = set()
        self._costly: ContextState | None = None  # the newest one whose state is not recorded yet
        self._recording: asyncio.Task[None] | None = None

    def leave(self, follower: Listener) -> None:
        """Remove a follower."""
        if follower in self.followers:
            del self.followers[follower]
            self._on_leave(self)

    def stop(self) -> None:
        """Tell the followers that the node is shutting down."""
        self.is_stopping = True
        for follower in self.followers:
            follower.wake()

    def end(self) -> None:
        """Cancel background tasks. Reads finish by themselves."""
        self._recent.forget(self.context_id)
        for task in self._jobs:
            task.cancel()

    # --- the state ----------------------------------------------------------------------------

    async def learn(self) -> None:
        """
        Read the state of the context, for a new follower.

        The recorded state may be older than what the follower has read elsewhere, and its cursor
        would then look like one from a different history.

        Raises:
            ContextNotFound: There is no such context.
            Unavailable: The store can't be read.
        """
        context = await self._source.read(self.context_id)
        await self._learn(context)

    def publish(self, context: ContextState, changes: Sequence[VersionChange]) -> None:
        """Record the result of a commit."""
        if context.status is Status.PURGED:
            self._recent.forget(self.context_id)
        else:
            self._recent.keep(self.context_id, changes)
        if _is_costly(context):
            self._record_soon(context)
        else:
            self._record(_state(context))

    def refresh(self) -> None:
        """Read the state again, in the background."""
        self._run_in_background(asyncio.create_task(self._refresh()))

    async def _learn(self, context: ContextState) -> None:
        """Record the state of *context*, once for all callers."""
        while self.state is None or context.revision > self.state.revision:
            if _is_costly(context):
                self._record_soon(context)
                assert self._recording is not None
                await asyncio.shield(self._recording)
            else:
                self._record(_state(context))

    def _record_soon(self, context: ContextState) -> None:
        """
        Record in the background a state that takes long to compute; only the newest of several.
        """
        if self._costly is None or context.revision > self._costly.revision:
            self._costly = context
        if self._recording is None or self._recording.done():
            self._record_next(self._costly)

    def _record_next(self, context: ContextState) -> None:
        self._recording = asyncio.create_task(self._record_costly(context))
        self._run_in_background(self._recording)

    async def _record_costly(self, context: ContextState) -> None:
        size, items = context.window.text_bytes, len(context.window)
        self._record(await offload(FIT, size, partial(_state, context), items=items))
        if self._costly is context:
            self._costly = None
        elif self._costly is not None:
            self._record_next(self._costly)

    async def _refresh(self) -> None:
        while True:
            try:
                await self._learn(await self._source.read(self.context_id))
            except ContextNotFound:
                if self.state is not None:
                    self._record(self.state.gone())
            except Unavailable:
                await asyncio.sleep(self.retry_seconds)
                continue
            return

    def _run_in_background(self, task: asyncio.Task[None]) -> None:
        self._jobs.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._jobs.discard(task)
        if not task.cancelled() and task.exception() is not None:
            logger.error("the followers of a context were not notified", exc_info=task.exception())

    def _record(self, state: LatestState) -> None:
        if self.state is None or state.revision > self.state.revision:
            self.state = state
            self._wake()

    def _wake(self) -> None:
        if not self._is_waking:
            self._is_waking = True
            asyncio.get_running_loop().call_soon(self._wake_some, list(self.followers), 0)

    def _wake_some(self, followers: list[Listener], start: int) -> None:
        if start == 0:
            self._is_waking = False  # a follower that comes from now on needs another round
        end = start + WOKEN_FOLLOWERS
        for follower in followers[start:end]:
            follower.wake()
        if end < len(followers):
            asyncio.get_running_loop().call_soon(self._wake_some, followers, end)

    # --- changes ------------------------------------------------------------------------------

    def recent(self, after: int, through: int) -> Page | None:
        """Return changes after the version *after* if they are in memory, else None."""
        return self._recent.page(self.context_id, after, through)

    async def read(self, after: int, through: int, *, with_bodies: bool) -> Page:
        """
        Read changes after the version *after* from the store; equal reads share one.

        Raises:
            Unavailable: The store can't be read.
        """
        through = min(through, after + (PAGE_CHANGES if with_bodies else PAGE_HEADS))
        key = (after, through, with_bodies)
        read = self._reads.get(key)
        if read is None:
            coroutine = self._source.changes(
                self.context_id, after, through, with_bodies=with_bodies
            )
            read = self._reads[key] = asyncio.ensure_future(coroutine)
            read.add_done_callback(partial(self._read_is_done, key))
        return await asyncio.shield(read)

    def _read_is_done(self, key: tuple[int, int, bool], read: asyncio.Future[Page]) -> None:
        self._reads.pop(key, None)
        if not read.cancelled():
            read.exception()  # its callers get the error; there may be none left


def _is_costly(context: ContextState) -> bool:
    """Return whether it takes long to compute what a read of the window would return."""
    window = context.window
    return not FIT.is_inline(window.text_bytes, len(window)) and not _is_whole(context)


def _is_whole(context: ContextState) -> bool:
    is_manual = isinstance(context.config.policy, Manual)
    return is_manual or context.window.tokens <= context.config.token_budget


def _state(context: ContextState) -> LatestState:
    """Return the state of *context*, with the numbers of a read of the LLM context."""
    is_whole = _is_whole(context)
    return LatestState(
        version=context.version,
        revision=context.revision,
        is_tombstoned=context.status is Status.TOMBSTONED,
        is_gone=context.status is Status.PURGED,
        needs_compaction=context.needs_compaction,
        used_tokens=context.window.tokens if is_whole else context.view().used_tokens,
        token_budget=context.config.token_budget,
        configuration=(type(context.config.policy), context.config),
    )
