"""A PostgreSQL server for the tests of nodes, and as many seeds as the tests' runs ask for."""

from __future__ import annotations

import pytest

from tests.kit.postgres import Server
from tests.store.conftest import safe_dsn, safe_server

__all__ = ["safe_dsn", "safe_server"]


@pytest.fixture
def server(safe_server: Server) -> Server:
    """A server as operators run it."""
    return safe_server


@pytest.fixture
def dsn(safe_dsn: str) -> str:
    """The address of an empty database of its own."""
    return safe_dsn


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give a test that asks for a `seed` one after the other, so that they run in parallel."""
    if "seed" not in metafunc.fixturenames:
        return
    first, runs = metafunc.config.getoption("--seed"), metafunc.config.getoption("--runs")
    metafunc.parametrize("seed", range(first or 0, (first or 0) + (runs or 1)))
