"""
A connection, and the settings that transactions on it have.

They are sent as the session starts, and hold as long as it does. Behind a pooler in transaction
mode, such as PgBouncer, there is no session: each transaction may run on another one, which other
clients have used before. So there

- a transaction that writes begins with its settings, in the same message;
- no statement is kept: each is sent under no name, and is done with before the session changes.

Whether there is a pooler is found out, not configured. It refuses settings that it cannot keep, or
the process that the server names is not the one that answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import asyncpg

from fastpaca.store.postgres_hosts import HOST_SECONDS

CONNECT_SECONDS: Final = 5.0
"""How long to wait for the only host: a server that comes back should not be met too late."""

_BEGIN: Final = "BEGIN ISOLATION LEVEL READ COMMITTED"

_PROCESS: Final = "SELECT pg_backend_pid()"


class Session(asyncpg.Connection):  # type: ignore[misc]  # the driver ships without types
    """
    A connection.

    Attributes:
        is_pooled: Whether each transaction may run on another session.
        settings: What gives a transaction its settings, if there is a pooler.
        begin: The statement that begins a transaction, with its settings.
        generation: For whoever keeps it: when it was made.
    """

    is_pooled: bool = False
    settings: str = ""
    begin: str = _BEGIN
    generation: int = 0


async def connect(
    dsn: str,
    settings: Mapping[str, str],
    *,
    is_pooled: bool,
    host: Mapping[str, Any] | None = None,
) -> Session:
    """
    Connect to *dsn*, so that what writes has the *settings*.

    Args:
        dsn: An address as libpq has them.
        settings: Names and values, none of them with a quote.
        is_pooled: Whether it is known already that there is a pooler.
        host: The one of several that is meant, as `hosts_of` gives it.
    """
    where = {"timeout": HOST_SECONDS, **host} if host else {"timeout": CONNECT_SECONDS}
    session = None if is_pooled else await _with_settings(dsn, settings, where)
    if session is None:
        session = await _connect(dsn, {}, where, statement_cache_size=0)
        session.is_pooled = True
        session.settings = "; ".join(f"SET LOCAL {name} = '{settings[name]}'" for name in settings)
        session.begin = f"{_BEGIN}; {session.settings}"
    return session


async def _with_settings(
    dsn: str, settings: Mapping[str, str], where: Mapping[str, Any]
) -> Session | None:
    """Connect to a server itself; None if there is a pooler before it."""
    try:
        session = await _connect(dsn, settings, where)
    except asyncpg.ProtocolViolationError as error:
        if "startup parameter" in str(error).lower():
            return None
        raise
    try:
        # Under no name: a name may be taken, if other clients have used this session before.
        process = await (await session.prepare(_PROCESS, name="")).fetchval(timeout=CONNECT_SECONDS)
    except BaseException:
        session.terminate()
        raise
    if process == session.get_server_pid():
        return session
    session.terminate()
    return None


async def _connect(
    dsn: str, settings: Mapping[str, str], where: Mapping[str, Any], **options: Any
) -> Session:
    # Whether it takes writes is for the caller to ask: the driver believes what was said at the
    # start, and a pooler repeats to new clients what a server has told it long ago.
    session: Session = await asyncpg.connect(
        dsn,
        **where,
        target_session_attrs="any",
        server_settings={"application_name": "fastpaca", **settings},
        connection_class=Session,
        **options,
    )
    return session
