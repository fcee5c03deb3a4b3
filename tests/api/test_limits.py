"""Limits on requests: how large and slow a body may be, what it is called, and how many come."""

from __future__ import annotations

import asyncio
import contextlib

import httpx
import pytest

from fastpaca.api.limits import BodyPace, RateLimiter
from fastpaca.errors import RateLimited
from fastpaca.http.messages import ClientGone
from fastpaca.settings import RateLimit
from fastpaca.testing import ManualClock, SocketlessNode, composed, running
from tests.kit.app import append, create, error_of, everything
from tests.kit.messages import HELLO, user
from tests.kit.requests import PiecesRequest, Reply, body_headers, head_of, send, whole
from tests.kit.stores import ScriptedStore

PUT = b"/v1/contexts/c"
CHUNKED = [(b"content-type", b"application/json"), (b"transfer-encoding", b"chunked")]


async def asked(
    node: SocketlessNode, headers: list[tuple[bytes, bytes]], pieces: list[bytes]
) -> tuple[int, Reply]:
    """Send a body in *pieces*; tell how many of them were waited for, and what came back."""
    request = PiecesRequest(head_of("PUT", PUT, b"", headers), pieces)
    reply = await whole(await node.app.respond(request))
    return request.asked, reply


def padded(size: int) -> bytes:
    """A PUT body of so many bytes."""
    return b'{"metadata":{"k":"%b"}}' % (b"x" * (size - 21))


# --- size -------------------------------------------------------------------------------------


async def test_a_body_of_just_the_limit_is_taken() -> None:
    """The limit is the size that still goes, in one piece or many."""
    node = composed(body_bytes_max=1000)
    body = padded(1000)
    async with running(node):
        reply = await send(node.app, "PUT", PUT, headers=body_headers(body), pieces=[body])
        assert reply.status == 201
        pieces = [body[start : start + 7] for start in range(0, 1000, 7)]
        for headers in (body_headers(body), CHUNKED):
            assert (await send(node.app, "PUT", PUT, headers=headers, pieces=pieces)).status == 200


async def test_a_body_that_says_it_is_too_large_is_not_read() -> None:
    """The size in Content-Length is enough to refuse."""
    node = composed(body_bytes_max=1000)
    async with running(node) as client:
        for size in (b"1001", b"99999999999999999999999999"):
            headers = [(b"content-type", b"application/json"), (b"content-length", size)]
            waits, reply = await asked(node, headers, [b"{}"])
            assert waits == 0
            assert reply.status == 413
        assert (await client.get("/v1/contexts/c")).status_code == 404


async def test_a_body_that_grows_too_large_is_refused_while_it_streams_in() -> None:
    """No more is read than shows that it is too much."""
    node = composed(body_bytes_max=1000)
    async with running(node):
        waits, reply = await asked(node, CHUNKED, [b"x" * 300] * 100)
        assert waits == 4
        assert reply.status == 413
        assert reply.json()["error"] == "payload_too_large"
        assert "1000" in reply.json()["message"]


async def test_one_piece_that_is_too_large_is_refused() -> None:
    """A whole body that arrives at once is held against the limit as well."""
    node = composed(body_bytes_max=1000)
    async with running(node):
        body = padded(1001)
        reply = await send(node.app, "PUT", PUT, headers=CHUNKED, pieces=[body])
        assert reply.status == 413


async def test_a_content_length_that_is_no_number_is_refused() -> None:
    """Whatever a server in front let through, no size is guessed."""
    node = composed()
    async with running(node):
        headers = [(b"content-length", b"+5")]
        reply = await send(node.app, "PUT", PUT, headers=headers, pieces=[b"{}"])
        assert (reply.status, reply.json()["field"]) == (400, "Content-Length")


@pytest.mark.parametrize("headers", [body_headers(b"x"), body_headers(b"x" * 70_000), CHUNKED])
async def test_a_refusal_before_the_body_reads_nothing_of_it(
    headers: list[tuple[bytes, bytes]],
) -> None:
    """Whoever lacks a key is told so before the body comes."""
    node = composed(api_keys=("key",))
    async with running(node):
        waits, reply = await asked(node, headers, [b"x"])
        assert waits == 0
        assert reply.status == 401


# --- pace -------------------------------------------------------------------------------------


async def test_a_body_that_stops_coming_is_timed_out() -> None:
    """After a pause without a byte the answer is 408."""
    node = composed(pace=BodyPace(idle_s=0.05))
    body = b'{"token_budget":5}'
    async with running(node) as client:
        paused: list[list[bytes | float | None]] = [[5.0, body], [body[:5], 5.0, body[5:]]]
        for pieces in paused:
            headers = body_headers(body)
            reply = await send(node.app, "PUT", PUT, headers=headers, pieces=pieces)
            assert (reply.status, reply.json()["error"]) == (408, "request_timeout")
        assert (await client.get("/v1/contexts/c")).status_code == 404


async def test_a_body_that_drips_is_timed_out() -> None:
    """Bytes now and then do not hold a connection for ever: the whole has a least rate."""
    node = composed(pace=BodyPace(idle_s=0.1, bytes_per_s=1000))
    async with running(node):
        pieces: list[bytes | float] = []
        for _ in range(500):
            pieces += [b" ", 0.01]
        loop = asyncio.get_running_loop()
        began = loop.time()
        reply = await send(node.app, "PUT", PUT, headers=CHUNKED, pieces=pieces)
        assert reply.status == 408
        assert 0.05 < loop.time() - began < 2


async def test_a_slow_body_that_keeps_coming_is_read() -> None:
    """Pauses shorter than the longest allowed are fine as long as the rate holds."""
    node = composed(pace=BodyPace(idle_s=0.2, bytes_per_s=10))
    body = padded(60)
    async with running(node):
        pieces: list[bytes | float] = [0.03]
        for start in range(0, 60, 6):
            pieces += [body[start : start + 6], 0.03]
        pieces.append(b"")
        reply = await send(node.app, "PUT", PUT, headers=CHUNKED, pieces=pieces)
        assert reply.status == 201


@pytest.mark.parametrize("pieces", [[None], [b'{"token', None], [0.01, None], [b"{", 0.01, None]])
async def test_a_client_that_leaves_changes_nothing(pieces: list[bytes | float | None]) -> None:
    """A body that ends with its connection is not answered, and nothing of it is done."""
    node = composed()
    async with running(node) as client:
        with pytest.raises(ClientGone):
            await send(node.app, "PUT", PUT, headers=CHUNKED, pieces=pieces)
        assert (await client.get("/v1/contexts/c")).status_code == 404


async def test_a_cancelled_request_lets_go() -> None:
    """A request that is cancelled while it waits for its body ends at once."""
    node = composed()

    async with running(node):
        task = asyncio.create_task(send(node.app, "PUT", PUT, headers=CHUNKED))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


# --- media types ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind",
    [
        None,
        "",
        "application/json",
        "Application/JSON",
        "application/json; charset=utf-8",
        "application/json;charset=UTF-8",
        'application/json; charset="utf-8"',
        "application/json; profile=x",
        "application/json;",
        "application/merge-patch+json",
        "application/vnd.api+json; charset=utf8",
        "text/x+json",
    ],
)
async def test_json_has_many_names(client: httpx.AsyncClient, kind: str | None) -> None:
    """JSON types are taken with any parameter but a foreign charset, and so is no label at all."""
    headers = {} if kind is None else {"Content-Type": kind}
    answer = await client.put("/v1/contexts/c", content=b'{"token_budget":5}', headers=headers)
    assert answer.status_code == 201, answer.text


@pytest.mark.parametrize(
    "kind",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/jsonp",
        "application/jsonl",
        "json",
        "*/*",
        "application/json, text/plain",
        "application/json; charset=latin-1",
        "application/json; charset=utf-16",
    ],
)
async def test_other_media_types_are_refused(client: httpx.AsyncClient, kind: str) -> None:
    """What is not called JSON is 415, whatever it holds; the message says what would be right."""
    await create(client)
    before = await everything(client)
    for method, path in (
        ("PUT", "/v1/contexts/c"),
        ("PATCH", "/v1/contexts/c/metadata"),
        ("POST", "/v1/contexts/c/messages"),
        ("POST", "/v1/contexts/c/compact"),
    ):
        answer = await client.request(method, path, content=b"{}", headers={"Content-Type": kind})
        body = error_of(answer, 415, "unsupported_media_type")
        assert "application/json" in body["message"]
    assert await everything(client) == before


@pytest.mark.parametrize("kind", ["text/plain", "application/json", "nonsense"])
async def test_an_empty_body_has_no_media_type(client: httpx.AsyncClient, kind: str) -> None:
    """Where a body may be empty, it does not matter what the nothing is called."""
    answer = await client.put("/v1/contexts/c", headers={"Content-Type": kind})
    assert answer.status_code == 201
    answer = await client.post("/v1/contexts/c/messages", headers={"Content-Type": kind})
    error_of(answer, 400, "invalid_request")


@pytest.mark.parametrize(
    ("encoding", "status"), [("identity", 201), ("gzip", 415), ("br", 415), ("", 415)]
)
async def test_compressed_bodies_are_refused(
    client: httpx.AsyncClient, encoding: str, status: int
) -> None:
    """A body is read as it stands: any encoding but `identity` is 415."""
    headers = {"Content-Encoding": encoding, "Content-Type": "application/json"}
    answer = await client.put("/v1/contexts/c", content=b"{}", headers=headers)
    assert answer.status_code == status


async def test_bodies_of_reads_are_ignored(client: httpx.AsyncClient) -> None:
    """A body that a GET or DELETE happens to have means nothing."""
    await create(client)
    headers = {"Content-Type": "text/plain"}
    for method, path in (("GET", ""), ("GET", "/tail"), ("GET", "/context"), ("DELETE", "")):
        answer = await client.request(
            method, f"/v1/contexts/c{path}", content=b"hello", headers=headers
        )
        assert answer.is_success


# --- rate -------------------------------------------------------------------------------------


async def test_a_caller_has_so_many_requests_in_a_period() -> None:
    """Above the rate the answer is 429 with the seconds to wait, and waiting helps."""
    clock = ManualClock()
    node = composed(rate_limit=RateLimit(3, 60), monotonic=clock.monotonic)
    async with running(node) as client:
        for _ in range(3):
            assert (await client.get("/v1/contexts")).status_code == 200
        answer = await client.put("/v1/contexts/c")
        error_of(answer, 429, "rate_limited")
        assert answer.headers["retry-after"] == "20"
        clock.advance(19)
        assert (await client.get("/v1/contexts")).headers["retry-after"] == "1"
        clock.advance(1)
        assert (await client.get("/v1/contexts")).json()["contexts"] == []
        assert (await client.get("/nothing")).status_code == 429
        clock.advance(600)
        for _ in range(3):
            assert (await client.get("/nothing")).status_code == 404
        assert (await client.get("/nothing")).status_code == 429


async def test_probes_are_not_limited() -> None:
    """Health answers whatever the rate, and does not count."""
    node = composed(rate_limit=RateLimit(1, 60))
    async with running(node) as client:
        for _ in range(5):
            assert (await client.get("/health/live")).status_code == 200
        assert (await client.get("/v1/contexts")).status_code == 200
        assert (await client.get("/v1/contexts")).status_code == 429
        assert (await client.get("/health/ready")).status_code == 200


async def test_each_key_and_each_address_has_its_own_rate() -> None:
    """Callers are told apart by their key, and without one by where they come from."""
    keys = ("a", "b")
    node = composed(rate_limit=RateLimit(1, 60), api_keys=keys)

    async def status(key: str, address: str) -> int:
        headers = [(b"authorization", b"Bearer " + key.encode())]
        return (
            await send(node.app, "GET", b"/v1/contexts", headers=headers, address=address)
        ).status

    async with running(node):
        assert await status("a", "10.0.0.1") == 200
        assert await status("a", "10.0.0.2") == 429
        assert await status("b", "10.0.0.1") == 200
        assert await status("wrong", "10.0.0.1") == 401
        assert await status("wronger", "10.0.0.1") == 429  # guessing keys is limited as well
        assert await status("wrong", "10.0.0.2") == 401


def test_the_rate_is_kept_for_a_bounded_number_of_callers() -> None:
    """Callers who were not seen for the longest time are forgotten first."""
    rate = RateLimiter(1, 60, lambda: 0.0, callers_max=3)
    for caller in "abcd":
        rate.take(caller)
    for caller in "cd":
        with pytest.raises(RateLimited):
            rate.take(caller)
    rate.take("a")


def test_the_rate_is_spread_over_the_period() -> None:
    """After a burst of all that is allowed, one more goes whenever its share of time is over."""
    clock = ManualClock()
    rate = RateLimiter(10, 1, clock.monotonic)
    refused = 0
    for _ in range(300):
        with contextlib.suppress(RateLimited):
            refused += 1
            rate.take("a")
            refused -= 1
        clock.advance(0.01)
    assert refused == 300 - (10 + 29)


async def test_a_full_queue_is_429_and_nothing_of_it_is_done() -> None:
    """When too many writes wait, more are refused with Retry-After; those that wait go through."""
    store = ScriptedStore()
    node = composed(store, queue_ops_max=2)
    async with running(node) as client:
        await create(client)
        store.gate.clear()
        path = "/v1/contexts/c/messages"
        waiting = [
            asyncio.create_task(client.post(path, json={"message": user(f"m{n}")}))
            for n in range(2)
        ]
        await asyncio.sleep(0.01)
        answer = await client.post(path, json={"message": user("too many")})
        error_of(answer, 429, "rate_limited")
        assert answer.headers["retry-after"] == "1"
        store.gate.set()
        assert [a.status_code for a in await asyncio.gather(*waiting)] == [201, 201]
        assert (await client.get("/v1/contexts/c")).json()["version"] == 2
        await append(client, HELLO)
