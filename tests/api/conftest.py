"""The PostgreSQL of the tests of stores, for tests of the whole API on each store."""

from tests.store.conftest import fast_dsn, fast_server, oldest_dsn, oldest_server

__all__ = ["fast_dsn", "fast_server", "oldest_dsn", "oldest_server"]
