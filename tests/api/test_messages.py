"""The message log over HTTP, beyond the golden stories: pages, limits, order and concurrency."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from fastpaca.testing import ManualClock, composed, running
from tests.kit.app import append, create, error_of
from tests.kit.messages import HELLO, user

LOG = "/v1/contexts/c/messages"
TAIL = "/v1/contexts/c/tail"


async def page(client: httpx.AsyncClient, path: str = LOG, **query: Any) -> tuple[list[int], Any]:
    """Read a page: the seqs of its messages, and its version."""
    response = await client.get(path, params=query)
    assert response.status_code == 200, response.text
    body = response.json()
    return [message["seq"] for message in body["messages"]], body.get("version")


@pytest.mark.parametrize(
    ("query", "seqs", "version"),
    [
        ({}, range(1, 6), 6),
        ({"from_seq": 0}, range(1, 6), 6),
        ({"from_seq": 1}, range(1, 6), 6),
        ({"from_seq": 5}, [5], 6),
        ({"from_seq": 6}, [], 6),
        ({"from_seq": 10**15}, [], 6),
        ({"from_seq": -1}, [5], 6),
        ({"from_seq": -5}, range(1, 6), 6),
        ({"from_seq": -99}, range(1, 6), 6),
        ({"from_seq": -4, "limit": 2}, [2, 3], 3),
        ({"from_seq": -4, "to_seq": 3}, [2, 3], 3),
        ({"from_seq": 2, "to_seq": 2}, [2], 2),
        ({"to_seq": 4}, range(1, 5), 4),
        ({"to_seq": 5}, range(1, 6), 6),
        ({"to_seq": 99}, range(1, 6), 6),
        ({"to_seq": 0}, [], 0),
        ({"limit": 1}, [1], 1),
        ({"limit": 5}, range(1, 6), 6),
        ({"limit": 10_000}, range(1, 6), 6),
    ],
)
async def test_the_log_is_read_forward(
    client: httpx.AsyncClient, query: dict[str, Any], seqs: list[int], version: int
) -> None:
    """A page holds what was asked for; at the end of the log its version is the current one."""
    await create(client, policy={"strategy": "manual"})
    await append(client, *(user(f"m{n}") for n in range(5)))
    await client.post("/v1/contexts/c/compact", json={"replacement": []})  # version 6
    assert await page(client, **query) == (list(seqs), version)


@pytest.mark.parametrize(
    ("query", "seqs"),
    [
        ({}, range(1, 6)),
        ({"limit": 2}, [4, 5]),
        ({"limit": 2, "offset": 2}, [2, 3]),
        ({"limit": 2, "offset": 4}, [1]),
        ({"offset": 5}, []),
        ({"offset": 10**15}, []),
        ({"limit": 10_000, "offset": 0}, range(1, 6)),
    ],
)
async def test_the_tail_skips_the_newest(
    client: httpx.AsyncClient, query: dict[str, Any], seqs: list[int]
) -> None:
    """The tail leaves out `offset` newest messages and gives `limit` before them, oldest first."""
    await create(client)
    await append(client, *(user(f"m{n}") for n in range(5)))
    assert await page(client, TAIL, **query) == (list(seqs), None)


async def test_a_reader_can_go_on_from_the_version_of_a_page(client: httpx.AsyncClient) -> None:
    """Reading page after page from where the last one ended gives every message once."""
    await create(client)
    found: list[int] = []
    for start in range(0, 1200, 400):
        await append(client, *(user(f"m{n}") for n in range(start, start + 400)))
        seqs, _ = await page(client, from_seq=len(found) + 1, limit=333)
        found += seqs
    while len(found) < 1200:
        seqs, _ = await page(client, from_seq=len(found) + 1, limit=333)
        found += seqs
    assert found == list(range(1, 1201))
    assert await page(client, limit=10_000) == (found, 1200)


async def test_pages_end_early_at_16_mib(client: httpx.AsyncClient) -> None:
    """A page of large messages ends early, never empty; the tail keeps the newest of them."""
    await create(client, token_budget=2**50)
    for _ in range(4):
        await append(client, user("x" * 6_000_000, token_count=1))
    assert await page(client) == ([1, 2], 2)
    assert await page(client, from_seq=3) == ([3, 4], 4)
    assert await page(client, TAIL) == ([3, 4], None)
    await append(client, user("x" * 16_700_000, token_count=1))
    assert await page(client, from_seq=5) == ([5], 5)
    assert await page(client, TAIL) == ([5], None)


async def test_a_batch_has_at_most_1000_messages(client: httpx.AsyncClient) -> None:
    """1000 messages are appended as one; one more is refused, and nothing of it is there."""
    await create(client)
    answer = await client.post(LOG, json={"messages": [HELLO] * 1001})
    assert error_of(answer, 400, "invalid_request")["field"] == "messages"
    assert await page(client) == ([], 0)
    results = await append(client, *[HELLO] * 1000)
    assert [one["version"] for one in results] == list(range(1, 1001))


async def test_a_batch_is_all_or_nothing(client: httpx.AsyncClient) -> None:
    """One message that cannot be used refuses the whole batch, and is named by its place."""
    await create(client)
    bad = user("a", {"type": 7})
    answer = await client.post(LOG, json={"messages": [HELLO, HELLO, bad, HELLO]})
    assert error_of(answer, 400, "invalid_request")["field"] == "messages[2].parts[1].type"
    assert await page(client) == ([], 0)


async def test_concurrent_appends_leave_no_hole(client: httpx.AsyncClient) -> None:
    """Many writers at once get seqs and versions of their own, and pages stay as they are."""
    await create(client)
    await append(client, user("first"))
    before = (await client.get(LOG, params={"to_seq": 1})).content
    answers = await asyncio.gather(
        *(client.post(LOG, json={"message": user(f"m{n}")}) for n in range(100)),
        *(client.post(LOG, json={"messages": [HELLO, HELLO]}) for _ in range(50)),
    )
    seqs = sorted(
        one["seq"] for answer in answers for one in answer.json().get("results", [answer.json()])
    )
    assert seqs == list(range(2, 202))
    assert (await client.get(LOG, params={"to_seq": 1})).content == before


async def test_concurrent_guards_let_one_through(client: httpx.AsyncClient) -> None:
    """Of many appends with the same `if_version` one is taken; the others learn the version."""
    await create(client)
    answers = await asyncio.gather(
        *(client.post(LOG, json={"message": HELLO, "if_version": 0}) for _ in range(10))
    )
    assert [a.status_code for a in answers].count(201) == 1
    for answer in answers:
        if answer.status_code != 201:
            body = error_of(answer, 409, "conflict")
            assert (body["expected"], body["found"]) == (0, 1)


async def test_times_never_fall_along_the_log() -> None:
    """A clock that goes back does not put a message before the one it follows."""
    clock = ManualClock()
    async with running(composed(clock=clock)) as client:
        await create(client)
        for seconds in (0, 5, -100, 1, 200):
            clock.advance(seconds)
            await append(client, HELLO)
        messages = (await client.get(TAIL)).json()["messages"]
        times = [message["inserted_at"] for message in messages]
        assert times == sorted(times)
        assert all(len(time) == 27 and time.endswith("Z") for time in times)


async def test_a_token_count_is_taken_verbatim(client: httpx.AsyncClient) -> None:
    """The caller's own count stands for the message, zero included; without one it is counted."""
    await create(client)
    results = await append(client, user("Hi"), user("Hi", token_count=0), user("Hi" * 400))
    assert [one["token_estimate"] for one in results] == [5, 0, 204]
    messages = (await client.get(TAIL)).json()["messages"]
    assert [message["token_count"] for message in messages] == [5, 0, 204]


async def test_bodies_of_all_sizes_are_read_alike(client: httpx.AsyncClient) -> None:
    """A message that is parsed and counted in a thread is kept like any other."""
    await create(client, token_budget=2**50)
    for size in (1, 1000, 200_000, 3_000_000):
        text = "é" * size
        answer = await client.post(LOG, json={"message": user(text)})
        assert answer.json()["token_estimate"] == 4 + -(-size // 4)
        assert (await client.get(TAIL, params={"limit": 1})).json()["messages"][0]["parts"] == [
            {"type": "text", "text": text}
        ]
    answer = await client.post(LOG, json={"message": {"parts": ["x" * 200_000]}})
    assert error_of(answer, 400, "invalid_request")["field"] == "message.role"
