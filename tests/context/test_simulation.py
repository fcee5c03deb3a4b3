"""
Random conversations with restarts, checked after every op against all that must hold.

`make sim SEED=7 RUNS=1000` tells the stories of the seeds 7 to 1006; so do the variables
`FASTPACA_SIM_SEED` and `FASTPACA_SIM_RUNS`. The story of a seed is always the same.
"""

from __future__ import annotations

import os
from random import Random

import pytest

from tests.context.telling import CHECKS, tell

SEED = 1
RUNS = 100
OPS = 60


@pytest.fixture
def seeds(request: pytest.FixtureRequest) -> range:
    """The seeds to try: as options and environment say, else a few that are always the same."""

    def asked(option: str, default: int) -> int:
        given = request.config.getoption(f"--{option}", default=None)
        return int(given or os.environ.get(f"FASTPACA_SIM_{option.upper()}") or default)

    first = asked("seed", SEED)
    return range(first, first + asked("runs", RUNS))


@pytest.mark.timeout(0)
def test_whatever_happens_all_rules_hold(seeds: range) -> None:
    """
    After every op of every story: budgets kept, log untouched, hot equals cold, nothing parted.
    """
    for seed in seeds:
        run(seed)


def run(seed: int) -> None:
    """Tell the story of *seed*, and name the seed if a rule is broken in it."""
    step = 0
    try:
        for told in tell(Random(seed), OPS):
            for check in CHECKS:
                check(told)
            step += 1
    except BaseException as error:
        error.add_note(f"The story of seed {seed} broke a rule at op {step}: make sim SEED={seed}")
        raise
