"""What followers who do not read cost a real node, while much is written."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.kit.http import connected
from tests.kit.messages import user
from tests.kit.process import started
from tests.server.sockets import Socket, following, listening

MIB = 1024 * 1024

STUCK = 50
MESSAGE_BYTES = 50_000
BATCH = 20
BATCHES = 150
"""Together 150 MB, which nobody could keep for each of them."""

GROWTH_BYTES_MAX = 96 * MIB
"""For all of them together, and for what writing takes by itself."""


@pytest.mark.slow
async def test_readers_that_are_stuck_cost_little(tmp_path: Path) -> None:
    """
    Fifty readers that read nothing take bounded memory, and one that reads misses nothing.
    """
    with started(tmp_path) as process:
        async with AsyncExitStack() as opened, connected(process.port) as http:
            await http.ask("PUT", "/v1/contexts/c", {"token_budget": 1000})
            for number in range(STUCK):
                kind = following if number % 2 else listening
                await opened.enter_async_context(kind(process.port, "?cursor=0"))
            quick = await opened.enter_async_context(following(process.port, reads=True))
            assert (await quick.hear()).json["type"] == "context"
            before = process.resident_bytes
            most = before
            part = {"type": "text", "text": "x" * MESSAGE_BYTES}
            body = {"messages": [user(part, token_count=50)] * BATCH}
            version = 0
            for _ in range(BATCHES):
                answer = await http.ask("POST", "/v1/contexts/c/messages", body)
                assert answer.status == 201
                await read_up_to(quick, version, version + BATCH)
                version += BATCH
                most = max(most, process.resident_bytes)
            assert most - before < GROWTH_BYTES_MAX
        assert process.stop() == 0
        assert '"level":"error"' not in process.errors


async def read_up_to(socket: Socket, before: int, version: int) -> None:
    """Read all frames up to *version*, of which none is missing."""
    while before < version:
        frame = (await socket.hear()).json
        if frame["type"] == "message":
            before += 1
            assert frame["version"] == before
