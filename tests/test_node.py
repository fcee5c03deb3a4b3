"""What all ways to run a node have in common."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from fastpaca.node import Node
from fastpaca.settings import Settings
from fastpaca.store.base import CommitFailed
from fastpaca.store.memory import MemoryStore
from fastpaca.testing import composed
from fastpaca.tokens import counter_for
from tests.kit.http import until
from tests.kit.stores import ScriptedStore


class FailingStore(MemoryStore):
    """
    A store that cannot forget at first.

    Attributes:
        outcomes: What happened.
    """

    def __init__(self, failures: int) -> None:
        super().__init__()
        self.outcomes: list[str] = []
        self._failures = failures

    async def forget_idempotency_records(self, before_us: int) -> None:
        if len(self.outcomes) < self._failures:
            self.outcomes.append("failed")
            raise CommitFailed("the disk is full")
        self.outcomes.append("forgotten")


class Waits:
    """Waits that end when a test says so."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._turns: asyncio.Queue[None] = asyncio.Queue()
        self._asleep = asyncio.Event()

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)
        self._asleep.set()
        await self._turns.get()

    async def pass_by(self) -> None:
        """End the wait, and let the node do what it does until the next one."""
        await self._asleep.wait()
        self._asleep.clear()
        self._turns.put_nowait(None)
        await self._asleep.wait()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """The settings of a node in memory."""
    return Settings(store="memory", data_dir=tmp_path)


async def test_housekeeping_survives_a_commit_that_failed(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """
    What could not be cleared away is tried again at the next round, and said in the log.
    """
    store, waits = FailingStore(failures=2), Waits()
    cleared: list[int] = []
    node = Node(
        settings,
        lambda _: store,
        counter_for("chars"),
        clear_up=lambda: cleared.append(len(store.outcomes)),
        wait=waits,
    )
    await node.start()
    with caplog.at_level(logging.ERROR):
        for _ in range(4):
            await waits.pass_by()
    await node.stop()
    assert store.outcomes == ["failed", "failed", "forgotten", "forgotten"]
    assert waits.seconds == [60, 3600, 3600, 3600, 3600]
    assert cleared == [1, 2, 3, 4]
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"]


def test_a_node_whose_tasks_were_cancelled_stops() -> None:
    """
    Writes that were cancelled together with all tasks of their loop are not waited for.
    """

    async def main() -> None:
        store = ScriptedStore()
        store.gate.clear()
        node = composed(store=store)
        await node.start()
        async with node.client() as client:
            writing = asyncio.create_task(client.put("/v1/contexts/c"))
            await until(lambda: store.commits)
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.wait(others)
            assert writing.cancelled()
        await node.stop()

    asyncio.run(main())
