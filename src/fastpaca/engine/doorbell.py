"""
The doorbell between nodes: that another node has written to a context which is followed here.

One query asks for the revisions of all contexts that anybody follows, and then again after a short
while. That costs the writers nothing, whatever their number, and each node a query that does not
grow with what is written; it works on every database that speaks SQL, and nothing is lost when a
connection is. A notification sent by each commit would be there sooner, but PostgreSQL makes
commits that notify wait for each other.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from fastpaca.store.base import ReadFailed, ReadPartly, Store
from fastpaca.stream.hub import Hub

logger = logging.getLogger(__name__)

LOOK_SECONDS: Final = 0.025
"""How long a change of another node may go unnoticed, the query aside."""

LOOK_AT_ONCE: Final = 1000
"""Of how many contexts one query asks; a thousand take some 2 ms of the event loop."""

REST_SECONDS: Final = 15e-6
"""How long to rest, for each context that is followed, when there are many: looking takes 2 µs."""

RETRY_SECONDS: Final = 1.0
"""How long to wait before a store that could not be read is asked again."""


class Doorbell:
    """Rings at a hub when other nodes have written."""

    def __init__(self, store: Store, hub: Hub, look_seconds: float = LOOK_SECONDS) -> None:
        self._store = store
        self._hub = hub
        self._look_seconds = look_seconds
        self._looking: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look."""
        self._looking = asyncio.create_task(self._look())

    async def stop(self) -> None:
        """Look no more."""
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
        for start in range(0, len(followed), LOOK_AT_ONCE):
            try:
                found = await self._store.revisions(followed[start : start + LOOK_AT_ONCE])
            except ReadPartly as error:
                found, failure = dict(error.found), error
            for context_id, revision in found.items():
                self._hub.ring_if_stale(context_id, revision)
        if failure is not None:
            raise failure


def pause(look_seconds: float, followed: int) -> float:
    """Tell how long to wait before the next look at so many contexts: a node has more to do."""
    return max(look_seconds, REST_SECONDS * followed)
