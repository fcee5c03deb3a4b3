"""A PostgreSQL server for the tests of nodes, and as many seeds as the tests' runs ask for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.postgres import Server, running_server


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """A server as operators run it."""
    with running_server() as server:
        yield server


@pytest.fixture
def dsn(server: Server) -> Iterator[str]:
    """The address of an empty database of its own."""
    name = server.create_database()
    yield server.dsn(name)
    server.drop_database(name)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give a test that asks for a `seed` one after the other, so that they run in parallel."""
    if "seed" not in metafunc.fixturenames:
        return
    first, runs = metafunc.config.getoption("--seed"), metafunc.config.getoption("--runs")
    metafunc.parametrize("seed", range(first or 0, (first or 0) + (runs or 1)))
