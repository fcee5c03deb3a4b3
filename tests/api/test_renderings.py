"""Renderings of whatever was appended: valid, within the budget, and the same wherever made."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from random import Random
from typing import Any

import httpx
import pytest

from fastpaca.store.memory import MemoryStore
from fastpaca.testing import composed, running
from tests.formats.histories import history
from tests.formats.samples import NAMES, VALIDATORS, Json
from tests.kit.app import append, create
from tests.kit.messages import assistant, call, result, system, tool, user

PATH = "/v1/contexts/c"
BUDGETS = (1, 30, 90, 400, 2000)


@pytest.fixture
def sim_runs() -> int:
    """How many conversations are rendered when nothing else is asked for."""
    return 12


async def read(client: httpx.AsyncClient, name: str, **params: Any) -> httpx.Response:
    """Read the view in a format."""
    response = await client.get(f"{PATH}/context", params={"format": name, **params})
    assert response.status_code == 200, response.text
    return response


async def rendered(client: httpx.AsyncClient, name: str, **params: Any) -> Json:
    """Read the view in a format, and check what holds for each."""
    view: Json = (await read(client, name, **params)).json()
    assert 0 <= view["stable_messages"] <= len(view["messages"])
    if name in VALIDATORS and view["fit"] != "empty":
        assert VALIDATORS[name](view["messages"]) == [], (name, params)
    return view


async def appended(client: httpx.AsyncClient, seed: int) -> None:
    """Append a random conversation, message by message, under a random policy."""
    rng = Random(seed)
    config = {"limit": rng.choice((5, 200))}
    strategy = rng.choice(("last_n", "skip_parts"))
    factor = rng.choice((1, 1, 1.7))
    policy = {"strategy": strategy, "config": config}
    await create(client, token_budget=rng.choice((300, 8000)), policy=policy, token_factor=factor)
    for message in history(seed):
        await append(client, {key: value for key, value in message.items() if key != "seq"})


def forms(rng: Random) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each format, with random parameters."""
    for name in NAMES:
        params: dict[str, Any] = {"open_calls": rng.choice(("close", "drop"))}
        if name == "anthropic":
            params["cache"] = rng.choice(("true", "false"))
        yield name, params


@pytest.mark.timeout(0)
def test_renderings_are_valid_and_within_the_budget(sim_seeds: range) -> None:
    """
    Whatever is appended, broken calls included, every provider accepts its rendering, which never
    costs more than the budget, repairs included.
    """

    async def play(seed: int) -> None:
        async with running(composed()) as client:
            await appended(client, seed)
            budget = (await client.get(PATH)).json()["token_budget"]
            for name, params in forms(Random(seed)):
                view = await rendered(client, name, **params)
                assert view["used_tokens"] <= budget, (seed, name)
                for limit in BUDGETS:
                    view = await rendered(client, name, budget_tokens=limit, **params)
                    assert view["used_tokens"] <= limit, (seed, name, limit)

    for seed in sim_seeds:
        asyncio.run(play(seed))


@pytest.mark.timeout(0)
def test_renderings_are_the_same_after_a_restart(sim_seeds: range) -> None:
    """
    A rendering of a context that is in memory, and of one that was loaded, are equal to the byte,
    as are those of every past version and those that are explained.
    """

    async def all_forms(client: httpx.AsyncClient, last: int) -> list[bytes]:
        queries: list[dict[str, Any]] = [{}, {"budget_tokens": 90}]
        queries += [{"explain": "true"}, {"at_version": last // 2}]
        return [(await read(client, name, **query)).content for name in NAMES for query in queries]

    async def play(seed: int) -> None:
        store = MemoryStore()
        async with running(composed(store)) as client:
            await appended(client, seed)
            last = (await client.get(PATH)).json()["version"]
            hot = await all_forms(client, last)
        async with running(composed(store)) as client:
            assert await all_forms(client, last) == hot, seed

    for seed in sim_seeds:
        asyncio.run(play(seed))


async def test_past_rendering_is_that_of_its_time(client: httpx.AsyncClient) -> None:
    """
    A rendering at a version is the one that was read when this was the current version.
    """
    await create(client, token_budget=400)
    seen: dict[int, dict[str, Json]] = {}
    for message in history(3, 30):
        version = (await append(client, {**message, "seq": None}))[0]["version"]
        seen[version] = {name: (await read(client, name)).json() for name in NAMES}
    for version, views in seen.items():
        for name, view in views.items():
            assert (await read(client, name, at_version=version)).json() == view


async def test_explained_rendering(client: httpx.AsyncClient) -> None:
    """
    An explained rendering is the rendering, with what became of every message of the log.
    """
    await create(client)
    for message in history(5, 30):
        await append(client, {**message, "seq": None})
    for name in NAMES:
        for budget in (90, 400, 8000):
            plain = await rendered(client, name, budget_tokens=budget)
            explained = await rendered(client, name, budget_tokens=budget, explain="true")
            fates = explained.pop("explained")
            assert explained == plain
            assert fates[0]["from_seq"] == 1
            assert fates[-1]["to_seq"] == 31


SYSTEM = system("Be brief.")
CALLS = assistant(call("a"), call("b"))
INTERRUPTED: list[tuple[str, Sequence[Json]]] = [
    ("between call and result", [user("Look"), assistant(call("a"))]),
    ("between two results", [user("Look"), CALLS, tool(result("a"))]),
    ("after a text and a call", [user("Look"), assistant("I look.", call("a"))]),
    ("after a partial reply", [user("Tell me"), assistant("It is ")]),
    ("after an empty reply", [user("Tell me"), assistant("")]),
    ("after the question", [user("Tell me")]),
    ("after the results", [user("Look"), assistant(call("a")), tool(result("a"))]),
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("what", [pytest.param(found, id=i) for i, found in INTERRUPTED])
async def test_interrupted_conversations_heal(
    client: httpx.AsyncClient, name: str, what: Sequence[Json]
) -> None:
    """
    An agent was killed, and a new question comes: every provider accepts the conversation, a
    result that comes too late included, and the log is as it was.
    """
    await create(client)
    await append(client, SYSTEM, *what)
    await append(client, user("Are you there?"))
    view = await rendered(client, name)
    assert "Are you there?" in str(view["messages"][-1])
    await append(client, tool(result("a", "late"), result("b", "late")))
    await rendered(client, name)
    await append(client, assistant("Yes."), user("Good."))
    await rendered(client, name)
    messages = (await client.get(f"{PATH}/messages")).json()["messages"]
    assert [message["role"] for message in messages[1 : 1 + len(what)]] == [
        message["role"] for message in what
    ]


async def test_stable_messages_of_renderings(client: httpx.AsyncClient) -> None:
    """
    What a rendering calls stable, the next one begins with, while nothing is rewritten.
    """
    await create(client, token_budget=100_000)
    before: dict[str, Json] = {}
    for message in history(8, 30):
        await append(client, {**message, "seq": None})
        for name in NAMES:
            view = (await read(client, name)).json()
            if name in before:
                stable = before[name]["stable_messages"]
                assert view["messages"][:stable] == before[name]["messages"][:stable]
            before[name] = view


async def test_large_windows_are_rendered(client: httpx.AsyncClient) -> None:
    """
    A window that is rendered in a thread is rendered alike.
    """
    await create(client, token_budget=10**9)
    await append(client, *[user("so long " * 200), assistant("why " * 200)] * 100, user("End"))
    view = await rendered(client, "anthropic")
    assert len(view["messages"]) == 201
    assert view["used_tokens"] == view["window_tokens"]


async def test_manual_window_is_rendered_whole(client: httpx.AsyncClient) -> None:
    """
    The owner of a window gets all of it, above the budget too, unless a budget is named.
    """
    await create(client, token_budget=20, policy={"strategy": "manual"})
    await append(client, *[user("so long " * 9), assistant("why " * 9)] * 5, user("End"))
    view = await rendered(client, "anthropic")
    assert len(view["messages"]) == 11
    assert view["used_tokens"] > 20
    assert (await rendered(client, "anthropic", budget_tokens=60))["used_tokens"] <= 60
