"""PostgreSQL servers for the tests of stores, started when the first test asks for one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.kit.postgres import UNSAFE, Server, installed, running_server
from tests.store.tls import TlsServer, running_tls_server


@pytest.fixture(scope="session")
def fast_server() -> Iterator[Server]:
    """A server that would not survive a crash."""
    with running_server(**UNSAFE) as server:
        yield server


@pytest.fixture(scope="session")
def safe_server() -> Iterator[Server]:
    """A server as operators run it."""
    with running_server() as server:
        yield server


@pytest.fixture(scope="session")
def oldest_server() -> Iterator[Server]:
    """A server of the oldest version that is here, which would not survive a crash."""
    with running_server(installed()[0], **UNSAFE) as server:
        yield server


@pytest.fixture
def oldest_dsn(oldest_server: Server) -> Iterator[str]:
    """The address of a database of its own, on a server of the oldest version."""
    name = oldest_server.create_database()
    yield oldest_server.dsn(name)
    oldest_server.drop_database(name)


@pytest.fixture
def fast_dsn(fast_server: Server) -> Iterator[str]:
    """The address of a database of its own, on a server that would not survive a crash."""
    name = fast_server.create_database()
    yield fast_server.dsn(name)
    fast_server.drop_database(name)


@pytest.fixture
def safe_dsn(safe_server: Server) -> Iterator[str]:
    """The address of a database of its own, on a server as operators run it."""
    name = safe_server.create_database()
    yield safe_server.dsn(name)
    safe_server.drop_database(name)


@pytest.fixture(scope="session")
def tls_server() -> Iterator[TlsServer]:
    """A server that is reached over TCP, with TLS."""
    with running_tls_server() as server:
        yield server
