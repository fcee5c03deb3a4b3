"""The lives of the nodes that are killed: as many as the tests' runs ask for, each from a seed."""

import pytest

KILLS = 5
"""How often the node of one life is killed."""

KILLS_USUAL = 30


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give a test that asks for a `kill_seed` one after the other, so that they run in parallel."""
    if "kill_seed" not in metafunc.fixturenames:
        return
    first, kills = metafunc.config.getoption("--seed"), metafunc.config.getoption("--runs")
    lives = -(-(kills or (KILLS_USUAL if first is None else KILLS)) // KILLS)
    metafunc.parametrize("kill_seed", range(first or 0, (first or 0) + lives))
