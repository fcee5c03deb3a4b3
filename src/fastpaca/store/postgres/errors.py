"""What an error of the driver, of the network or of PostgreSQL itself is called, and means."""

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
"""All that talking to a database can raise: it refuses, the driver gives up, the network fails."""

TIES: Final = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError)
"""The database broke a tie between transactions, and this one lost: certainly nothing was done."""


class Unreachable(Exception):
    """No connection could be had."""


class TlsFailed(ConnectionError):
    """There is no TLS as the address asks for it. The message is a clause that says why."""


def without_names(error: BaseException) -> str:
    """
    Say why a database cannot be used, to anybody.

    Nothing of it are words of the server or of the network: they may name hosts, addresses, users.
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
    """Say in a few words what went wrong, with the code that PostgreSQL's manual has for it."""
    if isinstance(error, asyncpg.PostgresError) and error.sqlstate:
        return f"{error.args[0] if error.args else type(error).__name__} ({error.sqlstate})"
    if isinstance(error, Unreachable | TlsFailed):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
