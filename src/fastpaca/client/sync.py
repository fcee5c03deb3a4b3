"""The client for code that waits: `Fastpaca`, and the handle `Context`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Self, overload

from fastpaca.client.calls import Calls
from fastpaca.client.compacting import KEEP_LAST, Summary
from fastpaca.client.connections import Connections, MakeTransport
from fastpaca.client.flow import Flow
from fastpaca.client.protocol import path_of
from fastpaca.client.sync_driver import Driver, Stream
from fastpaca.client.terms import Retries, Timeouts
from fastpaca.client.transfer import BASE_URL, DEFAULT_ESTIMATOR, LOCAL_URL, Transfer
from fastpaca.client.values import (
    Appended,
    Compacted,
    Compaction,
    ContextInfo,
    Message,
    Policy,
    View,
)


class Fastpaca:
    """
    A client of one node.

    It keeps connections and is meant to live as long as the application. Threads may share it, and
    the handles that it makes; an iterator is for one thread at a time. A process that is forked
    may use it too, over connections of its own.

    Args:
        base_url: The address of the node.
        api_key: The key, if the node has one.
        headers: What to send with every request, such as the key of a proxy.
        timeouts: How long to wait.
        retries: How often to try.
        transport: A function that makes how requests get to the node, if not over connections of
            the client's own making; called once for each process, and once for each stream.

    Raises:
        InvalidRequest: An argument is not what it should be.
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
        self._transfer = Transfer(base_url, api_key, timeouts or Timeouts(), headers)
        self._calls = Calls(self._transfer.timeouts, retries or Retries())
        self._connect(Connections(transport))

    def _connect(self, connections: Connections) -> None:
        self._connections = connections
        self._driver = Driver(connections, self._transfer)

    @classmethod
    def local(
        cls, path: str | Path, *, token_estimator: str = DEFAULT_ESTIMATOR, **terms: Any
    ) -> Self:
        """
        Make a client with a node of its own in this process, on the data in a directory.

        Args:
            path: The data directory, made if it is missing; nobody else can use it meanwhile.
            token_estimator: As the setting of a node.
            terms: `timeouts` and `retries`.

        Raises:
            CannotOpen: The data is in use or cannot be used; the message says why.
            ImportError: The server's packages are not installed.
        """
        # Needs the packages of the server, which most clients do without.
        from fastpaca.client.local import Local, counter_of  # noqa: PLC0415

        client = cls(LOCAL_URL, **terms)
        make = partial(Local, Path(path), counter_of(token_estimator))
        client._connect(Connections(make, is_shared=True))
        client._connections.here()
        return client

    def close(self) -> None:
        """Close the connections, or the node of a local client. Calls are no longer possible."""
        self._connections.close()

    def __enter__(self) -> Self:
        """Close the client at the end of the block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
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
        Give the handle of a context.

        If anything is given beside the id, the context is created, or changed where it differs.
        With the id alone nothing is sent.
        """
        handle = Context(context_id, self._driver, self._calls, self._stream)
        if any(given is not None for given in (budget, trigger, policy, metadata)):
            handle.configure(budget=budget, trigger=trigger, policy=policy, metadata=metadata)
        return handle

    def list_contexts(
        self, *, prefix: str | None = None, limit: int | None = None
    ) -> Iterator[ContextInfo]:
        """Give all contexts whose ids begin with *prefix*, in the order of their ids."""
        return self._driver.iterate(self._calls.contexts(prefix, limit))

    def delete_context(self, context_id: str, *, purge: bool = False) -> None:
        """Delete a context for writing; with *purge*, erase it for good."""
        self._driver.run(self._calls.delete(context_id, purge=purge))

    def _stream(self, flow: Flow[None]) -> Stream:
        return Stream(self._connections, self._transfer, flow)


class Context:
    """
    One conversation, by its id. Made by `Fastpaca.context`; holds nothing that must be closed.

    Attributes:
        id: As it was given.
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
        """Name it for a block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the context as it is."""

    def configure(
        self,
        *,
        budget: int | None = None,
        trigger: float | None = None,
        policy: Policy | Mapping[str, Any] | str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> ContextInfo:
        """Create the context, or change what is given of its configuration."""
        return self._driver.run(self._calls.configure(self.id, budget, trigger, policy, metadata))

    def info(self) -> ContextInfo:
        """Read how the context is configured, and how far it has come."""
        return self._driver.run(self._calls.info(self.id))

    def patch_metadata(self, changes: Mapping[str, Any]) -> ContextInfo:
        """Merge *changes* into the metadata of the context; a None removes its key."""
        return self._driver.run(self._calls.patch_metadata(self.id, changes))

    def delete(self, *, purge: bool = False) -> None:
        """Delete the context for writing; with *purge*, erase it for good."""
        self._driver.run(self._calls.delete(self.id, purge=purge))

    @overload
    def append(
        self,
        message: Mapping[str, Any],
        *,
        if_version: int | None = None,
        token_count: int | None = None,
        idempotency_key: str | None = None,
    ) -> Appended: ...

    @overload
    def append(
        self,
        message: Sequence[Mapping[str, Any]],
        *,
        if_version: int | None = None,
        idempotency_key: str | None = None,
    ) -> list[Appended]: ...

    def append(
        self,
        message: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        *,
        if_version: int | None = None,
        token_count: int | None = None,
        idempotency_key: str | None = None,
    ) -> Appended | list[Appended]:
        """
        Append a message, or a list of 1 to 1000, all or none; once, however often it is tried.

        Raises:
            VersionConflict: *if_version* is not the current version.
            ContextNotFound: An append creates no context.
        """
        return self._driver.run(
            self._calls.append(self.id, message, if_version, token_count, idempotency_key)
        )

    def get_tail(self, *, offset: int | None = None, limit: int | None = None) -> list[Message]:
        """Read the newest messages of the log, oldest first: *limit* (100) before *offset* (0)."""
        return self._driver.run(self._calls.tail(self.id, offset, limit))

    def messages(
        self,
        *,
        from_seq: int | None = None,
        to_seq: int | None = None,
        limit: int | None = None,
    ) -> Iterator[Message]:
        """
        Give messages of the log forward, both ends inclusive, reading pages of *limit* (100).

        A negative *from_seq* begins at the newest so many. Ends at what is the end when it comes
        there.
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
        Read the LLM context: what is to be sent to a model.

        Args:
            budget_tokens: Fit it under this budget instead of the context's own.
            if_version: Read only if this is the current version.
            at_version: Read the window as it was after this version.
            explain: Say in `explained` what became of each message of the log.
        """
        return self._driver.run(
            self._calls.view(self.id, budget_tokens, if_version, at_version, explain=explain)
        )

    def at_version(self, version: int, *, budget_tokens: int | None = None) -> View:
        """Read the LLM context as it was after *version*, under the configuration of now."""
        return self._driver.run(self._calls.view(self.id, budget_tokens, None, version))

    def compact(
        self,
        replacement: Sequence[Mapping[str, Any]],
        *,
        if_version: int | None = None,
        idempotency_key: str | None = None,
    ) -> Compacted:
        """
        Make the window exactly *replacement*; the log stays as it is.

        Messages of the log that are given back as they were read stay references to it.
        """
        return self._driver.run(
            self._calls.compact(self.id, replacement, if_version, idempotency_key)
        )

    def compact_if_needed(
        self,
        summarise: Callable[[list[Message]], Summary],
        *,
        keep_last: int = KEEP_LAST,
    ) -> Compacted | None:
        """
        Replace old messages by a summary, if the window is above its trigger.

        The leading instructions and the newest messages stay: at least *keep_last* of them, or
        fewer if these take more than half of the tokens that the instructions leave up to the
        trigger. The other half is for the summary. No tool call is parted from its result. What is
        appended meanwhile stays.

        Args:
            summarise: Given the old messages, makes the summary: a text, a message, or several.
            keep_last: How many messages to keep, if they are not too large.

        Returns:
            The new version; None if nothing was to be done.

        Raises:
            CannotCompact: What has to stay is above the trigger by itself; nothing was changed.
            VersionConflict: The context was changed by others again and again.
        """
        return self._driver.run(self._calls.compact_if_needed(self.id, summarise, keep_last))

    def compactions(
        self, *, after: int | None = None, limit: int | None = None
    ) -> Iterator[Compaction]:
        """Give what has rewritten the window behind the version *after*, oldest first."""
        return self._driver.iterate(self._calls.compactions(self.id, after, limit))

    def stream(self, *, cursor: int | None = None, include_messages: bool = True) -> Stream:
        """
        Follow the context: an iterator of frames that reconnects, and ends with its deletion.

        Args:
            cursor: The last version that was processed; 0 replays all, None begins now.
            include_messages: Whether there are message frames; the cursor moves all the same.
        """
        return self._stream(self._calls.stream(self.id, cursor, include_messages=include_messages))
