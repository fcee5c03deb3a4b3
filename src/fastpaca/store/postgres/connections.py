"""
A pool of a few connections to a PostgreSQL server, which are replaced when they are lost.

One is opened at a time, and none for a moment after a failure, so that not all callers reconnect at
once when a server is back. A caller that needs a connection meanwhile is refused at once.

Of several hosts, the last good one is tried first. A dying host does not close its connections: so
when one is lost, all idle ones are dropped too. A server that refuses writes (25006) may have been
replaced, even at the same address: all connections from before that are dropped, if they are in use
after that.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

import asyncpg

from fastpaca.store.base import CommitFailed, StoreRefused
from fastpaca.store.postgres.address import Address, BadAddress, Host, address_of
from fastpaca.store.postgres.errors import FAILURES, Unreachable, advice, described
from fastpaca.store.postgres.primary import READ_ONLY, read_only
from fastpaca.store.postgres.session import CONNECT_SECONDS, Session, connect

logger = logging.getLogger(__name__)

STATEMENT_SECONDS: Final = 10.0
"""How long a statement may run by default."""

WAIT_SECONDS: Final = 10.0
"""How long to wait for a connection while all are in use."""

PAUSE_SECONDS: Final = 0.1
PAUSE_SECONDS_MAX: Final = 2.0
"""The pause before the next attempt to connect, after one failure and at most."""

GRACE_SECONDS: Final = 5.0
"""How much longer than the server this side waits before a connection counts as lost."""

CLOSE_SECONDS: Final = 1.0
"""How long to wait for the server to close a connection."""

IDLE_IN_TRANSACTION_SECONDS: Final = 5
"""After how long the server ends a transaction whose node is gone, and unlocks its rows."""

# These plans look up each row in an index, in the order of the batch, however large the tables are.
# So all nodes lock rows in the same order, without deadlocks.
_PLANS: Final = {
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_seqscan": "off",
    "jit": "off",
}

_CHECK: Final = f"""
SELECT {READ_ONLY}, current_setting('fsync'), current_setting('synchronous_commit')
"""


class PostgresConnections:
    """
    At most *size* connections, one of which is always reserved for writers.

    Args:
        dsn: An address for libpq, perhaps of several hosts, of which the one that accepts writes is
            used.
        size: At least 2.
        statement_seconds: How long the server lets a statement run.
        allow_unsafe: Whether to use a server that may lose acknowledged writes.
    """

    def __init__(
        self, dsn: str, size: int, statement_seconds: float, *, allow_unsafe: bool
    ) -> None:
        self._dsn = dsn
        self._statement_seconds = statement_seconds
        self._allow_unsafe = allow_unsafe
        self._all = asyncio.Semaphore(size)
        self._reading = asyncio.Semaphore(size - 1)
        self._is_pooled = False
        self._idle: list[Session] = []
        self._connecting = asyncio.Lock()
        self._has_told = False
        self._good_host = 0
        self._generation = 0  # grows when a server starts to refuse writes
        self._failures = 0
        self._refusal: StoreRefused | None = None
        self._refused_until = 0.0

    @property
    def timeout(self) -> float:
        """How long this side waits for a statement; the server should end it before that."""
        return self._statement_seconds + GRACE_SECONDS

    async def first(self) -> None:
        """
        Open a connection and keep it.

        Raises:
            StoreRefused: That failed, or the server can't be trusted.
        """
        self._idle.append(await self.connect())

    async def connect(self, *, statement_seconds: float | None = None) -> Any:
        """
        Open a connection that belongs to the caller.

        *statement_seconds* is how long a statement may run on it; 0 means without a limit.

        Raises:
            StoreRefused: That failed, or the server can't be trusted.
        """
        seconds = self._statement_seconds if statement_seconds is None else statement_seconds
        settings = {
            "statement_timeout": f"{seconds * 1000:.0f}",
            "idle_in_transaction_session_timeout": f"{IDLE_IN_TRANSACTION_SECONDS * 1000}",
            **_PLANS,
        }
        try:
            connection = await self._first_of_hosts(settings)
        except BadAddress as error:
            raise StoreRefused(f"The address of the database cannot be used: {error}.") from None
        except FAILURES as error:
            raise StoreRefused(
                f"The database cannot be used: {described(error)}.{advice(error)}"
            ) from error
        self._is_pooled = connection.is_pooled
        return connection

    async def _first_of_hosts(self, settings: Mapping[str, str]) -> Session:
        """Connect to the first host that accepts writes; raise the error of the last one."""
        address = self._address()
        count = len(address.hosts)
        numbers = sorted(range(count), key=lambda number: number != self._good_host)
        while True:
            number = numbers.pop(0)
            try:
                connection = await self._checked(address, address.hosts[number], settings)
            except FAILURES:
                if not numbers:
                    raise
            else:
                self._good_host = number
                return connection

    def _address(self) -> Address:
        """Parse the address, and read the files that it names, since operators change these."""
        address = address_of(self._dsn)
        for note in address.passed_over if not self._has_told else ():
            logger.warning("the address of the database: %s", note)
        self._has_told = True
        return address

    async def _checked(self, address: Address, host: Host, settings: Mapping[str, str]) -> Session:
        """Connect to *host*, and check that it can be used."""
        connection = await connect(address, host, settings, is_pooled=self._is_pooled)
        try:
            await self._check(connection)
        except BaseException:
            connection.terminate()
            raise
        connection.generation = self._generation
        return connection

    async def _check(self, connection: Any) -> None:
        encoding = connection.get_settings().server_encoding
        if encoding != "UTF8":
            raise StoreRefused(
                f"The database has the encoding {encoding}; it must be UTF8. Create another one"
                " with `createdb --encoding=UTF8 --template=template0`."
            )
        is_read_only, fsync, commit = await connection.fetchrow(_CHECK, timeout=CONNECT_SECONDS)
        if is_read_only:
            raise read_only()
        if self._allow_unsafe:
            return
        for name, value in (("fsync", fsync), ("synchronous_commit", commit)):
            if value == "off":
                raise StoreRefused(
                    f"The database runs with {name} = off: it acknowledges writes that a crash can"
                    " lose. Turn it on."
                )

    async def close(self) -> None:
        """Close all connections, none of which may be in use."""
        idle, self._idle = self._idle, []
        await asyncio.gather(*map(_close, idle))

    @asynccontextmanager
    async def reader(self) -> AsyncIterator[Any]:
        """Yield a connection for reading; raises `Unreachable`."""
        async with AsyncExitStack() as stack:
            await self._enter(stack, self._reading)
            yield await stack.enter_async_context(self.writer())

    @asynccontextmanager
    async def writer(self) -> AsyncIterator[Any]:
        """Yield a connection for writing; raises `Unreachable`. Open transactions roll back."""
        async with AsyncExitStack() as stack:
            await self._enter(stack, self._all)
            connection = await self._take()
            try:
                yield connection
            except (asyncpg.PostgresError, CommitFailed) as error:
                if isinstance(error, asyncpg.ReadOnlySQLTransactionError):
                    self._generation += 1
                    self._give_up(connection)
                else:
                    await self._give_back(connection)
                raise
            except BaseException:  # it may be in the middle of anything
                self._give_up(connection)
                raise
            await self._give_back(connection)

    def _give_up(self, connection: Session) -> None:
        """Drop *connection* and all idle ones, which may be dead too."""
        idle, self._idle = self._idle, []
        for lost in (connection, *idle):
            lost.terminate()

    async def _enter(self, stack: AsyncExitStack, gate: asyncio.Semaphore) -> None:
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await gate.acquire()
        except TimeoutError:
            raise Unreachable("all connections to the database are in use") from None
        stack.callback(gate.release)

    async def _give_back(self, connection: Session) -> None:
        if connection.generation != self._generation:
            connection.terminate()
            return
        try:
            if connection.is_in_transaction():
                await connection.execute("ROLLBACK", timeout=GRACE_SECONDS)
        except FAILURES:
            connection.terminate()
        if not connection.is_closed():
            self._idle.append(connection)

    async def _take(self) -> Any:
        connection = self._kept()
        if connection is not None:
            return connection
        async with self._connecting:
            return self._kept() or await self._make()

    def _kept(self) -> Any:
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed():
                return connection
        return None

    async def _make(self) -> Any:
        now = asyncio.get_running_loop().time
        if now() < self._refused_until:
            raise Unreachable(str(self._refusal)) from self._refusal
        try:
            connection = await self.connect()
        except StoreRefused as error:
            pause = min(PAUSE_SECONDS * 2**self._failures, PAUSE_SECONDS_MAX)
            self._failures = min(self._failures + 1, 10)
            self._refused_until = now() + jittered(pause)
            self._refusal = error
            raise Unreachable(str(error)) from error
        self._failures, self._refusal = 0, None
        return connection


async def _close(connection: Session) -> None:
    try:
        await connection.close(timeout=CLOSE_SECONDS)
    except FAILURES:
        connection.terminate()


def jittered(seconds: float) -> float:
    """Return between half of *seconds* and all: jitter avoids a thundering herd."""
    return seconds * (0.5 + secrets.randbelow(1001) / 2000)
