"""
A backup: a copy of the database, made in slices between the commits.

The slices are copied through the writer's own connection: SQLite carries what that connection
writes meanwhile over into the copy, so that the copy is of the moment when it is finished, and no
snapshot of the database has to be held, which would keep the write-ahead log from restarting.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import apsw

SLICE_PAGES: Final = 256
"""One MiB; a commit waits for one slice at most, which takes about a millisecond."""


class Backup:
    """A copy under way, into the new file *path* that only its owner can read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._is_made = False
        self._target: apsw.Connection | None = None
        self._copy: apsw.Backup | None = None

    def copy_slice(self, writer: apsw.Connection) -> bool:
        """
        Copy some pages, and tell whether there are more; called by the writer's thread.

        Raises:
            OSError: The file exists, or cannot be made.
            apsw.Error: The database cannot be read, or the copy cannot be written.
        """
        if self._copy is None:
            self._copy = self._begin(writer)
        try:
            self._copy.step(SLICE_PAGES)
        except (apsw.BusyError, apsw.LockedError):
            return True
        if not self._copy.done:
            return True
        self.let_go(writer)
        return False

    def _begin(self, writer: apsw.Connection) -> apsw.Backup:
        os.close(os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        self._is_made = True
        self._target = apsw.Connection(str(self._path), flags=apsw.SQLITE_OPEN_READWRITE)
        # Half a copy is of no use, so the copy needs no journal, and is synced when it is whole.
        self._target.execute("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF").fetchall()
        return self._target.backup("main", writer, "main")

    def let_go(self, _: apsw.Connection) -> None:
        """Close the copy, whole or not; called by the writer's thread."""
        if self._copy is not None:
            self._copy.close(force=True)
        if self._target is not None:
            self._target.close(force=True)

    def sync(self) -> None:
        """
        Wait until the copy is on the disk.

        Raises:
            OSError: It is not.
        """
        for path in (self._path, self._path.parent):
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def remove(self) -> None:
        """Remove the file, which is not a whole copy, if it was made here."""
        if self._is_made:
            self._path.unlink(missing_ok=True)
