"""Refusals cost no memory: not in the node's own objects, and not in its process."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from collections.abc import Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Final

import httpx
import pytest

from fastpaca.testing import composed
from tests.fuzz.effort import Effort
from tests.fuzz.world import Attack, prepared
from tests.kit.app import run
from tests.kit.http import connected
from tests.kit.process import started

GROWTH_BYTES_MAX: Final = 64 * 1024
"""What interpreters keep of their own; less than one name of each round of `refusals` takes."""

GROWTH_PROCESS_BYTES_MAX: Final = 16 * 1024 * 1024
"""A share of what is sent that leaves room for the habits of memory allocators."""

JSON: Final = (b"content-type", b"application/json")
HELLO: Final = b'{"message":{"role":"user","parts":[{"type":"text","text":"%d"}]}}'


def refusals(number: int) -> list[Attack]:
    """Give requests that are refused, each with something new to remember: the *number*."""
    n = b"%d" % number
    name = b"n" * 400 + n  # long, so that whoever remembers one of them is found out
    key = [JSON, (b"idempotency-key", name[-250:]), (b"x-request-id", name[-120:])]
    c = b"/v1/contexts/c"
    none = b"/v1/contexts/" + name
    hello = HELLO % number
    late = number + 99
    return [
        Attack("GET", none, b"", [], b""),
        Attack("GET", none + b"/context", b"budget_tokens=" + n, [], b""),
        Attack("POST", none + b"/messages", b"", key, hello),
        Attack("POST", none + b"/compact", b"", key, b'{"replacement":[]}'),
        Attack("PATCH", none + b"/metadata", b"", [JSON], b'{"metadata":{"%s":1}}' % name),
        Attack("DELETE", none, b"", [], b""),
        Attack(
            "POST", c + b"/messages", b"", key, hello[:-1] + b',"if_version":%d}' % (number + 99)
        ),
        Attack("POST", c + b"/messages", b"", key, hello[:-2]),
        Attack("POST", c + b"/messages", b"", [JSON, (b"idempotency-key", b"k")], hello),
        Attack("POST", c + b"/messages", b"", [JSON], b'{"message":{"role":"%s"}}' % name),
        Attack("POST", b"/v1/contexts/deleted/messages", b"", key, hello),
        Attack("POST", b"/v1/contexts/purged/messages", b"", key, hello),
        Attack("PUT", c, b"", [JSON], b'{"token_budge%s":1}' % name),
        Attack("PUT", c, b"", [JSON], b'{"policy":{"strategy":"last_%s"}}' % name),
        Attack("PUT", c, b"", [(b"content-type", b"text/" + name)], b"a"),
        Attack("PUT", c, b"", [JSON, (b"content-length", b"99999999999")], b"a"),
        Attack("GET", c + b"/context", b"if_version=%d" % late, [], b""),
        Attack("GET", c + b"/messages", b"limi%s=1" % name, [], b""),
        Attack("GET", b"/v1/" + name, b"", [(b"origin", b"https://" + name)], b""),
        Attack("GET", b"/v1/contexts", b"", [(b"host", name)], b""),
        Attack(name.decode(), b"/" + name, b"", [], b""),
    ]


def test_refusals_leave_nothing_in_memory(effort: Effort) -> None:
    """
    After thousands of refusals, all different, what Python has allocated is what it was before.
    """
    rounds = effort.examples(200)
    node = composed(body_bytes_max=100_000)

    async def attack(numbers: range) -> None:
        for refused in chain.from_iterable(map(refusals, numbers)):
            reply = await refused.reply(node)
            assert 400 <= reply.status < 500, (refused, reply)

    async def story(client: httpx.AsyncClient) -> None:
        await prepared(client)
        await attack(range(rounds))  # fills what is bounded, such as caches
        before = allocated()
        await attack(range(rounds, 2 * rounds))
        assert allocated() - before < GROWTH_BYTES_MAX

    tracemalloc.start()
    try:
        run(story, node)
    finally:
        tracemalloc.stop()


def allocated() -> int:
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


def oversized() -> Iterator[bytes]:
    """Give requests of megabytes that are no JSON, are nested too deep, or are too large."""
    large = 2 * 1024 * 1024
    for body in (b"[" * large, b'"' + b"a" * large, b"9" * large + b"x", b'{"a":' * (large // 5)):
        head = b"POST /v1/contexts/c/messages HTTP/1.1\r\nHost: localhost\r\n"
        yield head + b"Content-Length: %d\r\n\r\n" % len(body) + body
    yield b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n"
    yield b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"".join(b"H%d: x\r\n" % n for n in range(200))


@pytest.mark.slow
def test_oversized_requests_leave_nothing_in_the_process(tmp_path: Path, effort: Effort) -> None:
    """
    A server that has refused many megabytes is as large as after the first of them.
    """
    with started(tmp_path, "--log-level", "warning") as server:
        for _ in range(2):
            asyncio.run(overwhelm(server.port, 8))
        before = server.resident_bytes
        asyncio.run(overwhelm(server.port, effort.examples(10)))
        assert server.resident_bytes - before < GROWTH_PROCESS_BYTES_MAX
        assert "failed" not in server.errors


async def overwhelm(port: int, rounds: int) -> None:
    for _ in range(rounds):
        for request in oversized():
            async with connected(port) as client:
                with suppress(ConnectionError):
                    await client.send(request)
                reply = await client.reply()
                assert 400 <= reply.status < 500
                assert reply.json["error"]
