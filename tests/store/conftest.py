"""A PostgreSQL server with TLS for the tests of stores, started when the first test asks for it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.store.tls import TlsServer, running_tls_server


@pytest.fixture(scope="session")
def tls_server() -> Iterator[TlsServer]:
    """A server that is reached over TCP, with TLS."""
    with running_tls_server() as server:
        yield server
