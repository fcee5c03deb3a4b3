"""A store whose logs are trimmed to nothing is a store, and no page of it ends early."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from fastpaca.store.base import PageBounds, ReadFailed, Store
from tests.archive.world import Eager, archived
from tests.kit.author import ALL, create
from tests.store.contract import MakeStore, StoreContract, happened, on_store, together, walked


class TestEagerStore(StoreContract):
    """The contract, with all that can be trimmed trimmed behind each commit."""

    @pytest.fixture
    def make_store(self, tmp_path: Path, fast_dsn: str) -> MakeStore:
        """Make a store with an archive in a database of its own."""
        return lambda: archived(tmp_path, fast_dsn, kind=Eager)

    @on_store
    async def test_changes_that_are_too_big_come_one_by_one(self, store: Store) -> None:
        """A page with a change that is too big goes no further, wherever its message is."""
        (author,) = await create(store, "c")
        await store.commit([author.append(b"a" * 10, b"b" * 10, b"c" * 10)])
        for _ in range(2):  # the first time all are here, then they are in the archive
            for after in range(3):
                page = await store.changes("c", after, 3, PageBounds(9, 5))
                assert page == happened(author, after, after + 1)
            await store.commit([author.compact([])])

    @on_store
    async def test_changes_go_on_behind_what_is_lost(self, store: Store) -> None:
        """Followers go on behind what is lost in both places; who reads pages is told."""
        (author,) = await create(store, "c")
        lost = {1, 4, 5, 6, 9, 14, 15}
        for _ in range(5):
            change = author.append(count=3, trims={3: []})
            left = [row for row in change.messages if row.version not in lost]
            await store.commit([replace(change, messages=left)])
        author.log = [row for row in author.log if row.version not in lost]
        for after in range(15):
            for to in range(after + 1, 16):
                page = await store.changes("c", after, to, PageBounds(99, ALL))
                assert page == happened(author, after, to), (after, to)
        for limit in (1, 2, 3):
            assert together(await walked(store, limit)) == happened(author, 0, 15)
        assert await store.messages("c", 2, 3, PageBounds(99, ALL)) == author.log[:2]
        with pytest.raises(ReadFailed, match=r"seq 1, 4 to 6, 9, 14 to 15$"):
            await store.messages("c", 1, 99, PageBounds(99, ALL))
        with pytest.raises(ReadFailed, match=r"seq 4 to 6$"):
            await store.messages_before("c", 8, PageBounds(4, ALL))

    def test_the_past_of_what_is_lost(self, make_store: MakeStore) -> None:
        """A window that cannot be made again as it was is not made at all."""
        with pytest.raises(ReadFailed, match=r"seq 2, 4$"):
            super().test_the_past_of_what_is_lost(make_store)
