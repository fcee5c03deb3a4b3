"""Many clients that send large bodies and never end them: a real node stays small, and serves."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from fastpaca.api.limits import REQUEST_FACTOR
from fastpaca.settings import Settings
from tests.kit.http import Client, Reply, connected, until
from tests.kit.messages import user
from tests.kit.process import started

MIB = 1024 * 1024
BODY_BYTES = 15 * MIB
SENDERS = 40
MEMORY_BYTES = Settings().body_memory_bytes
FITTING = MEMORY_BYTES // (REQUEST_FACTOR * BODY_BYTES)

RESIDENT_BYTES_MAX = MEMORY_BYTES + 160 * MIB
"""Less than all that is sent; beside the bodies there are the node itself and its buffers."""

PATH = "/v1/contexts/a/messages"
HEAD = b"POST /v1/contexts/a/messages HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"


async def send_most(client: Client) -> Reply:
    """Send a large body but for its last byte, and wait for an answer."""
    answer = asyncio.create_task(client.reply("POST"))
    await client.send(HEAD % (BODY_BYTES + 1))
    for _ in range(BODY_BYTES // MIB):
        await client.send(b" " * MIB)
    return await answer


async def is_taken(port: int, message: object) -> bool:
    """Append *message*, unless that is 429."""
    async with connected(port) as http:
        reply = await http.ask("POST", PATH, {"message": message})
    assert reply.status in {201, 429}
    return reply.status == 201


@pytest.mark.slow
async def test_bodies_that_never_end_are_bounded_together(tmp_path: Path) -> None:
    """
    Senders beyond what fits are refused with 429 while they send; those within it, and whoever has
    little to say, are served; and when they have gone, large bodies are taken again.
    """
    message = user("Hello")
    large = {**message, "metadata": {"filling": "x" * BODY_BYTES}, "token_count": 1}
    with started(tmp_path) as process:
        async with connected(process.port) as http:
            assert (await http.ask("PUT", "/v1/contexts/a", {})).status == 201
            async with AsyncExitStack() as stack:
                clients = [
                    await stack.enter_async_context(connected(process.port)) for _ in range(SENDERS)
                ]
                sending = [asyncio.create_task(send_most(client)) for client in clients]
                await until(lambda: sum(task.done() for task in sending) == SENDERS - FITTING)
                for reply in (task.result() for task in sending if task.done()):
                    assert (reply.status, reply.json["error"]) == (429, "rate_limited")
                    assert reply.headers["retry-after"] == "1"
                assert process.resident_bytes < RESIDENT_BYTES_MAX
                for _ in range(5):
                    assert (await http.ask("POST", PATH, {"message": message})).status == 201
                assert sum(task.done() for task in sending) == SENDERS - FITTING
                for task in sending:
                    task.cancel()
        while not await is_taken(process.port, large):  # noqa: ASYNC110  # nothing announces it
            await asyncio.sleep(0.1)
        assert process.stop() == 0
        assert "Traceback" not in process.errors
