"""
Ten times more writers than a node can serve: it says so, stays small, and forgets nothing.

`pytest tests/server/test_overload.py --seconds=60` lets the overload last for so long.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import re
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.kit.http import Client, connected
from tests.kit.messages import user
from tests.kit.process import Process
from tests.server.brittle import brittle

MIB = 1024 * 1024

QUEUE_OPS = 64
WRITERS = 10 * QUEUE_OPS
CONTEXTS = 16
WRITES_MIN = 1000
"""The overload lasts at least until so many writes were taken."""

WAIT_MAX = 6 * QUEUE_OPS
"""
How many others may be answered while a write waits that is taken: those before it in the queue,
those whose commit is under way, and those that pass it on its way. It is no matter of how many
writers there are.
"""

GROWTH_BYTES_MAX = 64 * MIB
"""What the memory of a node may differ between the first and the second half of an overload."""


class Overload:
    """
    Writers that do not wait, and what they were answered.

    Attributes:
        acknowledged: Ids of messages by seq, of each context.
        refusals: How often a writer was told to come later.
        refused: Ids of messages that were given up when their writers were told so.
        waits: How many other writes were acknowledged while an acknowledged one waited.
        seconds: How long they waited.
    """

    def __init__(self) -> None:
        self.acknowledged: dict[str, dict[int, str]] = defaultdict(dict)
        self.answers = 0
        self.refusals = 0
        self.refused: set[str] = set()
        self.waits: list[int] = []
        self.seconds: list[float] = []
        self._is_over = False

    def end(self) -> None:
        """Let writers finish what they are at."""
        self._is_over = True

    async def write(self, port: int, number: int) -> None:
        """Append one message after the other; every second writer repeats what was refused."""
        chance = random.Random(number)
        async with connected(port) as http:
            for name in (f"{number}-{count}" for count in itertools.count()):
                while not await self.is_taken(http, name):
                    if number % 2 or self._is_over:
                        self.refused.add(name)
                        break
                    await asyncio.sleep(chance.uniform(0.2, 0.8))
                if self._is_over:
                    return
                await asyncio.sleep(chance.uniform(0.0, 0.2))

    async def is_taken(self, http: Client, name: str) -> bool:
        """Append the message *name*, or be refused."""
        context_id = f"c{sum(name.encode()) % CONTEXTS}"
        message = user("x" * 300, id=name)
        path = f"/v1/contexts/{context_id}/messages"
        loop = asyncio.get_running_loop()
        began, answers = loop.time(), self.answers
        reply = await http.ask("POST", path, {"message": message}, key=name)
        if reply.status == 201:
            self.waits.append(self.answers - answers)
            self.seconds.append(loop.time() - began)
            self.answers += 1
            assert self.acknowledged[context_id].setdefault(reply.json["seq"], name) == name
            return True
        assert (reply.status, reply.json["error"]) == (429, "rate_limited")
        assert int(reply.headers["retry-after"]) >= 1
        self.refusals += 1
        return False

    async def check(self, port: int) -> None:
        """In the logs is what was acknowledged, once and at its seq, and nothing else."""
        async with connected(port) as http:
            for context_id, acknowledged in self.acknowledged.items():
                found: dict[int, str] = {}
                while len(found) < len(acknowledged):
                    path = f"/v1/contexts/{context_id}/messages?from_seq={len(found) + 1}"
                    page = (await http.ask("GET", f"{path}&limit=5000")).json["messages"]
                    assert page, "messages are missing"
                    found |= {message["seq"]: message["id"] for message in page}
                assert found == acknowledged
                context = (await http.ask("GET", f"/v1/contexts/{context_id}")).json
                assert context["last_seq"] == len(found)
                assert not self.refused & set(found.values())


class Watch:
    """What an operator sees of a node meanwhile."""

    def __init__(self) -> None:
        self.queued: list[int] = []
        self.resident: list[int] = []

    async def look(self, process: Process) -> None:
        """Look again and again."""
        async with connected(process.port) as http:
            while True:
                assert (await http.ask("GET", "/health/ready")).status == 200
                self.queued.append(await queued_ops(http))
                self.resident.append(process.resident_bytes)
                await asyncio.sleep(0.1)


async def queued_ops(http: Client) -> int:
    """Read how many operations wait."""
    text = (await http.ask("GET", "/metrics")).body.decode()
    found = re.search(r"^fastpaca_write_queue_ops ([\d.]+)$", text, re.MULTILINE)
    assert found
    return int(float(found[1]))


@asynccontextmanager
async def watched(process: Process) -> AsyncIterator[Watch]:
    """Watch a node for a while."""
    watch = Watch()
    looking = asyncio.create_task(watch.look(process))
    try:
        yield watch
        assert not looking.done(), looking
    finally:
        looking.cancel()
        await asyncio.wait([looking])


@pytest.mark.slow
async def test_overloaded_node_refuses_and_recovers(
    tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    """
    The queue stays within its bound, what does not fit is 429, memory does not grow, reads of
    operators are answered; all that was acknowledged is there once, and nothing that was refused.
    When the writers have gone, everything is taken again.
    """
    seconds: float | None = pytestconfig.getoption("--seconds")
    overload = Overload()
    flags = (f"--queue-ops={QUEUE_OPS}", "--commit-seconds=0.05")
    with brittle(tmp_path, *flags) as process:
        async with connected(process.port) as http:
            for number in range(CONTEXTS):
                assert (await http.ask("PUT", f"/v1/contexts/c{number}", {})).status == 201
        async with watched(process) as watch, asyncio.TaskGroup() as writers:
            for number in range(WRITERS):
                writers.create_task(overload.write(process.port, number))
            await asyncio.sleep(seconds or 0)
            while overload.answers < WRITES_MIN:  # noqa: ASYNC110  # nothing announces it
                await asyncio.sleep(0.1)
            overload.end()
        check_watch(watch)
        assert overload.refusals > overload.answers
        assert max(overload.waits) <= WAIT_MAX
        async with connected(process.port) as http:
            assert await queued_ops(http) == 0
            for number in range(50):
                assert await overload.is_taken(http, f"later {number}")
        await overload.check(process.port)
        print(report(overload, watch))  # noqa: T201  # shown with -s
        process.kill()
    with brittle(tmp_path) as process:
        await overload.check(process.port)


def check_watch(watch: Watch) -> None:
    """The queue was full and no fuller, and memory did not grow."""
    assert QUEUE_OPS // 2 <= max(watch.queued) <= QUEUE_OPS
    half = len(watch.resident) // 2
    assert max(watch.resident[half:]) <= max(watch.resident[:half]) + GROWTH_BYTES_MAX


def report(overload: Overload, watch: Watch) -> str:
    """Say how it went."""
    seconds = sorted(overload.seconds)
    waits = sorted(overload.waits)
    return (
        f"{overload.answers} taken, {overload.refusals} refused; waited"
        f" {seconds[len(seconds) // 2]:.2f} s (half), {seconds[-1]:.2f} s (longest);"
        f" behind {waits[len(waits) // 2]} (half), {waits[-1]} (most);"
        f" queue {max(watch.queued)}; resident {watch.resident[0] / MIB:.0f} to"
        f" {max(watch.resident) / MIB:.0f} MiB, {watch.resident[-1] / MIB:.0f} at the end"
    )
