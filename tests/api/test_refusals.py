"""Refused means untouched: no request that is refused leaves a trace, whatever it was."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from fastpaca.testing import ManualClock, composed, running
from tests.kit.app import append, create, everything
from tests.kit.messages import HELLO, user
from tests.kit.stores import ScriptedStore

PATH = "/v1/contexts/c"
OPAQUE: dict[str, Any] = {"content": b"{", "headers": {"Content-Type": "application/json"}}
BINARY: dict[str, Any] = {"content": b"\xff\xfe", "headers": {"Content-Type": "application/json"}}
FORM: dict[str, Any] = {"content": b"a=b", "headers": {"Content-Type": "text/plain"}}
EVIL: dict[str, Any] = {"headers": {"Origin": "https://evil.example.com"}}
LARGE: dict[str, Any] = {"json": {"metadata": {"k": "x" * 20_000}}}

REFUSED: list[tuple[str, str, dict[str, Any], int]] = [
    ("PUT", "", {"json": {"token_budget": 5, "metadata": {"a": 2}, "policy": {}}}, 400),
    ("PUT", "", {"json": {"token_budget": 5, "trigger_ratio": 0}}, 400),
    ("PUT", "", {"json": {"metadata": {"a": 2}, "unknown": 1}}, 400),
    ("PUT", "?x=1", {"json": {"token_budget": 5}}, 400),
    ("PUT", "", OPAQUE, 400),
    ("PUT", "", BINARY, 400),
    ("PUT", "", FORM, 415),
    ("PUT", "", LARGE, 413),
    ("PUT", "", {"json": {"token_budget": 5}, **EVIL}, 403),
    ("PATCH", "/metadata", {"json": {"metadata": {"a": None}, "x": 1}}, 400),
    ("PATCH", "/metadata", {"json": {"metadata": []}}, 400),
    ("PATCH", "/metadata", OPAQUE, 400),
    ("PATCH", "/metadata", LARGE, 413),
    ("POST", "/messages", {"json": {"message": HELLO, "if_version": 1}}, 409),
    ("POST", "/messages", {"json": {"message": HELLO, "if_version": 99}}, 409),
    ("POST", "/messages", {"json": {"message": HELLO, "if_version": -1}}, 400),
    ("POST", "/messages", {"json": {"messages": [HELLO] * 5 + [{"role": "x"}]}}, 400),
    ("POST", "/messages", {"json": {"messages": [HELLO], "message": HELLO}}, 400),
    ("POST", "/messages", {"json": {"message": HELLO}, "headers": {"Idempotency-Key": "é"}}, 400),
    ("POST", "/messages?limit=1", {"json": {"message": HELLO}}, 400),
    ("POST", "/messages", OPAQUE, 400),
    ("POST", "/messages", {"json": {"message": HELLO}, **EVIL}, 403),
    ("POST", "/messages/", {"json": {"message": HELLO}}, 404),
    ("PUT", "/messages", {"json": {"message": HELLO}}, 405),
    ("POST", "/compact", {"json": {"replacement": [], "if_version": 1}}, 409),
    ("POST", "/compact", {"json": {"replacement": [HELLO, {"role": "user"}]}}, 400),
    ("POST", "/compact", {"json": {"replacement": [], "x": 1}}, 400),
    ("POST", "/compact", OPAQUE, 400),
    ("DELETE", "?purge=1", {}, 400),
    ("DELETE", "?purge=true&purge=true", {}, 400),
    ("DELETE", "?force=true", {}, 400),
    ("DELETE", "", EVIL, 403),
    ("DELETE", "/messages", {}, 405),
    ("POST", "", {}, 405),
]


@pytest.mark.parametrize(
    ("method", "path", "options", "status"),
    REFUSED,
    ids=[f"{status} {method} {path} {n}" for n, (method, path, _, status) in enumerate(REFUSED)],
)
@pytest.mark.parametrize("deleted", [False, True])
async def test_a_refusal_leaves_no_trace(
    method: str, path: str, options: dict[str, Any], status: int, deleted: bool
) -> None:
    """Representation, log, window and list are the same bytes as before; nothing is written."""
    store, clock = ScriptedStore(), ManualClock()
    async with running(composed(store, clock=clock, body_bytes_max=10_000)) as client:
        await create(client, metadata={"a": 1}, token_budget=60)
        await append(client, *(user(f"m{n}", token_count=9) for n in range(9)))
        if deleted:
            await client.delete(PATH)
        before, commits = await everything(client), len(store.commits)
        clock.advance(1)
        options_sent = dict(options)
        if isinstance(options_sent.get("headers"), dict):
            options_sent["headers"] = {
                name: value.encode() for name, value in options_sent["headers"].items()
            }
        answer = await client.request(method, PATH + path, **options_sent)
        expected = {status, 409} if deleted else {status}
        assert answer.status_code in expected, answer.text
        assert await everything(client) == before
        assert len(store.commits) == commits


@pytest.mark.parametrize("path", ["/metadata", "/messages", "/compact", "", "?purge=true"])
async def test_a_refusal_creates_no_context(path: str) -> None:
    """Writing to what does not exist is 404, and there is still nothing."""
    store = ScriptedStore()
    method = {"/metadata": "PATCH", "": "DELETE", "?purge=true": "DELETE"}.get(path, "POST")
    bodies = {"/metadata": {"metadata": {}}, "/messages": {"message": HELLO}}
    body = bodies.get(path, {"replacement": []})
    async with running(composed(store)) as client:
        answer = await client.request(method, PATH + path, json=body)
        assert answer.status_code == 404
        assert (await client.get("/v1/contexts")).json()["contexts"] == []
        assert store.commits == []


async def test_the_schema_is_checked_before_the_context(client: httpx.AsyncClient) -> None:
    """A body that cannot be used is 400 also where there is no context, or a deleted one."""
    bad = {"message": {"role": 5, "parts": []}}
    assert (await client.post(f"{PATH}/messages", json=bad)).status_code == 400
    await create(client)
    await client.delete(PATH)
    assert (await client.post(f"{PATH}/messages", json=bad)).status_code == 400
    late = {"message": HELLO, "if_version": 99}
    answer = await client.post(f"{PATH}/messages", json=late)
    assert answer.json()["error"] == "tombstoned"  # before the version is looked at
