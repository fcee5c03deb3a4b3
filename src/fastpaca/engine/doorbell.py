"""
The doorbell between nodes: it notices when another node writes to a context with followers here.

One query reads the revisions of all contexts with followers, and is repeated after a short pause.
It costs writers nothing, and each node a query that doesn't grow with the writes. It works on every
SQL database, and a lost connection loses nothing. A notification by each commit would be faster,
but PostgreSQL makes commits that notify wait for each other.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from fastpaca.store.base import PartialRead, ReadFailed, Store
from fastpaca.stream.hub import Hub

logger = logging.getLogger(__name__)

LOOK_SECONDS: Final = 0.025
"""How long a change of another node may go unnoticed, apart from the query."""

QUERY_CONTEXTS_MAX: Final = 1000
"""The most contexts in one query; a thousand take about 2 ms of the event loop."""

REST_SECONDS: Final = 15e-6
"""The pause for each context with followers, if there are many: a look takes 2 µs."""

RETRY_SECONDS: Final = 1.0
"""How long to wait before reading from a failed store again."""


class Doorbell:
    """Rings at a hub when other nodes have written."""

    def __init__(self, store: Store, hub: Hub, look_seconds: float = LOOK_SECONDS) -> None:
        self._store = store
        self._hub = hub
        self._look_seconds = look_seconds
        self._looking: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start looking."""
        self._looking = asyncio.create_task(self._look())

    async def stop(self) -> None:
        """Stop looking."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait([self._looking])

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(pause(self._look_seconds, len(self._hub.channels)))
            try:
                await self._look_once()
            except ReadFailed as error:
                logger.warning(
                    "followers may be notified late, because the store cannot be read: %s", error
                )
                await asyncio.sleep(RETRY_SECONDS)

    async def _look_once(self) -> None:
        followed = list(self._hub.channels)
        failure: ReadFailed | None = None
        for start in range(0, len(followed), QUERY_CONTEXTS_MAX):
            try:
                page = followed[start : start + QUERY_CONTEXTS_MAX]
                revisions = await self._store.revisions(page)
            except PartialRead as error:
                revisions, failure = dict(error.results), error
            for context_id, revision in revisions.items():
                self._hub.ring_if_stale(context_id, revision)
        if failure is not None:
            raise failure


def pause(look_seconds: float, followed: int) -> float:
    """Return the seconds until the next look at so many contexts, to leave time for other work."""
    return max(look_seconds, REST_SECONDS * followed)
