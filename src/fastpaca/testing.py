"""
A whole node in one process, for tests: the real application over a store, without sockets.

    async with running_app() as client:
        await client.put("/v1/contexts/demo")

Nothing is mocked: requests pass the same application, service and engine as those of a served node.
The store, the clock and the token counter are arguments.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import httpx

from fastpaca import node
from fastpaca.api.limits import BodyPace
from fastpaca.clock import Clock
from fastpaca.http.messages import Application, Head, HttpResponse, ReadyRequest, joined
from fastpaca.settings import Settings
from fastpaca.store.base import Store
from fastpaca.store.memory import MemoryStore
from fastpaca.tokens import TokenCounter, counter_for

BASE_URL: Final = "http://localhost:4000"

BEGINNING_US: Final = 1_700_000_000_000_000
"""When a `ManualClock` starts: 14 November 2023, 22:13:20 UTC."""


class ManualClock:
    """
    A clock that stands still until it is moved.

    Attributes:
        now_us: Microseconds since 1970, UTC.
    """

    def __init__(self, now_us: int = BEGINNING_US) -> None:
        self.now_us = now_us

    def __call__(self) -> int:
        return self.now_us

    def advance(self, seconds: float) -> None:
        """Move the clock forward, or back."""
        self.now_us += int(seconds * 1_000_000)

    def monotonic(self) -> float:
        """Return the same time in seconds, as monotonic clocks do."""
        return self.now_us / 1_000_000


class SocketlessNode(node.Node):
    """A node, assembled but not started."""

    def client(self, **options: Any) -> httpx.AsyncClient:
        """Return a client whose requests go to this node; *options* are those of httpx."""
        transport = AppTransport(self.app)
        return httpx.AsyncClient(**{"transport": transport, "base_url": BASE_URL, **options})


class AppTransport(httpx.AsyncBaseTransport):
    """Passes requests of httpx to an application."""

    def __init__(self, app: Application) -> None:
        self._app = app

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Return the response to *request*; the body of one without an end is read as it comes."""
        path, _, query = request.url.raw_path.partition(b"?")
        headers, repeated = joined(request.headers.raw)
        head = Head(request.method, path, query, headers, repeated, has_body=True)
        incoming = ReadyRequest(head, await request.aread())
        response = await self._app.respond(incoming)
        body = _Body(incoming, response)
        size = len(response.body) if isinstance(response.body, bytes) else response.body.size
        shown = list(response.headers)
        if size is not None and response.status not in {204, 304}:
            shown.append((b"content-length", b"%d" % size))
        if request.method == "HEAD":
            await body.aclose()
        return httpx.Response(response.status, headers=shown, stream=body)


class _Body(httpx.AsyncByteStream):
    """The body of a response."""

    def __init__(self, request: ReadyRequest, response: HttpResponse) -> None:
        self._request = request
        self._response = response
        self._is_open = True
        if not isinstance(response.body, bytes) and response.body.size is None:
            request.on_disconnect(response.body.close)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Iterate over the pieces."""
        body = self._response.body
        if not self._is_open:
            return
        if isinstance(body, bytes):
            yield body
            return
        async for chunk in body.chunks():
            yield chunk

    async def aclose(self) -> None:
        """Stop reading."""
        if self._is_open:
            self._is_open = False
            self._request.leave()
            if not isinstance(self._response.body, bytes):
                self._response.body.close()
            if self._response.after is not None:
                self._response.after()


def composed(
    store: Store | None = None,
    *,
    clock: Clock | None = None,
    counter: TokenCounter | None = None,
    pace: BodyPace | None = None,
    monotonic: Callable[[], float] | None = None,
    queue_ops_max: int = 4096,
    **settings: Any,
) -> SocketlessNode:
    """
    Assemble a node.

    Args:
        store: The store; in memory by default.
        clock: The time of day; by default it stands still.
        counter: Counts tokens; by default, four characters are one token.
        pace: How slowly a body may arrive.
        monotonic: The clock of the rate limit, in seconds; by default it stands still.
        queue_ops_max: How many writes may wait.
        settings: The settings, by name; see `fastpaca.settings.Settings`.
    """
    time = ManualClock()
    numbers = itertools.count(1)
    kept = store or MemoryStore()
    return SocketlessNode(
        Settings(**settings),
        lambda _: kept,
        counter or counter_for("chars"),
        clock=clock or time,
        commit_ids=lambda: next(numbers).to_bytes(16, "big"),
        queue_ops_max=queue_ops_max,
        pace=pace,
        monotonic=monotonic or time.monotonic,
    )


@asynccontextmanager
async def running(parts: SocketlessNode) -> AsyncIterator[httpx.AsyncClient]:
    """Start the node *parts*, yield a client for it, and stop it."""
    await parts.engine.start()
    try:
        async with parts.client() as client:
            yield client
    finally:
        await parts.engine.stop()


@asynccontextmanager
async def running_app(
    store: Store | None = None, *, clock: Clock | None = None, **options: Any
) -> AsyncIterator[httpx.AsyncClient]:
    """Run a node, and yield a client for it; *options* are those of `composed`."""
    async with running(composed(store, clock=clock, **options)) as client:
        yield client
