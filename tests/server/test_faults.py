"""
A real node on a disk that fails: what it says is true, and what it can still do it does.

`tests.sim` has every failure at every moment, within one process. Here it is seen what becomes of
the process, of its clients, and of the one that is started next.
"""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Any

import pytest

from fastpaca.store.sqlite.store import SqliteStore
from fastpaca.testing import composed, running
from tests.kit.faulty import faulty_vfs
from tests.kit.http import GONE, Client, Reply, connected, until
from tests.kit.load import Load
from tests.kit.messages import user
from tests.kit.process import DidNotStart, Process
from tests.server.brittle import ERRORS, brittle

CLIENTS = 8


def fail(directory: Path, what: str, error: str) -> None:
    """Let an operation fail from now on, see `tests.server.brittle`."""
    faults = directory / "faults"
    faults.mkdir(exist_ok=True)
    (faults / "new").write_text(error)
    (faults / "new").rename(faults / what)


def mend(directory: Path) -> None:
    """Let nothing fail any more."""
    for fault in (directory / "faults").iterdir():
        fault.unlink()


async def append(http: Client, key: str, text: str = "Hello") -> Reply:
    message = user(text, id=key)
    return await http.ask("POST", "/v1/contexts/a/messages", {"message": message}, key)


async def log(http: Client, context_id: str = "a") -> list[str]:
    """Read the ids of the messages of a context."""
    reply = await http.ask("GET", f"/v1/contexts/{context_id}/messages?limit=1000")
    assert reply.status == 200, reply
    return [message["id"] for message in reply.json["messages"]]


async def health(http: Client) -> tuple[int, int]:
    live = await http.ask("GET", "/health/live")
    ready = await http.ask("GET", "/health/ready")
    return live.status, ready.status


def error_of(reply: Reply) -> tuple[int, str]:
    return reply.status, reply.json["error"]


def ended(process: Process) -> str:
    """Wait until *process* has ended by itself as after a fatal error, and give what it logged."""
    assert process.wait() == 1
    assert "Traceback" not in process.errors
    return process.errors


# --- failures that are certain ----------------------------------------------------------------


@pytest.mark.parametrize("error", ["full", "write"])
async def test_write_that_fails_changes_nothing_and_reads_go_on(tmp_path: Path, error: str) -> None:
    """
    A full or read-only disk: writes are 503 `unavailable` with Retry-After, the node stays alive
    and ready and reads go on; when there is room again, so do writes, without a restart.
    """
    with brittle(tmp_path) as process:
        async with connected(process.port) as http:
            assert (await http.ask("PUT", "/v1/contexts/a", {})).status == 201
            assert (await append(http, "k1")).status == 201
            fail(tmp_path, "write-wal", error)
            refused = await append(http, "k2")
            assert error_of(refused) == (503, "unavailable")
            assert refused.headers["retry-after"] == "1"
            assert (await http.ask("PUT", "/v1/contexts/b", {})).status == 503
            assert (await http.ask("DELETE", "/v1/contexts/a")).status == 503
            assert await log(http) == ["k1"]
            assert (await http.ask("GET", "/v1/contexts/b")).status == 404
            assert await health(http) == (200, 200)
            mend(tmp_path)
            again = await append(http, "k2")
            assert again.status == 201
            assert "idempotent-replayed" not in again.headers
            assert await log(http) == ["k1", "k2"]
        process.kill()
    with brittle(tmp_path) as process:
        async with connected(process.port) as http:
            assert await log(http) == ["k1", "k2"]


async def write_until_refused(process: Process, load: Load) -> None:
    """Let clients write until each of them is told to try again later."""
    async with asyncio.timeout(60):
        await asyncio.gather(*(load.keep_writing(process.port) for _ in range(CLIENTS)))
    assert process.code is None


async def write_again_then_kill(process: Process, load: Load) -> None:
    """Let clients go on with what they were refused, and more."""
    async with asyncio.TaskGroup() as clients:
        for _ in range(CLIENTS):
            clients.create_task(load.keep_writing(process.port))
        await load.answered(100)
        process.kill()


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["write-wal full", "write-wal write", "write-db full"])
async def test_load_survives_a_full_disk(tmp_path: Path, fault: str) -> None:
    """
    Clients that write as the disk fills up, in the log or under a checkpoint, repeat themselves
    when there is room: nothing that was refused is there, and nothing is there twice.
    """
    load = Load(contexts=8, seed=1)
    with brittle(tmp_path) as process:
        await load.create(process.port)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(write_until_refused(process, load))
            await load.answered(50)
            fail(tmp_path, *fault.split())
        await load.check(process.port)
        mend(tmp_path)
        await write_again_then_kill(process, load)
    with brittle(tmp_path) as process:
        await load.check_to_the_end(process.port)


@pytest.mark.slow
async def test_load_survives_a_limit_of_the_system(tmp_path: Path) -> None:
    """
    The same where the system itself writes a part of what it is told to and then no more.
    """
    load = Load(contexts=8, seed=2)
    with brittle(tmp_path, "--file-bytes=500001") as process:
        await load.create(process.port)
        await write_until_refused(process, load)
        await load.check(process.port)
        process.send(signal.SIGUSR1)
        await write_again_then_kill(process, load)
    assert (tmp_path / "data" / "fastpaca.db-wal").stat().st_size > 500_001
    with brittle(tmp_path) as process:
        await load.check_to_the_end(process.port)


async def test_read_that_fails_may_be_tried_again(tmp_path: Path) -> None:
    """
    What is in memory is read on; what is not is 503 `unavailable`, and there when the disk is.
    """
    with brittle(tmp_path) as process:
        async with connected(process.port) as http:
            for name in "ab":
                assert (await http.ask("PUT", f"/v1/contexts/{name}", {})).status == 201
            assert (await append(http, "k1")).status == 201
        assert process.stop() == 0
    with brittle(tmp_path) as process:
        async with connected(process.port) as http:
            assert (await http.ask("GET", "/v1/contexts/b/context")).status == 200
            fail(tmp_path, "read-db", "read")
            assert error_of(await http.ask("GET", "/v1/contexts/a/messages")) == (
                503,
                "unavailable",
            )
            assert error_of(await append(http, "k2")) == (503, "unavailable")
            assert (await http.ask("GET", "/v1/contexts/b/context")).status == 200
            assert await health(http) == (200, 200)
            mend(tmp_path)
            assert await log(http) == ["k1"]
            assert (await append(http, "k2")).status == 201


async def test_damaged_page_harms_what_is_on_it_alone(tmp_path: Path) -> None:
    """
    A conversation whose page is damaged is 503 `unavailable`; others are read and written on.
    """
    with brittle(tmp_path) as process:
        async with connected(process.port) as http:
            for name in ("a", "z"):
                assert (await http.ask("PUT", f"/v1/contexts/{name}", {})).status == 201
            for number in range(40):
                assert (await append(http, f"k{number}", "DAMAGED " * 40)).status == 201
            body = {"message": {"role": "user", "parts": [], "id": "unharmed"}}
            assert (await http.ask("POST", "/v1/contexts/z/messages", body)).status == 201
        assert process.stop() == 0
    damage(tmp_path / "data" / "fastpaca.db", b"DAMAGED DAMAGED")
    with brittle(tmp_path) as process:
        async with connected(process.port) as http:
            for path in ("/messages", "/tail", "/context"):
                damaged = await http.ask("GET", f"/v1/contexts/a{path}")
                assert error_of(damaged) == (503, "unavailable")
            assert error_of(await append(http, "late")) == (503, "unavailable")
            assert await log(http, "z") == ["unharmed"]
            body = {"message": {"role": "user", "parts": [], "id": "new"}}
            assert (await http.ask("POST", "/v1/contexts/z/messages", body)).status == 201
            assert await log(http, "z") == ["unharmed", "new"]
            assert await health(http) == (200, 200)
        assert process.stop() == 0
        assert "Traceback" not in process.errors


def damage(database: Path, text: bytes) -> None:
    """Spoil the beginning of the first page that holds *text*."""
    content = bytearray(database.read_bytes())
    page = content.index(text) // 4096 * 4096
    content[page : page + 64] = b"\xff" * 64
    database.write_bytes(content)


# --- failures that are fatal ------------------------------------------------------------------


async def test_failed_sync_of_a_commit_ends_the_node(tmp_path: Path) -> None:
    """
    The write is 503 `outcome_unknown`, and the process ends with an error. In the next one all that
    was acknowledged is there, and what was not is found out by its key.
    """
    with brittle(tmp_path) as process:
        async with connected(process.port) as http:
            assert (await http.ask("PUT", "/v1/contexts/a", {})).status == 201
            assert (await append(http, "k1")).status == 201
            fail(tmp_path, "sync-wal", "sync")
            assert error_of(await append(http, "k2")) == (503, "outcome_unknown")
        assert "a sync failed" in ended(process)
    mend(tmp_path)
    await check_next_start(tmp_path, ["k1"])


async def test_failed_sync_of_an_idle_node_ends_it(tmp_path: Path) -> None:
    """
    A checkpoint that cannot sync while nobody asks for anything: the node says so and ends, without
    waiting for the next write to tell.
    """
    with brittle(tmp_path) as process:
        async with connected(process.port) as http:
            assert (await http.ask("PUT", "/v1/contexts/a", {})).status == 201
            fail(tmp_path, "sync-db", "sync")
            assert (await append(http, "k1", "x" * 400_000)).status == 201
        errors = ended(process)
        assert "a sync failed in a checkpoint" in errors
        assert errors.count('"level":"critical"') == 1
    mend(tmp_path)
    await check_next_start(tmp_path, ["k1"])


async def check_next_start(directory: Path, acknowledged: list[str]) -> None:
    """Start again: the log was copied before anything is served, and nothing is missing."""
    assert (directory / "data" / "fastpaca.db-wal").stat().st_size > 0
    with brittle(directory) as process:
        assert (directory / "data" / "fastpaca.db-wal").stat().st_size == 0
        async with connected(process.port) as http:
            found = await log(http)
            assert found in (acknowledged, [*acknowledged, "k2"])
            again = await append(http, "k2")
            assert again.status == 201
            assert ("idempotent-replayed" in again.headers) == ("k2" in found)
            assert await log(http) == [*acknowledged, "k2"]
        assert process.stop() == 0


async def test_liveness_fails_before_the_node_ends(tmp_path: Path) -> None:
    """
    Whoever asks a node whose checkpoint could not sync is told that it is of no use, until it is
    gone, and writes are refused without being tried.
    """
    with brittle(tmp_path) as process:
        async with connected(process.port) as http:
            assert (await http.ask("PUT", "/v1/contexts/a", {})).status == 201
            fail(tmp_path, "sync-db", "sync")
            assert (await append(http, "k1", "x" * 400_000)).status == 201
            answers = await answers_until_gone(http)
        ended(process)
    statuses = [reply.status for reply in answers]
    assert statuses == sorted(statuses), "it was well again after it had failed"
    assert {reply.json["status"] for reply in answers if reply.status == 503} <= {"degraded"}


async def answers_until_gone(http: Client) -> list[Reply]:
    """Ask for the health of a node until it closes the connection."""
    answers: list[Reply] = []
    try:
        while True:
            answers.append(await http.ask("GET", "/health/live"))
    except GONE:
        return answers


async def test_failure_that_nobody_waits_for_is_told(tmp_path: Path) -> None:
    """
    A store that finds out by itself that it can't be trusted fails liveness without any request.
    """
    reasons: list[str] = []

    def lose(reason: str) -> None:
        reasons.append(reason)
        node.engine.fail(reason)

    with faulty_vfs() as faults:
        store = SqliteStore(tmp_path, vfs=faults.name, wal_bytes_max=1024 * 1024, on_fatal=lose)
        node = composed(store)
        async with running(node) as client:
            await client.put("/v1/contexts/a")
            faults.fail("sync", ".db", ERRORS["sync"])
            message = user("x" * 400_000)
            path = "/v1/contexts/a/messages"
            assert (await client.post(path, json={"message": message})).status_code == 201
            await until(lambda: reasons)
            faults.stop()
            found: dict[str, Any] = (await client.get("/health/live")).json()
            assert found["status"] == "degraded"
            assert "a sync failed in a checkpoint" in found["reason"]
            refused = await client.post(path, json={"message": message})
            assert (refused.status_code, refused.json()["error"]) == (503, "unavailable")
            assert (await client.get("/v1/contexts/a")).json()["version"] == 1
    assert len(reasons) == 1


@pytest.mark.parametrize("place", ["db", "wal"])
async def test_start_that_cannot_sync_is_refused(tmp_path: Path, place: str) -> None:
    """
    A log that cannot be brought into the database is told in a sentence, and nothing is served; the
    next start finds everything.
    """
    with brittle(tmp_path) as process:
        async with connected(process.port) as http:
            assert (await http.ask("PUT", "/v1/contexts/a", {})).status == 201
            assert (await append(http, "k1")).status == 201
        process.kill()
    fail(tmp_path, f"sync-{place}", "sync")
    with pytest.raises(DidNotStart, match="cannot be used") as caught, brittle(tmp_path):
        pass
    assert caught.value.code == 1
    assert "Traceback" not in str(caught.value)
    mend(tmp_path)
    await check_next_start(tmp_path, ["k1"])
