"""What is archived and trimmed, when, and what happens if the archive is down or disagrees."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from fastpaca.archive import local
from fastpaca.archive.base import ArchiveFailed
from fastpaca.archive.store import ArchivedStore
from fastpaca.context.persisted import Run
from fastpaca.store.base import PageBounds, ReadFailed
from fastpaca.store.sqlite.store import SqliteStore
from tests.archive.world import archived, archived_rows, fragile, local_seqs
from tests.kit.author import ALL, Author, answer, create
from tests.kit.http import until
from tests.kit.postgres import run_sql
from tests.kit.stores import opened
from tests.store.contract import MIB

Row = tuple[str, int, bytes]


def rows_of(*authors: Author) -> list[Row]:
    """List what these have written."""
    return sorted((a.row.id, row.seq, row.body) for a in authors for row in a.log)


async def forgotten(store: ArchivedStore, *authors: Author) -> None:
    """Let windows need nothing any more."""
    await store.commit([author.compact([]) for author in authors])


async def test_all_is_archived_and_the_tail_is_kept(tmp_path: Path, fast_dsn: str) -> None:
    """The archive has every message once; here stay the newest of each context and its window."""
    async with opened(archived(tmp_path, fast_dsn, tail_keep=3)) as store:
        one, two, three = await create(store, "one", "two", "three")
        for _ in range(5):
            await store.commit([one.append(count=2), two.append(count=1), three.append(count=2)])
        await forgotten(store, one, two)
        await store.commit([three.compact([Run(2, 3), Run(5, 5)])])
        assert await archived_rows(fast_dsn) == []
        await store.writer.catch_up()
        assert await archived_rows(fast_dsn) == rows_of(one, two, three)
        assert local_seqs(tmp_path) == [
            *((1, seq) for seq in (8, 9, 10)),
            *((2, seq) for seq in (3, 4, 5)),
            *((3, seq) for seq in (2, 3, 5, 8, 9, 10)),
        ]
        await store.commit([one.append(count=1), three.compact([])])
        await store.writer.catch_up()
        assert local_seqs(tmp_path)[:3] == [(1, 9), (1, 10), (1, 11)]
        assert local_seqs(tmp_path)[6:] == [(3, 8), (3, 9), (3, 10)]
        for author in (one, two, three):
            assert await store.messages(author.row.id, 1, ALL, PageBounds(99, ALL)) == author.log


async def test_what_comes_behind_a_flush_is_not_trimmed_by_it(
    tmp_path: Path, fast_dsn: str
) -> None:
    """What was committed since stays, although neither the window nor the tail keeps it."""
    async with opened(archived(tmp_path, fast_dsn)) as store:
        (author,) = await create(store, "c")
        await store.commit([author.append(count=3)])
        assert not await store.writer._archive_some()
        await store.commit([author.append(count=2)])
        await forgotten(store, author)
        await store.writer._trim()
        assert local_seqs(tmp_path) == [(1, 4), (1, 5)]
        assert await store.messages("c", 1, ALL, PageBounds(99, ALL)) == author.log


async def test_batches_are_bounded_in_rows_and_bytes(tmp_path: Path, fast_dsn: str) -> None:
    """A batch has so many messages, and 16 MiB; one that is larger goes alone."""
    archive = fragile(fast_dsn)
    async with opened(archived(tmp_path, archive, batch_rows=4)) as store:
        (author,) = await create(store, "c")
        await store.commit([author.append(count=10)])
        await store.commit([author.append(count=4, size=9 * MIB)])
        await store.commit([author.append(count=1, size=17 * MIB)])
        await store.writer.catch_up()
        assert [len(batch) for batch in archive.inserts] == [4, 4, 4, 2, 1]
        assert await archived_rows(fast_dsn) == rows_of(author)


async def test_old_data_is_archived_from_its_beginning(tmp_path: Path, fast_dsn: str) -> None:
    """What was written before there was an archive goes there too."""
    plain = SqliteStore(tmp_path)
    await plain.open()
    authors = await create(plain, "a", "b" * 300)
    for _ in range(3):
        await plain.commit([author.append(count=5) for author in authors])
    await plain.close()
    async with opened(archived(tmp_path, fast_dsn, batch_rows=4)) as store:
        await store.writer.catch_up()
        assert await archived_rows(fast_dsn) == rows_of(*authors)


async def test_appends_go_on_while_the_archive_is_down(tmp_path: Path, fast_dsn: str) -> None:
    """Down at the start, in between, and over a restart: nothing is lost, and nothing trimmed."""
    archive = fragile(fast_dsn)
    archive.is_down = True
    async with opened(archived(tmp_path, archive)) as store:
        (author,) = await create(store, "c")
        await store.commit([author.append(count=5)])
        await forgotten(store, author)
        with pytest.raises(ArchiveFailed):
            await store.writer.catch_up()
        assert len(local_seqs(tmp_path)) == 5
        archive.is_down = False
        await store.writer.catch_up()
        archive.is_down = True
        await store.commit([author.append(count=5)])
        await forgotten(store, author)
        with pytest.raises(ArchiveFailed):
            await store.writer.catch_up()
        assert len(local_seqs(tmp_path)) == 5
    async with opened(archived(tmp_path, archive)) as store:
        await store.commit([author.append(count=2)])
        assert await archived_rows(fast_dsn) == rows_of(author)[:5]
        assert await store.messages("c", 6, ALL, PageBounds(99, ALL)) == author.log[5:]
    async with opened(archived(tmp_path, fast_dsn)) as store:
        await store.writer.catch_up()
        assert await archived_rows(fast_dsn) == rows_of(author)
        assert await store.messages("c", 1, ALL, PageBounds(99, ALL)) == author.log


async def test_writer_tries_again_by_itself(
    tmp_path: Path, fast_dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A node that could not reach the archive goes on when it can; the log says so, once each."""
    archive = fragile(fast_dsn)
    archive.is_down = True
    caplog.set_level(logging.INFO)
    async with opened(archived(tmp_path, archive, kind=ArchivedStore)) as store:
        (author,) = await create(store, "c")
        await store.commit([author.append(count=5)])
        await until(lambda: "is falling behind" in caplog.text)
        archive.is_down = False
        await until(lambda: "accepts writes again" in caplog.text)
        assert await archived_rows(fast_dsn) == rows_of(author)
    assert caplog.text.count("is falling behind") == 1


async def test_what_is_sent_again_is_there_once(tmp_path: Path, fast_dsn: str) -> None:
    """A crash before the place is noted repeats inserts, which changes nothing."""
    archive = fragile(fast_dsn)
    async with opened(archived(tmp_path, archive)) as store:
        (author,) = await create(store, "c")
        await store.commit([author.append(count=5)])
        await store.writer.catch_up()
        forget = "UPDATE archive SET archived_place = 2, trimmed_place = 0"
        await store._store.in_writer(lambda c: c.execute(forget).fetchall())
        await store.commit([author.append(count=2)])
        await store.writer.catch_up()
        assert [len(batch) for batch in archive.inserts] == [5, 5]
        assert await archived_rows(fast_dsn) == rows_of(author)
        assert samples(store)["fastpaca_archive_attempted_total"] == 10
        assert samples(store)["fastpaca_archive_inserted_total"] == 7


# --- halts ----------------------------------------------------------------------------------------


async def halted(store: ArchivedStore, dsn: str) -> list[Author]:
    """Let the archive hold other content under the fourth message of one of two contexts."""
    bad, good = await create(store, "bad", "good")
    await store.commit([bad.append(count=3), good.append(count=3)])
    sql = (
        "INSERT INTO messages (context_id, seq, version, inserted_at, counts, body)"
        " VALUES ('bad', 4, 4, now(), '', 'other')"
    )
    await run_sql(dsn, sql)
    await store.commit([bad.append(count=3), good.append(count=3)])
    await forgotten(store, bad, good)
    return [bad, good]


async def test_other_content_halts_its_context_alone(
    tmp_path: Path, fast_dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    """What stands before it is archived, nothing of it is trimmed, and others go on."""
    async with opened(archived(tmp_path, fast_dsn)) as store:
        bad, good = await halted(store, fast_dsn)
        for _ in range(2):
            await store.writer.catch_up()
            there = [("bad", 4, b"other")]
            assert await archived_rows(fast_dsn) == sorted(rows_of(bad)[:3] + there + rows_of(good))
            assert local_seqs(tmp_path) == [(1, row.seq) for row in bad.log]
            await store.commit([bad.append(count=1), good.append(count=1)])
            await forgotten(store, bad, good)
        await store.writer._survey()
        assert samples(store)["fastpaca_archive_halted_contexts"] == 1
        assert await store.messages("bad", 1, ALL, PageBounds(99, ALL)) == bad.log
    alarm = next(record for record in caplog.records if record.levelno == logging.ERROR)
    assert (alarm.__dict__["context_id"], alarm.__dict__["seq"]) == ("bad", 4)


async def test_halted_context_is_tried_again_at_a_start(tmp_path: Path, fast_dsn: str) -> None:
    """Once the other content is gone, the next start archives and trims what was left."""
    async with opened(archived(tmp_path, fast_dsn)) as store:
        bad, good = await halted(store, fast_dsn)
        await store.writer.catch_up()
        await store.commit([bad.append(count=5)])
        await store.writer.catch_up()
    async with opened(archived(tmp_path, fast_dsn, batch_rows=2)) as store:
        await store.writer.catch_up()
        assert len(local_seqs(tmp_path)) == len(bad.log)
    await run_sql(fast_dsn, "DELETE FROM messages WHERE context_id = 'bad' AND seq = 4")
    async with opened(archived(tmp_path, fast_dsn, batch_rows=2)) as store:
        await store.writer.catch_up()
        assert await archived_rows(fast_dsn) == rows_of(bad, good)
        await forgotten(store, bad)
        await store.writer.catch_up()
        assert local_seqs(tmp_path) == []
        assert await store.messages("bad", 1, ALL, PageBounds(99, ALL)) == bad.log


@pytest.mark.parametrize("change", ["body", "counts", "version", "at_us"])
async def test_any_difference_is_a_conflict(tmp_path: Path, fast_dsn: str, change: str) -> None:
    """A message that differs in whatever is given back is not the same message."""
    values: dict[str, Any] = {"body": b"{}", "counts": b"", "version": 9, "at_us": 1}
    async with opened(archived(tmp_path / "one", fast_dsn)) as store:
        (author,) = await create(store, "c")
        await store.commit([author.append(count=2)])
        await store.writer.catch_up()
    async with opened(archived(tmp_path / "two", fast_dsn)) as store:
        (author,) = await create(store, "c")
        appended = author.append(count=2)
        first, second = appended.messages
        other = second._replace(**{change: values[change]})
        await store.commit([replace(appended, messages=[first, other])])
        await store.writer.catch_up()
        halts = await store._store.in_reader(local.halts)
        assert halts == [1]


# --- which archive --------------------------------------------------------------------------------


async def test_another_archive_after_a_trim_is_not_trusted(
    tmp_path: Path, fast_dsn: str, safe_dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is archived there, and reads of what was trimmed fail; the rest goes on."""
    async with opened(archived(tmp_path, fast_dsn)) as store:
        (author,) = await create(store, "c")
        await store.commit([author.append(count=3)])
        await forgotten(store, author)
        await store.writer.catch_up()
    async with opened(archived(tmp_path, safe_dsn)) as store:
        await store.commit([author.append(count=1)])
        with pytest.raises(ArchiveFailed, match="not the archive"):
            await store.writer.catch_up()
        with pytest.raises(ReadFailed, match="not the archive"):
            await store.messages("c", 1, 4, PageBounds(9, ALL))
        assert await store.messages("c", 4, 4, PageBounds(9, ALL)) == author.log[3:]
        assert await archived_rows(safe_dsn) == []
    assert "starting without the archive: it is not the archive" in caplog.text
    async with opened(archived(tmp_path, fast_dsn)) as store:
        await store.writer.catch_up()
        assert await store.messages("c", 1, 4, PageBounds(9, ALL)) == author.log


async def test_another_archive_before_a_trim_begins_anew(
    tmp_path: Path, fast_dsn: str, safe_dsn: str
) -> None:
    """As long as all is here, an archive may be exchanged for an empty one."""
    async with opened(archived(tmp_path, fast_dsn, tail_keep=10)) as store:
        (author,) = await create(store, "c")
        await store.commit([author.append(count=3)])
        await store.writer.catch_up()
    async with opened(archived(tmp_path, safe_dsn, tail_keep=10)) as store:
        await store.writer.catch_up()
        assert await archived_rows(safe_dsn) == rows_of(author)


async def test_archive_that_becomes_another_is_noticed(tmp_path: Path, fast_dsn: str) -> None:
    """A database that was put in the place of the archive is neither written to nor read from."""
    async with opened(archived(tmp_path, fast_dsn)) as store:
        (author,) = await create(store, "c")
        await store.commit([author.append(count=3)])
        await forgotten(store, author)
        await store.writer.catch_up()
        await run_sql(fast_dsn, "UPDATE fastpaca_archive SET identity = 'another'")
        await run_sql(fast_dsn, "UPDATE messages SET body = 'another'")
        with pytest.raises(ReadFailed, match="seq 1 to 3"):
            await store.messages("c", 1, 3, PageBounds(9, ALL))
        await store.commit([author.append(count=1)])
        with pytest.raises(ArchiveFailed, match="a different archive"):
            await store.writer.catch_up()
        assert len(await archived_rows(fast_dsn)) == 3


# --- metrics --------------------------------------------------------------------------------------


def samples(store: ArchivedStore) -> dict[str, float]:
    """Read the series as they are scraped."""
    return {
        sample.name: sample.value for family in store.metrics.collect() for sample in family.samples
    }


async def test_metrics_tell_how_far_the_archive_is_behind(tmp_path: Path, fast_dsn: str) -> None:
    """What waits is counted as it comes and goes, and counted again after a restart."""
    archive = fragile(fast_dsn)
    async with opened(archived(tmp_path, archive, tail_keep=2)) as store:
        one, two = await create(store, "one", "two")
        await store.commit([one.append(count=5), two.append(count=3)])
        await forgotten(store, one, two)
        await store.writer._survey()
        found = samples(store)
        assert found["fastpaca_archive_pending_rows"] == 8
        assert found["fastpaca_archive_pending_contexts"] == 2
        assert found["fastpaca_archive_lag"] == 5
        assert found["fastpaca_archive_oldest_age_seconds"] > 0
        await store.writer.catch_up()
        await store.writer._survey()
        found = samples(store)
        for name in ("pending_rows", "pending_contexts", "lag", "oldest_age_seconds"):
            assert found[f"fastpaca_archive_{name}"] == 0, name
        size = sum(len(row.body) for author in (one, two) for row in author.log)
        assert found["fastpaca_archive_inserted_total"] == 8
        assert found["fastpaca_archive_bytes_inserted_total"] == size
        assert found["fastpaca_archive_bytes_attempted_total"] == size
        assert found["fastpaca_archive_flush_duration_ms_count"] == 1
        assert found["fastpaca_archive_trimmed_total"] == 4
        assert found["fastpaca_archive_tail_size"] == 4
        await store.commit([two.append(count=3)])
        assert samples(store)["fastpaca_archive_pending_rows"] == 3
        await store.commit([one.purge()])
        assert samples(store)["fastpaca_archive_tail_size"] == 5
    archive.is_down = True
    async with opened(archived(tmp_path, archive, tail_keep=2)) as store:
        await until(lambda: samples(store)["fastpaca_archive_tail_size"] == 5)
        assert samples(store)["fastpaca_archive_pending_rows"] == 3


async def test_answers_outlive_the_message_and_go_with_a_purge(
    tmp_path: Path, fast_dsn: str
) -> None:
    """An answer is found after its message was trimmed, and is gone with its context or in time."""
    async with opened(archived(tmp_path, fast_dsn)) as store:
        stays, goes = await create(store, "stays", "goes")
        kept, lost = answer("kept", 5), answer("lost", 5)
        await store.commit([stays.append(count=2, records=[kept])])
        await store.commit([goes.append(count=2, records=[lost])])
        await forgotten(store, stays, goes)
        await store.writer.catch_up()
        assert local_seqs(tmp_path) == []
        assert await store.idempotency_records(["kept", "lost"]) == {"kept": kept, "lost": lost}
        await store.commit([goes.purge()])

        async def left() -> tuple[int, int]:
            """Count the answers, and the emptied messages that still belong to a context."""
            read = store._store.in_reader
            answers = await read(
                lambda c: c.execute("SELECT count(*) FROM answers WHERE answer IS NOT NULL").get
            )
            return answers, await read(
                lambda c: c.execute("SELECT count(*) FROM messages WHERE context IS NOT NULL").get
            )

        assert await left() == (1, 1)
        assert await store.idempotency_records(["kept", "lost"]) == {"kept": kept}
        await store.forget_idempotency_records(6)
        assert await left() == (0, 0)
