"""What operators ask for over HTTP: health, metrics, backup."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from pathlib import Path

import httpx
import pytest

from fastpaca import __version__
from fastpaca.api.request import CHUNK_BYTES
from fastpaca.store.base import CommitFailed, CommitUnknown, Condition
from fastpaca.store.memory import MemoryStore
from fastpaca.store.sqlite.files import DATABASE_NAME
from fastpaca.store.sqlite.store import SqliteStore
from fastpaca.testing import composed, running
from tests.kit.app import append, create, error_of, everything, run
from tests.kit.http import serving
from tests.kit.messages import HELLO
from tests.kit.stores import ScriptedStore

ALIVE = {"status": "ok", "version": __version__}

# --- health -----------------------------------------------------------------------------------


def test_a_node_is_ready_between_start_and_stop() -> None:
    """Before the store is open and while the node ends it is alive, but not ready, and says why."""
    node = composed()

    async def look(client: httpx.AsyncClient, status: str) -> None:
        assert (await client.get("/health/live")).json() == ALIVE
        ready = await client.get("/health/ready")
        assert ready.status_code == 503
        assert ready.json() == {"status": status, "reason": ready.json()["reason"]}
        assert ready.json()["reason"]

    async def story() -> None:
        async with node.client() as client:
            await look(client, "starting")
            error_of(await client.put("/v1/contexts/c"), 503, "unavailable")
            await node.engine.start()
            assert (await client.get("/health/ready")).json() == {"status": "ok"}
            await create(client)
            await node.engine.stop()
            await look(client, "stopping")
            answer = await client.put("/v1/contexts/d")
            error_of(answer, 503, "unavailable")
            assert answer.headers["retry-after"] == "1"

    asyncio.run(story())


async def test_a_fatal_error_of_the_store_fails_liveness() -> None:
    """A store that cannot be trusted any more takes the node out of service, reason included."""
    store = ScriptedStore()
    async with running(composed(store)) as client:
        await create(client)
        store.commit_error = CommitUnknown("fsync failed", fatal=True)
        message = {"message": HELLO}
        answer = await client.post("/v1/contexts/c/messages", json=message)
        error_of(answer, 503, "outcome_unknown")
        for path in ("/health/live", "/health/ready"):
            answer = await client.get(path)
            assert answer.status_code == 503
            assert answer.json()["status"] == "degraded"
            assert "fsync failed" in answer.json()["reason"]
        store.commit_error = None
        answer = await client.post("/v1/contexts/c/messages", json=message)
        error_of(answer, 503, "unavailable")


async def test_a_commit_that_failed_fails_no_probe() -> None:
    """What may go away by itself, and no other node can do better, takes no node out of service."""
    store = ScriptedStore()
    async with running(composed(store)) as client:
        store.commit_error = CommitFailed("disk full")
        error_of(await client.put("/v1/contexts/c"), 503, "unavailable")
        assert (await client.get("/health/live")).json() == ALIVE
        assert (await client.get("/health/ready")).json() == {"status": "ok"}


async def test_a_store_of_no_use_fails_readiness_alone() -> None:
    """
    The node says why it is sent no requests, and is not killed for it; what still comes is tried,
    and it is ready again as soon as the store is of use.
    """
    store = ScriptedStore()
    async with running(composed(store)) as client:
        assert await sample(client, "fastpaca_ready") == 1
        store.condition = Condition("It is away.")
        ready = await client.get("/health/ready")
        assert (ready.status_code, ready.json()) == (
            503,
            {"status": "degraded", "reason": "It is away."},
        )
        assert (await client.get("/health/live")).json() == ALIVE
        assert await sample(client, "fastpaca_ready") == 0
        await create(client)
        store.condition = Condition()
        assert (await client.get("/health/ready")).json() == {"status": "ok"}
        assert await sample(client, "fastpaca_ready") == 1


async def test_a_store_of_some_use_is_named_and_used() -> None:
    """A store that serves some contexts leaves the node ready, and the body says it is degraded."""
    store = ScriptedStore()
    async with running(composed(store)) as client:
        store.condition = Condition("A part of it is away.", is_partial=True)
        ready = await client.get("/health/ready")
        assert (ready.status_code, ready.json()) == (
            200,
            {"status": "degraded", "reason": "A part of it is away."},
        )
        assert (await client.get("/health/live")).json() == ALIVE


async def sample(client: httpx.AsyncClient, name: str) -> float:
    """Read one series without labels."""
    text = (await client.get("/metrics")).text
    return float(re.findall(rf"^{name} (\S+)$", text, re.MULTILINE)[0])


# --- metrics ----------------------------------------------------------------------------------


async def test_metrics_count_requests_by_route(client: httpx.AsyncClient) -> None:
    """Routes are labelled by their template, the unknown folds into `other`, no id is a label."""
    await create(client, "some-secret-id")
    for n in range(3):
        await client.get(f"/v1/contexts/some-secret-id-{n}")
        await client.get(f"/nothing/{n}")
        await client.request(f"BREW{n}", "/v1/contexts/c")
    await append(client, HELLO, context_id="some-secret-id")
    answer = await client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    text = answer.text
    for route, method, status, count in (
        ("/v1/contexts/{id}", "PUT", 201, 1),
        ("/v1/contexts/{id}", "GET", 404, 3),
        ("/v1/contexts/{id}", "other", 405, 3),
        ("/v1/contexts/{id}/messages", "POST", 201, 1),
        ("other", "GET", 404, 3),
    ):
        labels = f'method="{method}",route="{route}",status="{status}"'
        assert f"fastpaca_http_request_seconds_count{{{labels}}} {count}.0" in text
    assert "secret" not in text
    assert "BREW" not in text
    assert 'fastpaca_messages_append_total{role="user",source="server"} 1.0' in text


async def test_all_promised_series_are_there(client: httpx.AsyncClient) -> None:
    """A fresh node shows every series by name, before anything has happened."""
    names = [
        "fastpaca_messages_append_total",
        "fastpaca_messages_token_count",
        "fastpaca_http_request_seconds",
        "fastpaca_commit_seconds",
        "fastpaca_commit_ops",
        "fastpaca_compactions_total",
        "fastpaca_compaction_tokens_removed_total",
        "fastpaca_hot_contexts",
        "fastpaca_hot_bytes",
        "fastpaca_write_queue_ops",
    ]
    shown = re.findall(r"^# TYPE (\S+)", (await client.get("/metrics")).text, re.MULTILINE)
    assert set(names) <= set(shown)


# --- backup -----------------------------------------------------------------------------------


class CopyingStore(MemoryStore):
    """Writes *pieces* as its backup, and holds up or fails in the middle if it is told to."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        super().__init__()
        self.pieces = pieces
        self.error: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.has_begun = asyncio.Event()
        self.paths: list[Path] = []

    async def backup(self, path: Path) -> None:
        self.paths.append(path)
        await asyncio.to_thread(self._write, path)
        self.has_begun.set()
        await self.gate.wait()
        if self.error is not None:
            raise self.error

    def _write(self, path: Path) -> None:
        with path.open("xb") as file:
            file.writelines(self.pieces)


def left_in(directory: Path) -> list[Path]:
    """The files that were left behind."""
    return list(directory.iterdir())


async def test_a_backup_is_the_file_that_the_store_wrote(tmp_path: Path) -> None:
    """The copy is sent whole, with its length, and leaves no file behind; another can follow."""
    store = CopyingStore([b"SQLite format 3\0", b"x" * (3 * CHUNK_BYTES + 17)])
    async with running(composed(store, data_dir=tmp_path)) as client:
        for _ in range(2):
            answer = await client.post("/backup")
            assert answer.status_code == 200
            assert answer.headers["content-type"] == "application/vnd.sqlite3"
            assert answer.headers["content-length"] == str(len(answer.content))
            assert answer.content == b"".join(store.pieces)
            assert left_in(tmp_path) == []
        assert all(path.is_relative_to(tmp_path) for path in store.paths)
        assert len(set(store.paths)) == 2


async def test_a_backup_that_fails_leaves_no_file(tmp_path: Path) -> None:
    """A store that says why is 503, a defect is 500; the file goes either way."""
    store = CopyingStore([b"half"])
    async with running(composed(store, data_dir=tmp_path)) as client:
        store.error = CommitFailed("the disk is full")
        body = error_of(await client.post("/backup"), 503, "unavailable")
        assert "the disk is full" in body["message"]
        store.error = RuntimeError("a defect")
        error_of(await client.post("/backup"), 500, "internal_error")
        assert left_in(tmp_path) == []
        store.error = None
        assert (await client.post("/backup")).content == b"half"


async def test_one_backup_at_a_time(tmp_path: Path) -> None:
    """While a copy is made another is 429, and everything else goes on."""
    store = CopyingStore([b"copy"])
    async with running(composed(store, data_dir=tmp_path)) as client:
        store.gate.clear()
        first = asyncio.create_task(client.post("/backup"))
        await store.has_begun.wait()
        answer = await client.post("/backup")
        error_of(answer, 429, "rate_limited")
        assert int(answer.headers["retry-after"]) >= 1
        await create(client)
        store.gate.set()
        assert (await first).content == b"copy"


async def test_a_client_that_leaves_ends_its_backup(tmp_path: Path) -> None:
    """A copy that nobody takes any more is not read to its end, and another can be made."""
    store = CopyingStore([b"x" * CHUNK_BYTES] * 20)
    node = composed(store, data_dir=tmp_path)
    async with running(node) as client, serving(node.app) as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port, limit=2**16)
        writer.write(b"POST /backup HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        error_of(await client.post("/backup"), 429, "rate_limited")
        writer.transport.abort()
        await served.is_empty()
        assert (await client.post("/backup")).status_code == 200
        assert left_in(tmp_path) == []


async def test_a_cancelled_backup_cleans_up(tmp_path: Path) -> None:
    """A node that ends while a copy is made takes the file away."""
    store = CopyingStore([b"copy"])
    async with running(composed(store, data_dir=tmp_path)) as client:
        store.gate.clear()
        first = asyncio.create_task(client.post("/backup"))
        await store.has_begun.wait()
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        assert left_in(tmp_path) == []
        store.gate.set()
        assert (await client.post("/backup")).content == b"copy"


def test_a_backup_can_be_served(tmp_path: Path) -> None:
    """What comes from a node on SQLite is a database that another node can serve."""
    there, back = tmp_path / "there", tmp_path / "back"

    async def save(client: httpx.AsyncClient) -> list[bytes]:
        await create(client)
        await append(client, HELLO, HELLO)
        copy = (await client.post("/backup")).content
        back.mkdir()
        await asyncio.to_thread((back / DATABASE_NAME).write_bytes, copy)
        assert not any("backup" in path.name for path in left_in(there))
        return await everything(client)

    saved = run(save, composed(SqliteStore(there), data_dir=there))
    assert run(everything, composed(SqliteStore(back), data_dir=back)) == saved


async def test_a_store_without_a_copy_says_so(client: httpx.AsyncClient) -> None:
    """A node that keeps everything in memory has no backup, and that is 503."""
    error_of(await client.post("/backup"), 503, "unavailable")


# --- documentation ----------------------------------------------------------------------------


async def test_the_documentation_is_served(client: httpx.AsyncClient) -> None:
    """The OpenAPI document is JSON, and the page that shows it is HTML."""
    document = await client.get("/openapi.json")
    assert document.headers["content-type"] == "application/json"
    assert document.json()["openapi"].startswith("3.")
    page = await client.get("/docs")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.content.lower().startswith(b"<!doctype html>")
