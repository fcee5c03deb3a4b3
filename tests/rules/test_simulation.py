"""
Random conversations against a second telling of the rules.

`make sim SEED=7 RUNS=1000` tells the conversations of the seeds 7 to 1006.
"""

from __future__ import annotations

import json
from random import Random

import pytest

from tests.rules.author import Author
from tests.rules.edits import edited
from tests.rules.forms import FORMS, SERVED_ROWS
from tests.rules.model import Settings
from tests.rules.reading import read
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
        forms = rng.sample(list(FORMS.values()), rng.randint(1, 3))
        author = Author(rng, forms, SERVED_ROWS)
        told = Told(drawn_settings(rng))
        reads = rng.random() < 0.2
        # Without ids, which call takes a result depends on steps that a revision may change.
        has_ids = all(form.has_ids for form in forms) and not author.repeats_ids
        revises = has_ids and rng.random() < 0.7
        try:
            for _ in range(rng.choice((10, 30, 60))):
                if revises and told.talk.log and rng.random() < 0.25:
                    revise(rng, told, author)
                else:
                    told.append(author.next())
                if reads and rng.random() < 0.2:
                    told.compare_view(told.settings.token_budget * rng.choice((3, 5, 8)) // 10)
        except BaseException as error:
            error.add_note(f"The conversation of seed {seed} broke a rule: make sim SEED={seed}")
            raise
        trims += told.trims
    assert trims > 0


def revise(rng: Random, told: Told, author: Author) -> None:
    """Revise the newest message, one in the window, or any."""
    talk = told.talk
    there = [entry.place for entry in talk.window if entry.seq is not None]
    place = rng.choice((talk.places[-1:], there, talk.places)) or talk.places
    row = talk.at(rng.choice(place))
    message = json.loads(talk.log[(row.seq or 0) - 1].body)
    sent = edited(rng, message, author.next().message, lambda: "so")
    sent["token_count"] = rng.choice((10, 20, 40, 90, 150, 400))
    told.revise(row.place, read(sent, sent["token_count"]))


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
