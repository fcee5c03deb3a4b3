"""The data directory of a node on SQLite: its lock, its file, and connections to it."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path
from typing import Final
from weakref import WeakSet

import apsw

from fastpaca.files import sync_directory
from fastpaca.store.base import StoreRefused
from fastpaca.store.migrate import migrations, pending
from fastpaca.store.sqlite.errors import APPLICATION_ID, described

DATABASE_NAME: Final = "fastpaca.db"
LOCK_NAME: Final = "fastpaca.lock"

PAGE_BYTES: Final = 4096
"""The usual block of file systems. Smaller pages mean more work, larger ones a longer log."""

READER_CACHE_BYTES: Final = 2 * 1024 * 1024
"""Small, since SQLite drops the cache of a connection when another one writes."""

BUSY_MS: Final = 10_000
"""How long to wait for another connection; ours hold locks for milliseconds."""

_taken: WeakSet[DataDirectory] = WeakSet()

_inherited: set[tuple[int, int]] = set()
"""The lock files, by device and inode, of directories that were taken when this process forked."""


class DataDirectory:
    """
    A directory that one process uses exclusively.

    A forked child can't use it. It releases the lock, which it would otherwise keep for its whole
    life. Nor can it open the directory, even after the parent has closed it: SQLite keeps the locks
    and the index of the write-ahead log in the memory of the process, so the child's copy is wrong.

    Args:
        path: Its path; it is created if it is missing.
        vfs: The name of the VFS to open the database with; None means the default.
        synchronous: SQLite's setting of that name; all but FULL can lose acknowledged writes.
    """

    def __init__(self, path: Path, vfs: str | None, synchronous: str) -> None:
        self._path = path
        self._vfs = vfs
        self._synchronous = synchronous
        self._lock: int | None = None

    @property
    def database(self) -> Path:
        """The path of the database file."""
        return self._path / DATABASE_NAME

    def take(self) -> None:
        """
        Create the directory if it is missing, and lock it.

        Raises:
            StoreRefused: It is in use, or cannot be used.
        """
        try:
            self._make()
            self._lock = os.open(self._path / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o600)
            _taken.add(self)
            self._check_not_inherited(self._lock)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._note_pid(self._lock)
        except BlockingIOError:
            holder = self._holder()
            self.release()
            raise StoreRefused(f"The data directory {self._path} is in use by {holder}.") from None
        except OSError as error:
            self.release()
            is_file = isinstance(error, FileExistsError | NotADirectoryError)
            reason = "it is not a directory" if is_file else error.strerror
            raise StoreRefused(
                f"The data directory {self._path} cannot be used: {reason}.{_advice(error)}"
            ) from error

    def release(self) -> None:
        """Unlock the directory."""
        _taken.discard(self)
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)

    def leave_to_parent(self) -> None:
        """Close the lock file in a child, which does not unlock it, and record that it was held."""
        if self._lock is not None:
            _inherited.add(_identity(self._lock))
            self.release()

    def _check_not_inherited(self, lock: int) -> None:
        if _identity(lock) in _inherited:
            self.release()
            raise StoreRefused(
                f"The data directory {self._path} was open in another process when this one was"
                " forked from it, and SQLite can't be used across a fork. Open it in a newly"
                " started process, or let processes share a node: `fastpaca serve`."
            )

    def _make(self) -> None:
        made = [path for path in (self._path, *self._path.parents) if not path.exists()]
        self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in made:
            sync_directory(path.parent)
        if self._vfs is None:
            # SQLite gives the files next to the database the mode that it finds here.
            os.close(os.open(self.database, os.O_RDWR | os.O_CREAT, 0o600))

    @staticmethod
    def _note_pid(lock: int) -> None:
        os.ftruncate(lock, 0)
        os.pwrite(lock, b"%d\n" % os.getpid(), 0)

    def _holder(self) -> str:
        """Return a description of the process that holds the lock."""
        text = os.pread(self._lock, 20, 0).strip() if self._lock is not None else b""
        if not text.isdigit():
            return "another fastpaca process"
        if int(text) == os.getpid():
            return "this process already: by another client or on another event loop"
        return f"another fastpaca process (pid {text.decode()}); stop it, or use another directory"

    def prepare(self, cache_bytes: int) -> apsw.Connection:
        """
        Recover or create the database, migrate its schema, and return a connection.

        Raises:
            StoreRefused: It is damaged, not ours, newer than this release, or cannot be used.
        """
        try:
            connection = self.connect(cache_bytes)
            try:
                self._prepare(connection)
            except BaseException:
                connection.close()
                raise
            sync_directory(self._path)
        except apsw.Error as error:
            raise StoreRefused(self.refusal(error)) from error
        except OSError as error:
            raise StoreRefused(
                f"{self.database} cannot be used: {error.strerror}.{_advice(error)}"
            ) from error
        return connection

    def connect(self, cache_bytes: int = READER_CACHE_BYTES) -> apsw.Connection:
        """Open another connection; each is used by one thread at a time."""
        connection = apsw.Connection(str(self.database), vfs=self._vfs)
        connection.set_busy_timeout(BUSY_MS)
        try:
            connection.execute(
                f"""
                PRAGMA synchronous = {self._synchronous};
                PRAGMA fullfsync = ON;
                PRAGMA checkpoint_fullfsync = ON;
                PRAGMA wal_autocheckpoint = 0;
                PRAGMA secure_delete = ON;
                PRAGMA temp_store = MEMORY;
                PRAGMA foreign_keys = OFF;
                PRAGMA trusted_schema = OFF;
                PRAGMA cache_size = -{cache_bytes // 1024};
                """
            ).fetchall()  # execute() alone stops at the first statement that returns a row
        except BaseException:
            connection.close()
            raise
        return connection

    def _prepare(self, connection: apsw.Connection) -> None:
        self._copy_log(connection)
        is_new = connection.execute("SELECT count(*) FROM sqlite_schema").get == 0
        if not is_new and connection.pragma("application_id") != APPLICATION_ID:
            raise StoreRefused(
                f"{self.database} belongs to another program. Use another directory."
            )
        todo = pending(migrations("fastpaca.store.sqlite"), connection.pragma("user_version"))
        if is_new:
            connection.pragma("page_size", PAGE_BYTES)
        if connection.pragma("journal_mode", "wal") != "wal":
            raise StoreRefused(f"SQLite cannot keep a write-ahead log next to {self.database}.")
        for migration in todo:
            connection.execute(
                f"""
                BEGIN IMMEDIATE;
                {migration.sql}
                PRAGMA application_id = {APPLICATION_ID};
                PRAGMA user_version = {migration.version};
                COMMIT;
                """
            ).fetchall()

    def _copy_log(self, connection: apsw.Connection) -> None:
        """
        Copy everything that an earlier process wrote to the log into the file, and sync it.

        Otherwise this process might build on pages that a failed sync kept from reaching the disk.

        Raises:
            StoreRefused: Another program prevents that.
        """
        try:
            connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        except apsw.BusyError:
            connection.set_busy_timeout(0)
            try:
                # A reader of the latest state prevents emptying the log, but not copying it, which
                # is enough here.
                connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_FULL)
            except apsw.BusyError:
                raise StoreRefused(
                    f"Another program has kept a transaction open on {self.database} since before"
                    " the latest commits, so they cannot be copied into it; end that program."
                ) from None
            finally:
                connection.set_busy_timeout(BUSY_MS)

    def refusal(self, error: apsw.Error) -> str:
        """Return a sentence that says why the database can't be used."""
        if isinstance(error, apsw.NotADBError):
            return f"{self.database} is not a database, or its start is damaged. Restore a backup."
        if isinstance(error, apsw.CorruptError):
            return f"{self.database} is damaged ({described(error)}). Restore a backup."
        if isinstance(error, apsw.BusyError):
            return f"{self.database} is held open by another program; end that program."
        return f"{self.database} cannot be used: {described(error)}.{_advice(error)}"


def _advice(error: OSError | apsw.Error) -> str:
    """Return what to do about *error*, as a sentence to append; nothing if that is not known."""
    number = getattr(error, "errno", None)
    if isinstance(error, apsw.FullError) or number in {errno.ENOSPC, errno.EDQUOT}:
        return " Free space on its disk."
    if isinstance(error, apsw.IOError) or number == errno.EIO:
        return " Check its disk."
    if isinstance(error, OSError | apsw.ReadOnlyError | apsw.CantOpenError):
        return " The user that runs the node must be able to write to the directory and its files."
    return ""


def _identity(descriptor: int) -> tuple[int, int]:
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino


def _leave_to_parent() -> None:
    for directory in list(_taken):
        directory.leave_to_parent()


os.register_at_fork(after_in_child=_leave_to_parent)
