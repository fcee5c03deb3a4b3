"""Several nodes on one database, each a process that can be killed and started again."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

from tests.kit.followers import Node
from tests.kit.http import Client, connected
from tests.kit.process import Process, started

POOL_SIZE = 4
"""Few connections a node, so that a test server has enough for all."""


class Cluster:
    """
    The nodes on one database, which each of them reaches at the address of its own in *dsns*.

    Attributes:
        nodes: Where each of them is at the moment.
    """

    def __init__(self, dsns: Sequence[str], directory: Path) -> None:
        self.nodes: list[Node] = []
        self._dsns = dsns
        self._directory = directory
        self._processes: list[Process] = []
        self._stack = ExitStack()

    async def start(self, number: int) -> None:
        """Start the node *number*, for the first time or again, while others go on."""
        directory = self._directory / f"node {number}"
        directory.mkdir(exist_ok=True)
        flags = ("--store", self._dsns[number], "--db-pool-size", str(POOL_SIZE))
        node = started(directory, *flags)
        process = await asyncio.to_thread(self._stack.enter_context, node)
        if number == len(self.nodes):
            self.nodes.append(Node(process.port))
            self._processes.append(process)
        self._processes[number] = process
        self.nodes[number].port = process.port

    def kill(self, number: int) -> None:
        """End the node *number* between two instructions."""
        self._processes[number].kill()

    def any(self, chance: random.Random) -> int:
        """Give the port of some node."""
        return chance.choice(self.nodes).port

    @asynccontextmanager
    async def client(self, number: int = 0) -> AsyncIterator[Client]:
        """Connect to the node *number*."""
        async with connected(self.nodes[number].port) as client:
            yield client

    def stop(self) -> None:
        """End all nodes well, and see that none met an error of its own."""
        for process in self._processes:
            process.send(signal.SIGTERM)
        assert [process.wait() for process in self._processes] == [0] * len(self._processes)

    @property
    def errors(self) -> str:
        """What the nodes have logged."""
        return "".join(process.errors for process in self._processes)

    @property
    def defects(self) -> list[str]:
        """What the nodes logged with a traceback: nobody has foreseen it."""
        return [line for line in self.errors.splitlines() if "Traceback" in line]

    def end(self) -> None:
        """Leave nothing behind."""
        self._stack.close()


@asynccontextmanager
async def cluster(dsn: str, directory: Path, size: int) -> AsyncIterator[Cluster]:
    """Run so many nodes on one database; a defect that one of them logs fails the test."""
    async with cluster_at([dsn] * size, directory) as nodes:
        yield nodes


@asynccontextmanager
async def cluster_at(dsns: Sequence[str], directory: Path) -> AsyncIterator[Cluster]:
    """Run a node for each of these addresses of one database, as `cluster` does."""
    nodes = Cluster(dsns, directory)
    try:
        for number in range(len(dsns)):
            await nodes.start(number)
        yield nodes
        await asyncio.to_thread(nodes.stop)
        assert nodes.defects == []
    finally:
        nodes.end()
