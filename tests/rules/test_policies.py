"""Windows of the policies against a second telling of the rules, in every form."""

from __future__ import annotations

from random import Random
from typing import Any

import httpx
import pytest

from fastpaca.testing import running_app
from tests.rules.history import FORMS, Author, Said
from tests.rules.model import Model, Settings

PATH = "/v1/contexts/talk"
WHOLE = 2**50


def _drawn_settings(rng: Random, form: str, *, strips: bool) -> Settings:
    kinds = rng.choice((("tool", "reasoning"), ("tool",), ("reasoning",)))
    return Settings(
        token_budget=rng.choice((200, 400, 700, 1000, 2000)),
        trigger_ratio=rng.choice((0.5, 0.7, 0.7, 1.0)),
        limit=rng.choice((3, 8, 200, 200)),
        target_ratio=rng.choice((0.3, 0.5, 0.5, 0.8)),
        start_on_user=rng.random() < 0.8,
        skip_kinds=kinds if strips else None,
        has_items=form.endswith("_call"),
    )


class _Node:
    """A node that is told a history and asked for its window."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client
        self._costs: dict[str, int] = {}

    async def create(self, settings: Settings) -> None:
        config: dict[str, Any] = {
            "limit": settings.limit,
            "target_ratio": settings.target_ratio,
            "start_on_user": settings.start_on_user,
        }
        if settings.skip_kinds is not None:
            config["skip_kinds"] = settings.skip_kinds
        strategy = "last_n" if settings.skip_kinds is None else "skip_parts"
        await self._put(
            PATH,
            {
                "token_budget": settings.token_budget,
                "trigger_ratio": settings.trigger_ratio,
                "policy": {"strategy": strategy, "config": config},
            },
        )
        await self._put("/v1/contexts/scale", {"policy": {"strategy": "manual"}})

    async def append(self, said: Said) -> None:
        response = await self._client.post(f"{PATH}/messages", json={"message": said.message()})
        response.raise_for_status()

    async def window(self) -> list[tuple[int, list[Any], int]]:
        response = await self._client.get(f"{PATH}/context", params={"budget_tokens": WHOLE})
        return [
            (message["seq"], message["parts"], message["token_count"])
            for message in response.raise_for_status().json()["messages"]
        ]

    async def cost(self, said: Said, gone: frozenset[int]) -> int:
        """Ask the node what is left of *said* costs, never more than its own count."""
        rest = {"message": said.without(gone)}
        response = await self._client.post("/v1/contexts/scale/messages", json=rest)
        estimate: int = response.raise_for_status().json()["token_estimate"]
        return min(said.tokens, estimate)

    async def _put(self, path: str, body: dict[str, Any]) -> None:
        (await self._client.put(path, json=body)).raise_for_status()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("strategy", ["last_n", "skip_parts"])
async def test_window_is_what_the_rules_keep(form: str, strategy: str, sim_seeds: range) -> None:
    """
    After every append the window holds the messages and parts that the rules name, and no others.
    """
    for seed in sim_seeds:
        rng = Random(f"{form} {strategy} {seed}")
        await _compare(rng, form, seed, strips=strategy == "skip_parts")


@pytest.fixture
def sim_runs() -> int:
    """How many histories of each form are told."""
    return 3


async def _compare(rng: Random, form: str, seed: int, *, strips: bool) -> None:
    settings = _drawn_settings(rng, form, strips=strips)
    author = Author(rng, form)
    history = [author.next() for _ in range(rng.choice((10, 30, 60)))]
    async with running_app() as client:
        node = _Node(client)
        await node.create(settings)
        costs = {
            (id(said), gone): await node.cost(said, gone)
            for said in history
            for gone in _subsets(said)
        }

        def cost(said: Said, gone: frozenset[int]) -> int:
            return costs[id(said), gone] if gone else said.tokens

        model = Model(settings, cost)
        for number, said in enumerate(history, 1):
            model.append(said)
            await node.append(said)
            expected = [
                (kept.seq, history[kept.seq - 1].without(kept.gone)["parts"], kept.tokens)
                for kept in model.window
            ]
            got = await node.window()
            told = f"{form}, seed {seed}, {settings}, after message {number}"
            assert got == expected, told + _story(history[:number])


def _subsets(said: Said) -> list[frozenset[int]]:
    """List the sets of items that may be taken out of *said*: any but its texts, and not all."""
    takeable = [at for at, item in enumerate(said.items) if item.kind != "text"]
    sets = [
        frozenset(at for bit, at in enumerate(takeable) if number >> bit & 1)
        for number in range(1, 1 << len(takeable))
    ]
    return [gone for gone in sets if len(gone) < len(said.items)]


def _story(history: list[Said]) -> str:
    lines = [
        f"{seq:3} {said.role:9} {said.tokens:4} "
        + " ".join(f"{item.kind}:{item.id or item.name}" for item in said.items)
        for seq, said in enumerate(history, 1)
    ]
    return "\n" + "\n".join(lines)
