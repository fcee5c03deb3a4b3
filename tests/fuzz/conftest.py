"""What the fuzzers share: how much they try."""

from __future__ import annotations

import pytest

from tests.fuzz.effort import Effort


@pytest.fixture
def effort(request: pytest.FixtureRequest) -> Effort:
    """How much to try, as the options say."""
    return Effort(request.config.getoption("--runs"), request.config.getoption("--seed"))
