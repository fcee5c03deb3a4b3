"""Connections: what is not a request is refused in the shape of every other error, and bounded."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastpaca.api import errors
from fastpaca.api.request_ids import request_id
from fastpaca.errors import FastpacaError
from fastpaca.http.bounds import ConnectionBounds
from fastpaca.http.messages import ClientGone, Head, HttpRequest, HttpResponse
from tests.kit.http import PATIENCE_SECONDS, Client, Reply, connected, serving, until

GET = b"GET / HTTP/1.1\r\nHost: a\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
TLS_HELLO = bytes.fromhex("16030100c8010000c40303") + bytes(200)

BROKEN_HEADS = {
    "no request": b"hello\r\n\r\n",
    "tls": TLS_HELLO,
    "http/0.9": b"GET /\r\n\r\n",
    "http/1.2": b"GET / HTTP/1.2\r\nHost: a\r\n\r\n",
    "http/2": b"GET / HTTP/2.0\r\nHost: a\r\n\r\n",
    "http/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "unknown method": b"BREW / HTTP/1.1\r\nHost: a\r\n\r\n",
    "method in lower case": b"get / HTTP/1.1\r\nHost: a\r\n\r\n",
    "tunnel": b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n",
    "absolute target": b"GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
    "asterisk target": b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
    "no target": b"GET HTTP/1.1\r\nHost: a\r\n\r\n",
    "relative target": b"GET a HTTP/1.1\r\nHost: a\r\n\r\n",
    "fragment": b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n",
    "space in target": b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
    "nul in target": b"GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n",
    "raw bytes in target": "GET /ü HTTP/1.1\r\nHost: a\r\n\r\n".encode(),
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two hosts": GET + b"Host: b\r\n\r\n",
    "two hosts in 1.0": b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n",
    "folded header": GET + b"A: b\r\n  c\r\n\r\n",
    "space before colon": GET + b"A : b\r\n\r\n",
    "no colon": GET + b"A\r\n\r\n",
    "no name": GET + b": b\r\n\r\n",
    "nul in header": GET + b"A: \0\r\n\r\n",
    "bare cr": GET + b"A: b\rc\r\n\r\n",
    "bare lf": b"GET / HTTP/1.1\nHost: a\n\n",
    "two lengths": POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\na",
    "one length twice": POST + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\na",
    "list of lengths": POST + b"Content-Length: 1, 1\r\n\r\na",
    "negative length": POST + b"Content-Length: -1\r\n\r\n",
    "signed length": POST + b"Content-Length: +1\r\n\r\na",
    "hexadecimal length": POST + b"Content-Length: 0x1\r\n\r\na",
    "empty length": POST + b"Content-Length:\r\n\r\n",
    "length beyond all bounds": POST + b"Content-Length: 99999999999999999999\r\n\r\n",
    "length and chunks": POST + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks and length": POST + b"Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n0\r\n\r\n",
    "chunked twice": POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "compressed chunks": POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "unknown encoding": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "upgrade with a body": (
        POST + b"Connection: upgrade\r\nUpgrade: a\r\nContent-Length: 1\r\n\r\na"
    ),
    "chunks in 1.0": b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
}
BROKEN_BODIES = {
    "no chunk size": CHUNKED + b"x\r\na\r\n0\r\n\r\n",
    "negative chunk size": CHUNKED + b"-1\r\na\r\n0\r\n\r\n",
    "chunk size beyond all bounds": CHUNKED + b"fffffffffffffffff\r\na\r\n0\r\n\r\n",
    "chunk longer than its size": CHUNKED + b"1\r\nab\r\n0\r\n\r\n",
    "chunks with bare lf": CHUNKED + b"1\na\n0\n\n",
}
BROKEN = BROKEN_HEADS | BROKEN_BODIES


class App:
    """Answers what it was asked, once it has read all of it; some paths do something else."""

    def __init__(self) -> None:
        self.asked: list[Head] = []
        self.refused: list[int] = []
        self.may_answer = asyncio.Event()
        self.gone = asyncio.Event()

    async def respond(self, request: HttpRequest) -> HttpResponse:
        head = request.head
        self.asked.append(head)
        path = head.path.decode()
        if path == "/wait":
            await self.may_answer.wait()
        size = 0
        try:
            while path != "/early":
                size += len(request.take())
                if request.is_whole:
                    break
                await request.wait()
        except ClientGone:
            self.gone.set()
            raise
        answer = {"method": head.method, "path": path, "size": size}
        padding = b" " * 2**25 if path == "/large" else b""
        return HttpResponse(200, json.dumps(answer).encode() + padding, JSON)

    def refuse(self, error: FastpacaError, sent_id: bytes | None, seconds: float) -> HttpResponse:
        assert 0 <= seconds < PATIENCE_SECONDS
        response = errors.response(error)
        self.refused.append(response.status)
        name = request_id(sent_id)
        return HttpResponse(
            response.status, response.body, (*response.headers, (b"x-request-id", name))
        )


class InPieces(App):
    """Answers piece by piece, without saying how many there will be."""

    size: int | None = None
    close_code = 1000

    async def respond(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse(200, self)

    async def chunks(self) -> AsyncIterator[bytes]:
        for piece in (b"one ", b"", b"two"):
            yield piece

    def close(self) -> None:
        """Hold nothing."""


JSON = ((b"content-type", b"application/json"),)


@pytest.fixture
async def app() -> AsyncIterator[App]:
    made = App()
    yield made
    made.may_answer.set()


def check_refused(reply: Reply, status: int, code: str) -> None:
    assert reply.status == status
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["connection"] == "close"
    assert len(reply.headers["x-request-id"]) > 10
    assert set(reply.json) == {"error", "message"}
    assert reply.json["error"] == code
    assert reply.json["message"].endswith(".")


async def refused(client: Client, status: int = 400, code: str = "invalid_request") -> Reply:
    reply = await client.reply()
    check_refused(reply, status, code)
    assert await client.rest() == b""
    return reply


async def answered(client: Client, data: bytes) -> Reply:
    await client.send(data)
    reply = await client.reply()
    assert reply.status == 200
    return reply


# --- what is refused --------------------------------------------------------------------------


@pytest.mark.parametrize("name", BROKEN)
async def test_what_is_not_http_is_refused(name: str, app: App) -> None:
    """
    A broken request is a 400 in JSON that ends the connection, and it is counted.
    """
    async with serving(app) as served, connected(served.port) as client:
        await client.send(BROKEN[name])
        await refused(client)
        assert app.refused == [400]


@pytest.mark.parametrize("name", BROKEN)
async def test_what_is_not_http_is_refused_byte_by_byte(name: str, app: App) -> None:
    """
    It makes no difference in which pieces a broken request arrives.
    """
    async with serving(app) as served, connected(served.port) as client:
        for place in range(len(BROKEN[name])):
            await client.send(BROKEN[name][place : place + 1])
            await asyncio.sleep(0)
        await refused(client)


@pytest.mark.parametrize("name", BROKEN)
async def test_broken_request_waits_for_the_answers_before_it(name: str, app: App) -> None:
    """
    Requests that were sent in one go before a broken one are answered, in order, and then it is.
    """
    async with serving(app) as served, connected(served.port) as client:
        waiting = b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n"
        await client.send(waiting + GET + b"\r\n" + BROKEN[name])
        app.may_answer.set()
        assert (await client.reply()).json["path"] == "/wait"
        assert (await client.reply()).json["path"] == "/"
        await refused(client)


@pytest.mark.parametrize("name", BROKEN_HEADS)
async def test_broken_head_never_reaches_a_route(name: str, app: App) -> None:
    """
    A request whose head is broken is not begun, not even when the mistake is in its last line.
    """
    async with serving(app) as served, connected(served.port) as client:
        await client.send(BROKEN_HEADS[name])
        await refused(client)
    assert not app.asked


async def test_refusal_bears_the_request_id_of_the_caller(app: App) -> None:
    """
    A sane request id that came in before the mistake is given back; another is not.
    """
    async with serving(app) as served:
        for sent, is_kept in ((b"trace-1.2:3_4", True), (b"a b", False), (b"x" * 200, False)):
            async with connected(served.port) as client:
                await client.send(GET + b"X-Request-Id: " + sent + b"\r\nA: b\r\nbroken\r\n\r\n")
                reply = await refused(client)
                assert (reply.headers["x-request-id"] == sent.decode()) is is_kept


async def test_trailing_space_is_no_part_of_a_header(app: App) -> None:
    """
    White space around a header's value does not reach the application.
    """
    async with serving(app) as served, connected(served.port) as client:
        await answered(client, GET + b"A: \t b c \t \r\n\r\n")
    assert app.asked[0].headers[b"a"] == b"b c"


async def test_trailers_do_not_reach_the_application(app: App) -> None:
    """
    Headers behind a body are dropped, since they could change what was decided already.
    """
    async with serving(app) as served, connected(served.port) as client:
        body = b"3;a=b\r\nabc\r\n0\r\nAuthorization: Bearer x\r\n\r\n"
        assert (await answered(client, CHUNKED + body)).json["size"] == 3
        await answered(client, GET + b"\r\n")
    assert b"authorization" not in app.asked[0].headers


# --- what is too much -------------------------------------------------------------------------


def head_of(size: int) -> bytes:
    return GET + b"A: " + b"a" * (size - len(GET) - 7) + b"\r\n\r\n"


async def test_head_of_64_kib_is_answered(app: App) -> None:
    """
    A request line with headers of 64 KiB is read, one byte more is a 431.
    """
    async with serving(app) as served:
        async with connected(served.port) as client:
            await answered(client, head_of(64 * 1024 - 1))
            await answered(client, head_of(64 * 1024 - 1))
        async with connected(served.port) as client:
            await client.send(head_of(64 * 1024 + 1))
            await refused(client, 431, "headers_too_large")
        assert app.refused == [431]


@pytest.mark.parametrize(
    "endless",
    [
        b"GET /" + b"a" * 300_000,
        GET + b"A: " + b"a" * 300_000,
        GET + b"a" * 300_000,
        GET + b"A: " + b" " * 300_000,
        GET + b"A: b\r\n" * 50_000,
        CHUNKED + b"1;" + b"a" * 300_000,
        CHUNKED + b"0\r\nA: " + b"a" * 300_000,
        CHUNKED + b"0\r\n" + b"A: b\r\n" * 50_000,
        b"\r\n" * 150_000,
    ],
    ids=lambda data: repr(data[-20:]),
)
async def test_endless_head_is_refused(endless: bytes, app: App) -> None:
    """
    A target, header, chunk extension or trailer without an end is a 431, however it arrives.
    """
    async with serving(app) as served:
        for size in (len(endless), 10_000):
            async with connected(served.port) as client:
                for place in range(0, len(endless), size):
                    await client.send(endless[place : place + size])
                await refused(client, 431, "headers_too_large")


async def test_too_many_headers_are_refused(app: App) -> None:
    """
    A hundred headers are read, one more is a 431.
    """
    async with serving(app) as served, connected(served.port) as client:
        await answered(client, GET + b"A: b\r\n" * 99 + b"\r\n")
        await client.send(GET + b"A: b\r\n" * 100 + b"\r\n")
        await refused(client, 431, "headers_too_large")


async def test_too_many_connections_are_refused(app: App) -> None:
    """
    A connection beyond the bound is a 503 that says when to try again, and leaves others alone.
    """
    async with serving(app, ConnectionBounds(connections_max=1)) as served:
        async with connected(served.port) as first:
            await answered(first, GET + b"\r\n")
            async with connected(served.port) as second:
                reply = await refused(second, 503, "unavailable")
                assert reply.headers["retry-after"] == "1"
            await answered(first, GET + b"\r\n")
        await served.is_empty()
        async with connected(served.port) as third:
            await answered(third, GET + b"\r\n")


async def test_flood_of_connections_is_cut_off(app: App) -> None:
    """
    Far beyond the bound, connections are not even told.
    """
    async with serving(app, ConnectionBounds(connections_max=1)) as served:
        clients = [await asyncio.open_connection("127.0.0.1", served.port) for _ in range(10)]
        said = 0
        for reader, _ in clients[1:]:
            try:
                said += b"503" in await asyncio.wait_for(reader.read(), PATIENCE_SECONDS)
            except ConnectionError:
                continue
        assert 1 <= said <= 2
        for _, writer in clients:
            writer.transport.abort()


# --- what takes too long ----------------------------------------------------------------------


@pytest.mark.parametrize("begun", [b"G", b"GET / HTTP/1.1\r\n", GET + b"A: b"])
async def test_slow_head_is_refused(begun: bytes, app: App) -> None:
    """
    A request whose headers do not come to an end is a 408.
    """
    async with serving(app, ConnectionBounds(head_seconds=0.05)) as served:
        async with connected(served.port) as client:
            await client.send(begun)
            await refused(client, 408, "request_timeout")
        assert app.refused == [408]
    assert not app.asked


async def test_slow_head_is_not_saved_by_trickling(app: App) -> None:
    """
    The time of a head counts from its first byte, not from its last.
    """
    async with (
        serving(app, ConnectionBounds(head_seconds=0.1)) as served,
        connected(served.port) as client,
    ):
        await answered(client, GET + b"\r\n")
        trickle = asyncio.create_task(trickled(client))
        await refused(client, 408, "request_timeout")
        trickle.cancel()


async def trickled(client: Client) -> None:
    await client.send(GET)
    while True:
        await client.send(b"A: b\r\n")
        await asyncio.sleep(0.01)


async def test_slow_head_waits_for_the_answer_before_it(app: App) -> None:
    """
    An answer under way is sent whole before the next request is refused.
    """
    async with (
        serving(app, ConnectionBounds(head_seconds=0.05)) as served,
        connected(served.port) as client,
    ):
        await client.send(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n" + b"GET /")
        await asyncio.sleep(0.1)
        app.may_answer.set()
        assert (await client.reply()).json["path"] == "/wait"
        await refused(client, 408, "request_timeout")


@pytest.mark.parametrize("sent", [b"", b"\r\n", GET + b"\r\n"])
async def test_idle_connection_is_closed_in_silence(sent: bytes, app: App) -> None:
    """
    A connection that asks nothing, or nothing more, is closed without a word.
    """
    async with serving(app, ConnectionBounds(idle_seconds=0.05)) as served:
        async with connected(served.port) as client:
            await client.send(sent)
            if b"GET" in sent:
                await client.reply()
            assert await client.rest() == b""
        assert app.refused == []


async def test_connection_in_use_is_not_idle(app: App) -> None:
    """
    The time between two requests counts, not that of an answer or of a connection.
    """
    async with (
        serving(app, ConnectionBounds(idle_seconds=0.5)) as served,
        connected(served.port) as client,
    ):
        await client.send(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
        await asyncio.sleep(0.7)
        app.may_answer.set()
        await client.reply()
        for _ in range(7):
            await asyncio.sleep(0.1)
            await answered(client, GET + b"\r\n")


async def test_client_that_does_not_read_is_let_go(app: App) -> None:
    """
    A connection whose client takes nothing of its answer is cut off, and its memory freed.
    """
    async with serving(app, ConnectionBounds(unread_seconds=0.05, idle_seconds=0.05)) as served:
        with socket.create_connection(("127.0.0.1", served.port)) as client:
            client.send(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
            await until(lambda: app.asked)
            await served.is_empty()


async def test_client_that_reads_slowly_is_not_let_go(app: App) -> None:
    """
    Who takes some of the answer now and then gets all of it.
    """
    async with serving(app, ConnectionBounds(unread_seconds=0.5, idle_seconds=0.5)) as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port, limit=2**20)
        writer.write(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
        size = 0
        while size < 2**25:
            size += len(await asyncio.wait_for(reader.read(2**21), PATIENCE_SECONDS))
            await asyncio.sleep(0.05)
        writer.transport.abort()


async def test_client_that_reads_too_slowly_is_let_go(app: App) -> None:
    """
    Who takes less than the least pace holds no answer in memory, though it takes some.
    """
    bounds = ConnectionBounds(unread_seconds=0.5, unread_bytes=2**18, idle_seconds=0.5)
    async with serving(app, bounds) as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port, limit=2**16)
        writer.write(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
        size = 0
        while not app.asked or served.connections:
            size += len(await asyncio.wait_for(reader.read(2**12), PATIENCE_SECONDS))
            await asyncio.sleep(0.02)
        with suppress(ConnectionError):
            size += len(await asyncio.wait_for(reader.read(), PATIENCE_SECONDS))
        assert size < 2**25
        writer.transport.abort()


# --- answers that come early ------------------------------------------------------------------


async def test_early_answer_is_not_lost_to_a_reset(app: App) -> None:
    """
    A client that is still sending gets the answer whole, and is then closed.
    """
    async with serving(app, ConnectionBounds(linger_seconds=2)) as served:
        for ending in (b"", b"Connection: close\r\n"):
            async with connected(served.port) as client:
                head = b"POST /early HTTP/1.1\r\nHost: a\r\n" + ending
                sending = asyncio.create_task(
                    client.send(head + b"Content-Length: 30000000\r\n\r\n" + b"a" * 29_000_000)
                )
                assert (await client.reply()).json["path"] == "/early"
                await sending
                client.writer.close()


async def test_rest_of_an_early_answered_request_is_thrown_away(app: App) -> None:
    """
    Once the rest of its request has come in, a connection goes on.
    """
    async with serving(app) as served, connected(served.port) as client:
        await client.send(b"POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n")
        assert (await client.reply()).status == 200
        await client.send(b"GET / ABC")
        assert (await answered(client, GET + b"\r\n")).json["path"] == "/"


async def test_rest_of_an_early_answered_request_is_not_awaited_for_ever(app: App) -> None:
    """
    A rest that does not come in closes the connection.
    """
    async with serving(app, ConnectionBounds(linger_seconds=0.05)) as served:
        for ending in (b"", b"Connection: close\r\n"):
            async with connected(served.port) as client:
                await client.send(b"POST /early HTTP/1.1\r\nHost: a\r\n" + ending)
                await client.send(b"Content-Length: 100\r\n\r\n")
                assert (await client.reply()).status == 200
                assert await client.rest() == b""
                await served.is_empty()


async def test_nothing_is_begun_behind_the_last_answer(app: App) -> None:
    """
    A request that follows one with `Connection: close` is not carried out: nobody would know.
    """
    async with serving(app) as served, connected(served.port) as client:
        last = b"POST /early HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 1\r\n\r\n"
        await client.send(last)
        assert (await client.reply()).status == 200
        await client.send(b"a" + GET + b"\r\n")
        assert await client.rest() == b""
    assert len(app.asked) == 1


async def test_client_that_goes_in_the_middle_of_a_body_is_noticed(app: App) -> None:
    """
    The application learns that the rest of a body will not come.
    """
    async with serving(app) as served:
        async with connected(served.port) as client:
            await client.send(POST + b"Content-Length: 10\r\n\r\nabc")
            await until(lambda: app.asked)
        await asyncio.wait_for(app.gone.wait(), PATIENCE_SECONDS)


async def test_client_that_goes_leaves_nothing_behind(app: App) -> None:
    """
    Requests that a client has sent in one go end when it has gone, whichever of them was under way.
    """
    async with serving(app) as served:
        async with connected(served.port) as client:
            await client.send(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n" + (GET + b"\r\n") * 30)
            await until(lambda: app.asked)
        app.may_answer.set()
        await served.is_empty()


async def test_client_that_has_said_all_gets_its_answers(app: App) -> None:
    """
    A client may end its side of the connection once its requests are out.
    """
    async with serving(app) as served, connected(served.port) as client:
        await client.send(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n" + GET + b"\r\n")
        client.writer.write_eof()
        await until(lambda: app.asked)
        await asyncio.sleep(0.01)
        app.may_answer.set()
        assert (await client.reply()).json["path"] == "/wait"
        reply = await client.reply()
        assert reply.json["path"] == "/"
        assert reply.headers["connection"] == "close"
        assert await client.rest() == b""


# --- more than one request --------------------------------------------------------------------


async def test_pipelined_requests_are_answered_in_order(app: App) -> None:
    """
    Requests that are sent in one go are answered one after another, bodies and all.
    """
    async with serving(app) as served, connected(served.port) as client:
        body = b"a" * 100
        request = b"POST /%d HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n" + body
        await client.send(b"".join(request % number for number in range(30)))
        for number in range(30):
            expected = {"method": "POST", "path": f"/{number}", "size": 100}
            assert (await client.reply()).json == expected


async def test_pipelined_requests_are_bounded(app: App) -> None:
    """
    So many requests wait on one connection, no more are read, and the last answer says so.
    """
    async with (
        serving(app, ConnectionBounds(pipelined_max=3)) as served,
        connected(served.port) as client,
    ):
        await client.send(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n" + (GET + b"\r\n") * 2000)
        app.may_answer.set()
        replies = [await client.reply() for _ in range(4)]
        assert [reply.headers.get("connection") for reply in replies] == [None] * 3 + ["close"]
        assert await client.rest() == b""
    assert len(app.asked) == 4


async def test_http_1_0_is_answered_and_closed(app: App) -> None:
    """
    HTTP/1.0 gets its answer, with or without a host, and no second chance.
    """
    async with serving(app) as served:
        for host in (b"", b"Host: a\r\n"):
            async with connected(served.port) as client:
                reply = await answered(client, b"GET / HTTP/1.0\r\n" + host + b"\r\n")
                assert reply.headers["connection"] == "close"
                assert await client.rest() == b""


@pytest.mark.parametrize("keep_alive", [b"", b"Connection: keep-alive\r\n"])
async def test_http_1_0_is_sent_no_chunks(keep_alive: bytes) -> None:
    """
    A body of unknown length ends for HTTP/1.0 where the connection ends, whatever it asked for.
    """
    async with serving(InPieces()) as served:
        for method, body in ((b"GET", b"one two"), (b"HEAD", b"")):
            async with connected(served.port) as client:
                await client.send(method + b" / HTTP/1.0\r\n" + keep_alive + b"\r\n")
                head, _, rest = (await client.rest()).partition(b"\r\n\r\n")
                status, date, *others = head.split(b"\r\n")
                assert (status, date[:6]) == (b"HTTP/1.1 200 OK", b"date: ")
                assert (others, rest) == ([b"connection: close"], body)
        async with connected(served.port) as client:
            await client.send(GET + b"\r\n")
            await until(lambda: not served.server.tasks)
            client.writer.write_eof()
            assert b"chunked" in await client.rest()


@pytest.mark.parametrize("protocol", [b"h2c", b"x"])
async def test_upgrade_is_not_taken(protocol: bytes, app: App) -> None:
    """
    A request for another protocol is answered as if it had not asked, and is the last one.
    """
    async with serving(app) as served, connected(served.port) as client:
        upgrade = b"Connection: Upgrade\r\nUpgrade: " + protocol + b"\r\n\r\n"
        reply = await answered(client, GET + upgrade + b"\x81\x05hello")
        assert reply.headers["connection"] == "close"
        assert await client.rest() == b""
    assert len(app.asked) == 1


@pytest.mark.parametrize(
    ("headers", "field"),
    [
        (b"", "Sec-WebSocket-Version"),
        (b"Sec-WebSocket-Version: 8\r\n", "Sec-WebSocket-Version"),
        (b"Sec-WebSocket-Version: 13\r\n", "Sec-WebSocket-Key"),
        (b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: short\r\n", "Sec-WebSocket-Key"),
    ],
)
async def test_broken_handshake_is_refused(headers: bytes, field: str, app: App) -> None:
    """
    Who asks for a WebSocket in a way that nobody does is told what is wrong.
    """
    async with serving(app) as served, connected(served.port) as client:
        upgrade = b"Connection: Upgrade\r\nUpgrade: websocket\r\n" + headers + b"\r\n"
        await client.send(GET + upgrade)
        reply = await client.reply()
        assert (reply.status, reply.json["field"]) == (400, field)
        assert await client.rest() == b""
    assert not app.asked


async def test_client_that_waits_with_its_body_is_asked_for_it(app: App) -> None:
    """
    `Expect: 100-continue` gets its go-ahead, and then the answer.
    """
    async with serving(app) as served, connected(served.port) as client:
        await client.send(POST + b"Content-Length: 3\r\nExpect: 100-Continue\r\n\r\n")
        assert (await client.reply()).status == 100
        assert (await answered(client, b"abc")).json["size"] == 3
        await answered(client, GET + b"\r\n")


async def test_client_that_waits_with_its_body_is_not_asked_for_nothing(app: App) -> None:
    """
    Who is refused before the body was asked for need not send it: the connection is closed.
    """
    async with serving(app) as served, connected(served.port) as client:
        head = (
            b"POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"
        )
        assert (await answered(client, head)).json["path"] == "/early"
        assert await client.rest() == b""


async def test_old_client_is_not_told_to_continue(app: App) -> None:
    """
    HTTP/1.0 knows no interim answers, so none is sent.
    """
    async with serving(app) as served, connected(served.port) as client:
        head = b"POST / HTTP/1.0\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"
        assert (await answered(client, head + b"abc")).json["size"] == 3


# --- the end ----------------------------------------------------------------------------------


async def test_shutdown_closes_idle_connections_at_once(app: App) -> None:
    """
    Connections that are owed nothing are closed, others when their answers are out.
    """
    async with serving(app) as served, connected(served.port) as fresh:
        async with connected(served.port) as idle, connected(served.port) as busy:
            await answered(idle, GET + b"\r\n")
            await busy.send(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
            await until(lambda: len(app.asked) == 2 and len(served.connections) == 3)
            for connection in served.connections:
                connection.drain()
            assert await idle.rest() == b""
            assert await fresh.rest() == b""
            app.may_answer.set()
            assert (await busy.reply()).headers["connection"] == "close"
            assert await busy.rest() == b""
        await served.is_empty()


# --- anything at all --------------------------------------------------------------------------

PIECES = [
    *(b"GET ", b"POST ", b"/", b"/a?b=c", b" HTTP/1.1", b" HTTP/1.0", b"\r\n", b"\r\n\r\n", b"\n"),
    *(b"Host: a\r\n", b"Content-Length: 3\r\n", b"Content-Length: 0\r\n", b"abc", b"A: b\r\n"),
    *(b"Transfer-Encoding: chunked\r\n", b"3\r\nabc\r\n", b"0\r\n\r\n", b"Connection: close\r\n"),
    *(b"Connection: Upgrade\r\nUpgrade: x\r\n", b"Expect: 100-continue\r\n", b"\0", b"\xff", b" "),
    *(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"GET /early HTTP/1.1\r\nHost: a\r\n"),
]


@given(
    data=st.lists(st.sampled_from(PIECES) | st.binary(max_size=8), max_size=24).map(b"".join),
    size=st.integers(1, 200),
)
def test_no_bytes_break_a_connection(data: bytes, size: int) -> None:
    """
    Whatever is sent, in whatever pieces: only whole answers come back, broken requests are refused
    in JSON, the connection ends, and nothing stays behind.
    """
    asyncio.run(check_any(data, size))


async def check_any(data: bytes, size: int) -> None:
    async with serving(App(), ConnectionBounds(linger_seconds=0.5)) as served:
        async with connected(served.port) as client:
            for place in range(0, len(data), size):
                await client.send(data[place : place + size])
                await asyncio.sleep(0)
            client.writer.write_eof()
            text = await client.rest()
        while text:
            reply, text = first_reply(text)
            assert reply.status in {100, 200, 400}
            if reply.status == 400:
                check_refused(reply, 400, "invalid_request")
                assert not text
        await served.is_empty()


def first_reply(text: bytes) -> tuple[Reply, bytes]:
    head, end, rest = text.partition(b"\r\n\r\n")
    assert end
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    size = int(headers.get("content-length", 0))
    assert len(rest) >= size
    return Reply(int(first.split()[1]), headers, rest[:size]), rest[size:]
