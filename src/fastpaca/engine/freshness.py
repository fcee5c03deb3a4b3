"""
Whether what is in memory is still true, where other nodes write to the same store.

One query answers all who wait, and it begins after the last of them has asked: what it finds was
committed by then, and so it includes every write that anybody was told of before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from fastpaca.store.base import ReadFailed, ReadPartly, Store


class Freshness:
    """Asks a store for the revisions of contexts, many at a time and one query after the other."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._asked: dict[str, asyncio.Future[int]] = {}
        self._asking: asyncio.Task[None] | None = None

    async def revision(self, context_id: str) -> int:
        """
        Give the revision of a context, as it is now or later; 0 if there is none.

        Raises:
            ReadFailed: The store cannot be read.
        """
        future = self._asked.get(context_id)
        if future is None:
            future = self._asked[context_id] = asyncio.get_running_loop().create_future()
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask())
        return await asyncio.shield(future)

    async def _ask(self) -> None:
        try:
            while self._asked:
                batch, self._asked = self._asked, {}
                found: Mapping[str, int] = {}
                failed: Mapping[str, ReadFailed] = {}
                try:
                    found = await self._store.revisions(list(batch))
                except ReadPartly as error:
                    found, failed = error.found, dict.fromkeys(error.failed, error)
                except ReadFailed as error:
                    failed = dict.fromkeys(batch, error)
                for context_id, future in batch.items():
                    if context_id in failed:
                        future.set_exception(failed[context_id])
                        future.exception()  # all who asked may have gone
                    else:
                        future.set_result(found.get(context_id, 0))
        finally:
            self._asking = None
