"""A PostgreSQL server for the tests of commands."""

from tests.store.conftest import fast_dsn, fast_server

__all__ = ["fast_dsn", "fast_server"]
