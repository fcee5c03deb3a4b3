"""Carry out flows synchronously, and the stream that is read that way."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Iterator
from typing import Any, Self, TypeVar, assert_never, cast

from fastpaca.client.errors import ClientClosed, ForeignStream
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
from fastpaca.client.links import Link, Pieces, StreamLink
from fastpaca.client.processes import this_process
from fastpaca.client.values import Frame

T = TypeVar("T")


class Driver:
    """Carries out flows in the thread that calls it."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def run(self, flow: Flow[T]) -> T:
        """Carry out *flow* and return its result."""
        self._link.ready()  # before the call's time starts
        reply = None
        while True:
            try:
                effect = flow.send(reply)
            except StopIteration as done:
                return cast(T, done.value)
            reply = self.perform(effect)

    def iterate(self, flow: Flow[None]) -> Generator[Any, None, None]:
        """Carry out *flow* and iterate over the values that it yields to the caller."""
        self._link.ready()  # before the call's time starts
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
                reply = self.perform(effect)

    def perform(self, effect: Effect) -> object:
        """Carry out *effect* and return the reply to it."""
        match effect:
            case Send():
                return self._link.send(effect)
            case Wait():
                time.sleep(effect.seconds)
                return None
            case Invoke():
                return effect.function(effect.argument)
            case Now() | RandomInt():
                return now_or_random(effect)
            case Open() | Read() | Close() | Yield():
                raise TypeError(f"Only a stream can carry out {effect!r}.")
            case _:
                assert_never(effect)


class _Closed(Exception):
    """The stream was closed during a read."""


class Stream(Driver, Iterator[Frame]):
    """
    The frames of a context, over as many connections as it takes; see `Context.stream`.

    One thread at a time may read. Any thread may call `close`, which also ends a read in another
    thread. A process that is forked later can neither read nor close the stream.
    """

    def __init__(self, link: Link, flow: Flow[None]) -> None:
        super().__init__(link)
        self._process = this_process()
        self._stream_link: StreamLink | None = None
        self._flow = flow
        self._frames = self.iterate(flow)
        self._pieces: Pieces | None = None
        self._closing = threading.Event()
        self._reading = threading.RLock()

    def __next__(self) -> Frame:
        """
        Wait for the next frame.

        Raises:
            ForeignStream: This process was forked from the one that made the stream.
            ClientClosed: The client was closed.
        """
        if self._is_foreign():
            raise ForeignStream(
                "This stream belongs to the process that this one was forked from; open one here,"
                " with the cursor of the last frame that you processed."
            )
        with self._reading:
            try:
                return cast(Frame, next(self._frames))
            except _Closed:
                self._release()
                if self._link.is_closed:
                    raise ClientClosed from None
                raise StopIteration from None
            except BaseException:
                self._release()
                raise

    def __enter__(self) -> Self:
        """Return the stream; the end of the block closes it."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the stream."""
        self.close()

    def close(self) -> None:
        """Stop following; a thread that waits for a frame gets the end of the iteration."""
        if self._is_foreign():
            return
        self.interrupt()
        with self._reading:
            self._release()

    def interrupt(self) -> None:
        """End a read in another thread, without waiting for it to return."""
        if self._is_foreign():
            return
        self._closing.set()
        pieces = self._pieces
        if pieces is not None:
            pieces.interrupt()

    def _is_foreign(self) -> bool:
        """Return whether this is a fork of the process with the stream, which may hold any lock."""
        return this_process() != self._process

    def _release(self) -> None:
        self._closing.set()
        self._drop()
        self._frames.close()
        self._flow.close()
        link, self._stream_link = self._stream_link, None
        if link is not None:
            link.close()

    def _drop(self) -> None:
        pieces, self._pieces = self._pieces, None
        if pieces is not None:
            pieces.close()

    def perform(self, effect: Effect) -> object:
        """Carry out *effect*, unless the stream was closed."""
        reply: object = None
        match effect:
            case Open():
                reply = self._open(effect)
            case Read():
                assert self._pieces is not None
                reply = self._pieces.read()
            case Close():
                self._drop()
            case Wait():
                self._closing.wait(effect.seconds)
            case _:
                reply = super().perform(effect)
        if self._closing.is_set():
            raise _Closed
        return reply

    def _open(self, effect: Open) -> Outcome:
        if self._stream_link is None:
            self._stream_link = self._link.for_stream(self)
        outcome, self._pieces = self._stream_link.open(effect)
        return outcome
