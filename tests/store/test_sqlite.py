"""The SQLite store is a store, and behaves as the one in memory does, whatever is asked of it."""

from __future__ import annotations

import asyncio
import itertools
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from fastpaca.context.persisted import Run
from fastpaca.store.base import (
    Change,
    ChangesPage,
    CommitFailed,
    IdempotencyRecord,
    MessageRow,
    PageBounds,
    ReadFailed,
    Store,
    message_id_hash,
)
from fastpaca.store.memory import MemoryStore
from fastpaca.store.sqlite import paths, reads
from fastpaca.store.sqlite.files import DATABASE_NAME
from fastpaca.store.sqlite.store import KEYS_KEPT_MAX, SqliteStore
from tests.kit.author import ALL, Author, answer, body, create
from tests.store.contract import MakeStore, StoreContract

NAMES = ("a", "a%", "a_", "aé", "b" * 128, "b" * 129, "😀" * 40, "\uffff")
KEYS = tuple(f"key-{n}" for n in range(6))


class TestSqliteStore(StoreContract):
    """The contract."""

    @pytest.fixture
    def make_store(self, tmp_path: Path) -> MakeStore:
        """Make a store in a directory of its own."""
        return lambda: SqliteStore(tmp_path / "data")


class Pair:
    """Two stores that are asked the same, and must answer the same."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.sqlite: Store = SqliteStore(directory)
        self.memory: Store = MemoryStore()

    async def reopen(self) -> None:
        await self.sqlite.close()
        self.sqlite = SqliteStore(self.directory)
        await self.sqlite.open()

    async def commit(self, changes: list[Change]) -> bool:
        taken = [await is_taken(store, changes) for store in (self.sqlite, self.memory)]
        assert taken[0] == taken[1]
        return taken[0]

    async def check(self) -> None:
        assert await content(self.sqlite) == await content(self.memory)


async def is_taken(store: Store, changes: list[Change]) -> bool:
    try:
        await store.commit(changes)
    except CommitFailed:
        return False
    return True


async def content(store: Store) -> object:
    """Read all that there is, and some pages of it."""
    return (
        await store.contexts("", "", 100),
        await store.contexts("a", "a", 3),
        [await store.load(name) for name in NAMES],
        [await store.messages(name, 1, ALL, PageBounds(1000, ALL)) for name in NAMES],
        [await store.messages(name, 2, 7, PageBounds(4, 150)) for name in NAMES],
        [await store.messages_before(name, 8, PageBounds(4, 150)) for name in NAMES],
        [await store.changes(name, 2, 9, PageBounds(4, 900)) for name in NAMES],
        [await store.compactions(name, 1, 9, PageBounds(2, 150)) for name in NAMES],
        [await store.load_at(name, version) for name in NAMES for version in (0, 3, 7)],
        await store.idempotency_records(KEYS),
    )


class World:
    """Draws what happens next to each context, sensible or not."""

    def __init__(self, data: st.DataObject) -> None:
        self.data = data
        self.authors = {name: Author(name) for name in NAMES}

    def changes(self) -> list[Change]:
        names = self.data.draw(st.lists(st.sampled_from(NAMES), unique=True, max_size=4))
        return [self._change(self.authors[name]) for name in names]

    def _change(self, author: Author) -> Change:
        draw = self.data.draw
        kinds = ["append"] * 4 + ["compact", "configure", "describe", "tombstone", "purge", "stale"]
        kind = draw(st.sampled_from(kinds))
        if author.row.revision == 0 and kind != "stale":
            change = author.create(metadata=b'{"n":%d}' % draw(st.integers(0, 9)))
            return change if kind != "purge" else author_purged(author)
        if kind == "append":
            count = draw(st.integers(1, 5))
            sizes = [draw(st.sampled_from([0, 30, 700, 9000])) for _ in range(count)]
            bodies = [body(n, size) for n, size in enumerate(sizes)]
            return author.append(*bodies, records=self._answers(count))
        if kind == "compact":
            return self._compact(author)
        if kind == "configure":
            return author.configure(token_budget=draw(st.integers(1, 2**53 - 1)))
        if kind == "describe":
            return author.describe(b'{"x":"%s"}' % (b"y" * draw(st.sampled_from([1, 60, 5000]))))
        if kind == "tombstone":
            return author.tombstone()
        if kind == "purge":
            return author.purge()
        return replace(author.append(count=1), expected_revision=draw(st.integers(0, 9)))

    def _compact(self, author: Author) -> Change:
        draw = self.data.draw
        seqs = draw(st.lists(st.integers(1, max(author.row.last_seq, 1)), unique=True, max_size=4))
        runs = [Run(seq, seq) for seq in sorted(seqs) if seq <= author.row.last_seq]
        synthetics = [b"summary-%d" % n for n in range(draw(st.integers(0, 3)))]
        if synthetics:
            last = len(synthetics) - 1
            runs.insert(0, Run(1, 1, replacement=author.row.version + 1, last=last))
        return author.compact(runs, synthetics, self._answers(1))

    def _answers(self, most: int) -> list[IdempotencyRecord]:
        draw = self.data.draw
        keys = draw(st.lists(st.sampled_from(KEYS), unique=True, max_size=min(most, 2)))
        return [IdempotencyRecord(key, b"f", b"{}", draw(st.integers(0, 9))) for key in keys]


def author_purged(author: Author) -> Change:
    """Purge a context that never was."""
    fresh = Author(author.row.id)
    author.row = fresh.row
    return author.purge()


@settings(max_examples=15)
@given(st.data())
def test_both_stores_answer_the_same(data: st.DataObject) -> None:
    """Any sequence of commits, refusals, purges and restarts leaves both stores equal."""
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(_compare(data, Path(directory)))


async def _compare(data: st.DataObject, directory: Path) -> None:
    pair, world = Pair(directory), World(data)
    await pair.sqlite.open()
    try:
        for _ in range(data.draw(st.integers(1, 25))):
            step = data.draw(st.sampled_from(["commit"] * 12 + ["forget", "reopen"]))
            if step == "commit":
                before = {name: author.row for name, author in world.authors.items()}
                if not await pair.commit(world.changes()):
                    for name, author in world.authors.items():
                        author.row = before[name]
            elif step == "forget":
                before_us = data.draw(st.integers(0, 9))
                await pair.sqlite.forget_idempotency_records(before_us)
                await pair.memory.forget_idempotency_records(before_us)
            else:
                await pair.reopen()
            await pair.check()
    finally:
        await pair.sqlite.close()


async def test_everything_is_there_after_a_restart(tmp_path: Path) -> None:
    """What was committed is read by the next process as it was by this one."""
    pair = Pair(tmp_path)
    await pair.sqlite.open()
    for name in NAMES:
        author = Author(name)
        await pair.commit([author.create()])
        await pair.commit([author.append(count=7, size=900)])
    await pair.reopen()
    await pair.check()
    await pair.sqlite.close()


async def test_restored_rows_are_only_messages(tmp_path: Path) -> None:
    """A row that was trimmed comes back as it was, and adds nothing to revisions and ids."""
    store = SqliteStore(tmp_path)
    await store.open()
    (author,) = await create(store, "c")
    await store.commit([author.append(count=3, ids=["a"], revises=[None, None, 1])])
    connection = apsw.Connection(str(tmp_path / DATABASE_NAME))
    connection.execute("UPDATE messages SET context = NULL, seq = NULL WHERE seq IN (1, 3)")
    connection.close()
    path, bounds = [(1, 4)], PageBounds(ALL, ALL)
    assert await store.path("c", path, 1, 4, bounds) == [author.log[1]]
    change = author.append(count=1, records=[answer("k")])
    restored = [author.log[0], author.log[2]]
    await store.commit([replace(change, restored=restored)])
    assert await store.messages("c", 1, 4, bounds) == author.log
    assert await store.path("c", path, 1, 4, bounds) == [author.log[seq - 1] for seq in (3, 2, 4)]
    assert await store.revisions_of("c", path) == [(1, 3)]
    assert await store.places_of_id("c", message_id_hash("a"), path, 9) == [1]
    await store.commit([author.purge()])
    assert await store.idempotency_records(["k"]) == {}
    await store.close()


async def test_a_page_of_the_path_costs_the_same_behind_any_history(tmp_path: Path) -> None:
    """A page runs as many steps of SQLite in a log of thousands of revisions as in a short one."""
    store = SqliteStore(tmp_path)
    await store.open()
    short, long = await create(store, "short", "long")
    for author, count in ((short, 3), (long, 4000)):
        await store.commit([author.append(count=50)])
        await store.commit([author.revise(*[20] * count)])
        await store.commit([author.revise(*range(1, 40))])

    async def steps(author: Author) -> int:
        count = 0

        def job(connection: apsw.Connection) -> list[MessageRow]:
            def one_more() -> bool:
                nonlocal count
                count += 1
                return False

            connection.set_progress_handler(one_more, 1)
            try:
                ranges = [(1, author.row.last_seq)]
                return paths.path(connection, author.row.id, ranges, 11, ALL, PageBounds(20, ALL))
            finally:
                connection.set_progress_handler(None)

        rows = await store.in_reader(job)
        assert [row.place for row in rows] == list(range(11, 31))
        assert {row.revises is None for row in rows} == {False}
        return count

    assert await steps(long) <= 1.05 * await steps(short)
    await store.close()


async def test_contexts_that_are_not_remembered_are_found(tmp_path: Path) -> None:
    """The store remembers the keys of so many contexts, and writes the others all the same."""
    store = SqliteStore(tmp_path)
    await store.open()
    authors = await create(store, *(f"c{n}" for n in range(10)))
    for _ in range(3):
        store._remember({f"other-{n}": n for n in range(KEYS_KEPT_MAX - 5)})
        assert len(store._keys) == KEYS_KEPT_MAX
        await store.commit([author.append(count=1) for author in authors])
    assert await store.contexts("", "", 20) == [author.row for author in authors]
    await store.close()


async def test_reads_by_version_cost_the_same_at_any_length(tmp_path: Path) -> None:
    """SQLite executes as many steps in a context of thousands of messages as in one of hundreds."""
    trims = {number: [Run(1, 1)] for number in range(50, 501, 50)}
    store = SqliteStore(tmp_path)
    await store.open()
    for name, commits in {"short": 1, "long": 12}.items():
        (author,) = await create(store, name)
        for _ in range(commits):
            await store.commit([author.append(count=500, trims=trims)])
    await store.close()
    connection = apsw.Connection(str(tmp_path / DATABASE_NAME), flags=apsw.SQLITE_OPEN_READONLY)
    bounds = PageBounds(20, ALL)
    reading: tuple[Callable[[str, int], object], ...] = (
        partial(changes_before, connection, bounds, True),
        partial(changes_before, connection, bounds, False),
        lambda name, version: reads.compactions(connection, name, version - 250, version, bounds),
        lambda name, version: reads.load_at(connection, name, version - 25),
    )
    for read in reading:
        short, long = partial(read, "short", 300), partial(read, "long", 3300)
        assert short()  # reads the schema, too
        assert steps(connection, short) == steps(connection, long)
    connection.close()


def changes_before(
    connection: apsw.Connection, bounds: PageBounds, with_bodies: bool, name: str, version: int
) -> ChangesPage:
    return reads.changes(connection, name, version - 35, version, bounds, with_bodies=with_bodies)


def steps(connection: apsw.Connection, read: Callable[[], object]) -> int:
    """Count the steps that SQLite takes for *read*, which finds something."""
    count = itertools.count(1)
    connection.set_progress_handler(lambda: next(count) < 0, 1)
    assert read()
    connection.set_progress_handler(None)
    return next(count)


async def test_closed_store_refuses_in_its_own_words(tmp_path: Path) -> None:
    """Before it is open and after it is closed, a store says so."""
    store = SqliteStore(tmp_path)
    for _ in range(2):
        with pytest.raises(ReadFailed, match="closed"):
            await store.load("c")
        with pytest.raises(CommitFailed, match="closed"):
            await store.commit([Author("c").create()])
        with pytest.raises(CommitFailed, match="closed"):
            await store.backup(tmp_path / "copy.db")
        await store.open()
        await store.close()


async def test_abandoned_commit_is_whole(tmp_path: Path) -> None:
    """A caller that is cancelled leaves a commit that is done or not, and a store that goes on."""
    store = SqliteStore(tmp_path)
    await store.open()
    (author,) = await create(store, "c")
    for _ in range(20):
        task = asyncio.create_task(store.commit([author.append(count=3)]))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        snapshot = await store.load("c")
        assert snapshot is not None
        while snapshot.row != author.row:  # the writer is at it still
            snapshot = await store.load("c")
            assert snapshot is not None
        assert len(snapshot.messages) == author.row.last_seq
    await store.close()
