"""
Stored answers to requests with an `Idempotency-Key`: found before an op is applied.

A key is looked up in the store while the commit before is still under way, so that the look-up
costs no time of its own. Keys committed since then are in memory; an op whose look-up is older than
what memory reaches back to is looked up again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

from fastpaca.store.base import AnswerRow, Store

RECENT_MAX: Final = 16_384
"""How many of the newest answers are kept in memory, of about 300 bytes each."""


class Answers:
    """The stored answers, those of the newest commits from memory."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._recent: OrderedDict[str, tuple[AnswerRow, int]] = OrderedDict()
        self._forgotten = 0
        self.commits = 0

    async def look_up(self, keys: Iterable[str]) -> dict[str, AnswerRow]:
        """
        Ask the store for these *keys*.

        Raises:
            ReadFailed: The store cannot be read.
        """
        return await self._store.answers(list(keys))

    def committed(self, rows: Iterable[AnswerRow]) -> None:
        """Note that a commit has brought these answers."""
        self.commits += 1
        for row in rows:
            self._recent[row.key] = (row, self.commits)
        while len(self._recent) > RECENT_MAX:
            self._forgotten = self._recent.popitem(last=False)[1][1]

    def recent(self, key: str) -> AnswerRow | None:
        """Give the answer under *key* if a recent commit brought it."""
        found = self._recent.get(key)
        return found[0] if found else None

    def reaches_back_to(self, commits: int) -> bool:
        """Tell whether memory holds all answers committed after commit number *commits*."""
        return self._forgotten <= commits

    def drop_all(self) -> None:
        """Forget what is in memory; the store knows it all."""
        self._recent.clear()
        self._forgotten = self.commits
