"""Names and meanings of errors of the driver, the network and PostgreSQL."""

from __future__ import annotations

import socket
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


_AWAY: Final = " Check that it runs, and the host and port in its address."
_LOGIN: Final = " Check the user and password in its address, and the server's pg_hba.conf."

_ADVICE: Final[tuple[tuple[type[Exception], str], ...]] = (
    (asyncpg.InvalidAuthorizationSpecificationError, _LOGIN),
    (asyncpg.InvalidCatalogNameError, " Create it, or correct the name in its address."),
    (asyncpg.TooManyConnectionsError, " Raise max_connections there, or lower DB_POOL_SIZE."),
    (asyncpg.PostgresConnectionError, _AWAY),
    (ConnectionRefusedError, _AWAY),
    (socket.gaierror, _AWAY),
    (TimeoutError, _AWAY),
)
"""What an operator can do about a database that a node can't connect to."""


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
    if isinstance(error, TimeoutError) and not str(error):
        return "no response in time"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def advice(error: BaseException) -> str:
    """Return what to do about an *error* of connecting, as a sentence to append; or nothing."""
    return next((text for kind, text in _ADVICE if isinstance(error, kind)), "")
