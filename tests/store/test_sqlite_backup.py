"""A backup is consistent, made while serving goes on, and opens as data."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path

import pytest

from fastpaca.store.base import CommitFailed, PageBounds
from fastpaca.store.sqlite.store import SqliteStore
from tests.kit.author import ALL, Author, create
from tests.kit.files import files_with
from tests.store.contract import MIB


async def restored(backup: Path, directory: Path) -> SqliteStore:
    """Open *backup* as the documentation says: as the database of an empty directory."""
    put_in_place(backup, directory)
    store = SqliteStore(directory)
    await store.open()
    return store


def put_in_place(backup: Path, directory: Path) -> None:
    directory.mkdir()
    backup.rename(directory / "fastpaca.db")


def is_there(path: Path) -> bool:
    return path.exists()


def names_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


async def test_backup_holds_everything(tmp_path: Path) -> None:
    """All that was committed before the backup was asked for is in it, and can be gone on with."""
    store = SqliteStore(tmp_path / "data")
    await store.open()
    authors = await create(store, "a", "b" * 200)
    await store.commit([author.append(count=20, size=9000) for author in authors])
    await store.backup(tmp_path / "copy.db")
    assert stat.S_IMODE((tmp_path / "copy.db").stat().st_mode) == 0o600
    assert names_in(tmp_path) == ["copy.db", "data"]
    await store.close()
    found = await restored(tmp_path / "copy.db", tmp_path / "new")
    assert await found.contexts("", "", 9) == [author.row for author in authors]
    for author in authors:
        assert await found.messages(author.row.id, 1, ALL, PageBounds(100, ALL)) == author.log
    await found.commit([author.append(count=1) for author in authors])
    await found.close()


async def test_backup_while_committing_is_of_one_moment(tmp_path: Path) -> None:
    """Commits go on during a backup, and each of them is in it whole or not at all."""
    store = SqliteStore(tmp_path / "data", wal_bytes_max=MIB)
    await store.open()
    authors = await create(store, *(f"c{n}" for n in range(8)))
    for _ in range(5):
        await store.commit([author.append(count=20, size=20_000) for author in authors])
    rounds_before = authors[0].row.revision
    backup = asyncio.create_task(store.backup(tmp_path / "copy.db"))
    while not backup.done():
        await store.commit([author.append(count=1, size=3000) for author in authors])
    await backup
    rounds_after = authors[0].row.revision
    await store.close()
    found = await restored(tmp_path / "copy.db", tmp_path / "new")
    rows = await found.contexts("", "", 9)
    assert {row.revision for row in rows} == {rows[0].revision}
    assert rounds_before <= rows[0].revision <= rounds_after
    assert rounds_after - rounds_before >= 3
    for author, row in zip(authors, rows, strict=True):
        log = await found.messages(row.id, 1, ALL, PageBounds(1000, ALL))
        assert log == author.log[: row.last_seq]
    await found.close()


async def test_backup_does_not_hold_up_the_log(tmp_path: Path) -> None:
    """The write-ahead log keeps within its ceiling also while a backup is under way."""
    store = SqliteStore(tmp_path / "data", wal_bytes_max=MIB)
    await store.open()
    (author,) = await create(store, "c")
    for _ in range(10):
        await store.commit([author.append(count=1, size=2 * MIB)])
    longest = 0
    backup = asyncio.create_task(store.backup(tmp_path / "copy.db"))
    while not backup.done():
        await store.commit([author.append(count=1, size=50_000)])
        longest = max(longest, (tmp_path / "data" / "fastpaca.db-wal").stat().st_size)
    await backup
    await store.close()
    assert longest <= 4 * MIB  # the last big commit, then within the ceiling


async def test_backup_does_not_hold_what_was_purged(tmp_path: Path) -> None:
    """A copy is of pages, and what a purge erased is in none of them."""
    store = SqliteStore(tmp_path / "data")
    await store.open()
    stays, goes = await create(store, "stays", "SECRET id")
    await store.commit(
        [
            stays.append(count=30, size=2000),
            goes.append(*[b"SECRET " * 100, b"SECRET " * 9000] * 10),
        ]
    )
    await store.commit([goes.purge()])
    await store.backup(tmp_path / "copy.db")
    await store.close()
    assert files_with(tmp_path, b"SECRET") == []


async def test_existing_file_is_not_written_over(tmp_path: Path) -> None:
    """A backup goes into a new file or nowhere."""
    (tmp_path / "copy.db").write_bytes(b"precious")
    store = SqliteStore(tmp_path / "data")
    await store.open()
    with pytest.raises(CommitFailed, match="cannot be written: File exists"):
        await store.backup(tmp_path / "copy.db")
    with pytest.raises(CommitFailed, match="No such file or directory"):
        await store.backup(tmp_path / "nowhere" / "copy.db")
    await create(store, "c")
    await store.close()
    assert (tmp_path / "copy.db").read_bytes() == b"precious"


async def test_backup_that_is_broken_off_leaves_no_file(tmp_path: Path) -> None:
    """Half a copy is removed when the caller leaves, and when the store is closed."""
    store = SqliteStore(tmp_path / "data")
    await store.open()
    (author,) = await create(store, "c")
    await store.commit([author.append(count=20, size=MIB)])
    abandoned = asyncio.create_task(store.backup(tmp_path / "copy.db"))
    while not is_there(tmp_path / "copy.db"):
        await store.commit([author.append(count=1)])
    abandoned.cancel()
    await asyncio.wait([abandoned])
    assert abandoned.cancelled()
    assert not is_there(tmp_path / "copy.db")
    overtaken = asyncio.create_task(store.backup(tmp_path / "copy.db"))
    while not is_there(tmp_path / "copy.db"):
        await store.commit([author.append(count=1)])
    await store.close()
    with pytest.raises(CommitFailed, match="closed"):
        await overtaken
    assert not is_there(tmp_path / "copy.db")


async def test_two_backups_at_once_are_both_whole(tmp_path: Path) -> None:
    """The second one waits for the first."""
    store = SqliteStore(tmp_path / "data")
    await store.open()
    author = Author("c")
    await store.commit([author.create()])
    await store.commit([author.append(count=3)])
    paths = [tmp_path / "one.db", tmp_path / "two.db"]
    await asyncio.gather(*(store.backup(path) for path in paths))
    await store.close()
    for path in paths:
        found = await restored(path, tmp_path / path.stem)
        assert await found.messages("c", 1, ALL, PageBounds(9, ALL)) == author.log
        await found.close()
