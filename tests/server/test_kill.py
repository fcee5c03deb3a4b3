"""
kill -9 at any moment: what was acknowledged is there, nothing is half there, nothing is doubled.

One life of a node is one seed; `pytest tests/server/test_kill.py --seed=17` lives it again, with
the same requests and the same kills, as far as the system's timing lets it. `--runs=200` lives so
many lives.
"""

import asyncio
import random
import signal
from contextlib import suppress
from pathlib import Path

import pytest

from tests.kit.http import GONE
from tests.kit.load import Load
from tests.kit.process import DidNotStart, Process
from tests.server.brittle import brittle

SEEDS = 3

KILLS = 5
"""How often the node of one life is killed."""

CLIENTS = 8
CONTEXTS = 12

START_OPERATIONS = 40
"""A start with a log to recover writes, syncs and truncates more often than this."""

BUSY_OPERATIONS = 1500

ANSWERS_MIN = 20
"""A kill at any moment comes behind so many answers at least; the first one is such a kill."""


@pytest.mark.slow
async def test_killed_server_keeps_what_it_acknowledged(tmp_path: Path, seed: int) -> None:
    """
    After each kill every acknowledged write is there at its seq, batches and keys with all they
    belong to, without holes or doubles; and each window reads byte for byte as it did before.
    Clients that were not answered repeat themselves, and what they say is there once; who repeats
    what was answered gets the same answer.
    """
    chance = random.Random(seed)
    load = Load(CONTEXTS, seed)
    with brittle(tmp_path) as process:
        await load.create(process.port)
        await kill_under_load(process, load, chance)
    for _ in range(KILLS - 1):
        await live_until_killed(tmp_path, load, chance)
    with brittle(tmp_path) as process:
        await load.check_to_the_end(process.port)
        assert process.stop() == 0
    with brittle(tmp_path) as process:  # what was rebuilt is the same again after a clean end
        await load.check(process.port)
    assert load.answers >= ANSWERS_MIN


async def live_until_killed(directory: Path, load: Load, chance: random.Random) -> None:
    """Start a node and kill it: as it starts, in a write or a sync, or at any moment."""
    fate = chance.choice(["as it starts", "at an operation", "at an operation", "at any moment"])
    if fate == "at any moment":
        with brittle(directory) as process:
            await kill_under_load(process, load, chance)
        return
    bounds = (1, START_OPERATIONS) if fate == "as it starts" else (1, BUSY_OPERATIONS)
    try:
        with brittle(directory, f"--dies-at={chance.randint(*bounds)}") as process:
            await load_until_killed(process, load)
            assert process.wait() == -signal.SIGKILL
    except DidNotStart as error:
        if error.code != -signal.SIGKILL:
            raise


async def kill_under_load(process: Process, load: Load, chance: random.Random) -> None:
    """Let clients write, and kill the server at some moment behind some answer."""
    await load.check(process.port)
    async with asyncio.TaskGroup() as clients:
        for _ in range(CLIENTS):
            clients.create_task(load.keep_writing(process.port))
        await load.answered(chance.randint(ANSWERS_MIN, 200))
        await asyncio.sleep(chance.uniform(0, 0.01))
        process.kill()


async def load_until_killed(process: Process, load: Load) -> None:
    """Let clients write until the server is gone, which it may be already."""
    with suppress(*GONE):
        await load.check(process.port)
        await asyncio.gather(*(load.keep_writing(process.port) for _ in range(CLIENTS)))
