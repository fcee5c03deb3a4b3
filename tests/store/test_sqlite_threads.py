"""Threads answer every job, whatever happens to it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from functools import partial

import apsw
import pytest

from fastpaca.store.sqlite.threads import Threads


@pytest.fixture
def connections() -> Iterator[list[apsw.Connection]]:
    """Give two connections that nothing is behind."""
    made = [apsw.Connection(""), apsw.Connection("")]
    yield made
    for connection in made:
        connection.close()


async def test_results_come_back(connections: list[apsw.Connection]) -> None:
    """A job runs with a connection, in another thread, and its result is handed back."""
    threads = Threads("test", connections)
    assert await threads.submit(lambda c: c.execute("SELECT 6 * 7").get) == 42
    assert await threads.submit(lambda _: threading.current_thread().name) != "MainThread"
    await threads.stop()


@pytest.mark.parametrize("error", [apsw.IOError("x"), MemoryError(), SystemExit(), KeyError("x")])
async def test_every_error_is_an_answer(
    connections: list[apsw.Connection], error: BaseException
) -> None:
    """No error ends the thread: the caller gets it, and the next job runs."""

    def fail(_: apsw.Connection) -> None:
        raise error

    threads = Threads("test", connections[:1])
    future = threads.submit(fail)
    await asyncio.wait([future])
    assert future.exception() is error
    assert await threads.submit(lambda _: "goes on") == "goes on"
    await threads.stop()


async def test_jobs_of_one_thread_run_in_order(connections: list[apsw.Connection]) -> None:
    """First come, first served, cancelled callers included, and stopping waits for all."""
    seen: list[int] = []

    def note(number: int, _: apsw.Connection) -> None:
        seen.append(number)

    threads = Threads("test", connections[:1])
    futures = [threads.submit(partial(note, n)) for n in range(100)]
    for future in futures[::3]:
        future.cancel()
    await threads.stop()
    assert seen == list(range(100))


async def test_the_follow_up_runs_behind_every_job(connections: list[apsw.Connection]) -> None:
    """It runs with the same connection, whether the job failed or not."""
    seen: list[apsw.Connection] = []
    threads = Threads("test", connections[:1], after=seen.append)
    await threads.submit(lambda _: None)
    with pytest.raises(apsw.SQLError):
        await threads.submit(lambda c: c.execute("no SQL"))
    await threads.stop()
    assert seen == [connections[0]] * 2


async def test_a_failing_follow_up_stops_nothing(connections: list[apsw.Connection]) -> None:
    """Whatever happens behind a job, the next one is answered."""

    def fail(_: apsw.Connection) -> None:
        raise KeyError

    threads = Threads("test", connections[:1], after=fail)
    for _ in range(3):
        assert await threads.submit(lambda _: "goes on") == "goes on"
    await threads.stop()


async def test_jobs_that_run_are_outlasted(connections: list[apsw.Connection]) -> None:
    """Another thread can wait until the jobs that run are done, for as long as it says."""
    begun, release = threading.Event(), threading.Event()

    def wait(_: apsw.Connection) -> None:
        begun.set()
        release.wait()

    threads = Threads("test", connections)
    assert threads.outlast(0)
    held = threads.submit(wait)
    await asyncio.to_thread(begun.wait)
    assert not threads.outlast(0)
    outlasting = asyncio.create_task(asyncio.to_thread(threads.outlast, 60))
    release.set()
    assert await outlasting
    await held
    await threads.stop()


def test_a_closed_loop_stops_nothing(connections: list[apsw.Connection]) -> None:
    """A job that ends when its event loop is gone does not take the thread down."""
    begin, done = threading.Event(), threading.Event()
    futures: list[object] = []

    async def main() -> Threads:
        threads = Threads("test", connections[:1])
        futures.append(threads.submit(lambda _: begin.wait()))
        futures.append(threads.submit(lambda _: done.set()))
        return threads

    threads = asyncio.run(main())
    begin.set()
    assert done.wait(10)
    asyncio.run(threads.stop())
