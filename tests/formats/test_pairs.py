"""Results are bound to their calls as `Pairing` binds them for windows."""

from __future__ import annotations

import sys
from random import Random
from typing import Any

import pytest

from fastpaca.formats import reading
from fastpaca.formats.items import CallItem
from fastpaca.formats.pairs import Pairs, bind_neighbours
from fastpaca.formats.reading import Said
from tests.formats.histories import history
from tests.formats.samples import Appended, Json
from tests.kit.messages import assistant, call, result, tool, user


def read(messages: list[dict[str, Any]]) -> list[Said]:
    return [reading.read(at, message) for at, message in enumerate(messages)]


def bonds(said: list[Said]) -> list[tuple[object, ...]]:
    """Return what is known of every call."""
    return [
        (
            item.at,
            item.place,
            item.is_running,
            item.is_settled,
            None if item.result is None else (item.result.at, item.result.place),
        )
        for one in said
        for item in one.items
        if isinstance(item, CallItem)
    ]


def both_ways(messages: list[dict[str, Any]]) -> tuple[bool, list[Any], list[Any]]:
    """Bind a conversation by its neighbours, and by all rules; return if the first was enough."""
    quick, thorough = read(messages), read(messages)
    is_enough = bind_neighbours(quick)
    Pairs(thorough).bind()
    return is_enough, bonds(quick), bonds(thorough)


def clean(seed: int) -> list[dict[str, Any]]:
    """Return a conversation in which results follow right after their calls."""
    rng = Random(seed)
    messages = [user("Hi")]
    for step in range(rng.randint(1, 6)):
        ids = rng.sample(["a", "b", "c"], rng.randint(1, 3))
        messages.append(assistant("So.", *[call(one, name="f") for one in ids]))
        rng.shuffle(ids)
        done = ids if step < 5 else ids[:1]
        if rng.random() < 0.5:
            messages.append(tool(*map(result, done)))
        else:
            messages += [tool(result(one)) for one in done]
        if done == ids and rng.random() < 0.4:
            messages += [assistant("Well."), user("And?")]
    return messages


def test_neighbours_are_bound_as_by_all_rules() -> None:
    """
    Where every result follows right after its call no search is needed, and it changes nothing.
    """
    for seed in range(200):
        is_enough, quick, thorough = both_ways(clean(seed))
        assert is_enough
        assert quick == thorough, seed


def in_keys(message: dict[str, Any]) -> list[dict[str, Any]]:
    """Return *message* with its calls and results in keys, as OpenAI Chat has them."""
    ids = [part["tool_call_id"] for part in message["parts"] if part["type"] == "tool_result"]
    if ids:
        return [{"role": "tool", "parts": [], "tool_call_id": one} for one in ids]
    calls = [
        {"id": one["tool_call_id"], "type": "function", "function": {"name": "f", "arguments": ""}}
        for one in message["parts"]
        if one["type"] == "tool_call"
    ]
    texts = [part for part in message["parts"] if part["type"] == "text"]
    return [{**message, "parts": texts} | ({"tool_calls": calls} if calls else {})]


def test_neighbours_in_keys_are_bound_as_by_all_rules() -> None:
    """
    It makes no difference whether calls and results stand in parts or in keys.
    """
    for seed in range(100):
        messages = [message for one in clean(seed) for message in in_keys(one)]
        is_enough, quick, thorough = both_ways(messages)
        assert is_enough
        assert quick == thorough, seed


def test_what_is_broken_is_left_to_the_rules() -> None:
    """
    In random conversations the short way is taken only where it comes to the same.
    """
    for seed in range(300):
        is_enough, quick, thorough = both_ways(history(seed, size=seed % 6 + 1))
        assert not is_enough or quick == thorough, seed


@pytest.mark.parametrize("kind", ["served calls", "reasoning"])
def test_twice_as_much_takes_twice_the_steps(kind: str) -> None:
    """
    A message may hold a hundred thousand calls that a provider ran, and a window as many messages
    of which nothing can be said.
    """
    steps = [_steps(kind, size) for size in (200, 400)]
    assert steps[1] < 2.2 * steps[0]


def _steps(kind: str, size: int) -> int:
    """Count the calls of functions that a rendering takes with *size* of that *kind*."""
    ids = [f"i{number}" for number in range(size)]
    asked: Json = {"role": "user", "content": "Hi"}
    if kind == "reasoning":
        listed = [{"type": "reasoning", "id": one, "summary": []} for one in ids]
        appended = Appended([asked, *listed, asked], "openai-responses")
    else:
        call_: Json = {"type": "server_tool_use", "name": "web_search", "input": {}}
        made = [{**call_, "id": one} for one in ids]
        found = {"type": "web_search_tool_result", "content": []}
        reply = [*made, *[{**found, "tool_use_id": one} for one in ids]]
        appended = Appended([asked, {"role": "assistant", "content": reply}], "anthropic")
    count = 0

    def step(*_: object) -> None:
        nonlocal count
        count += 1

    before = sys.getprofile()
    sys.setprofile(step)
    try:
        rendering = appended.rendered("openai-chat")
    finally:
        sys.setprofile(before)
    assert rendering.losses
    return count
