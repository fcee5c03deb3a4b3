"""Whoever reads sees no difference: what was trimmed reads as it did before, to the byte."""

from __future__ import annotations

from pathlib import Path

import httpx

from fastpaca.testing import composed, running
from tests.archive.world import archived, archived_rows, fragile, local_seqs
from tests.kit.app import append, create
from tests.kit.messages import assistant, system, user
from tests.kit.postgres import run_sql

ODD = [
    user("before \u0000 and behind"),
    user({"z": 1, "type": "x", "a": 2**70, "f": 1.0, "e": 1e-7}, b=1),
    {"role": "r\u0000le", "parts": [], "metadata": {"z": None, "a": [1.0, "\uffff"]}, "id": "i"},
    assistant('中文 😀 \\ "', token_count=5),
]


async def reads(client: httpx.AsyncClient) -> dict[str, bytes]:
    """Read a context in every way there is; streams are read by their own tests."""
    path = "/v1/contexts/c"
    version = (await client.get(path)).json()["version"]
    asked = [
        "",
        "/tail",
        "/tail?limit=7&offset=3",
        "/tail?limit=10000",
        "/messages?limit=10000",
        "/messages?from_seq=2&limit=5",
        "/messages?from_seq=-9&to_seq=11",
        "/context",
        "/context?budget_tokens=60",
        "/compactions",
        *(f"/context?at_version={at}" for at in range(version + 1)),
    ]
    answers = {route: await client.get(path + route) for route in asked}
    assert {answer.status_code for answer in answers.values()} == {200}
    return {route: answer.content for route, answer in answers.items()}


async def tell(client: httpx.AsyncClient) -> None:
    """Tell a conversation with trims, a replacement, and messages that are hard to keep."""
    policy = {"strategy": "last_n", "config": {"limit": 4}}
    await create(client, token_budget=120, policy=policy)
    await append(client, system("You are kind."), *ODD)
    for number in range(12):
        await append(client, user(f"question {number} " + "x" * 60))
        await append(client, assistant(f"answer {number}"), *ODD)
    given = (await client.get("/v1/contexts/c/messages", params={"limit": 5})).json()["messages"]
    summary = assistant("So far: nothing.")
    answer = await client.post(
        "/v1/contexts/c/compact", json={"replacement": [summary, given[1], given[3]]}
    )
    assert answer.status_code == 200
    await append(client, user("and then?"), *ODD[:2])


async def test_everything_reads_as_before(tmp_path: Path, fast_dsn: str) -> None:
    """Tail, pages, windows of every version and compactions are equal, hot and cold."""
    store = archived(tmp_path, fast_dsn)
    async with running(composed(store)) as client:
        await tell(client)
        before = await reads(client)
        size = len(local_seqs(tmp_path))
        await store.writer.catch_up()
        left = len(local_seqs(tmp_path))
        assert (left, size) == (6, 80)
        assert await reads(client) == before
    async with running(composed(archived(tmp_path, fast_dsn))) as client:
        assert await reads(client) == before
    assert len(local_seqs(tmp_path)) == left


async def test_a_replacement_may_bring_trimmed_messages_back(tmp_path: Path, fast_dsn: str) -> None:
    """What a window refers to is held again, so that it can be rebuilt without the archive."""
    store = archived(tmp_path, fast_dsn)
    async with running(composed(store)) as client:
        await tell(client)
        await store.writer.catch_up()
        page = await client.get("/v1/contexts/c/messages", params={"from_seq": 9, "limit": 3})
        old = page.json()["messages"]
        assert not {9, 10, 11} & {seq for _, seq in local_seqs(tmp_path)}
        path = "/v1/contexts/c/compact"
        answer = await client.post(
            path, json={"replacement": old}, headers={"Idempotency-Key": "once"}
        )
        assert answer.status_code == 200
        hot = (await client.get("/v1/contexts/c/context")).content
        log = (await client.get("/v1/contexts/c/messages", params={"limit": 10_000})).content
        await store.writer.catch_up()
        assert b'"seq":9,' in hot
        assert [seq for _, seq in local_seqs(tmp_path)] == [9, 10, 11]
    archive = fragile(fast_dsn)
    store = archived(tmp_path, archive)
    async with running(composed(store)) as client:
        archive.is_down = True
        assert (await client.get("/v1/contexts/c/context")).content == hot
        archive.is_down = False
        await store.writer.catch_up()
        read = await client.get("/v1/contexts/c/messages", params={"limit": 10_000})
        assert read.content == log
        await append(client, user("on we go"))


async def test_a_replacement_that_needs_the_archive_waits_for_it(
    tmp_path: Path, fast_dsn: str
) -> None:
    """A window is never made of what cannot be held: the call is refused, and changes nothing."""
    archive = fragile(fast_dsn)
    store = archived(tmp_path, archive)
    async with running(composed(store)) as client:
        await tell(client)
        page = await client.get("/v1/contexts/c/messages", params={"from_seq": 9, "limit": 3})
        await store.writer.catch_up()
        before = (await client.get("/v1/contexts/c/context")).content
        archive.is_down = True
        answer = await client.post(
            "/v1/contexts/c/compact", json={"replacement": page.json()["messages"]}
        )
        assert (answer.status_code, answer.json()["error"]) == (503, "unavailable")
        assert (await client.get("/v1/contexts/c/context")).content == before


async def test_sql_gives_the_conversation(tmp_path: Path, fast_dsn: str) -> None:
    """A query gives all messages in order, with roles, parts, tokens and times to look at."""
    store = archived(tmp_path, fast_dsn)
    async with running(composed(store)) as client:
        await tell(client)
        await store.writer.catch_up()
        page = await client.get("/v1/contexts/c/messages", params={"limit": 10_000})
        told = page.json()["messages"]
    sql = "SELECT * FROM messages WHERE context_id = $1 ORDER BY seq"
    found = await run_sql(fast_dsn, sql, "c")
    assert [row["seq"] for row in found] == [message["seq"] for message in told]
    for row, message in zip(found, told, strict=True):
        assert row["role"] == message["role"].replace("\0", "\ufffd")
        assert row["version"] == message["version"]
        assert row["token_count"] == message["token_count"]
        assert row["inserted_at"].isoformat(timespec="microseconds") == (
            message["inserted_at"].replace("Z", "+00:00")
        )
    assert '{"z": 1, "type"'.replace(" ", "") in found[2]["parts"].replace(" ", "")
    assert str(2**70) in found[2]["parts"]
    assert "\\u0000" in found[1]["parts"]
    assert [name for name, _, _ in await archived_rows(fast_dsn)] == ["c"] * len(told)


async def test_a_read_that_needs_the_archive_waits_for_it(tmp_path: Path, fast_dsn: str) -> None:
    """Without the archive, older messages are 503 and never a short page; the rest is answered."""
    archive = fragile(fast_dsn)
    store = archived(tmp_path, archive, tail_keep=5)
    async with running(composed(store)) as client:
        await create(client, token_budget=40, policy={"strategy": "last_n", "config": {"limit": 4}})
        for _ in range(10):
            await append(client, user("a"), user("b"))
        await store.writer.catch_up()
        path = "/v1/contexts/c"
        before = await client.get(f"{path}/tail", params={"limit": 6})
        archive.is_down = True
        for route in ("/tail?limit=6", "/tail?offset=15", "/messages", "/messages?from_seq=15"):
            answer = await client.get(path + route)
            assert (answer.status_code, answer.json()["error"]) == (503, "unavailable"), route
            assert "archive" in answer.json()["message"]
        for route in (
            "/tail?limit=5",
            "/messages?from_seq=16",
            "/messages?from_seq=-5",
            "/context",
        ):
            assert (await client.get(path + route)).status_code == 200, route
        assert len(await append(client, user("c"))) == 1
        archive.is_down = False
        again = await client.get(f"{path}/tail", params={"limit": 6, "offset": 1})
        assert again.content == before.content
