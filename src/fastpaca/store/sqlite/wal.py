"""
The write-ahead log, which is emptied in the background and kept near its ceiling.

A thread copies the log into the database during commits (a PASSIVE checkpoint). But the log only
restarts when all of it is copied, which never happens by itself under load. So the writer restarts
it between two commits: when it is half full and little is left to copy, and at the ceiling, where
the writer copies the rest itself. A restart overwrites the file, which is faster than growing it.

A reader that began before the latest commit prevents a restart. The node's own reads take
milliseconds, so the writer waits for them at the ceiling. Another program may keep a transaction
open for hours, so the writer never waits for one: the log is then *held*, and grows. SQLite can't
distinguish the two, so its busy handler, which would sleep for both, is off during checkpoints.
When a held log is released, the thread copies its content, and the writer restarts it when little
is left.

After a checkpoint that failed to sync, there are no more. The system may have dropped the pages
that it could not write, and would report success for the next sync; then the log, which has all of
them, would restart.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Final

import apsw

from fastpaca.store.sqlite.errors import described, is_failed_sync
from fastpaca.store.sqlite.files import BUSY_MS, PAGE_BYTES

logger = logging.getLogger(__name__)

FRAME_BYTES: Final = PAGE_BYTES + 24
"""A page in the log, with its header."""

WAL_BYTES_MAX: Final = 64 * 1024 * 1024
"""The ceiling; a single commit may exceed it, and so may a log that another program holds."""

OWN_READS_SECONDS: Final = 0.25
"""How long a commit waits for reads of this node; on a healthy disk, these take milliseconds."""

MIB: Final = 1024 * 1024

Copied = Future[None]
"""Completes after the next copy by the thread."""


class Wal:
    """
    Looks after the log. The writer's thread calls all methods except `start`, `stop` and `copy`.

    Args:
        connection: For the checkpoints of the thread.
        bytes_max: The ceiling.
        outlast_reads: Waits at most so many seconds until the current reads of this node are done,
            and returns whether they are.
        on_fatal: Called when a checkpoint failed to sync, so the database can't be trusted.
    """

    def __init__(
        self,
        connection: apsw.Connection,
        bytes_max: int,
        outlast_reads: Callable[[float], bool],
        on_fatal: Callable[[str], None],
    ) -> None:
        self._connection = connection
        self._bytes_max = bytes_max
        self._ceiling = bytes_max
        self._outlast_reads = outlast_reads
        self._on_fatal = on_fatal
        self._failed_sync: apsw.Error | None = None
        self._bytes = 0
        self._bytes_to_copy = 0
        self._bytes_left = 0  # what the thread could not copy last time
        self._next_try_bytes = 0
        self._is_held = False
        self._next_warning_bytes = 0
        self._wakes: SimpleQueue[Copied | None] = SimpleQueue()
        self._is_awake = False
        # SQLite refuses a second checkpoint at once, without waiting.
        self._checkpointing = threading.Lock()
        self._thread = threading.Thread(target=self._work, name="checkpoints", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread after its current checkpoint."""
        self._wakes.put(None)
        self._thread.join()

    def copy(self) -> Copied:
        """Let the thread copy what it can, even if that is little."""
        copied = Copied()
        self._wakes.put(copied)
        return copied

    def look(self, writer: apsw.Connection) -> None:
        """Check the length of the log, and wake the thread if there is enough to copy."""
        try:
            frames, copied = writer.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_NOOP)
        except (apsw.Error, MemoryError):
            return  # the next check will succeed
        length = max(frames, 0) * FRAME_BYTES
        if length < self._bytes:  # SQLite itself restarts a log of which all is copied
            self._note_restart()
        self._bytes = length
        self._bytes_to_copy = max(frames - copied, 0) * FRAME_BYTES
        news = self._bytes_to_copy - self._bytes_left
        if news >= self._bytes_worth_copying and not self._is_awake:
            self._is_awake = True
            self.copy()
        if self._is_held and self._bytes >= max(self._bytes_max, self._next_warning_bytes):
            self._warn()

    @property
    def _bytes_worth_copying(self) -> int:
        # Long copies write a page once that was changed several times. Short ones catch up with a
        # writer that does not pause, so that the log can restart.
        return self._bytes_max // (4 if self._bytes < self._bytes_max // 2 else 32)

    def make_room(self, writer: apsw.Connection) -> None:
        """
        Let the log restart if it is time. This never waits for another program.

        Raises:
            apsw.Error: It is at its ceiling and can't be emptied, for another reason than readers.
        """
        if self._bytes >= self._ceiling and not self._is_held:
            self._restart_at_the_ceiling(writer)
        elif (
            self._bytes >= max(self._bytes_max // 2, self._next_try_bytes)
            and self._bytes_to_copy <= self._bytes_max // 16
        ):
            self._restart_in_passing(writer)

    def _restart_in_passing(self, writer: apsw.Connection) -> None:
        """Try to restart without waiting for the thread, or for readers unless the log was held."""
        if not self._checkpointing.acquire(blocking=False):
            return
        try:
            if self._is_held:
                self._empty(writer, apsw.SQLITE_CHECKPOINT_RESTART)
            else:
                with _impatient(writer):
                    self._checkpoint(writer, apsw.SQLITE_CHECKPOINT_RESTART)
        except apsw.Error:  # there is room left, or another program still holds the log
            self._next_try_bytes = self._bytes + self._bytes_max // 64
        else:
            self._note_restart()
        finally:
            self._checkpointing.release()

    def _restart_at_the_ceiling(self, writer: apsw.Connection) -> None:
        with self._checkpointing:
            try:
                self._empty(writer, apsw.SQLITE_CHECKPOINT_RESTART)
            except apsw.BusyError:
                self._ceiling = self._bytes + self._bytes_max // 4
            else:
                self._note_restart()

    def _note_restart(self) -> None:
        if self._next_warning_bytes:
            logger.info("the write-ahead log has restarted; it had grown to %s", _mib(self._bytes))
        self._is_held = False
        self._ceiling = self._bytes_max
        self._next_warning_bytes = self._next_try_bytes = self._bytes_left = 0

    def _warn(self) -> None:
        """Log that the log is held, once and whenever it has doubled since."""
        logger.warning(
            "another program keeps a transaction open on the database, so the write-ahead log"
            " grows: it has %s",
            _mib(self._bytes),
        )
        self._next_warning_bytes = 2 * self._bytes

    def truncate(self, writer: apsw.Connection) -> None:
        """
        Copy the whole log, and truncate its file.

        Raises:
            apsw.BusyError: Another program is reading, or holds a lock.
            apsw.Error: It failed.
        """
        with self._checkpointing:
            self._empty(writer, apsw.SQLITE_CHECKPOINT_TRUNCATE)
        self._bytes = self._bytes_to_copy = 0
        self._note_restart()

    def _empty(self, writer: apsw.Connection, mode: int) -> None:
        """
        Copy the whole log and let it restart, waiting only for reads of this node.

        Only the calling thread commits. So reads that begin after the call see the latest commit
        and don't prevent copying; and reads that begin after everything was copied don't use the
        log, and don't prevent a restart.

        Raises:
            apsw.BusyError: Another program prevents it, or a read of this node takes very long.
        """
        with _impatient(writer):
            for step in (apsw.SQLITE_CHECKPOINT_FULL, mode):
                are_reads_done = self._outlast_reads(OWN_READS_SECONDS)
                try:
                    self._checkpoint(writer, step)
                except apsw.BusyError:
                    self._is_held = are_reads_done
                    raise

    def _work(self) -> None:
        while (copied := self._wakes.get()) is not None:
            # From here it can't be cancelled; if it was cancelled before, it has no caller.
            is_awaited = copied.set_running_or_notify_cancel()
            try:
                with self._checkpointing:
                    frames, done = self._checkpoint(
                        self._connection, apsw.SQLITE_CHECKPOINT_PASSIVE
                    )
                    self._bytes_left = max(frames - done, 0) * FRAME_BYTES
            except (apsw.Error, MemoryError):
                pass  # the log keeps what was not copied; the writer reports it at the ceiling
            finally:
                self._is_awake = False
            if is_awaited:
                copied.set_result(None)

    def _checkpoint(self, connection: apsw.Connection, mode: int) -> tuple[int, int]:
        """
        Copy while no other thread does; return the frames in the log, and how many are copied.

        A failed sync is recorded before another thread can copy.
        """
        if self._failed_sync is not None:
            raise self._failed_sync
        try:
            return connection.wal_checkpoint(mode=mode)
        except apsw.Error as error:
            if is_failed_sync(error):
                self._failed_sync = error
                self._on_fatal(f"a sync failed in a checkpoint: {described(error)}")
            raise


@contextmanager
def _impatient(writer: apsw.Connection) -> Iterator[None]:
    """Let SQLite report another program's lock at once, instead of waiting."""
    writer.set_busy_timeout(0)
    try:
        yield
    finally:
        writer.set_busy_timeout(BUSY_MS)


def _mib(size: int) -> str:
    return f"{size // MIB} MiB"
