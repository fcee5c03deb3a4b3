"""The conversations that some of these tests need."""

from __future__ import annotations

import os

import pytest

from tests.acceptance.data import DATA, available


@pytest.fixture
def real_conversations() -> None:
    """Skip where the conversations are not there; under CI, where they must be, fail."""
    if available():
        return
    if os.environ.get("CI") == "true":
        pytest.fail(f"there are no conversations in {DATA}")
    pytest.skip(f"the conversations are not in {DATA}")
