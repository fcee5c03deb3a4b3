"""
What the followers of one context share: its state, its newest changes, and reads of older ones.

A channel never waits for a follower. It wakes them in small groups, so that a thousand of them do
not hold up the event loop.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, Protocol

from fastpaca.context import Context, Manual, Status
from fastpaca.errors import ContextNotFound, Unavailable
from fastpaca.offload import FIT, offload
from fastpaca.stream.recent import PAGE_BYTES_MAX, PAGE_CHANGES, PAGE_HEADS, Recent, Texts
from fastpaca.stream.subscription import AnyFrame, Change, Page, State

logger = logging.getLogger(__name__)

WAKE_AT_ONCE: Final = 50
"""How many followers are woken before others get their turn."""


class Source(Protocol):
    """What the stream asks of the engine."""

    async def read(self, context_id: str) -> Context:
        """
        Return the committed state of a context.

        Raises:
            ContextNotFound: There is none, or it was purged.
            Unavailable: The store cannot be read.
        """

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
        Read the changes after the version *after*, up to *through* at most.

        Without bodies, messages are there and their bodies empty.

        Raises:
            Unavailable: The store cannot be read.
        """


class Reader(Protocol):
    """What a channel knows of one who follows its context."""

    @property
    def heard_at(self) -> float:
        """When it was given something last, by the clock of the event loop."""

    def wake(self) -> None:
        """Look whether there is anything new."""

    def ping(self) -> None:
        """Say that it is still there, unless it has something else to say."""


class Channel:
    """
    What the followers of one context share.

    Args:
        context_id: Which context.
        source: Where its state and its old changes are read.
        recent: Keeps the newest changes of all channels.
        texts: Keeps frames of all channels as they were sent.
        on_leave: Called when a follower has left.
        retry_seconds: How long to wait before a store that could not be read is asked again.

    Attributes:
        followers: Those who follow, in the order in which they came.
        state: The newest state of the context; None until `learn` has found one.
        is_stopping: Whether the node ends.
    """

    def __init__(
        self,
        context_id: str,
        source: Source,
        recent: Recent,
        texts: Texts[AnyFrame],
        on_leave: Callable[[Channel], None],
        retry_seconds: float,
    ) -> None:
        self.context_id = context_id
        self.texts = texts
        self.retry_seconds = retry_seconds
        self.followers: dict[Reader, None] = {}
        self.state: State | None = None
        self.is_stopping = False
        self._source = source
        self._recent = recent
        self._on_leave = on_leave
        self._reads: dict[tuple[int, int, bool], asyncio.Future[Page]] = {}
        self._is_waking = False
        self._jobs: set[asyncio.Task[None]] = set()
        self._costly: Context | None = None  # whose state is still to be noted
        self._noting: asyncio.Task[None] | None = None

    def leave(self, follower: Reader) -> None:
        """Forget a follower."""
        if follower in self.followers:
            del self.followers[follower]
            self._on_leave(self)

    def stop(self) -> None:
        """Tell the followers that the node ends."""
        self.is_stopping = True
        for follower in self.followers:
            follower.wake()

    def end(self) -> None:
        """Stop what is under way. Reads end by themselves."""
        self._recent.forget(self.context_id)
        for task in self._jobs:
            task.cancel()

    # --- the state ----------------------------------------------------------------------------

    async def learn(self) -> None:
        """
        Find out what the context has come to, for one who has just come.

        What was noted before may be older than what it has read elsewhere, and its cursor would
        then look like one from another history.

        Raises:
            ContextNotFound: There is no such context.
            Unavailable: The store cannot be read.
        """
        context = await self._source.read(self.context_id)
        await self._learn(context)

    def publish(self, context: Context, changes: Sequence[Change]) -> None:
        """Take over what a commit has made."""
        if context.status is Status.PURGED:
            self._recent.forget(self.context_id)
        else:
            self._recent.keep(self.context_id, changes)
        if _is_costly(context):
            self._note_soon(context)
        else:
            self._note(_state(context))

    def look_again(self) -> None:
        """Ask for the state anew."""
        self._look_after(asyncio.create_task(self._refresh()))

    async def _learn(self, context: Context) -> None:
        """Note the state of *context*, together with all who ask for the same."""
        while self.state is None or context.revision > self.state.revision:
            if _is_costly(context):
                self._note_soon(context)
                assert self._noting is not None
                await asyncio.shield(self._noting)
            else:
                self._note(_state(context))

    def _note_soon(self, context: Context) -> None:
        """Let a state be noted that takes a while to find out; of several the newest is."""
        if self._costly is None or context.revision > self._costly.revision:
            self._costly = context
        if self._noting is None or self._noting.done():
            self._note_next(self._costly)

    def _note_next(self, context: Context) -> None:
        self._noting = asyncio.create_task(self._note_costly(context))
        self._look_after(self._noting)

    async def _note_costly(self, context: Context) -> None:
        size, items = context.window.text_bytes, len(context.window)
        self._note(await offload(FIT, size, partial(_state, context), items=items))
        if self._costly is context:
            self._costly = None
        elif self._costly is not None:
            self._note_next(self._costly)

    async def _refresh(self) -> None:
        while True:
            try:
                await self._learn(await self._source.read(self.context_id))
            except ContextNotFound:
                if self.state is not None:
                    self._note(self.state.gone())
            except Unavailable:
                await asyncio.sleep(self.retry_seconds)
                continue
            return

    def _look_after(self, task: asyncio.Task[None]) -> None:
        self._jobs.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._jobs.discard(task)
        if not task.cancelled() and task.exception() is not None:
            logger.error("the followers of a context were not notified", exc_info=task.exception())

    def _note(self, state: State) -> None:
        if self.state is None or state.revision > self.state.revision:
            self.state = state
            self._wake()

    def _wake(self) -> None:
        if not self._is_waking:
            self._is_waking = True
            asyncio.get_running_loop().call_soon(self._wake_some, list(self.followers), 0)

    def _wake_some(self, followers: list[Reader], start: int) -> None:
        if start == 0:
            self._is_waking = False  # one that comes now is woken by the next round
        end = start + WAKE_AT_ONCE
        for follower in followers[start:end]:
            follower.wake()
        if end < len(followers):
            asyncio.get_running_loop().call_soon(self._wake_some, followers, end)

    # --- changes ------------------------------------------------------------------------------

    def recent(self, after: int, through: int) -> Page | None:
        """Return changes after the version *after* from memory, if they are there."""
        return self._recent.page(self.context_id, after, through)

    async def read(self, after: int, through: int, *, with_bodies: bool) -> Page:
        """
        Read changes after the version *after* from the store, once for all who ask for the same.

        Raises:
            Unavailable: The store cannot be read.
        """
        limit = PAGE_CHANGES if with_bodies else PAGE_HEADS
        through = min(through, after + limit)
        key = (after, through, with_bodies)
        read = self._reads.get(key)
        if read is None:
            coroutine = self._source.changes(
                self.context_id, after, through, limit, PAGE_BYTES_MAX, with_bodies=with_bodies
            )
            read = self._reads[key] = asyncio.ensure_future(coroutine)
            read.add_done_callback(partial(self._read_is_done, key))
        return await asyncio.shield(read)

    def _read_is_done(self, key: tuple[int, int, bool], read: asyncio.Future[Page]) -> None:
        self._reads.pop(key, None)
        if not read.cancelled():
            read.exception()  # those who still wait for it are told; there may be none


def _is_costly(context: Context) -> bool:
    """Tell whether it takes long to see what a read of the window would give."""
    window = context.window
    return not FIT.is_inline(window.text_bytes, len(window)) and not _is_whole(context)


def _is_whole(context: Context) -> bool:
    is_manual = isinstance(context.config.policy, Manual)
    return is_manual or context.window.tokens <= context.config.token_budget


def _state(context: Context) -> State:
    """Say what a reader of the LLM context would be told of it."""
    whole = _is_whole(context)
    return State(
        version=context.version,
        revision=context.revision,
        is_tombstoned=context.status is Status.TOMBSTONED,
        is_gone=context.status is Status.PURGED,
        needs_compaction=context.needs_compaction,
        used_tokens=context.window.tokens if whole else context.view().used_tokens,
        token_budget=context.config.token_budget,
        configuration=(type(context.config.policy), context.config),
    )
