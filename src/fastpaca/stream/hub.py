"""
Who follows which context, and how changes come to them.

One `Channel` per context that is followed. The engine hands it each new state with the changes of
the commit behind it; a `Follower` takes from there what comes after its cursor, or from the store
what the channel no longer has. So a follower that is slow costs its channel nothing: it falls
behind, reads pages of its own, and catches up or is let go by whoever sends to it.

The engine never waits for a follower. Followers of one context are woken in small groups, so that a
thousand of them do not hold up the event loop.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, Final, Protocol

import msgspec

from fastpaca.context import Context, Manual, Status
from fastpaca.errors import ContextNotFound, Unavailable
from fastpaca.offload import FIT, offload
from fastpaca.stream.recent import PAGE_BYTES_MAX, PAGE_CHANGES, PAGE_HEADS, Recent, Texts
from fastpaca.stream.subscription import Change, Frame, Page, State, Subscription

logger = logging.getLogger(__name__)

WAKE_AT_ONCE: Final = 50
"""How many followers are woken before others get their turn."""

RETRY_SECONDS: Final = 1.0
"""How long a follower waits before it asks a store again that could not be read."""


class PingFrame(msgspec.Struct, frozen=True, gc=False):
    """Nothing has happened for a while; the follower is still there."""

    cursor: int


Encode = Callable[[Frame | PingFrame], bytes]
"""Writes a frame as it is sent."""


class Source(Protocol):
    """What a hub asks of the engine."""

    async def read(self, context_id: str) -> Context:
        """
        Give the committed state of a context.

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


class Stopping(Exception):
    """The node ends; the follower can go on at another one, from its cursor."""


class Hub:
    """The channels of a node. Lives on one event loop."""

    def __init__(
        self, source: Source, ping_seconds: float = 30.0, retry_seconds: float = RETRY_SECONDS
    ) -> None:
        self._source = source
        self.retry_seconds = retry_seconds
        self._ping_seconds = ping_seconds
        self._recent = Recent()
        self._ticking: asyncio.Task[None] | None = None
        self.channels: dict[str, Channel] = {}
        self.texts: Texts[Frame | PingFrame] = Texts()
        self.followers = 0
        self.is_stopping = False

    async def follow(
        self, context_id: str, cursor: int | None, encode: Encode, *, wants_messages: bool = True
    ) -> Follower:
        """
        Begin to follow a context after *cursor*; None means from now.

        Raises:
            ContextNotFound: There is no such context.
            Unavailable: The store cannot be read, or the node ends.
        """
        if self.is_stopping:
            raise Unavailable("The server is stopping; try again.")
        channel = self.channels.get(context_id)
        if channel is None:
            channel = self.channels[context_id] = Channel(
                context_id, self._source, self._recent, self.retry_seconds
            )
        subscription = Subscription(cursor, wants_messages=wants_messages)
        follower = Follower(self, channel, subscription, encode)
        channel.followers[follower] = None
        self.followers += 1
        try:
            await channel.learn()
        except BaseException:
            follower.close()
            raise
        if self._ticking is None:
            self._ticking = asyncio.create_task(self._tick())
        return follower

    def leave(self, follower: Follower, channel: Channel) -> None:
        """Forget a follower, and its channel with the last of them."""
        if channel.followers.pop(follower, follower) is follower:
            return
        self.followers -= 1
        if not channel.followers:
            del self.channels[channel.context_id]
            channel.end()
        if not self.followers and self._ticking is not None:
            self._ticking.cancel()
            self._ticking = None

    def publish(self, context: Context, changes: Sequence[Change]) -> None:
        """Let the followers of *context* know what a commit has made of it."""
        channel = self.channels.get(context.id)
        if channel is not None:
            channel.publish(context, changes)

    def ring(self, context_id: str) -> None:
        """Let the followers of a context look whether there is anything new."""
        channel = self.channels.get(context_id)
        if channel is not None:
            channel.look_again()

    def ring_if_behind(self, context_id: str, revision: int) -> None:
        """The same, if what they know is of an earlier *revision*."""
        channel = self.channels.get(context_id)
        if channel is not None and channel.state is not None and channel.state.revision < revision:
            channel.look_again()

    def stop(self) -> None:
        """Tell all followers that the node ends, and take no more."""
        self.is_stopping = True
        for channel in list(self.channels.values()):
            for follower in channel.followers:
                follower.wake()

    async def _tick(self) -> None:
        """Let followers that have had nothing for a while say that they are still there."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self._ping_seconds / 30)
            before = loop.time() - self._ping_seconds
            channels = self.channels.values()
            silent = [f for c in channels for f in c.followers if f.heard_at <= before]
            for start in range(0, len(silent), WAKE_AT_ONCE):
                for follower in silent[start : start + WAKE_AT_ONCE]:
                    follower.ping()
                await asyncio.sleep(0)


class Channel:
    """What the followers of one context share."""

    def __init__(
        self, context_id: str, source: Source, recent: Recent, retry_seconds: float
    ) -> None:
        self.context_id = context_id
        self.followers: dict[Follower, None] = {}
        self.state: State | None = None
        self._source = source
        self._recent = recent
        self._retry_seconds = retry_seconds
        self._reads: dict[tuple[int, int, bool], asyncio.Future[Page]] = {}
        self._is_waking = False
        self._jobs: set[asyncio.Task[None]] = set()
        self._costly: Context | None = None  # whose state is still to be noted
        self._noting: asyncio.Task[None] | None = None

    async def learn(self) -> None:
        """
        Find out what the context has come to, for one who has just come.

        What was noted before may be older than what it has read elsewhere, and its cursor would
        then look like one from another history.
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
        self._start(self._refresh())

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
                await asyncio.sleep(self._retry_seconds)
                continue
            return

    def _start(self, job: Coroutine[Any, Any, None]) -> None:
        self._look_after(asyncio.create_task(job))

    def _look_after(self, task: asyncio.Task[None]) -> None:
        self._jobs.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._jobs.discard(task)
        if not task.cancelled() and task.exception() is not None:
            logger.error("the followers of a context were not told", exc_info=task.exception())

    def _note(self, state: State) -> None:
        if self.state is None or state.revision > self.state.revision:
            self.state = state
            self._wake()

    def _wake(self) -> None:
        if not self._is_waking:
            self._is_waking = True
            asyncio.get_running_loop().call_soon(self._wake_some, list(self.followers), 0)

    def _wake_some(self, followers: list[Follower], start: int) -> None:
        if start == 0:
            self._is_waking = False  # whoever comes now is woken by the next round
        end = start + WAKE_AT_ONCE
        for follower in followers[start:end]:
            follower.wake()
        if end < len(followers):
            asyncio.get_running_loop().call_soon(self._wake_some, followers, end)

    # --- changes ------------------------------------------------------------------------------

    def recent(self, after: int, through: int) -> Page | None:
        """Give changes behind the version *after* from memory, if they are there."""
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
            read.exception()  # whoever still waits for it is told; nobody may

    def end(self) -> None:
        """Stop what is under way. Reads end by themselves."""
        self._recent.forget(self.context_id)
        for task in self._jobs:
            task.cancel()


class Follower:
    """
    One reader of a context, at its own pace.

    Attributes:
        heard_at: When it was given something last.
    """

    __slots__ = (
        "_channel",
        "_encode",
        "_hub",
        "_is_closed",
        "_is_pinging",
        "_loop",
        "_subscription",
        "_waiter",
        "heard_at",
    )

    def __init__(
        self, hub: Hub, channel: Channel, subscription: Subscription, encode: Encode
    ) -> None:
        self._hub = hub
        self._channel = channel
        self._subscription = subscription
        self._encode = encode
        self._loop = asyncio.get_running_loop()
        self._waiter: asyncio.Future[None] | None = None
        self.heard_at = self._loop.time()
        self._is_pinging = False
        self._is_closed = False

    @property
    def cursor(self) -> int:
        """The version up to which everything was given."""
        return self._subscription.cursor

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will come."""
        return self._is_closed or self._subscription.has_ended

    @property
    def is_erased(self) -> bool:
        """Whether the content was erased: what was not sent yet is not to be sent any more."""
        state = self._channel.state
        return state is not None and state.is_gone

    @property
    def is_behind_the_end(self) -> bool:
        """Whether the context was deleted, and all of it lies before the cursor."""
        state = self._channel.state
        if state is None or not (state.is_tombstoned or state.is_gone):
            return False
        self._listen()
        return self._subscription.cursor == state.version

    def wake(self) -> None:
        """Let it look whether there is anything new."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def ping(self) -> None:
        """Let it say that it is still there, unless it has something else to say."""
        self._is_pinging = True
        self.wake()

    def close(self) -> None:
        """Follow no more."""
        if not self._is_closed:
            self._is_closed = True
            self._hub.leave(self, self._channel)
            self.wake()

    async def next(self) -> list[bytes]:
        """
        Give the next frames, encoded, as soon as there are any; none once it `has_ended`.

        Raises:
            Stopping: The node ends.
        """
        while not self._is_closed:
            frames = await self._frames()
            if frames:
                self.heard_at = self._loop.time()
                self._is_pinging = False
                return self._encoded(frames)
            if self._subscription.has_ended:
                break
        return []

    async def _frames(self) -> Sequence[Frame | PingFrame]:
        """Give frames, or nothing if it must be looked again."""
        if self._hub.is_stopping:
            raise Stopping
        self._listen()
        subscription = self._subscription
        frames = subscription.settle()
        if frames or subscription.has_ended:
            return frames
        wanted = subscription.wanted
        page = None if wanted is None else self._channel.recent(*wanted)
        if page is not None:
            return subscription.deliver(page)
        if self._is_pinging:
            return [PingFrame(subscription.cursor)]
        if wanted is not None:
            return await self._read(*wanted)
        await self._wait()
        return ()

    def _listen(self) -> None:
        state = self._channel.state
        if state is not None:
            self._subscription.ring(state)

    async def _read(self, after: int, through: int) -> list[Frame]:
        try:
            page = await self._channel.read(
                after, through, with_bodies=self._subscription.wants_messages
            )
        except Unavailable:
            await self._wait(self._hub.retry_seconds)
            return []
        self._listen()  # nothing is given that was erased while it was read
        return self._subscription.deliver(page)

    async def _wait(self, seconds: float | None = None) -> None:
        """Wait for a wake-up, for so long at most."""
        self._waiter = self._loop.create_future()
        timer = None if seconds is None else self._loop.call_later(seconds, self.wake)
        try:
            await self._waiter
        finally:
            self._waiter = None
            if timer is not None:
                timer.cancel()

    def _encoded(self, frames: Sequence[Frame | PingFrame]) -> list[bytes]:
        encode = self._encode
        if len(self._channel.followers) == 1:
            return [encode(frame) for frame in frames]
        text = self._hub.texts.text
        return [text(encode, frame) for frame in frames]


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
