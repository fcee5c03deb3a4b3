"""Many nodes on one PostgreSQL database: who was first, who waits, who tries again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from random import Random

import asyncpg
import pytest

from fastpaca.context.persisted import Run
from fastpaca.store.base import (
    Change,
    CommitFailed,
    CommitStale,
    CommitUnknown,
    ContextRow,
    PageBounds,
    ReadFailed,
)
from fastpaca.store.postgres.commits import ATTEMPTS
from fastpaca.store.postgres.rows import hashed
from fastpaca.store.postgres.store import PostgresStore
from tests.kit.author import ALL, Author, answer, create
from tests.kit.postgres import run_script, run_sql, until, until_waiting
from tests.store.contract import loaded_row

TABLES = ("contexts", "messages", "synthetics", "compactions", "answers")

# The first attempts to insert messages fail, as if another transaction had been preferred.
UNLUCKY = """
CREATE SEQUENCE tries;
CREATE FUNCTION lose() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF nextval('tries') <= {times} THEN RAISE serialization_failure; END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER unlucky AFTER INSERT ON fastpaca.messages {when}
FOR EACH ROW EXECUTE FUNCTION lose()
"""


@asynccontextmanager
async def nodes(
    dsn: str, count: int = 2, statement_seconds: float = 10
) -> AsyncIterator[Sequence[PostgresStore]]:
    """Open *count* stores on one database."""
    stores = [
        PostgresStore(dsn, allow_unsafe=True, connections=3, statement_seconds=statement_seconds)
        for _ in range(count)
    ]
    for store in stores:
        await store.open()
    try:
        yield stores
    finally:
        for store in stores:
            await store.close()


async def test_overtaken_contexts_are_named(fast_dsn: str) -> None:
    """Whoever comes second learns which contexts changed, and nothing of its commit is there."""
    async with nodes(fast_dsn) as (one, two):
        first, second, third = await create(one, "first", "second", "third")
        before = second.row
        await one.commit([second.append(count=1)])
        after, second.row = second.row, before
        with pytest.raises(CommitStale) as raised:
            await two.commit([first.append(count=1), second.append(count=2), third.append(count=1)])
        assert raised.value.context_ids == {"second"}
        assert await loaded_row(two, "second") == after
        assert await two.messages("first", 1, ALL, PageBounds(9, ALL)) == []
        await one.commit([Author("new").create()])
        with pytest.raises(CommitStale) as raised:
            await two.commit([Author("new").create(), Author("newer").create()])
        assert raised.value.context_ids == {"new"}


async def test_taken_keys_name_their_contexts(fast_dsn: str) -> None:
    """A key that has an answer already is found, and the context that wanted it named."""
    async with nodes(fast_dsn) as (one, two):
        first, second = await create(one, "first", "second")
        await one.commit([first.append(count=1, records=[answer("k")])])
        with pytest.raises(CommitStale) as raised:
            await two.commit([second.append(count=1, records=[answer("k")])])
        assert raised.value.context_ids == {"second"}
        second.row = await loaded_row(two, "second")
        again = second.append(count=1, records=[answer("twice")])
        with pytest.raises(CommitStale) as raised:
            await two.commit([again, Author("new").append(count=1, records=[answer("twice")])])
        assert raised.value.context_ids == {"second", "new"}


async def test_one_of_many_creates_a_context(fast_dsn: str) -> None:
    """When all nodes create a context at once, one of them does."""
    async with nodes(fast_dsn, 4) as stores:
        for number in range(10):
            changes = [Author(f"c{number}").create() for _ in stores]
            done = await asyncio.gather(
                *(store.commit([change]) for store, change in zip(stores, changes, strict=True)),
                return_exceptions=True,
            )
            winners = [change for change, error in zip(changes, done, strict=True) if not error]
            assert [change.row for change in winners] == [await loaded_row(stores[0], f"c{number}")]
            assert sum(isinstance(error, CommitStale) for error in done) == 3


async def test_batches_in_any_order(fast_dsn: str) -> None:
    """Nodes that write the same contexts in opposite orders get all done, and nothing twice."""
    names = [f"c{number}" for number in range(8)]

    async def write(store: PostgresStore, seed: int) -> dict[str, int]:
        rng = Random(seed)
        done = dict.fromkeys(names, 0)
        left = 15
        while left:
            chosen = rng.sample(names, 6)
            authors = [Author(name) for name in chosen]
            for author in authors:
                author.row = await loaded_row(store, author.row.id)
            overtaken = await overtaken_in(store, [author.append(count=2) for author in authors])
            assert overtaken <= set(chosen)
            if not overtaken:
                left -= 1
                for name in chosen:
                    done[name] += 2
        return done

    async with nodes(fast_dsn, 3) as stores:
        await create(stores[0], *names)
        told = await asyncio.gather(*(write(store, seed) for seed, store in enumerate(stores)))
        for name in names:
            messages = await stores[0].messages(name, 1, ALL, PageBounds(ALL, ALL))
            assert len(messages) == sum(done[name] for done in told)
            assert [row.seq for row in messages] == list(range(1, len(messages) + 1))


async def overtaken_in(store: PostgresStore, changes: Sequence[Change]) -> frozenset[str]:
    """Commit, and give the contexts that others were faster to change."""
    try:
        await store.commit(changes)
    except CommitStale as error:
        return error.context_ids or frozenset("?")
    return frozenset()


@pytest.mark.parametrize("when", ["", "DEFERRABLE INITIALLY DEFERRED"])
async def test_lost_ties_are_tried_again(fast_dsn: str, when: str) -> None:
    """A transaction that the database sacrificed is done again, also if COMMIT was the victim."""
    async with nodes(fast_dsn, 1) as (store,):
        (author,) = await create(store, "c")
        await run_script(fast_dsn, UNLUCKY.format(when=when, times=2))
        await store.commit([author.append(count=1)])
        assert await store.messages("c", 1, ALL, PageBounds(9, ALL)) == author.log
        assert await run_sql(fast_dsn, "SELECT last_value FROM tries") == [(3,)]


async def test_ties_are_not_tried_for_ever(fast_dsn: str) -> None:
    """After some attempts a commit has failed."""
    async with nodes(fast_dsn, 1) as (store,):
        (author,) = await create(store, "c")
        await run_script(fast_dsn, UNLUCKY.format(when="", times=1000))
        with pytest.raises(CommitFailed):
            await store.commit([author.append(count=1)])
        assert await run_sql(fast_dsn, "SELECT last_value FROM tries") == [(ATTEMPTS,)]
        assert await store.messages("c", 1, ALL, PageBounds(9, ALL)) == []


async def test_deadlock_is_tried_again(fast_dsn: str) -> None:
    """A deadlock costs time, and nothing else."""
    async with nodes(fast_dsn, 1) as (store,):
        low, high = sorted(await create(store, "a", "b"), key=lambda it: hashed(it.row.id))
        other = await asyncpg.connect(fast_dsn)
        await other.execute("SET deadlock_timeout = '1h'")  # so the store is the one to notice
        lock = "SELECT 1 FROM fastpaca.contexts WHERE id = $1 FOR UPDATE"
        transaction = other.transaction()
        await transaction.start()
        await other.fetch(lock, high.row.id)
        commit = asyncio.create_task(store.commit([high.append(count=1), low.append(count=1)]))
        await until_waiting(fast_dsn)
        await other.fetch(lock, low.row.id)
        assert not commit.done()
        await transaction.rollback()
        await other.close()
        await commit
        assert await loaded_row(store, "a") == (low if low.row.id == "a" else high).row


async def test_statements_end_in_time(fast_dsn: str) -> None:
    """A statement that waits for too long fails, and certainly; later the same goes through."""
    async with nodes(fast_dsn, 1, statement_seconds=0.5) as (store,), nodes(fast_dsn, 1) as (calm,):
        (author,) = await create(calm, "c")
        change = author.append(count=1)
        other = await asyncpg.connect(fast_dsn)
        async with other.transaction():
            await other.execute("LOCK TABLE fastpaca.contexts")
            with pytest.raises(CommitFailed, match="57014"):
                await store.commit([change])
            with pytest.raises(ReadFailed, match="57014"):
                await store.load("c")
        await other.close()
        assert (await loaded_row(calm, "c")).version == 0
        await calm.commit([change])
        assert await loaded_row(calm, "c") == change.row


async def test_revisions_of_all_kinds(fast_dsn: str) -> None:
    """Purged contexts have a revision, and those that never were have none."""
    async with nodes(fast_dsn) as (one, two):
        kept, gone, _ = await create(one, "kept", "gone", "new")
        await one.commit([kept.append(count=1), gone.append(count=1)])
        await one.commit([gone.purge()])
        asked = ["kept", "gone", "nobody", "new"]
        assert await two.revisions(asked) == {"kept": 2, "gone": 3, "new": 1}
        assert await two.revisions([]) == {}
        assert two.is_shared


async def test_a_purge_leaves_a_hash(fast_dsn: str) -> None:
    """No table holds the id of a purged context, or anything that was in it."""
    async with nodes(fast_dsn) as (store, _):
        secret = Author("secret-id")
        await store.commit([secret.create(metadata=b'{"a":"secret"}', policy=b'{"a":"secret"}')])
        await store.commit([secret.append(b'"secret"', records=[answer("secret-key")])])
        await store.commit([secret.compact([Run(1, 1, replacement=2)], [b'"secret"'])])
        assert [await rows_with(fast_dsn, table, "secret") for table in TABLES] == [1, 1, 1, 0, 1]
        await store.commit([secret.purge()])
        assert [await rows_with(fast_dsn, table, "secret") for table in TABLES] == [0, 0, 0, 0, 0]
        counts = [await run_sql(fast_dsn, f"SELECT count(*) FROM fastpaca.{t}") for t in TABLES]
        assert counts == [[(1,)], [(0,)], [(0,)], [(0,)], [(0,)]]


async def rows_with(dsn: str, table: str, text: str) -> int:
    """Count the rows of a table in which *text* is found, in whatever column."""
    sql = f"SELECT to_jsonb(t)::text FROM fastpaca.{table} AS t"
    rows = [row for (row,) in await run_sql(dsn, sql)]
    return sum(text in row or text.encode().hex() in row for row in rows)


@pytest.mark.parametrize("by", ["open", "forget_idempotency_records"])
async def test_interrupted_erasure_is_finished(fast_dsn: str, by: str) -> None:
    """What a purge could not erase is erased later, and nobody is told before that it is done."""
    async with nodes(fast_dsn, 1) as (store,):
        (author,) = await create(store, "c")
        await store.commit([author.append(count=2500)])
        await run_script(
            fast_dsn,
            """
            CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS
                $$ BEGIN IF OLD.seq = 1500 THEN RAISE 'disk'; END IF; RETURN OLD; END $$;
            CREATE TRIGGER failing BEFORE DELETE ON fastpaca.messages
                FOR EACH ROW EXECUTE FUNCTION fail()
            """,
        )
        with pytest.raises(CommitUnknown):
            await store.commit([author.purge()])
        assert (await loaded_row(store, "c")).status == "purged"
        assert await left(fast_dsn) == (1500, 1)
        await run_script(fast_dsn, "DROP TRIGGER failing ON fastpaca.messages")
        if by == "forget_idempotency_records":
            await store.forget_idempotency_records(0)
        else:
            async with nodes(fast_dsn, 1):
                pass  # what is under way is finished before a store closes
        assert await left(fast_dsn) == (0, 0)


async def left(dsn: str) -> tuple[int, int]:
    """Count messages, and contexts that are still to be erased."""
    ((messages,),) = await run_sql(dsn, "SELECT count(*) FROM fastpaca.messages")
    ((contexts,),) = await run_sql(dsn, "SELECT count(*) FROM fastpaca.contexts WHERE must_erase")
    return messages, contexts


@asynccontextmanager
async def purging(dsn: str, readers: int = 1) -> AsyncIterator[None]:
    """Purge what there is once so many *readers*, which this block starts, wait for a message."""
    connection = await asyncpg.connect(dsn)
    try:
        async with connection.transaction():
            await connection.execute("LOCK TABLE fastpaca.messages IN ACCESS EXCLUSIVE MODE")
            yield
            await until_waiting(dsn, readers)
            purged = "UPDATE fastpaca.contexts SET status = 'purged', revision = revision + 1"
            await connection.execute(purged)
            await connection.execute("DELETE FROM fastpaca.messages WHERE seq > 1")
    finally:
        await connection.close()


async def test_a_reader_meets_a_purge(fast_dsn: str) -> None:
    """Rows that go while a snapshot is read make it that of a purged context, not a torn one."""
    async with nodes(fast_dsn) as (one, two):
        (author,) = await create(one, "c")
        await one.commit([author.append(count=3)])
        async with purging(fast_dsn, readers=2):
            reads = [
                asyncio.create_task(two.load("c")),
                asyncio.create_task(two.load_at("c", 2)),
            ]
        now, then = await asyncio.gather(*reads)
        assert now is not None
        assert (now.row.status, now.messages) == ("purged", [])
        assert then is None


async def test_changes_meet_a_purge(fast_dsn: str) -> None:
    """A page of changes out of which rows go while it is read is no page."""
    async with nodes(fast_dsn) as (one, two):
        (author,) = await create(one, "c")
        await one.commit([author.append(count=3)])
        async with purging(fast_dsn):
            read = asyncio.create_task(two.changes("c", 0, ALL, PageBounds(99, ALL)))
        assert await read == ([], [], 0)


async def test_one_key_has_one_answer(fast_dsn: str) -> None:
    """Nodes that are given one key for different contexts at once: one of them takes it."""
    async with nodes(fast_dsn, 4) as stores:
        authors = await create(stores[0], "a", "b", "c", "d")
        for number in range(10):
            key = f"k{number}"
            before = [author.row for author in authors]
            changes = [author.append(count=1, records=[answer(key)]) for author in authors]
            done = await asyncio.gather(
                *(store.commit([change]) for store, change in zip(stores, changes, strict=True)),
                return_exceptions=True,
            )
            for author, row, error in zip(authors, before, done, strict=True):
                if error is not None:
                    assert isinstance(error, CommitStale)
                    assert error.context_ids == {author.row.id}
                    author.row = row
            assert done.count(None) == 1
            assert await stores[0].idempotency_records([key]) == {key: answer(key)}


async def test_abandoned_commit_is_whole(fast_dsn: str) -> None:
    """A caller that is cancelled leaves a commit that goes on, and that closing waits for."""
    async with nodes(fast_dsn) as (one, two):
        (author,) = await create(one, "c")
        for _ in range(5):
            task = asyncio.create_task(one.commit([author.append(count=3)]))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            await until(lambda: is_row(two, author.row))
        task = asyncio.create_task(one.commit([author.append(count=3)]))
        await asyncio.sleep(0)
        task.cancel()
        await one.close()
        assert await loaded_row(two, "c") == author.row
        assert await two.messages("c", 1, ALL, PageBounds(99, ALL)) == author.log


async def is_row(store: PostgresStore, row: ContextRow) -> bool:
    """Tell whether a store has a row as it is."""
    return await loaded_row(store, row.id) == row


async def test_closed_store_refuses_in_its_own_words(fast_dsn: str) -> None:
    """Before it is open and after it is closed, a store says so."""
    store = PostgresStore(fast_dsn, allow_unsafe=True)
    for _ in range(2):
        with pytest.raises(ReadFailed, match="closed"):
            await store.load("c")
        with pytest.raises(CommitFailed, match="closed"):
            await store.commit([Author("c").create()])
        with pytest.raises(CommitFailed, match="closed"):
            await store.forget_idempotency_records(0)
        await store.open()
        await store.close()
