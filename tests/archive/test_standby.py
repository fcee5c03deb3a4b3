"""An archive with a standby: nothing is archived or erased before that has it too."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator

import pytest

from fastpaca.archive.base import ArchiveFailed, LogRow
from fastpaca.archive.postgres import PostgresArchive
from fastpaca.store.base import MessageRow
from tests.kit.postgres import Pair, run_sql, running_pair, until_found

WAITING = "FROM pg_stat_activity WHERE wait_event = 'SyncRep'"

ROWS = [LogRow("c", MessageRow(seq, seq, b"{}", b"", seq)) for seq in range(1, 4)]


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    """A server and a standby for which each commit waits."""
    with running_pair() as pair:
        yield pair


async def insert(archive: PostgresArchive) -> None:
    await archive.insert(ROWS)


async def erase(archive: PostgresArchive) -> None:
    await archive.erase(["c"])


@pytest.mark.parametrize("write", [insert, erase])
async def test_wait_for_the_standby_that_was_cut_short(
    pair: Pair, write: Callable[[PostgresArchive], Awaitable[None]]
) -> None:
    """It is a failure; and when it is tried again, and all is done there, it waits again."""
    archive = PostgresArchive(pair.dsn(), connections=2)
    await archive.open()
    try:
        if write is erase:
            await insert(archive)
        async with pair.paused():
            first = asyncio.ensure_future(write(archive))
            await until_found(pair.primary.dsn(), f"SELECT 1 {WAITING}")
            await run_sql(pair.primary.dsn(), f"SELECT pg_cancel_backend(pid) {WAITING}")
            with pytest.raises(ArchiveFailed, match="warning"):
                await first
            again = asyncio.ensure_future(write(archive))
            await until_found(pair.primary.dsn(), f"SELECT 1 {WAITING}")
            assert not again.done()
        await again
        rows = await run_sql(pair.primary.dsn(), "SELECT 1 FROM messages")
        assert len(rows) == (0 if write is erase else 3)
    finally:
        await archive.close()
