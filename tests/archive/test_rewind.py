"""Going back in logs whose rows were trimmed, or whose node has just started: to the byte."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import httpx

from fastpaca.archive.reads import AWAY
from fastpaca.store.base import Store
from fastpaca.store.memory import MemoryStore
from fastpaca.store.sqlite.store import SqliteStore
from fastpaca.testing import composed, running
from tests.archive.world import Eager, archived, archived_rows, fragile, local_seqs
from tests.kit.app import append, create, error_of
from tests.kit.messages import assistant, call, result, tool, user

SEEDS = 4

OPS = 90

MESSAGES = "/v1/contexts/c/messages"


class Past(NamedTuple):
    """What a context showed after a version."""

    path: Any
    window: Any


async def shown(client: httpx.AsyncClient, at_version: int | None = None) -> Any:
    """Read the window, as it is or was, but for what tells one read from another."""
    params = {} if at_version is None else {"at_version": at_version}
    response = await client.get("/v1/contexts/c/context", params=params)
    assert response.status_code == 200, response.text
    view = response.json()
    return {key: view[key] for key in view if key not in ("version", "view")}


async def past_of(client: httpx.AsyncClient) -> tuple[int, Past]:
    """Read the version, and what the context shows."""
    page = (await client.get(MESSAGES, params={"path": "current", "limit": 10_000})).json()
    assert page["next"] is None
    return page["version"], Past(page["messages"], await shown(client))


class Editor:
    """Writes a conversation, edits it and goes back in it, and remembers what each version was."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.pasts: list[Past] = []
        self.version = 0

    async def begin(self, client: httpx.AsyncClient) -> None:
        policy = {"strategy": "last_n", "config": {"limit": 6}}
        await create(client, token_budget=260, policy=policy)
        await self.note(client)

    async def note(self, client: httpx.AsyncClient) -> None:
        """Remember the version that there is."""
        self.version, past = await past_of(client)
        assert self.version == len(self.pasts)
        self.pasts.append(past)

    async def step(self, client: httpx.AsyncClient) -> None:
        """Do something that makes a version, and see that it did what it should."""
        drawn = self.random.random()
        if drawn < 0.35 or self.version < 4:
            await append(client, self._message())
        elif drawn < 0.6:
            name = f"m{self.random.randint(0, 9)}"
            revision = user(f"{name} at {self.version} " + "x" * 20)
            response = await client.put(f"{MESSAGES}/{name}", json={"message": revision})
            assert response.status_code in {200, 201}, response.text
        elif drawn < 0.68:
            kept = self.pasts[-1].path[-2:]
            replacement = [assistant(f"a summary at {self.version}"), *kept]
            body = {"replacement": replacement}
            response = await client.post("/v1/contexts/c/compact", json=body)
            assert response.status_code == 200, response.text
        elif drawn < 0.85:
            await self.back_to_version(client)
            return
        else:
            await self.back_to_place(client)
            return
        await self.note(client)

    def _message(self) -> dict[str, Any]:
        number = self.version
        return self.random.choice(
            [
                user(f"question {number} " + "x" * 30),
                assistant(f"answer {number}", call(f"c{number}", name="f")),
                tool(result(f"c{number - 1}", "y" * 40)),
                assistant(f"words {number}"),
            ]
        )

    async def back_to_version(self, client: httpx.AsyncClient) -> None:
        target = self.random.randrange(self.version)
        await self._back(client, {"to_version": target}, target)

    async def back_to_place(self, client: httpx.AsyncClient) -> None:
        """Go back to any number: a place on the path, or one that is refused."""
        path = self.pasts[-1].path
        places = [0, *(message.get("revises") or message["seq"] for message in path)]
        log = (await client.get(MESSAGES, params={"limit": 10_000})).json()["messages"]
        number = self.random.choice([*places, self.random.randint(0, len(log) + 2)])
        if number == places[-1]:
            response = await client.post("/v1/contexts/c/rewind", json={"to_seq": number})
            assert response.json() == {"version": self.version}
        elif number in places:
            following = places[places.index(number) + 1]
            target = log[following - 1]["version"] - 1
            await self._back(client, {"to_seq": number}, target)
            ends = [message.get("revises") or message["seq"] for message in self.pasts[-1].path]
            assert ([0, *ends])[-1] == number
        else:
            response = await client.post("/v1/contexts/c/rewind", json={"to_seq": number})
            message = error_of(response, 400, "invalid_request")["message"]
            if number <= len(log) and log[number - 1].get("revises") and number < places[-1]:
                assert f"place {log[number - 1]['revises']}" in message
            assert (await past_of(client)) == (self.version, self.pasts[-1])

    async def _back(self, client: httpx.AsyncClient, body: dict[str, int], target: int) -> None:
        response = await client.post("/v1/contexts/c/rewind", json=body)
        assert (response.status_code, response.json()) == (200, {"version": self.version + 1})
        await self.note(client)
        assert self.pasts[-1] == self.pasts[target]

    async def check(self, client: httpx.AsyncClient) -> None:
        """Every version reads as it was, and the log has all rows."""
        assert await past_of(client) == (self.version, self.pasts[-1])
        for version, past in enumerate(self.pasts):
            assert await shown(client, version) == past.window, version
        log = (await client.get(MESSAGES, params={"limit": 10_000})).json()["messages"]
        assert [message["seq"] for message in log] == list(range(1, len(log) + 1))
        by_seq = {message["seq"]: message for message in log}
        assert all(
            by_seq[message["seq"]] == message for past in self.pasts for message in past.path
        )


async def live(seed: int, make_store: Callable[[], Store], *, lives: int = 3) -> None:
    """Write through so many lives of a node."""
    editor = Editor(seed)
    for number in range(lives):
        async with running(composed(make_store())) as client:
            if number == 0:
                await editor.begin(client)
            for _ in range(OPS // lives):
                await editor.step(client)
            await editor.check(client)


async def test_in_memory(seed: int) -> None:
    """A rewind shows what its version showed, in a process that has written all of it."""
    store = MemoryStore()
    await live(seed, lambda: store)


async def test_on_sqlite(tmp_path: Path, seed: int) -> None:
    """So it does after restarts."""
    await live(seed, lambda: SqliteStore(tmp_path))


async def test_with_an_archive(tmp_path: Path, fast_dsn: str, seed: int) -> None:
    """So it does if all that can be trimmed is, after each commit."""
    await live(seed, lambda: archived(tmp_path, fast_dsn, kind=Eager))


async def test_while_the_archive_is_away(tmp_path: Path, fast_dsn: str, seed: int) -> None:
    """A rewind that needs it is refused and changes nothing; what is trimmed is held again."""
    archive = fragile(fast_dsn)
    editor = Editor(seed)
    chance = random.Random(seed)
    refused = 0
    store = archived(tmp_path, archive, kind=Eager)
    async with running(composed(store)) as client:
        await editor.begin(client)
        for _ in range(OPS):
            await editor.step(client)
            if not chance.randrange(4) and editor.version > 5:
                target = chance.randrange(editor.version)
                before = local_seqs(tmp_path)
                archive.is_down = True
                body = {"to_version": target}
                headers = {"Idempotency-Key": f"to {editor.version}"}
                response = await client.post("/v1/contexts/c/rewind", json=body, headers=headers)
                archive.is_down = False
                if response.status_code == 503:
                    refused += 1
                    assert response.json()["message"] == AWAY or response.json()["error"] == (
                        "unavailable"
                    )
                    assert local_seqs(tmp_path) == before
                    assert await past_of(client) == (editor.version, editor.pasts[-1])
                    response = await client.post(
                        "/v1/contexts/c/rewind", json=body, headers=headers
                    )
                assert response.status_code == 200, response.text
                assert "idempotent-replayed" not in response.headers
                await editor.note(client)
                assert editor.pasts[-1] == editor.pasts[target]
        assert refused
        await editor.check(client)


async def test_rows_come_back_in_the_commit_of_the_rewind(tmp_path: Path, fast_dsn: str) -> None:
    """The window that a rewind leads to can be rebuilt without the archive, by the next process."""
    archive = fragile(fast_dsn)
    store = archived(tmp_path, archive)
    async with running(composed(store)) as client:
        await create(client, token_budget=10_000, policy={"strategy": "manual"})
        await append(client, *[user(f"{number}", id=f"m{number}") for number in range(9)])
        await client.put(f"{MESSAGES}/m2", json={"message": user("2!")})
        before = await shown(client)
        body = {"replacement": [assistant("nothing")]}
        assert (await client.post("/v1/contexts/c/compact", json=body)).status_code == 200
        await store.writer.catch_up()
        assert local_seqs(tmp_path) == []
        rewind = await client.post("/v1/contexts/c/rewind", json={"to_version": 10})
        assert rewind.json() == {"version": 12}
        assert local_seqs(tmp_path) == [(1, seq) for seq in (1, 2, 4, 5, 6, 7, 8, 9, 10)]
        archive.is_down = True
    store = archived(tmp_path, archive)
    async with running(composed(store)) as client:
        archive.is_down = True
        assert await shown(client) == before
        error_of(
            await client.post("/v1/contexts/c/rewind", json={"to_version": 9}), 503, "unavailable"
        )
        archive.is_down = False
        assert (await client.post("/v1/contexts/c/rewind", json={"to_version": 9})).json() == {
            "version": 13
        }
        await store.writer.catch_up()
        assert [seq for _, seq in local_seqs(tmp_path)] == list(range(1, 10))
        assert [seq for _, seq, _ in await archived_rows(fast_dsn)] == list(range(1, 11))
