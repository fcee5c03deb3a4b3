"""
Whether the database can be used, and what its time is: both are checked once a second.

Requests also find out, but a proxy sends none to a node that is not ready, and a node without
traffic must know too. All nodes use the time of the database, since their own clocks may differ: a
response that is kept for a week is kept for a week of the database's time.

A distributed database may pass a check while some of its servers are down. So after it refused a
statement about a context, checks also read that context until that succeeds, and random ones to see
whether any can be read.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Iterable
from typing import Any, Final

import asyncpg

from fastpaca.store.base import Condition, StoreRefused
from fastpaca.store.postgres.connections import PostgresConnections
from fastpaca.store.postgres.errors import FAILURES, Unreachable, described, without_names
from fastpaca.store.postgres.primary import TAKES_WRITES, fetched
from fastpaca.store.postgres.statements import REVISIONS

logger = logging.getLogger(__name__)

LOOK_SECONDS: Final = 1.0
"""The pause between two checks: proxies check the health of a node as often."""

ANSWER_SECONDS: Final = 3.0
"""How long a check waits for its response before it drops its connection."""

PATIENCE_SECONDS: Final = 5.0
"""How long a database may be unusable before the node reports it: a restart takes less."""

PROBES: Final = 8
"""
How many random contexts a check may read while the database refuses statements.

With one server of three down, all of them are there in one check of 6,561, which patience outlasts.
"""

REFUSED_MAX: Final = 8
"""The most contexts with refused statements that a check reads."""

_PARTLY: Final = "A part of the database can't be used; contexts in the other parts can."

_LOOK: Final = f"""
SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint WHERE {TAKES_WRITES}
"""

_SILENT: Final = "it does not respond"


class SharedClock:
    """
    The time of a database, from its responses and a local monotonic clock.

    Args:
        now: The monotonic clock, in seconds.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._ahead_us = 0

    def note(self, database_us: int, began: float, ended: float) -> None:
        """
        Record what the database reported at some moment between *began* and *ended*.

        The known difference only changes if it is certainly wrong, so that time passes evenly.
        """
        ahead_us = database_us - round((began + ended) * 500_000)
        if abs(ahead_us - self._ahead_us) > (ended - began) * 500_000:
            self._ahead_us = ahead_us

    def now_us(self) -> int:
        """Return the time of the database in microseconds since 1970, UTC."""
        return round(self._now() * 1_000_000) + self._ahead_us


class Watch:
    """
    Checks the database of *connections*.

    Args:
        connections: The connections, of which each check uses one.
        patience_seconds: How long the database may be unusable before the node reports it.
        look_seconds: The pause between two checks.
        answer_seconds: How long a check waits for its response.
        now: A monotonic clock, in seconds.

    Attributes:
        clock: The time of the database.
    """

    def __init__(
        self,
        connections: PostgresConnections,
        *,
        patience_seconds: float = PATIENCE_SECONDS,
        look_seconds: float = LOOK_SECONDS,
        answer_seconds: float = ANSWER_SECONDS,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._refused: dict[bytes, None] = {}  # the keys of contexts, the last ones
        self._is_refusing = False
        self._connections = connections
        self._patience_seconds = patience_seconds
        self._look_seconds = look_seconds
        self._answer_seconds = answer_seconds
        self._now = now
        self._used_at = now()
        self._trouble = _SILENT
        self.clock = SharedClock(now)
        self._is_told = False
        self._looking: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """
        Check for the first time, and continue periodically.

        Raises:
            StoreRefused: The database cannot be used.
        """
        try:
            await self._look()
        except (*FAILURES, Unreachable) as error:
            raise StoreRefused(f"The database cannot be used: {described(error)}.") from error
        self._looking = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Stop checking."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait([self._looking])

    def note_use(self) -> None:
        """Record that the database has just done its work."""
        self._used_at = self._now()
        self._trouble = _SILENT

    def note_refusal(self, keys: Iterable[bytes] = ()) -> None:
        """Record that a distributed database refused a statement about these *keys*."""
        self._is_refusing = True
        self._refused |= dict.fromkeys(keys)
        for key in list(self._refused)[:-REFUSED_MAX]:
            del self._refused[key]

    @property
    def condition(self) -> Condition:
        """The condition of the database; its reason names no address, host or user."""
        seconds = self._now() - self._used_at
        if seconds <= self._patience_seconds:
            return Condition(_PARTLY, is_partial=True) if self._is_refusing else Condition()
        return Condition(
            f"The database has been unusable for {seconds:.0f} seconds: {self._trouble}."
        )

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._look_seconds)
            try:
                await self._look()
            except (*FAILURES, Unreachable) as error:
                self._trouble = without_names(error)
                self._tell(described(error))
            else:
                self._tell(None)

    async def _look(self) -> None:
        # Not as a reader, since one connection is always reserved for writers.
        async with self._connections.writer() as connection:
            began = self._now()
            ((database_us,),) = await fetched(connection, _LOOK, timeout=self._answer_seconds)
            ended = self._now()
            if self._is_refusing:
                self._is_refusing = not await self._probe(connection)
        self.note_use()
        self.clock.note(database_us, began, ended)

    async def _probe(self, connection: Any) -> bool:
        """
        Return whether all contexts can be read.

        Raises:
            asyncpg.PostgresError: None can.
        """
        random = [secrets.token_bytes(16) for _ in range(PROBES)]
        error: asyncpg.PostgresError | None = None
        has_read = False
        for key in [*self._refused, *random]:
            if has_read and error is not None:
                return False  # more reads would not change the result
            try:
                await fetched(connection, REVISIONS.sql, [key], timeout=self._answer_seconds)
            except asyncpg.PostgresError as refusal:
                error = refusal
            else:
                has_read = True
                self._refused.pop(key, None)
        if error is None:
            return True
        if has_read:
            return False
        raise error

    def _tell(self, trouble: str | None) -> None:
        reason, is_partial = self.condition
        is_in_trouble = reason is not None and not is_partial
        if is_in_trouble and not self._is_told:
            logger.warning("not ready: %s", trouble)
        elif self._is_told and not is_in_trouble:
            logger.warning("ready again, the database can be used")
        self._is_told = is_in_trouble
