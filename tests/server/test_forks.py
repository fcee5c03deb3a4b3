"""A real node that is killed while it copies a fork: it is there as a whole, or not at all."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from fastpaca.forks import PIECE_ROWS
from fastpaca.store.sqlite.store import SqliteStore
from tests.kit.files import content_of
from tests.kit.http import GONE, Client, Reply, connected, until
from tests.kit.messages import user
from tests.kit.process import Process, running, serving, started

MESSAGES = 3_000

COMMITS = 1 + MESSAGES // PIECE_ROWS
"""One begins the fork, and the last piece makes it active."""


@contextmanager
def mortal(directory: Path, when: str, number: int) -> Iterator[Process]:
    """Run a node that kills itself at a commit of a fork; see `tests.server.mortal`."""
    program = ("tests.server.mortal", when, str(number))
    with running(serving(directory, program=program), directory) as process:
        yield process


async def fill(http: Client, messages: int = MESSAGES, size: int = 0) -> None:
    """Make the source: a long conversation, edited in between, with a summary at its front."""
    made = await http.ask("PUT", "/v1/contexts/source", {"metadata": {"title": "x"}})
    assert made.status == 201, made
    for start in range(0, messages, 500):
        batch = [user(f"{n} " + "x" * size, id=f"m{n}") for n in range(start, start + 500)]
        reply = await http.ask("POST", "/v1/contexts/source/messages", {"messages": batch})
        assert reply.status == 201, reply
    revised = {"message": user("revised", id="m7")}
    assert (await http.ask("PUT", "/v1/contexts/source/messages/m7", revised)).status == 200
    body = {"replacement": [user("a summary")]}
    assert (await http.ask("POST", "/v1/contexts/source/compact", body)).status == 200


async def fork(http: Client, name: str = "fork", key: str | None = None) -> Reply:
    return await http.ask("POST", "/v1/contexts/source/fork", {"id": name}, key)


async def all_of(http: Client, name: str) -> Any:
    """Read a context as people and models see it, but for its numbers."""
    path = await http.ask("GET", f"/v1/contexts/{name}/messages?path=current&limit=10000")
    window = await http.ask("GET", f"/v1/contexts/{name}/context")
    assert (path.status, window.status) == (200, 200)
    keys = ("role", "parts", "id", "token_count", "metadata")
    log = [{key: message.get(key) for key in keys} for message in path.json["messages"]]
    view = [{key: message.get(key) for key in keys} for message in window.json["messages"]]
    return log, view, window.json["used_tokens"]


async def settled(directory: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Read all rows that are left once the store has been opened, and has erased what it must."""
    store = SqliteStore(directory / "data")
    await store.open()
    assert store._erasing is not None
    await store._erasing
    await store.close()
    return content_of(directory / "data")


@asynccontextmanager
async def serving_source(directory: Path, **more: Any) -> AsyncIterator[tuple[Process, Client]]:
    """Run a node with the source of forks."""
    with started(directory) as process:
        async with connected(process.port) as http:
            await fill(http, **more)
            yield process, http


@pytest.mark.slow
async def test_killed_at_every_piece(tmp_path: Path) -> None:
    """
    Before and after each commit of a fork: once the node is back nothing of it is left in any
    table, and its id is free; after the last commit all of it is there.
    """
    async with serving_source(tmp_path) as (process, _):
        assert process.stop() == 0
    before = await settled(tmp_path)
    for number, when in itertools.product(range(1, COMMITS + 1), ("before", "after")):
        with mortal(tmp_path, when, number) as process:
            async with connected(process.port) as http:
                assert (await http.ask("GET", "/v1/contexts/fork")).status == 404
                with pytest.raises(GONE):
                    await fork(http)
        if (when, number) != ("after", COMMITS):
            assert await settled(tmp_path) == before
    with started(tmp_path) as process:
        async with connected(process.port) as http:
            assert await all_of(http, "fork") == await all_of(http, "source")
            assert (await fork(http)).json["error"] == "already_exists"
            assert (await fork(http, "another")).status == 201
            assert await all_of(http, "another") == await all_of(http, "fork")
        assert process.stop() == 0


async def test_killed_and_retried(tmp_path: Path) -> None:
    """The same request with the same key makes it after a restart, and once."""
    async with serving_source(tmp_path) as (process, _):
        assert process.stop() == 0
    with mortal(tmp_path, "after", 3) as process:
        async with connected(process.port) as http:
            with pytest.raises(GONE):
                await fork(http, key="k")
    with mortal(tmp_path, "after", COMMITS) as process:
        async with connected(process.port) as http:
            with pytest.raises(GONE):
                await fork(http, key="k")
    with started(tmp_path) as process:
        async with connected(process.port) as http:
            replayed = await fork(http, key="k")
            assert (replayed.status, replayed.json["id"]) == (201, "fork")
            assert replayed.headers["idempotent-replayed"] == "true"
            assert replayed.json == (await http.ask("GET", "/v1/contexts/fork")).json
            assert await all_of(http, "fork") == await all_of(http, "source")


async def test_a_client_that_leaves(tmp_path: Path) -> None:
    """The fork that it has asked for is made all the same."""
    async with serving_source(tmp_path) as (process, http):
        async with connected(process.port) as leaving:
            body = b'{"id": "fork"}'
            head = b"POST /v1/contexts/source/fork HTTP/1.1\r\nHost: localhost\r\n"
            await leaving.send(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
            await until(lambda: "forking: 1000 messages" in process.errors)
        status = 0
        async with asyncio.timeout(30):
            while status != 200:
                status = (await http.ask("GET", "/v1/contexts/fork")).status
                assert status in {200, 404}
        assert await all_of(http, "fork") == await all_of(http, "source")
        assert process.stop() == 0
        assert "Traceback" not in process.errors


async def test_stopped_after_its_client_has_left(tmp_path: Path) -> None:
    """A node that ends while a fork is made that nobody waits for any more keeps all or nothing."""
    async with serving_source(tmp_path) as (process, _):
        assert process.stop() == 0
    before = await settled(tmp_path)
    with started(tmp_path) as process:
        async with connected(process.port) as leaving:
            body = b'{"id": "fork"}'
            head = b"POST /v1/contexts/source/fork HTTP/1.1\r\nHost: localhost\r\n"
            await leaving.send(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
            await until(lambda: "forking: 500 messages" in process.errors)
        assert await asyncio.to_thread(process.stop) == 0
    assert "Traceback" not in process.errors
    assert "never retrieved" not in process.errors
    if await settled(tmp_path) != before:
        with started(tmp_path) as process:
            async with connected(process.port) as http:
                assert await all_of(http, "fork") == await all_of(http, "source")


async def test_two_forks_to_one_id(tmp_path: Path) -> None:
    """Of two at once one is made, and the other is told that the id is taken."""
    async with serving_source(tmp_path) as (process, one), connected(process.port) as two:
        replies = await asyncio.gather(fork(one), fork(two))
        assert sorted(reply.status for reply in replies) == [201, 409]
        assert {reply.json.get("error") for reply in replies} == {None, "already_exists"}
        put = await one.ask("PUT", "/v1/contexts/fork", {})
        assert put.status == 200


async def test_stopped_while_it_forks(tmp_path: Path) -> None:
    """A node that ends well answers 201 and keeps the fork, or answers 503 and keeps nothing."""
    async with serving_source(tmp_path) as (process, http):
        assert process.stop() == 0
    before = await settled(tmp_path)
    with started(tmp_path) as process:
        async with connected(process.port) as http:
            asked = asyncio.create_task(fork(http))
            await until(lambda: "forking: 500 messages" in process.errors)
            assert await asyncio.to_thread(process.stop) == 0
            reply = await asked
    assert "Traceback" not in process.errors
    assert reply.status in {201, 503}
    if reply.status == 503:
        assert await settled(tmp_path) == before
    with started(tmp_path) as process:
        async with connected(process.port) as http:
            again = await fork(http)
            assert again.status == (409 if reply.status == 201 else 201)
            assert await all_of(http, "fork") == await all_of(http, "source")
