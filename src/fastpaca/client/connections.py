"""
The connections of a client: one set for each process and for each event loop.

A client is often made when a module is imported, and used later: in workers that are forked from
that process, under one `asyncio.run` after the other. It keeps an httpx client for each of these,
made when it is first needed. Nothing here takes a lock, because a lock that a thread holds while
another one forks is never released in the child.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, Callable
from typing import Final, NamedTuple, NoReturn, Protocol
from weakref import WeakValueDictionary

import httpx

from fastpaca.client.errors import ClientClosed
from fastpaca.client.processes import Process, detach_inherited, record, record_async, this_process
from fastpaca.errors import InvalidRequest

KEPT_CONNECTIONS_MAX: Final = 100

LIMITS: Final = httpx.Limits(
    # No limit: a call that waits for a free connection would only lose time.
    max_connections=None,
    max_keepalive_connections=KEPT_CONNECTIONS_MAX,
)

MakeTransport = Callable[[], httpx.BaseTransport]

MakeAsyncTransport = Callable[[], httpx.AsyncBaseTransport]


class Interruptible(Protocol):
    """A stream that another thread may be reading."""

    def interrupt(self) -> None:
        """End that read."""


def _check(make: object, example: str) -> None:
    if make is not None and not callable(make):
        raise InvalidRequest(
            "Pass a function that returns a transport, since each process, event loop and stream"
            f" needs its own: transport=lambda: httpx.{example}(…).",
            "transport",
        )


def _refuse_copies() -> NoReturn:
    raise TypeError(
        "A client holds connections of its process, so it cannot be pickled or copied. Make"
        " another one with the same arguments."
    )


class _TlsContexts:
    """The TLS contexts of a client, one for each process; loading the certificates takes time."""

    def __init__(self) -> None:
        self._contexts: dict[Process, ssl.SSLContext] = {}

    def current(self) -> ssl.SSLContext:
        """Return the TLS context of this process."""
        process = this_process()
        context = self._contexts.get(process)
        if context is None:
            # Not the parent's: a thread may have held OpenSSL's lock on it at the fork.
            context = self._contexts[process] = httpx.create_ssl_context()
        return context


class Connections:
    """
    The connections of a `Fastpaca`. Threads may share it.

    Args:
        make: Returns a transport to use in place of httpx's own.
        is_shared: Whether streams use the same transport as calls. Otherwise each has its own, so
            that no other thread can hold a lock of it when the process forks.

    Raises:
        InvalidRequest: *make* is not a function.
    """

    def __init__(self, make: MakeTransport | None = None, *, is_shared: bool = False) -> None:
        _check(make, "HTTPTransport")
        self._make = make
        self._is_shared = is_shared
        self._tls_contexts = _TlsContexts()
        self._clients: dict[Process, httpx.Client] = {}
        self._streams: WeakValueDictionary[int, Interruptible] = WeakValueDictionary()
        self.is_closed = False

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled or copied."""
        _refuse_copies()

    def current(self) -> httpx.Client:
        """
        Return the httpx client for the calls of this process.

        Raises:
            ClientClosed: The connections were closed.
        """
        self._check_open()
        process = this_process()
        client = self._clients.get(process)
        if client is not None:
            return client
        detach_inherited()  # in case Python was not told of the fork
        made = self._new()
        client = self._clients.setdefault(process, made)
        if client is not made:  # another thread was faster
            made.close()
        try:
            self._check_open()
        except ClientClosed:  # another thread has closed the connections meanwhile
            client.close()
            raise
        return client

    def _check_open(self) -> None:
        if self.is_closed:
            raise ClientClosed

    def for_stream(self, stream: Interruptible) -> httpx.Client:
        """
        Return the httpx client for *stream*; pass it to `release` at the end.

        Raises:
            ClientClosed: The connections were closed.
        """
        self._streams[id(stream)] = stream
        self._check_open()
        return self.current() if self._is_shared else self._new()

    def release(self, client: httpx.Client) -> None:
        """Close a client that `for_stream` returned."""
        if not self._is_shared:
            client.close()

    def send(self, client: httpx.Client, request: httpx.Request) -> httpx.Response:
        """
        Send *request* with *client*, and wait for the head of the response.

        Raises:
            ClientClosed: The connections were closed meanwhile.
            httpx.RequestError: No response came.
        """
        request.extensions["trace"] = record
        try:
            return client.send(request, stream=True)
        except RuntimeError as error:  # how httpx reports that the client is closed
            if self.is_closed:
                raise ClientClosed from error
            raise

    def close(self) -> None:
        """Close the connections of this process, including those of its streams."""
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
        return httpx.Client(verify=self._tls_contexts.current(), limits=LIMITS)


class LoopOwner(NamedTuple):
    """What asyncio connections belong to: a process and one of its event loops."""

    process: Process
    loop: asyncio.AbstractEventLoop


def this_owner() -> LoopOwner:
    """Return this process and the running event loop."""
    return LoopOwner(this_process(), asyncio.get_running_loop())


class _LoopClient(NamedTuple):
    """
    What there is for one event loop.

    Attributes:
        client: The httpx client.
        transport: The caller's transport, if it has one.
        closing: Closes the client when it is closed, which the loop does at its end.
    """

    client: httpx.AsyncClient
    transport: httpx.AsyncBaseTransport | None
    closing: AsyncGenerator[None, None]


async def _closed_at_the_end(client: httpx.AsyncClient) -> AsyncGenerator[None, None]:
    """
    Close *client* when the event loop ends.

    A loop closes its asynchronous generators before it ends (`shutdown_asyncgens`, which
    `asyncio.run` calls). That is the last moment at which a connection can be closed on it.
    """
    try:
        yield
    finally:
        await client.aclose()


class AsyncConnections:
    """
    The connections of an `AsyncFastpaca`.

    Args:
        make: Returns a transport to use in place of httpx's own.

    Raises:
        InvalidRequest: *make* is not a function.
    """

    def __init__(self, make: MakeAsyncTransport | None = None) -> None:
        _check(make, "AsyncHTTPTransport")
        self._make = make
        self._tls_contexts = _TlsContexts()
        self._clients: dict[LoopOwner, _LoopClient] = {}
        self.is_closed = False

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled or copied."""
        _refuse_copies()

    async def open(self) -> None:
        """
        Open the transport now, as the first request would.

        Raises:
            ClientClosed: The connections were closed.
        """
        transport = (await self.current()).transport
        if transport is not None:
            await transport.__aenter__()

    async def current(self) -> _LoopClient:
        """
        Return what there is for this event loop.

        Raises:
            ClientClosed: The connections were closed.
        """
        if self.is_closed:
            raise ClientClosed
        owner = this_owner()
        current = self._clients.get(owner)
        if current is None or current.client.is_closed:
            self._forget_closed_loops()
            current = self._clients[owner] = self._new()
            await anext(current.closing)
        return current

    async def send(self, request: httpx.Request) -> httpx.Response:
        """
        Send *request*, and wait for the head of the response.

        Raises:
            ClientClosed: The connections were closed.
            httpx.RequestError: No response came.
        """
        request.extensions["trace"] = record_async
        client = (await self.current()).client
        return await client.send(request, stream=True)

    async def aclose(self) -> None:
        """Close the connections of this event loop; the end of another loop closes its own."""
        self.is_closed = True
        self._forget_closed_loops()
        current = self._clients.pop(this_owner(), None)
        if current is not None:
            await current.closing.aclose()

    def _forget_closed_loops(self) -> None:
        detach_inherited()  # in case Python was not told of the fork
        for owner in list(self._clients):
            if owner.loop.is_closed():
                self._clients.pop(owner, None)

    def _new(self) -> _LoopClient:
        if self._make is not None:
            transport = self._make()
            client = httpx.AsyncClient(transport=transport, limits=LIMITS)
        else:
            transport = None
            client = httpx.AsyncClient(verify=self._tls_contexts.current(), limits=LIMITS)
        return _LoopClient(client, transport, _closed_at_the_end(client))
