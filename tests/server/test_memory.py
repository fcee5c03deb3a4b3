"""A node under a real limit of memory takes as many large bodies at once as it admits."""

from __future__ import annotations

import asyncio
import json
import resource
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import pytest

from fastpaca.api.limits import REQUEST_FACTOR
from tests.kit.http import connected
from tests.kit.process import Process, started

MIB: Final = 1024 * 1024

BODY_BYTES: Final = 15 * MIB
SENDERS: Final = 7
HOT_BYTES: Final = 32 * MIB
MEMORY_BYTES: Final = 192 * MIB
ADMITTED: Final = MEMORY_BYTES // (REQUEST_FACTOR * BODY_BYTES)

CONSTANT_BYTES: Final = 512 * MIB
"""What a node needs beside these two, as the page on operating says."""

STACKS_BYTES: Final = 256 * MIB
"""Stacks of threads, and what heaps reserve: asked for, and hardly touched."""

GROUPS: Final = (
    (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"),
    (Path("/sys/fs/cgroup"), "memory.max"),
)


@contextmanager
def limited(process: Process, size: int) -> Iterator[None]:
    """Let the kernel kill *process* above *size* bytes, or refuse it memory where it can't."""
    more = size - process.resident_bytes  # what it has already counts where it came from
    for root, name in GROUPS:
        group = root / f"fastpaca-{secrets.token_hex(8)}"
        try:
            group.mkdir()
            (group / name).write_text(str(more))
            (group / "cgroup.procs").write_text(str(process.pid))
        except OSError:
            with suppress(OSError):
                group.rmdir()
            continue
        try:
            yield
        finally:
            process.end()
            group.rmdir()
        return
    if hasattr(resource, "prlimit"):
        most = size + STACKS_BYTES
        resource.prlimit(process.pid, resource.RLIMIT_DATA, (most, most))
    yield


def text() -> Any:
    """A text that takes four bytes a character in Python, for the sake of one of them."""
    return [{"type": "text", "text": "some words " * ((BODY_BYTES - 1000) // 11) + "\N{LLAMA}"}]


def records() -> Any:
    """Nothing but small objects."""
    records = [{"id": number, "ok": True} for number in range((BODY_BYTES - 100_000) // 26)]
    return [{"type": "tool_result", "tool_call_id": "c", "content": records}]


def parts() -> Any:
    """Many texts, too small to be memory of their own."""
    return [{"type": "text", "text": "words " * 250 + "\N{LLAMA}"}] * ((BODY_BYTES - 1000) // 1600)


async def send(port: int, name: str, body: bytes) -> int:
    """Append a large message, and return the status."""
    async with connected(port) as client:
        head = f"POST /v1/contexts/{name}/messages HTTP/1.1\r\nHost: localhost\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        await client.send(head.encode())
        reply = asyncio.create_task(client.reply("POST"))
        with suppress(ConnectionError):
            for at in range(0, len(body), MIB):
                if reply.done():
                    break
                client.writer.write(body[at : at + MIB])
                await client.writer.drain()
        return (await reply).status


async def read(port: int, name: str) -> int:
    """Read a page with the large message in it, and return the status."""
    async with connected(port) as client:
        return (await client.ask("GET", f"/v1/contexts/{name}/messages")).status


@pytest.mark.slow
@pytest.mark.parametrize("shape", [text, records, parts])
async def test_large_bodies_at_once_stay_within_the_documented_sum(
    tmp_path: Path, shape: Callable[[], Any]
) -> None:
    """
    As many large requests as are admitted, and more, and reads of what they brought: each is
    answered, with 429 where there is no room, and the node lives and gives the memory back.
    """
    message = {"role": "user", "parts": shape()}
    body = json.dumps({"message": message}, ensure_ascii=False, separators=(",", ":")).encode()
    assert BODY_BYTES * 0.9 < len(body) <= BODY_BYTES
    flags = ("--hot-bytes", str(HOT_BYTES), "--body-memory-bytes", str(MEMORY_BYTES))
    with (
        started(tmp_path, *flags, "--token-estimator", "tiktoken:gpt-4o") as process,
        limited(process, CONSTANT_BYTES + HOT_BYTES + MEMORY_BYTES),
    ):
        names = [f"c{number}" for number in range(SENDERS)]
        async with connected(process.port) as client:
            for name in names:
                await client.ask("PUT", f"/v1/contexts/{name}", {"token_budget": 10**9})
        written = await asyncio.gather(*(send(process.port, name, body) for name in names))
        assert set(written) <= {201, 429}
        assert written.count(201) >= ADMITTED
        there = [name for name, status in zip(names, written, strict=True) if status == 201]
        statuses = await asyncio.gather(
            *(read(process.port, there[n % len(there)]) for n in range(SENDERS)),
            *(send(process.port, name, body) for name in names),
        )
        assert set(statuses) <= {200, 201, 429}
        assert 200 in statuses
        assert await read(process.port, there[0]) == 200
        assert process.stop() == 0
