"""
Idempotency records: the stored responses to requests with an `Idempotency-Key`.

A key is looked up before its op is applied, while the previous commit is still running, so the
lookup adds no time. Records committed since the lookup are in memory. If memory no longer reaches
back to the lookup, the key is looked up again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

from fastpaca.store.base import IdempotencyRecord, Store

RECENT_MAX: Final = 16_384
"""How many of the newest records to keep in memory, of about 300 bytes each."""


class IdempotencyRecords:
    """The idempotency records of a store, with those of the newest commits in memory."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._recent: OrderedDict[str, tuple[IdempotencyRecord, int]] = OrderedDict()
        self._forgotten = 0
        self.commits = 0

    async def look_up(self, keys: Iterable[str]) -> dict[str, IdempotencyRecord]:
        """
        Read the records of these *keys* from the store.

        Raises:
            ReadFailed: The store can't be read.
        """
        return await self._store.idempotency_records(list(keys))

    def committed(self, rows: Iterable[IdempotencyRecord]) -> None:
        """Keep the records of a commit."""
        self.commits += 1
        for row in rows:
            self._recent[row.key] = (row, self.commits)
        while len(self._recent) > RECENT_MAX:
            self._forgotten = self._recent.popitem(last=False)[1][1]

    def recent(self, key: str) -> IdempotencyRecord | None:
        """Return the record of *key* if a recent commit wrote it."""
        record, _ = self._recent.get(key, (None, 0))
        return record

    def reaches_back_to(self, commits: int) -> bool:
        """Return whether memory holds all records since commit number *commits*."""
        return self._forgotten <= commits

    def drop_all(self) -> None:
        """Drop the records in memory; the store has them all."""
        self._recent.clear()
        self._forgotten = self.commits
