"""What a purge erases is in no byte of any file, however the pages were shuffled before."""

from __future__ import annotations

import asyncio
import random
import re
from pathlib import Path

from msgspec.structs import replace

from fastpaca.context.persisted import Run
from fastpaca.store.base import Change, IdRow, PageBounds, message_id_hash
from fastpaca.store.sqlite.reads import keys, numbers
from fastpaca.store.sqlite.rows import SqliteBatch
from fastpaca.store.sqlite.store import SqliteStore
from fastpaca.store.sqlite.writes import commit
from tests.kit.author import Author, answer, create
from tests.kit.files import copy_as_after_kill, files_with
from tests.store.contract import MIB

SEEDS = 2

MARK = re.compile(rb"<(\d{6})>")


def mark(number: int) -> str:
    """Make a text that only the context of that number holds."""
    return f"<{number:06d}>"


class Churn:
    """Contexts that come, talk, and are purged; each writes its own mark into everything."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.alive: dict[int, Author] = {}
        self.count = 0

    def births(self) -> list[Change]:
        changes = []
        for _ in range(30):
            self.count += 1
            noise = f"{self.rng.getrandbits(32):08x}"
            name = noise + mark(self.count) * self.rng.choice([1, 1, 2, 20, 60])
            author = self.alive[self.count] = Author(name)
            changes.append(author.create(metadata=self._text(40), policy=self._text(3)))
        return changes

    def _text(self, longest: int) -> bytes:
        return (mark(self.count) * self.rng.randint(1, longest)).encode()

    def talk(self) -> list[Change]:
        chosen = self.rng.sample(sorted(self.alive), min(20, len(self.alive)))
        return [self._change(number, self.alive[number]) for number in chosen]

    def _change(self, number: int, author: Author) -> Change:
        rng, text = self.rng, mark(number).encode()
        kind = rng.random()
        kept = [answer(f"{mark(number)}{rng.random()}")]
        if kind < 0.15:
            return author.describe(text * rng.randint(1, 600))
        if kind < 0.2:
            return author.configure(policy=text * rng.randint(1, 9))
        if kind < 0.3:
            runs = [Run(1, 1, replacement=author.row.version + 1)]
            return author.compact(runs, [text * rng.choice([3, 900])], kept)
        sizes = [rng.choice([1, 5, 40, 90, 600, 5000]) for _ in range(rng.randint(1, 6))]
        usage = b'{"input_tokens":1,"output_tokens":1,"model":"%s"}' % text
        last = author.row.last_seq
        revises = [rng.randint(1, last) if last and rng.random() < 0.2 else None for _ in sizes]
        change = author.append(
            *(text * size for size in sizes), records=kept, usage=usage, revises=revises
        )
        # The hash of an id has the mark too, so that each byte of it is looked for.
        ids = [IdRow(text + rng.randbytes(8), row.seq) for row in change.messages]
        return replace(change, ids=ids)

    def deaths(self) -> list[Change]:
        chosen = self.rng.sample(sorted(self.alive), len(self.alive) // 3)
        return [self.alive.pop(number).purge() for number in chosen]


async def test_no_byte_is_left(tmp_path: Path, seed: int) -> None:
    """After each purge the marks of the living are all that is in the files, open or closed."""

    def check(churn: Churn) -> None:
        for path in tmp_path.iterdir():
            found = {int(number) for number in MARK.findall(path.read_bytes())}
            assert found <= churn.alive.keys(), path

    store = SqliteStore(tmp_path)
    await store.open()
    churn = Churn(seed)
    for _ in range(8):
        await store.commit(churn.births())
        for _ in range(4):
            await store.commit(churn.talk())
        await store.commit(churn.deaths())
        check(churn)
    await store.close()
    check(churn)


async def test_earlier_metadata_and_configurations_go_too(tmp_path: Path) -> None:
    """What was overwritten long before the purge is gone even without one."""
    store = SqliteStore(tmp_path)
    await store.open()
    (author,) = await create(store, "c")
    await store.commit([author.describe(b'{"x":"SECRET-1"}')])
    await store.commit([author.configure(policy=b"SECRET-2")])
    await store.commit(
        [
            author.describe(b"{}"),
        ]
    )
    await store.commit([author.configure(policy=b"{}")])
    await store.close()
    assert files_with(tmp_path, b"SECRET") == []


async def test_what_stays_is_a_hash(tmp_path: Path) -> None:
    """Neither the id nor a key that came with it is in the files after a purge, nor ids inside."""
    store = SqliteStore(tmp_path)
    await store.open()
    (author,) = await create(store, "SECRET@example.org")
    hashed = message_id_hash("SECRET-id")
    await store.commit([author.append(count=1, records=[answer("SECRET-key")], ids=["SECRET-id"])])
    assert files_with(tmp_path, hashed) != []
    await store.commit([author.purge()])
    assert files_with(tmp_path, b"SECRET") == []
    assert files_with(tmp_path, hashed) == []
    await store.close()


async def test_erasure_that_was_interrupted_goes_on_at_the_next_start(tmp_path: Path) -> None:
    """A process that is killed between a purge and its erasure leaves the rest to the next one."""
    store = SqliteStore(tmp_path / "data")
    await store.open()
    stays, goes = await create(store, "stays", "goes")
    await store.commit([stays.append(count=5), goes.append(b"SECRET " * MIB)])
    assert store._open is not None
    writer = store._open.connections[0]
    batch = SqliteBatch(keys(writer, ["goes"]), numbers(writer))
    batch.add(goes.purge())
    commit(writer, batch.statements)  # and no erasure
    copy_as_after_kill(tmp_path / "data", tmp_path / "left")
    await store.close()
    assert files_with(tmp_path / "left", b"SECRET") != []
    found = SqliteStore(tmp_path / "left")
    await found.open()
    assert await found.contexts("", "", 9) == [stays.row]
    assert found._erasing is not None
    await found._erasing
    assert files_with(tmp_path / "left", b"SECRET") == []
    await found.close()


async def test_commits_are_not_held_up_by_a_big_purge(tmp_path: Path) -> None:
    """While a big context is erased, piece by piece, others are written."""
    store = SqliteStore(tmp_path)
    await store.open()
    big, other = await create(store, "big", "other")
    for _ in range(4):
        await store.commit([big.append(count=12, size=MIB)])
    purge = asyncio.create_task(store.commit([big.purge()]))
    while not purge.done():
        await store.commit([other.append(count=1)])
    await purge
    assert other.row.last_seq >= 4
    assert await store.messages("other", 1, 10**6, PageBounds(10**6, 10**9)) == other.log
    await store.close()
