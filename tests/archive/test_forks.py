"""Forks beside an archive: what was trimmed is copied too, and the copy is archived as a whole."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from fastpaca.archive.reads import AWAY
from fastpaca.archive.store import ArchivedStore
from fastpaca.store.base import Change
from fastpaca.testing import composed, running
from tests.archive.world import Eager, Fragile, archived, archived_rows, fragile, local_seqs
from tests.kit.app import append, create, error_of
from tests.kit.files import content_of, files_with
from tests.kit.messages import user

MESSAGES = 40

PIECES = 4


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a short conversation have many pieces."""
    monkeypatch.setattr("fastpaca.forks.PIECE_ROWS", MESSAGES // PIECES)


async def fill(client: httpx.AsyncClient, name: str = "source") -> None:
    """Make a source, most of which neither its window nor the tail keeps."""
    await create(client, name, token_budget=40)
    sent = [user(f"{name} {number} SECRET", id=f"m{number}") for number in range(MESSAGES)]
    await append(client, *sent, context_id=name)
    path = f"/v1/contexts/{name}/messages/m3"
    assert (await client.put(path, json={"message": user("revised")})).status_code == 200


async def fork(client: httpx.AsyncClient, name: str = "fork", **body: Any) -> httpx.Response:
    return await client.post("/v1/contexts/source/fork", json={"id": name, **body})


async def all_of(client: httpx.AsyncClient, name: str) -> list[Any]:
    """Read what people and models see."""
    texts = []
    for what in ("messages?path=current", "context"):
        response = await client.get(f"/v1/contexts/{name}/{what}")
        assert response.status_code == 200, response.text
        texts.append([message["parts"] for message in response.json()["messages"]])
    return texts


async def check_archive(client: httpx.AsyncClient, dsn: str, *names: str) -> None:
    """Hold the archive against the logs: it has every row of these contexts once, and no other."""
    expected = []
    for name in names:
        log = (await client.get(f"/v1/contexts/{name}/messages?limit=1000")).json()["messages"]
        expected += [(name, message["seq"]) for message in log]
        assert [message["seq"] for message in log] == list(range(1, len(log) + 1))
    assert [(name, seq) for name, seq, _ in await archived_rows(dsn)] == sorted(expected)


def tail_size(store: ArchivedStore) -> float:
    """Read how many messages the store says that it has."""
    size: float = store.metrics.tail_size._value.get()
    return size


async def test_what_was_trimmed_is_copied(tmp_path: Path, fast_dsn: str) -> None:
    """A fork has all of it, is archived once it is whole, and is then trimmed like any other."""
    store = archived(tmp_path, fast_dsn, tail_keep=2, batch_rows=7)
    async with running(composed(store)) as client:
        await fill(client)
        await store.writer.catch_up()
        assert len(local_seqs(tmp_path)) < MESSAGES // 2
        assert (await fork(client)).status_code == 201
        assert await all_of(client, "fork") == await all_of(client, "source")
        await check_archive(client, fast_dsn, "source")
        await store.writer.catch_up()
        await check_archive(client, fast_dsn, "fork", "source")
        there = local_seqs(tmp_path)
        assert len(there) == tail_size(store) < MESSAGES
        assert (2, MESSAGES) in there
        assert (2, 1) not in there
        for number in range(5):
            await append(client, user(f"on {number}"), context_id="fork")
        await store.writer.catch_up()
        await check_archive(client, fast_dsn, "fork", "source")
        assert (2, MESSAGES - 3) not in local_seqs(tmp_path)
        texts = (await all_of(client, "fork"))[0]
        assert texts[:-5] == (await all_of(client, "source"))[0]
        again = await client.post("/v1/contexts/fork/fork", json={"id": "again"})
        assert again.status_code == 201
        await store.writer.catch_up()
        await check_archive(client, fast_dsn, "again", "fork", "source")
        assert await all_of(client, "again") == await all_of(client, "fork")


async def test_archived_behind_each_commit(tmp_path: Path, fast_dsn: str) -> None:
    """While it forms nothing of a fork goes to the archive, however eager that is."""
    seen: list[list[tuple[str, int, bytes]]] = []

    class Watched(Eager):
        async def commit(self, changes: Sequence[Change]) -> None:
            await super().commit(changes)
            if any(change.row.status == "forming" for change in changes):
                seen.append(await archived_rows(fast_dsn))

    store = archived(tmp_path, fast_dsn, tail_keep=2, kind=Watched)
    async with running(composed(store)) as client:
        await fill(client)
        await create(client, "other")
        others = [append(client, user(f"{n}"), context_id="other") for n in range(20)]
        made, *_ = await asyncio.gather(fork(client), *others)
        assert made.status_code == 201
        assert len(seen) == PIECES
        assert {name for rows in seen for name, _, _ in rows} <= {"source", "other"}
        await store.writer.catch_up()
        await check_archive(client, fast_dsn, "fork", "other", "source")
        assert await all_of(client, "fork") == await all_of(client, "source")


async def test_a_restart_before_it_is_archived(tmp_path: Path, fast_dsn: str) -> None:
    """The next process archives it, though the places of its rows were passed long ago."""
    store = archived(tmp_path, fast_dsn, tail_keep=2, kind=Eager)
    async with running(composed(store)) as client:
        await fill(client)
        store.writer.try_halted = lambda: None  # type: ignore[method-assign]
        assert (await fork(client)).status_code == 201
        rows = await archived_rows(fast_dsn)
        assert len([1 for name, _, _ in rows if name == "fork"]) < MESSAGES
    store = archived(tmp_path, fast_dsn, tail_keep=2)
    async with running(composed(store)) as client:
        await store.writer.catch_up()
        await check_archive(client, fast_dsn, "fork", "source")
        assert await all_of(client, "fork") == await all_of(client, "source")
        assert len(local_seqs(tmp_path)) == tail_size(store) < MESSAGES


async def test_a_fork_that_ends_while_others_are_caught_up(tmp_path: Path, fast_dsn: str) -> None:
    """It is archived in the next round."""
    archive = fragile(fast_dsn)
    store = archived(tmp_path, archive, tail_keep=2, batch_rows=7)
    async with running(composed(store)) as client:
        await fill(client)
        await store.writer.catch_up()
        assert (await fork(client, "one")).status_code == 201
        await append(client, user("moves the places on"), context_id="source")
        await store.writer._archive_some()
        archive.gate.clear()
        archive.waiting.clear()
        catching_up = asyncio.create_task(store.writer.catch_up())
        await archive.waiting.wait()
        assert (await fork(client, "two")).status_code == 201
        archive.gate.set()
        await catching_up
        await store.writer.catch_up()
        await check_archive(client, fast_dsn, "one", "source", "two")


class Dropping(ArchivedStore):
    """
    Loses its archive at a commit of a fork.

    Attributes:
        fragile: The archive.
        fails_at: The number of the commit after which it is away.
    """

    fragile: Fragile
    fails_at = 0

    async def _run(self, ends: tuple[int, int]) -> None:
        await self._count(*ends)
        self._forming = itertools.count(1)

    async def commit(self, changes: Sequence[Change]) -> None:
        await super().commit(changes)
        is_forming = any(change.row.status == "forming" for change in changes)
        if is_forming and next(self._forming) == self.fails_at:
            self.fragile.is_down = True


@pytest.mark.parametrize("number", range(PIECES))
async def test_the_archive_is_away(tmp_path: Path, fast_dsn: str, number: int) -> None:
    """A fork that needs it is refused, nothing is left of it, and a retry makes it."""
    archive = fragile(fast_dsn)
    store = archived(tmp_path, archive, tail_keep=2, kind=Dropping)
    assert isinstance(store, Dropping)
    store.fragile, store.fails_at = archive, number
    async with running(composed(store)) as client:
        await fill(client)
        await store.writer.catch_up()
        size = tail_size(store)
        archive.is_down = number == 0
        response = await fork(client)
        assert error_of(response, 503, "unavailable")["message"] == AWAY
        assert response.headers["retry-after"]
        assert archive.is_down
        assert await store.abandoned(10**18) == []
        assert tail_size(store) == size == len(local_seqs(tmp_path))
        error_of(await client.get("/v1/contexts/fork"), 404, "not_found")
    tables = content_of(tmp_path)
    assert [len(tables[name]) for name in ("contexts", "metadata", "configurations")] == [1, 1, 1]
    assert {row[1] for row in tables["messages"]} == {1}
    assert len(tables["message_ids"]) == MESSAGES
    store = archived(tmp_path, fast_dsn, tail_keep=2)
    async with running(composed(store)) as client:
        assert (await fork(client)).status_code == 201
        assert await all_of(client, "fork") == await all_of(client, "source")
        await store.writer.catch_up()
        await check_archive(client, fast_dsn, "fork", "source")


@pytest.mark.parametrize("is_archived", [False, True])
async def test_a_purged_fork(tmp_path: Path, fast_dsn: str, is_archived: bool) -> None:
    """It is erased in the archive too, and its source stays; and the other way round."""
    store = archived(tmp_path, fast_dsn, tail_keep=2)
    async with running(composed(store)) as client:
        await fill(client)
        await store.writer.catch_up()
        assert (await fork(client, "fork-of-SECRET")).status_code == 201
        if is_archived:
            await store.writer.catch_up()
        path = "/v1/contexts/fork-of-SECRET"
        assert (await client.delete(path, params={"purge": "true"})).status_code == 204
        await store.writer.catch_up()
        await check_archive(client, fast_dsn, "source")
        assert files_with(tmp_path, b"fork-of-SECRET") == []
        assert len((await all_of(client, "source"))[0]) == MESSAGES
        assert (await fork(client, "fork")).status_code == 201
        if is_archived:
            await store.writer.catch_up()
        before = await all_of(client, "fork")
        purge = await client.delete("/v1/contexts/source", params={"purge": "true"})
        assert purge.status_code == 204
        await store.writer.catch_up()
        await check_archive(client, fast_dsn, "fork")
        assert await all_of(client, "fork") == before
        purge = await client.delete("/v1/contexts/fork", params={"purge": "true"})
        assert purge.status_code == 204
        await store.writer.catch_up()
        assert await archived_rows(fast_dsn) == []
        assert files_with(tmp_path, b"SECRET") == []
