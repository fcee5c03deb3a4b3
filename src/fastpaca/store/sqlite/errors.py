"""
What an error of SQLite says about a commit: it failed, it may have succeeded, or nothing on disk
can be trusted.

A commit in WAL mode writes changed pages to the write-ahead log as frames, the last one with a
commit mark; syncs the log; adds the frames to the index of the log, in shared memory; and reports
success. Checksums chain the frames, so recovery ends at the first incomplete one.
"""

from __future__ import annotations

from typing import Final

import apsw

from fastpaca.store.base import CommitBlocked, CommitFailed, CommitStale, CommitUnknown

APPLICATION_ID: Final = 0x66706361
"""Identifies the file in its header: `fpca`."""

_NAMES: Final = {**apsw.mapping_result_codes, **apsw.mapping_extended_result_codes}

_FAILED_SYNCS: Final = frozenset({apsw.SQLITE_IOERR_FSYNC, apsw.SQLITE_IOERR_DIR_FSYNC})


def described(error: BaseException) -> str:
    """Return a short description of *error*, with the name from SQLite's manual."""
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

    It may have dropped what it could not write, and may report success for the next sync; so none
    of what this process sees can be trusted to be on disk.
    """
    return isinstance(error, apsw.Error) and _code(error) in _FAILED_SYNCS


def judged(
    connection: apsw.Connection, error: BaseException, *, at_commit: bool
) -> CommitFailed | CommitUnknown:
    """
    Roll back after *error*, and return what it means for the transaction.

    *at_commit* means that COMMIT itself failed, so the commit mark may have been written.
    """
    reason = described(error)
    if is_failed_sync(error):
        return CommitUnknown(f"a sync failed: {reason}", fatal=True)
    was_open = connection.in_transaction
    if not _is_rolled_back(connection):
        return CommitUnknown(f"a transaction could not be rolled back: {reason}", fatal=True)
    if not at_commit or was_open:
        # No commit mark was written: COMMIT did not begin, or was refused and changed nothing.
        if isinstance(error, apsw.BusyError):
            return CommitBlocked(f"another program is writing to the database: {reason}")
        return error if isinstance(error, CommitStale) else CommitFailed(reason)
    if not isinstance(error, apsw.Error):
        # The error is Python's. SQLite may have finished before it.
        return CommitUnknown(reason, fatal=not isinstance(error, MemoryError))
    if _code(error) in {apsw.SQLITE_FULL, apsw.SQLITE_IOERR_WRITE}:
        # The frame with the mark is written last, so it is incomplete or missing.
        return CommitFailed(reason)
    if _code(error) == apsw.SQLITE_IOERR:
        # It could have been a sync: the error does not say.
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
    Make sure that this process sees what the next one will see.

    All frames of the commit, including the mark, may be in the log and synced, and only adding them
    to the index failed. This process does not see them, but one that recovers the log would. An
    empty commit overwrites them and breaks the chain. Then the outcome is final and can be read; if
    even that fails, it is unknown.
    """
    try:
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    except apsw.Error as error:
        return CommitUnknown(f"{reason}; then {described(error)}", fatal=True)
    return CommitUnknown(reason, fatal=False)
