"""What SQLite keeps of forks that were not finished: nothing, in no table and in no byte."""

from __future__ import annotations

import asyncio
from pathlib import Path

import apsw
import pytest

from fastpaca.context.persisted import Run
from fastpaca.store.base import PageBounds, StoreRefused, message_id_hash
from fastpaca.store.sqlite.store import SqliteStore
from fastpaca.store.sqlite.writes import drop
from tests.kit.author import ALL, Author, create
from tests.kit.faulty import faulty_vfs, sqlite_error
from tests.kit.files import content_of, copy_as_after_kill, files_with
from tests.kit.stores import opened

SECRETS = (b"SECRET", message_id_hash("SECRET-m"))


async def begun(store: SqliteStore, name: str = "SECRET-fork") -> Author:
    """Begin a fork that writes into every table."""
    author = Author(name)
    origin = b'["SECRET-source",9]'
    policy = b'{"SECRET":1}'
    await store.commit([author.fork(forked_from=origin, metadata=policy, policy=policy)])
    await store.commit([author.append(count=1200, size=50, ids=["SECRET-m"])])
    await store.commit([author.append(b"SECRET " * 500_000, revises=[3])])
    await store.commit([author.compact([Run(1, 9, replacement=1202)], [b"SECRET summary"])])
    return author


@pytest.mark.parametrize("name", ["SECRET-fork", "SECRET-fork" * 40])
async def test_no_byte_of_a_dropped_fork_is_left(tmp_path: Path, name: str) -> None:
    """Neither its messages, ids and windows nor its own id are in the files, open or closed."""
    async with opened(SqliteStore(tmp_path)) as store:
        (other,) = await create(store, "other")
        await store.commit([other.append(count=3, ids=["m"])])
    before = content_of(tmp_path)
    async with opened(SqliteStore(tmp_path)) as store:
        author = await begun(store, name)
        for secret in SECRETS:
            assert files_with(tmp_path, secret)
        await store.drop(name, author.row.revision)
        for secret in SECRETS:
            assert files_with(tmp_path, secret) == []
        assert await store.messages("other", 1, ALL, PageBounds(ALL, ALL)) == other.log
    for secret in SECRETS:
        assert files_with(tmp_path, secret) == []
    assert content_of(tmp_path) == before


async def test_a_start_drops_all_forks(tmp_path: Path) -> None:
    """The process that copied them is gone, so the next one erases them and frees their ids."""
    store = SqliteStore(tmp_path / "data")
    async with opened(store):
        (other,) = await create(store, "other")
        await begun(store)
        await begun(store, "SECRET-other" * 40)
        copy_as_after_kill(tmp_path / "data", tmp_path / "left")
    async with opened(SqliteStore(tmp_path / "left")) as store:
        assert await store.load("SECRET-fork") is None
        assert await store.contexts("", "", 9) == [other.row]
        again = Author("SECRET-fork")
        await store.commit([again.create()])
        assert store._erasing is not None
        await store._erasing
        for secret in (b"SECRET-m", b"SECRET-other", b"SECRET-source", *SECRETS[1:]):
            assert files_with(tmp_path / "left", secret) == []
        snapshot = await store.load("SECRET-fork")
        assert snapshot is not None
        assert (snapshot.row, snapshot.messages) == (again.row, [])


async def test_a_drop_that_was_cut_short(tmp_path: Path) -> None:
    """A process that is killed between the drop and the erasure leaves the rest to the next one."""
    store = SqliteStore(tmp_path / "data")
    async with opened(store):
        await create(store, "other")
        author = await begun(store)
        assert store._open is not None
        writer = store._open.connections[0]
        assert drop(writer, "SECRET-fork", author.row.revision)
        assert not drop(writer, "SECRET-fork", author.row.revision)
        copy_as_after_kill(tmp_path / "data", tmp_path / "left")
    assert files_with(tmp_path / "left", b"SECRET") != []
    async with opened(SqliteStore(tmp_path / "left")) as store:
        assert store._erasing is not None
        await store._erasing
        for secret in SECRETS:
            assert files_with(tmp_path / "left", secret) == []


async def test_a_start_that_cannot_drop_them(tmp_path: Path) -> None:
    """A full disk is named, as for all else that a start has to write; later they are dropped."""
    store = SqliteStore(tmp_path / "data")
    async with opened(store):
        await create(store, "other")
        await begun(store)
        copy_as_after_kill(tmp_path / "data", tmp_path / "left")
    full = sqlite_error(apsw.FullError, apsw.SQLITE_FULL)

    def check(what: str, file: str) -> None:
        if what == "write" and file.endswith("-wal"):
            raise full

    with faulty_vfs() as faults:
        faults.check = check
        with pytest.raises(StoreRefused, match="Free space"):
            await SqliteStore(tmp_path / "left", vfs=faults.name).open()
    async with opened(SqliteStore(tmp_path / "left")) as store:
        assert await store.load("SECRET-fork") is None


async def test_commits_are_not_held_up_by_a_dropped_fork(tmp_path: Path) -> None:
    """While a big fork is erased, piece by piece, others are written."""
    async with opened(SqliteStore(tmp_path)) as store:
        (other,) = await create(store, "other")
        author = Author("fork")
        await store.commit([author.fork()])
        for _ in range(8):
            await store.commit([author.append(count=1000, size=2000)])
        dropping = asyncio.create_task(store.drop("fork", author.row.revision))
        while not dropping.done():
            await store.commit([other.append(count=1)])
        await dropping
        assert other.row.last_seq >= 4
