"""
The followers of a node.

Each context with followers has a `Channel`. The engine passes it each new state with the changes of
its commit, and each `Follower` takes what it needs from there. The engine never waits for a
follower.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from fastpaca.context import ContextState
from fastpaca.errors import Unavailable
from fastpaca.stream.channel import WOKEN_FOLLOWERS, Channel, Source
from fastpaca.stream.follower import Follower
from fastpaca.stream.recent import FrameCache, RecentChanges
from fastpaca.stream.subscription import AnyFrame, Encode, Subscription, VersionChange

RETRY_SECONDS: Final = 1.0
"""How long a follower waits before it reads from a failed store again."""


class Hub:
    """
    The channels of a node, on one event loop.

    Attributes:
        channels: The channels of contexts with followers, by context id.
        followers: The number of followers.
    """

    def __init__(
        self, source: Source, ping_seconds: float = 30.0, retry_seconds: float = RETRY_SECONDS
    ) -> None:
        self._source = source
        self._ping_seconds = ping_seconds
        self._retry_seconds = retry_seconds
        self._recent = RecentChanges()
        self._encoded: FrameCache[AnyFrame] = FrameCache()
        self._ticking: asyncio.Task[None] | None = None
        self._is_stopping = False
        self.channels: dict[str, Channel] = {}
        self.followers = 0

    async def follow(
        self, context_id: str, cursor: int | None, encode: Encode, *, wants_messages: bool = True
    ) -> Follower:
        """
        Follow a context after *cursor*; None starts at the current version.

        Raises:
            ContextNotFound: There is no such context.
            Unavailable: The store can't be read, or the node is shutting down.
        """
        if self._is_stopping:
            raise Unavailable("The server is stopping; try again.")
        channel = self._channel(context_id)
        subscription = Subscription(cursor, wants_messages=wants_messages)
        follower = Follower(channel, subscription, encode)
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

    def _channel(self, context_id: str) -> Channel:
        channel = self.channels.get(context_id)
        if channel is None:
            channel = self.channels[context_id] = Channel(
                context_id,
                self._source,
                self._recent,
                self._encoded,
                self._on_leave,
                self._retry_seconds,
            )
        return channel

    def _on_leave(self, channel: Channel) -> None:
        """Remove a channel together with its last follower."""
        self.followers -= 1
        if not channel.followers:
            del self.channels[channel.context_id]
            channel.end()
        if not self.followers and self._ticking is not None:
            self._ticking.cancel()
            self._ticking = None

    def publish(self, context: ContextState, changes: Sequence[VersionChange]) -> None:
        """Notify the followers of *context* of a commit."""
        channel = self.channels.get(context.id)
        if channel is not None:
            channel.publish(context, changes)

    def ring(self, context_id: str) -> None:
        """Make the followers of a context check for new versions."""
        channel = self.channels.get(context_id)
        if channel is not None:
            channel.refresh()

    def ring_if_stale(self, context_id: str, revision: int) -> None:
        """The same, if the state that they know has an earlier revision than *revision*."""
        channel = self.channels.get(context_id)
        if channel is not None and channel.state is not None and channel.state.revision < revision:
            channel.refresh()

    def stop(self) -> None:
        """Tell all followers that the node is shutting down, and accept no more."""
        self._is_stopping = True
        for channel in list(self.channels.values()):
            channel.stop()

    async def _tick(self) -> None:
        """Ping followers that have had no frames for a while."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self._ping_seconds / 30)
            before = loop.time() - self._ping_seconds
            channels = self.channels.values()
            silent = [f for c in channels for f in c.followers if f.sent_at <= before]
            for start in range(0, len(silent), WOKEN_FOLLOWERS):
                for follower in silent[start : start + WOKEN_FOLLOWERS]:
                    follower.ping()
                await asyncio.sleep(0)
