"""
A node in the process of its client: the whole service, without sockets and without HTTP.

Requests are handed to the application as values, and a stream is the iterator that the application
returns. The node of an `AsyncFastpaca` runs on its event loop; that of a `Fastpaca` runs on a loop
in a thread of its own.

Only this module of the client imports the server.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeVar
from weakref import WeakSet

from fastpaca.client.connections import AsyncConnections, Connections, Interruptible
from fastpaca.client.errors import CannotOpen, ConnectionFailed, TimedOut
from fastpaca.client.flow import NewKey, NoResponse, Open, Outcome, Send
from fastpaca.client.links import AsyncPieces, Pieces
from fastpaca.client.options import Timeouts
from fastpaca.client.processes import this_process
from fastpaca.client.requests import ClientRequest
from fastpaca.client.responses import ClientResponse

try:
    from fastpaca.api.idempotency import NEW_KEY
    from fastpaca.http.messages import Chunks, Head, HttpResponse, ReadyRequest
    from fastpaca.node import Node
    from fastpaca.settings import Settings
    from fastpaca.store.base import StoreRefused
    from fastpaca.store.sqlite.store import SqliteStore
    from fastpaca.tokens import TokenCounter, counter_for
except ImportError as missing:
    raise ImportError(
        "A local client runs a node in this process, which needs packages that are not installed"
        f" ({missing.name}); install them with: pip install 'fastpaca[local]'"
    ) from missing

T = TypeVar("T")

STREAMS_MAX: Final = 100_000
"""In effect no limit: all followers are in this process, which has limits of its own."""

_CLOSED: Final = NoResponse(ConnectionFailed("No response came: the node was closed."))


def _token_counter(token_estimator: str) -> TokenCounter:
    try:
        return counter_for(token_estimator)
    except ValueError as error:
        raise CannotOpen(f"Tokens cannot be counted by {token_estimator!r}: {error}") from error


class LocalNode:
    """A node on a data directory, on the event loop that opens it."""

    def __init__(self, path: Path, counter: TokenCounter, timeouts: Timeouts) -> None:
        settings = Settings(data_dir=path, stream_connections_max=STREAMS_MAX)
        self._node = Node(settings, lambda on_fatal: SqliteStore(path, on_fatal=on_fatal), counter)
        self._timeouts = timeouts
        self._opening = asyncio.Lock()
        self._is_open = False
        self._tasks: set[asyncio.Task[HttpResponse]] = set()
        self._streams: WeakSet[LocalPieces] = WeakSet()
        self.is_closed = False

    async def open(self) -> None:
        """
        Open the data, unless it is open.

        Raises:
            CannotOpen: The data is in use or can't be used.
        """
        async with self._opening:
            if self._is_open or self.is_closed:
                return
            try:
                await self._node.start()
            except StoreRefused as error:
                raise CannotOpen(str(error)) from error
            self._is_open = True

    async def aclose(self) -> None:
        """End all streams, finish the writes that were accepted, and close the data."""
        self.is_closed = True
        async with self._opening:  # a call may be opening the data
            for stream in list(self._streams):
                await stream.aclose()
            if self._tasks:
                await asyncio.wait(self._tasks)
            if self._is_open:
                self._is_open = False
                await self._node.stop()

    async def send(self, effect: Send) -> Outcome:
        """Send a request and return the whole response."""
        left = max(effect.deadline - time.monotonic(), 0.001)
        head = _head(effect.request)
        if effect.is_first and isinstance(effect.request.key, NewKey):
            head.headers[NEW_KEY] = b""
        seconds = min(left, self._timeouts.read_seconds)
        response = await self._responded(head, effect.request.body, seconds)
        if isinstance(response, NoResponse):
            return response
        return await _whole(response)

    async def stream(self, effect: Open) -> tuple[Outcome, LocalPieces | None]:
        """Send a request; return its response, and its body if that is to be read."""
        head = _head(effect.request)
        seconds = self._timeouts.read_seconds
        response = await self._responded(head, effect.request.body, seconds)
        if isinstance(response, NoResponse):
            return response, None
        if response.status != 200 or isinstance(response.body, bytes):
            return await _whole(response), None
        pieces = LocalPieces(response, response.body, self._streams)
        return ClientResponse(response.status, _headers(response)), pieces

    async def _responded(
        self, head: Head, body: bytes | None, seconds: float
    ) -> HttpResponse | NoResponse:
        """
        Return the application's response to a request.

        It is carried out by a task of its own: a caller that is cancelled stops waiting for it, as
        a client on a network does.
        """
        if not self._is_open:
            await self.open()
        if self.is_closed:
            return _CLOSED
        responding = self._node.app.respond(ReadyRequest(head, body or b""))
        task = asyncio.ensure_future(responding)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            done, _ = await asyncio.wait((task,), timeout=min(seconds, threading.TIMEOUT_MAX))
        except asyncio.CancelledError:
            task.add_done_callback(_drop)
            raise
        if not done:
            task.add_done_callback(_drop)
            return NoResponse(TimedOut("No response came in time (the node took too long)."))
        return task.result()


def _head(request: ClientRequest) -> Head:
    path, _, query = request.target.encode().partition(b"?")
    headers = {name.lower().encode(): text.encode() for name, text in request.headers.items()}
    return Head(request.method, path, query, headers, has_body=request.body is not None)


def _headers(response: HttpResponse) -> dict[str, str]:
    return {name.decode(): text.decode("latin-1") for name, text in response.headers}


async def _whole(response: HttpResponse) -> ClientResponse:
    body = response.body
    if not isinstance(body, bytes):
        chunks = body
        try:
            body = b"".join([chunk async for chunk in chunks.chunks()])
        finally:
            chunks.close()
    _end(response)
    return ClientResponse(response.status, _headers(response), body)


def _end(response: HttpResponse) -> None:
    if response.after is not None:
        response.after()


def _drop(task: asyncio.Task[HttpResponse]) -> None:
    """Release a response that its caller no longer waits for."""
    if task.cancelled() or task.exception() is not None:
        return
    _leave(task.result())


def _leave(response: HttpResponse) -> None:
    """Release a response of which nothing more is read."""
    if not isinstance(response.body, bytes):
        response.body.close()
    _end(response)


class LocalPieces:
    """The body of a stream, on the node's event loop; dropping it closes it, as for a socket."""

    def __init__(self, response: HttpResponse, body: Chunks, streams: WeakSet[LocalPieces]) -> None:
        self._loop = asyncio.get_running_loop()
        self._process = this_process()
        self._response = response
        self._chunks: AsyncIterator[bytes] = body.chunks()
        self._streams = streams
        self._is_open = True
        streams.add(self)

    async def read(self) -> bytes | NoResponse:
        """Return the next piece; nothing at the end."""
        return await anext(self._chunks, b"")

    def leave(self) -> None:
        """Stop reading; a task that waits for a piece gets nothing."""
        if self._is_open:
            self._is_open = False
            self._streams.discard(self)
            _leave(self._response)

    async def aclose(self) -> None:
        """Stop reading."""
        self.leave()

    def __del__(self) -> None:
        """Stop reading; any thread may free this."""
        if self._is_open and self._process == this_process():
            with contextlib.suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(_leave, self._response)


class AsyncLocalLink:
    """
    Calls to a node on the same event loop.

    Raises:
        CannotOpen: Tokens can't be counted this way.
    """

    def __init__(self, path: Path, token_estimator: str, timeouts: Timeouts) -> None:
        counter = _token_counter(token_estimator)
        self._connections = AsyncConnections(lambda: LocalNode(path, counter, timeouts))

    async def ready(self) -> None:
        """Make the node of this event loop."""
        await self._connections.current()

    async def open_node(self) -> None:
        """
        Open the data.

        Raises:
            CannotOpen: The data is in use or can't be used.
        """
        await (await self._connections.current()).open()

    async def send(self, effect: Send) -> Outcome:
        """Send a request and return the whole response."""
        return await (await self._connections.current()).send(effect)

    async def open(self, effect: Open) -> tuple[Outcome, AsyncPieces | None]:
        """Send a request; return its response, and its body if that is to be read."""
        return await (await self._connections.current()).stream(effect)

    async def aclose(self) -> None:
        """Close the node of this event loop."""
        await self._connections.aclose()


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


class LocalThread:
    """
    A node on an event loop in a thread of its own.

    The end of the process closes a node that is still open. A forked process has no threads of its
    parent and so no node: it can neither use nor close this one.

    Raises:
        CannotOpen: The data is in use or can't be used.
    """

    def __init__(self, path: Path, counter: TokenCounter, timeouts: Timeouts) -> None:
        self.node = LocalNode(path, counter, timeouts)
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
            self.run(self.node.open())
        except BaseException:
            self._end()
            raise
        atexit.register(self.close)

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T | NoResponse:
        """Run *coroutine* on the node's loop; return its result, or that the node was closed."""
        with self._lock:
            if not self._is_open:
                coroutine.close()
                return _CLOSED
            future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
            self._pending.add(future)
        try:
            return future.result()
        except CancelledError:
            return _CLOSED
        except BaseException:
            future.cancel()
            raise
        finally:
            self._pending.discard(future)

    def call_soon(self, function: Callable[[], None]) -> None:
        """Call *function* on the node's loop, without waiting for it."""
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(function)

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
        await self.node.aclose()

    def _end(self) -> None:
        with self._lock:
            self._is_open = False
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        for future in list(self._pending):  # the loop no longer runs them
            future.cancel()
        self._loop.close()


class LocalLink:
    """
    Calls to a node in a thread of its own.

    Raises:
        CannotOpen: Tokens can't be counted this way.
    """

    def __init__(self, path: Path, token_estimator: str, timeouts: Timeouts) -> None:
        counter = _token_counter(token_estimator)
        self._connections = Connections(
            lambda: LocalThread(path, counter, timeouts), is_shared=True
        )

    @property
    def is_closed(self) -> bool:
        """Whether it was closed."""
        return self._connections.is_closed

    def ready(self) -> None:
        """
        Open the data.

        Raises:
            CannotOpen: The data is in use or can't be used.
        """
        self._connections.current()

    def send(self, effect: Send) -> Outcome:
        """Send a request and return the whole response."""
        thread = self._connections.current()
        return thread.run(thread.node.send(effect))

    def for_stream(self, stream: Interruptible) -> _LocalStreamLink:
        """Return what *stream* is read with."""
        return _LocalStreamLink(self._connections.for_stream(stream))

    def close(self) -> None:
        """Close the data, and end all streams."""
        self._connections.close()


class _LocalStreamLink:
    def __init__(self, thread: LocalThread) -> None:
        self._thread = thread

    def open(self, effect: Open) -> tuple[Outcome, Pieces | None]:
        opened = self._thread.run(self._thread.node.stream(effect))
        if isinstance(opened, NoResponse):
            return opened, None
        outcome, pieces = opened
        return outcome, None if pieces is None else _ThreadPieces(self._thread, pieces)

    def close(self) -> None:
        """Keep the node: it belongs to the client."""


class _ThreadPieces:
    """The body of a stream, for a thread that waits."""

    def __init__(self, thread: LocalThread, pieces: LocalPieces) -> None:
        self._thread = thread
        self._pieces = pieces

    def read(self) -> bytes | NoResponse:
        return self._thread.run(self._pieces.read())

    def close(self) -> None:
        self._thread.run(self._pieces.aclose())

    def interrupt(self) -> None:
        self._thread.call_soon(self._pieces.leave)
