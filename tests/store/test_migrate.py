"""Migrations go forward, in order, and stop before what they do not know."""

from typing import Any

import asyncpg
import pytest

from fastpaca.archive import schema as archive
from fastpaca.store.base import StoreRefused
from fastpaca.store.migrate import Migration, migrations, pending, statements
from fastpaca.store.postgres.schema import bring_up_to_date

THREE = [Migration(version, f"-- {version}") for version in (1, 2, 3)]


def test_versions_have_no_holes() -> None:
    """The files are numbered 1, 2, 3 …, and each has something in it."""
    found = migrations("fastpaca.store.sqlite")
    assert [migration.version for migration in found] == list(range(1, len(found) + 1))
    assert all(migration.sql.strip() for migration in found)


@pytest.mark.parametrize(("version", "left"), [(0, [1, 2, 3]), (1, [2, 3]), (2, [3]), (3, [])])
def test_pending_are_those_above_the_version(version: int, left: list[int]) -> None:
    """A database gets what it does not have yet, in order."""
    assert [migration.version for migration in pending(THREE, version)] == left


def test_newer_version_is_refused() -> None:
    """The sentence says both versions."""
    with pytest.raises(StoreRefused, match=r"version 4, .* up to 3"):
        pending(THREE, 4)


def test_sql_is_split_at_the_ends_of_statements() -> None:
    """A semicolon in a comment, a string, a name or a dollar quote ends nothing."""
    sql = """
    -- one; two
    CREATE TABLE "a;b" (c text DEFAULT 'it''s; this' /* d; e */);
    ;
    CREATE FUNCTION f() RETURNS int LANGUAGE sql AS $$ SELECT 1 - 2 / 3; $$;
    DO $x$ BEGIN PERFORM $$;$$; END $x$
    ; -- the end;
    """
    found = statements(sql)
    assert [statement.rpartition("\n")[2].split()[0] for statement in found] == [
        "CREATE",
        "CREATE",
        "DO",
    ]
    assert found[0].endswith("/* d; e */)")
    assert found[1].endswith("SELECT 1 - 2 / 3; $$")
    assert found[2].endswith("END $x$")
    assert statements(" -- nothing\n; /* at; all */ ;") == []


@pytest.mark.parametrize("package", ["fastpaca.store.postgres", "fastpaca.archive"])
def test_no_statement_is_lost(package: str) -> None:
    """What migrations say is said by their statements, to the letter."""
    for migration in migrations(package):
        parts = "".join(statement + ";" for statement in migration.statements)
        assert "".join(parts.split()) == "".join(migration.sql.split())


class OneByOne:
    """
    A connection that takes one statement in a message, as a distributed PostgreSQL does.

    It sends each as a prepared one, so that the server itself refuses several (42601).
    """

    is_pooled = False

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self.execute = connection.fetch

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


async def test_migrations_run_statement_by_statement(fast_dsn: str) -> None:
    """No message to the server holds two, neither for the store nor for the archive."""
    connection = await asyncpg.connect(fast_dsn)
    one_by_one = OneByOne(connection)
    try:
        with pytest.raises(asyncpg.PostgresSyntaxError, match="multiple commands"):
            await one_by_one.execute("SELECT 1; SELECT 2")
        assert (
            await bring_up_to_date(one_by_one) == migrations("fastpaca.store.postgres")[-1].version
        )
        await connection.execute("SET search_path = public")
        assert await archive.bring_up_to_date(one_by_one)
    finally:
        await connection.close()
