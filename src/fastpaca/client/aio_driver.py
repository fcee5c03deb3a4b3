"""How flows are carried out on an event loop of asyncio, and the stream that is read so."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any, Self, TypeVar, assert_never, cast

import httpx

from fastpaca.client.connections import AsyncConnections, Place, this_place
from fastpaca.client.errors import ForeignStream
from fastpaca.client.flow import (
    Ask,
    Close,
    Draw,
    Effect,
    Failure,
    Flow,
    Give,
    Now,
    Open,
    Read,
    Send,
    Wait,
)
from fastpaca.client.protocol import Answer
from fastpaca.client.transfer import Transfer, body_of, failure_of, now_or_drawn
from fastpaca.client.values import Frame

T = TypeVar("T")


class AsyncDriver:
    """Carries out flows on the event loop that asks for it."""

    def __init__(self, connections: AsyncConnections, transfer: Transfer) -> None:
        self._connections = connections
        self._transfer = transfer

    async def run(self, flow: Flow[T]) -> T:
        """Carry out *flow* and give what it comes to."""
        await self._connections.here()  # made before the time of the call begins, see `Driver`
        reply = None
        while True:
            try:
                effect = flow.send(reply)
            except StopIteration as done:
                return cast(T, done.value)
            reply = await self.perform(effect)

    async def iterate(self, flow: Flow[None]) -> AsyncGenerator[Any, None]:
        """Carry out *flow* as far as the values that it gives are asked for."""
        await self._connections.here()  # made before the time of the call begins, see `Driver`
        reply = None
        while True:
            try:
                effect = flow.send(reply)
            except StopIteration:
                return
            reply = None
            if isinstance(effect, Give):
                yield effect.value
            else:
                reply = await self.perform(effect)

    async def perform(self, effect: Effect) -> object:
        """Do what *effect* says, and give what came of it."""
        match effect:
            case Send():
                return await self._send(effect)
            case Wait():
                await asyncio.sleep(effect.seconds)
                return None
            case Ask():
                given = effect.function(effect.argument)
                return await given if inspect.isawaitable(given) else given
            case Now() | Draw():
                return now_or_drawn(effect)
            case Open() | Read() | Close() | Give():
                raise TypeError(f"{effect!r} is for a stream.")
            case _:
                assert_never(effect)

    async def _send(self, effect: Send) -> Answer | Failure:
        try:
            return await self.read(await self.sent(effect), effect)
        except (httpx.RequestError, httpx.StreamError) as error:
            return failure_of(error)

    async def sent(self, effect: Send | Open) -> httpx.Response:
        """Send a request and wait for the head of its answer."""
        response = await self._connections.send(self._transfer.request(effect))
        assert isinstance(response.stream, httpx.AsyncByteStream)
        response.stream = Pieces(response.stream)
        return response

    async def read(self, response: httpx.Response, effect: Send | Open) -> Answer:
        """Read a whole answer."""
        body = body_of(effect, self._transfer.timeouts)
        try:
            async for piece in response.aiter_bytes():
                body.add(piece)
        finally:
            await response.aclose()
        return body.answer(response)


class Pieces(httpx.AsyncByteStream):
    """
    The body of an answer, which is closed to the end once it is to be closed.

    A task that is cancelled while httpx gives a connection back would leave it in use for ever.
    """

    def __init__(self, pieces: httpx.AsyncByteStream) -> None:
        self._pieces = pieces

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Give the pieces."""
        return aiter(self._pieces)

    async def aclose(self) -> None:
        """Read no more."""
        await asyncio.shield(asyncio.ensure_future(self._pieces.aclose()))


class AsyncStream(AsyncDriver, AsyncIterator[Frame]):
    """
    The frames of a context, over as many connections as it takes; see `AsyncContext.stream`.

    One task reads. To end it, cancel that task, or leave the loop and close the stream. It belongs
    to the process and the event loop that it is first read on.
    """

    def __init__(self, connections: AsyncConnections, transfer: Transfer, flow: Flow[None]) -> None:
        super().__init__(connections, transfer)
        self._place: Place | None = None
        self._flow = flow
        self._frames = self.iterate(flow)
        self._response: httpx.Response | None = None
        self._pieces: AsyncIterator[bytes] | None = None

    async def __anext__(self) -> Frame:
        """
        Wait for the next frame.

        Raises:
            ForeignStream: The stream was first read in another process, or on another event loop.
            ClientClosed: The client was closed.
        """
        if self._is_foreign():
            raise ForeignStream(
                "This stream belongs to another process or event loop, which began to read it; make"
                " one here, with the cursor of the last frame that you processed."
            )
        self._place = this_place()
        try:
            return cast(Frame, await anext(self._frames))
        except BaseException:
            await self.aclose()
            raise

    async def __aenter__(self) -> Self:
        """Close the stream at the end of the block."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close."""
        await self.aclose()

    async def aclose(self) -> None:
        """Follow no more."""
        if self._is_foreign():
            return  # what it reads from is not to be touched here
        await self._drop()
        await self._frames.aclose()
        self._flow.close()

    def _is_foreign(self) -> bool:
        return self._place is not None and self._place != this_place()

    async def _drop(self) -> None:
        response, self._response, self._pieces = self._response, None, None
        if response is not None:
            await response.aclose()

    async def perform(self, effect: Effect) -> object:
        """Do what *effect* says."""
        match effect:
            case Open():
                return await self._open(effect)
            case Read():
                return await self._read()
            case Close():
                await self._drop()
                return None
            case _:
                return await super().perform(effect)

    async def _open(self, effect: Open) -> Answer | Failure:
        try:
            response = await self.sent(effect)
            if response.status_code != httpx.codes.OK:
                return await self.read(response, effect)
        except (httpx.RequestError, httpx.StreamError) as error:
            return failure_of(error)
        self._response, self._pieces = response, response.aiter_bytes()
        return Answer(response.status_code, response.headers)

    async def _read(self) -> bytes | Failure:
        assert self._pieces is not None
        try:
            return await anext(self._pieces, b"")
        except (httpx.RequestError, httpx.StreamError) as error:
            return failure_of(error)
