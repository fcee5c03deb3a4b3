"""A node to check the pages against."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.kit.process import started_as_installed


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a running node that the tests of a module share."""
    with started_as_installed(tmp_path_factory.mktemp("node")) as process:
        yield process.address


@pytest.fixture(scope="module")
def client(node: str) -> Iterator[httpx.Client]:
    """Speaks to the node that the tests of a module share."""
    with httpx.Client(base_url=node, trust_env=False) as client:
        yield client
