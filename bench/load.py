"""
A load generator: keep-alive connections that each send the next request when the last is answered.

It speaks just enough HTTP/1.1 to be fast, so that one core of load can fill one core of server.
Runs as a process of its own (`python -m bench.load`): reads a plan as JSON from stdin, writes
figures to stdout.
"""

from __future__ import annotations

import asyncio
import functools
import os
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import count
from typing import cast

import msgspec
import uvloop


class Plan(msgspec.Struct):
    """
    What to send, to whom, for how long.

    Attributes:
        port: The server's port on 127.0.0.1.
        requests: Requests to send in turn, as (head, body). `{n}` in a head becomes a number that
            no other request of the run has; `{c}` one of the *contexts* numbers. `{id}` in a body
            becomes an id that no other request has.
        connections: How many connections.
        seconds: How long to measure, after a fifth of that to warm up.
        contexts: How many different `{c}` there are.
        core: The processor core to stay on; None for any.
        run: Makes `{n}` differ between runs.
        nodes: Ports of more nodes over which the connections are spread.
        is_sticky: Whether all requests of one context go to the same of several nodes.
    """

    port: int
    requests: list[tuple[str, str]]
    connections: int = 64
    seconds: float = 3.0
    contexts: int = 1000
    core: int | None = None
    run: str = "0"
    nodes: list[int] = []
    is_sticky: bool = False


class Figures(msgspec.Struct):
    """Answers per second, latencies in milliseconds, bytes read, and answers that were not 2xx."""

    per_second: float
    p50_ms: float
    p99_ms: float
    answers: int
    bytes_read: int
    failures: int
    first_failure: str = ""


class Connection(asyncio.Protocol):
    """One connection; counts an answer by its head and Content-Length."""

    def __init__(self, run: Run, stream: Iterator[bytes]) -> None:
        self._run = run
        self._stream = stream
        self._buffer = b""
        self._missing = 0
        self._sent_at = 0.0
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)
        self._send()

    def _send(self) -> None:
        assert self._transport is not None
        self._sent_at = time.perf_counter()
        self._transport.write(next(self._stream))

    def data_received(self, data: bytes) -> None:
        self._run.bytes_read += len(data)
        if self._missing:
            self._missing -= len(data)
            if self._missing <= 0:
                self._answered()
            return
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self._buffer[:end].lower()
        if head[9:10] != b"2":
            self._run.failed(self._buffer)
        at = head.find(b"content-length:")
        length = int(head[at + 15 : (head + b"\r\n").index(b"\r\n", at)]) if at >= 0 else 0
        self._missing = length - (len(self._buffer) - end - 4)
        self._buffer = b""
        if self._missing <= 0:
            self._answered()

    def _answered(self) -> None:
        self._missing = 0
        if self._run.answered(time.perf_counter() - self._sent_at):
            self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._run.over.is_set():
            self._run.failed(b"connection lost " + repr(exc).encode())
            self._run.over.set()


class Run:
    """What the connections of one measurement share."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.over = asyncio.Event()
        self.latencies: list[float] = []
        self.bytes_read = 0
        self.failures = 0
        self.first_failure = ""
        self.measuring = False

    def failed(self, answer: bytes) -> None:
        self.failures += 1
        self.first_failure = self.first_failure or answer[:400].decode(errors="replace")

    def answered(self, seconds: float) -> bool:
        if self.measuring:
            self.latencies.append(seconds)
        return not self.over.is_set()

    async def play(self) -> Figures:
        loop = asyncio.get_running_loop()
        ports = [self.plan.port, *self.plan.nodes]
        streams = _streams(self.plan, len(ports))
        for number in range(self.plan.connections):
            index = number % len(ports)
            await loop.create_connection(
                functools.partial(Connection, self, streams[index]), "127.0.0.1", ports[index]
            )
        await asyncio.sleep(self.plan.seconds / 5)
        self.measuring, self.bytes_read = True, 0
        started = time.perf_counter()
        await asyncio.wait([asyncio.ensure_future(self.over.wait())], timeout=self.plan.seconds)
        elapsed = time.perf_counter() - started
        self.measuring = False
        self.over.set()
        found = sorted(self.latencies) or [0.0]
        return Figures(
            per_second=len(self.latencies) / elapsed,
            p50_ms=1000 * found[len(found) // 2],
            p99_ms=1000 * found[len(found) * 99 // 100],
            answers=len(self.latencies),
            bytes_read=self.bytes_read,
            failures=self.failures,
            first_failure=self.first_failure,
        )


def _streams(plan: Plan, nodes: int) -> list[Iterator[bytes]]:
    """Give what is sent to each node: its own contexts, or whatever comes next."""
    if plan.is_sticky:
        return [_stream(plan, range(first, plan.contexts, nodes)) for first in range(nodes)]
    return [_stream(plan, range(plan.contexts))] * nodes


def _stream(plan: Plan, contexts: Sequence[int]) -> Iterator[bytes]:
    """Give the bytes of one request after the other, without end."""
    ready = []
    for head, body in plan.requests:
        data = body.encode()
        text = f"{head}\r\nHost: 127.0.0.1\r\n"
        if data:
            size = len(data.replace(b"{id}", _message_id(plan, 0)))
            text += f"Content-Type: application/json\r\nContent-Length: {size}\r\n"
        ready.append((text + "\r\n", data))
    for number in count():
        text, data = ready[number % len(ready)]
        # A stride prime to the number of contexts visits them all in an order that is no order.
        context = contexts[number * 7919 % len(contexts)]
        head = text.replace("{n}", f"{plan.run}-{number}").replace("{c}", str(context))
        yield head.encode() + data.replace(b"{id}", _message_id(plan, number))


def _message_id(plan: Plan, number: int) -> bytes:
    """Give an id that no other request has; all have one length."""
    return f"{plan.run:>06}-{number:09}".encode()


def main() -> None:
    """Carry out the plan on stdin."""
    plan = msgspec.json.decode(sys.stdin.buffer.read(), type=Plan)
    if plan.core is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {plan.core})
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        figures = runner.run(Run(plan).play())
    sys.stdout.buffer.write(msgspec.json.encode(figures))
    sys.stdout.flush()
    os._exit(0)  # the connections need no farewell


if __name__ == "__main__":
    main()
