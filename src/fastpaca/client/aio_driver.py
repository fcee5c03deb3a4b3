"""Carry out flows on an asyncio event loop, and the stream that is read there."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any, Self, TypeVar, assert_never, cast

from fastpaca.client.connections import LoopOwner, this_owner
from fastpaca.client.errors import ForeignStream
from fastpaca.client.flow import (
    Close,
    Effect,
    Flow,
    Invoke,
    Now,
    Open,
    Outcome,
    RandomInt,
    Read,
    Send,
    Wait,
    Yield,
)
from fastpaca.client.http_requests import now_or_random
from fastpaca.client.links import AsyncLink, AsyncPieces
from fastpaca.client.values import Frame

T = TypeVar("T")


class AsyncDriver:
    """Carries out flows on the running event loop."""

    def __init__(self, link: AsyncLink) -> None:
        self._link = link

    async def run(self, flow: Flow[T]) -> T:
        """Carry out *flow* and return its result."""
        await self._link.ready()  # made before the call's time starts, see `Driver`
        reply = None
        while True:
            try:
                effect = flow.send(reply)
            except StopIteration as done:
                return cast(T, done.value)
            reply = await self.perform(effect)

    async def iterate(self, flow: Flow[None]) -> AsyncGenerator[Any, None]:
        """Carry out *flow* and iterate over the values that it yields to the caller."""
        await self._link.ready()  # made before the call's time starts, see `Driver`
        reply = None
        while True:
            try:
                effect = flow.send(reply)
            except StopIteration:
                return
            reply = None
            if isinstance(effect, Yield):
                yield effect.value
            else:
                reply = await self.perform(effect)

    async def perform(self, effect: Effect) -> object:
        """Carry out *effect* and return the reply to it."""
        match effect:
            case Send():
                return await self._link.send(effect)
            case Wait():
                await asyncio.sleep(effect.seconds)
                return None
            case Invoke():
                result = effect.function(effect.argument)
                return await result if inspect.isawaitable(result) else result
            case Now() | RandomInt():
                return now_or_random(effect)
            case Open() | Read() | Close() | Yield():
                raise TypeError(f"Only a stream can carry out {effect!r}.")
            case _:
                assert_never(effect)


class AsyncStream(AsyncDriver, AsyncIterator[Frame]):
    """
    The frames of a context, over as many connections as it takes; see `AsyncContext.stream`.

    One task at a time may read. To end the stream, cancel that task, or leave its loop and call
    `aclose`. A stream belongs to the process and the event loop that first read it.
    """

    def __init__(self, link: AsyncLink, flow: Flow[None]) -> None:
        super().__init__(link)
        self._owner: LoopOwner | None = None
        self._flow = flow
        self._frames = self.iterate(flow)
        self._pieces: AsyncPieces | None = None

    async def __anext__(self) -> Frame:
        """
        Wait for the next frame.

        Raises:
            ForeignStream: The stream was first read in another process, or on another event loop.
            ClientClosed: The client was closed.
        """
        if self._is_foreign():
            raise ForeignStream(
                "This stream belongs to another process or event loop, which began to read it; open"
                " one here, with the cursor of the last frame that you processed."
            )
        self._owner = this_owner()
        try:
            return cast(Frame, await anext(self._frames))
        except BaseException:
            await self.aclose()
            raise

    async def __aenter__(self) -> Self:
        """Return the stream; the end of the block closes it."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the stream."""
        await self.aclose()

    async def aclose(self) -> None:
        """Stop following."""
        if self._is_foreign():
            return  # its connection belongs to the other process or event loop
        await self._drop()
        await self._frames.aclose()
        self._flow.close()

    def _is_foreign(self) -> bool:
        return self._owner is not None and self._owner != this_owner()

    async def _drop(self) -> None:
        pieces, self._pieces = self._pieces, None
        if pieces is not None:
            await pieces.aclose()

    async def perform(self, effect: Effect) -> object:
        """Carry out *effect* and return the reply to it."""
        match effect:
            case Open():
                return await self._open(effect)
            case Read():
                assert self._pieces is not None
                return await self._pieces.read()
            case Close():
                await self._drop()
                return None
            case _:
                return await super().perform(effect)

    async def _open(self, effect: Open) -> Outcome:
        outcome, self._pieces = await self._link.open(effect)
        return outcome
