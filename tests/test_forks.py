"""Forks whose store fails, stalls or changes while they are copied: all of it, or nothing."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from fastpaca.context.context import FORMING_US
from fastpaca.store.base import Change, CommitFailed, CommitUnknown
from fastpaca.store.postgres.store import PostgresStore
from fastpaca.testing import ManualClock, SocketlessNode, composed, running
from tests.kit.app import append, create, error_of
from tests.kit.messages import user
from tests.kit.postgres import run_sql
from tests.kit.stores import ScriptedStore

SECONDS = FORMING_US // 1_000_000

PIECES = 4

COMMITS = 1 + PIECES
"""One begins the fork, and the last piece makes it active."""


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a short conversation have many pieces."""
    monkeypatch.setattr("fastpaca.forks.PIECE_ROWS", 3)


async def fill(client: httpx.AsyncClient, name: str = "source") -> None:
    """Make a source of as many messages as have that many pieces, and a window that is not all."""
    await create(client, name, policy={"strategy": "manual"})
    sent = [user(f"{name} {number}", id=f"m{number}") for number in range(12)]
    await append(client, *sent, context_id=name)
    body = {"replacement": [user(f"a summary of {name}")]}
    response = await client.post(f"/v1/contexts/{name}/compact", json=body)
    assert response.status_code == 200, response.text


async def fork(
    client: httpx.AsyncClient, source: str = "source", key: str | None = None
) -> httpx.Response:
    headers = {} if key is None else {"Idempotency-Key": key}
    path = f"/v1/contexts/{source}/fork"
    return await client.post(path, json={"id": "fork"}, headers=headers)


async def all_of(client: httpx.AsyncClient, name: str = "fork") -> list[Any]:
    """Read what people and models see."""
    texts = []
    for what in ("messages", "context"):
        response = await client.get(f"/v1/contexts/{name}/{what}")
        assert response.status_code == 200, response.text
        texts.append([message["parts"] for message in response.json()["messages"]])
    return texts


async def is_not_there(client: httpx.AsyncClient) -> None:
    """It cannot be read, and its id is taken by what is forming."""
    error_of(await client.get("/v1/contexts/fork"), 404, "not_found")
    error_of(await client.put("/v1/contexts/fork", json={}), 409, "already_exists")
    error_of(await fork(client), 409, "already_exists")


# --- one node -------------------------------------------------------------------------------------


class Failing(ScriptedStore):
    """Fails at a commit of a fork."""

    def __init__(self, number: int, error: Exception, *, is_done: bool = False) -> None:
        super().__init__()
        self._number = number
        self._error = error
        self._is_done = is_done
        self._numbers = itertools.count(1)

    async def commit(self, changes: Sequence[Change]) -> None:
        is_fork = any(one.row.status == "forming" or one.activates for one in changes)
        is_this = is_fork and next(self._numbers) == self._number
        if is_this and not self._is_done:
            raise self._error
        await super().commit(changes)
        if is_this:
            raise self._error


@pytest.mark.parametrize("number", range(1, COMMITS + 1))
@pytest.mark.parametrize("fault", ["failed", "unknown", "unknown but done"])
async def test_a_commit_fails(number: int, fault: str) -> None:
    """The caller gets a 503; nothing is left, but for what may be there, and a retry makes it."""
    error = CommitFailed("full") if fault == "failed" else CommitUnknown("?", fatal=False)
    store = Failing(number, error, is_done=fault == "unknown but done")
    clock = ManualClock()
    async with running(composed(store, clock=clock)) as client:
        await fill(client)
        code = "unavailable" if fault == "failed" else "outcome_unknown"
        error_of(await fork(client, key="k"), 503, code)
        if store._is_done and number == COMMITS:
            assert await all_of(client) == await all_of(client, "source")
        elif store._is_done and number == 1:  # it may be there, so it counts as abandoned
            await is_not_there(client)
            clock.advance(SECONDS)
        else:
            assert await store.abandoned(10**18) == []
            error_of(await client.get("/v1/contexts/fork"), 404, "not_found")
        again = await fork(client, key="k")
        assert again.status_code == 201
        is_replayed = "idempotent-replayed" in again.headers
        assert is_replayed == (store._is_done and number == COMMITS)
        assert await all_of(client) == await all_of(client, "source")


class Down(ScriptedStore):
    """
    Fails from a commit of a fork on.

    Attributes:
        fails_from: The number of that commit; None if all is well.
        can_take_over: Whether the commit of a take-over succeeds all the same.
    """

    fails_from: int | None = None
    can_take_over = False

    def __init__(self) -> None:
        super().__init__()
        self._numbers = itertools.count(1)

    async def commit(self, changes: Sequence[Change]) -> None:
        if self.fails_from is not None:
            is_piece = any(one.messages or not one.expected_revision for one in changes)
            if next(self._numbers) >= self.fails_from and (is_piece or not self.can_take_over):
                raise CommitFailed("full")
        await super().commit(changes)

    async def drop(self, context_id: str, revision: int) -> None:
        if self.fails_from is not None:
            raise CommitFailed("full")
        await super().drop(context_id, revision)


@pytest.mark.parametrize("can_take_over", [False, True])
@pytest.mark.parametrize("number", range(1, COMMITS + 1))
async def test_the_store_is_down_for_a_while(number: int, can_take_over: bool) -> None:
    """What could not even be erased is erased by a retry, which need not wait a minute."""
    store = Down()
    async with running(composed(store)) as client:
        await fill(client)
        store.fails_from, store.can_take_over = number, can_take_over
        for _ in range(2):
            error_of(await fork(client, key="k"), 503, "unavailable")
        error_of(await client.get("/v1/contexts/fork"), 404, "not_found")
        store.fails_from = None
        assert (await fork(client, key="k")).status_code == 201
        assert await all_of(client) == await all_of(client, "source")


async def test_the_source_is_purged_meanwhile() -> None:
    """A fork of what is gone is not made, and nothing of it is left."""
    store = ScriptedStore()
    async with running(composed(store)) as client:
        await fill(client)
        store.gate.clear()
        asked = asyncio.create_task(fork(client))
        while len(store.commits) < 3:  # noqa: ASYNC110
            await asyncio.sleep(0)
        purge = asyncio.create_task(client.delete("/v1/contexts/source", params={"purge": "true"}))
        await asyncio.sleep(0.01)
        store.gate.set()
        assert (await purge).status_code == 204
        error_of(await asked, 404, "not_found")
        assert await store.abandoned(10**18) == []
        assert (await client.put("/v1/contexts/fork", json={})).status_code == 201


async def test_a_retry_that_comes_while_it_is_made() -> None:
    """
    A client that gave up asks again with its key, and gets the fork once it is there; others are
    told that its id is taken, and that the key is used.
    """
    store = ScriptedStore()
    async with running(composed(store)) as client:
        await fill(client)
        store.gate.clear()
        first = asyncio.create_task(fork(client, key="k"))
        while len(store.commits) < 4:  # noqa: ASYNC110
            await asyncio.sleep(0)
        first.cancel()
        retry = asyncio.create_task(fork(client, key="k"))
        other = asyncio.create_task(fork(client, key="other"))
        body = {"id": "another"}
        key = {"Idempotency-Key": "k"}
        misused = await client.post("/v1/contexts/source/fork", json=body, headers=key)
        error_of(misused, 409, "idempotency_conflict")
        store.gate.set()
        error_of(await other, 409, "already_exists")
        made = await retry
        assert (made.status_code, made.headers["Idempotent-Replayed"]) == (201, "true")
        assert await all_of(client) == await all_of(client, "source")
        again = await fork(client, key="k")
        assert (again.status_code, again.content) == (201, made.content)


async def test_what_comes_after_the_version_is_not_copied() -> None:
    """Messages and revisions that come while it is copied are not part of it."""
    store = ScriptedStore()
    async with running(composed(store)) as client:
        await fill(client)
        before = await all_of(client, "source")
        store.gate.clear()
        asked = asyncio.create_task(fork(client))
        while len(store.commits) < 3:  # noqa: ASYNC110
            await asyncio.sleep(0)
        path = "/v1/contexts/source/messages"
        later = [
            asyncio.create_task(client.put(f"{path}/m10", json={"message": user("revised")})),
            asyncio.create_task(client.post(path, json={"message": user("later")})),
        ]
        await asyncio.sleep(0.01)
        store.gate.set()
        assert [(await one).status_code for one in later] == [200, 201]
        assert (await asked).status_code == 201
        assert await all_of(client) == before


# --- several nodes --------------------------------------------------------------------------------


class Stalling(PostgresStore):
    """
    Stalls before or after a commit of a fork, as a node that is suspended.

    Attributes:
        stalls_at: When, and at which commit; None for never.
        has_stalled: Set when it does.
        wakes: Set to let it continue.
    """

    stalls_at: tuple[str, int] | None = None

    def __init__(self, dsn: str) -> None:
        super().__init__(dsn, allow_unsafe=True)
        self.has_stalled = asyncio.Event()
        self.wakes = asyncio.Event()
        self._numbers = itertools.count(1)

    async def commit(self, changes: Sequence[Change]) -> None:
        is_fork = any(one.row.status == "forming" or one.activates for one in changes)
        number = next(self._numbers) if is_fork else 0
        await self._stall("before", number)
        await super().commit(changes)
        await self._stall("after", number)

    async def _stall(self, when: str, number: int) -> None:
        if self.stalls_at == (when, number):
            self.has_stalled.set()
            await self.wakes.wait()


@asynccontextmanager
async def two_nodes(
    dsn: str, clock: ManualClock
) -> AsyncIterator[tuple[list[Stalling], list[SocketlessNode], list[httpx.AsyncClient]]]:
    """Run two nodes on one database, with sources in it."""
    stores = [Stalling(dsn) for _ in range(2)]
    nodes = [composed(store, clock=clock) for store in stores]
    # Ids of commits must differ between the nodes.
    for number, node in enumerate(nodes):
        ids = itertools.count(1 + (number << 32))
        node.engine._commits._commit_ids = lambda ids=ids: next(ids).to_bytes(16, "big")  # type: ignore[misc]
    async with running(nodes[0]) as one, running(nodes[1]) as two:
        await fill(one)
        await fill(one, "other")
        try:
            yield stores, nodes, [one, two]
        finally:
            for store in stores:
                store.wakes.set()


async def rows_of(dsn: str) -> dict[str, list[Any]]:
    """Read all rows of the database."""
    tables = ("contexts", "messages", "synthetics", "compactions", "answers")
    sql = "SELECT t::text FROM fastpaca.{} AS t ORDER BY 1"
    return {table: [r[0] for r in await run_sql(dsn, sql.format(table))] for table in tables}


STALLS = [
    (when, number)
    for number in range(1, COMMITS + 1)
    for when in ("before", "after")
    if (when, number) not in {("before", 1), ("after", COMMITS)}
]
"""Every moment between two commits of a fork."""


@pytest.mark.parametrize("stall", STALLS, ids=lambda stall: f"{stall[0]}-{stall[1]}")
async def test_an_owner_wakes_up_after_a_minute(fast_dsn: str, stall: tuple[str, int]) -> None:
    """Another node has made it meanwhile; the one that wakes up fails, and changes nothing."""
    clock = ManualClock()
    async with two_nodes(fast_dsn, clock) as (stores, _, (one, two)):
        stores[0].stalls_at = stall
        late = asyncio.create_task(fork(one, key="k"))
        await stores[0].has_stalled.wait()
        await is_not_there(two)
        clock.advance(SECONDS - 1)
        await is_not_there(two)
        clock.advance(1)
        made = await fork(two, "other", key="l")
        assert made.status_code == 201, made.text
        before = await rows_of(fast_dsn)
        stores[0].wakes.set()
        response = await late
        assert response.status_code in {409, 503}, response.text
        assert await rows_of(fast_dsn) == before
        for client in (one, two):
            assert await all_of(client) == await all_of(client, "other")


@pytest.mark.parametrize("stall", STALLS, ids=lambda stall: f"{stall[0]}-{stall[1]}")
async def test_an_owner_wakes_up_beside_its_successor(
    fast_dsn: str, stall: tuple[str, int]
) -> None:
    """It fails also if the other node's fork is at the same revision, and still forming."""
    clock = ManualClock()
    async with two_nodes(fast_dsn, clock) as (stores, _, (one, two)):
        stores[0].stalls_at = stores[1].stalls_at = stall
        # The other node first takes over what is abandoned, which is a commit of its own.
        stores[1].stalls_at = (stall[0], stall[1] + 1)
        late = asyncio.create_task(fork(one))
        await stores[0].has_stalled.wait()
        clock.advance(SECONDS)
        successor = asyncio.create_task(fork(two, "other"))
        await stores[1].has_stalled.wait()
        before = await rows_of(fast_dsn)
        stores[0].wakes.set()
        response = await late
        assert response.status_code in {409, 503}, response.text
        assert await rows_of(fast_dsn) == before
        stores[1].wakes.set()
        assert (await successor).status_code == 201
        assert await all_of(one) == await all_of(one, "other")


@pytest.mark.parametrize("stall", STALLS, ids=lambda stall: f"{stall[0]}-{stall[1]}")
async def test_what_is_abandoned_is_cleared_up(fast_dsn: str, stall: tuple[str, int]) -> None:
    """No row of it is left, its id is free, and its owner changes nothing of what comes then."""
    clock = ManualClock()
    async with two_nodes(fast_dsn, clock) as (stores, nodes, (one, two)):
        before = await rows_of(fast_dsn)
        stores[0].stalls_at = stall
        late = asyncio.create_task(fork(one))
        await stores[0].has_stalled.wait()
        await nodes[1].engine.forget_old_records()
        await is_not_there(two)
        clock.advance(SECONDS + 1)
        await nodes[1].engine.forget_old_records()
        assert await rows_of(fast_dsn) == before
        error_of(await two.get("/v1/contexts/fork"), 404, "not_found")
        await create(two, "fork")
        for number in range(stall[1] - (stall[0] == "before") - 1):
            await append(two, user(f"{number}"), context_id="fork")
        before = await rows_of(fast_dsn)
        stores[0].wakes.set()
        response = await late
        assert response.status_code in {409, 503}, response.text
        assert await rows_of(fast_dsn) == before
        assert await all_of(one) == await all_of(two)
