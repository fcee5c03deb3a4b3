"""What all tests share: the event loop that async tests run on, and how Hypothesis behaves."""

import hypothesis
import pytest

# On a busy machine the time of one example says nothing. All else stays as Hypothesis has it, which
# in continuous integration means the same examples every time.
hypothesis.settings.register_profile("fastpaca", deadline=None, print_blob=True)
hypothesis.settings.load_profile("fastpaca")


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """Run async tests on the loop that the server runs on."""
    return "asyncio", {"use_uvloop": True}
