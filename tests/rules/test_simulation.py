"""
Random conversations against a second telling of the rules.

`make sim SEED=7 RUNS=1000` tells the conversations of the seeds 7 to 1006.
"""

from __future__ import annotations

from random import Random

import pytest

from tests.rules.author import Author
from tests.rules.forms import FORMS, SERVED_ROWS
from tests.rules.model import Settings
from tests.rules.told import Told


@pytest.fixture
def sim_runs() -> int:
    """How many conversations are told when nothing else is asked for."""
    return 120


@pytest.mark.timeout(0)
def test_random_conversations_are_kept_by_the_rules(sim_seeds: range) -> None:
    """
    Whatever forms are mixed, and whatever is lost, late, doubled, denied or out of place.
    """
    trims = 0
    for seed in sim_seeds:
        rng = Random(seed)
        author = Author(rng, rng.sample(list(FORMS.values()), rng.randint(1, 3)), SERVED_ROWS)
        told = Told(drawn_settings(rng))
        reads = rng.random() < 0.2
        try:
            for _ in range(rng.choice((10, 30, 60))):
                told.append(author.next())
                if reads and rng.random() < 0.2:
                    told.compare_view(told.settings.token_budget * rng.choice((3, 5, 8)) // 10)
        except BaseException as error:
            error.add_note(f"The conversation of seed {seed} broke a rule: make sim SEED={seed}")
            raise
        trims += told.trims
    assert trims > 0


def drawn_settings(rng: Random) -> Settings:
    """Draw a configuration."""
    return Settings(
        token_budget=rng.choice((200, 400, 700, 1000, 2000)),
        trigger_ratio=rng.choice((0.5, 0.7, 0.7, 1.0)),
        limit=rng.choice((3, 8, 200, 200)),
        target_ratio=rng.choice((0.3, 0.5, 0.5, 0.8)),
        start_on_user=rng.random() < 0.8,
        skip_kinds=rng.choice((None, None, ("tool", "reasoning"), ("tool",), ("reasoning",))),
    )
