"""The path of a log whose rows were trimmed: what the store alone knows of it, and what not."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from fastpaca.archive.reads import AWAY
from fastpaca.archive.store import ArchivedStore
from fastpaca.context.persisted import Persisted, Run
from fastpaca.store.base import Change, CommitFailed, PageBounds, ReadFailed, message_id_hash
from tests.archive.world import archived, archived_rows, fragile, local_seqs
from tests.kit.author import ALL, Author, answer, create
from tests.kit.files import files_with
from tests.kit.postgres import run_sql
from tests.kit.stores import opened
from tests.store.contract import standing

PATH = [(1, 9)]
BOUNDS = PageBounds(99, ALL)


async def edited(store: ArchivedStore) -> Author:
    """Commit a log in which 6 and 8 revise 2, and 7 revises 4; 9 is the last message."""
    (author,) = await create(store, "c")
    await store.commit([author.append(count=5, ids=["a", "b", "", "a"])])
    await store.commit([author.revise(2, 4, 2)])
    await store.commit([author.append(count=1, ids=["b"])])
    return author


def window_of(change: Change, *runs: Run, strategy: str = "manual") -> Change:
    """Let the compaction of *change* lead to a window of *runs*, with the revised rows of today."""
    window = Persisted(9, runs, revised=((2, 8), (4, 7))).encode()
    return replace(
        change, compactions=[change.compactions[0]._replace(window=window, strategy=strategy)]
    )


async def test_a_page_of_the_path_never_comes_out_short(tmp_path: Path, fast_dsn: str) -> None:
    """Without the archive a page that needs it is refused; what numbers tell is answered."""
    archive = fragile(fast_dsn)
    async with opened(archived(tmp_path, archive, tail_keep=3)) as store:
        author = await edited(store)
        await store.commit([author.compact([])])
        await store.writer.catch_up()
        assert local_seqs(tmp_path) == [(1, 7), (1, 8), (1, 9)]
        whole = standing(author, PATH)
        assert [row.seq for row in whole] == [1, 8, 3, 7, 5, 9]
        assert await store.path("c", PATH, 1, 9, BOUNDS) == whole
        archive.is_down = True
        for newest_first in (False, True):
            with pytest.raises(ReadFailed) as caught:
                await store.path("c", PATH, 1, 9, BOUNDS, newest_first=newest_first)
            assert caught.value.told == AWAY
        assert await store.path("c", PATH, 2, 2, BOUNDS) == [author.log[7]]
        assert await store.path("c", PATH, 6, 9, BOUNDS) == [author.log[8]]
        one = PageBounds(1, ALL)
        assert await store.path("c", PATH, 1, 9, one, newest_first=True) == [author.log[8]]
        assert await store.path("c", PATH, 1, 9, one, skip=1) == [author.log[7]]
        assert await store.revisions_of("c", PATH) == [(2, 6), (2, 8), (4, 7)]
        assert await store.places_of_id("c", message_id_hash("a"), PATH, 9) == [4, 1]
        archive.is_down = False
        assert await store.path("c", PATH, 1, 9, BOUNDS, newest_first=True) == whole[::-1]


async def test_a_page_says_what_is_lost(tmp_path: Path, fast_dsn: str) -> None:
    """A row that is in neither place is named, and no page is made without it."""
    async with opened(archived(tmp_path, fast_dsn)) as store:
        author = await edited(store)
        await store.commit([author.compact([])])
        await store.writer.catch_up()
        await run_sql(fast_dsn, "DELETE FROM messages WHERE seq IN (3, 7)")
        with pytest.raises(ReadFailed, match=r"seq 3, 7$"):
            await store.path("c", PATH, 1, 9, BOUNDS)
        assert await store.path("c", PATH, 1, 2, BOUNDS) == [author.log[0], author.log[7]]


async def test_what_a_window_needs_of_the_path_is_not_trimmed(
    tmp_path: Path, fast_dsn: str
) -> None:
    """The row that stands in a place stays, and the row that it has revised goes."""
    async with opened(archived(tmp_path, fast_dsn)) as store:
        author = await edited(store)
        await store.commit([window_of(author.compact([]), Run(1, 2), Run(4, 4))])
        await store.writer.catch_up()
        assert local_seqs(tmp_path) == [(1, 1), (1, 7), (1, 8)]


@pytest.mark.parametrize("strategy", ["manual", "rewind", "fork"])
async def test_trimmed_rows_of_a_path_come_back(
    tmp_path: Path, fast_dsn: str, strategy: str
) -> None:
    """Rows that a window needs again are held again, once, with what they revise."""
    archive = fragile(fast_dsn)
    async with opened(archived(tmp_path, archive)) as store:
        author = await edited(store)
        await store.commit([author.compact([])])
        await store.writer.catch_up()
        assert local_seqs(tmp_path) == []
        change = author.compact([], records=[answer("SECRET-key")])
        change = window_of(change, Run(2, 4), strategy=strategy)
        archive.is_down = True
        with pytest.raises(CommitFailed, match="archive"):
            await store.commit([change])
        archive.is_down = False
        await store.commit([change])
        assert local_seqs(tmp_path) == [(1, 3), (1, 7), (1, 8)]
        assert store.metrics.tail_size._value.get() == 3
        await store.writer.catch_up()
        assert local_seqs(tmp_path) == [(1, 3), (1, 7), (1, 8)]
        assert len(await archived_rows(fast_dsn)) == 9
        archive.is_down = True
        snapshot = await store.load("c")
        assert snapshot is not None
        assert snapshot.messages == [author.log[seq - 1] for seq in (3, 7, 8)]
        assert await store.revisions_of("c", PATH) == [(2, 6), (2, 8), (4, 7)]
        assert await store.places_of_id("c", message_id_hash("a"), PATH, 9) == [4, 1]
        assert await store.path("c", PATH, 2, 4, BOUNDS) == [
            author.log[seq - 1] for seq in (8, 3, 7)
        ]
        archive.is_down = False
        assert await store.path("c", PATH, 1, 9, BOUNDS) == standing(author, PATH)
        await store.commit([author.purge()])
    assert files_with(tmp_path, b"SECRET") == []
    assert files_with(tmp_path, message_id_hash("a")) == []


async def test_trims_of_policies_need_no_archive(tmp_path: Path, fast_dsn: str) -> None:
    """A policy only drops messages, so its trims are committed while the archive is down."""
    archive = fragile(fast_dsn)
    async with opened(archived(tmp_path, archive)) as store:
        author = await edited(store)
        await store.commit([author.compact([])])
        await store.writer.catch_up()
        archive.is_down = True
        await store.commit([window_of(author.compact([]), strategy="last_n")])


async def test_the_path_is_there_after_a_restart(tmp_path: Path, fast_dsn: str) -> None:
    """Another process reads the same path, and an older one of the same log."""
    async with opened(archived(tmp_path, fast_dsn)) as store:
        author = await edited(store)
        await store.commit([author.compact([])])
        await store.writer.catch_up()
    async with opened(archived(tmp_path, fast_dsn)) as store:
        assert await store.path("c", PATH, 1, 9, BOUNDS) == standing(author, PATH)
        older = [(1, 6), (9, 9)]
        assert await store.path("c", older, 1, 9, BOUNDS) == standing(author, older)
        assert await store.places_of_id("c", message_id_hash("b"), older, 9) == [9, 2]
