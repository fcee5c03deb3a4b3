"""The synchronous client: `Fastpaca`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from fastpaca.client.calls import Calls
from fastpaca.client.connections import Connections, HttpClients, MakeTransport
from fastpaca.client.flow import Flow
from fastpaca.client.http_requests import BASE_URL, DEFAULT_ESTIMATOR, HttpRequests
from fastpaca.client.links import HttpLink, Link
from fastpaca.client.options import Retries, Timeouts
from fastpaca.client.sync_context import Context
from fastpaca.client.sync_driver import Driver, Stream
from fastpaca.client.values import (
    ContextInfo,
    Policy,
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
