"""
Who follows which context.

There is one `Channel` per context that is followed. The engine hands it each new state with the
changes of its commit, and each `Follower` takes from there what it lacks. The engine never waits
for a follower.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from fastpaca.context import Context
from fastpaca.errors import Unavailable
from fastpaca.stream.channel import WAKE_AT_ONCE, Channel, Source
from fastpaca.stream.follower import Follower
from fastpaca.stream.recent import Recent, Texts
from fastpaca.stream.subscription import AnyFrame, Change, Encode, Subscription

RETRY_SECONDS: Final = 1.0
"""How long a follower waits before it asks a store again that could not be read."""


class Hub:
    """
    The channels of a node. Lives on one event loop.

    Attributes:
        channels: Those of contexts that are followed, by context id.
        followers: How many followers there are.
    """

    def __init__(
        self, source: Source, ping_seconds: float = 30.0, retry_seconds: float = RETRY_SECONDS
    ) -> None:
        self._source = source
        self._ping_seconds = ping_seconds
        self._retry_seconds = retry_seconds
        self._recent = Recent()
        self._texts: Texts[AnyFrame] = Texts()
        self._ticking: asyncio.Task[None] | None = None
        self._is_stopping = False
        self.channels: dict[str, Channel] = {}
        self.followers = 0

    async def follow(
        self, context_id: str, cursor: int | None, encode: Encode, *, wants_messages: bool = True
    ) -> Follower:
        """
        Begin to follow a context after *cursor*; None means from now.

        Raises:
            ContextNotFound: There is no such context.
            Unavailable: The store cannot be read, or the node ends.
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
                self._texts,
                self._on_leave,
                self._retry_seconds,
            )
        return channel

    def _on_leave(self, channel: Channel) -> None:
        """Forget a channel with the last of its followers."""
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
        self._is_stopping = True
        for channel in list(self.channels.values()):
            channel.stop()

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
