"""
The thread that writes, as long as what it would build on can be trusted.

After a failed sync it is unknown what of the file is on the disk. So nothing is written any more,
the write-ahead log stays as it is for the next start to recover from, and the node is told once.
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
    Runs jobs that write, one after the other, in a thread of their own.

    Args:
        on_fatal: Told on the event loop, once, why nothing can be trusted any more.

    Attributes:
        loss: Why nothing can be trusted any more; None as long as it can.
    """

    def __init__(self, on_fatal: Callable[[str], None] | None) -> None:
        self._on_fatal = on_fatal
        self.loss: str | None = None
        self._is_loss_told = False
        self._is_open = False

    def start(self, connection: apsw.Connection, wal: Wal) -> None:
        """Begin to run jobs with *connection*, which writes to the log *wal*."""
        self._loop = asyncio.get_running_loop()
        self._wal = wal
        self._threads = Threads("writer", [connection], after=wal.look)
        self._is_open = True

    def close(self) -> None:
        """Take no more writes and commits."""
        self._is_open = False

    async def stop(self) -> None:
        """Finish what was submitted, and end the thread."""
        await self._threads.stop()

    def submit(self, job: Job[T]) -> asyncio.Future[T]:
        """Let the thread run *job*, until `stop`, even if the store can't be trusted."""
        return self._threads.submit(job)

    async def write(self, job: Job[T]) -> T:
        """
        Let the thread run *job*, which writes in transactions of its own.

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
        Cut the log to nothing; waits for other programs that read, while commits go on.

        Raises:
            CommitFailed: The store is closed or takes no more writes.
            CommitUnknown: Another program reads on and on, or the log could not be emptied.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + BUSY_MS / 1000
        while True:
            if self._is_open:
                # Most is copied by the thread, so that the writer is done with the rest soon.
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
        """Note that nothing can be trusted any more, in whichever thread that is met."""
        self.loss = self.loss or reason
        with suppress(RuntimeError):  # the event loop is closed: no caller is left
            self._loop.call_soon_threadsafe(self._tell_loss)

    def _tell_loss(self) -> None:
        on_fatal, self._on_fatal = self._on_fatal, None
        if on_fatal is not None and self.loss is not None:
            on_fatal(self.loss)

    def _check_trust(self) -> None:
        # A checkpoint may have failed to sync, and a commit is the one way to let the engine know:
        # nothing of it is written, but it says that nothing will be any more.
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
        """Commit, and tell once that nothing can be trusted any more, for any reason."""
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
        """Empty the log; False if another program is in the way."""
        try:
            self._wal.truncate(connection)
        except apsw.BusyError:
            return False
        except apsw.Error as error:
            reason = f"erased, but still in the write-ahead log: {described(error)}"
            raise CommitUnknown(reason, fatal=is_failed_sync(error)) from error
        return True
