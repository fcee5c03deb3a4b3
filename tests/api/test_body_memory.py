"""Bodies that are there at the same time take no more memory together than they may."""

from __future__ import annotations

import asyncio
import threading

import pytest

from fastpaca.api.admission import Admission
from fastpaca.api.app import App
from fastpaca.api.auth import Origins
from fastpaca.api.limits import (
    GIVE_BACK_BYTES,
    REQUEST_FACTOR,
    SHORT_BYTES,
    BodyMemory,
    BodyPace,
    RequestBodies,
)
from fastpaca.api.request import Request, Response
from fastpaca.api.routes import Route, Routes
from fastpaca.errors import InvalidRequest, RateLimited
from fastpaca.http.messages import ClientGone
from fastpaca.telemetry import Metrics
from fastpaca.testing import composed, running
from tests.kit.app import append, create, error_of
from tests.kit.messages import user
from tests.kit.requests import PiecesRequest, Reply, head_of, send

PATH = b"/v1/echo"
PIECE = b"x" * 50_000
CHUNKED = [(b"content-type", b"application/json"), (b"transfer-encoding", b"chunked")]

Pieces = list[bytes | float | None]


def bodies_of(bytes_max: int, together_bytes: int, pace: BodyPace) -> RequestBodies:
    """Read bodies of so many bytes, and of so many together."""
    return RequestBodies(bytes_max, pace, BodyMemory(REQUEST_FACTOR * together_bytes, bytes_max))


def arriving(pieces: Pieces) -> tuple[Request, PiecesRequest]:
    """A request whose body comes in *pieces*; it never ends if the last one is a pause."""
    incoming = PiecesRequest(head_of("POST", PATH, b"", CHUNKED), pieces)
    return Request(incoming), incoming


async def test_a_body_that_does_not_fit_beside_the_others_is_refused_as_it_comes() -> None:
    """What has really arrived counts, not what was announced, and the rest is not read."""
    bodies = bodies_of(10_000_000, 10_000_000, BodyPace())
    slow, _ = arriving([*[PIECE] * 180, 60.0])  # 9 of 10 million, and more is to come
    reading = asyncio.create_task(bodies.read(slow))
    await asyncio.sleep(0.01)
    fits, _ = arriving([*[PIECE] * 20])
    assert len(await bodies.read(fits)) == 1_000_000
    late, incoming = arriving([*[PIECE] * 20])
    with pytest.raises(RateLimited) as refused:
        await bodies.read(late)
    assert refused.value.retry_after_seconds == 1
    assert incoming.asked == 2
    assert late.held_bytes == 0
    reading.cancel()
    bodies.memory.set(slow, 0)
    again, _ = arriving([*[PIECE] * 20])
    assert len(await bodies.read(again)) == 1_000_000


async def test_short_bodies_are_taken_however_full_it_is() -> None:
    """Large bodies keep out each other, and nobody who has but a sentence to say."""
    bodies = bodies_of(1_000_000, 1_000_000, BodyPace())
    large, _ = arriving([PIECE * 20])
    await bodies.read(large)
    for _ in range(100):
        short, _ = arriving([b"x" * (SHORT_BYTES - 1), b"x"])
        assert len(await bodies.read(short)) == SHORT_BYTES
    longer, _ = arriving([b"x" * (SHORT_BYTES + 1)])
    with pytest.raises(RateLimited):
        await bodies.read(longer)


async def test_a_body_of_just_the_limit_fits_where_nothing_else_is() -> None:
    """Whoever lets a single body be larger than all of them lets it be so."""
    bodies = bodies_of(1_000_000, 100, BodyPace())
    largest, _ = arriving([PIECE] * 20)
    assert len(await bodies.read(largest)) == 1_000_000


def test_a_body_counts_until_its_request_is_answered() -> None:
    """
    While a handler works on a body it is there; then its place is free, whatever became of it.
    """
    asyncio.run(ends())


async def ends() -> None:
    """Fill the place with one body after the other, each of which comes to another end."""
    bodies = bodies_of(200_000, 200_000, BodyPace(idle_s=0.1))
    working = asyncio.Event()
    released = asyncio.Event()

    async def handler(request: Request) -> Response:
        body = await bodies.read(request)
        if body.endswith(b"bad"):
            raise InvalidRequest("It is bad.")
        if body.endswith(b"defect"):
            raise ZeroDivisionError
        if body.endswith(b"slow"):
            working.set()
            await released.wait()
        return Response(200)

    routes = Routes((Route(PATH.decode(), {"POST": handler}),))
    app = App(routes, Admission(None, Origins(()), False, None), Metrics(), bodies.memory)

    async def post(*pieces: bytes | float | None) -> Reply:
        return await send(app, "POST", PATH, headers=CHUNKED, pieces=pieces)

    with pytest.raises(ClientGone):
        await post(PIECE * 3, 0.01, None)
    assert (await post(PIECE * 3)).status == 200
    assert (await post(PIECE * 3, b"bad")).status == 400
    assert (await post(PIECE * 3, b"defect")).status == 500
    assert (await post(PIECE * 3, PIECE * 2)).status == 413
    assert (await post(PIECE * 3, 5.0, b"late")).status == 408
    first = asyncio.create_task(post(PIECE * 3, b"slow"))
    await working.wait()
    refused = await post(PIECE, PIECE, PIECE)
    assert (refused.status, refused.json()["error"]) == (429, "rate_limited")
    assert refused.headers["retry-after"] == "1"
    released.set()
    assert (await first).status == 200
    cut = asyncio.create_task(post(PIECE * 3, 60.0))
    await asyncio.sleep(0.01)
    cut.cancel()
    await asyncio.wait([cut])
    assert (await post(PIECE * 3, b"slow")).status == 200


async def test_memory_is_given_back_once_after_large_bodies() -> None:
    """What large bodies leave is returned to the system, in a thread, and not for short ones."""
    given_back = threading.Event()
    memory = BodyMemory(10**9, 1, given_back.set)
    tasks = len(asyncio.all_tasks())
    request, _ = arriving([])
    memory.set(request, GIVE_BACK_BYTES - 1)
    memory.set(request, 0)
    assert len(asyncio.all_tasks()) == tasks
    memory.set(request, 1)
    memory.set(request, 0)
    assert len(asyncio.all_tasks()) == tasks + 1
    assert await asyncio.to_thread(given_back.wait, 60)


async def test_what_is_read_is_refused_while_there_is_no_room_for_it() -> None:
    """A large page or view is 429, a short one is given, and a write is answered in any case."""
    path = "/v1/contexts/c"
    async with running(composed(body_memory_bytes=1, body_bytes_max=100_000)) as client:
        await create(client, token_budget=10**9)
        for _ in range(12):
            await append(client, user("x" * 90_000))
        for route in ("messages", "tail", "context"):
            error_of(await client.get(f"{path}/{route}"), 429, "rate_limited")
        for route in ("messages?limit=1", "tail?limit=1", "context?budget_tokens=1000"):
            assert (await client.get(f"{path}/{route}")).status_code == 200
