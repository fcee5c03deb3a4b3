"""
The thread that writes, until the database can't be trusted any more.

After a failed sync, it is unknown what is on disk. So nothing more is written, the write-ahead log
stays as it is, for the next start to recover from, and the node is told once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Final, TypeVar

import apsw

from fastpaca.store.base import CommitFailed, CommitUnknown
from fastpaca.store.sqlite import writes
from fastpaca.store.sqlite.errors import described, is_failed_sync
from fastpaca.store.sqlite.files import BUSY_MS
from fastpaca.store.sqlite.rows import Rows
from fastpaca.store.sqlite.threads import Job, Threads
from fastpaca.store.sqlite.wal import Wal

T = TypeVar("T")

EMPTY_RETRY_SECONDS: Final = 0.1
"""How often a purge tries to empty the write-ahead log while another program reads."""

CLOSED: Final = "the store is closed"


class Writer:
    """
    Runs jobs that write, one after the other, in a thread.

    Args:
        on_fatal: Called once on the event loop with the reason when the database can't be trusted.

    Attributes:
        loss: Why the database can't be trusted any more, or None.
    """

    def __init__(self, on_fatal: Callable[[str], None] | None) -> None:
        self._on_fatal = on_fatal
        self.loss: str | None = None
        self._is_loss_told = False
        self._is_open = False

    def start(self, connection: apsw.Connection, wal: Wal) -> None:
        """Start to run jobs with *connection*, which writes to the log *wal*."""
        self._loop = asyncio.get_running_loop()
        self._wal = wal
        self._threads = Threads("writer", [connection], after=wal.look)
        self._is_open = True

    def close(self) -> None:
        """Refuse all further writes and commits."""
        self._is_open = False

    async def stop(self) -> None:
        """Finish all submitted jobs, and end the thread."""
        await self._threads.stop()

    def submit(self, job: Job[T]) -> asyncio.Future[T]:
        """Run *job* in the thread, until `stop`, even if the database can't be trusted."""
        return self._threads.submit(job)

    async def write(self, job: Job[T]) -> T:
        """
        Run *job*, which writes in its own transactions, in the thread.

        Raises:
            CommitFailed: Certainly nothing was written.
            CommitUnknown: It may have been written.
        """
        self._check_open()
        return await self.submit(partial(self._run, job))

    async def commit(self, statements: Sequence[tuple[str, Rows]]) -> None:
        """
        Run *statements* in one durable transaction.

        Raises:
            CommitFailed: Certainly nothing was written.
            CommitUnknown: It may have been written.
        """
        self._check_open()
        await self.submit(partial(self._commit, statements=statements))

    def _check_open(self) -> None:
        if not self._is_open:
            raise CommitFailed(CLOSED)

    async def empty_log(self) -> None:
        """
        Truncate the log; this waits for other programs that read, while commits continue.

        Raises:
            CommitFailed: The store is closed or refuses writes.
            CommitUnknown: Another program keeps reading, or the log could not be emptied.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + BUSY_MS / 1000
        while True:
            if self._is_open:
                # The checkpoint thread copies most of it, so that little is left for the writer.
                await asyncio.wrap_future(self._wal.copy())
            if await self.write(self._truncate_log):
                return
            if loop.time() >= deadline:
                raise CommitUnknown(
                    "erased, but still in the write-ahead log, since another program keeps a"
                    " transaction open on the database",
                    fatal=False,
                )
            await asyncio.sleep(EMPTY_RETRY_SECONDS)

    # --- trust --------------------------------------------------------------------------------

    def lose_trust(self, reason: str) -> None:
        """Record that the database can't be trusted any more; called in any thread."""
        self.loss = self.loss or reason
        with suppress(RuntimeError):  # the event loop is closed, so there is no caller
            self._loop.call_soon_threadsafe(self._tell_loss)

    def _tell_loss(self) -> None:
        on_fatal, self._on_fatal = self._on_fatal, None
        if on_fatal is not None and self.loss is not None:
            on_fatal(self.loss)

    def _check_trust(self) -> None:
        # A checkpoint may have failed to sync, and only a commit can tell the engine: nothing of it
        # is written, but its error says that the store has failed.
        if self.loss is not None:
            raise CommitUnknown(self.loss, fatal=True)

    # --- in the thread ------------------------------------------------------------------------

    def _run(self, job: Job[T], connection: apsw.Connection) -> T:
        if self.loss is not None:
            raise CommitFailed(f"the store takes no more writes: {self.loss}")
        try:
            return job(connection)
        except CommitUnknown as error:
            if error.fatal:
                self.lose_trust(str(error))
            raise

    def _commit(self, connection: apsw.Connection, statements: Sequence[tuple[str, Rows]]) -> None:
        """Commit; one commit reports that the database can't be trusted any more."""
        try:
            if not self._is_loss_told:
                self._check_trust()
            self._run(partial(self._commit_in_room, statements=statements), connection)
        except CommitUnknown as error:
            self._is_loss_told = self._is_loss_told or error.fatal
            raise

    def _commit_in_room(
        self, connection: apsw.Connection, statements: Sequence[tuple[str, Rows]]
    ) -> None:
        try:
            self._wal.make_room(connection)
        except apsw.Error as error:
            reason = f"the write-ahead log cannot be emptied: {described(error)}"
            if is_failed_sync(error):
                raise CommitUnknown(reason, fatal=True) from error
            raise CommitFailed(reason) from error
        self._check_trust()
        writes.commit(connection, statements)

    def _truncate_log(self, connection: apsw.Connection) -> bool:
        """Empty the log; return False if another program prevents it."""
        try:
            self._wal.truncate(connection)
        except apsw.BusyError:
            return False
        except apsw.Error as error:
            reason = f"erased, but still in the write-ahead log: {described(error)}"
            raise CommitUnknown(reason, fatal=is_failed_sync(error)) from error
        return True
