"""kill -9 under concurrent load: what was acknowledged is there, and nothing is half there."""

import asyncio
import random
from pathlib import Path

import httpx
import pytest

from tests.server.load import Load
from tests.server.process import Process, started

ROUNDS = 10
CLIENTS = 8
CONTEXTS = 12


@pytest.mark.slow
async def test_killed_server_keeps_what_it_acknowledged(tmp_path: Path) -> None:
    """
    After each kill every acknowledged write is there at its seq, batches and keys with all they
    belong to, without holes or doubles; and each window reads byte for byte as it did before.
    """
    chance = random.Random(0)
    load = Load(CONTEXTS, seed=0)
    for number in range(ROUNDS):
        with started(tmp_path) as process:
            async with client_of(process) as http:
                await (load.check(http) if number else load.create(http))
            await kill_under_load(process, load, chance)
    for _ in range(2):  # what was rebuilt is the same again, also after a clean end
        with started(tmp_path) as process:
            async with client_of(process) as http:
                await load.check(http)
            assert process.stop() == 0
    assert load.answers > ROUNDS * 20


async def kill_under_load(process: Process, load: Load, chance: random.Random) -> None:
    """Let clients write, and kill the server at some moment behind some answer."""
    async with client_of(process) as http:
        clients = [asyncio.create_task(load.keep_writing(http)) for _ in range(CLIENTS)]
        await load.answered(chance.randint(20, 200))
        await asyncio.sleep(chance.uniform(0, 0.01))
        process.kill()
        await asyncio.gather(*clients)


def client_of(process: Process) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=process.address, trust_env=False, timeout=30, verify=False)
