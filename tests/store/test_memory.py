"""The store in memory is a store, but for what lasts."""

import asyncio
from pathlib import Path

import pytest

from fastpaca.store.base import CommitFailed
from fastpaca.store.memory import MemoryStore
from tests.store.contract import MakeStore, StoreContract


class TestMemoryStore(StoreContract):
    """The contract."""

    @pytest.fixture
    def make_store(self) -> MakeStore:
        """Make a store in memory."""
        return MemoryStore


def test_backup_is_refused_in_a_sentence(tmp_path: Path) -> None:
    """There is nothing to copy, and that is what the operator reads."""
    with pytest.raises(CommitFailed, match=r"^the memory store keeps nothing"):
        asyncio.run(MemoryStore().backup(tmp_path / "copy.db"))
    assert list(tmp_path.iterdir()) == []
