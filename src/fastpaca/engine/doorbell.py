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

from fastpaca.store.base import ReadFailed, Store
from fastpaca.stream.hub import Hub

logger = logging.getLogger(__name__)

LOOK_SECONDS: Final = 0.025
"""How long a change of another node may go unnoticed, the query aside."""

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
            await asyncio.sleep(self._look_seconds)
            followed = list(self._hub.channels)
            if not followed:
                continue
            try:
                found = await self._store.revisions(followed)
            except ReadFailed as error:
                logger.warning("followers may be late, the store cannot be read: %s", error)
                await asyncio.sleep(RETRY_SECONDS)
                continue
            for context_id, revision in found.items():
                self._hub.ring_if_behind(context_id, revision)
