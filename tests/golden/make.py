"""
Write the golden database of this release: `python -m tests.golden.make`.

Clock, ids of commits and counter of tokens are fixed, so that the same code writes the same bytes.
A release adds its folder once. What is there is never written again.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from fastpaca import __version__
from fastpaca.api.views import VIEW_RULES
from fastpaca.store.base import Store
from fastpaca.store.memory import MemoryStore
from fastpaca.store.sqlite.files import DATABASE_NAME
from fastpaca.store.sqlite.store import SqliteStore
from fastpaca.testing import ManualClock, composed
from tests.golden import story
from tests.golden.exchange import Ask, Exchange, played, write

HERE = Path(__file__).parent


class _CutShort(SqliteStore):
    """A store whose process ends between the commit of its last purge and the erasure."""

    is_ending = False

    async def _erase(self) -> None:
        if not self.is_ending:
            await super()._erase()


async def live(store: Store, asks: Iterable[Ask]) -> list[Exchange]:
    """Play *asks* to a node of its own over *store*."""
    clock = ManualClock()
    node = composed(store, clock=clock)
    await node.engine.start()
    try:
        return [await played(node, clock, ask) for ask in asks]
    finally:
        await node.engine.stop()


async def lived(directory: Path) -> list[Exchange]:
    """Live the life of the story in *directory*, up to a purge that is cut short."""
    asks = story.life()
    store = _CutShort(directory)
    clock = ManualClock()
    node = composed(store, clock=clock)
    await node.engine.start()
    try:
        before = [await played(node, clock, ask) for ask in asks[:-1]]
        store.is_ending = True
        return [*before, await played(node, clock, asks[-1])]
    finally:
        await node.engine.stop()


def make(folder: Path) -> None:
    """
    Write a golden database and what it answers into the new *folder*.

    The answers come from a node that never was restarted and has no file: whatever is read from the
    file later must be what memory knew.
    """
    folder.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as name:
        life = asyncio.run(lived(Path(name)))
        shutil.copyfile(Path(name) / DATABASE_NAME, folder / DATABASE_NAME)
    asks = [story.life(), story.reads(), story.sequel()]
    told = asyncio.run(live(MemoryStore(), [ask for part in asks for ask in part]))
    sizes = [len(part) for part in asks]
    assert told[: sizes[0]] == life, "a node with a file answers otherwise than one without"
    write(folder / "life.jsonl.gz", life)
    write(folder / "reads.jsonl.gz", told[sizes[0] : sizes[0] + sizes[1]])
    write(folder / "sequel.jsonl.gz", told[sizes[0] + sizes[1] :])
    about = {"release": __version__, "view_rules": VIEW_RULES}
    (folder / "about.json").write_text(json.dumps(about) + "\n", encoding="utf-8")


def empty_tables(database: Path) -> list[str]:
    """List the tables of *database* that hold nothing; the file is not touched."""
    connection = sqlite3.connect(f"{database.as_uri()}?immutable=1", uri=True)
    try:
        names = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()
        return [
            name
            for (name,) in names
            if connection.execute(f"SELECT count(*) FROM {name}").fetchone() == (0,)
        ]
    finally:
        connection.close()


def main(here: Path = HERE) -> int:
    """Make the folder of this release, unless it is there."""
    folder = here / __version__
    if folder.exists():
        print(
            f"{folder} is there already, and what a release has written never changes."
            f" Remove it only if {__version__} is not released yet.",
            file=sys.stderr,
        )
        return 1
    make(folder)
    print(f"Wrote {folder}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
