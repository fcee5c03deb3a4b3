"""The rights that the pages name: a role that has these and no others can run a node."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import pytest

from fastpaca.archive.base import ArchiveRefused, LogRow
from fastpaca.archive.postgres import PostgresArchive
from fastpaca.archive.postgres import migrate as migrate_archive
from fastpaca.store.base import MessageRow, PageBounds, StoreRefused
from fastpaca.store.postgres.operations import migrate
from fastpaca.store.postgres.store import PostgresStore
from tests.docs.pages import page
from tests.kit.author import create
from tests.kit.postgres import roles, run_script, run_sql


def statements(name: str) -> str:
    """The statements with which a page gives a node its rights."""
    texts = (block.text for block in page(name).blocks if block.language == "sql")
    (granting,) = (text for text in texts if "GRANT" in text)
    return granting


@asynccontextmanager
async def archive_of(dsn: str) -> AsyncIterator[PostgresArchive]:
    archive = PostgresArchive(dsn, connections=2, allow_unsafe=True)
    try:
        yield archive
    finally:
        await archive.close()


async def works(store: PostgresStore) -> None:
    """Do with a store all that a node does."""
    await store.open()
    (author,) = await create(store, "c")
    await store.commit([author.append(count=1)])
    assert len(await store.messages("c", 1, 9, PageBounds(9, 10**6))) == 1
    await store.commit([author.purge()])
    await store.forget_idempotency_records(0)
    await store.close()


async def test_owner_of_the_schema_needs_no_right_on_the_database(fast_dsn: str) -> None:
    """It makes the tables, starts, and works; the page says how the schema comes to be its own."""
    async with roles(fast_dsn, "owner") as (owner,):
        await run_sql(fast_dsn, f"CREATE SCHEMA fastpaca AUTHORIZATION {owner.name}")
        with pytest.raises(Exception, match="permission denied for database"):
            await run_sql(owner.dsn, "CREATE SCHEMA other")
        await works(PostgresStore(owner.dsn, allow_unsafe=True))
        assert await migrate(owner.dsn) == "The schema is up to date: version 1."


async def test_node_whose_schema_another_role_migrates(fast_dsn: str) -> None:
    """With what the page grants, and nothing else, a node starts and works."""
    async with roles(fast_dsn, "owner", "node") as (owner, node):
        await run_sql(fast_dsn, f"CREATE SCHEMA fastpaca AUTHORIZATION {owner.name}")
        with pytest.raises(StoreRefused, match="may not"):
            await PostgresStore(node.dsn, allow_unsafe=True).open()
        await migrate(owner.dsn)
        with pytest.raises(StoreRefused, match="grant it USAGE"):
            await PostgresStore(node.dsn, allow_unsafe=True).open()
        await run_script(owner.dsn, statements("scaling").replace("TO node", f"TO {node.name}"))
        await works(PostgresStore(node.dsn, allow_unsafe=True))
        await run_sql(owner.dsn, "CREATE TABLE fastpaca.later (id integer)")  # a later migration
        await run_sql(node.dsn, "DELETE FROM fastpaca.later")


async def test_owner_of_the_archive_s_schema_needs_no_right_on_the_database(fast_dsn: str) -> None:
    """It makes the tables and archives."""
    async with roles(fast_dsn, "owner") as (owner,):
        await run_sql(fast_dsn, f"CREATE SCHEMA archive AUTHORIZATION {owner.name}")
        async with archive_of(owner.dsn + "&options=-csearch_path%3Darchive") as archive:
            await archive.open()


async def test_node_whose_archive_another_role_migrates(fast_dsn: str) -> None:
    """With what the page grants, and nothing else, a node archives, reads and erases."""
    async with roles(fast_dsn, "owner", "node") as (owner, node):
        await run_script(fast_dsn, f"CREATE SCHEMA archive AUTHORIZATION {owner.name}")
        there = "&options=-csearch_path%3Darchive"
        await run_sql(fast_dsn, f"GRANT USAGE ON SCHEMA archive TO {node.name}")
        async with archive_of(node.dsn + there) as archive:
            with pytest.raises(ArchiveRefused, match="CREATE"):
                await archive.open()
            await migrate_archive(owner.dsn + there)
            with pytest.raises(ArchiveRefused, match="grant it SELECT"):
                await archive.open()
            await run_script(owner.dsn, statements("archive").replace("TO node", f"TO {node.name}"))
            await archive.open()
            rows = [LogRow("c", MessageRow(seq, seq, b"{}", b"", seq)) for seq in (1, 2)]
            assert (await archive.insert(rows)).rows == 2
            assert seqs(await archive.messages("c", [(1, 2)])) == [1, 2]
            await archive.erase(["c"])
            assert seqs(await archive.messages("c", [(1, 2)])) == []


def seqs(rows: Iterable[MessageRow]) -> list[int]:
    return [row.seq for row in rows]
