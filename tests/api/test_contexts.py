"""Contexts over HTTP, beyond the golden stories: what writes nothing, what acts when, lists."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from fastpaca.testing import ManualClock, composed, running
from tests.kit.app import append, create, error_of, everything
from tests.kit.messages import user
from tests.kit.stores import ScriptedStore


async def test_put_that_changes_nothing_writes_nothing() -> None:
    """A PUT of what is there leaves everything as it is, `updated_at` included, and no commit."""
    clock, store = ManualClock(), ScriptedStore()
    metadata = {"a": [1, 2.5], "b": {"c": None}}
    policy = {"strategy": "skip_parts", "config": {"limit": 7}}
    fields: dict[str, Any] = {"token_budget": 900, "metadata": metadata, "policy": policy}
    async with running(composed(store, clock=clock)) as client:
        await create(client, **fields)
        before, commits = await everything(client), len(store.commits)
        clock.advance(60)
        same = {"strategy": "skip_parts", "config": {"target_ratio": 0.5, "limit": 7}}
        for body in ({}, fields, {"policy": same}, {"metadata": metadata}, {"trigger_ratio": 0.7}):
            assert (await client.put("/v1/contexts/c", json=body)).status_code == 200
        assert (await client.put("/v1/contexts/c")).status_code == 200
        patch = {"metadata": {"a": [1, 2.5], "none": None}}
        answer = await client.patch("/v1/contexts/c/metadata", json=patch)
        assert answer.status_code == 200
        assert await everything(client) == before
        assert len(store.commits) == commits


async def test_changes_of_a_context_move_updated_at_and_not_the_version() -> None:
    """PUT, PATCH and DELETE change `updated_at`; only appends and compactions change `version`."""
    clock = ManualClock()
    async with running(composed(clock=clock)) as client:
        await create(client)
        seen = set()
        for method, path, body in (
            ("PUT", "", {"token_budget": 9}),
            ("PATCH", "/metadata", {"metadata": {"a": 1}}),
            ("DELETE", "", None),
        ):
            clock.advance(1)
            await client.request(method, f"/v1/contexts/c{path}", json=body)
            found = (await client.get("/v1/contexts/c")).json()
            assert found["version"] == 0
            assert found["updated_at"] > found["created_at"]
            seen.add(found["updated_at"])
        assert len(seen) == 3


async def test_a_token_factor_scales_what_comes_after_it(client: httpx.AsyncClient) -> None:
    """What the node counts is scaled from now on; a caller's own count is taken as it is."""
    await create(client)
    await append(client, user("twelve words"))
    await client.put("/v1/contexts/c", json={"token_factor": 1.5})
    assert (await client.get("/v1/contexts/c")).json()["token_factor"] == 1.5
    await append(client, user("twelve words"), user("twelve words", token_count=3))
    messages = (await client.get("/v1/contexts/c/messages")).json()["messages"]
    before, after, told = (message["token_count"] for message in messages)
    assert 1.5 * before <= after < 1.5 * before + 3  # each piece is rounded up
    assert told == 3
    await client.put("/v1/contexts/c", json={"token_budget": 900})
    assert (await client.get("/v1/contexts/c")).json()["token_factor"] == 1.5


async def test_a_change_of_the_budget_acts_at_the_next_trigger(client: httpx.AsyncClient) -> None:
    """After a PUT the flag follows at once, while the stored window waits for the next append."""
    await create(client, token_budget=1000)
    await append(client, *(user(f"m{n}", token_count=20) for n in range(10)))
    await client.put("/v1/contexts/c", json={"token_budget": 100})
    view = (await client.get("/v1/contexts/c/context")).json()
    assert view["needs_compaction"] is True
    assert view["window_tokens"] == 200
    assert view["used_tokens"] <= 100
    await append(client, user("last", token_count=20))
    view = (await client.get("/v1/contexts/c/context")).json()
    assert view["needs_compaction"] is False
    assert view["window_tokens"] <= 50


async def test_metadata_keeps_a_null_that_was_put(client: httpx.AsyncClient) -> None:
    """Only in a merge a null takes a key away; a PUT keeps it as a value."""
    await create(client, metadata={"a": None, "b": {"c": None}})
    path = "/v1/contexts/c/metadata"
    answer = await client.patch(path, json={"metadata": {"b": {"d": None}}})
    assert answer.json()["metadata"] == {"a": None, "b": {"d": None}}
    answer = await client.patch(path, json={"metadata": {"a": None}})
    assert answer.json()["metadata"] == {"b": {"d": None}}


async def test_a_merge_may_not_name_a_key_twice(client: httpx.AsyncClient) -> None:
    """Two changes of one key contradict each other."""
    await create(client, metadata={"a": 1})
    answer = await client.patch(
        "/v1/contexts/c/metadata",
        content=b'{"metadata":{"a":2,"a":null}}',
        headers={"Content-Type": "application/json"},
    )
    assert error_of(answer, 400, "invalid_request")["field"] == "metadata.a"


@pytest.mark.parametrize("limit", [1, 7, 100, 199, 200, 201, 450, 10_000])
async def test_a_list_is_walked_by_its_cursor(client: httpx.AsyncClient, limit: int) -> None:
    """Page after page, every context comes once, in byte order, and `next` ends with null."""
    ids = sorted((f"c{n:03}" for n in range(450)), key=str.encode)
    await asyncio.gather(*(create(client, context_id) for context_id in ids))
    await client.delete(f"/v1/contexts/{ids[3]}?purge=true")
    found: list[str] = []
    after: str | None = ""
    while after is not None:
        query: dict[str, Any] = {"limit": limit, "after": after, "prefix": "c"}
        page = (await client.get("/v1/contexts", params=query)).json()
        assert len(page["contexts"]) <= limit
        found += [one["id"] for one in page["contexts"]]
        after = page["next"]
        assert after is None or after == found[-1]
    assert found == [*ids[:3], *ids[4:]]


async def test_a_list_of_large_contexts_ends_early(client: httpx.AsyncClient) -> None:
    """A page holds no more than about 16 MiB, and `next` goes on behind it."""
    ids = [f"c{n:03}" for n in range(210)]
    metadata = {"k": "x" * 100_000}
    for context_id in ids:
        await create(client, context_id, metadata=metadata)
    first = await client.get("/v1/contexts", params={"limit": 10_000})
    assert len(first.content) < 21_000_000
    after = first.json()["next"]
    assert after == ids[199]
    rest = (await client.get("/v1/contexts", params={"after": after})).json()
    assert [one["id"] for one in rest["contexts"]] == ids[200:]


async def test_concurrent_puts_create_once(client: httpx.AsyncClient) -> None:
    """Of many PUTs of one id at once, exactly one is answered with 201."""
    answers = await asyncio.gather(*(client.put("/v1/contexts/c") for _ in range(20)))
    assert sorted(answer.status_code for answer in answers) == [200] * 19 + [201]


async def test_purging_leaves_nothing_behind(client: httpx.AsyncClient) -> None:
    """After a purge no read finds anything, and no write makes the id live again."""
    await create(client, metadata={"secret": "word"})
    await append(client, user("secret word"))
    assert (await client.delete("/v1/contexts/c?purge=true")).status_code == 204
    for path in ("", "/messages", "/tail", "/context"):
        error_of(await client.get(f"/v1/contexts/c{path}"), 404, "not_found")
    assert (await client.get("/v1/contexts")).json() == {"contexts": [], "next": None}
    error_of(await client.put("/v1/contexts/c"), 409, "purged")
    assert (await client.delete("/v1/contexts/c")).status_code == 204


async def test_compact_on_a_purged_id_is_purged_whatever_it_holds(
    client: httpx.AsyncClient,
) -> None:
    """A replacement that refers to the log gets the same answer as one that does not."""
    await create(client)
    await append(client, user("One"))
    await client.delete("/v1/contexts/c?purge=true")
    for replacement in ([], [user("x")], [user("One", seq=1)]):
        answer = await client.post("/v1/contexts/c/compact", json={"replacement": replacement})
        error_of(answer, 409, "purged")
