"""
For how long a single request keeps all others waiting, and what they notice of it.

The longest gap in the heartbeat of the event loop, for each kind of request that does a lot of
work; and the p99 of small reads beside such requests, against the same reads alone.
"""

from __future__ import annotations

import json
import random
import statistics
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import httpx

from bench.heartbeat import Pulse, watched
from bench.measure import VIEW, Bench, Result, create, fill

STRUCTURED_BYTES: Final = 5 * 1024 * 1024
HUGE_BYTES: Final = 15 * 1024 * 1024
BUDGET: Final = 1_000_000_000
TIMES: Final = 5

Work = Callable[[], object]


def stalls_of_requests(bench: Bench) -> Iterator[Result]:
    """The longest gap of the event loop while one large request is served."""
    with watched() as (port, pulse), client(port) as http:
        for what, work in heavy_requests(http):
            gaps = [_gap(pulse, work) for _ in range(max(bench.repeats, TIMES))]
            yield Result(f"ms of stall: {what}", "<= 20", gaps, f"at worst {max(gaps):.1f} ms")


def neighbours_of_requests(bench: Bench) -> Iterator[Result]:
    """The p99 of small reads beside large requests, against the same reads alone."""
    with watched() as (port, _), client(port) as http:
        create(port, 64)
        fill(port, 64, 10, text_bytes=200)

        def p99() -> float:
            return bench.run(port, VIEW, connections=8, contexts=64).p99_ms

        for what, work in heavy_requests(http):

            def p99_beside(work: Work = work) -> float:
                with repeated(work):
                    return p99()

            pairs = [(p99_beside(), p99()) for _ in range(bench.repeats)]
            beside, alone = (statistics.median(side) for side in zip(*pairs, strict=True))
            yield Result(
                f"p99 beside / alone: {what}",
                "<= 2",
                [left / right for left, right in pairs],
                f"{beside:.2f} against {alone:.2f} ms",
            )


def heavy_requests(http: httpx.Client) -> Iterator[tuple[str, Work]]:
    """Give requests that take much work, ready to be sent as often as one likes."""
    yield "5 MB of records in a message", appending(http, "records", records())
    yield "5 MB in 10,000 parts", appending(http, "parts", parts())
    yield "5 MB of nested objects", appending(http, "nested", nested())
    yield "batch of 1,000 messages", batch(http)
    with followed(http, "followed"):
        huge = message_of(HUGE_BYTES)
        yield "15 MiB message, followed", appending(http, "followed", huge)
        yield "short message after it, followed", appending(http, "followed", message_of(20))
    fill_log(http, "log", 12, 250)
    yield "page of 10,000 messages", lambda: get(http, "log/messages?limit=10000")
    yield (
        "fit of a window of 12,000",
        lambda: get(http, f"log/context?budget_tokens={random.randint(10**3, 10**5)}"),
    )
    fill_log(http, "big", 4, 16_000)
    yield "export in pages of 16 MiB", lambda: export(http, "big")
    kept = json.dumps({"replacement": get(http, "log/messages?limit=10000")["messages"]})
    yield "compact with 10,000 references", compacting(http, "log", kept)


def message_of(size: int) -> dict[str, Any]:
    """A message of one text."""
    return {"role": "user", "parts": [{"type": "text", "text": "x y z " * (size // 6)}]}


@contextmanager
def followed(http: httpx.Client, name: str) -> Iterator[None]:
    """Follow a context from within a thread, and read all that is sent, until the end."""
    http.put(f"/{name}", json={"token_budget": 8000})
    has_begun = threading.Event()
    is_over = threading.Event()

    def run() -> None:
        with http.stream("GET", f"/{name}/events") as events:
            for _ in events.iter_raw():
                has_begun.set()
                if is_over.is_set():
                    return

    thread = threading.Thread(target=run)
    thread.start()
    has_begun.wait()
    try:
        yield
    finally:
        is_over.set()
        post(http, f"{name}/messages", json.dumps({"message": message_of(20)}))
        thread.join()


def records() -> dict[str, Any]:
    """A result of a tool: many small records in one part."""
    record = {"name": "John Doe", "file": "/usr/lib/x", "ok": True, "note": "some text\nhere"}
    listed = [{"id": number, **record} for number in range(STRUCTURED_BYTES // 90)]
    part = {"type": "tool_result", "tool_call_id": "c", "content": listed}
    return {"role": "user", "parts": [part]}


def parts() -> dict[str, Any]:
    """As many parts as a message may have."""
    part = {"type": "text", "text": "x y z " * (STRUCTURED_BYTES // 10_000 // 6 - 5)}
    return {"role": "user", "parts": [part] * 10_000}


def nested() -> dict[str, Any]:
    """Deep objects with little in them."""
    leaf = {"a": {"b": [{"c": {"d": [1, 2, {"e": "f"}]}}] * 5}}
    return {"role": "user", "parts": [{"type": "data", "data": [leaf] * (STRUCTURED_BYTES // 190)}]}


def appending(http: httpx.Client, name: str, message: dict[str, Any]) -> Work:
    """Append *message* to a context of its own."""
    http.put(f"/{name}", json={"token_budget": 8000})
    body = json.dumps({"message": message}, separators=(",", ":"))
    return lambda: post(http, f"{name}/messages", body)


def batch(http: httpx.Client) -> Work:
    """Append a batch."""
    http.put("/batch", json={"token_budget": 8000})
    body = json.dumps({"messages": _messages(1000, 250)})
    return lambda: post(http, "batch/messages", body)


def compacting(http: httpx.Client, name: str, body: str) -> Work:
    """Empty the window, and bring messages of the log back into it."""

    def work() -> None:
        post(http, f"{name}/compact", '{"replacement":[]}')
        post(http, f"{name}/compact", body)

    return work


def fill_log(http: httpx.Client, name: str, thousands: int, text_bytes: int) -> None:
    """Make a context of so many thousand messages."""
    http.put(f"/{name}", json={"token_budget": BUDGET})
    body = json.dumps({"messages": _messages(1000, text_bytes)})
    for _ in range(thousands):
        post(http, f"{name}/messages", body)


def _messages(count: int, text_bytes: int) -> list[dict[str, Any]]:
    text = ("x y z " * text_bytes)[:text_bytes]
    return [
        {"role": "user" if number % 2 else "assistant", "parts": [{"type": "text", "text": text}]}
        for number in range(count)
    ]


def export(http: httpx.Client, name: str) -> None:
    """Read a whole log, in pages as large as they come."""
    seq = 1
    while page := get(http, f"{name}/messages?from_seq={seq}&limit=10000")["messages"]:
        seq = page[-1]["seq"] + 1


def get(http: httpx.Client, path: str) -> Any:
    """Read."""
    return http.get(f"/{path}").raise_for_status().json()


def post(http: httpx.Client, path: str, body: str) -> None:
    """Write."""
    headers = {"content-type": "application/json"}
    http.post(f"/{path}", content=body, headers=headers).raise_for_status()


def client(port: int) -> httpx.Client:
    """Speak to the contexts of a node."""
    return httpx.Client(base_url=f"http://127.0.0.1:{port}/v1/contexts", timeout=120)


@contextmanager
def repeated(work: Work) -> Iterator[None]:
    """Do *work* again and again, in a thread, until the end of the block."""
    is_over = threading.Event()

    def run() -> None:
        while not is_over.is_set():
            work()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def _gap(pulse: Pulse, work: Work) -> float:
    pulse.take()
    work()
    return pulse.take()
