"""
A follower of a context, which reads at its own pace.

A follower takes the changes after its cursor from its channel, or from the store if the channel no
longer has them. A slow follower therefore costs its channel nothing: it falls back, reads pages of
its own, and catches up or is disconnected by the code that sends to it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from fastpaca.errors import Unavailable
from fastpaca.stream.channel import Channel
from fastpaca.stream.subscription import AnyFrame, Encode, Frame, PingFrame, Subscription


class Stopping(Exception):
    """The node is shutting down; the follower can continue at another one, from its cursor."""


class Follower:
    """
    Reads the frames for one follower.

    Attributes:
        sent_at: When it last returned frames, by the clock of the event loop.
    """

    __slots__ = (
        "_channel",
        "_encode",
        "_is_closed",
        "_is_pinging",
        "_loop",
        "_subscription",
        "_waiter",
        "sent_at",
    )

    def __init__(self, channel: Channel, subscription: Subscription, encode: Encode) -> None:
        self._channel = channel
        self._subscription = subscription
        self._encode = encode
        self._loop = asyncio.get_running_loop()
        self._waiter: asyncio.Future[None] | None = None
        self.sent_at = self._loop.time()
        self._is_pinging = False
        self._is_closed = False

    @property
    def cursor(self) -> int:
        """The version to resume after."""
        return self._subscription.cursor

    @property
    def has_ended(self) -> bool:
        """Whether there will be no more frames."""
        return self._is_closed or self._subscription.has_ended

    @property
    def is_erased(self) -> bool:
        """Whether the content was erased; frames that have not been sent must not be sent."""
        state = self._channel.state
        return state is not None and state.is_gone

    @property
    def is_at_the_end(self) -> bool:
        """Whether the context was deleted and the cursor is at its last version."""
        state = self._channel.state
        if state is None or not (state.is_tombstoned or state.is_gone):
            return False
        self._listen()
        return self._subscription.cursor == state.version

    def wake(self) -> None:
        """Check for new frames."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def ping(self) -> None:
        """Send a ping, unless there are other frames to send."""
        self._is_pinging = True
        self.wake()

    def close(self) -> None:
        """Stop following."""
        if not self._is_closed:
            self._is_closed = True
            self._channel.leave(self)
            self.wake()

    async def next(self) -> list[bytes]:
        """
        Wait for the next frames and return them encoded; none once it `has_ended`.

        Raises:
            Stopping: The node is shutting down.
        """
        while not self._is_closed:
            frames = await self._frames()
            if frames:
                self.sent_at = self._loop.time()
                self._is_pinging = False
                return self._encoded(frames)
            if self._subscription.has_ended:
                break
        return []

    async def _frames(self) -> Sequence[AnyFrame]:
        """Return the next frames; an empty sequence means: call again."""
        if self._channel.is_stopping:
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
            await self._wait(self._channel.retry_seconds)
            return []
        self._listen()  # so that content erased during the read is not sent
        return self._subscription.deliver(page)

    async def _wait(self, seconds: float | None = None) -> None:
        """Wait for `wake`, for *seconds* at most."""
        self._waiter = self._loop.create_future()
        timer = None if seconds is None else self._loop.call_later(seconds, self.wake)
        try:
            await self._waiter
        finally:
            self._waiter = None
            if timer is not None:
                timer.cancel()

    def _encoded(self, frames: Sequence[AnyFrame]) -> list[bytes]:
        encode = self._encode
        if len(self._channel.followers) == 1:
            return [encode(frame) for frame in frames]
        encoded = self._channel.encoded.encoded
        return [encoded(encode, frame) for frame in frames]
