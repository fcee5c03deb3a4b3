"""The synchronous client: `Fastpaca`, and the handle `Context`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, overload

from fastpaca.client.calls import Calls
from fastpaca.client.compacting import KEEP_LAST, Summary
from fastpaca.client.connections import Connections, HttpClients, MakeTransport
from fastpaca.client.flow import Flow
from fastpaca.client.http_requests import BASE_URL, DEFAULT_ESTIMATOR, HttpRequests
from fastpaca.client.links import HttpLink, Link
from fastpaca.client.options import Retries, Timeouts
from fastpaca.client.requests import path_of
from fastpaca.client.sync_driver import Driver, Stream
from fastpaca.client.values import (
    AppendResult,
    Compaction,
    CompactResult,
    ContextInfo,
    Message,
    Policy,
    View,
)


class Fastpaca:
    """
    A client of one node.

    It keeps connections open; make one and use it for as long as the application runs. Threads may
    share it and its handles; only one thread at a time may use an iterator. A forked process may
    use it too, and opens connections of its own.

    Args:
        base_url: The address of the node.
        api_key: The key, if the node has one.
        headers: Headers to send with every request, such as the key of a proxy.
        timeouts: How long to wait.
        retries: How often to try.
        transport: A function that returns an httpx transport, to use in place of the client's own;
            called once for each process, and once for each stream.

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
        transport: MakeTransport | None = None,
    ) -> None:
        requests = HttpRequests(base_url, api_key, timeouts or Timeouts(), headers)
        connections = Connections(HttpClients(transport))
        self._connect(HttpLink(connections, requests), requests.timeouts, retries)

    def _connect(self, link: Link, timeouts: Timeouts, retries: Retries | None) -> None:
        self._link = link
        self._calls = Calls(timeouts, retries or Retries())
        self._driver = Driver(link)

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
        """
        # Needs the server's packages, which most clients don't install.
        from fastpaca.client.local import LocalLink  # noqa: PLC0415

        waits = timeouts or Timeouts()
        client = cls(timeouts=waits, retries=retries)
        client._connect(LocalLink(Path(path), token_estimator, waits), waits, retries)
        client._link.ready()
        return client

    def close(self) -> None:
        """Close the connections, or the node of a local client. Later calls raise ClientClosed."""
        self._link.close()

    def __enter__(self) -> Self:
        """Return the client; the end of the block closes it."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the client."""
        self.close()

    def context(
        self,
        context_id: str,
        *,
        budget: int | None = None,
        trigger: float | None = None,
        policy: Policy | Mapping[str, Any] | str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Context:
        """
        Return a handle of a context.

        With any other argument than the id, this creates the context, or changes it where it
        differs. With the id alone it sends nothing.
        """
        handle = Context(context_id, self._driver, self._calls, self._stream)
        if any(setting is not None for setting in (budget, trigger, policy, metadata)):
            handle.configure(budget=budget, trigger=trigger, policy=policy, metadata=metadata)
        return handle

    def list_contexts(
        self, *, prefix: str | None = None, limit: int | None = None
    ) -> Iterator[ContextInfo]:
        """Iterate over the contexts whose ids begin with *prefix*, in the order of their ids."""
        return self._driver.iterate(self._calls.contexts(prefix, limit))

    def delete_context(self, context_id: str, *, purge: bool = False) -> None:
        """Make a context read-only; with *purge*, erase it permanently."""
        self._driver.run(self._calls.delete(context_id, purge=purge))

    def _stream(self, flow: Flow[None]) -> Stream:
        return Stream(self._link, flow)


class Context:
    """
    A handle of one conversation, returned by `Fastpaca.context`. It needs no closing.

    Attributes:
        id: The context's id.
    """

    def __init__(
        self,
        context_id: str,
        driver: Driver,
        calls: Calls,
        stream: Callable[[Flow[None]], Stream],
    ) -> None:
        path_of(context_id)
        self.id = context_id
        self._driver = driver
        self._calls = calls
        self._stream = stream

    def __repr__(self) -> str:
        """Show the id."""
        return f"{type(self).__name__}({self.id!r})"

    def __enter__(self) -> Self:
        """Return the handle."""
        return self

    def __exit__(self, *_: object) -> None:
        """Do nothing: the context stays as it is."""

    def configure(
        self,
        *,
        budget: int | None = None,
        trigger: float | None = None,
        policy: Policy | Mapping[str, Any] | str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> ContextInfo:
        """Create the context, or change the settings that are given."""
        return self._driver.run(self._calls.configure(self.id, budget, trigger, policy, metadata))

    def info(self) -> ContextInfo:
        """Read the context's configuration, version and last seq."""
        return self._driver.run(self._calls.info(self.id))

    def patch_metadata(self, changes: Mapping[str, Any]) -> ContextInfo:
        """Merge *changes* into the context's metadata; a value of None removes its key."""
        return self._driver.run(self._calls.patch_metadata(self.id, changes))

    def delete(self, *, purge: bool = False) -> None:
        """Make the context read-only; with *purge*, erase it permanently."""
        self._driver.run(self._calls.delete(self.id, purge=purge))

    @overload
    def append(
        self,
        message: Mapping[str, Any],
        *,
        if_version: int | None = None,
        token_count: int | None = None,
        idempotency_key: str | None = None,
    ) -> AppendResult: ...

    @overload
    def append(
        self,
        message: Sequence[Mapping[str, Any]],
        *,
        if_version: int | None = None,
        idempotency_key: str | None = None,
    ) -> list[AppendResult]: ...

    def append(
        self,
        message: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        *,
        if_version: int | None = None,
        token_count: int | None = None,
        idempotency_key: str | None = None,
    ) -> AppendResult | list[AppendResult]:
        """
        Append a message, or a list of 1 to 1000, all or none. Retries never append twice.

        Raises:
            VersionConflict: *if_version* is not the current version.
            ContextNotFound: The context doesn't exist; an append doesn't create it.
        """
        return self._driver.run(
            self._calls.append(self.id, message, if_version, token_count, idempotency_key)
        )

    def get_tail(self, *, offset: int | None = None, limit: int | None = None) -> list[Message]:
        """Skip the *offset* (0) newest messages and read the next *limit* (100), oldest first."""
        return self._driver.run(self._calls.tail(self.id, offset, limit))

    def messages(
        self,
        *,
        from_seq: int | None = None,
        to_seq: int | None = None,
        limit: int | None = None,
    ) -> Iterator[Message]:
        """
        Iterate over the log, both ends inclusive, in pages of *limit* (100) messages.

        A *from_seq* of -n starts at the n newest messages. The iteration stops at the end of the
        log as it is when it gets there.
        """
        return self._driver.iterate(self._calls.messages(self.id, from_seq, to_seq, limit))

    def context(
        self,
        *,
        budget_tokens: int | None = None,
        if_version: int | None = None,
        at_version: int | None = None,
        explain: bool = False,
    ) -> View:
        """
        Read the LLM context: the messages to send to a model.

        Args:
            budget_tokens: Fit it under this budget instead of the context's own.
            if_version: Read only if this is the current version.
            at_version: Read the window as it was after this version.
            explain: Fill in `explained`: what happened to each message of the log.
        """
        return self._driver.run(
            self._calls.view(self.id, budget_tokens, if_version, at_version, explain=explain)
        )

    def at_version(self, version: int, *, budget_tokens: int | None = None) -> View:
        """Read the LLM context as it was after *version*, fitted by the current configuration."""
        return self._driver.run(self._calls.view(self.id, budget_tokens, None, version))

    def compact(
        self,
        replacement: Sequence[Mapping[str, Any]],
        *,
        if_version: int | None = None,
        idempotency_key: str | None = None,
    ) -> CompactResult:
        """
        Set the window to exactly *replacement*; the log doesn't change.

        Messages of the log that you pass unchanged stay references to the log.
        """
        return self._driver.run(
            self._calls.compact(self.id, replacement, if_version, idempotency_key)
        )

    def compact_if_needed(
        self,
        summarise: Callable[[list[Message]], Summary],
        *,
        keep_last: int = KEEP_LAST,
    ) -> CompactResult | None:
        """
        Replace old messages with a summary, if the window is above its trigger.

        The leading instructions and the newest messages stay: at least *keep_last* of them, or
        fewer if these take more than half of the tokens between the instructions and the trigger.
        The other half is for the summary. A tool call is never separated from its result. Messages
        that are appended in the meantime stay.

        Args:
            summarise: Takes the old messages and returns a summary: a text, a message or several.
            keep_last: How many messages to keep, if they are not too large.

        Returns:
            The new version; None if there was nothing to do.

        Raises:
            CannotCompact: What has to stay is above the trigger by itself; nothing was changed.
            VersionConflict: Other writers changed the context again and again.
        """
        return self._driver.run(self._calls.compact_if_needed(self.id, summarise, keep_last))

    def compactions(
        self, *, after: int | None = None, limit: int | None = None
    ) -> Iterator[Compaction]:
        """Iterate over the rewrites of the window after the version *after*, oldest first."""
        return self._driver.iterate(self._calls.compactions(self.id, after, limit))

    def stream(self, *, cursor: int | None = None, include_messages: bool = True) -> Stream:
        """
        Follow the context: an iterator of frames that reconnects, and ends with its deletion.

        Args:
            cursor: The last version that you processed; 0 replays everything, None starts now.
            include_messages: Whether to receive message frames; the cursor moves either way.
        """
        return self._stream(self._calls.stream(self.id, cursor, include_messages=include_messages))
