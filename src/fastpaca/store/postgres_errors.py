"""What an error of the driver, of the network or of PostgreSQL itself is called, and means."""

from __future__ import annotations

from typing import Final

import asyncpg

FAILURES: Final = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
)
"""All that talking to a database can raise: it refuses, the driver gives up, the network fails."""

TIES: Final = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError)
"""The database broke a tie between transactions, and this one lost: certainly nothing was done."""


class Unreachable(Exception):
    """No connection could be had."""


def described(error: BaseException) -> str:
    """Say in a few words what went wrong, with the code that PostgreSQL's manual has for it."""
    if isinstance(error, asyncpg.PostgresError) and error.sqlstate:
        return f"{error.args[0] if error.args else type(error).__name__} ({error.sqlstate})"
    if isinstance(error, Unreachable):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
