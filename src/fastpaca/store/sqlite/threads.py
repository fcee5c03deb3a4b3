"""
Threads that use SQLite, so that the event loop never waits for a disk.

Jobs and results pass through a `SimpleQueue` and `call_soon_threadsafe`, since these run hardly any
Python in the threads, which would slow down the event loop.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, Final, NamedTuple, TypeVar

import apsw

LOOK_SECONDS: Final = 0.0005
"""How often to look whether a job that another thread waits for is done; most take less."""

T = TypeVar("T")

Job = Callable[[apsw.Connection], T]


class _Task(NamedTuple):
    job: Job[Any]
    future: asyncio.Future[Any]


class Threads:
    """Threads that take jobs from one queue, each with a connection of its own."""

    def __init__(
        self, name: str, connections: Sequence[apsw.Connection], after: Job[None] | None = None
    ) -> None:
        """Start a thread for each connection; *after* is called after each job has its result."""
        self._loop = asyncio.get_running_loop()
        self._queue: SimpleQueue[_Task | None] = SimpleQueue()
        self._after = after
        self._turns = [0] * len(connections)  # of each thread: odd while it runs a job
        # Daemons, since a process does not wait when it ends after a fatal error.
        self._threads = [
            threading.Thread(
                target=self._work, args=(number, connection), name=f"{name}-{number}", daemon=True
            )
            for number, connection in enumerate(connections)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, job: Job[T]) -> asyncio.Future[T]:
        """Run *job* in a thread, even if its caller stops waiting."""
        future: asyncio.Future[T] = self._loop.create_future()
        self._queue.put(_Task(job, future))
        return future

    def outlast(self, seconds: float) -> bool:
        """
        Wait at most *seconds* for the current jobs to end, and return whether they did.

        Called by other threads. It does not wait for jobs that begin meanwhile.
        """
        deadline = time.monotonic() + seconds
        for number, turn in enumerate(list(self._turns)):
            while turn % 2 and self._turns[number] == turn:
                if time.monotonic() >= deadline:
                    return False
                time.sleep(LOOK_SECONDS)
        return True

    async def stop(self) -> None:
        """Finish all submitted jobs, and end the threads. No job may be submitted afterwards."""
        for _ in self._threads:
            self._queue.put(None)
        await asyncio.to_thread(self._join)

    def _join(self) -> None:
        for thread in self._threads:
            thread.join()

    def _work(self, number: int, connection: apsw.Connection) -> None:
        while (task := self._queue.get()) is not None:
            result: Any = None
            error: BaseException | None = None
            self._turns[number] += 1
            try:
                result = task.job(connection)
            except BaseException as raised:  # noqa: BLE001  # the caller gets it
                error = raised
            self._turns[number] += 1
            self._hand_over(task.future, result, error)
            del task, result, error  # a big page should not live until the next job
            if self._after is not None:
                with suppress(Exception):  # a defect there must not keep the next job from running
                    self._after(connection)

    def _hand_over(
        self, future: asyncio.Future[Any], result: object, error: BaseException | None
    ) -> None:
        while True:
            try:
                self._loop.call_soon_threadsafe(_settle, future, result, error)
            except RuntimeError:  # the event loop is closed, so no caller is waiting
                return
            except MemoryError:  # a result must not get lost; memory may become free again
                time.sleep(0.01)
            else:
                return


def _settle(future: asyncio.Future[Any], result: object, error: BaseException | None) -> None:
    if future.done():  # the caller was cancelled
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
