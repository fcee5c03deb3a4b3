"""Clients that ask and do not read, and streams that break: a connection ends, and holds little."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from fastpaca.errors import FastpacaError
from fastpaca.http.bounds import ConnectionBounds
from fastpaca.http.messages import HttpRequest, HttpResponse
from tests.kit.http import Served, connected, serving, until
from tests.kit.stores import settle
from tests.server.sockets import SMALL, following

GET = b"GET / HTTP/1.1\r\nHost: a\r\n"


class Large:
    """Responds with many bytes, and counts how often."""

    def __init__(self, response_bytes: int = 200_000) -> None:
        self.response_bytes = response_bytes
        self.responses = self.sent = 0

    async def respond(self, request: HttpRequest) -> HttpResponse:
        self.responses += 1
        return HttpResponse(200, b" " * self.response_bytes, after=self._note)

    def _note(self) -> None:
        self.sent += 1

    def refuse(self, error: FastpacaError, sent_id: bytes | None, seconds: float) -> HttpResponse:
        raise error


class Breaking(Large):
    """Responds with a stream that breaks."""

    size: int | None = None
    close_code = 1000

    async def respond(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse(101, self)

    async def chunks(self) -> AsyncIterator[bytes]:
        """Send nothing, and fail."""
        for piece in (b"", b""):
            yield piece
        raise ValueError("broken")

    def close(self) -> None:
        """Hold nothing."""


@asynccontextmanager
async def mute(served: Served) -> AsyncIterator[socket.socket]:
    """Connect a client that keeps little of what it does not read."""
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)
        client.setblocking(False)
        await asyncio.get_running_loop().sock_connect(client, ("127.0.0.1", served.port))
        await until(lambda: served.connections)
        for connection in served.connections:
            system = connection._transport.get_extra_info("socket")
            system.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL)
        yield client


async def test_responses_that_are_not_read_are_not_piled_up() -> None:
    """
    A client that asks again and again without reading is sent one response more at most.
    """
    app = Large()
    async with serving(app) as served, mute(served) as client:
        for _ in range(20):
            await asyncio.get_running_loop().sock_sendall(client, GET + b"\r\n")
        async with asyncio.timeout(30):
            while app.responses < 2:  # noqa: ASYNC110  # nothing announces it
                await asyncio.sleep(0.002)
        await settle()
        assert (app.responses, app.sent) == (2, 1)


async def test_a_connection_that_closes_is_not_kept_by_a_client_that_does_not_read() -> None:
    """
    The last response of a connection has the same time to be read as any other.
    """
    bounds = ConnectionBounds(unread_seconds=0.05)
    app = Large(30_000)  # less than what a transport takes without a word
    async with serving(app, bounds) as served, mute(served) as client:
        await asyncio.get_running_loop().sock_sendall(client, GET + b"Connection: close\r\n\r\n")
        await served.is_empty()


async def test_a_stream_that_breaks_closes_its_websocket(caplog: pytest.LogCaptureFixture) -> None:
    """
    A defect is logged, and the client is told to reconnect instead of waiting for frames.
    """
    async with serving(Breaking()) as served, following(served.port) as client:
        assert (await client.until_closed())[1] == 1011
        client.writer.close()
        await served.is_empty()
    assert caplog.messages == ["a response failed"]


async def test_a_connection_that_comes_with_the_stop_is_closed() -> None:
    """
    A connection that was accepted just before the stop does not hold it up.
    """
    async with serving(Large()) as served:
        served.server.stop(30)
        async with connected(served.port) as client:
            assert await client.rest() == b""
