"""`Idempotency-Key`: a request is done once, and answered as before."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from fastpaca.testing import ManualClock, composed, running
from tests.kit.app import append, create, error_of, everything, run
from tests.kit.messages import HELLO, user
from tests.kit.requests import body_headers, send
from tests.kit.stores import ScriptedStore

LOG = "/v1/contexts/c/messages"
COMPACT = "/v1/contexts/c/compact"


async def keyed(
    client: httpx.AsyncClient, key: str, path: str = LOG, **body: object
) -> httpx.Response:
    return await client.post(
        path, json=body or {"message": HELLO}, headers={"Idempotency-Key": key}
    )


async def test_a_retry_is_answered_as_before_and_changes_nothing(client: httpx.AsyncClient) -> None:
    """The same key, method, path and body give the same status and bytes, marked as a replay."""
    await create(client)
    for path, body in (
        (LOG, {"message": user("One")}),
        (LOG, {"messages": [user("Two"), user("Three")]}),
        (COMPACT, {"replacement": [user("All", seq=3)]}),
    ):
        first = await keyed(client, f"key {body}", path, **body)
        assert first.is_success
        assert "idempotent-replayed" not in first.headers
        before = await everything(client)
        again = await keyed(client, f"key {body}", path, **body)
        assert again.headers["idempotent-replayed"] == "true"
        assert (again.status_code, again.content) == (first.status_code, first.content)
        assert await everything(client) == before


async def test_a_key_stands_for_one_request_only(client: httpx.AsyncClient) -> None:
    """Another path, place or body under a used key is a conflict, and changes nothing."""
    await create(client)
    await create(client, "other")
    assert (await keyed(client, "k")).is_success
    before = await everything(client)
    for path, body in (
        (LOG, {"message": user("Other")}),
        (LOG, {"message": HELLO, "if_version": None}),
        (LOG, {"messages": [HELLO]}),
        ("/v1/contexts/other/messages", {"message": HELLO}),
        (COMPACT, {"replacement": [HELLO]}),
    ):
        answer = await keyed(client, "k", path, **body)
        error_of(answer, 409, "idempotency_conflict")
    spaced = await client.post(
        LOG,
        content=b'{"message": {"role":"user","parts":[]}} ',
        headers={"Idempotency-Key": "k", "Content-Type": "application/json"},
    )
    error_of(spaced, 409, "idempotency_conflict")
    assert await everything(client) == before
    assert (await keyed(client, "K")).is_success


async def test_the_encoding_of_the_path_does_not_matter() -> None:
    """A retry that percent-encodes the id in another way is the same request."""
    node = composed()
    body = b'{"message":{"role":"user","parts":[]}}'
    async with running(node) as client:
        await create(client, "a%2Fb")
        headers = [*body_headers(body), (b"idempotency-key", b"k")]
        for path, replayed in ((b"a%2Fb", None), (b"%61%2fb", "true")):
            full = b"/v1/contexts/" + path + b"/messages"
            reply = await send(node.app, "POST", full, headers=headers, pieces=[body])
            assert reply.status == 201
            assert reply.headers.get("idempotent-replayed") == replayed


async def test_a_refused_request_does_not_use_up_its_key(client: httpx.AsyncClient) -> None:
    """Only a 2xx answer is stored: after a 400, 404 or 409 the key is as good as new."""
    error_of(await keyed(client, "k"), 404, "not_found")
    await create(client)
    error_of(await keyed(client, "k", message={"role": 1}), 400, "invalid_request")
    error_of(await keyed(client, "k", message=HELLO, if_version=5), 409, "conflict")
    answer = await keyed(client, "k", message=user("Something else"))
    assert answer.status_code == 201
    assert "idempotent-replayed" not in answer.headers


async def test_a_replay_comes_before_the_checks_of_state(client: httpx.AsyncClient) -> None:
    """A retry is answered as before though its version has passed and the context was deleted."""
    await create(client)
    first = await keyed(client, "k", message=HELLO, if_version=0)
    await append(client, user("More"))
    assert (await keyed(client, "k", message=HELLO, if_version=0)).content == first.content
    await client.delete("/v1/contexts/c")
    assert (await keyed(client, "k", message=HELLO, if_version=0)).content == first.content
    error_of(await keyed(client, "new"), 409, "tombstoned")
    error_of(await keyed(client, "k"), 409, "idempotency_conflict")
    await client.delete("/v1/contexts/c?purge=true")
    error_of(await keyed(client, "k", message=HELLO, if_version=0), 409, "purged")


async def test_answers_are_kept_for_seven_days() -> None:
    """A retry a week later is still a replay, also once old answers were cleared away."""
    clock = ManualClock()
    node = composed(clock=clock)
    async with running(node) as client:
        await create(client)
        await keyed(client, "k")
        clock.advance(7 * 24 * 3600 - 1)
        await node.engine.forget_old_records()
        assert (await keyed(client, "k")).headers["idempotent-replayed"] == "true"


async def test_concurrent_retries_are_done_once() -> None:
    """Of many requests with one key at once, one is done, and all have its answer."""
    store = ScriptedStore()
    async with running(composed(store)) as client:
        await create(client)
        store.gate.clear()
        tasks = [asyncio.create_task(keyed(client, "k")) for _ in range(10)]
        await asyncio.sleep(0.01)
        store.gate.set()
        answers = await asyncio.gather(*tasks)
        assert {answer.content for answer in answers} == {answers[0].content}
        replays = [answer.headers.get("idempotent-replayed") for answer in answers]
        assert replays.count(None) == 1
        assert (await client.get("/v1/contexts/c")).json()["last_seq"] == 1


@pytest.mark.parametrize("key", [b"k", b" ", b"~", b"a b", b"x" * 255, b'"{}"'])
def test_keys_are_printable_ascii(key: bytes) -> None:
    """Any 1 to 255 printable ASCII characters are a key."""
    assert status_with(key) == 201


@pytest.mark.parametrize("key", [b"", b"x" * 256, b"a\tb", b"\x7f", b"\xc3\xa9", b"a\x00"])
def test_other_keys_are_refused(key: bytes) -> None:
    """Empty, long and other keys are 400, and nothing is done."""
    assert status_with(key) == 400


def status_with(key: bytes) -> int:
    node = composed()
    body = b'{"message":{"role":"user","parts":[]}}'

    async def story(client: httpx.AsyncClient) -> int:
        await create(client)
        headers = [*body_headers(body), (b"idempotency-key", key)]
        path = b"/v1/contexts/c/messages"
        reply = await send(node.app, "POST", path, headers=headers, pieces=[body])
        if reply.status != 201:
            assert reply.json()["field"] == "Idempotency-Key"
            assert (await client.get("/v1/contexts/c")).json()["version"] == 0
        return reply.status

    return run(story, node)


async def test_two_keys_are_one_too_many(client: httpx.AsyncClient) -> None:
    """A request with two keys could be stored under either; it is refused."""
    await create(client)
    headers = [("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
    answer = await client.post(LOG, json={"message": HELLO}, headers=headers)
    assert error_of(answer, 400, "invalid_request")["field"] == "Idempotency-Key"


async def test_other_routes_ignore_the_key(client: httpx.AsyncClient) -> None:
    """PUT, PATCH and DELETE are idempotent by themselves."""
    headers = {"Idempotency-Key": "k"}
    for _ in range(2):
        answer = await client.put("/v1/contexts/c", headers=headers)
        assert "idempotent-replayed" not in answer.headers
    assert (await keyed(client, "k")).status_code == 201
