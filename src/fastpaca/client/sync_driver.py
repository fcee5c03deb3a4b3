"""How flows are carried out by code that waits, and the stream that is read so."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Generator, Iterator
from typing import Any, Self, TypeVar, assert_never, cast

import httpx

from fastpaca.client.connections import Connections
from fastpaca.client.errors import ClientClosed, ForeignStream
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
from fastpaca.client.processes import this_process
from fastpaca.client.protocol import Answer
from fastpaca.client.transfer import INTERRUPT, Transfer, body_of, failure_of, now_or_drawn
from fastpaca.client.values import Frame

T = TypeVar("T")


class Driver:
    """Carries out flows, each step in the thread that asks for it."""

    def __init__(self, connections: Connections, transfer: Transfer) -> None:
        self._connections = connections
        self._transfer = transfer

    def run(self, flow: Flow[T]) -> T:
        """Carry out *flow* and give what it comes to."""
        self._connections.here()  # made before the time of the call begins: certificates are read
        reply = None
        while True:
            try:
                effect = flow.send(reply)
            except StopIteration as done:
                return cast(T, done.value)
            reply = self.perform(effect)

    def iterate(self, flow: Flow[None]) -> Generator[Any, None, None]:
        """Carry out *flow* as far as the values that it gives are asked for."""
        self._connections.here()  # made before the time of the call begins: certificates are read
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
                reply = self.perform(effect)

    def perform(self, effect: Effect) -> object:
        """Do what *effect* says, and give what came of it."""
        match effect:
            case Send():
                return self._send(effect)
            case Wait():
                time.sleep(effect.seconds)
                return None
            case Ask():
                return effect.function(effect.argument)
            case Now() | Draw():
                return now_or_drawn(effect)
            case Open() | Read() | Close() | Give():
                raise TypeError(f"{effect!r} is for a stream.")
            case _:
                assert_never(effect)

    def _send(self, effect: Send) -> Answer | Failure:
        client = self._connections.here()
        try:
            response = self._connections.send(client, self._transfer.request(effect))
            return self.read(response, effect)
        except (httpx.RequestError, httpx.StreamError) as error:
            return failure_of(error)

    def read(self, response: httpx.Response, effect: Send | Open) -> Answer:
        """Read a whole answer."""
        body = body_of(effect, self._transfer.timeouts)
        try:
            for piece in response.iter_bytes():
                body.add(piece)
        finally:
            response.close()
        return body.answer(response)


class _Closed(Exception):
    """The stream was closed while it was read."""


class Stream(Driver, Iterator[Frame]):
    """
    The frames of a context, over as many connections as it takes; see `Context.stream`.

    One thread reads. Any thread may `close` it, which ends the reading of another. A process that
    was forked meanwhile can neither read nor close it.
    """

    def __init__(self, connections: Connections, transfer: Transfer, flow: Flow[None]) -> None:
        super().__init__(connections, transfer)
        self._process = this_process()
        self._client: httpx.Client | None = None
        self._flow = flow
        self._frames = self.iterate(flow)
        self._response: httpx.Response | None = None
        self._pieces: Iterator[bytes] = iter(())
        self._closing = threading.Event()
        self._reading = threading.RLock()

    def __next__(self) -> Frame:
        """
        Wait for the next frame.

        Raises:
            ForeignStream: This process was forked from the one of the stream.
            ClientClosed: The client was closed.
        """
        if self._is_foreign():
            raise ForeignStream(
                "This stream belongs to the process that this one was forked from; make one here,"
                " with the cursor of the last frame that you processed."
            )
        with self._reading:
            try:
                return cast(Frame, next(self._frames))
            except _Closed:
                self._let_go()
                if self._connections.is_closed:
                    raise ClientClosed from None
                raise StopIteration from None
            except BaseException:
                self._let_go()
                raise

    def __enter__(self) -> Self:
        """Close the stream at the end of the block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """Follow no more; whoever waits for a frame learns that there are none."""
        if self._is_foreign():
            return
        self.interrupt()
        with self._reading:
            self._let_go()

    def interrupt(self) -> None:
        """End the reading, if a thread reads, and do not wait for its end."""
        if self._is_foreign():
            return
        self._closing.set()
        response = self._response
        if response is not None:
            _interrupt(response)

    def _is_foreign(self) -> bool:
        """Tell whether this is a fork of the process of the stream; it may hold any lock."""
        return this_process() != self._process

    def _let_go(self) -> None:
        self._closing.set()
        self._drop()
        self._frames.close()
        self._flow.close()
        client, self._client = self._client, None
        if client is not None:
            self._connections.release(client)

    def _drop(self) -> None:
        response, self._response = self._response, None
        if response is not None:
            response.close()

    def perform(self, effect: Effect) -> object:
        """Do what *effect* says, unless the stream was closed."""
        reply: object = None
        match effect:
            case Open():
                reply = self._open(effect)
            case Read():
                reply = self._read()
            case Close():
                self._drop()
            case Wait():
                self._closing.wait(effect.seconds)
            case _:
                reply = super().perform(effect)
        if self._closing.is_set():
            raise _Closed
        return reply

    def _open(self, effect: Open) -> Answer | Failure:
        if self._client is None:
            self._client = self._connections.for_stream(self)
        try:
            response = self._connections.send(self._client, self._transfer.request(effect))
            if response.status_code != httpx.codes.OK:
                return self.read(response, effect)
        except (httpx.RequestError, httpx.StreamError) as error:
            return failure_of(error)
        self._response, self._pieces = response, response.iter_bytes()
        return Answer(response.status_code, response.headers)

    def _read(self) -> bytes | Failure:
        try:
            return next(self._pieces, b"")
        except (httpx.RequestError, httpx.StreamError) as error:
            return failure_of(error)


def _interrupt(response: httpx.Response) -> None:
    """Let the thread that reads *response* come to its end."""
    interrupt = response.extensions.get(INTERRUPT)
    if interrupt is not None:
        interrupt()
        return
    connection = response.extensions["network_stream"].get_extra_info("socket")
    with contextlib.suppress(OSError):  # it has ended by itself
        connection.shutdown(socket.SHUT_RDWR)
