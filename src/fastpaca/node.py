"""
Assemble a node: store, engine, service, application and cleanup.

`fastpaca serve`, local clients and tests all use `Node`, with different arguments.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Final

from fastpaca import __version__
from fastpaca.api.app import create_app
from fastpaca.api.limits import BodyPace
from fastpaca.api.operations import clear_broken_backups
from fastpaca.clock import Clock, now_us
from fastpaca.engine import Engine
from fastpaca.engine.queue import QUEUE_OPS_MAX
from fastpaca.service import Service
from fastpaca.settings import Settings
from fastpaca.store.base import Store, new_commit_id
from fastpaca.store.sqlite.files import DATABASE_NAME
from fastpaca.telemetry import DatabaseMetrics, Metrics
from fastpaca.tokens import TokenCounter

logger = logging.getLogger(__name__)

HOUSE_FIRST_SECONDS: Final = 60.0
"""How long after its start a node first cleans up, since it is busy at first."""

HOUSE_INTERVAL_SECONDS: Final = 3600.0

MakeStore = Callable[[Callable[[str], None]], Store]
"""Makes a store; when it has failed permanently, it calls the argument with the reason."""


class Node:
    """
    A node, assembled but not started.

    Args:
        settings: The settings.
        make_store: Makes the store.
        counter: Counts tokens.
        clock: The time of day; None means that of the store, else of this machine.
        commit_ids: Returns 16 bytes, different for each commit.
        queue_ops_max: How many writes may wait.
        on_fatal: Called once, with the reason, when the store has failed permanently.
        pace: How slowly a body may arrive; None means the default.
        monotonic: The clock of the rate limit, in seconds.
        clear_up: Called after each cleanup.
        give_back: Returns free memory to the system after large bodies; see `allocator`.
        wait: Waits for some seconds between two cleanups.

    Attributes:
        app: The ASGI application.
        engine: Applies operations.
        service: The verbs of the API.
        store: The store.
        metrics: The metrics of the node.
        settings: The settings.
    """

    def __init__(
        self,
        settings: Settings,
        make_store: MakeStore,
        counter: TokenCounter,
        *,
        clock: Clock | None = None,
        commit_ids: Callable[[], bytes] = new_commit_id,
        queue_ops_max: int = QUEUE_OPS_MAX,
        on_fatal: Callable[[str], None] | None = None,
        pace: BodyPace | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        clear_up: Callable[[], object] | None = None,
        give_back: Callable[[], None] | None = None,
        wait: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.settings = settings
        self.metrics = Metrics()
        self.metrics.note_build(__version__)
        self.store = make_store(self._lose_store)
        self.engine = Engine(
            self.store,
            clock or self.store.clock or now_us,
            commit_ids,
            hot_bytes=settings.hot_bytes,
            metrics=self.metrics,
            queue_ops_max=queue_ops_max,
            on_fatal=on_fatal,
        )
        if settings.store == "sqlite":
            self.metrics.registry.register(DatabaseMetrics(settings.data_dir / DATABASE_NAME))
        if settings.archiver_enabled:
            _show_archive(self.store, self.engine, self.metrics)
        self.service = Service(self.engine, counter, self.metrics)
        self.app = create_app(
            self.service,
            self.engine,
            settings,
            self.metrics,
            backup=self.store.backup,
            pace=pace,
            monotonic=monotonic,
            give_back=give_back,
        )
        self._clear_up = clear_up
        self._wait = wait
        self._housekeeping: asyncio.Task[None] | None = None

    def _lose_store(self, reason: str) -> None:
        self.engine.fail(reason)

    async def start(self) -> None:
        """
        Open the store, and start to serve and to clean up.

        Raises:
            StoreRefused: The store cannot be opened.
        """
        await self.engine.start()
        if self.settings.store == "sqlite":
            clear_broken_backups(self.settings.data_dir)  # safe: the store holds its lock
        self._housekeeping = asyncio.create_task(self._keep_house())

    async def stop(self) -> None:
        """Commit all accepted writes, and close the store."""
        if self._housekeeping is not None:
            self._housekeeping.cancel()
        await self.engine.stop()

    async def _keep_house(self) -> None:
        """Periodically remove expired records, and finish interrupted erasures."""
        await self._wait(HOUSE_FIRST_SECONDS)
        while True:
            try:
                await self.engine.forget_old_records()
            except Exception:
                logger.exception("expired responses could not be removed; trying again later")
            if self._clear_up is not None:
                self._clear_up()
            await self._wait(HOUSE_INTERVAL_SECONDS)


def _show_archive(store: Store, engine: Engine, metrics: Metrics) -> None:
    """Add the metrics of the archive to those of the node."""
    from fastpaca.archive.store import ArchivedStore  # noqa: PLC0415 - others need no driver

    assert isinstance(store, ArchivedStore)
    store.metrics.llm_token_count.set_function(lambda: engine.cache.tokens)
    metrics.registry.register(store.metrics)
