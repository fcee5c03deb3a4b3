"""A purge erases in the archive before anybody is told that it is done, whatever comes between."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest

from fastpaca.archive.base import ArchiveFailed, LogRow
from fastpaca.archive.postgres import PostgresArchive
from fastpaca.store.base import CommitUnknown, MessageRow, ReadFailed
from fastpaca.store.sqlite.store import SqliteStore
from fastpaca.testing import composed, running
from tests.archive.world import archived, archived_rows, fragile
from tests.kit.app import append, create, error_of
from tests.kit.author import create as create_in
from tests.kit.files import files_with
from tests.kit.messages import user
from tests.kit.postgres import Server, until_waiting
from tests.kit.proxy import proxied
from tests.kit.stores import opened
from tests.store import contract

PURGE = "/v1/contexts/SECRET-id?purge=true"


async def secret(client: httpx.AsyncClient) -> None:
    await create(client, "SECRET-id", token_budget=40)
    for _ in range(10):
        await append(client, user("SECRET-text"), context_id="SECRET-id")


async def test_purged_content_is_in_no_place(tmp_path: Path, fast_dsn: str) -> None:
    """After 204 neither the archive nor any file holds a byte of it, the id included."""
    store = archived(tmp_path, fast_dsn)
    async with running(composed(store)) as client:
        await secret(client)
        await create(client, "other")
        await append(client, user("stays"), context_id="other")
        await store.writer.catch_up()
        assert len(await archived_rows(fast_dsn)) == 11
        assert (await client.delete(PURGE)).status_code == 204
        assert [name for name, _, _ in await archived_rows(fast_dsn)] == ["other"]
        assert files_with(tmp_path, b"SECRET") == []
        assert (await client.delete(PURGE)).status_code == 204


async def test_purge_waits_for_the_archive(tmp_path: Path, fast_dsn: str) -> None:
    """While the archive is down a purge is not done, over a restart too; others go on."""
    archive = fragile(fast_dsn)
    store = archived(tmp_path, archive)
    async with running(composed(store)) as client:
        await secret(client)
        await create(client, "other")
        await store.writer.catch_up()
        archive.is_down = True
        error_of(await client.delete(PURGE), 503, "outcome_unknown")
        for _ in range(2):
            error_of(await client.delete(PURGE), 503, "unavailable")
        assert len(await append(client, user("stays"), context_id="other")) == 1
    store = archived(tmp_path, archive)
    async with running(composed(store)) as client:
        error_of(await client.delete(PURGE), 503, "unavailable")
        archive.is_down = False
        assert (await client.delete(PURGE)).status_code == 204
        error_of(await client.get("/v1/contexts/SECRET-id"), 404, "not_found")
        assert await archived_rows(fast_dsn) == []
        assert files_with(tmp_path, b"SECRET") == []


async def test_writer_erases_what_is_left(tmp_path: Path, fast_dsn: str) -> None:
    """A purge that nobody asks for again is done by the writer."""
    archive = fragile(fast_dsn)
    async with opened(archived(tmp_path, archive)) as store:
        (author,) = await create_in(store, "SECRET-id")
        await store.commit([author.append(count=3)])
        await store.writer.catch_up()
        archive.is_down = True
        with pytest.raises(CommitUnknown, match="not yet erased in the archive: it is down"):
            await store.commit([author.purge()])
        with pytest.raises(ReadFailed, match="not yet erased in the archive: it is down"):
            await store.load("SECRET-id")
        with pytest.raises(ArchiveFailed):
            await store.writer.catch_up()
        archive.is_down = False
        await store.writer.catch_up()
        assert await archived_rows(fast_dsn) == []
        assert (await contract.loaded_row(store, "SECRET-id")).status == "purged"
    assert files_with(tmp_path, b"SECRET") == []


async def test_neighbours_of_a_purge_are_not_in_doubt(tmp_path: Path, fast_dsn: str) -> None:
    """If the archive fails, only the purge of a commit is unknown; the rest was written."""
    archive = fragile(fast_dsn)
    async with opened(archived(tmp_path, archive)) as store:
        one, two, three = await create_in(store, "one", "two", "three")
        archive.is_down = True
        for purge in (one.purge(), three.purge()):  # it turns out to be down, and it is known
            with pytest.raises(CommitUnknown) as caught:
                await store.commit([purge, two.append(count=1)])
            assert caught.value.context_ids == {purge.row.id}
            assert await contract.loaded_row(store, "two") == two.row
            store.writer._session.lose()  # as the writer does once it fails


async def test_purge_comes_behind_a_flush_that_has_read_it(tmp_path: Path, fast_dsn: str) -> None:
    """What was read for the archive before the purge does not land after it."""
    archive = fragile(fast_dsn)
    async with opened(archived(tmp_path, archive)) as store:
        (author,) = await create_in(store, "c")
        await store.commit([author.append(count=3)])
        archive.gate.clear()
        flush = asyncio.create_task(store.writer.catch_up())
        await archive.waiting.wait()
        purge = asyncio.create_task(store.commit([author.purge()]))
        await asyncio.sleep(0.1)
        assert not purge.done()
        archive.gate.set()
        await asyncio.gather(flush, purge)
        assert len(archive.inserts[0]) == 3
        assert await archived_rows(fast_dsn) == []


async def test_commit_does_not_wait_for_ever(tmp_path: Path, fast_dsn: str) -> None:
    """An archive that hangs holds up one purge for two seconds; all is done when it answers."""
    archive = fragile(fast_dsn)
    async with opened(archived(tmp_path, archive)) as store:
        author, other = await create_in(store, "c", "other")
        await store.commit([author.append(count=3)])
        archive.gate.clear()
        flush = asyncio.create_task(store.writer.catch_up())
        await archive.waiting.wait()
        with pytest.raises(CommitUnknown, match="does not respond"):
            await store.commit([author.purge()])
        with pytest.raises(CommitUnknown, match="cannot be reached"):  # at once
            await store.commit([other.purge()])
        archive.gate.set()
        await flush
        assert (await contract.loaded_row(store, "c")).status == "purged"
        assert await archived_rows(fast_dsn) == []


async def test_insert_whose_answer_was_lost_does_not_land_late(
    fast_server: Server, fast_dsn: str
) -> None:
    """An erasure waits for an insert that may still be under way, and takes it along."""
    name = fast_dsn.partition("?")[0].rpartition("/")[2]
    rows = [LogRow("c", MessageRow(seq, seq, b"{}", b"", seq)) for seq in range(1, 9)]
    async with proxied(fast_server) as proxy:
        slow = PostgresArchive(
            fast_server.dsn(name, proxy.directory), connections=2, allow_unsafe=True
        )
        quick = PostgresArchive(fast_dsn, connections=2, allow_unsafe=True)
        assert await slow.open() == await quick.open()
        proxy.cut(b"COMMIT\0", "hold")
        with pytest.raises(ArchiveFailed):
            await slow.insert(rows)
        await proxy.held.wait()
        erasure = asyncio.create_task(quick.erase(["c"]))
        await until_waiting(fast_dsn)
        assert await archived_rows(fast_dsn) == []
        proxy.release(forward=True)
        await erasure
        assert await archived_rows(fast_dsn) == []
        await slow.close()
        await quick.close()


async def test_many_rows_are_erased_in_pieces(fast_dsn: str) -> None:
    """A context of more messages than one piece has goes as a whole, and its neighbours stay."""
    archive = PostgresArchive(fast_dsn, connections=2, allow_unsafe=True)
    await archive.open()
    for name, count in (("big", 25_000), ("big2", 3)):
        await archive.insert(
            [LogRow(name, MessageRow(seq, seq, b"{}", b"", seq)) for seq in range(1, count + 1)]
        )
    await archive.erase(["big"])
    assert [name for name, _, _ in await archived_rows(fast_dsn)] == ["big2"] * 3
    await archive.close()


async def test_purge_without_the_archiver_is_made_up_for(tmp_path: Path, fast_dsn: str) -> None:
    """A node that ran without its archive for a while erases there what was purged meanwhile."""
    async with opened(archived(tmp_path, fast_dsn, tail_keep=10)) as store:
        one, two = await create_in(store, "SECRET-1", "two")
        await store.commit([one.append(count=2), two.append(count=2)])
        await store.writer.catch_up()
    plain = SqliteStore(tmp_path)
    await plain.open()
    await plain.commit([one.purge()])
    await plain.close()
    assert len(await archived_rows(fast_dsn)) == 4
    async with opened(archived(tmp_path, fast_dsn, tail_keep=10)) as store:
        await store.writer.catch_up()
        assert [name for name, _, _ in await archived_rows(fast_dsn)] == ["two"] * 2
    assert files_with(tmp_path, b"SECRET") == []
