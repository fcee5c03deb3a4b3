"""What all tests share: the event loop that async tests run on, and how Hypothesis behaves."""

import hypothesis
import pytest

# On a busy machine the time of one example says nothing. All else stays as Hypothesis has it, which
# in continuous integration means the same examples every time.
hypothesis.settings.register_profile("fastpaca", deadline=None, print_blob=True)
hypothesis.settings.load_profile("fastpaca")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let a seed and a number of runs be given to the simulations, as `make sim` does."""
    group = parser.getgroup("fastpaca simulations")
    group.addoption("--seed", type=int, default=None, help="first seed of the simulations")
    group.addoption("--runs", type=int, default=None, help="how many seeds they try")


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """Run async tests on the loop that the server runs on."""
    return "asyncio", {"use_uvloop": True}
