"""
An import that ends at one of its commits, right before or right after it, as if it were killed.

    python -m tests.transfer.killed FILE DIRECTORY COMMIT before|after
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from fastpaca.store.base import Change, PageBounds
from fastpaca.store.sqlite.store import SqliteStore
from fastpaca.transfer.history import PAGE
from tests.kit.stores import opened
from tests.transfer.world import imported

BOUNDS = PageBounds(3, PAGE.bytes)


class Mortal(SqliteStore):
    """A store that kills its process at the commit with the number *commits*."""

    def __init__(self, directory: Path, commits: int, when: str) -> None:
        super().__init__(directory)
        self._commits = commits
        self._when = when

    async def commit(self, changes: Sequence[Change]) -> None:
        self._commits -= 1
        if self._commits == 0 and self._when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        await super().commit(changes)
        if self._commits == 0:
            os.kill(os.getpid(), signal.SIGKILL)


async def main(file: Path, directory: Path, commits: int, when: str) -> None:
    """Import *file* for as long as it lasts."""
    async with opened(Mortal(directory, commits, when)) as store:
        await imported(store, file, BOUNDS)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4]))
