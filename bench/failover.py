"""
A failover of PostgreSQL whose old primary stays up: how soon a node says that it is not ready, and
how soon it writes again.

The primary is fenced, which is the moment at which the database was last of use. Some seconds later
its standby is promoted and the address leads there. A client tries to append all the time, another
one asks for the health.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, NamedTuple

from bench.measure import Bench, Result
from tests.kit.http import connected
from tests.kit.postgres import Pair, running_pair
from tests.kit.proxy import proxied
from tests.nodes.node import node

LOOK_SECONDS: Final = 0.02
"""How often the clients try."""

FENCED_SECONDS: Final = 8.0
"""How long nobody takes writes."""


class Times(NamedTuple):
    """
    What a client sees, in seconds.

    Attributes:
        unready: From the fence until the node said that it is not ready.
        write: From the switch until a write was acknowledged.
        ready: From the switch until the node said that it is ready.
    """

    unready: float
    write: float
    ready: float


@asynccontextmanager
async def leading(pair: Pair, kind: str) -> AsyncIterator[tuple[str, Callable[[], None]]]:
    """Give an address of *pair*, and what leads it to the standby."""
    if kind == "two hosts":
        yield pair.dsn(), lambda: None
        return
    async with proxied(pair.primary) as proxy:
        yield (
            pair.primary.dsn(directory=proxy.directory),
            lambda: setattr(proxy, "server", pair.standby),
        )


async def measured(pair: Pair, kind: str, directory: Path) -> Times:
    """Fail over once."""
    async with leading(pair, kind) as (dsn, switch), node(dsn, directory) as it:
        await it.appended("first")
        port = it.port
        fenced = time.perf_counter()
        await pair.primary.fence()
        async with asyncio.TaskGroup() as group:
            unready = group.create_task(until_answered(port, "/health/ready", 503))
            await asyncio.sleep(FENCED_SECONDS)
            await asyncio.to_thread(pair.standby.promote)
            switched = time.perf_counter()
            switch()
            write = group.create_task(until_written(port))
            ready = group.create_task(until_answered(port, "/health/ready", 200))
        return Times(
            unready.result() - fenced, write.result() - switched, ready.result() - switched
        )


async def until_answered(port: int, path: str, status: int) -> float:
    """Ask until the status is this, and tell when."""
    async with connected(port) as client:
        while (await client.ask("GET", path)).status != status:  # noqa: ASYNC110  # nothing announces it
            await asyncio.sleep(LOOK_SECONDS)
        return time.perf_counter()


async def until_written(port: int) -> float:
    """Append until that is acknowledged, and tell when."""
    message = {"role": "user", "parts": [{"type": "text", "text": "Hello"}]}
    async with connected(port) as client:
        path = "/v1/contexts/c/messages"
        while (await client.ask("POST", path, {"message": message})).status != 201:  # noqa: ASYNC110  # the same
            await asyncio.sleep(LOOK_SECONDS)
        return time.perf_counter()


def failovers(bench: Bench) -> Iterator[Result]:
    """Fail over by one address that is moved, and by two hosts."""
    for kind in ("one address", "two hosts"):
        found: list[Times] = []
        for _ in range(bench.repeats):
            with running_pair() as pair, tempfile.TemporaryDirectory() as directory:
                found.append(asyncio.run(measured(pair, kind, Path(directory))))
        for goal, what, seconds in (
            ("<= 5.5", "from the fence until not ready", [times.unready for times in found]),
            ("<= 10", "from the switch until a write", [times.write for times in found]),
            ("<= 10", "from the switch until ready", [times.ready for times in found]),
        ):
            words = f"median {statistics.median(seconds):.2f} s"
            yield Result(f"failover, {kind}: {what}, seconds", goal, seconds, words)
