"""The PostgreSQL of the tests of stores as an archive, and the lives of killed nodes."""

import pytest

from tests.server.conftest import KILLS
from tests.store.conftest import fast_dsn, fast_server, safe_dsn, safe_server

__all__ = ["fast_dsn", "fast_server", "safe_dsn", "safe_server"]

KILLS_USUAL = 10
"""Few, since each takes seconds; `--runs=30` or more asks for others."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give a test that asks for a `kill_seed` one after the other, so that they run in parallel."""
    if "kill_seed" not in metafunc.fixturenames:
        return
    first, kills = metafunc.config.getoption("--seed"), metafunc.config.getoption("--runs")
    lives = -(-(kills or (KILLS_USUAL if first is None else KILLS)) // KILLS)
    metafunc.parametrize("kill_seed", range(first or 0, (first or 0) + lives))
