"""
The committed states of contexts: from memory, or loaded once for all callers.

At every moment, memory equals the committed state as far as this node knows it. If other nodes
write to the store, the store may be ahead. A state is then returned only after the store has
confirmed it, and a stale state stays in memory until its changes have been read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

from fastpaca.context import ContextState, Status
from fastpaca.engine import feed, rows
from fastpaca.engine.cache import ContextCache
from fastpaca.engine.failures import READING
from fastpaca.engine.feed import MakeChanges
from fastpaca.engine.freshness import Freshness
from fastpaca.errors import ContextNotFound
from fastpaca.offload import REBUILD, offload
from fastpaca.store.base import Diff, MessageRow, Snapshot, Store, SyntheticRow
from fastpaca.telemetry import Metrics


class ContextStates:
    """
    The states of contexts in *store*.

    Args:
        store: The store that has them.
        notify: Notifies followers of changes by other nodes.
        bytes_max: About how much memory they may take.
        metrics: Shows how much they take.

    Attributes:
        cache: The states in memory.
    """

    def __init__(
        self,
        store: Store,
        notify: Callable[[ContextState, MakeChanges], None],
        bytes_max: int,
        metrics: Metrics,
    ) -> None:
        self._store = store
        self._notify = notify
        self._metrics = metrics
        self.cache = ContextCache(bytes_max)
        self._freshness = Freshness(store)
        self._absent: set[str] = set()  # ids without a context that writes wait for
        self._loads: dict[str, asyncio.Task[ContextState | None]] = {}
        self._stale_loads: set[str] = set()  # loads whose context was committed meanwhile

    # --- reads --------------------------------------------------------------------------------

    async def read(self, context_id: str) -> ContextState:
        """
        Return the committed state of a context.

        Raises:
            ContextNotFound: It doesn't exist, or it was purged.
            Unavailable: The store can't be read.
        """
        if self._store.is_shared:
            context = await self._fresh(context_id)
        else:
            context = self.cache.get(context_id)
            if context is None and context_id not in self._absent:
                context = await self.load(context_id)
        if context is None or context.status is Status.FORMING:
            raise ContextNotFound
        if context.status is Status.PURGED:
            raise ContextNotFound("This context was purged; its id can never be used again.")
        return context

    async def _fresh(self, context_id: str) -> ContextState | None:
        """
        Return a state that is not older than this call, even if other nodes write.

        Raises:
            Unavailable: The store can't be read.
        """
        cached = self.cache.get(context_id)
        if cached is not None and cached.status is Status.FORMING:
            self.cache.mark_stale(context_id)  # see `is_current`
            cached = None
        if cached is None and context_id not in self._loads:
            return await self.load(context_id)  # it begins now, so it can't be older
        with READING:
            revision = await self._freshness.revision(context_id)
        context = self.cache.get(context_id)
        while revision and not _is_as_new_as(revision, context):
            self.cache.mark_stale(context_id)
            # A load that was running already may have begun too early; then the loop starts
            # another.
            context = await self.load(context_id)
            if context is None:
                return None
        return context if revision else None

    async def is_current(self, context_id: str, context: ContextState | None) -> bool:
        """
        Return whether the store has *context* in the same revision; None stands for no context.

        After a fork that was not finished, the id is free, and its revisions begin again. So a
        forming context is the same only if it was created at the same time.

        Raises:
            Unavailable: The store can't be read.
        """
        if context is not None and context.status is Status.FORMING:
            with READING:
                snapshot = await self._store.load(context_id)
            return snapshot is not None and (context.revision, context.created_at_us) == (
                snapshot.row.revision,
                snapshot.row.created_at_us,
            )
        with READING:
            revision = await self._freshness.revision(context_id)
        if context is None:
            return revision == 0
        # A purged context never changes.
        return context.revision == revision or context.status is Status.PURGED

    async def present(self, context_id: str) -> ContextState | None:
        """
        Return the state in memory, or load it; None if there is no such context.

        Raises:
            Unavailable: The store can't be read.
        """
        return self.cache.get(context_id) or await self.load(context_id)

    # --- loads --------------------------------------------------------------------------------

    async def load(self, context_id: str) -> ContextState | None:
        """
        Load a context into memory, once for all callers, even if the first of them is cancelled.

        Raises:
            Unavailable: The store can't be read.
        """
        load = self._loads.get(context_id)
        if load is None:
            load = self._loads[context_id] = asyncio.create_task(self._load_once(context_id))
        with READING:
            return await asyncio.shield(load)

    async def _load_once(self, context_id: str) -> ContextState | None:
        try:
            while True:
                self._stale_loads.discard(context_id)
                context, make_changes = await self._read(context_id)
                cached = self.cache.get(context_id)
                if cached is not None and not _is_newer(context, cached):
                    return cached
                if cached is not None or context_id not in self._stale_loads:
                    break
            if context is not None:
                self.cache.mark_stale(context_id)
                self.cache.put(context)
                self.measure()
                self._notify(context, make_changes)
            return context
        finally:
            del self._loads[context_id]

    async def _read(self, context_id: str) -> tuple[ContextState | None, MakeChanges]:
        """Read a context from the store: all of it, or what is new since an earlier state."""
        earlier = self.cache.earlier(context_id)
        if earlier is not None and earlier.status is not Status.FORMING:  # that has no window
            diff = await self._store.load_since(context_id, rows.have(earlier))
            if diff is None:
                return None, list
            return await _updated(earlier, diff), partial(feed.changes_since, earlier, diff)
        snapshot = await self._store.load(context_id)
        return None if snapshot is None else await _rebuilt(snapshot), list

    def stop_loading(self) -> None:
        """Cancel all loads."""
        for load in list(self._loads.values()):
            load.cancel()

    # --- writes -------------------------------------------------------------------------------

    def pin(self, context_id: str) -> None:
        """Keep what is known of a context until `unpin` has been called as often."""
        self.cache.pin(context_id)

    def unpin(self, context_id: str) -> None:
        """Undo one `pin`."""
        if self.cache.unpin(context_id):
            self._absent.discard(context_id)

    def is_absent(self, context_id: str) -> bool:
        """Return whether a pinned id is known to have no context."""
        return context_id in self._absent

    def record_absent(self, context_id: str) -> None:
        """Record that a pinned id has no context."""
        self._absent.add(context_id)

    def publish(self, context: ContextState) -> None:
        """Make a committed state visible."""
        self.cache.put(context)
        self._absent.discard(context.id)
        if context.id in self._loads:
            self._stale_loads.add(context.id)

    def mark_stale(self, context_id: str) -> None:
        """Record that another node has changed a context."""
        self.cache.mark_stale(context_id)
        self._absent.discard(context_id)

    def forget(self, context_id: str) -> None:
        """Drop what memory has of a context; its next write loads it again."""
        self.cache.drop(context_id)
        self._absent.discard(context_id)
        if context_id in self._loads:
            self._stale_loads.add(context_id)

    def measure(self) -> None:
        """Update the metrics of what is in memory."""
        self._metrics.hot_contexts.set(len(self.cache))
        self._metrics.hot_bytes.set(self.cache.bytes)


async def _rebuilt(snapshot: Snapshot) -> ContextState:
    """Build a context from its rows, in a thread if it takes long."""
    size, items = _extent(snapshot.messages, snapshot.synthetics)
    return await offload(REBUILD, size, partial(rows.rebuilt, snapshot), items=items)


async def _updated(context: ContextState, diff: Diff) -> ContextState:
    """Bring an old state up to date, in a thread if it takes long."""
    size, items = _extent(diff.messages, diff.synthetics)
    if diff.window is not None:  # the window is rebuilt from the old entries and the rows
        size, items = size + context.window.text_bytes, items + len(context.window)
    return await offload(REBUILD, size, partial(rows.updated, context, diff), items=items)


def _extent(log: Sequence[MessageRow], synthetics: Sequence[SyntheticRow]) -> tuple[int, int]:
    """Return the bytes and the number of rows of messages."""
    size = sum([len(row.body) for row in log]) + sum([len(row.body) for row in synthetics])
    return size, len(log) + len(synthetics)


def _is_as_new_as(revision: int, context: ContextState | None) -> bool:
    if context is None:
        return False
    # A purged context never changes.
    return context.revision >= revision or context.status is Status.PURGED


def _is_newer(context: ContextState | None, cached: ContextState) -> bool:
    if context is None or cached.status is Status.PURGED:
        return False
    return context.revision > cached.revision or context.status is Status.PURGED
