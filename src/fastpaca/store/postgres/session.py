"""
A connection, and the settings of its transactions.

Settings are sent when the session starts, and last as long as it does. With a pooler in transaction
mode, such as PgBouncer, there is no session: each transaction may run in another one, which other
clients have used before. So

- a transaction that writes begins with its settings, in the same message;
- statements are not prepared under a name, and end before the session changes.

A pooler is detected, not configured: it refuses settings that it can't keep, or the server process
that it announces is not the one that responds.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Iterator, Mapping
from typing import Any, Final

import asyncpg

from fastpaca.store.postgres.address import Address, Host
from fastpaca.store.postgres.errors import TlsFailed
from fastpaca.store.postgres.files import password

CONNECT_SECONDS: Final = 5.0
"""How long to wait for the only host, so that a server is noticed soon after it is back."""

HOST_SECONDS: Final = 4.0
"""
How long to wait for each of several hosts.

A dead machine does not respond, and would use up the time for the next one.
"""

_BEGIN: Final = "BEGIN ISOLATION LEVEL READ COMMITTED"

_PROCESS: Final = "SELECT pg_backend_pid()"

# The names on Linux, and on macOS where they differ.
_TCP: Final = {
    "keepalives_idle": ("TCP_KEEPIDLE", "TCP_KEEPALIVE"),
    "keepalives_interval": ("TCP_KEEPINTVL",),
    "keepalives_count": ("TCP_KEEPCNT",),
    "tcp_user_timeout": ("TCP_USER_TIMEOUT",),
}


class Session(asyncpg.Connection):  # type: ignore[misc]  # the driver ships without types
    """
    A connection.

    Attributes:
        is_pooled: Whether each transaction may run in another session.
        settings: The statements that set a transaction's settings, if there is a pooler.
        begin: The statement that begins a transaction, with its settings.
        generation: The generation of the pool in which it was made.
    """

    is_pooled: bool = False
    settings: str = ""
    begin: str = _BEGIN
    generation: int = 0

    def keep_alive(self, options: Mapping[str, int]) -> None:
        """
        Let TCP detect a dead server, as libpq's *options* say.

        Raises:
            OSError: The system refuses one of the values.
        """
        connected = self._transport.get_extra_info("socket")
        if connected is None or connected.family == socket.AF_UNIX:
            return
        for level, name, value in _tcp(options):
            connected.setsockopt(level, name, value)


async def connect(
    address: Address, host: Host, settings: Mapping[str, str], *, is_pooled: bool
) -> Session:
    """
    Connect to *host* of *address*, so that transactions that write have the *settings*.

    Args:
        address: The address.
        host: One of its hosts.
        settings: Names and values without quotes.
        is_pooled: Whether a pooler is known to be there.
    """
    session = None if is_pooled else await _with_settings(address, host, settings)
    if session is None:
        session = await _connect(address, host, {}, statement_cache_size=0)
        session.is_pooled = True
        session.settings = "; ".join(f"SET LOCAL {name} = '{settings[name]}'" for name in settings)
        session.begin = f"{_BEGIN}; {session.settings}"
    return session


async def _with_settings(
    address: Address, host: Host, settings: Mapping[str, str]
) -> Session | None:
    """Connect with the settings of the session; None if there is a pooler."""
    try:
        session = await _connect(address, host, settings)
    except asyncpg.ProtocolViolationError as error:
        if "startup parameter" in str(error).lower():
            return None
        raise
    try:
        # Without a name, which other clients of this session may have used.
        process = await (await session.prepare(_PROCESS, name="")).fetchval(timeout=CONNECT_SECONDS)
    except BaseException:
        session.terminate()
        raise
    if process == session.get_server_pid():
        return session
    session.terminate()
    return None


async def _connect(
    address: Address, host: Host, settings: Mapping[str, str], **options: Any
) -> Session:
    """Connect with or without TLS, and the other way if that fails and the address allows it."""
    ways: list[ssl.SSLContext | None] = [None]
    if not host.is_local:
        # A system has a few hundred authorities, which take up to 0.1 seconds to read.
        ways = await asyncio.to_thread(address.tls.contexts, host.name or host.address)
    while True:
        way = ways.pop(0)
        try:
            return await _connect_with(way, address, host, settings, **options)
        except _OF_TLS as error:
            if ways and _may_be_of_tls(error):
                continue
            if (reason := address.tls.explained(error, str(host))) is not None:
                raise TlsFailed(reason) from error
            raise


# Errors of missing, wrong or unwanted TLS: the server may say so, or disconnect.
_OF_TLS: Final = (
    OSError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.ConnectionDoesNotExistError,
)


def _may_be_of_tls(error: BaseException) -> bool:
    """Return whether another attempt, with or without TLS, may succeed."""
    return not isinstance(error, ConnectionRefusedError | TimeoutError | socket.gaierror)


async def _connect_with(
    context: ssl.SSLContext | None,
    address: Address,
    host: Host,
    settings: Mapping[str, str],
    **options: Any,
) -> Session:
    usual_seconds = HOST_SECONDS if len(address.hosts) > 1 else CONNECT_SECONDS
    # The caller checks whether it accepts writes: the driver uses what the server said at the
    # start, and a pooler repeats to new clients what a server said long ago.
    session: Session = await asyncpg.connect(
        host=host.targets,
        port=host.port,
        user=address.user,
        password=address.password
        or password(address.passfile, host.name, host.port, address.database, address.user),
        database=address.database,
        timeout=address.connect_seconds or usual_seconds,
        ssl=context or False,
        direct_tls=address.tls.is_direct and context is not None,
        krbsrvname=address.kerberos_service,
        gsslib="gssapi",
        target_session_attrs="any",
        server_settings={**address.settings, **settings},
        connection_class=Session,
        **options,
    )
    try:
        session.keep_alive(address.keepalive)
    except OSError:
        session.terminate()
        raise
    return session


def _tcp(options: Mapping[str, int]) -> Iterator[tuple[int, int, int]]:
    """Yield the socket options for *options* of libpq; 0 means the default of the system."""
    is_kept_alive = options.get("keepalives", 1) != 0
    yield socket.SOL_SOCKET, socket.SO_KEEPALIVE, int(is_kept_alive)
    for name, names in _TCP.items():
        known = [getattr(socket, one) for one in names if hasattr(socket, one)]
        if known and options.get(name, 0) > 0 and (is_kept_alive or name == "tcp_user_timeout"):
            yield socket.IPPROTO_TCP, known[0], options[name]
