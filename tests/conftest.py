"""What all tests share: the event loop of async tests, Hypothesis, the seeds of simulations."""

import signal

import hypothesis
import pytest

from tests.kit import postgres

# On a busy machine the time of one example says nothing. All else stays as Hypothesis has it, which
# in continuous integration means the same examples every time.
hypothesis.settings.register_profile("fastpaca", deadline=None, print_blob=True)
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
        "--postgres", type=int, default=postgres.NEWEST, help="the version to test on: 14 to 18"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Let the servers of this run be of the version that was asked for."""
    postgres.Versions.usual = config.getoption("--postgres")


@pytest.fixture
def sim_runs() -> int:
    """How many seeds a simulation tries unless asked for more; a module may say otherwise."""
    return 60


@pytest.fixture
def sim_seeds(request: pytest.FixtureRequest, sim_runs: int) -> range:
    """The seeds of this run: so many, from a first one on; a first one alone is tried alone."""
    first, runs = request.config.getoption("--seed"), request.config.getoption("--runs")
    if first is None:
        return range(runs or sim_runs)
    return range(first, first + (runs or 1))


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """Run async tests on the loop that the server runs on."""
    return "asyncio", {"use_uvloop": True}
