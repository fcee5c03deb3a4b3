"""Names and meanings of errors of the driver, the network and PostgreSQL."""

from __future__ import annotations

from typing import Final

import asyncpg

from fastpaca.store.base import StoreRefused

FAILURES: Final = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
)
"""All errors of using a database: it refuses, the driver gives up, or the network fails."""

TIES: Final = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError)
"""The transaction lost against a concurrent one, and certainly changed nothing."""


class Unreachable(Exception):
    """No connection was available."""


class TlsFailed(ConnectionError):
    """TLS as the address requires it is impossible. The message is a clause that says why."""


def without_names(error: BaseException) -> str:
    """
    Return why a database can't be used, in words that anyone may see.

    It quotes neither server nor network, whose messages may name hosts, addresses or users.
    """
    while isinstance(error, Unreachable | StoreRefused) and error.__cause__ is not None:
        error = error.__cause__
    match error:
        case asyncpg.ReadOnlySQLTransactionError():
            return "it accepts no writes"
        case TimeoutError():
            return "it does not respond"
        case TlsFailed():
            return "it does not offer the TLS that its address requires"
        case asyncpg.PostgresConnectionError():
            return "it cannot be reached"
        case asyncpg.PostgresError(sqlstate=str(code)):
            return f"it refuses the request ({code})"
        case Unreachable():
            return "all connections to it are in use"
        case StoreRefused():
            return "it cannot be trusted"
    return "it cannot be reached"


def described(error: BaseException) -> str:
    """Return a short description of *error*, with the code from PostgreSQL's manual."""
    if isinstance(error, asyncpg.PostgresError) and error.sqlstate:
        return f"{error.args[0] if error.args else type(error).__name__} ({error.sqlstate})"
    if isinstance(error, Unreachable | TlsFailed):
        return str(error)
    if isinstance(error, ConnectionRefusedError):
        return "Connection refused"  # asyncio puts its own words in place of these
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
