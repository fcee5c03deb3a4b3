"""The seeds of the simulations."""

import pytest


@pytest.fixture
def sim_seeds(request: pytest.FixtureRequest) -> range:
    """The seeds of this run: so many, from a first one on."""
    first, runs = request.config.getoption("--seed"), request.config.getoption("--runs")
    if first is None:
        return range(runs or 60)
    return range(first, first + (runs or 1))
