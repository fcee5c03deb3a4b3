"""What becomes of a commit when the disk fails: said truly, and never lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import apsw
import pytest

from fastpaca.store.base import CommitFailed, CommitUnknown, PageBounds, ReadFailed
from fastpaca.store.sqlite.errors import APPLICATION_ID
from fastpaca.store.sqlite.store import SqliteStore
from fastpaca.store.sqlite.wal import WAL_BYTES_MAX
from tests.kit.author import ALL, Author, answer, create
from tests.kit.faulty import Faults, faulty_vfs, sqlite_error
from tests.kit.files import copy_as_after_kill, files_with
from tests.kit.stores import opened
from tests.store.contract import MIB, loaded_row

DISK_FULL = sqlite_error(apsw.FullError, apsw.SQLITE_FULL)
WRITE_FAILED = sqlite_error(apsw.IOError, apsw.SQLITE_IOERR_WRITE)
READ_FAILED = sqlite_error(apsw.IOError, apsw.SQLITE_IOERR_READ)
SYNC_FAILED = sqlite_error(apsw.IOError, apsw.SQLITE_IOERR_FSYNC)


@asynccontextmanager
async def faulty_store(
    directory: Path, wal_bytes_max: int = WAL_BYTES_MAX
) -> AsyncIterator[tuple[SqliteStore, Faults]]:
    """Open a store whose disk fails on demand."""
    with faulty_vfs() as faults:
        store = SqliteStore(directory, vfs=faults.name, wal_bytes_max=wal_bytes_max)
        await store.open()
        try:
            yield store, faults
        finally:
            faults.stop()
            await store.close()


async def found_again(directory: Path, context_id: str) -> int | None:
    """Open the store as the next process would, and give the last seq of a context."""
    async with opened(SqliteStore(directory)) as store:
        snapshot = await store.load(context_id)
        return None if snapshot is None else snapshot.row.last_seq


async def write_on(store: SqliteStore, author: Author) -> None:
    """Commit until that fails."""
    for _ in range(1000):
        await store.commit([author.append(count=1, size=20_000)])


@pytest.mark.parametrize("error", [DISK_FULL, WRITE_FAILED], ids=["full", "write"])
@pytest.mark.parametrize("skip", range(9))
async def test_failed_write_is_certainly_nothing(
    tmp_path: Path, error: apsw.Error, skip: int
) -> None:
    """Whichever page cannot be written, nothing of the commit is there, and the next one works."""
    async with faulty_store(tmp_path) as (store, faults):
        (author,) = await create(store, "c")
        await store.commit([author.append(count=2)])
        faults.fail("write", "-wal", error, skip=skip)
        ghost = Author("c")
        ghost.row = author.row
        with pytest.raises(CommitFailed):
            await store.commit([ghost.append(count=9, size=5000, records=[answer("k")])])
        assert await loaded_row(store, "c") == author.row
        assert await store.messages("c", 1, ALL, PageBounds(9, ALL)) == author.log
        faults.stop()
        await store.commit([author.append(count=1, records=[answer("k")])])
        assert await loaded_row(store, "c") == author.row
    assert await found_again(tmp_path, "c") == 3


async def test_commit_that_spills_can_fail_early(tmp_path: Path) -> None:
    """A transaction too big for the cache writes pages before its end, and can fail there too."""
    async with faulty_store(tmp_path) as (store, faults):
        (author,) = await create(store, "c")
        faults.fail("write", "-wal", DISK_FULL, skip=1000)
        with pytest.raises(CommitFailed):
            await store.commit([author.append(count=40, size=MIB)])
        faults.stop()
        assert await store.messages("c", 1, ALL, PageBounds(9, ALL)) == []
        again = Author("c")
        again.create()
        await store.commit([again.append(count=1)])
    assert await found_again(tmp_path, "c") == 1


@pytest.mark.parametrize(
    "error",
    [SYNC_FAILED, sqlite_error(apsw.IOError, apsw.SQLITE_IOERR)],
    ids=["fsync", "unnamed"],
)
async def test_failed_sync_of_a_commit_is_fatal(tmp_path: Path, error: apsw.Error) -> None:
    """Nobody knows what a failed sync has left; that is said once, and nothing is written again."""
    async with faulty_store(tmp_path) as (store, faults):
        (author,) = await create(store, "c")
        faults.fail("sync", "-wal", error)
        before = author.row
        with pytest.raises(CommitUnknown) as caught:
            await store.commit([author.append(count=1)])
        assert caught.value.fatal
        faults.stop()
        for refused in (author.append(count=1), Author("d").create(), author.purge()):
            with pytest.raises(CommitFailed, match="takes no more writes"):
                await store.commit([refused])
        with pytest.raises(CommitFailed):
            await store.forget_idempotency_records(ALL)
        assert await loaded_row(store, "c") == before
    # Both are true to "unknown"; half of it would not be.
    assert await found_again(tmp_path, "c") in {0, 1}


async def test_commits_waiting_behind_a_failed_sync_are_refused(tmp_path: Path) -> None:
    """A commit that was handed over before the failure was known is not written either."""
    async with faulty_store(tmp_path) as (store, faults):
        authors = await create(store, *"abcdef")
        faults.fail("sync", "-wal", SYNC_FAILED)
        outcomes = await asyncio.gather(
            *(store.commit([author.append(count=1)]) for author in authors), return_exceptions=True
        )
        assert [type(outcome) for outcome in outcomes] == [CommitUnknown] + [CommitFailed] * 5


async def test_failed_sync_of_a_checkpoint_is_fatal(tmp_path: Path) -> None:
    """A sync that fails while nobody waits for it is told with the next commit."""
    async with faulty_store(tmp_path, wal_bytes_max=MIB) as (store, faults):
        (author,) = await create(store, "c")
        faults.fail("sync", ".db", SYNC_FAILED)
        with pytest.raises(CommitUnknown) as caught:
            await write_on(store, author)
        assert caught.value.fatal
        with pytest.raises(CommitFailed):
            await store.commit([author.append(count=1)])


async def test_failed_sync_while_the_log_begins_anew_is_fatal(tmp_path: Path) -> None:
    """A commit does not go on behind a sync that failed on its behalf."""
    async with faulty_store(tmp_path, wal_bytes_max=MIB) as (store, faults):
        (author,) = await create(store, "c")
        assert store._open is not None
        await asyncio.to_thread(store._open.wal.stop)  # all is left to the writer
        faults.fail("sync", ".db", SYNC_FAILED)
        with pytest.raises(CommitUnknown) as caught:
            await write_on(store, author)
        assert caught.value.fatal
        assert (await loaded_row(store, "c")).last_seq == author.row.last_seq - 1


async def test_loss_is_told_to_a_commit_whoever_met_it(tmp_path: Path) -> None:
    """A sync that fails in a chore is fatal for the next commit, not for the chore alone."""
    async with faulty_store(tmp_path) as (store, faults):
        (author,) = await create(store, "c")
        await store.commit([author.append(count=1, records=[answer("k", 1)])])
        faults.fail("sync", "-wal", SYNC_FAILED)
        with pytest.raises(CommitUnknown):
            await store.forget_idempotency_records(2)
        faults.stop()
        with pytest.raises(CommitUnknown) as caught:
            await store.commit([author.append(count=1)])
        assert caught.value.fatal
        with pytest.raises(CommitFailed):
            await store.commit([author.append(count=1)])


async def test_full_disk_under_the_log_refuses_and_recovers(tmp_path: Path) -> None:
    """Where the log cannot be emptied, it stays within its ceiling, and what is there stays."""
    async with faulty_store(tmp_path, wal_bytes_max=MIB) as (store, faults):
        (author,) = await create(store, "c")
        faults.fail("write", ".db", DISK_FULL)
        with pytest.raises(CommitFailed, match="write-ahead log cannot be emptied"):
            await write_on(store, author)
        assert (tmp_path / "fastpaca.db-wal").stat().st_size < 1.2 * MIB
        again = Author("c")
        again.row = await loaded_row(store, "c")
        assert again.row.last_seq == author.row.last_seq - 1
        faults.stop()
        await store.commit([again.append(count=1)])
        assert await loaded_row(store, "c") == again.row


async def test_failed_read_may_be_tried_again(tmp_path: Path) -> None:
    """A read that fails says so, and does no harm to the next one."""
    async with faulty_store(tmp_path) as (store, faults):
        (author,) = await create(store, "c")
        await store.commit([author.append(count=1, size=MIB)])
        faults.fail("read", "", READ_FAILED)
        with pytest.raises(ReadFailed):
            await store.messages("c", 1, 9, PageBounds(9, ALL))
        with pytest.raises(ReadFailed):
            await store.load("c")
        with pytest.raises(ReadFailed):
            await store.load_at("c", 1)
        with pytest.raises(ReadFailed):
            await store.changes("c", 0, 1, PageBounds(9, ALL))
        with pytest.raises(ReadFailed):
            await store.compactions("c", 0, 1, PageBounds(9, ALL))
        with pytest.raises(ReadFailed):
            await store.contexts("", "", 9)
        faults.stop()
        assert await store.messages("c", 1, 9, PageBounds(9, ALL)) == author.log
        assert await store.changes("c", 0, 1, PageBounds(9, ALL)) == (author.log, [], 1)
        assert await loaded_row(store, "c") == author.row


async def test_interrupted_erasure_is_not_a_failed_commit(tmp_path: Path) -> None:
    """A purge whose erasure fails has happened all the same; the erasure goes on later."""
    async with faulty_store(tmp_path) as (store, faults):
        (author,) = await create(store, "c")
        await store.commit([author.append(b"SECRET " * 1000)])
        faults.fail("sync", "-wal", sqlite_error(apsw.FullError, apsw.SQLITE_FULL), skip=1)
        with pytest.raises(CommitUnknown) as caught:
            await store.commit([author.purge()])
        assert not caught.value.fatal
        faults.stop()
        assert (await loaded_row(store, "c")).status == "purged"
        await store.forget_idempotency_records(0)
        assert files_with(tmp_path, b"SECRET") == []


async def test_commit_that_is_not_seen_does_not_come_back(tmp_path: Path) -> None:
    """
    A commit that fails when its mark is in the log is seen after the next start if it is seen now.

    A sync that reports another error leaves the log as a failure to enter the frames into its
    index would.
    """
    async with faulty_store(tmp_path / "data") as (store, faults):
        (author,) = await create(store, "c")
        failure = sqlite_error(apsw.IOError, apsw.SQLITE_IOERR_SHMSIZE)
        armed = [True]

        def once(what: str, file: str) -> None:
            if what == "sync" and file.endswith("-wal") and armed:
                armed.pop()
                raise failure

        faults.check = once
        with pytest.raises(CommitUnknown) as caught:
            await store.commit([author.append(count=1)])
        assert not caught.value.fatal
        assert (await loaded_row(store, "c")).last_seq == 0
        copy_as_after_kill(tmp_path / "data", tmp_path / "copy")
    assert await found_again(tmp_path / "copy", "c") == 0


async def test_commit_that_failed_in_vain_is_found(tmp_path: Path) -> None:
    """An error that SQLite itself passes over leaves a commit that happened; nobody denies it."""
    async with faulty_store(tmp_path, wal_bytes_max=MIB) as (store, faults):
        (author,) = await create(store, "c")
        await store.commit([author.append(count=8, size=MIB)])
        failure = sqlite_error(apsw.IOError, apsw.SQLITE_IOERR_TRUNCATE)
        faults.fail("truncate", "-wal", failure)  # as when the log is cut back after a huge commit
        with pytest.raises(CommitUnknown) as caught:
            await write_on(store, author)
        assert not caught.value.fatal
        assert await loaded_row(store, "c") == author.row
        faults.stop()  # the log may be cut back again, whenever its checkpoint comes
        await store.commit([author.append(count=1)])


def test_application_id_spells_the_name() -> None:
    """What stands in the header of the file is readable."""
    assert APPLICATION_ID.to_bytes(4, "big") == b"fpca"
