"""The PostgreSQL server that tests of nodes use: one as operators run it."""

from __future__ import annotations

import pytest

from tests.kit.postgres import Server


@pytest.fixture
def server(safe_server: Server) -> Server:
    """A server as operators run it."""
    return safe_server


@pytest.fixture
def dsn(safe_dsn: str) -> str:
    """The address of an empty database of its own."""
    return safe_dsn
