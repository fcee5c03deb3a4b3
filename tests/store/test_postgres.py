"""The PostgreSQL store is a store, and answers as the one in memory, whatever is asked of it."""

from __future__ import annotations

import asyncio
import os
import platform
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastpaca.store.base import PageBounds
from fastpaca.store.memory import MemoryStore
from fastpaca.store.migrate import migrations
from fastpaca.store.postgres.reads import ROWS_AT_ONCE, after_prefix
from fastpaca.store.postgres.store import PostgresStore
from tests.kit.author import ALL, create
from tests.kit.postgres import Server, installed, run_sql
from tests.store.contract import MakeStore, StoreContract
from tests.store.test_sqlite import World, content, is_taken


class TestPostgresStore(StoreContract):
    """The contract."""

    @pytest.fixture
    def make_store(self, fast_dsn: str) -> MakeStore:
        """Make a store in a database of its own."""
        return lambda: PostgresStore(fast_dsn, allow_unsafe=True)


class TestOldestPostgresStore(StoreContract):
    """The contract, on the oldest version that is supported."""

    @pytest.fixture
    def make_store(self, oldest_dsn: str) -> MakeStore:
        """Make a store in a database of its own."""
        return lambda: PostgresStore(oldest_dsn, allow_unsafe=True)


async def test_versions_are_those_that_are_meant(
    request: pytest.FixtureRequest, fast_dsn: str, oldest_dsn: str
) -> None:
    """Tests run on the version that was asked for, and on the oldest; it is here after a set-up."""
    usual, oldest = [
        int((await run_sql(dsn, "SHOW server_version"))[0][0].split(".")[0])
        for dsn in (fast_dsn, oldest_dsn)
    ]
    assert usual == request.config.getoption("--postgres")
    assert oldest == installed()[0]
    if os.environ.get("CI") and (sys.platform, platform.machine()) == ("linux", "x86_64"):
        assert installed() == [14, 15, 16, 17, 18]


@settings(
    max_examples=8,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(st.data())
def test_both_stores_answer_the_same(fast_server: Server, data: st.DataObject) -> None:
    """Any sequence of commits, refusals and purges leaves both stores equal."""
    with fast_server.database() as dsn:
        asyncio.run(_compare(data, dsn))


async def _compare(data: st.DataObject, dsn: str) -> None:
    postgres, memory, world = PostgresStore(dsn, allow_unsafe=True), MemoryStore(), World(data)
    await postgres.open()
    try:
        for _ in range(data.draw(st.integers(1, 20))):
            if data.draw(st.integers(0, 9)) == 0:
                before_us = data.draw(st.integers(0, 9))
                await postgres.forget_idempotency_records(before_us)
                await memory.forget_idempotency_records(before_us)
            else:
                before = {name: author.row for name, author in world.authors.items()}
                changes = world.changes()
                taken = [await is_taken(store, changes) for store in (postgres, memory)]
                assert taken[0] == taken[1]
                if not taken[0]:
                    for name, author in world.authors.items():
                        author.row = before[name]
            assert await content(postgres) == await content(memory)
    finally:
        await postgres.close()


def test_versions_have_no_holes() -> None:
    """The files are numbered 1, 2, 3 …, and each has something in it."""
    found = migrations("fastpaca.store.postgres")
    assert [migration.version for migration in found] == list(range(1, len(found) + 1))
    assert all(migration.sql.strip() for migration in found)


@pytest.mark.parametrize(
    ("prefix", "next_one"),
    [
        ("a", "b"),
        ("a\U0010ffff", "b"),
        ("\ud7ff", "\ue000"),
        ("", None),
        ("\U0010ffff\U0010ffff", None),
    ],
)
def test_what_is_behind_a_prefix(prefix: str, next_one: str | None) -> None:
    """The end of a range of ids is a text, so that an index can be asked for it."""
    assert after_prefix(prefix) == next_one


async def test_nul_is_in_no_id(fast_dsn: str) -> None:
    """PostgreSQL takes no NUL; whoever asks for one is answered all the same."""
    store = PostgresStore(fast_dsn, allow_unsafe=True)
    await store.open()
    await create(store, "a", "ab", "b")
    assert await store.contexts("a\0", "", 9) == []
    assert [row.id for row in await store.contexts("", "a\0b", 9)] == ["ab", "b"]
    assert await store.load("a\0") is None
    await store.close()


async def test_long_pages_let_others_work(fast_dsn: str) -> None:
    """Thousands of rows are made in pieces, and between them the event loop has its turn."""
    store = PostgresStore(fast_dsn, allow_unsafe=True)
    await store.open()
    (author,) = await create(store, "c")
    await store.commit([author.append(count=3 * ROWS_AT_ONCE + 1)])
    assert await store.messages("c", 1, ALL, PageBounds(ALL, ALL)) == author.log
    snapshot = await store.load("c")
    assert snapshot is not None
    assert snapshot.messages == author.log
    await store.close()
