"""The options of the simulation."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let a seed and a number of runs be given, as `make sim` does."""
    group = parser.getgroup("fastpaca simulation")
    group.addoption("--seed", type=int, default=None, help="first seed of the simulation")
    group.addoption("--runs", type=int, default=None, help="how many seeds it tries")
