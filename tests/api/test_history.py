"""The history of compactions, and windows of the past, over HTTP."""

from __future__ import annotations

import itertools
from pathlib import Path
from random import Random
from typing import Any

import httpx
import pytest

from fastpaca.store.base import Store
from fastpaca.store.memory import MemoryStore
from fastpaca.store.sqlite.store import SqliteStore
from fastpaca.testing import ManualClock, composed
from tests.kit.app import append, create, run
from tests.kit.messages import user

CONTEXT = "/v1/contexts/c"
WINDOW = f"{CONTEXT}/context"
COMPACTIONS = f"{CONTEXT}/compactions"

Queries = tuple[dict[str, int | str], ...]

BUDGETS: Queries = (
    {},
    {"budget_tokens": 40},
    {"budget_tokens": 10**6},
    {"explain": "true"},
    {"explain": "true", "budget_tokens": 40},
)


async def views(client: httpx.AsyncClient, **query: int | str) -> list[tuple[str, bytes]]:
    """Read the window with several budgets: the ETag and the bytes of each answer."""
    found = []
    for budget in BUDGETS:
        answer = await client.get(WINDOW, params={**query, **budget})
        assert answer.status_code == 200, answer.text
        found.append((answer.headers["etag"], answer.content))
    return found


async def compactions(client: httpx.AsyncClient, **query: int) -> list[dict[str, Any]]:
    """Read a page of the history."""
    answer = await client.get(COMPACTIONS, params=query)
    assert answer.status_code == 200, answer.text
    (found,) = answer.json().values()
    assert isinstance(found, list)
    return found


async def go_on(client: httpx.AsyncClient, rng: Random, numbers: itertools.count[int]) -> int:
    """Append or compact, at random, and give the version."""
    if rng.random() < 0.1:
        kept = (await client.get(WINDOW)).json()["messages"][-rng.randint(1, 3) :]
        body = {"replacement": [user("So far …"), *kept]}
        answer = await client.post(f"{CONTEXT}/compact", json=body)
        return int(answer.json()["version"])
    batch = []
    for number in itertools.islice(numbers, rng.choice((1, 1, 1, 5))):
        part = {"type": rng.choice(("text", "reasoning")), "text": f"{number} " + "x" * 60}
        batch.append({"role": rng.choice(("user", "assistant")), "parts": [part]})
    return int((await append(client, *batch))[-1]["version"])


@pytest.mark.parametrize("strategy", ["last_n", "skip_parts", "manual"])
@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_the_past_reads_as_it_did_then(strategy: str, kind: str, tmp_path: Path) -> None:
    """Under the same configuration every version is answered as when it was the current one."""

    def store() -> Store:
        return SqliteStore(tmp_path)

    kept = store() if kind == "sqlite" else MemoryStore()
    clock = ManualClock()
    then: dict[int, list[tuple[str, bytes]]] = {}

    async def live(client: httpx.AsyncClient) -> None:
        rng, numbers = Random(strategy), itertools.count()
        await create(client, token_budget=200, policy={"strategy": strategy})
        then[0] = await views(client)
        for _ in range(60):
            clock.advance(0.25)
            version = await go_on(client, rng, numbers)
            then[version] = await views(client)
        await client.patch(f"{CONTEXT}/metadata", json={"metadata": {"a": 1}})
        await past(client)

    async def past(client: httpx.AsyncClient) -> None:
        for version, expected in then.items():
            assert await views(client, at_version=version) == expected, version

    run(live, composed(kept, clock=clock))
    if kind == "sqlite":
        run(past, composed(store(), clock=clock))


async def test_the_past_has_etags_of_its_own(client: httpx.AsyncClient) -> None:
    """No two versions of a conversation share an ETag, whatever their windows hold."""
    await create(client)
    for _ in range(3):
        await append(client, user("One"))
        await client.post(f"{CONTEXT}/compact", json={"replacement": []})
    tags = [(await views(client, at_version=version))[0][0] for version in range(7)]
    assert len(set(tags)) == 7


def test_the_past_of_another_conversation_has_another_etag() -> None:
    """A conversation that went on otherwise, as behind a restored backup, is told from this one."""

    def tags(pause_seconds: float) -> list[str]:
        clock = ManualClock()

        async def story(client: httpx.AsyncClient) -> list[str]:
            await create(client)
            clock.advance(pause_seconds)
            for _ in range(3):
                await append(client, user("One"))
                clock.advance(1)
            return [(await views(client, at_version=version))[0][0] for version in range(3)]

        return run(story, composed(clock=clock))

    once, again, other = tags(0), tags(0), tags(0.5)
    assert once == again
    assert once[0] == other[0]  # nothing had been said yet
    assert set(once[1:]).isdisjoint(other[1:])


async def test_a_view_of_the_past_does_not_take_the_place_of_the_present(
    client: httpx.AsyncClient,
) -> None:
    """Reads of now and of then, with the same budget, in any order, do not disturb each other."""
    await create(client)
    await append(client, user("One"), user("Two"))
    for query, version in (
        ({"at_version": 1}, 1),
        ({}, 2),
        ({"at_version": 1}, 1),
        ({"at_version": 2}, 2),
        ({"at_version": 0}, 0),
        ({}, 2),
    ):
        view = (await client.get(WINDOW, params=query)).json()
        assert (view["version"], len(view["messages"])) == (version, version)


async def test_the_past_is_fitted_under_the_configuration_of_now(client: httpx.AsyncClient) -> None:
    """Budget, trigger and policy of a read are those of now; no older ones are kept."""
    await create(client, token_budget=1000, policy={"strategy": "manual"})
    await append(client, *(user("x" * 80) for _ in range(10)))
    await client.post(f"{CONTEXT}/compact", json={"replacement": []})
    whole = (await client.get(WINDOW, params={"at_version": 10})).json()
    assert (whole["fit"], whole["needs_compaction"]) == ("whole", False)
    fields = {"token_budget": 100, "policy": {"strategy": "last_n"}}
    await client.put(CONTEXT, json=fields)
    fitted = (await client.get(WINDOW, params={"at_version": 10})).json()
    assert (fitted["fit"], fitted["needs_compaction"]) == ("dropped", True)
    assert fitted["used_tokens"] <= fitted["token_budget"] == 100
    assert fitted["window_tokens"] == whole["window_tokens"]


async def test_a_large_window_of_the_past_is_answered_whole(client: httpx.AsyncClient) -> None:
    """Thousands of messages that are no longer in the window are there as they were."""
    await create(client, token_budget=10**9, policy={"strategy": "manual"})
    for _ in range(3):
        await append(client, *(user(f"m{n}") for n in range(1000)))
    then = (await client.get(WINDOW)).content
    await client.post(f"{CONTEXT}/compact", json={"replacement": []})
    assert (await client.get(WINDOW, params={"at_version": 3000})).content == then


@pytest.mark.parametrize("strategy", ["last_n", "skip_parts"])
async def test_every_compaction_tells_the_window_that_it_made(
    client: httpx.AsyncClient, strategy: str
) -> None:
    """Segments and tokens are those that a read right after it answered."""
    rng, numbers = Random(strategy), itertools.count()
    await create(client, token_budget=200, policy={"strategy": strategy})
    for _ in range(80):
        await go_on(client, rng, numbers)
    history = await compactions(client)
    assert len(history) > 20
    assert {one["strategy"] for one in history} == {strategy, "manual"}
    for one in history:
        query = {"at_version": one["version"], "budget_tokens": 10**6}
        view = (await client.get(WINDOW, params=query)).json()
        assert view["fit"] == "whole"
        assert one["segments"] == view["segments"]
        assert one["used_tokens_after"] == view["window_tokens"]


async def test_paging_meets_every_compaction_once(client: httpx.AsyncClient) -> None:
    """Going on behind the last version of a page loses and repeats none, up to an empty page."""
    await create(client, token_budget=10, trigger_ratio=0.5)
    await append(client, *(user("xxxx") for _ in range(300)))
    history = await compactions(client, limit=10_000)
    assert [one["version"] for one in history] == list(range(2, 301))
    assert await compactions(client) == history[:100]
    for limit in (1, 7, 298):
        found: list[dict[str, Any]] = []
        while page := await compactions(
            client, limit=limit, after=found[-1]["version"] if found else 0
        ):
            assert len(page) <= limit
            found += page
        assert found == history


async def test_only_what_rewrites_the_window_is_a_compaction(client: httpx.AsyncClient) -> None:
    """A policy that changes nothing, a configuration and a deletion leave no trace here."""
    await create(client, token_budget=1000)
    await append(client, user("One"), user("Two"))
    await client.put(CONTEXT, json={"token_budget": 1})
    await client.patch(f"{CONTEXT}/metadata", json={"metadata": {"a": 1}})
    await client.delete(CONTEXT)
    assert await compactions(client) == []
