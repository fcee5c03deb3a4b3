"""
The write-ahead log: emptied off the path of commits, and never larger than its ceiling.

A thread of its own copies the log into the database while commits go on (a PASSIVE checkpoint). But
the log begins anew only at a moment when all of it is copied, and under load that moment never
comes by itself. So the writer makes it come: between two commits, once the log is half full and
little is left to copy; and in any case, whatever it takes, at the ceiling. Beginning anew keeps the
file and writes over it, which is faster than letting it grow again.

After a checkpoint that could not sync there is no other. The system may have dropped the pages that
it could not write, and would report success the next time; then the log, which has them all, would
begin anew.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Final

import apsw

from fastpaca.store.sqlite_errors import described, is_failed_sync
from fastpaca.store.sqlite_files import BUSY_MS, PAGE_BYTES

FRAME_BYTES: Final = PAGE_BYTES + 24
"""A page in the log, with its header."""

WAL_BYTES_MAX: Final = 64 * 1024 * 1024
"""The ceiling; one commit may go beyond it."""


class Wal:
    """
    Looks after the log. All methods but `start` and `stop` are called by the writer's thread.

    Args:
        connection: For the checkpoints of the thread.
        bytes_max: The ceiling.
        on_fatal: Told when a checkpoint could not sync; from then on nothing can be trusted.
    """

    def __init__(
        self, connection: apsw.Connection, bytes_max: int, on_fatal: Callable[[str], None]
    ) -> None:
        self._connection = connection
        self._bytes_max = bytes_max
        self._ceiling = bytes_max
        self._on_fatal = on_fatal
        self._failed_sync: apsw.Error | None = None
        self._bytes = 0
        self._bytes_to_copy = 0
        self._wakes: SimpleQueue[bool] = SimpleQueue()
        self._is_awake = False
        # SQLite refuses a second checkpoint at once, without waiting.
        self._checkpointing = threading.Lock()
        self._thread = threading.Thread(target=self._work, name="checkpoints", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread, after the checkpoint that is under way."""
        self._wakes.put(False)
        self._thread.join()

    def look(self, writer: apsw.Connection) -> None:
        """See how long the log has become, and wake the thread if there is enough to copy."""
        try:
            frames, copied = writer.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_NOOP)
        except (apsw.Error, MemoryError):
            return  # the next look will tell
        self._bytes = max(frames, 0) * FRAME_BYTES
        self._bytes_to_copy = max(frames - copied, 0) * FRAME_BYTES
        if self._bytes_to_copy >= self._bytes_worth_copying and not self._is_awake:
            self._is_awake = True
            self._wakes.put(True)

    @property
    def _bytes_worth_copying(self) -> int:
        # In long runs, pages that are written again and again are copied once. In short ones, the
        # copy catches up with a writer that does not pause, so that the log can begin anew.
        return self._bytes_max // (4 if self._bytes < self._bytes_max // 2 else 32)

    def make_room(self, writer: apsw.Connection) -> None:
        """
        Let the log begin anew if it is time.

        Raises:
            apsw.Error: It is at its ceiling and cannot be emptied, and no reader is the reason.
        """
        if self._bytes >= self._ceiling:
            self._begin_anew_at_any_price(writer)
        elif self._bytes >= self._bytes_max // 2 and self._bytes_to_copy <= self._bytes_max // 16:
            self._begin_anew_in_passing(writer)

    def _begin_anew_in_passing(self, writer: apsw.Connection) -> None:
        """Try, without waiting for a reader or for the thread."""
        if not self._checkpointing.acquire(blocking=False):
            return
        writer.set_busy_timeout(0)
        try:
            self._checkpoint(writer, apsw.SQLITE_CHECKPOINT_RESTART)
        except apsw.Error:
            pass  # there is room left
        finally:
            writer.set_busy_timeout(BUSY_MS)
            self._checkpointing.release()

    def _begin_anew_at_any_price(self, writer: apsw.Connection) -> None:
        with self._checkpointing:
            try:
                self._checkpoint(writer, apsw.SQLITE_CHECKPOINT_RESTART)
            except apsw.BusyError:
                # Our own readers are quick, so another program sits on an old snapshot. It must not
                # stop the node; the log grows a little, and we ask again.
                self._ceiling = self._bytes + self._bytes_max // 4
            else:
                self._ceiling = self._bytes_max

    def truncate(self, writer: apsw.Connection) -> None:
        """
        Copy all of the log and cut its file to nothing, so that nothing of it is left.

        Raises:
            apsw.Error: That could not be done, as while another program reads.
        """
        with self._checkpointing:
            self._checkpoint(writer, apsw.SQLITE_CHECKPOINT_TRUNCATE)
        self._bytes = self._bytes_to_copy = 0

    def _work(self) -> None:
        while self._wakes.get():
            try:
                with self._checkpointing:
                    self._checkpoint(self._connection, apsw.SQLITE_CHECKPOINT_PASSIVE)
            except (apsw.Error, MemoryError):
                pass  # the log keeps what was not copied; at the ceiling the writer will say so
            finally:
                self._is_awake = False

    def _checkpoint(self, connection: apsw.Connection, mode: int) -> None:
        """Copy, while nobody else does; that a sync failed is known before anybody else can."""
        if self._failed_sync is not None:
            raise self._failed_sync
        try:
            connection.wal_checkpoint(mode=mode)
        except apsw.Error as error:
            if is_failed_sync(error):
                self._failed_sync = error
                self._on_fatal(f"a sync failed in a checkpoint: {described(error)}")
            raise
