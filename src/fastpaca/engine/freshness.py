"""
Check whether states in memory are current, when other nodes write to the same store.

One query serves all callers that wait for it, and begins after the last of them has called. Its
results therefore include every write that was acknowledged before any of the calls.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from fastpaca.store.base import PartialRead, ReadFailed, Store


class Freshness:
    """Reads revisions of contexts from a store, many at a time, one query after the other."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: dict[str, asyncio.Future[int]] = {}
        self._reading: asyncio.Task[None] | None = None

    async def revision(self, context_id: str) -> int:
        """
        Return the revision of a context, as of this call or later; 0 if it doesn't exist.

        Raises:
            ReadFailed: The store can't be read.
        """
        future = self._waiting.get(context_id)
        if future is None:
            future = self._waiting[context_id] = asyncio.get_running_loop().create_future()
        if self._reading is None:
            self._reading = asyncio.create_task(self._read())
        return await asyncio.shield(future)

    async def _read(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting, {}
                revisions: Mapping[str, int] = {}
                failed: Mapping[str, ReadFailed] = {}
                try:
                    revisions = await self._store.revisions(list(batch))
                except PartialRead as error:
                    revisions, failed = error.results, dict.fromkeys(error.failed, error)
                except ReadFailed as error:
                    failed = dict.fromkeys(batch, error)
                for context_id, future in batch.items():
                    if context_id in failed:
                        future.set_exception(failed[context_id])
                        future.exception()  # all callers may have been cancelled
                    else:
                        future.set_result(revisions.get(context_id, 0))
        finally:
            self._reading = None
