"""
Followers of contexts over WebSockets, and writers to those contexts: `python -m bench.following`.

It speaks just enough of both protocols to be fast: it counts frames by their heads. Reads a plan as
JSON from stdin, writes figures to stdout.
"""

from __future__ import annotations

import asyncio
import base64
import functools
import os
import resource
import sys
import time
from collections import deque
from itertools import count
from typing import cast

import msgspec
import uvloop

from bench.measure import BODY


class Following(msgspec.Struct):
    """
    Whom to follow and what to write.

    Attributes:
        port: The server's port on 127.0.0.1.
        writers_port: That of another node, if it is there that the writers append.
        followers: How many WebSockets; they are spread over the contexts.
        contexts: How many contexts there are, named `c0`, `c1` …
        writers: How many connections append, each as soon as its last append is answered.
        seconds: How long to measure, after a fifth of that to warm up.
        pause_ms: How long a writer waits before its next append.
        core: The processor core to stay on; None for any.
    """

    port: int
    followers: int
    contexts: int = 1
    writers: int = 0
    seconds: float = 3.0
    pause_ms: float = 0
    core: int | None = None
    writers_port: int | None = None


class Followed(msgspec.Struct):
    """
    What came of it.

    Attributes:
        frames: Frames per second, over all followers.
        frame_bytes: Their mean size.
        appends: Appends per second.
        append_ms: Median and 99th percentile from an append to its answer.
        delivery_ms: The same from an answer to the message at one of its followers.
    """

    frames: float
    frame_bytes: float
    appends: float
    append_ms: tuple[float, float]
    delivery_ms: tuple[float, float]


class Follower(asyncio.Protocol):
    """One WebSocket, which counts what it is sent."""

    def __init__(self, run: Run, context: int) -> None:
        self._run = run
        self._context = context
        self._buffer = b""
        self._missing = 0
        self._is_open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        key = base64.b64encode(os.urandom(16)).decode()
        cast(asyncio.WriteTransport, transport).write(
            f"GET /v1/contexts/c{self._context}/stream HTTP/1.1\r\nHost: localhost\r\n"
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Key: {key}\r\n\r\n".encode()
        )

    def data_received(self, data: bytes) -> None:
        run = self._run
        buffer = self._buffer + data if self._buffer else data
        at = 0
        if not self._is_open:
            end = buffer.find(b"\r\n\r\n")
            if end < 0:
                self._buffer = buffer
                return
            if not buffer.startswith(b"HTTP/1.1 101"):
                run.fail(buffer)
            self._is_open = True
            run.opened()
            at = end + 4
        while len(buffer) - at >= 4:
            size, head = buffer[at + 1], 2
            if size == 126:
                size, head = int.from_bytes(buffer[at + 2 : at + 4], "big"), 4
            if len(buffer) - at < head + size:
                break
            run.frames += 1
            run.frame_bytes += size
            if buffer.startswith(b'{"type":"message"', at + head):
                run.delivered(self._context, buffer[at + head : at + head + 50])
            at += head + size
        self._buffer = buffer[at:]

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._run.is_over:
            self._run.fail(b"connection lost " + repr(exc).encode())


class Run:
    """What all connections of one measurement share."""

    def __init__(self, plan: Following) -> None:
        self.plan = plan
        self.is_over = False
        self.frames = self.frame_bytes = self.appends = 0
        self._numbers = count()
        self._opened = 0
        self._all_open = asyncio.Event()
        self._answers: dict[tuple[int, int], float] = {}
        self._early: dict[tuple[int, int], float] = {}
        self._append_ms: deque[float] = deque()
        self._delivery_ms: deque[float] = deque()

    def fail(self, said: bytes) -> None:
        sys.stderr.write(said[:400].decode(errors="replace"))
        os._exit(1)

    def opened(self) -> None:
        self._opened += 1
        if self._opened == self.plan.followers:
            self._all_open.set()

    def delivered(self, context: int, text: bytes) -> None:
        """Note when a message came, if it is the first or only follower that it comes to."""
        version = int(text[text.index(b'"version":') + 10 :].split(b",", 1)[0])
        key = (context, version)
        answered = self._answers.pop(key, None)
        if answered is not None:
            self._delivery_ms.append(1000 * (time.perf_counter() - answered))
        elif key not in self._early and self.plan.contexts > 1:
            self._early[key] = time.perf_counter()

    async def write(self) -> None:
        """Append one message after the other."""
        plan = self.plan
        reader, writer = await asyncio.open_connection("127.0.0.1", plan.writers_port or plan.port)
        body = BODY.encode()
        while not self.is_over:
            context = next(self._numbers) * 7919 % plan.contexts
            started = time.perf_counter()
            writer.write(
                b"POST /v1/contexts/c%d/messages HTTP/1.1\r\nHost: localhost\r\n"
                b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
                % (context, len(body), body)
            )
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 201"):
                self.fail(head)
            at = head.lower().index(b"content-length:") + 15
            answer = await reader.readexactly(int(head[at : head.index(b"\r\n", at)]))
            self._answered(context, answer, started)
            if plan.pause_ms:
                await asyncio.sleep(plan.pause_ms / 1000)

    def _answered(self, context: int, answer: bytes, started: float) -> None:
        now = time.perf_counter()
        self.appends += 1
        self._append_ms.append(1000 * (now - started))
        if self.plan.contexts > 1:
            key = (context, msgspec.json.decode(answer)["version"])
            early = self._early.pop(key, None)
            if early is None:
                self._answers[key] = now
            else:
                self._delivery_ms.append(1000 * (early - now))

    async def play(self) -> Followed:
        loop = asyncio.get_running_loop()
        plan = self.plan
        for number in range(plan.followers):
            context = number % plan.contexts
            await loop.create_connection(
                functools.partial(Follower, self, context), "127.0.0.1", plan.port
            )
        if plan.followers:
            await self._all_open.wait()
        writers = [asyncio.create_task(self.write()) for _ in range(plan.writers)]
        await asyncio.sleep(plan.seconds / 5)
        self.frames = self.frame_bytes = self.appends = 0
        self._append_ms.clear()
        self._delivery_ms.clear()
        started = time.perf_counter()
        await asyncio.sleep(plan.seconds)
        seconds = time.perf_counter() - started
        self.is_over = True
        for writer in writers:
            writer.cancel()
        return Followed(
            frames=self.frames / seconds,
            frame_bytes=self.frame_bytes / max(self.frames, 1),
            appends=self.appends / seconds,
            append_ms=_percentiles(self._append_ms),
            delivery_ms=_percentiles(self._delivery_ms),
        )


def _percentiles(found: deque[float]) -> tuple[float, float]:
    ordered = sorted(found) or [0.0]
    return ordered[len(ordered) // 2], ordered[len(ordered) * 99 // 100]


def _allow_files(wanted: int) -> None:
    """Ask for so many open files, if the system lets us."""
    files, ceiling = resource.getrlimit(resource.RLIMIT_NOFILE)
    if resource.RLIM_INFINITY != files < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, ceiling))


def main() -> None:
    """Carry out the plan on stdin."""
    plan = msgspec.json.decode(sys.stdin.buffer.read(), type=Following)
    _allow_files(plan.followers + plan.writers + 100)
    if plan.core is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {plan.core})
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        found = runner.run(Run(plan).play())
    sys.stdout.buffer.write(msgspec.json.encode(found))
    sys.stdout.flush()
    os._exit(0)  # the connections need no farewell


if __name__ == "__main__":
    main()
