"""A session with the archive, after checking that it is the one that has this node's rows."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Final

from fastpaca.archive import local
from fastpaca.archive.base import Archive, ArchiveFailed
from fastpaca.store.base import CommitFailed, CommitUnknown, ReadFailed
from fastpaca.store.sqlite.store import SqliteStore

OTHER: Final = (
    "it is not the archive that has the trimmed messages of this node; point DATABASE_URL to that"
    " one, or restore it"
)


class AnotherArchive(ArchiveFailed):
    """It does not have the messages that this node has trimmed."""


class ArchiveSession:
    """
    The access of *store* to *archive*.

    Attributes:
        is_made: Whether the identity of the archive was checked.
        identity: Its identity.
    """

    def __init__(self, store: SqliteStore, archive: Archive) -> None:
        self._store = store
        self._archive = archive
        self._making = asyncio.Lock()
        self.is_made = False
        self.identity = b""

    async def archive(self) -> Archive:
        """
        Return the archive.

        Raises:
            ArchiveRefused: It can't be used.
            AnotherArchive: It is not the one of this node.
            ArchiveFailed: It can't be reached.
        """
        if not self.is_made:
            async with self._making:  # once for all callers
                if not self.is_made:
                    await self._make()
        return self._archive

    def lose(self) -> None:
        """Check the archive before it is used again: it may have been replaced."""
        self.is_made = False

    async def _make(self) -> None:
        identity = await self._archive.open()
        try:
            known = await self._store.in_reader(local.state)
            if known.identity != identity:
                if known.has_trimmed:
                    raise AnotherArchive(OTHER)
                # Everything is still here, so a new archive gets all of it.
                await self._store.in_writer(partial(local.note_identity, identity=identity))
        except (ReadFailed, CommitFailed, CommitUnknown) as error:
            raise ArchiveFailed(f"the store fails: {error}") from error
        self.identity = identity
        self.is_made = True
