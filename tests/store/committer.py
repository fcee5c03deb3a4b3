"""
A process that commits until it is killed, and says of each commit that it was acknowledged.

    python -m tests.store.committer DIRECTORY

Each round appends to several contexts at once; a line with the number of the round follows when the
store has answered.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from fastpaca.store.base import Change
from fastpaca.store.sqlite.store import SqliteStore
from tests.kit.author import Author

NAMES = tuple(f"c{n}" for n in range(5))


def turn(author: Author) -> Change:
    """Append a message that has its seq as its id, and revise it."""
    seq = author.row.last_seq + 1
    return author.append(count=2, size=1500, ids=[str(seq)], revises=[None, seq])


async def main(directory: Path) -> None:
    """Commit for ever, from where the process before left off."""
    store = SqliteStore(directory, wal_bytes_max=1024 * 1024)
    await store.open()
    authors = [Author(name) for name in NAMES]
    for author in authors:
        snapshot = await store.load(author.row.id)
        if snapshot is not None:
            author.row = snapshot.row
    if authors[0].row.revision == 0:
        await store.commit([author.create() for author in authors])
    while True:
        await store.commit([turn(author) for author in authors])
        print(authors[0].row.last_seq, flush=True)  # noqa: T201  # it is read by the test


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
