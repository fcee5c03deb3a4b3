"""
Followers of random lives, and of every small one, are told each version once and in order.

`make sim SEED=7 RUNS=1000` lives through the stories of the seeds 7 to 1006. The story of a seed is
always the same.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import pytest

from fastpaca.stream.subscription import (
    CompactionFrame,
    ContextFrame,
    Frame,
    GapFrame,
    MessageFrame,
    ResetFrame,
    RewindFrame,
    TombstonedFrame,
)
from tests.stream.exhaustive import explore
from tests.stream.simulation import live
from tests.stream.world import World

Op = Callable[[World], World]

WRITES: dict[str, Op] = {
    "append": lambda world: world.append(used_tokens=10),
    "trim": lambda world: world.append(trimmed=True, used_tokens=5),
    "revise": lambda world: world.append(used_tokens=10, revises=1),
    "compact": World.compact,
    "rewind": World.rewind,
    "configure": lambda world: world.configure(token_budget=300 - world.state.token_budget),
    "loss": lambda world: world.lose(1, 1),
    "half a loss": lambda world: world.lose(1, 2, messages_only=True),
}
ENDS: dict[str, Op] = {"delete": World.delete, "purge": World.purge}


@pytest.fixture
def sim_runs() -> int:
    """How many stories are lived through when nothing else is asked for."""
    return 600


@pytest.mark.timeout(0)
def test_followers_are_told_everything_once_and_in_order(sim_seeds: range) -> None:
    """
    Whatever becomes of doorbells, pages, connections and rows, each frame is true and in its place,
    and whoever comes to rest knows all.
    """
    met: dict[bool, set[type[Frame]]] = {True: set(), False: set()}
    cut_short = 0
    for seed in sim_seeds:
        for client in live(seed):
            met[client.wants_messages] |= client.met
            cut_short += client.cut_short
    if len(sim_seeds) >= 100:  # else the checks would have seen too little
        without = {
            CompactionFrame,
            RewindFrame,
            ContextFrame,
            GapFrame,
            ResetFrame,
            TombstonedFrame,
        }
        assert met == {True: {MessageFrame, *without}, False: without}
        assert cut_short >= len(sim_seeds) // 4, "versions must be cut in their middle"


@pytest.mark.parametrize("wants_messages", [True, False], ids=["messages", "no messages"])
@pytest.mark.parametrize("first", ["append", "trim", "compact", "rewind", "configure"])
def test_everything_that_can_happen_in_a_small_life_keeps_the_rules(
    first: str, wants_messages: bool
) -> None:
    """
    Every order of three writes, of any doorbells and of any pages, and cuts behind every frame.
    """
    for second, third in product(WRITES.values(), (WRITES | ENDS).values()):
        life = [World()]
        for write in (WRITES[first], second, third):
            life.append(write(life[-1]))
        assert explore(life, cursor=None, wants_messages=wants_messages) > 3
        assert explore(life, cursor=0, wants_messages=wants_messages) > 3


def test_everything_that_can_happen_after_a_backup_keeps_the_rules() -> None:
    """A follower that is ahead of the store is reset, and then told all that is written."""
    starts = product((1, 5), (True, False))
    for (cursor, wants_messages), second, third in product(starts, WRITES.values(), ENDS.values()):
        life = [World()]
        for write in (World.append, second, third):
            life.append(write(life[-1]))
        assert explore(life, cursor, wants_messages=wants_messages) > 3
