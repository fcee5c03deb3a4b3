"""The write-ahead log stays short, whoever reads and however much is written."""

from __future__ import annotations

import asyncio
from pathlib import Path

import apsw

from fastpaca.store.sqlite import SqliteStore
from tests.store.contract import ALL, MIB, create, loaded_row

CEILING = MIB


def wal_bytes(directory: Path) -> int:
    """Measure the log."""
    return (directory / "fastpaca.db-wal").stat().st_size


def test_log_is_bounded_under_load(tmp_path: Path) -> None:
    """While writers never pause and readers come and go, the log keeps within its ceiling."""

    async def main() -> None:
        store = SqliteStore(tmp_path, wal_bytes_max=CEILING)
        await store.open()
        authors = await create(store, *(f"c{n}" for n in range(40)))
        done = asyncio.Event()

        async def read() -> None:
            while not done.is_set():
                await store.messages("c1", 1, ALL, 1000, ALL)
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

    asyncio.run(main())


def test_log_is_cut_back_after_a_huge_commit(tmp_path: Path) -> None:
    """A commit that is longer than the ceiling makes the log long only for a while."""

    async def main() -> None:
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

    asyncio.run(main())


def test_foreign_reader_delays_nobody_for_long(tmp_path: Path) -> None:
    """A program that holds an old snapshot makes the log grow, and commits go on."""

    async def main() -> None:
        store = SqliteStore(tmp_path, wal_bytes_max=CEILING)
        await store.open()
        store._open.connections[0].set_busy_timeout(50)  # type: ignore[union-attr]  # it is open
        (author,) = await create(store, "c")
        other = apsw.Connection(str(tmp_path / "fastpaca.db"))
        other.execute("BEGIN; SELECT count(*) FROM contexts").fetchall()
        for _ in range(60):
            await store.commit([author.append(count=1, size=40_000)])
        assert wal_bytes(tmp_path) > CEILING
        other.close()
        for _ in range(60):
            await store.commit([author.append(count=1, size=40_000)])
        assert wal_bytes(tmp_path) <= CEILING * 1.25
        assert await loaded_row(store, "c") == author.row
        await store.close()

    asyncio.run(main())


def test_next_start_begins_with_an_empty_log(tmp_path: Path) -> None:
    """What a killed process left in the log is in the database before anything is served."""

    async def main() -> None:
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
        assert await found.messages("c", 1, ALL, 100, ALL) == author.log
        await found.close()

    asyncio.run(main())
