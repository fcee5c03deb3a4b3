"""The client for asyncio: `AsyncFastpaca`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Generator, Mapping
from pathlib import Path
from typing import Any, Self

from fastpaca.client.aio_context import AsyncContext
from fastpaca.client.aio_driver import AsyncDriver, AsyncStream
from fastpaca.client.calls import Calls
from fastpaca.client.connections import AsyncConnections, AsyncHttpClients, MakeAsyncTransport
from fastpaca.client.flow import Flow
from fastpaca.client.http_requests import BASE_URL, DEFAULT_ESTIMATOR, HttpRequests
from fastpaca.client.links import AsyncHttpLink, AsyncLink
from fastpaca.client.options import Retries, Timeouts
from fastpaca.client.values import (
    ContextInfo,
    Policy,
)


class AsyncFastpaca:
    """
    A client of one node.

    It keeps connections open; make one and use it for as long as the application runs. Tasks may
    share it and its handles; only one task at a time may use an iterator. Each event loop and each
    forked process opens connections of its own; those of a loop are closed when it ends.

    Args:
        base_url: The address of the node.
        api_key: The key, if the node has one.
        headers: Headers to send with every request, such as the key of a proxy.
        timeouts: How long to wait.
        retries: How often to try.
        transport: A function that returns an httpx transport, to use in place of the client's own;
            called once for each event loop.

    Raises:
        InvalidRequest: An argument has a wrong type or value.
    """

    def __init__(
        self,
        base_url: str = BASE_URL,
        api_key: str | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        timeouts: Timeouts | None = None,
        retries: Retries | None = None,
        transport: MakeAsyncTransport | None = None,
    ) -> None:
        requests = HttpRequests(base_url, api_key, timeouts or Timeouts(), headers)
        connections = AsyncConnections(AsyncHttpClients(transport))
        self._connect(AsyncHttpLink(connections, requests), requests.timeouts, retries)

    def _connect(self, link: AsyncLink, timeouts: Timeouts, retries: Retries | None) -> None:
        self._link = link
        self._calls = Calls(timeouts, retries or Retries())
        self._driver = AsyncDriver(link)

    @classmethod
    def local(
        cls,
        path: str | Path,
        *,
        token_estimator: str = DEFAULT_ESTIMATOR,
        timeouts: Timeouts | None = None,
        retries: Retries | None = None,
    ) -> Self:
        """
        Make a client that runs its own node in this process, on the data in a directory.

        Args:
            path: The data directory, created if it is missing; only one process can use it at a
                time.
            token_estimator: How to count tokens, as in the setting of the same name.
            timeouts: How long to wait.
            retries: How often to try.

        Raises:
            CannotOpen: The data is in use or can't be used; the message says why.
            ImportError: The server's packages are not installed.

        The first request opens the data, on the event loop that it runs on. `aclose` or the end of
        that loop closes it, and then another loop may open it.
        """
        # Needs the server's packages, which most clients don't install.
        from fastpaca.client.local import AsyncLocalLink  # noqa: PLC0415

        waits = timeouts or Timeouts()
        client = cls(timeouts=waits, retries=retries)
        client._connect(AsyncLocalLink(Path(path), token_estimator, waits), waits, retries)
        return client

    async def aclose(self) -> None:
        """Close the connections, or the node of a local client. Later calls raise ClientClosed."""
        await self._link.aclose()

    async def __aenter__(self) -> Self:
        """Return the client; the end of the block closes it."""
        await self._link.open_node()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the client."""
        await self.aclose()

    def context(
        self,
        context_id: str,
        *,
        budget: int | None = None,
        trigger: float | None = None,
        policy: Policy | Mapping[str, Any] | str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> PendingContext:
        """
        Return a handle of a context: `await` it, or enter it with `async with`.

        With any other argument than the id, this creates the context, or changes it where it
        differs. With the id alone it sends nothing.
        """
        handle = AsyncContext(context_id, self._driver, self._calls, self._stream)
        if all(setting is None for setting in (budget, trigger, policy, metadata)):
            return PendingContext(handle, None)
        return PendingContext(
            handle, self._calls.configure(context_id, budget, trigger, policy, metadata)
        )

    def list_contexts(
        self, *, prefix: str | None = None, limit: int | None = None
    ) -> AsyncIterator[ContextInfo]:
        """Iterate over the contexts whose ids begin with *prefix*, in the order of their ids."""
        return self._driver.iterate(self._calls.contexts(prefix, limit))

    async def delete_context(self, context_id: str, *, purge: bool = False) -> None:
        """Make a context read-only; with *purge*, erase it permanently."""
        await self._driver.run(self._calls.delete(context_id, purge=purge))

    def _stream(self, flow: Flow[None]) -> AsyncStream:
        return AsyncStream(self._link, flow)


class PendingContext:
    """A context that has yet to be awaited, and perhaps to be created."""

    def __init__(self, handle: AsyncContext, configuring: Flow[ContextInfo] | None) -> None:
        self._handle = handle
        self._configuring = configuring

    def __await__(self) -> Generator[Any, None, AsyncContext]:
        """Return the handle, once the context is configured."""
        return self._handle.opened(self._configuring).__await__()

    async def __aenter__(self) -> AsyncContext:
        """Return the handle."""
        return await self

    async def __aexit__(self, *_: object) -> None:
        """Do nothing: the context stays as it is."""
