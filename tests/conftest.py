"""What all tests share: the event loop of async tests, Hypothesis, seeds, PostgreSQL servers."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator, Iterator

import hypothesis
import pytest

from tests.kit.postgres import NEWEST, UNSAFE, Server, Versions, installed, running_server
from tests.kit.process import started_as_installed

# On a busy machine the time of an example says nothing, nor what it takes to draw one. All else
# stays as Hypothesis has it, which in continuous integration means the same examples every time.
hypothesis.settings.register_profile(
    "fastpaca",
    deadline=None,
    print_blob=True,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("fastpaca")

# In the background a shell ignores it, and so would every process that tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let a seed and a number of runs be given to the simulations, as `make sim` does."""
    group = parser.getgroup("fastpaca simulations")
    group.addoption("--seed", type=int, default=None, help="first seed to try")
    group.addoption("--runs", type=int, default=None, help="how many seeds, or examples")
    group.addoption("--seconds", type=float, default=None, help="how long an overload lasts")
    parser.addoption(
        "--postgres", type=int, default=NEWEST, help="the version to test on: 14 to 18"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Let the servers of this run be of the version that was asked for."""
    Versions.usual = config.getoption("--postgres")


def seeds(config: pytest.Config, usual: int) -> range:
    """The seeds of this run: so many, from a first one on; a first one alone is tried alone."""
    first, runs = config.getoption("--seed"), config.getoption("--runs")
    if first is None:
        return range(runs or usual)
    return range(first, first + (runs or 1))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """
    Run a test that takes a `seed` once for each seed, so that they run in parallel.

    A module says in `SEEDS` how many it tries unless asked for more; without it that is one.
    """
    if "seed" in metafunc.fixturenames:
        usual = getattr(metafunc.module, "SEEDS", 1)
        metafunc.parametrize("seed", seeds(metafunc.config, usual))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    """Say with a failure how to run the test again with the same seed."""
    try:
        return (yield)
    except BaseException as error:
        if isinstance(item, pytest.Function) and "seed" in item.fixturenames:
            error.add_note(f"pytest {item.location[0]} --seed={item.callspec.params['seed']}")
        raise


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Run two processes a core with `-n auto`: tests often wait for a server, a disk or a timer."""
    return 2 * (os.cpu_count() or 1)


@pytest.fixture
def sim_runs() -> int:
    """How many seeds a simulation tries unless asked for more; a module may say otherwise."""
    return 60


@pytest.fixture
def sim_seeds(request: pytest.FixtureRequest, sim_runs: int) -> range:
    """The seeds of this run, for tests that try one after the other."""
    return seeds(request.config, sim_runs)


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """Run async tests on the loop that the server runs on."""
    return "asyncio", {"use_uvloop": True}


@pytest.fixture
def fresh_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a running node that holds nothing."""
    with started_as_installed(tmp_path_factory.mktemp("node")) as process:
        yield process.address


@pytest.fixture(scope="session")
def fast_server() -> Iterator[Server]:
    """A PostgreSQL server that would not survive a crash."""
    with running_server(**UNSAFE) as server:
        yield server


@pytest.fixture(scope="session")
def safe_server() -> Iterator[Server]:
    """A PostgreSQL server as operators run it."""
    with running_server() as server:
        yield server


@pytest.fixture(scope="session")
def oldest_server() -> Iterator[Server]:
    """A server of the oldest version that is here, which would not survive a crash."""
    with running_server(installed()[0], **UNSAFE) as server:
        yield server


@pytest.fixture
def fast_dsn(fast_server: Server) -> Iterator[str]:
    """The address of a database of its own, on a server that would not survive a crash."""
    with fast_server.database() as dsn:
        yield dsn


@pytest.fixture
def safe_dsn(safe_server: Server) -> Iterator[str]:
    """The address of a database of its own, on a server as operators run it."""
    with safe_server.database() as dsn:
        yield dsn


@pytest.fixture
def oldest_dsn(oldest_server: Server) -> Iterator[str]:
    """The address of a database of its own, on a server of the oldest version."""
    with oldest_server.database() as dsn:
        yield dsn
