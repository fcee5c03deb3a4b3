"""Followers that are slow, silent or hostile: bounded, let go, and nobody else's business."""

from __future__ import annotations

import asyncio
import gc
import logging
import weakref
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, NamedTuple

import httpx
import pytest

from fastpaca.http.bounds import ConnectionBounds, SocketBounds
from fastpaca.http.websocket import FLOODING, SILENT, TOO_SLOW, WebSocket
from fastpaca.testing import SocketlessNode, composed, running
from tests.kit.http import Served, serving, until
from tests.kit.messages import user
from tests.server.sockets import BINARY, CLOSE, CONT, PING, PONG, TEXT, following, frame, listening

JSON_PONG = frame(TEXT, b'{"type":"pong"}')
MESSAGE_BYTES = 100_000
MESSAGES = 40
"""Several times what a connection may leave unread, and what the systems between keep of it."""

QUICK = SocketBounds(unread_seconds=0.2, close_seconds=0.2, system_bytes=4096)
"""Whoever does not read is found soon; nobody is silent for too long."""


class World(NamedTuple):
    """A node, its server, and a client that writes."""

    node: SocketlessNode
    served: Served
    http: httpx.AsyncClient

    async def append(self, count: int = MESSAGES, size: int = MESSAGE_BYTES) -> None:
        message = user("x" * size)
        for _ in range(count):
            response = await self.http.post("/v1/contexts/c/messages", json={"message": message})
            response.raise_for_status()

    @property
    def sockets(self) -> list[WebSocket]:
        return [c for c in self.served.server.connections if isinstance(c, WebSocket)]

    @property
    def streams(self) -> float:
        """What the gauge of open streams shows."""
        return self.node.metrics.registry.get_sample_value("fastpaca_stream_connections") or 0.0

    async def is_left_clean(self) -> None:
        """Wait until nothing is left of any follower."""
        await self.served.is_empty()
        await until(lambda: self.streams == 0)
        assert not self.node.engine.hub.channels
        assert not self.node.engine.hub.followers


@asynccontextmanager
async def world(socket: SocketBounds = QUICK, **bounds: Any) -> AsyncIterator[World]:
    """Serve one context over real sockets."""
    node = composed()
    async with running(node) as http:
        await http.put("/v1/contexts/c", json={"token_budget": 10**9})
        async with serving(node.app, ConnectionBounds(socket=socket, **bounds)) as served:
            yield World(node, served, http)


@pytest.fixture(autouse=True)
def nothing_is_an_error(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """What a client does is never logged as an error."""
    yield
    assert [r for r in caplog.records if r.levelno >= logging.ERROR] == []


# --- those who do not read ------------------------------------------------------------------------


async def test_reader_that_falls_behind_is_told_why() -> None:
    """
    Who reads nothing for too long is closed with 4409, behind what it was sent whole.
    """
    patient = SocketBounds(unread_seconds=0.2, close_seconds=20, system_bytes=4096)
    async with world(patient) as it:
        async with following(it.served.port, "?cursor=0") as slow:
            await it.append()
            await until(lambda: all(socket.is_closing for socket in it.sockets))
            await until(lambda: it.streams == 0)
            heard, code = await slow.until_closed()
            assert code == TOO_SLOW
            versions = [found.json["version"] for found in heard if b'"message"' in found.payload]
            assert versions == list(range(1, len(versions) + 1))
            assert len(versions) < MESSAGES
        await it.is_left_clean()


async def test_reader_that_never_reads_is_cut_off() -> None:
    """
    Nothing is left of a client that takes not even the close.
    """
    async with world() as it, following(it.served.port, "?cursor=0"):
        await it.append()
        await it.is_left_clean()


async def test_trickling_reader_is_cut_off() -> None:
    """
    To take less than the least pace is not reading.
    """
    async with world() as it, following(it.served.port, "?cursor=0") as slow:
        await it.append(1, 4_000_000)
        while it.sockets:
            await slow.reader.read(4000)
            await asyncio.sleep(0.05)
        await it.is_left_clean()


async def test_slow_reader_catches_up() -> None:
    """
    Who reads slowly, but above the least pace, is sent everything from the store, once.
    """
    bounds = SocketBounds(unread_seconds=2, unread_bytes=16 * 1024, system_bytes=4096)
    async with world(bounds) as it:
        async with following(it.served.port) as slow:
            assert (await slow.hear()).json["type"] == "context"
            await it.append()
            versions: list[int] = []
            while len(versions) < MESSAGES:
                found = (await slow.hear()).json
                if found["type"] == "message":
                    versions.append(found["version"])
                    await asyncio.sleep(0.01)
            assert versions == list(range(1, MESSAGES + 1))
        await it.is_left_clean()


async def test_others_do_not_wait_for_those_who_do_not_read() -> None:
    """
    Writers are answered and readers are told, whoever else is stuck in the same context.
    """
    stuck = SocketBounds(system_bytes=4096)  # nobody is let go in the time of a test
    async with world(stuck) as it, AsyncExitStack() as opened:
        for _ in range(10):
            await opened.enter_async_context(following(it.served.port, "?cursor=0"))
            await opened.enter_async_context(listening(it.served.port, "?cursor=0"))
        quick = await opened.enter_async_context(following(it.served.port))
        assert (await quick.hear()).json["type"] == "context"
        for version in range(1, MESSAGES + 1):
            await it.append(1)
            assert (await quick.hear()).json["version"] == version
            assert (await quick.hear()).json["type"] == "context"
        assert it.streams == 21


async def test_purge_overtakes_what_waits() -> None:
    """
    What a slow reader was about to be sent is not sent any more once it is erased.
    """
    async with (
        world(SocketBounds(system_bytes=4096)) as it,
        following(it.served.port) as slow,
    ):
        await slow.hear()
        part = {"type": "text", "text": "x" * 2000}
        body = {"messages": [user(part)] * 100}
        await it.http.post("/v1/contexts/c/messages", json=body)
        await until(lambda: all(not socket.is_writable for socket in it.sockets))
        await it.http.delete("/v1/contexts/c?purge=true")
        heard, code = await slow.until_closed()
        assert (heard[-1].json["type"], code) == ("tombstoned", 1000)
        assert 0 < len(heard) < 100


async def test_client_that_leaves_without_reading_is_let_go() -> None:
    """
    However a client ends that reads nothing, nothing is left of it.
    """
    for last_word in (
        frame(CLOSE, b"\x03\xe8"),
        frame(TEXT, b"x" * 10_000),
        b"\xff\xff\xff\xff",
        b"",
    ):
        patient = SocketBounds(close_seconds=0.2, unread_seconds=1000, system_bytes=4096)
        async with world(patient) as it, following(it.served.port, "?cursor=0") as slow:
            await it.append()
            await until(lambda: all(not socket.is_writable for socket in it.sockets))
            if last_word:
                await slow.say(last_word)
            else:
                slow.writer.write_eof()
            await it.is_left_clean()


async def test_end_of_a_context_is_not_awaited_for_ever() -> None:
    """
    A client that does not answer the close at the end of a context is let go.
    """
    async with world() as it, following(it.served.port) as client:
        await it.http.delete("/v1/contexts/c")
        heard, code = await client.until_closed()
        assert (heard[-1].json["type"], code) == ("tombstoned", 1000)
        await it.is_left_clean()


async def test_event_stream_that_nobody_reads_is_cut_off() -> None:
    """
    Server-sent events have a least pace too: who takes less is cut off.
    """
    for reads in (False, True):
        async with world(unread_seconds=0.2) as it, listening(it.served.port, "?cursor=0") as slow:
            await it.append(4 * MESSAGES)
            while it.served.connections:
                await slow.reader.read(4000 if reads else 0)
                await asyncio.sleep(0.05)
            await it.is_left_clean()


async def test_event_stream_whose_client_closes_is_left_at_once() -> None:
    """
    A place among the streams is free as soon as its client has closed, without a frame to fail.
    """
    async with world() as it, listening(it.served.port, "?cursor=0") as client:
        assert b'"cursor":0' in await asyncio.wait_for(client.reader.readuntil(b'"cursor":0'), 30)
        client.writer.write_eof()
        await it.is_left_clean()


# --- those who say too much, or nothing -----------------------------------------------------------


@pytest.mark.parametrize(
    "word",
    [JSON_PONG, frame(PONG), frame(PONG, b"x" * 125), frame(PING), frame(BINARY, b"x" * 4096)],
    ids=["json pongs", "pongs", "long pongs", "pings", "messages"],
)
async def test_flood_is_closed(word: bytes) -> None:
    """
    Who sends more than a few frames in each interval is closed with 1008.
    """
    async with (
        world(SocketBounds(frames_max=100, close_seconds=20)) as it,
        following(it.served.port) as client,
    ):
        await client.say(word * 100)
        await asyncio.sleep(0.05)
        assert len(it.sockets) == 1
        await client.say(word)
        _, code = await client.until_closed()
        assert code == FLOODING
        client.writer.write_eof()
        await it.is_left_clean()


async def test_flood_is_not_understood_to_the_end() -> None:
    """
    Behind the frame that was too much, at most a piece is read.
    """
    async with (
        world(SocketBounds(frames_max=100, close_seconds=20)) as it,
        following(it.served.port) as client,
    ):
        ping = frame(PING)
        await client.say(ping * 20_000)
        heard, code = await client.until_closed()
        assert code == FLOODING
        pongs = [found for found in heard if found.opcode == PONG]
        assert 100 <= len(pongs) <= 1000
        await client.say(ping * 1_000_000)  # is thrown away
        client.writer.write_eof()
        await it.is_left_clean()


async def test_message_without_end_is_closed() -> None:
    """
    Fragments count as frames, and together are no larger than a message.
    """
    async with world(SocketBounds(frames_max=100, close_seconds=20)) as it:
        async with following(it.served.port) as client:
            await client.say(frame(TEXT, ends=False) + frame(CONT, ends=False) * 200)
            assert (await client.until_closed())[1] == FLOODING
        async with following(it.served.port) as client:
            await client.say(frame(TEXT, b"x" * 4000, ends=False) + frame(CONT, b"x" * 200))
            assert (await client.until_closed())[1] == 1009
        async with following(it.served.port) as client:
            await client.say(frame(TEXT, b"x" * 4097))
            assert (await client.until_closed())[1] == 1009
        await it.is_left_clean()


@pytest.mark.parametrize(
    "nonsense",
    [b"\x81\x01x", frame(3), frame(CONT, b"x"), b"\xf1\x80\0\0\0\0", frame(PING, b"x" * 126)],
    ids=["no mask", "unknown opcode", "no beginning", "unknown extension", "long ping"],
)
async def test_nonsense_is_closed(nonsense: bytes) -> None:
    """
    What is no WebSocket is closed with 1002.
    """
    async with world() as it:
        async with following(it.served.port) as client:
            await client.say(nonsense)
            assert (await client.until_closed())[1] == 1002
        await it.is_left_clean()


async def test_words_do_not_matter() -> None:
    """
    Whatever a client says, in text or bytes, it is still there afterwards.
    """
    async with world() as it, following(it.served.port) as client:
        await client.hear()
        await client.say(JSON_PONG + frame(TEXT, b"\xff") + frame(BINARY, b"\0") + frame(PONG))
        await client.say(frame(TEXT, b"a", ends=False) + frame(PING, b"p") + frame(CONT, b"b"))
        assert await client.hear() == (PONG, b"p")
        await it.append(1, 10)
        assert (await client.hear()).json["type"] == "message"


async def test_silent_client_is_closed() -> None:
    """
    Who has said nothing for too long is closed with 4408; who speaks is not.
    """
    async with (
        world(SocketBounds(silent_seconds=0.5, close_seconds=20)) as it,
        following(it.served.port) as silent,
        following(it.served.port) as client,
    ):
        closing = asyncio.create_task(silent.until_closed())
        while not closing.done():
            await client.say(JSON_PONG)
            await asyncio.sleep(0.05)
        assert (await closing)[1] == SILENT
        await it.append(1, 10)
        assert [(await client.hear()).json["type"] for _ in range(2)] == ["context", "message"]


async def test_byte_by_byte_is_speech() -> None:
    """
    A frame that comes in pieces is understood.
    """
    async with world() as it, following(it.served.port) as client:
        await client.hear()
        for byte in frame(PING, b"slow"):
            await client.say(bytes([byte]))
            await asyncio.sleep(0.002)
        assert await client.hear() == (PONG, b"slow")


# --- what is left behind --------------------------------------------------------------------------


async def test_nothing_waits_for_the_collector() -> None:
    """
    What a connection took is freed when it ends, not when garbage is looked for.
    """
    gc.disable()
    try:
        async with world() as it:
            async with following(it.served.port) as client:
                await client.hear()
                (socket,) = it.sockets
                left: list[weakref.ref[Any]] = [weakref.ref(socket), weakref.ref(socket._protocol)]
                del socket
            await it.is_left_clean()
            await asyncio.sleep(0.01)
            assert [found() for found in left] == [None, None]
    finally:
        gc.enable()
