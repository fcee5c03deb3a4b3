"""A node for the tests of clients."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.kit.process import Process, started


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """A running node that the tests of a module share; each has a context of its own."""
    with started(tmp_path_factory.mktemp("node")) as process:
        yield process
