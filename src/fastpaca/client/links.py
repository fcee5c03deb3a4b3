"""
How the calls of a client reach a node: over HTTP with httpx, or directly, see `local.py`.

A link carries out the two effects of a flow that need a node, `Send` and `Open`.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Protocol

import httpx

from fastpaca.client.connections import AsyncConnections, Connections, Interruptible
from fastpaca.client.errors import ClientClosed
from fastpaca.client.flow import NoResponse, Open, Outcome, Send
from fastpaca.client.http_requests import HttpRequests, body_buffer, no_response
from fastpaca.client.processes import record, record_async
from fastpaca.client.responses import ClientResponse

HTTPX_ERRORS = (httpx.RequestError, httpx.StreamError)
"""How httpx says that no response came."""


class Pieces(Protocol):
    """The body of an open response."""

    def read(self) -> bytes | NoResponse:
        """Return the next piece; nothing at the end."""

    def close(self) -> None:
        """Stop reading."""

    def interrupt(self) -> None:
        """End a read in another thread."""


class StreamLink(Protocol):
    """What one stream is read with."""

    def open(self, effect: Open) -> tuple[Outcome, Pieces | None]:
        """Send a request; return its response, and its body if that is to be read."""

    def close(self) -> None:
        """Release what the stream had of its own."""


class Link(Protocol):
    """How calls reach a node."""

    @property
    def is_closed(self) -> bool:
        """Whether it was closed."""

    def ready(self) -> None:
        """
        Prepare for a call, before its time starts.

        Raises:
            ClientClosed: The link was closed.
        """

    def send(self, effect: Send) -> Outcome:
        """Send a request, and read the whole response."""

    def for_stream(self, stream: Interruptible) -> StreamLink:
        """
        Return what *stream* is read with.

        Raises:
            ClientClosed: The link was closed.
        """

    def close(self) -> None:
        """Close the connections of this process, including those of its streams."""


class AsyncPieces(Protocol):
    """The body of an open response."""

    async def read(self) -> bytes | NoResponse:
        """Return the next piece; nothing at the end."""

    async def aclose(self) -> None:
        """Stop reading."""


class AsyncLink(Protocol):
    """How calls reach a node from an event loop."""

    async def ready(self) -> None:
        """
        Prepare for a call, before its time starts.

        Raises:
            ClientClosed: The link was closed.
        """

    async def open_node(self) -> None:
        """
        Open now what the first call would open.

        Raises:
            CannotOpen: The data of a local client is in use or can't be used.
            ClientClosed: The link was closed.
        """

    async def send(self, effect: Send) -> Outcome:
        """Send a request, and read the whole response."""

    async def open(self, effect: Open) -> tuple[Outcome, AsyncPieces | None]:
        """Send a request; return its response, and its body if that is to be read."""

    async def aclose(self) -> None:
        """Close the connections of this event loop."""


# --- over HTTP ------------------------------------------------------------------------------------


class HttpLink:
    """Calls over HTTP."""

    def __init__(self, connections: Connections[httpx.Client], requests: HttpRequests) -> None:
        self._connections = connections
        self._requests = requests

    @property
    def is_closed(self) -> bool:
        """Whether it was closed."""
        return self._connections.is_closed

    def ready(self) -> None:
        """Make the connections of this process; that reads certificates."""
        self._connections.current()

    def send(self, effect: Send) -> Outcome:
        """Send a request, and read the whole response."""
        client = self._connections.current()
        try:
            return self.read(self.sent(client, effect), effect)
        except HTTPX_ERRORS as error:
            return no_response(error)

    def sent(self, client: httpx.Client, effect: Send | Open) -> httpx.Response:
        """
        Send a request with *client*, and wait for the head of the response.

        Raises:
            ClientClosed: The connections were closed meanwhile.
            httpx.RequestError: No response came.
        """
        request = self._requests.request(effect)
        request.extensions["trace"] = record
        try:
            return client.send(request, stream=True)
        except RuntimeError as error:  # how httpx reports that the client is closed
            if self._connections.is_closed:
                raise ClientClosed from error
            raise

    def read(self, response: httpx.Response, effect: Send | Open) -> ClientResponse:
        """Read a whole response."""
        body = body_buffer(effect, self._requests.timeouts)
        try:
            for piece in response.iter_bytes():
                body.add(piece)
        finally:
            response.close()
        return body.response(response)

    def for_stream(self, stream: Interruptible) -> StreamLink:
        """Return what *stream* is read with: connections that no other thread uses."""
        return _HttpStreamLink(self, self._connections, stream)

    def close(self) -> None:
        """Close the connections of this process, including those of its streams."""
        self._connections.close()


class _HttpStreamLink:
    def __init__(
        self, link: HttpLink, connections: Connections[httpx.Client], stream: Interruptible
    ) -> None:
        self._link = link
        self._connections = connections
        self._client = connections.for_stream(stream)

    def open(self, effect: Open) -> tuple[Outcome, Pieces | None]:
        try:
            response = self._link.sent(self._client, effect)
            if response.status_code != httpx.codes.OK:
                return self._link.read(response, effect), None
        except HTTPX_ERRORS as error:
            return no_response(error), None
        opened = ClientResponse(response.status_code, response.headers)
        return opened, _HttpPieces(response)

    def close(self) -> None:
        self._connections.release(self._client)


class _HttpPieces:
    def __init__(self, response: httpx.Response) -> None:
        self._response = response
        self._pieces = response.iter_bytes()

    def read(self) -> bytes | NoResponse:
        try:
            return next(self._pieces, b"")
        except HTTPX_ERRORS as error:
            return no_response(error)

    def close(self) -> None:
        self._response.close()

    def interrupt(self) -> None:
        connection = self._response.extensions["network_stream"].get_extra_info("socket")
        with contextlib.suppress(OSError):  # it has already ended
            connection.shutdown(socket.SHUT_RDWR)


class AsyncHttpLink:
    """Calls over HTTP from an event loop."""

    def __init__(
        self, connections: AsyncConnections[httpx.AsyncClient], requests: HttpRequests
    ) -> None:
        self._connections = connections
        self._requests = requests

    async def ready(self) -> None:
        """Make the connections of this event loop; that reads certificates."""
        await self._connections.current()

    async def open_node(self) -> None:
        """Do nothing more: a connection is opened by the first call."""
        await self._connections.current()

    async def send(self, effect: Send) -> Outcome:
        """Send a request, and read the whole response."""
        try:
            return await self._read(await self._sent(effect), effect)
        except HTTPX_ERRORS as error:
            return no_response(error)

    async def open(self, effect: Open) -> tuple[Outcome, AsyncPieces | None]:
        """Send a request; return its response, and its body if that is to be read."""
        try:
            response = await self._sent(effect)
            if response.status_code != httpx.codes.OK:
                return await self._read(response, effect), None
        except HTTPX_ERRORS as error:
            return no_response(error), None
        opened = ClientResponse(response.status_code, response.headers)
        return opened, _AsyncHttpPieces(response)

    async def aclose(self) -> None:
        """Close the connections of this event loop."""
        await self._connections.aclose()

    async def _sent(self, effect: Send | Open) -> httpx.Response:
        request = self._requests.request(effect)
        request.extensions["trace"] = record_async
        client = await self._connections.current()
        response = await client.send(request, stream=True)
        assert isinstance(response.stream, httpx.AsyncByteStream)
        response.stream = ShieldedBody(response.stream)
        return response

    async def _read(self, response: httpx.Response, effect: Send | Open) -> ClientResponse:
        body = body_buffer(effect, self._requests.timeouts)
        try:
            async for piece in response.aiter_bytes():
                body.add(piece)
        finally:
            await response.aclose()
        return body.response(response)


class _AsyncHttpPieces:
    def __init__(self, response: httpx.Response) -> None:
        self._response = response
        self._pieces = response.aiter_bytes()

    async def read(self) -> bytes | NoResponse:
        try:
            return await anext(self._pieces, b"")
        except HTTPX_ERRORS as error:
            return no_response(error)

    async def aclose(self) -> None:
        await self._response.aclose()


class ShieldedBody(httpx.AsyncByteStream):
    """
    The body of a response, whose closing can't be cancelled.

    A task that is cancelled while httpx returns a connection to its pool would leave the connection
    in use forever.
    """

    def __init__(self, pieces: httpx.AsyncByteStream) -> None:
        self._pieces = pieces

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Iterate over the pieces."""
        return aiter(self._pieces)

    async def aclose(self) -> None:
        """Close the body, even if the task that asks for it is cancelled."""
        await asyncio.shield(asyncio.ensure_future(self._pieces.aclose()))
