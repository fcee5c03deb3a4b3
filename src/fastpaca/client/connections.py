"""
The connections of a client: one set for each process and for each event loop.

A client is often made when a module is imported, and used later: in workers that are forked from
that process, under one `asyncio.run` after the other. It keeps an httpx client, or a node of its
own, for each of these, made when it is first needed. Nothing here takes a lock, because a lock that
a thread holds while another one forks is never released in the child.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, Callable
from typing import Final, Generic, NamedTuple, NoReturn, Protocol, TypeVar
from weakref import WeakValueDictionary

import httpx

from fastpaca.client.errors import ClientClosed
from fastpaca.client.processes import Process, detach_inherited, this_process
from fastpaca.errors import InvalidRequest

KEPT_CONNECTIONS_MAX: Final = 100

LIMITS: Final = httpx.Limits(
    # No limit: a call that waits for a free connection would only lose time.
    max_connections=None,
    max_keepalive_connections=KEPT_CONNECTIONS_MAX,
)

MakeTransport = Callable[[], httpx.BaseTransport]

MakeAsyncTransport = Callable[[], httpx.AsyncBaseTransport]


class Closable(Protocol):
    """What calls are sent with: an httpx client, or a node in this process."""

    def close(self) -> None:
        """Close it."""


class AsyncClosable(Protocol):
    """What calls are sent with on an event loop."""

    @property
    def is_closed(self) -> bool:
        """Whether it was closed."""

    async def aclose(self) -> None:
        """Close it."""


C = TypeVar("C", bound=Closable)
AC = TypeVar("AC", bound=AsyncClosable)


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


class HttpClients:
    """
    Makes httpx clients.

    Args:
        make: Returns a transport to use in place of httpx's own.

    Raises:
        InvalidRequest: *make* is not a function.
    """

    def __init__(self, make: MakeTransport | None = None) -> None:
        _check(make, "HTTPTransport")
        self._make = make
        self._tls_contexts = _TlsContexts()

    def __call__(self) -> httpx.Client:
        if self._make is not None:
            return httpx.Client(transport=self._make(), limits=LIMITS)
        return httpx.Client(verify=self._tls_contexts.current(), limits=LIMITS)


class AsyncHttpClients:
    """Makes httpx clients for event loops; otherwise as `HttpClients`."""

    def __init__(self, make: MakeAsyncTransport | None = None) -> None:
        _check(make, "AsyncHTTPTransport")
        self._make = make
        self._tls_contexts = _TlsContexts()

    def __call__(self) -> httpx.AsyncClient:
        if self._make is not None:
            return httpx.AsyncClient(transport=self._make(), limits=LIMITS)
        return httpx.AsyncClient(verify=self._tls_contexts.current(), limits=LIMITS)


class Connections(Generic[C]):
    """
    The connections of a `Fastpaca`. Threads may share it.

    Args:
        make: Returns what calls of a process are sent with.
        is_shared: Whether streams use the same. Otherwise each has its own, so that no other thread
            can hold a lock of it when the process forks.
    """

    def __init__(self, make: Callable[[], C], *, is_shared: bool = False) -> None:
        self._make = make
        self._is_shared = is_shared
        self._clients: dict[Process, C] = {}
        self._streams: WeakValueDictionary[int, Interruptible] = WeakValueDictionary()
        self.is_closed = False

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled or copied."""
        _refuse_copies()

    def current(self) -> C:
        """
        Return what the calls of this process are sent with.

        Raises:
            ClientClosed: The connections were closed.
        """
        self._check_open()
        process = this_process()
        client = self._clients.get(process)
        if client is not None:
            return client
        detach_inherited()  # in case Python was not told of the fork
        made = self._make()
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

    def for_stream(self, stream: Interruptible) -> C:
        """
        Return what *stream* is read with; pass it to `release` at the end.

        Raises:
            ClientClosed: The connections were closed.
        """
        self._streams[id(stream)] = stream
        self._check_open()
        return self.current() if self._is_shared else self._make()

    def release(self, client: C) -> None:
        """Close what `for_stream` returned."""
        if not self._is_shared:
            client.close()

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


class LoopOwner(NamedTuple):
    """What asyncio connections belong to: a process and one of its event loops."""

    process: Process
    loop: asyncio.AbstractEventLoop


def this_owner() -> LoopOwner:
    """Return this process and the running event loop."""
    return LoopOwner(this_process(), asyncio.get_running_loop())


class _OnLoop(NamedTuple, Generic[AC]):
    """
    What there is for one event loop.

    Attributes:
        client: What calls are sent with.
        closing: Closes the client when it is closed, which the loop does at its end.
    """

    client: AC
    closing: AsyncGenerator[None, None]


async def _closed_at_the_end(client: AsyncClosable) -> AsyncGenerator[None, None]:
    """
    Close *client* when the event loop ends.

    A loop closes its asynchronous generators before it ends (`shutdown_asyncgens`, which
    `asyncio.run` calls). That is the last moment at which a connection can be closed on it.
    """
    try:
        yield
    finally:
        await client.aclose()


class AsyncConnections(Generic[AC]):
    """
    The connections of an `AsyncFastpaca`.

    Args:
        make: Returns what calls of an event loop are sent with.
    """

    def __init__(self, make: Callable[[], AC]) -> None:
        self._make = make
        self._on_loops: dict[LoopOwner, _OnLoop[AC]] = {}
        self.is_closed = False

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled or copied."""
        _refuse_copies()

    async def current(self) -> AC:
        """
        Return what the calls of this event loop are sent with.

        Raises:
            ClientClosed: The connections were closed.
        """
        if self.is_closed:
            raise ClientClosed
        owner = this_owner()
        current = self._on_loops.get(owner)
        if current is None or current.client.is_closed:
            self._forget_closed_loops()
            client = self._make()
            current = self._on_loops[owner] = _OnLoop(client, _closed_at_the_end(client))
            await anext(current.closing)
        return current.client

    async def aclose(self) -> None:
        """Close the connections of this event loop; the end of another loop closes its own."""
        self.is_closed = True
        self._forget_closed_loops()
        current = self._on_loops.pop(this_owner(), None)
        if current is not None:
            await current.closing.aclose()

    def _forget_closed_loops(self) -> None:
        detach_inherited()  # in case Python was not told of the fork
        for owner in list(self._on_loops):
            if owner.loop.is_closed():
                self._on_loops.pop(owner, None)
