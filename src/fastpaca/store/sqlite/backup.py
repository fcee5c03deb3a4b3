"""
A backup: a copy of the database, made in slices between commits.

The slices are copied through the writer's connection, since SQLite adds what that connection writes
meanwhile to the copy. So the copy has the state at its end, and needs no snapshot, which would
prevent the write-ahead log from restarting.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import apsw

from fastpaca.files import sync_directory

SLICE_PAGES: Final = 256
"""One MiB; a commit waits for at most one slice, which takes about a millisecond."""


class Backup:
    """An unfinished copy to the new file *path*, which only its owner can read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._is_made = False
        self._target: apsw.Connection | None = None
        self._copy: apsw.Backup | None = None

    def copy_slice(self, writer: apsw.Connection) -> bool:
        """
        Copy some pages, and return whether there are more; called by the writer's thread.

        Raises:
            OSError: The file exists, or cannot be created.
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
        self.release(writer)
        return False

    def _begin(self, writer: apsw.Connection) -> apsw.Backup:
        os.close(os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        self._is_made = True
        self._target = apsw.Connection(str(self._path), flags=apsw.SQLITE_OPEN_READWRITE)
        # An unfinished copy is useless, so it needs no journal, and one sync at its end is enough.
        self._target.execute("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF").fetchall()
        return self._target.backup("main", writer, "main")

    def release(self, _: apsw.Connection) -> None:
        """Close the copy, finished or not; called by the writer's thread."""
        if self._copy is not None:
            self._copy.close(force=True)
        if self._target is not None:
            self._target.close(force=True)

    def sync(self) -> None:
        """
        Sync the copy to disk.

        Raises:
            OSError: That failed.
        """
        with self._path.open("rb") as copy:
            os.fsync(copy.fileno())
        sync_directory(self._path.parent)

    def remove(self) -> None:
        """Remove the unfinished copy, if this backup has created the file."""
        if self._is_made:
            self._path.unlink(missing_ok=True)
