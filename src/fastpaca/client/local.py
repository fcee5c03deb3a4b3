"""
A node inside of the process of its client: the whole service, without sockets.

Requests of httpx go to the application as a server would hand them over, and answers come back
piece by piece, so streams are streams. The node runs on the event loop of an `AsyncFastpaca`, or,
for a `Fastpaca`, on a loop in a thread of its own.

This is the one module of the client that knows the server.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Final, Self, TypeVar

import httpx

from fastpaca.client.errors import CannotOpen
from fastpaca.client.processes import this_process
from fastpaca.client.transfer import INTERRUPT

try:
    from starlette.types import ASGIApp, Message, Scope

    from fastpaca.node import Node
    from fastpaca.settings import Settings
    from fastpaca.store.base import StoreRefused
    from fastpaca.store.sqlite.store import SqliteStore
    from fastpaca.tokens import TokenCounter, counter_for
except ImportError as missing:
    raise ImportError(
        "A local client runs a node in this process, which needs packages that are not installed"
        f" ({missing.name}); install them with: pip install 'fastpaca[server]'"
    ) from missing

T = TypeVar("T")

STREAMS_MAX: Final = 100_000
"""Who follows here is this process alone, which has other limits."""


def counter_of(token_estimator: str) -> TokenCounter:
    """
    Return what counts tokens.

    Raises:
        CannotOpen: There is no such counter.
    """
    try:
        return counter_for(token_estimator)
    except ValueError as error:
        raise CannotOpen(f"Tokens cannot be counted as asked for: {error}") from error


class LocalNode:
    """
    A node put together on a data directory, to be started on an event loop.

    Attributes:
        door: Where requests come in.
    """

    def __init__(self, path: Path, counter: TokenCounter) -> None:
        settings = Settings(data_dir=path, stream_connections_max=STREAMS_MAX)
        self._parts = Node(settings, lambda on_fatal: SqliteStore(path, on_fatal=on_fatal), counter)
        self.door = Door(self._parts.app)

    async def start(self) -> None:
        """
        Open the data.

        Raises:
            CannotOpen: It is in use or cannot be used.
        """
        try:
            await self._parts.start()
        except StoreRefused as error:
            raise CannotOpen(str(error)) from error

    async def stop(self) -> None:
        """Commit what was taken, and close the data."""
        await self.door.clear()
        await self._parts.stop()


class Exchange:
    """One request and its answer, as the application sees them."""

    def __init__(
        self,
        app: ASGIApp,
        request: httpx.Request,
        body: bytes,
        on_end: Callable[[Exchange], None],
    ) -> None:
        self.started: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._pieces: asyncio.Queue[bytes | None] = asyncio.Queue(1)
        self._body: bytes | None = body
        self._gone = asyncio.Event()
        self._read_seconds: float | None = request.extensions.get("timeout", {}).get("read")
        self._on_end = on_end
        self._task = asyncio.ensure_future(self._answer(app, _scope(request)))

    async def _answer(self, app: ASGIApp, scope: Scope) -> None:
        try:
            await app(scope, self._receive, self._send)
        except (asyncio.CancelledError, GeneratorExit):
            # The event loop ends or has ended, and nobody waits or reads any more.
            self.started.cancel()
            self._gone.set()
            raise
        finally:
            if not self.started.done():
                self.started.set_exception(httpx.ReadError("the node gave no answer"))
            await self._put(None)
            self._on_end(self)

    async def _receive(self) -> Message:
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            if not self.started.done():  # else nobody waits for it any more
                self.started.set_result(message)
        elif message.get("body"):
            await self._put(message["body"])

    async def _put(self, piece: bytes | None) -> None:
        """Hand over a *piece* when the one before was taken; nobody takes any who has gone."""
        if self._gone.is_set():
            return
        if self._pieces.empty():
            self._pieces.put_nowait(piece)
            return
        taken = asyncio.ensure_future(self._pieces.put(piece))
        gone = asyncio.ensure_future(self._gone.wait())
        try:
            await asyncio.wait((taken, gone), return_when=asyncio.FIRST_COMPLETED)
        finally:
            taken.cancel()
            gone.cancel()

    async def head(self) -> Message:
        """Wait for status and headers."""
        return await self._in_time(asyncio.shield(self.started))

    async def next(self) -> bytes | None:
        """Wait for the next piece; None at the end."""
        if self._gone.is_set():
            return None
        return await self._in_time(self._pieces.get())

    async def _in_time(self, coming: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout(self._read_seconds):
                return await coming
        except TimeoutError:
            raise httpx.ReadTimeout("the node took too long") from None

    def leave(self) -> None:
        """Read no more; who waits for a piece learns that there is none."""
        self._gone.set()
        with contextlib.suppress(asyncio.QueueFull):  # then nobody waits
            self._pieces.put_nowait(None)

    async def close(self) -> None:
        """Leave, and see the application come to its end."""
        self.leave()
        await asyncio.wait([self._task])


def _scope(request: httpx.Request) -> Scope:
    raw_path, _, query = request.url.raw_path.partition(b"?")
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": "http",
        "path": raw_path.decode("latin-1"),
        "raw_path": raw_path,
        "query_string": query,
        "root_path": "",
        "headers": [(name.lower(), value) for name, value in request.headers.raw],
        "client": ("127.0.0.1", 0),
        "server": ("127.0.0.1", 0),
    }


class Pieces(httpx.AsyncByteStream):
    """The body of an answer as it comes."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Give the pieces."""
        while (piece := await self._exchange.next()) is not None:
            yield piece

    async def aclose(self) -> None:
        """Read no more."""
        await self._exchange.close()


class Door:
    """Where requests come in to an application, and who is still inside."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._inside: set[Exchange] = set()

    async def answer(self, request: httpx.Request) -> httpx.Response:
        """Let the application answer *request*; the body is still to come."""
        exchange = Exchange(self._app, request, await request.aread(), self._inside.discard)
        self._inside.add(exchange)
        try:
            start = await exchange.head()
        except BaseException:
            exchange.leave()
            raise
        return httpx.Response(
            start["status"],
            headers=start["headers"],
            stream=Pieces(exchange),
            extensions={INTERRUPT: exchange.leave},
        )

    async def clear(self) -> None:
        """See everybody out: streams end."""
        for exchange in list(self._inside):
            await exchange.close()


class AsyncLocal(httpx.AsyncBaseTransport):
    """Takes requests to a node on the event loop that it is opened on."""

    def __init__(self, path: Path, counter: TokenCounter) -> None:
        self._node = LocalNode(path, counter)
        self._opening = asyncio.Lock()
        self._is_open = False

    async def __aenter__(self) -> Self:
        """
        Open the data, if that was not done.

        Raises:
            CannotOpen: It is in use or cannot be used.
        """
        async with self._opening:
            if not self._is_open:
                await self._node.start()
                self._is_open = True
        return self

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer a request."""
        await self.__aenter__()
        return await self._node.door.answer(request)

    async def aclose(self) -> None:
        """Close the data."""
        if self._is_open:
            await self._node.stop()


class Inline(ThreadPoolExecutor):
    """Does work at once: a process that ends takes no more work for its threads."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Do it."""
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:  # noqa: BLE001  # it is raised where the result is taken
            future.set_exception(error)
        return future


class Local(httpx.BaseTransport):
    """
    Takes requests to a node on an event loop in a thread of its own.

    What is still open when the process ends is closed then. A process that is forked from this one
    has none of its threads, so no node: it can neither use nor close it.

    Raises:
        CannotOpen: The data is in use or cannot be used.
    """

    def __init__(self, path: Path, counter: TokenCounter) -> None:
        self._node = LocalNode(path, counter)
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(self._on_stray_error)
        self._lock = threading.Lock()
        self._closing = threading.Lock()
        self._is_open = True
        self._process = this_process()
        self._pending: set[Future[Any]] = set()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="fastpaca-local", daemon=True
        )
        self._thread.start()
        try:
            self.await_(self._node.start())
        except BaseException:
            self._end()
            raise
        atexit.register(self.close)

    def await_(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """
        Run *coroutine* on the loop of the node, and wait for it.

        Raises:
            httpx.ReadError: The node was closed.
        """
        with self._lock:
            if not self._is_open:
                coroutine.close()
                raise httpx.ReadError("the node was closed")
            future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
            self._pending.add(future)
        try:
            return future.result()
        except CancelledError:
            raise httpx.ReadError("the node was closed") from None
        except BaseException:
            future.cancel()
            raise
        finally:
            self._pending.discard(future)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Answer a request."""
        response = self.await_(self._node.door.answer(request))
        assert isinstance(response.stream, Pieces)
        leave = response.extensions[INTERRUPT]
        return httpx.Response(
            response.status_code,
            headers=response.headers,
            stream=SyncPieces(self, response.stream),
            extensions={INTERRUPT: partial(self._loop.call_soon_threadsafe, leave)},
        )

    def close(self) -> None:
        """Close the data."""
        if self._is_elsewhere():
            return
        with self._closing:
            if self._is_open:
                atexit.unregister(self.close)
                self.await_(self._stop())
                self._end()

    def _is_elsewhere(self) -> bool:
        """Tell whether this is a fork of the process that has the thread; it may hold any lock."""
        return this_process() != self._process

    def _on_stray_error(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if not self._is_elsewhere():  # a child that ends leaves tasks of its parent's undone
            loop.default_exception_handler(context)

    async def _stop(self) -> None:
        # When the interpreter ends, its pools of threads have ended before.
        asyncio.get_running_loop().set_default_executor(Inline(1))
        await self._node.stop()

    def _end(self) -> None:
        with self._lock:
            self._is_open = False
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        for future in list(self._pending):  # too late for the loop
            future.cancel()
        self._loop.close()


class SyncPieces(httpx.SyncByteStream):
    """The body of an answer as it comes, for a thread that waits."""

    def __init__(self, local: Local, pieces: Pieces) -> None:
        self._local = local
        self._pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        """Give the pieces."""
        pieces = aiter(self._pieces)
        while (piece := self._local.await_(_next(pieces))) is not None:
            yield piece

    def close(self) -> None:
        """Read no more."""
        with contextlib.suppress(httpx.ReadError):  # it ended with the node
            self._local.await_(self._pieces.aclose())


async def _next(pieces: AsyncIterator[bytes]) -> bytes | None:
    return await anext(pieces, None)
