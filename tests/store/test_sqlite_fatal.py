"""A store that can't be trusted any more says so at once, and harms nothing that is in its log."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from fastpaca.store.base import CommitUnknown
from fastpaca.store.sqlite.errors import is_failed_sync
from fastpaca.store.sqlite.store import SqliteStore
from tests.kit.author import Author, create
from tests.kit.faulty import Faults, faulty_vfs, sqlite_error
from tests.kit.files import copy_as_after_kill
from tests.store.contract import MIB, loaded_row

SYNC_FAILED = sqlite_error(apsw.IOError, apsw.SQLITE_IOERR_FSYNC)


def opened(directory: Path, faults: Faults, on_fatal: Callable[[str], None]) -> SqliteStore:
    return SqliteStore(directory, vfs=faults.name, wal_bytes_max=MIB, on_fatal=on_fatal)


async def write_on(store: SqliteStore, author: Author) -> None:
    """Commit until that fails."""
    for _ in range(100):
        await store.commit([author.append(count=1, size=20_000)])


async def failed_checkpoint(store: SqliteStore, faults: Faults, told: asyncio.Event) -> Author:
    """Write so much that the log is copied, and let that fail while nobody waits."""
    await store.open()
    (author,) = await create(store, "c")
    faults.fail("sync", ".db", SYNC_FAILED)
    await store.commit([author.append(count=1, size=MIB // 2)])
    await asyncio.wait_for(told.wait(), 30)
    faults.stop()
    return author


async def test_failed_checkpoint_is_told_without_a_commit(tmp_path: Path) -> None:
    """The reason is told once, on the thread of the event loop, though no caller is there."""
    told = asyncio.Event()
    reasons: list[tuple[str, threading.Thread]] = []

    def note(reason: str) -> None:
        reasons.append((reason, threading.current_thread()))
        told.set()

    with faulty_vfs() as faults:
        store = opened(tmp_path, faults, note)
        author = await failed_checkpoint(store, faults, told)
        with pytest.raises(CommitUnknown):
            await store.commit([author.append(count=1)])
        await store.close()
    ((reason, thread),) = reasons
    assert "a sync failed in a checkpoint" in reason
    assert thread is threading.current_thread()


@pytest.mark.parametrize("file", ["-wal", ".db"])
async def test_failed_commit_is_told_too(tmp_path: Path, file: str) -> None:
    """It is told once, also where the commit fails over a checkpoint that it needs itself."""
    reasons: list[str] = []
    with faulty_vfs() as faults:
        store = opened(tmp_path, faults, reasons.append)
        await store.open()
        (author,) = await create(store, "c")
        assert store._open is not None
        await asyncio.to_thread(store._open.wal.stop)  # all is left to the writer
        faults.fail("sync", file, SYNC_FAILED)
        with pytest.raises(CommitUnknown):
            await write_on(store, author)
        faults.stop()
        await store.close()
    assert len(reasons) == 1


async def test_log_is_kept_after_a_failed_checkpoint(tmp_path: Path) -> None:
    """
    A sync that succeeds after one that failed says nothing of the pages that were dropped then; so
    no checkpoint is tried again, and the log goes on holding all that was acknowledged.
    """
    told = asyncio.Event()
    with faulty_vfs() as faults:
        store = opened(tmp_path / "data", faults, lambda _: told.set())
        author = await failed_checkpoint(store, faults, told)
        assert store._open is not None
        wal, writer = store._open.wal, store._writer
        log = tmp_path / "data" / "fastpaca.db-wal"
        size = log.stat().st_size
        with pytest.raises(apsw.IOError) as caught:
            await writer.submit(wal.truncate)
        assert is_failed_sync(caught.value)
        copy_as_after_kill(tmp_path / "data", tmp_path / "copy")
        await store.close()
        assert log.stat().st_size == size
    found = SqliteStore(tmp_path / "copy")
    await found.open()
    assert await loaded_row(found, "c") == author.row
    await found.close()
