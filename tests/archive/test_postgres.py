"""The archive in PostgreSQL: whose tables it takes, what it holds, and how it reads."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from fastpaca.archive.base import ArchiveFailed, ArchiveRefused, LogRow
from fastpaca.archive.postgres import _MESSAGES, PostgresArchive, migrate
from fastpaca.store.base import MessageRow, PageBounds, StoreRefused
from tests.archive.world import archived, archived_rows
from tests.kit.postgres import Server, run_sql


def archive_at(dsn: str, *, migrates: bool = True) -> PostgresArchive:
    return PostgresArchive(dsn, connections=2, migrates=migrates, allow_unsafe=True)


def row(seq: int, body: bytes = b"{}", at_us: int = 1) -> MessageRow:
    return MessageRow(seq, seq, body, b"", at_us)


async def refusal(archive: PostgresArchive) -> str:
    with pytest.raises(ArchiveRefused) as caught:
        await archive.open()
    await archive.close()
    return str(caught.value)


async def test_table_of_another_program_is_left_alone(tmp_path: Path, fast_dsn: str) -> None:
    """A start is refused with what to do, and that works; in another schema all is well."""
    await run_sql(fast_dsn, "CREATE TABLE messages (id integer)")
    said = await refusal(archive_at(fast_dsn))
    assert "The schema public" in said
    assert "?options=-csearch_path%3D<schema>" in said
    with pytest.raises(StoreRefused, match="another program"):
        await archived(tmp_path, fast_dsn).open()
    assert await run_sql(fast_dsn, "SELECT * FROM messages") == []
    elsewhere = fast_dsn + "&options=-csearch_path%3Darchive"
    assert "no schema" in await refusal(archive_at(elsewhere))
    await run_sql(fast_dsn, "CREATE SCHEMA archive")
    archive = archive_at(elsewhere)
    await archive.open()
    await archive.insert([LogRow("c", row(1))])
    assert await archived_rows(elsewhere) == [("c", 1, b"{}")]
    await archive.close()


async def test_nodes_that_start_at_once_migrate_once(fast_dsn: str) -> None:
    """All come to the same archive, whoever was first."""
    archives = [archive_at(fast_dsn) for _ in range(5)]
    try:
        found = await asyncio.gather(*(archive.open() for archive in archives))
    finally:
        for archive in archives:
            await archive.close()
    assert len(set(found)) == 1
    assert len(found[0]) == 16
    assert len(await run_sql(fast_dsn, "SELECT 1 FROM fastpaca_archive_migrations")) == 1


async def test_table_has_the_keys_that_queries_rely_on(fast_dsn: str) -> None:
    """A conversation is found by its seqs, and what was said at a time by that."""
    archive = archive_at(fast_dsn)
    await archive.open()
    await archive.close()
    sql = "SELECT indexdef FROM pg_indexes WHERE tablename = 'messages' ORDER BY indexdef"
    indexes = [definition.partition(" USING ") for (definition,) in await run_sql(fast_dsn, sql)]
    assert [(kind.split()[1], columns) for kind, _, columns in indexes] == [
        ("INDEX", "btree (context_id, inserted_at)"),
        ("UNIQUE", "btree (context_id, seq)"),
    ]


async def test_node_that_may_not_migrate_says_what_to_run(fast_dsn: str) -> None:
    """What it names does it; a role that may read and write is enough from then on."""
    assert "fastpaca migrate" in await refusal(archive_at(fast_dsn, migrates=False))
    assert await run_sql(fast_dsn, "SELECT to_regclass('messages')") == [(None,)]
    assert await migrate(fast_dsn) == "The archive is up to date: version 1."
    archive = archive_at(fast_dsn, migrates=False)
    await archive.open()
    await archive.close()


async def test_newer_archive_is_refused(fast_dsn: str) -> None:
    """An older release does not touch what a newer one has migrated."""
    await migrate(fast_dsn)
    await run_sql(fast_dsn, "INSERT INTO fastpaca_archive_migrations VALUES (999)")
    assert "newer release" in await refusal(archive_at(fast_dsn))


async def test_server_that_may_lose_what_it_acknowledged_is_refused(
    fast_dsn: str, safe_server: Server
) -> None:
    """Messages are trimmed on the strength of what it says."""
    assert "fsync = off" in await refusal(PostgresArchive(fast_dsn, connections=2))
    latin = await asyncio.to_thread(safe_server.create_database, "LATIN1")
    with pytest.raises(ArchiveFailed, match="LATIN1"):
        await PostgresArchive(safe_server.dsn(latin), connections=2).open()
    await asyncio.to_thread(safe_server.drop_database, latin)


async def test_unreachable_archive_is_a_failure(tmp_path: Path) -> None:
    """It is not refused, since it may come back; no password is shown."""
    archive = PostgresArchive(f"postgresql://me:SECRET@/x?host={tmp_path}", connections=2)
    with pytest.raises(ArchiveFailed) as caught:
        await archive.open()
    assert not isinstance(caught.value, ArchiveRefused)
    assert "SECRET" not in str(caught.value) + archive.name
    await archive.close()


async def test_whatever_was_stored_is_archived(fast_dsn: str) -> None:
    """What is no message has no role or parts to show, and comes back all the same."""
    bodies = [
        b"",
        b"\xff",
        b"[1]",
        b'{"role":1,"parts":[],"metadata":{}}',
        b'{"role":"a\\u0000b","parts":[{"b":"\\u0000","a":1e400}],"metadata":{"z":1,"z2":1.0}}',
    ]
    rows = [row(seq, body, seq * 10**15 + 7) for seq, body in enumerate(bodies, 1)]
    archive = archive_at(fast_dsn)
    await archive.open()
    done = await archive.insert([LogRow("c", one) for one in rows])
    assert (done.rows, done.bytes, done.conflicts) == (5, sum(map(len, bodies)), {})
    assert await archive.messages("c", [(1, 9)]) == rows
    found = await run_sql(fast_dsn, "SELECT role, parts, metadata FROM messages ORDER BY seq")
    assert [tuple(one) for one in found] == [(None, None, None)] * 4 + [
        ("a\ufffdb", '[{"b":"\\u0000","a":1e400}]', '{"z":1,"z2":1.0}')
    ]
    await archive.close()


async def test_conflict_inserts_nothing(fast_dsn: str) -> None:
    """The first differing seq of each context is named, and what else was sent is not there."""
    archive = archive_at(fast_dsn)
    await archive.open()
    await archive.insert([LogRow("a", row(2)), LogRow("b", row(1)), LogRow("a", row(3))])
    other = [row(seq, b"other") for seq in (1, 2, 3)]
    done = await archive.insert([*(LogRow("a", one) for one in other), LogRow("b", row(1))])
    assert (done.rows, done.conflicts) == (0, {"a": 2})
    done = await archive.insert([LogRow("b", row(1)._replace(revises=1))])
    assert (done.rows, done.conflicts) == (0, {"b": 1})
    assert [seq for _, seq, _ in await archived_rows(fast_dsn)] == [2, 3, 1]
    await archive.close()


async def test_ranges_are_read_within_bounds(fast_dsn: str) -> None:
    """Rows and bytes bound what is read, the message that is too much included, both ways."""
    archive = archive_at(fast_dsn)
    await archive.open()
    rows = [row(seq, b"x" * 10) for seq in range(1, 21)]
    await archive.insert([LogRow("c", one) for one in rows])
    ranges = [(3, 5), (9, 12), (30, 40)]
    inside = [*rows[2:5], *rows[8:12]]
    assert await archive.messages("c", ranges) == inside
    assert await archive.messages("c", ranges, PageBounds(4, 999)) == inside[:4]
    assert await archive.messages("c", ranges, PageBounds(9, 30)) == inside[:4]
    assert await archive.messages("c", ranges, PageBounds(9, 29)) == inside[:3]
    assert await archive.messages("c", ranges, PageBounds(9, 0)) == inside[:1]
    back = await archive.messages("c", ranges[::-1], PageBounds(4, 30), newest_first=True)
    assert back == inside[:2:-1]
    mixed = [(9, 10), (3, 4), (11, 12), (5, 5)]
    wanted = [rows[seq - 1] for seq in (9, 10, 3, 4, 11, 12, 5)]
    assert await archive.messages("c", mixed) == wanted
    assert await archive.messages("c", mixed, PageBounds(9, 25)) == wanted[:3]
    assert await archive.messages("c", mixed, PageBounds(5, 999)) == wanted[:5]
    assert await archive.messages("C", ranges) == []
    await archive.close()


async def test_reads_follow_the_index(fast_dsn: str) -> None:
    """Of a wide range no more rows are looked at than are wanted, from either end."""
    archive = archive_at(fast_dsn)
    identity = await archive.open()
    await archive.insert([LogRow("c", row(seq)) for seq in range(1, 5001)])
    await archive.close()
    for sql in _MESSAGES.values():
        values = ("c", [1, 4000], [3000, 9000], 10, 10**6, identity)
        explain = f"EXPLAIN (ANALYZE, TIMING OFF) {sql}"
        plan = "\n".join(line for (line,) in await run_sql(fast_dsn, explain, *values))
        counts = re.findall(r"rows=([\d.]+) loops", plan)
        assert max(map(float, counts)) <= 20, plan
