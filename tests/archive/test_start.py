"""When a node starts with an archive and when without, as processes; what a stream sends."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import httpx
import pytest

from fastpaca.cli.main import main
from fastpaca.store.base import StoreRefused
from fastpaca.store.sqlite.store import SqliteStore
from fastpaca.testing import composed, running
from tests.archive.world import archived, archived_rows, local_seqs
from tests.kit.app import append, create
from tests.kit.author import create as created
from tests.kit.messages import assistant, user
from tests.kit.postgres import run_sql, until
from tests.kit.process import started
from tests.kit.stores import opened


def environment(dsn: str) -> dict[str, str]:
    return {
        "FASTPACA_ARCHIVER_ENABLED": "true",
        "DATABASE_URL": dsn,
        "FASTPACA_ARCHIVE_FLUSH_INTERVAL_MS": "10",
        "FASTPACA_TAIL_KEEP": "1",
    }


async def test_node_archives_and_tells_of_it(tmp_path: Path, safe_dsn: str) -> None:
    """A served node archives by itself, trims, shows its metrics, and is ready."""
    with started(tmp_path, **environment(safe_dsn)) as process:
        assert "sqlite, archived in postgres (" in process.banner
        async with httpx.AsyncClient(base_url=process.address) as client:
            await create(client, token_budget=40)
            for _ in range(8):
                await append(client, user("a"))

            async def is_trimmed() -> bool:
                shown = (await client.get("/metrics")).text
                is_archived = "fastpaca_archive_inserted_total 8.0" in shown
                return is_archived and "fastpaca_archive_trimmed_total 0.0" not in shown

            await until(is_trimmed)
            shown = (await client.get("/metrics")).text
            assert "fastpaca_archive_llm_token_count 0.0" not in shown
            assert (await client.get("/health/ready")).status_code == 200
            tail = (await client.get("/v1/contexts/c/tail")).json()["messages"]
            assert [message["seq"] for message in tail] == list(range(1, 9))
        assert process.stop(signal.SIGTERM) == 0
    assert len(await archived_rows(safe_dsn)) == 8
    assert len(local_seqs(tmp_path / "data")) < 8


async def test_node_starts_while_the_archive_is_down(tmp_path: Path) -> None:
    """It serves and is ready; a backlog is nothing that a load balancer should act on."""
    dsn = f"postgresql://me:SECRET@/x?host={tmp_path}"
    with started(tmp_path, **environment(dsn)) as process:
        async with httpx.AsyncClient(base_url=process.address) as client:
            await create(client)
            await append(client, user("a"), user("b"))
            assert (await client.get("/health/ready")).status_code == 200
            assert "fastpaca_archive_pending_rows 2.0" in (await client.get("/metrics")).text
        assert process.stop() == 0
        assert "starting without the archive" in process.errors
        assert "SECRET" not in process.banner + process.errors


async def test_trimmed_data_needs_its_archive(tmp_path: Path, fast_dsn: str) -> None:
    """Without the archiver such data is not served; as long as nothing was trimmed it is."""
    async with opened(archived(tmp_path, fast_dsn, tail_keep=5)) as store:
        (author,) = await created(store, "c")
        await store.commit([author.append(count=5)])
        await store.commit([author.compact([])])
        await store.writer.catch_up()
    plain = SqliteStore(tmp_path)
    await plain.open()
    await plain.close()
    async with opened(archived(tmp_path, fast_dsn, tail_keep=4)) as store:
        await store.commit([author.compact([])])
        await store.writer.catch_up()
    assert len(local_seqs(tmp_path)) == 4
    with pytest.raises(StoreRefused, match="FASTPACA_ARCHIVER_ENABLED=true"):
        await SqliteStore(tmp_path).open()


def test_migrate_makes_the_archive(
    fast_dsn: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`fastpaca migrate` is for the archive of a node that has one."""
    for name, value in environment(fast_dsn).items():
        monkeypatch.setenv(name, value)
    assert main(["migrate"]) == 0
    assert capsys.readouterr().out == "The archive is up to date: version 1.\n"
    assert main(["migrate", "--distribute"]) == 2
    monkeypatch.setenv("DATABASE_URL", "postgresql:///nothing?host=/nowhere")
    assert main(["migrate"]) == 1


async def events(client: httpx.AsyncClient, cursor: int) -> list[dict[str, object]]:
    """Read the events of a deleted context to their end."""
    answer = await client.get("/v1/contexts/c/events", params={"cursor": cursor})
    lines = [line for line in answer.text.splitlines() if line.startswith("data:")]
    return [json.loads(line.removeprefix("data:")) for line in lines]


async def test_streams_replay_from_the_archive(tmp_path: Path, fast_dsn: str) -> None:
    """Every change is replayed from any cursor, as before the trim; what is lost is a gap."""
    store = archived(tmp_path, fast_dsn)
    async with running(composed(store)) as client:
        await create(client, token_budget=60)
        for number in range(150):
            await append(client, user(f"q {number}"), assistant(f"a {number}"))
        path = "/v1/contexts/c"
        assert (await client.post(f"{path}/compact", json={"replacement": []})).status_code == 200
        await append(client, user("on"))
        await client.delete(path)
    async with running(composed(archived(tmp_path, fast_dsn))) as client:
        before = {cursor: await events(client, cursor) for cursor in (0, 7, 150, 301)}
    assert len([event for event in before[0] if event["type"] == "message"]) == 301
    store = archived(tmp_path, fast_dsn)
    async with running(composed(store)) as client:
        await store.writer.catch_up()
        assert len(local_seqs(tmp_path)) < 5
        assert {cursor: await events(client, cursor) for cursor in before} == before
        await run_sql(fast_dsn, "DELETE FROM messages WHERE seq IN (10, 11)")
        found = [event for event in await events(client, 8) if event["type"] != "compaction"]
        assert [event["type"] for event in found[:4]] == ["message", "gap", "message", "message"]
