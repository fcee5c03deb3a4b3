"""Contexts that are moved are the same: in files, in stores, and in all that a node answers."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from random import Random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastpaca.store.base import PageBounds, Store
from fastpaca.store.memory import MemoryStore
from fastpaca.store.postgres.store import PostgresStore
from fastpaca.store.sqlite.store import SqliteStore
from fastpaca.transfer.history import PAGE
from tests.golden import make, story
from tests.kit.postgres import Server
from tests.kit.stores import opened
from tests.transfer.world import differences, everything, exported, imported, live, save


@settings(max_examples=8)
@given(st.randoms(), st.integers(1, 9))
def test_what_is_moved_is_the_same(rng: Random, versions: int) -> None:
    """
    Whatever contexts have lived through, and in however many commits they are written, another
    store answers all that can be asked as the first did, and exports the same bytes.
    """

    async def main(directory: Path) -> None:
        lived = SqliteStore(directory / "lived")
        await live(lived, rng, forks=True)
        text = await exported(lived)
        moved = SqliteStore(directory / "moved")
        await _move(text, moved, directory, PageBounds(versions, PAGE.bytes))
        assert await exported(moved) == text
        assert await everything(moved) == await everything(lived)

    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(main(Path(directory)))


@settings(
    max_examples=4,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(st.randoms(), st.integers(1, 9))
def test_there_and_back_again(fast_server: Server, rng: Random, versions: int) -> None:
    """
    From SQLite to PostgreSQL and back, the files are the same, and so are the answers everywhere.
    """

    async def main(directory: Path, dsn: str) -> None:
        lived = SqliteStore(directory / "lived")
        await live(lived, rng, forks=True)
        there = PostgresStore(dsn, allow_unsafe=True)
        back = SqliteStore(directory / "back")
        text = await exported(lived)
        for store in (there, back):
            await _move(text, store, directory, PageBounds(versions, PAGE.bytes))
            assert await exported(store) == text
        assert await everything(lived) == await everything(there) == await everything(back)

    with tempfile.TemporaryDirectory() as directory, fast_server.database() as dsn:
        asyncio.run(main(Path(directory), dsn))


async def test_life_goes_on_where_it_was_moved_to(tmp_path: Path) -> None:
    """
    What follows in the other store is what would have followed in the first, answer for answer.
    """
    told = [ask for ask in story.sequel() if ask.key is None]  # answers under keys stay behind
    lived = SqliteStore(tmp_path / "lived")
    await make.live(lived, story.life())
    moved = SqliteStore(tmp_path / "moved")
    await _move(await exported(lived), moved, tmp_path, PageBounds(3, PAGE.bytes))
    gone = {"purged", "z" * 300, story.UNFINISHED}
    asks = [ask for ask in told if not any(story.target(name) in ask.target for name in gone)]
    assert len(asks) > 100
    assert await make.live(moved, asks) == await make.live(lived, asks)


async def _move(text: bytes, store: Store, directory: Path, bounds: PageBounds) -> None:
    """Import *text* into *store*, and prove that it is there."""
    path = directory / "contexts.jsonl"
    save(path, text)
    async with opened(store):
        await imported(store, path, bounds)
        assert await differences(store, path) == []
        again = await imported(store, path, bounds)
        assert again.written == 0


async def test_only_contexts_with_the_prefix_are_exported() -> None:
    """
    A prefix selects contexts, and the file says so.
    """
    store = MemoryStore()
    await live(store, Random(1), ("a", "ab", "b"))
    first, *lines = (await exported(store, "a")).splitlines()
    assert b'"prefix":"a"' in first
    ids = [line.split(b'"id":')[1][:5] for line in lines if b'"kind":"context"' in line]
    assert ids == [b'"a","', b'"ab",']
