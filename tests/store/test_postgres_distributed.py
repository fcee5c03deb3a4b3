"""Tables that are distributed over several servers: how they get there, and what is sent there."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from fastpaca.cli.main import main
from fastpaca.store.base import StoreRefused
from fastpaca.store.postgres.operations import distribute
from fastpaca.store.postgres.schema import distribute_tables, is_distributed
from fastpaca.store.postgres.session import Session
from fastpaca.store.postgres.store import PostgresStore
from tests.kit.author import create
from tests.kit.postgres import run_script, run_sql, until
from tests.store import citus
from tests.store.contract import MakeStore, StoreContract

TABLES = ["contexts", "messages", "synthetics", "compactions", "answers", "migrations"]

ALL_CALLS = [
    "contexts by context_id beside none",
    "messages by context_id beside contexts",
    "synthetics by context_id beside contexts",
    "compactions by context_id beside contexts",
    "answers by key_hash beside none",
    "migrations to all",
]


class TestDistributedPostgresStore(StoreContract):
    """The contract, in the forms of the statements that a distributed database is sent."""

    @pytest.fixture
    def make_store(self, fast_dsn: str) -> MakeStore:
        """Make a store in a database of its own."""
        asyncio.run(citus.distributed(fast_dsn))
        return lambda: PostgresStore(fast_dsn, allow_unsafe=True)


def silent(_: str) -> None:
    """Take a line of progress for read."""


async def test_tables_are_distributed_by_key(fast_dsn: str) -> None:
    """All tables go where their keys do, the versions of the schema to all servers, and once."""
    with pytest.raises(StoreRefused, match="Citus is not installed"):
        await distribute(fast_dsn, silent)
    await citus.install(fast_dsn)
    names = ", ".join(f"fastpaca.{table}" for table in TABLES)
    assert await distribute(fast_dsn, silent) == f"Distributed: {names}."
    assert await citus.calls(fast_dsn) == [*ALL_CALLS, "migrations emptied"]
    there = "SELECT tablename FROM pg_tables WHERE schemaname = 'fastpaca'"
    assert {table for (table,) in await run_sql(fast_dsn, there)} == {*TABLES}


async def test_only_what_is_missing_is_distributed(fast_dsn: str) -> None:
    """After an upgrade that adds a table that one is, and where nothing is missing nothing is."""
    await citus.distributed(fast_dsn)
    await citus.calls(fast_dsn)
    added = "DELETE FROM pg_dist_partition WHERE logicalrelid = 'fastpaca.compactions'::regclass"
    await run_sql(fast_dsn, added)
    await run_sql(fast_dsn, "TRUNCATE fastpaca.migrations")  # as it is where it was emptied
    connection = await asyncpg.connect(fast_dsn, connection_class=Session)
    try:
        assert await distribute_tables(connection, silent) == ["fastpaca.compactions"]
        assert await citus.calls(fast_dsn) == [ALL_CALLS[3]]
        assert await distribute_tables(connection, silent) == []
        assert await citus.calls(fast_dsn) == []
    finally:
        await connection.close()


async def test_rows_that_were_there_leave_the_coordinator(fast_dsn: str) -> None:
    """What a table held before is copied, and then emptied where it was: purged ids are in it."""
    store = PostgresStore(fast_dsn, allow_unsafe=True)
    await store.open()
    (author,) = await create(store, "c")
    await store.commit([author.append(count=1)])
    await store.close()
    await citus.install(fast_dsn)
    await distribute(fast_dsn, silent)
    found = await citus.calls(fast_dsn)
    assert [call for call in found if "emptied" not in call] == ALL_CALLS
    for table in ("contexts", "messages", "migrations"):
        emptied = found.index(f"{table} emptied")
        assert found[emptied - 1].startswith(f"{table} ")
    assert len(found) == len(ALL_CALLS) + 3


async def test_what_was_interrupted_goes_on(fast_dsn: str) -> None:
    """Each table is done for itself: after a failure, those that are done stay so."""
    await citus.install(fast_dsn)
    refuse = """
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE 'a worker is away'; END $$;
    CREATE TRIGGER refusing BEFORE INSERT ON pg_dist_partition FOR EACH ROW
        WHEN (NEW.logicalrelid = 'fastpaca.synthetics'::regclass) EXECUTE FUNCTION refuse()
    """
    store = PostgresStore(fast_dsn, allow_unsafe=True)
    await store.open()
    await store.close()
    await run_script(fast_dsn, refuse)
    with pytest.raises(StoreRefused, match="a worker is away"):
        await distribute(fast_dsn, silent)
    assert await citus.calls(fast_dsn) == ALL_CALLS[:2]
    await run_sql(fast_dsn, "DROP TRIGGER refusing ON pg_dist_partition")
    await distribute(fast_dsn, silent)
    assert (await citus.calls(fast_dsn))[:4] == ALL_CALLS[2:]


async def test_distributing_says_how_it_goes(fast_dsn: str) -> None:
    """Each table is told of when its turn comes, and again and again while it takes long."""
    store = PostgresStore(fast_dsn, allow_unsafe=True)
    await store.open()
    await store.close()
    await citus.install(fast_dsn)
    lines: list[str] = []
    connection = await asyncpg.connect(fast_dsn, connection_class=Session)
    other = await asyncpg.connect(fast_dsn)
    try:
        async with other.transaction():
            await other.execute("LOCK TABLE pg_dist_partition IN EXCLUSIVE MODE")
            work = asyncio.create_task(distribute_tables(connection, lines.append, 0.01))
            await until(lambda: has(lines, 3))
        await work
        assert await is_distributed(connection)
    finally:
        await connection.close()
        await other.close()
    assert lines[0].startswith("Distributing fastpaca.contexts (")
    assert "seconds so far" in lines[1]
    assert all(any(f"fastpaca.{table}" in line for line in lines) for table in TABLES)


async def has(lines: list[str], count: int) -> bool:
    """Tell whether there are so many."""
    return len(lines) >= count


@pytest.mark.parametrize("command", [["migrate"], ["migrate", "--distribute"]])
def test_an_operator_waits_as_long_as_it_takes(
    fast_dsn: str, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither command has a limit of time: a table that is large takes hours."""
    limits = """
    CREATE TABLE public.limits (value text);
    CREATE FUNCTION note() RETURNS event_trigger LANGUAGE plpgsql AS
        $$ BEGIN INSERT INTO public.limits VALUES (current_setting('statement_timeout')); END $$;
    CREATE EVENT TRIGGER noting ON ddl_command_end WHEN TAG IN ('CREATE TABLE')
        EXECUTE FUNCTION note()
    """
    asyncio.run(citus.install(fast_dsn))
    asyncio.run(run_script(fast_dsn, limits))
    assert main([*command, "--store", fast_dsn]) == 0
    values = asyncio.run(run_sql(fast_dsn, "SELECT DISTINCT value FROM limits"))
    assert [value for (value,) in values] == ["0"]
    assert ("Distributing" in capsys.readouterr().err) is ("--distribute" in command)
