"""
A node in the process of its client: the whole service, without sockets.

httpx requests go to the application as a server would pass them on, and responses come back piece
by piece, so that streams work. The node runs on the event loop of an `AsyncFastpaca`; for a
`Fastpaca` it runs on a loop in a thread of its own.

Only this module of the client imports the server.
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
from fastpaca.client.http_requests import INTERRUPT
from fastpaca.client.processes import this_process

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
"""In effect no limit: all followers are in this process, which has limits of its own."""


def token_counter(token_estimator: str) -> TokenCounter:
    """
    Return the token counter with this name.

    Raises:
        CannotOpen: There is no such counter.
    """
    try:
        return counter_for(token_estimator)
    except ValueError as error:
        raise CannotOpen(f"Tokens cannot be counted by {token_estimator!r}: {error}") from error


class LocalNode:
    """
    A node on a data directory, to be started on an event loop.

    Attributes:
        app: Passes requests to the node.
    """

    def __init__(self, path: Path, counter: TokenCounter) -> None:
        settings = Settings(data_dir=path, stream_connections_max=STREAMS_MAX)
        self._node = Node(settings, lambda on_fatal: SqliteStore(path, on_fatal=on_fatal), counter)
        self.app = LocalApp(self._node.app)

    async def start(self) -> None:
        """
        Open the data.

        Raises:
            CannotOpen: The data is in use or can't be used.
        """
        try:
            await self._node.start()
        except StoreRefused as error:
            raise CannotOpen(str(error)) from error

    async def stop(self) -> None:
        """Finish the writes that were accepted, and close the data."""
        await self.app.close()
        await self._node.stop()


class Exchange:
    """One request and its response, as the application sees them."""

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
        self._task = asyncio.ensure_future(self._respond(app, _scope(request)))

    async def _respond(self, app: ASGIApp, scope: Scope) -> None:
        try:
            await app(scope, self._receive, self._send)
        except (asyncio.CancelledError, GeneratorExit):
            # The event loop is ending or has ended, so no task waits for the response any more.
            self.started.cancel()
            self._gone.set()
            raise
        finally:
            if not self.started.done():
                self.started.set_exception(httpx.ReadError("the node sent no response"))
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
            if not self.started.done():  # it is done if the caller has stopped waiting
                self.started.set_result(message)
        elif message.get("body"):
            await self._put(message["body"])

    async def _put(self, piece: bytes | None) -> None:
        """Hand over a *piece* once the one before was taken; drop it if the caller has left."""
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

    async def _in_time(self, awaitable: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout(self._read_seconds):
                return await awaitable
        except TimeoutError:
            raise httpx.ReadTimeout("the node took too long") from None

    def leave(self) -> None:
        """Stop reading; a task that waits for a piece gets None."""
        self._gone.set()
        with contextlib.suppress(asyncio.QueueFull):  # then no task waits
            self._pieces.put_nowait(None)

    async def close(self) -> None:
        """Stop reading, and wait until the application has finished."""
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


class LocalBody(httpx.AsyncByteStream):
    """The body of a response, piece by piece."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Iterate over the pieces."""
        while (piece := await self._exchange.next()) is not None:
            yield piece

    async def aclose(self) -> None:
        """Stop reading."""
        await self._exchange.close()


class LocalApp:
    """Passes requests to an application, and keeps track of those that are not finished."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._exchanges: set[Exchange] = set()

    async def send(self, request: httpx.Request) -> httpx.Response:
        """Return the application's response to *request*; the body is still to come."""
        exchange = Exchange(self._app, request, await request.aread(), self._exchanges.discard)
        self._exchanges.add(exchange)
        try:
            start = await exchange.head()
        except BaseException:
            exchange.leave()
            raise
        return httpx.Response(
            start["status"],
            headers=start["headers"],
            stream=LocalBody(exchange),
            extensions={INTERRUPT: exchange.leave},
        )

    async def close(self) -> None:
        """End all requests and streams."""
        for exchange in list(self._exchanges):
            await exchange.close()


class AsyncLocalTransport(httpx.AsyncBaseTransport):
    """The httpx transport to a node that runs on the same event loop."""

    def __init__(self, path: Path, counter: TokenCounter) -> None:
        self._node = LocalNode(path, counter)
        self._opening = asyncio.Lock()
        self._is_open = False

    async def __aenter__(self) -> Self:
        """
        Open the data, unless it is open.

        Raises:
            CannotOpen: The data is in use or can't be used.
        """
        async with self._opening:
            if not self._is_open:
                await self._node.start()
                self._is_open = True
        return self

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Pass a request to the node."""
        await self.__aenter__()
        return await self._node.app.send(request)

    async def aclose(self) -> None:
        """Close the data."""
        if self._is_open:
            await self._node.stop()


class InlineExecutor(ThreadPoolExecutor):
    """Runs functions in the calling thread: a process that is ending can start no more threads."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Run *fn* now."""
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:  # noqa: BLE001  # `Future.result` raises it
            future.set_exception(error)
        return future


class LocalTransport(httpx.BaseTransport):
    """
    The httpx transport to a node that runs on an event loop in a thread of its own.

    The end of the process closes a node that is still open. A forked process has no threads of its
    parent and so no node: it can neither use nor close this one.

    Raises:
        CannotOpen: The data is in use or can't be used.
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
            self.run(self._node.start())
        except BaseException:
            self._end()
            raise
        atexit.register(self.close)

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """
        Run *coroutine* on the node's loop, and return its result.

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
        """Pass a request to the node."""
        response = self.run(self._node.app.send(request))
        assert isinstance(response.stream, LocalBody)
        leave = response.extensions[INTERRUPT]
        return httpx.Response(
            response.status_code,
            headers=response.headers,
            stream=SyncLocalBody(self, response.stream),
            extensions={INTERRUPT: partial(self._loop.call_soon_threadsafe, leave)},
        )

    def close(self) -> None:
        """Close the data."""
        if self._is_foreign():
            return
        with self._closing:
            if self._is_open:
                atexit.unregister(self.close)
                self.run(self._stop())
                self._end()

    def _is_foreign(self) -> bool:
        """Return whether this is a fork of the process with the thread, which may hold any lock."""
        return this_process() != self._process

    def _on_stray_error(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if not self._is_foreign():  # a child never finishes its parent's tasks
            loop.default_exception_handler(context)

    async def _stop(self) -> None:
        # At the end of the interpreter its thread pools are already gone.
        asyncio.get_running_loop().set_default_executor(InlineExecutor(1))
        await self._node.stop()

    def _end(self) -> None:
        with self._lock:
            self._is_open = False
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        for future in list(self._pending):  # the loop no longer runs them
            future.cancel()
        self._loop.close()


class SyncLocalBody(httpx.SyncByteStream):
    """The body of a response, piece by piece, for a thread that waits."""

    def __init__(self, local: LocalTransport, pieces: LocalBody) -> None:
        self._local = local
        self._pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        """Iterate over the pieces."""
        pieces = aiter(self._pieces)
        while (piece := self._local.run(_next(pieces))) is not None:
            yield piece

    def close(self) -> None:
        """Stop reading."""
        with contextlib.suppress(httpx.ReadError):  # it ended with the node
            self._local.run(self._pieces.aclose())


async def _next(pieces: AsyncIterator[bytes]) -> bytes | None:
    return await anext(pieces, None)
