"""
Put a node together: store, engine, service, application and housekeeping.

`fastpaca serve`, a local client and the tests each make a `Node`, and differ only in what they hand
in.
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
"""When a node first clears away what has outlived its use; its start has other work."""

HOUSE_INTERVAL_SECONDS: Final = 3600.0

MakeStore = Callable[[Callable[[str], None]], Store]
"""Makes a store that calls what it is given, with the reason, when it has failed permanently."""


class Node:
    """
    The parts of a node, put together and not started.

    Args:
        settings: As `fastpaca.settings.Settings`.
        make_store: Makes where everything is kept.
        counter: Counts tokens.
        clock: The time of day; None is that of the store, or of this machine.
        commit_ids: Makes 16 bytes that no other commit has.
        queue_ops_max: How many writes may wait.
        on_fatal: Called once, with the reason, when the store has failed permanently.
        pace: How slowly a body may come in; None is the usual one.
        monotonic: The clock of the rate limit, in seconds.
        clear_up: Called whenever the housekeeping is done.
        give_back: Returns free memory to the system after large bodies, see `allocator`.
        wait: Lets seconds pass between two rounds of housekeeping.

    Attributes:
        app: The ASGI application.
        engine: Applies operations.
        service: The verbs of the API.
        store: Where everything is kept.
        metrics: What the node counts.
        settings: As given.
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
        give_back: Callable[[], None] = lambda: None,
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
        Open the store, and begin to serve and to keep house.

        Raises:
            StoreRefused: The store cannot be opened.
        """
        await self.engine.start()
        if self.settings.store == "sqlite":
            clear_broken_backups(self.settings.data_dir)  # ours alone: the store holds its lock
        self._housekeeping = asyncio.create_task(self._keep_house())

    async def stop(self) -> None:
        """Finish and commit what was taken, and close the store."""
        if self._housekeeping is not None:
            self._housekeeping.cancel()
        await self.engine.stop()

    async def _keep_house(self) -> None:
        """Clear away what has outlived its use, now and then, and finish interrupted erasures."""
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
    """Let the series of the archive be shown among those of the node."""
    from fastpaca.archive.store import ArchivedStore  # noqa: PLC0415 - others need no driver

    assert isinstance(store, ArchivedStore)
    store.metrics.llm_token_count.set_function(lambda: engine.cache.tokens)
    metrics.registry.register(store.metrics)
