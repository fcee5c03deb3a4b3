"""Which PostgreSQL servers are taken, and what happens when they go away."""

from __future__ import annotations

import asyncio
from pathlib import Path

import asyncpg
import pytest

from fastpaca.store.base import CommitFailed, PageBounds, ReadFailed, StoreRefused
from fastpaca.store.postgres.address import shown
from fastpaca.store.postgres.errors import advice, described
from fastpaca.store.postgres.operations import migrate
from fastpaca.store.postgres.store import PostgresStore
from tests.kit.author import ALL, create
from tests.kit.postgres import Server, database_of, run_script, run_sql, until, until_waiting
from tests.kit.proxy import proxied
from tests.store.contract import loaded_row


async def refusal(store: PostgresStore) -> str:
    """Open a store that must be refused, and give the sentence."""
    with pytest.raises(StoreRefused) as raised:
        await store.open()
    await store.close()
    return str(raised.value)


async def test_server_without_fsync_is_refused(fast_dsn: str) -> None:
    """What it acknowledges may be lost, so it is only taken if that is said to be all right."""
    assert "fsync = off" in await refusal(PostgresStore(fast_dsn))
    store = PostgresStore(fast_dsn, allow_unsafe=True)
    await store.open()
    await store.close()


async def test_server_that_commits_later_is_refused(safe_dsn: str) -> None:
    """The same holds for `synchronous_commit`, wherever it was turned off."""
    database = database_of(safe_dsn)
    await run_sql(safe_dsn, f"ALTER DATABASE {database} SET synchronous_commit = off")
    assert "synchronous_commit = off" in await refusal(PostgresStore(safe_dsn))
    store = PostgresStore(safe_dsn, allow_unsafe=True)
    await store.open()
    await store.close()


async def test_other_encodings_are_refused(fast_server: Server) -> None:
    """Ids must be kept as they are, and in the order of their bytes."""
    name = await asyncio.to_thread(fast_server.create_database, encoding="LATIN1")
    try:
        store = PostgresStore(fast_server.dsn(name), allow_unsafe=True)
        assert "LATIN1" in await refusal(store)
    finally:
        await asyncio.to_thread(fast_server.drop_database, name)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("fastpaca@/missing", "Create it, or correct the name"),
        ("missing@/postgres", "Check the user and password"),
    ],
)
async def test_refused_login_says_what_to_do(fast_server: Server, address: str, said: str) -> None:
    """Who mistypes a user or a database reads what the server says, and what to check."""
    dsn = f"postgresql://{address}?host={fast_server.directory}"
    assert said in await refusal(PostgresStore(dsn, allow_unsafe=True))


def test_silence_says_what_to_do() -> None:
    """A server that does not respond is named in words, not by the class of an error."""
    assert described(TimeoutError()) == "no response in time"
    assert "Check that it runs" in advice(TimeoutError())


async def test_server_that_only_reads_is_refused(safe_dsn: str) -> None:
    """A standby is not where to write to."""
    database = database_of(safe_dsn)
    await run_sql(safe_dsn, f"ALTER DATABASE {database} SET default_transaction_read_only = on")
    assert "cannot be used" in await refusal(PostgresStore(safe_dsn))


async def test_first_host_that_can_be_written_to_is_taken(
    safe_server: Server, safe_dsn: str, tmp_path: Path
) -> None:
    """Of several hosts, those that are not there are passed over."""
    hosts = f"{tmp_path},{safe_server.directory}"
    store = PostgresStore(f"postgresql://fastpaca@/{database_of(safe_dsn)}?host={hosts}")
    await store.open()
    await create(store, "c")
    await store.close()


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://me:hunter2@127.0.0.1:1/db",
        "postgresql://me:hunter2/x@127.0.0.1:1/db",
        "postgresql://me:hunter2@x@127.0.0.1:1/db",
        "postgresql://me:hunter2?x@127.0.0.1:1/db",
        "postgresql://127.0.0.1:1/db?user=me&password=hunter2",
        "postgresql://127.0.0.1:port/db?user=me&password=hunter2",
        "mysql://me:hunter2@127.0.0.1:1/db",
        "me:hunter2",
    ],
)
async def test_nothing_shows_the_password(dsn: str) -> None:
    """Neither the name of a store nor a refusal does, also if the address is written wrongly."""
    store = PostgresStore(dsn)
    assert store.name.startswith("postgres")
    assert "hunter2" not in store.name + await refusal(store)


def test_name_says_which_database() -> None:
    """As much of the address as an operator needs to tell databases apart."""
    assert shown("postgresql://me:pw@a:1,b:2/db?options=x") == "postgres (db at a:1,b:2)"
    assert shown("postgres:///db?host=/run/pg") == "postgres (db at /run/pg)"
    assert shown("postgres://h?dbname=db") == "postgres (db at h)"
    assert shown("postgres://h") == "postgres (at h)"


async def test_acknowledged_commits_survive_a_crash(safe_server: Server, safe_dsn: str) -> None:
    """The server dies; what was acknowledged is there when it is back, and the store goes on."""
    store = PostgresStore(safe_dsn)
    await store.open()
    (author,) = await create(store, "c")
    for _ in range(5):
        await store.commit([author.append(count=2)])
    await asyncio.to_thread(safe_server.stop, "immediate")
    with pytest.raises(ReadFailed):
        await store.load("c")
    lost = author.row
    with pytest.raises(CommitFailed):
        await store.commit([author.append(count=1)])
    author.row = lost
    del author.log[10:]
    await asyncio.to_thread(safe_server.start)
    await until_reached(store)
    assert await loaded_row(store, "c") == author.row
    assert await store.messages("c", 1, ALL, PageBounds(99, ALL)) == author.log
    await store.commit([author.append(count=1)])
    await store.close()


async def until_reached(store: PostgresStore) -> None:
    """Wait until a store has found its server."""

    async def is_reached() -> bool:
        try:
            await store.load("c")
        except ReadFailed:
            return False
        return True

    await until(is_reached)


async def test_nobody_storms_a_server_that_is_away(safe_server: Server, safe_dsn: str) -> None:
    """While a server refuses connections, few are tried, however many callers there are."""
    async with proxied(safe_server) as proxy:
        store = PostgresStore(safe_server.dsn(database_of(safe_dsn), proxy.directory))
        await store.open()
        proxy.accepts = False
        proxy.end_all()
        await asyncio.sleep(0.05)
        proxy.attempts = 0
        reads = [store.load("c") for _ in range(500)]
        done = await asyncio.gather(*reads, return_exceptions=True)
        assert all(isinstance(error, ReadFailed) for error in done)
        assert 1 <= proxy.attempts < 50  # the driver itself tries a host more than once
        proxy.accepts = True
        await until_reached(store)
        await store.close()


async def test_connections_are_few(safe_server: Server, safe_dsn: str) -> None:
    """However many calls are under way, no more connections are open than were asked for."""
    async with proxied(safe_server) as proxy:
        dsn = safe_server.dsn(database_of(safe_dsn), proxy.directory)
        store = PostgresStore(dsn, connections=3)
        await store.open()
        authors = await create(store, *(f"c{number}" for number in range(20)))
        await asyncio.gather(
            *(store.load(author.row.id) for author in authors * 5),
            *(store.commit([author.append(count=1)]) for author in authors),
        )
        assert proxy.open_max == 3
        await store.close()


async def test_readers_leave_a_connection_to_writers(safe_dsn: str) -> None:
    """Reads that hang do not hold up commits."""
    store = PostgresStore(safe_dsn, connections=2)
    await store.open()
    (author,) = await create(store, "c")
    other = await asyncpg.connect(safe_dsn)
    async with other.transaction():
        await other.execute("LOCK TABLE fastpaca.answers")
        reads = [asyncio.create_task(store.idempotency_records(["k"])) for _ in range(5)]
        await until_waiting(safe_dsn)
        await store.commit([author.append(count=1)])
        assert not any(read.done() for read in reads)
    await other.close()
    assert await asyncio.gather(*reads) == [{}] * 5
    await store.close()


# Found before PostgreSQL's own, as a database would answer that has no such locks.
NO_LOCKS = """
CREATE SCHEMA shadow;
CREATE FUNCTION shadow.pg_advisory_xact_lock(bigint) RETURNS void LANGUAGE plpgsql AS
    $$ BEGIN RAISE feature_not_supported; END $$;
ALTER DATABASE {database} SET search_path = shadow, pg_catalog
"""


@pytest.mark.parametrize("has_locks", [True, False])
async def test_many_starts_at_once(fast_dsn: str, *, has_locks: bool) -> None:
    """Nodes that meet an empty database together all open, and it is migrated once."""
    if not has_locks:
        await run_script(fast_dsn, NO_LOCKS.format(database=database_of(fast_dsn)))
    stores = [PostgresStore(fast_dsn, allow_unsafe=True) for _ in range(5)]
    await asyncio.gather(*(store.open() for store in stores))
    assert await run_sql(fast_dsn, "SELECT version FROM fastpaca.migrations") == [(1,)]
    await create(stores[0], "c")
    assert [len(await store.contexts("", "", 9)) for store in stores] == [1] * 5
    for store in stores:
        await store.close()


async def test_newer_schema_is_refused(fast_dsn: str) -> None:
    """A release does not touch what a newer one has migrated."""
    store = PostgresStore(fast_dsn, allow_unsafe=True)
    await store.open()
    await store.close()
    await run_sql(fast_dsn, "INSERT INTO fastpaca.migrations (version) VALUES (999)")
    assert "version 999" in await refusal(PostgresStore(fast_dsn, allow_unsafe=True))


async def test_node_that_does_not_migrate(fast_dsn: str) -> None:
    """It is told what to do about a schema that is not there, and opens when it is."""
    store = PostgresStore(fast_dsn, allow_unsafe=True, migrates=False)
    assert "fastpaca migrate" in await refusal(store)
    for _ in range(2):
        assert await migrate(fast_dsn) == "The schema is up to date: version 1."
    await store.open()
    await store.close()


async def test_role_without_rights(fast_dsn: str) -> None:
    """A role that may not create a schema is told so, and can work with one that is there."""
    database = database_of(fast_dsn)
    await run_script(fast_dsn, "DROP ROLE IF EXISTS plain; CREATE ROLE plain LOGIN")
    dsn = fast_dsn.replace("fastpaca@", "plain@")
    assert "CREATE" in await refusal(PostgresStore(dsn, allow_unsafe=True))
    store = PostgresStore(fast_dsn, allow_unsafe=True)
    await store.open()
    await store.close()
    await run_script(
        fast_dsn,
        """
        GRANT USAGE ON SCHEMA fastpaca TO plain;
        GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA fastpaca TO plain
        """,
    )
    store = PostgresStore(dsn, allow_unsafe=True)
    await store.open()
    (author,) = await create(store, "c")
    await store.commit([author.append(count=1)])
    await store.commit([author.purge()])
    await store.close()
    await run_script(fast_dsn, f"DROP OWNED BY plain; REVOKE ALL ON DATABASE {database} FROM plain")
    await run_script(fast_dsn, "DROP ROLE plain")


async def test_backup_is_refused_in_a_sentence(fast_dsn: str, tmp_path: Path) -> None:
    """PostgreSQL has tools for that, and the operator reads which."""
    with pytest.raises(CommitFailed, match="pg_dump"):
        await PostgresStore(fast_dsn).backup(tmp_path / "copy")
    assert not (tmp_path / "copy").exists()  # a look is not long
