"""
Purges reach the archive too: one that was acknowledged is erased in both places.

What a purge has left there is noted in the store, in the commit of the purge. So it is erased
sooner or later, even after failures. A caller waits for a moment, and is told if that was not
enough.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Final

from fastpaca.archive import local
from fastpaca.archive.session import ArchiveSession
from fastpaca.archive.writer import FAILURES, ArchiveWriter
from fastpaca.store.base import CommitUnknown, ReadFailed
from fastpaca.store.sqlite.store import SqliteStore

ERASE_SECONDS: Final = 2.0
"""How long a commit waits for its purge to reach the archive: other commits wait after it."""

ERASE_AGAIN_SECONDS: Final = 10.0
"""How long a caller waits who asks for the same purge again: no other call waits for that."""

NOT_ERASED: Final = "This context was purged, but not yet erased in the archive; try again."


class Purges:
    """
    Erases in the archive what was purged in *store*.

    Args:
        store: Notes which contexts are still to be erased.
        session: Tells whether the archive can be used.
        writer: Erases.
    """

    def __init__(self, store: SqliteStore, session: ArchiveSession, writer: ArchiveWriter) -> None:
        self._store = store
        self._session = session
        self._writer = writer
        self.tasks: set[asyncio.Task[None]] = set()

    async def erase(self, purged: Sequence[str]) -> None:
        """
        Erase in the archive what a commit has just *purged*.

        Raises:
            CommitUnknown: It is not erased there yet.
        """

        def left(reason: object, *, fatal: bool = False) -> CommitUnknown:
            message = f"purged, but not yet erased in the archive: {reason}"
            return CommitUnknown(message, fatal=fatal, context_ids=purged)

        if not self._session.is_made:
            raise left("it cannot be reached")
        erasing = self._begin()
        done, _ = await asyncio.wait([erasing], timeout=ERASE_SECONDS)
        if not done:
            self._session.lose()  # so that the commits of more purges do not wait as long, each
            raise left("it does not respond")
        try:
            erasing.result()
        except FAILURES as error:
            is_fatal = isinstance(error, CommitUnknown) and error.fatal
            raise left(error, fatal=is_fatal) from error

    async def check(self, context_id: str) -> None:
        """
        Let a purged context count as purged only once it is erased in the archive.

        Raises:
            ReadFailed: It is not erased there yet, and that can't be done now.
        """
        is_to_erase = partial(local.is_to_erase, context_id=context_id)
        if not await self._store.in_reader(is_to_erase):
            return
        left = "it was purged, but not yet erased in the archive"
        erasing = self._begin()
        done, _ = await asyncio.wait([erasing], timeout=ERASE_AGAIN_SECONDS)
        if not done:
            raise ReadFailed(f"{left}: that does not respond", told=NOT_ERASED)
        try:
            erasing.result()
        except FAILURES as error:
            raise ReadFailed(f"{left}: {error}", told=NOT_ERASED) from error

    def _begin(self) -> asyncio.Task[None]:
        """Erase what is left, to the end even if its caller has stopped waiting."""
        task = asyncio.create_task(self._writer.erase())
        self.tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        if not task.cancelled():
            task.exception()  # a caller that waits has it; else the writer tries again
