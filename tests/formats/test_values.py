"""Values of kinds that no provider sends never break a rendering."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from random import Random
from typing import Any, Final

import msgspec
import pytest

from fastpaca.context.draft import parse
from fastpaca.errors import InvalidRequest
from fastpaca.formats import render
from tests.formats.histories import history
from tests.formats.samples import LISTS, NAMES, VALIDATORS, Appended, Json
from tests.formats.test_official import MADE
from tests.kit.messages import user

WEIRD: Final[tuple[Any, ...]] = (
    None,
    1,
    1.5,
    True,
    "",
    "x",
    "a b",
    [],
    {},
    [1],
    {"a": 1},
    [{"type": "text"}],
    [{"type": "text", "text": 5}],
    {"type": "text", "value": 3},
    "data:image/png;base64,AA==",
)

KEPT: Final = ("role", "parts", "seq")


@pytest.fixture
def sim_runs() -> int:
    """How many conversations are spoiled when nothing else is asked for."""
    return 400


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield where something stands in *value* that can be another value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    for key, held in inner:
        here = (*path, key)
        is_type = len(here) == 3 and here[0] == "parts" and key == "type"
        if here[0] not in KEPT or (len(here) > 2 and not is_type):
            yield here
        if isinstance(held, dict | list):
            yield from places(held, here)


def spoiled(seed: int, pool: list[list[Json]]) -> list[Json]:
    """Return a conversation in which up to four values are of a kind that does not belong there."""
    rng = Random(seed)
    messages = copy.deepcopy(rng.choice(pool))
    for _ in range(rng.choice((1, 1, 2, 4))):
        message = rng.choice(messages)
        there = list(places(message))
        if there:
            *path, last = rng.choice(there)
            held: Any = message
            for key in path:
                held = held[key]
            held[last] = copy.deepcopy(rng.choice(WEIRD))
    return [*messages, {"seq": len(messages) + 1, **user("Go on?")}]


def can_be_appended(messages: list[Json]) -> bool:
    try:
        for message in messages:
            own = {key: value for key, value in message.items() if key != "seq"}
            parse(msgspec.json.encode(own), "message")
    except InvalidRequest:
        return False
    return True


@pytest.mark.timeout(0)
def test_every_message_that_can_be_appended_is_rendered(sim_seeds: range) -> None:
    """
    Whatever stands in a message that the node takes, it is rendered, and the provider accepts it.
    """
    pool = [
        Appended(listed, name).messages
        for source in (LISTS, MADE)
        for name, lists in source.items()
        for listed in lists
    ]
    pool += [history(seed, 6) for seed in range(40)]
    tried = 0
    for seed in sim_seeds:
        messages = spoiled(seed, pool)
        if not can_be_appended(messages):
            continue
        tried += 1
        for name in NAMES:
            rendering = render(messages, name)
            msgspec.json.encode(rendering)
            if name in VALIDATORS:
                assert VALIDATORS[name](rendering.messages) == [], (seed, name)
    assert tried
