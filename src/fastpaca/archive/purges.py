"""
Purges, which are acknowledged when the content is erased in the store and in the archive.

The commit of a purge records in the store what to erase in the archive, so this happens even after
failures. A caller waits a moment, and gets an error if that was not enough.
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
"""How long a commit waits for its purge to reach the archive, while other commits wait for it."""

ERASE_AGAIN_SECONDS: Final = 10.0
"""How long a caller waits who repeats a purge; no other call waits for that."""

NOT_ERASED: Final = "This context was purged, but not yet erased in the archive; try again."


class Purges:
    """
    Erases in the archive what was purged in *store*.

    Args:
        store: Records which contexts are still to be erased.
        session: The access to the archive.
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
            self._session.lose()  # so that the next purges don't wait as long
            raise left("it does not respond")
        try:
            erasing.result()
        except FAILURES as error:
            is_fatal = isinstance(error, CommitUnknown) and error.fatal
            raise left(error, fatal=is_fatal) from error

    async def check(self, context_id: str) -> None:
        """
        Check that a purged context is erased in the archive, and erase it if not.

        Raises:
            ReadFailed: It is not erased there yet.
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
        """Start to erase what is left; this continues even if the caller stops waiting."""
        task = asyncio.create_task(self._writer.erase())
        self.tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        if not task.cancelled():
            task.exception()  # a waiting caller has it; otherwise the writer tries again
