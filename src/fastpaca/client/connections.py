"""
The connections of a client: each process has its own, and so has each event loop.

A client is often made when a module is imported, and used by whatever comes later: by workers that
are forked from that process, by one `asyncio.run` after the other. It keeps one client of httpx for
each, made when it is first needed. Nothing here takes a lock, since a thread that holds one while
another forks would never release it in the child.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, Callable
from typing import Final, NamedTuple, NoReturn, Protocol
from weakref import WeakValueDictionary

import httpx

from fastpaca.client.errors import ClientClosed
from fastpaca.client.processes import Process, cut_off, note, note_async, this_process
from fastpaca.errors import InvalidRequest

KEPT_CONNECTIONS_MAX: Final = 100

LIMITS: Final = httpx.Limits(
    # As many as there are calls and streams at once: who waits for a free one waits for nothing.
    max_connections=None,
    max_keepalive_connections=KEPT_CONNECTIONS_MAX,
)

MakeTransport = Callable[[], httpx.BaseTransport]

MakeAsyncTransport = Callable[[], httpx.AsyncBaseTransport]


class Interruptible(Protocol):
    """A stream that may be read by another thread."""

    def interrupt(self) -> None:
        """End the reading."""


def _check(make: object, example: str) -> None:
    if make is not None and not callable(make):
        raise InvalidRequest(
            "A transport is given as a function that makes one, since each process, event loop and"
            f" stream needs its own: transport=lambda: httpx.{example}(…).",
            "transport",
        )


def _refuse_copies() -> NoReturn:
    raise TypeError(
        "A client holds connections of its process: it can't be pickled or copied. Make another"
        " one with the same arguments."
    )


class _Contexts:
    """The TLS contexts of a client, one for each process; to load the certificates takes time."""

    def __init__(self) -> None:
        self._contexts: dict[Process, ssl.SSLContext] = {}

    def here(self) -> ssl.SSLContext:
        """Return the one of this process."""
        process = this_process()
        found = self._contexts.get(process)
        if found is None:
            # Not the parent's: OpenSSL locks it, and whoever held the lock at the fork is gone.
            found = self._contexts[process] = httpx.create_ssl_context()
        return found


class Connections:
    """
    The connections of a `Fastpaca`. Threads may share it.

    Args:
        make: Makes how requests get to the node, if not over connections of httpx's making.
        is_shared: Whether streams go through the same transport as calls. Otherwise each has one
            of its own, and so no lock of it can be held by another thread when a process forks.

    Raises:
        InvalidRequest: *make* is not a function.
    """

    def __init__(self, make: MakeTransport | None = None, *, is_shared: bool = False) -> None:
        _check(make, "HTTPTransport")
        self._make = make
        self._is_shared = is_shared
        self._contexts = _Contexts()
        self._clients: dict[Process, httpx.Client] = {}
        self._streams: WeakValueDictionary[int, Interruptible] = WeakValueDictionary()
        self.is_closed = False

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled or copied."""
        _refuse_copies()

    def here(self) -> httpx.Client:
        """
        Return the client of httpx for calls of this process.

        Raises:
            ClientClosed: There are none any more.
        """
        self._check_open()
        process = this_process()
        found = self._clients.get(process)
        if found is not None:
            return found
        cut_off()  # of what was inherited, if Python was not told of the fork
        made = self._new()
        found = self._clients.setdefault(process, made)
        if found is not made:  # another thread was faster
            made.close()
        try:
            self._check_open()
        except ClientClosed:  # another thread was faster
            found.close()
            raise
        return found

    def _check_open(self) -> None:
        if self.is_closed:
            raise ClientClosed

    def for_stream(self, stream: Interruptible) -> httpx.Client:
        """
        Return the client of httpx for *stream*, to be given to `release` in the end.

        Raises:
            ClientClosed: There are none any more.
        """
        self._streams[id(stream)] = stream
        self._check_open()
        return self.here() if self._is_shared else self._new()

    def release(self, client: httpx.Client) -> None:
        """Close what `for_stream` returned."""
        if not self._is_shared:
            client.close()

    def send(self, client: httpx.Client, request: httpx.Request) -> httpx.Response:
        """
        Send *request* with *client*, and wait for the head of the response.

        Raises:
            ClientClosed: It was closed meanwhile.
            httpx.RequestError: No response came.
        """
        request.extensions["trace"] = note
        try:
            return client.send(request, stream=True)
        except RuntimeError as error:  # what httpx says of a client that is closed
            if self.is_closed:
                raise ClientClosed from error
            raise

    def close(self) -> None:
        """Close the connections of this process, those of its streams included."""
        self.is_closed = True
        for reference in self._streams.valuerefs():
            stream = reference()
            if stream is not None:
                stream.interrupt()
        client = self._clients.get(this_process())
        if client is not None:
            client.close()

    def _new(self) -> httpx.Client:
        if self._make is not None:
            return httpx.Client(transport=self._make(), limits=LIMITS)
        return httpx.Client(verify=self._contexts.here(), limits=LIMITS)


class Place(NamedTuple):
    """Where connections of asyncio can be used."""

    process: Process
    loop: asyncio.AbstractEventLoop


def this_place() -> Place:
    """Name this process and the event loop that runs."""
    return Place(this_process(), asyncio.get_running_loop())


class _Local(NamedTuple):
    """What there is on one event loop."""

    client: httpx.AsyncClient
    transport: httpx.AsyncBaseTransport | None
    watch: AsyncGenerator[None, None]


async def _closed_at_the_end(client: httpx.AsyncClient) -> AsyncGenerator[None, None]:
    """
    Close *client* together with the event loop.

    A loop closes its asynchronous generators before it ends (`shutdown_asyncgens`, which
    `asyncio.run` calls): the last moment at which a connection can be closed on it.
    """
    try:
        yield
    finally:
        await client.aclose()


class AsyncConnections:
    """
    The connections of an `AsyncFastpaca`.

    Args:
        make: Makes how requests get to the node, if not over connections of httpx's making.

    Raises:
        InvalidRequest: *make* is not a function.
    """

    def __init__(self, make: MakeAsyncTransport | None = None) -> None:
        _check(make, "AsyncHTTPTransport")
        self._make = make
        self._contexts = _Contexts()
        self._places: dict[Place, _Local] = {}
        self.is_closed = False

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled or copied."""
        _refuse_copies()

    async def open(self) -> None:
        """
        Open now what the first request would open.

        Raises:
            ClientClosed: It was closed.
        """
        transport = (await self.here()).transport
        if transport is not None:
            await transport.__aenter__()

    async def here(self) -> _Local:
        """
        Return what there is on this event loop.

        Raises:
            ClientClosed: There is nothing any more.
        """
        if self.is_closed:
            raise ClientClosed
        place = this_place()
        found = self._places.get(place)
        if found is None or found.client.is_closed:
            self._forget_closed_loops()
            found = self._places[place] = self._new()
            await anext(found.watch)
        return found

    async def send(self, request: httpx.Request) -> httpx.Response:
        """
        Send *request*, and wait for the head of the response.

        Raises:
            ClientClosed: The client was closed.
            httpx.RequestError: No response came.
        """
        request.extensions["trace"] = note_async
        client = (await self.here()).client
        return await client.send(request, stream=True)

    async def aclose(self) -> None:
        """Close the connections of this event loop; those of another are closed when it ends."""
        self.is_closed = True
        self._forget_closed_loops()
        found = self._places.pop(this_place(), None)
        if found is not None:
            await found.watch.aclose()

    def _forget_closed_loops(self) -> None:
        cut_off()  # of what was inherited, if Python was not told of the fork
        for place in list(self._places):
            if place.loop.is_closed():
                self._places.pop(place, None)

    def _new(self) -> _Local:
        if self._make is not None:
            transport = self._make()
            client = httpx.AsyncClient(transport=transport, limits=LIMITS)
        else:
            transport = None
            client = httpx.AsyncClient(verify=self._contexts.here(), limits=LIMITS)
        return _Local(client, transport, _closed_at_the_end(client))
