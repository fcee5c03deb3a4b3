"""Work that grows with what clients send and keep is not done on the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
from collections.abc import Iterator
from functools import partial
from types import FrameType
from typing import Any

import httpx
import pytest

from fastpaca.offload import (
    INLINE_SECONDS,
    LONG_AT_ONCE,
    LONG_SECONDS,
    Places,
    Work,
    offload,
    steps,
)
from fastpaca.testing import composed
from tests.kit.app import append, create, run
from tests.kit.messages import tool, user

A_SECOND_A_BYTE = Work(byte_ns=1e9)

LARGE_BYTES = 1024 * 1024

HEAVY = {
    ("fastpaca/api/bodies.py", "parse_append"),
    ("fastpaca/api/bodies.py", "parse_compact"),
    ("fastpaca/tokens/counts.py", "count_message"),
    ("fastpaca/context/context.py", "apply"),
    ("fastpaca/context/context.py", "view"),
    ("fastpaca/engine/rows.py", "rebuilt"),
    ("fastpaca/references.py", "is_unchanged"),
}
"""What takes a message apart, walks over its text or writes it anew."""


def thread_of_work(seconds: float) -> threading.Thread:
    """Do work that is foreseen to take so long, and return the thread in which it is done."""
    kind = Work(byte_ns=1e9 * seconds)
    return asyncio.run(offload(kind, 1, threading.current_thread))


def test_short_work_is_done_at_once() -> None:
    """A thread is not asked for what is done sooner than it is handed over."""
    assert thread_of_work(INLINE_SECONDS) is threading.current_thread()


@pytest.mark.parametrize("seconds", [1.01 * INLINE_SECONDS, 1.01 * LONG_SECONDS, 60.0])
def test_other_work_leaves_the_event_loop(seconds: float) -> None:
    """What would hold up everybody is done in a thread."""
    assert thread_of_work(seconds) is not threading.current_thread()


def test_items_cost_beside_their_bytes() -> None:
    """Many small things are as long a work as few large ones."""
    kind = Work(byte_ns=0, item_us=1)
    assert kind.is_inline(10**9, items=int(1e6 * INLINE_SECONDS))
    assert not kind.is_inline(0, items=int(1e6 * INLINE_SECONDS) + 1)


async def test_long_work_waits_for_a_place_and_shorter_work_does_not() -> None:
    """So many threads work on large messages at once; a smaller one is served meanwhile."""
    release = threading.Event()
    running: list[None] = []

    def long() -> None:
        running.append(None)
        release.wait()

    tasks = [asyncio.create_task(offload(A_SECOND_A_BYTE, 1, long)) for _ in range(9)]
    shorter = Work(byte_ns=1e9 * LONG_SECONDS)
    while len(running) < LONG_AT_ONCE:
        await offload(shorter, 1, lambda: None)
    for _ in range(20):
        await offload(shorter, 1, lambda: None)
    assert len(running) == LONG_AT_ONCE
    release.set()
    await asyncio.gather(*tasks)
    assert len(running) == 9


@pytest.mark.parametrize("sizes", [[], [1], [1] * 7, [9, 1, 1, 9], [1, 9, 9, 1, 1]])
def test_steps_cover_everything_once(sizes: list[int]) -> None:
    """Steps are as long as the event loop allows, and one item is never divided."""
    kind = Work(byte_ns=1e9 * INLINE_SECONDS / 3)
    taken = list(steps(kind, sizes))
    assert [n for start, end in taken for n in range(start, end)] == list(range(len(sizes)))
    for start, end in taken:
        assert end == start + 1 or sum(sizes[start:end]) <= 3


@contextlib.contextmanager
def noted(found: list[str]) -> Iterator[None]:
    """Note each heavy function that this thread calls, by a hook that other threads don't have."""

    def note(frame: FrameType, event: str, _: Any) -> None:
        if event == "call":
            code = frame.f_code
            name = code.co_filename.rpartition("/src/")[2]
            if (name, code.co_name) in HEAVY:
                found.append(code.co_name)

    sys.setprofile(note)
    try:
        yield
    finally:
        sys.setprofile(None)


def large(kind: str) -> dict[str, Any]:
    """Make a large message."""
    text = "some words and more of them. " * (LARGE_BYTES // 29)
    if kind == "text":
        return user(text)
    if kind == "result":
        records = [{"id": number, "ok": True} for number in range(LARGE_BYTES // 22)]
        part = {"type": "tool_result", "tool_call_id": "c", "content": records}
        return tool(part)
    return user(*[text[:2000]] * (LARGE_BYTES // 2000))


@pytest.mark.parametrize(
    ("kind", "policy"),
    [("text", "last_n"), ("result", "last_n"), ("parts", "manual"), ("parts", "skip_parts")],
)
def test_no_request_works_on_a_large_message_on_the_event_loop(kind: str, policy: str) -> None:
    """It is taken apart, counted, applied, fitted, compared and loaded in threads."""
    node = composed(hot_bytes=1)
    found: list[str] = []
    message = large(kind)
    path = "/v1/contexts/c"

    async def story(client: httpx.AsyncClient) -> None:
        await create(client, token_budget=2000, policy={"strategy": policy})
        await append(client, message)
        follower = await node.engine.hub.follow("c", 0, lambda frame: b"")
        body = {"message": message}
        requests = [
            partial(client.post, f"{path}/messages", json=body, headers={"Idempotency-Key": "k"}),
            partial(client.get, f"{path}/context", params={"budget_tokens": 500}),
            partial(client.get, f"{path}/context", params={"at_version": 1}),
            partial(client.get, f"{path}/messages"),
            partial(client.post, f"{path}/compact", json={"replacement": [{**message, "seq": 1}]}),
            partial(client.get, f"{path}/context", params={"budget_tokens": 500}),
        ]
        for request in requests:
            with noted(found):
                reply = await request()
            assert reply.is_success, reply.text
        with noted(found):
            while follower.cursor < 3:
                await follower.next()
        follower.close()

    run(story, node)
    assert found == []


async def test_what_was_taken_apart_goes_before_what_is_still_to_be() -> None:
    """Of what waits for a place, bodies that nobody has looked at yet come last."""
    done: list[str] = []
    places = Places(1)
    await places.take(comes_last=False)

    async def work(name: str, *, comes_last: bool) -> None:
        await places.take(comes_last=comes_last)
        done.append(name)
        places.leave()

    tasks = [
        asyncio.create_task(work("parse 1", comes_last=True)),
        asyncio.create_task(work("parse 2", comes_last=True)),
        asyncio.create_task(work("count", comes_last=False)),
        asyncio.create_task(work("leaves", comes_last=False)),
        asyncio.create_task(work("fit", comes_last=False)),
    ]
    await asyncio.sleep(0)
    tasks[3].cancel()
    places.leave()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert done == ["count", "fit", "parse 1", "parse 2"]


async def test_a_place_is_not_lost_with_who_was_given_it() -> None:
    """Whoever is cancelled in the moment of its turn hands the place on."""
    places = Places(1)
    await places.take(comes_last=False)
    waiting = asyncio.create_task(places.take(comes_last=True))
    await asyncio.sleep(0)
    places.leave()
    waiting.cancel()
    await asyncio.wait([waiting])
    await asyncio.wait_for(places.take(comes_last=False), 60)
