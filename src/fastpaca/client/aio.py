"""The client for asyncio: `AsyncFastpaca`, and the handle `AsyncContext`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, overload

from fastpaca.client.aio_driver import AsyncDriver, AsyncStream
from fastpaca.client.calls import Calls
from fastpaca.client.compacting import KEEP_LAST, Summary
from fastpaca.client.connections import AsyncConnections, AsyncHttpClients, MakeAsyncTransport
from fastpaca.client.flow import Flow
from fastpaca.client.http_requests import BASE_URL, DEFAULT_ESTIMATOR, HttpRequests
from fastpaca.client.links import AsyncHttpLink, AsyncLink
from fastpaca.client.options import Retries, Timeouts
from fastpaca.client.requests import path_of
from fastpaca.client.values import (
    AppendResult,
    Compaction,
    CompactResult,
    ContextInfo,
    Message,
    Policy,
    View,
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


class AsyncContext:
    """
    A handle of one conversation, returned by `AsyncFastpaca.context`. It needs no closing.

    Attributes:
        id: The context's id.
    """

    def __init__(
        self,
        context_id: str,
        driver: AsyncDriver,
        calls: Calls,
        stream: Callable[[Flow[None]], AsyncStream],
    ) -> None:
        path_of(context_id)
        self.id = context_id
        self._driver = driver
        self._calls = calls
        self._stream = stream

    def __repr__(self) -> str:
        """Show the id."""
        return f"{type(self).__name__}({self.id!r})"

    async def opened(self, configuring: Flow[ContextInfo] | None) -> Self:
        """Return the handle, once *configuring* is done."""
        if configuring is not None:
            await self._driver.run(configuring)
        return self

    async def configure(
        self,
        *,
        budget: int | None = None,
        trigger: float | None = None,
        policy: Policy | Mapping[str, Any] | str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> ContextInfo:
        """Create the context, or change the settings that are given."""
        return await self._driver.run(
            self._calls.configure(self.id, budget, trigger, policy, metadata)
        )

    async def info(self) -> ContextInfo:
        """Read the context's configuration, version and last seq."""
        return await self._driver.run(self._calls.info(self.id))

    async def patch_metadata(self, changes: Mapping[str, Any]) -> ContextInfo:
        """Merge *changes* into the context's metadata; a value of None removes its key."""
        return await self._driver.run(self._calls.patch_metadata(self.id, changes))

    async def delete(self, *, purge: bool = False) -> None:
        """Make the context read-only; with *purge*, erase it permanently."""
        await self._driver.run(self._calls.delete(self.id, purge=purge))

    @overload
    async def append(
        self,
        message: Mapping[str, Any],
        *,
        if_version: int | None = None,
        token_count: int | None = None,
        idempotency_key: str | None = None,
    ) -> AppendResult: ...

    @overload
    async def append(
        self,
        message: Sequence[Mapping[str, Any]],
        *,
        if_version: int | None = None,
        idempotency_key: str | None = None,
    ) -> list[AppendResult]: ...

    async def append(
        self,
        message: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        *,
        if_version: int | None = None,
        token_count: int | None = None,
        idempotency_key: str | None = None,
    ) -> AppendResult | list[AppendResult]:
        """Append a message, or a list of 1 to 1000, all or none; see `Context.append`."""
        return await self._driver.run(
            self._calls.append(self.id, message, if_version, token_count, idempotency_key)
        )

    async def get_tail(
        self, *, offset: int | None = None, limit: int | None = None
    ) -> list[Message]:
        """Skip the *offset* (0) newest messages and read the next *limit* (100), oldest first."""
        return await self._driver.run(self._calls.tail(self.id, offset, limit))

    def messages(
        self,
        *,
        from_seq: int | None = None,
        to_seq: int | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[Message]:
        """Iterate over the log, in pages of *limit* (100) messages; see `Context.messages`."""
        return self._driver.iterate(self._calls.messages(self.id, from_seq, to_seq, limit))

    async def context(
        self,
        *,
        budget_tokens: int | None = None,
        if_version: int | None = None,
        at_version: int | None = None,
        explain: bool = False,
    ) -> View:
        """Read the LLM context: the messages to send to a model; see `Context.context`."""
        return await self._driver.run(
            self._calls.view(self.id, budget_tokens, if_version, at_version, explain=explain)
        )

    async def at_version(self, version: int, *, budget_tokens: int | None = None) -> View:
        """Read the LLM context as it was after *version*, fitted by the current configuration."""
        return await self._driver.run(self._calls.view(self.id, budget_tokens, None, version))

    async def compact(
        self,
        replacement: Sequence[Mapping[str, Any]],
        *,
        if_version: int | None = None,
        idempotency_key: str | None = None,
    ) -> CompactResult:
        """Set the window to exactly *replacement*; see `Context.compact`."""
        return await self._driver.run(
            self._calls.compact(self.id, replacement, if_version, idempotency_key)
        )

    async def compact_if_needed(
        self,
        summarise: Callable[[list[Message]], Summary | Awaitable[Summary]],
        *,
        keep_last: int = KEEP_LAST,
    ) -> CompactResult | None:
        """
        Replace old messages with a summary, if the window is above its trigger.

        See `Context.compact_if_needed`; here, *summarise* may also return an awaitable.
        """
        return await self._driver.run(self._calls.compact_if_needed(self.id, summarise, keep_last))

    def compactions(
        self, *, after: int | None = None, limit: int | None = None
    ) -> AsyncIterator[Compaction]:
        """Iterate over the rewrites of the window after the version *after*, oldest first."""
        return self._driver.iterate(self._calls.compactions(self.id, after, limit))

    def stream(self, *, cursor: int | None = None, include_messages: bool = True) -> AsyncStream:
        """
        Follow the context: an iterator of frames that reconnects, and ends with its deletion.

        See `Context.stream`.
        """
        return self._stream(self._calls.stream(self.id, cursor, include_messages=include_messages))
