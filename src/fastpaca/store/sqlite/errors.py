"""
What an error of SQLite says about a commit: certainly not done, perhaps done, or not to be trusted.

How a commit in WAL mode goes: changed pages are written to the write-ahead log as frames, the last
of them with a commit mark; the log is synced; the frames are entered into the index of the log, in
shared memory; then SQLite reports success. A chain of checksums runs through the frames, so half of
a frame ends the log for the process that recovers it.
"""

from __future__ import annotations

from typing import Final

import apsw

from fastpaca.store.base import CommitBlocked, CommitFailed, CommitStale, CommitUnknown

APPLICATION_ID: Final = 0x66706361
"""Stands in the header of the file and says whose it is: `fpca`."""

_NAMES: Final = {**apsw.mapping_result_codes, **apsw.mapping_extended_result_codes}

_FAILED_SYNCS: Final = frozenset({apsw.SQLITE_IOERR_FSYNC, apsw.SQLITE_IOERR_DIR_FSYNC})


def described(error: BaseException) -> str:
    """Say in a few words what went wrong, with the name that SQLite's manual has for it."""
    if isinstance(error, apsw.Error):
        return f"{error} ({_NAMES.get(_code(error), 'no code')})"
    if isinstance(error, CommitFailed):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"{type(error).__name__}: {error}"


def is_failed_sync(error: BaseException) -> bool:
    """
    Return whether the operating system failed to sync a file.

    It may have dropped what it could not write, and the next sync may well report success; so
    nothing that this process still has in view can be trusted to be on the disk.
    """
    return isinstance(error, apsw.Error) and _code(error) in _FAILED_SYNCS


def judged(
    connection: apsw.Connection, error: BaseException, *, at_commit: bool
) -> CommitFailed | CommitUnknown:
    """
    Roll back after *error* and say what became of the transaction.

    *at_commit* says that the error came from COMMIT itself, so that the commit mark may be written.
    """
    reason = described(error)
    if is_failed_sync(error):
        return CommitUnknown(f"a sync failed: {reason}", fatal=True)
    was_open = connection.in_transaction
    if not _is_rolled_back(connection):
        return CommitUnknown(f"a transaction could not be rolled back: {reason}", fatal=True)
    if not at_commit or was_open:
        # No commit mark was written: COMMIT did not begin, or was refused and left all as it was.
        if isinstance(error, apsw.BusyError):
            return CommitBlocked(f"another program is writing to the database: {reason}")
        return error if isinstance(error, CommitStale) else CommitFailed(reason)
    if not isinstance(error, apsw.Error):
        # The error is Python's. SQLite may have been done already when it struck.
        return CommitUnknown(reason, fatal=not isinstance(error, MemoryError))
    if _code(error) in {apsw.SQLITE_FULL, apsw.SQLITE_IOERR_WRITE}:
        # The frame with the mark is written last, so it is not whole, if it is there at all.
        return CommitFailed(reason)
    if _code(error) == apsw.SQLITE_IOERR:
        # Could have been a sync: the error does not say.
        return CommitUnknown(reason, fatal=True)
    return _settled(connection, reason)


def _code(error: apsw.Error) -> int:
    # A VFS written in Python may raise errors that carry no codes.
    return getattr(error, "extendedresult", apsw.SQLITE_IOERR)


def _is_rolled_back(connection: apsw.Connection) -> bool:
    try:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
    except apsw.Error:
        return False
    return not connection.in_transaction


def _settled(connection: apsw.Connection, reason: str) -> CommitUnknown:
    """
    Make sure that what this process sees from now on is what the next one will see.

    Here all frames of the commit may be in the log, synced, mark included: entering them into the
    index is what failed. This process does not see them, but a process that recovers the log would.
    A commit that changes nothing takes their place and breaks the chain. With that the outcome is
    final, and can be read; if even that fails, it can't be known.
    """
    try:
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    except apsw.Error as error:
        return CommitUnknown(f"{reason}; then {described(error)}", fatal=True)
    return CommitUnknown(reason, fatal=False)
