"""The write-ahead log stays short, whoever reads and however much is written."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw
import pytest

from fastpaca.store.base import CommitBlocked, PageBounds, StoreRefused
from fastpaca.store.sqlite.store import SqliteStore
from tests.kit.author import ALL, create
from tests.kit.faulty import faulty_vfs
from tests.kit.files import copy_as_after_kill, files_with
from tests.store.contract import MIB, loaded_row

CEILING = MIB


def wal_bytes(directory: Path) -> int:
    """Measure the log."""
    return (directory / "fastpaca.db-wal").stat().st_size


@contextmanager
def foreign(directory: Path, sql: str = "BEGIN; SELECT count(*) FROM contexts") -> Iterator[None]:
    """Open the database as another program would, and stay in a transaction."""
    other = apsw.Connection(str(directory / "fastpaca.db"))
    other.execute(sql).fetchall()
    yield
    other.close()


async def test_log_is_bounded_under_load(tmp_path: Path) -> None:
    """While writers never pause and readers come and go, the log keeps within its ceiling."""
    store = SqliteStore(tmp_path, wal_bytes_max=CEILING)
    await store.open()
    authors = await create(store, *(f"c{n}" for n in range(40)))
    done = asyncio.Event()

    async def read() -> None:
        while not done.is_set():
            await store.messages("c1", 1, ALL, PageBounds(1000, ALL))
            await store.load("c2")

    readers = [asyncio.create_task(read()) for _ in range(2)]
    longest = 0
    for _ in range(120):
        await store.commit([author.append(count=1, size=600) for author in authors])
        longest = max(longest, wal_bytes(tmp_path))
    done.set()
    await asyncio.gather(*readers)
    for author in authors:
        assert await loaded_row(store, author.row.id) == author.row
    await store.close()
    # One commit writes about a page per context, and may go beyond the ceiling.
    assert CEILING // 2 <= longest <= CEILING * 1.25


async def test_log_is_cut_back_after_a_huge_commit(tmp_path: Path) -> None:
    """A commit that is longer than the ceiling makes the log long only for a while."""
    store = SqliteStore(tmp_path, wal_bytes_max=CEILING)
    await store.open()
    (author,) = await create(store, "c")
    await store.commit([author.append(count=8, size=MIB)])
    assert wal_bytes(tmp_path) > 8 * MIB
    for _ in range(3):
        await store.commit([author.append(count=1)])
    assert wal_bytes(tmp_path) <= CEILING
    assert await loaded_row(store, "c") == author.row
    await store.close()


def test_commits_never_wait_for_a_foreign_reader(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """While a program holds an old snapshot the log grows, and is emptied after it has gone."""

    async def main(vfs: str) -> None:
        store = SqliteStore(tmp_path, vfs=vfs, wal_bytes_max=CEILING)
        await store.open()
        (author,) = await create(store, "c")
        with foreign(tmp_path):
            for _ in range(120):
                await store.commit([author.append(count=1, size=40_000)])
            assert wal_bytes(tmp_path) > 4 * CEILING
        while wal_bytes(tmp_path) > CEILING * 1.25:
            await store.commit([author.append(count=1, size=40_000)])
        for _ in range(60):
            await store.commit([author.append(count=1, size=40_000)])
        assert wal_bytes(tmp_path) <= CEILING * 1.25
        assert await loaded_row(store, "c") == author.row
        await store.close()

    with faulty_vfs() as faults, caplog.at_level(logging.INFO, "fastpaca.store.sqlite.wal"):
        asyncio.run(main(faults.name))
    assert faults.sleeps == 0
    grown, doubled, *_, emptied = [record.getMessage() for record in caplog.records]
    assert grown.endswith("so the write-ahead log grows: it has 1 MiB")
    assert doubled.endswith("it has 2 MiB")
    assert emptied.startswith("the write-ahead log has restarted")
    assert len(caplog.records) <= 5


async def test_a_restart_by_sqlite_itself_ends_the_hold(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """
    When the thread has copied the whole of a log that was held, SQLite restarts it at the next
    commit, before the writer does. It is then a log like any other, and has its ceiling again.
    """
    store = SqliteStore(tmp_path, wal_bytes_max=CEILING)
    await store.open()
    (author,) = await create(store, "c")
    assert store._open is not None
    with caplog.at_level(logging.INFO, "fastpaca.store.sqlite.wal"):
        with foreign(tmp_path):
            for _ in range(60):
                await store.commit([author.append(count=1, size=40_000)])
        await asyncio.wrap_future(store._open.wal.copy())
        await store.commit([author.append(count=1)])
        await asyncio.wrap_future(store._open.wal.copy())
    assert wal_bytes(tmp_path) <= CEILING
    assert caplog.messages[-1].startswith("the write-ahead log has restarted; it had grown to")
    await store.close()


def test_commits_never_wait_for_a_reader_of_the_present(tmp_path: Path) -> None:
    """A program that always reads, such as a replicator, makes the log grow and nobody wait."""

    async def main(vfs: str) -> None:
        store = SqliteStore(tmp_path, vfs=vfs, wal_bytes_max=CEILING)
        await store.open()
        (author,) = await create(store, "c")
        for _ in range(20):
            with foreign(tmp_path):
                for _ in range(5):
                    await store.commit([author.append(count=1, size=40_000)])
        assert await loaded_row(store, "c") == author.row
        await store.close()

    with faulty_vfs() as faults:
        asyncio.run(main(faults.name))
    assert faults.sleeps == 0


def test_commits_never_wait_for_a_purge_that_waits(tmp_path: Path) -> None:
    """A purge is done once a foreign reader has gone; until then others are written."""

    async def main(vfs: str) -> None:
        store = SqliteStore(tmp_path, vfs=vfs)
        await store.open()
        goes, stays = await create(store, "goes", "stays")
        await store.commit([goes.append(b"SECRET " * 10_000)])
        with foreign(tmp_path):
            purge = asyncio.create_task(store.commit([goes.purge()]))
            while await store.contexts("goes", "", 1):
                await store.commit([stays.append(count=1)])
            for _ in range(50):
                await store.commit([stays.append(count=1)])
            assert not purge.done()
        await purge
        assert files_with(tmp_path, b"SECRET") == []
        assert await loaded_row(store, "stays") == stays.row
        await store.close()

    with faulty_vfs() as faults:
        asyncio.run(main(faults.name))
    assert faults.sleeps == 0


def test_foreign_writer_is_named(tmp_path: Path) -> None:
    """A commit that another program's lock keeps out says so, is not there, and can be made."""

    async def main(vfs: str) -> None:
        store = SqliteStore(tmp_path, vfs=vfs)
        await store.open()
        (author,) = await create(store, "c")
        change = author.append(count=1)
        with foreign(tmp_path, "BEGIN IMMEDIATE"):
            with pytest.raises(CommitBlocked, match="another program is writing"):
                await store.commit([change])
            assert (await loaded_row(store, "c")).version == 0
        await store.commit([change])
        assert await loaded_row(store, "c") == author.row
        await store.close()

    with faulty_vfs() as faults:
        asyncio.run(main(faults.name))
    assert faults.sleeps > 0


def test_start_beside_a_reader_of_the_present(tmp_path: Path) -> None:
    """A start copies the log also where another program reads, and keeps it from being emptied."""

    async def main(vfs: str) -> None:
        left = tmp_path / "left"
        store = SqliteStore(tmp_path / "data")
        await store.open()
        (author,) = await create(store, "c")
        await store.commit([author.append(count=50, size=5000)])
        copy_as_after_kill(tmp_path / "data", left)
        await store.close()
        with foreign(left):
            found = SqliteStore(left, vfs=vfs)
            await found.open()
            assert len((left / "fastpaca.db").read_bytes()) > 50 * 5000
            assert await found.messages("c", 1, ALL, PageBounds(100, ALL)) == author.log
            await found.commit([author.append(count=1)])
            assert await loaded_row(found, "c") == author.row
            await found.close()

    with faulty_vfs() as faults:
        asyncio.run(main(faults.name))


def test_start_beside_a_reader_of_the_past(tmp_path: Path) -> None:
    """What can't be copied into the database keeps a node from starting, until the reader ends."""

    async def main(vfs: str) -> None:
        store = SqliteStore(tmp_path)
        await store.open()
        (author,) = await create(store, "c")
        with foreign(tmp_path):
            await store.commit([author.append(count=1)])
            await store.close()
            with pytest.raises(StoreRefused, match="end that program"):
                await SqliteStore(tmp_path, vfs=vfs).open()
        found = SqliteStore(tmp_path, vfs=vfs)
        await found.open()
        assert await loaded_row(found, "c") == author.row
        await found.close()

    with faulty_vfs() as faults:
        asyncio.run(main(faults.name))


async def test_next_start_begins_with_an_empty_log(tmp_path: Path) -> None:
    """What a killed process left in the log is in the database before anything is served."""
    store = SqliteStore(tmp_path / "data")
    await store.open()
    (author,) = await create(store, "c")
    await store.commit([author.append(count=50, size=5000)])
    left = tmp_path / "left"
    left.mkdir()
    for name in ("fastpaca.db", "fastpaca.db-wal"):
        (left / name).write_bytes((tmp_path / "data" / name).read_bytes())
    await store.close()
    assert wal_bytes(left) > 250_000
    found = SqliteStore(left)
    await found.open()
    assert wal_bytes(left) == 0
    assert await found.messages("c", 1, ALL, PageBounds(100, ALL)) == author.log
    await found.close()


async def test_a_wait_that_is_given_up_leaves_checkpoints_running(tmp_path: Path) -> None:
    """Whoever no longer waits for a checkpoint, before it begins or while it runs, stops none."""
    store = SqliteStore(tmp_path)
    await store.open()
    assert store._open is not None
    wal = store._open.wal
    with wal._checkpointing:
        waits = [wal.copy() for _ in range(3)]
        for wait in waits:
            wait.cancel()
    await asyncio.wait_for(asyncio.wrap_future(wal.copy()), 30)
    await store.close()
