"""
The committed states of contexts: from memory, or loaded once for all who ask.

Memory equals what is committed at every moment, as far as this node knows. A store that other nodes
write to may know more. There a state is returned only after the store has confirmed it, and one
that is stale stays in memory until what is new of it has been read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

from fastpaca.context import Context, Status
from fastpaca.engine import feed, rows
from fastpaca.engine.cache import ContextCache
from fastpaca.engine.failures import reading
from fastpaca.engine.feed import News
from fastpaca.engine.freshness import Freshness
from fastpaca.errors import ContextNotFound
from fastpaca.offload import REBUILD, offload
from fastpaca.store.base import Delta, MessageRow, Snapshot, Store, SyntheticRow
from fastpaca.telemetry import Metrics


class Contexts:
    """
    The states of contexts in *store*.

    Args:
        store: Where they are kept.
        tell: Tells those who follow a context what another node has made of it.
        bytes_max: About how much memory they may take.
        metrics: Told how much they take.

    Attributes:
        cache: Those in memory.
    """

    def __init__(
        self,
        store: Store,
        tell: Callable[[Context, News], None],
        bytes_max: int,
        metrics: Metrics,
    ) -> None:
        self._store = store
        self._tell = tell
        self._metrics = metrics
        self.cache = ContextCache(bytes_max)
        self._freshness = Freshness(store)
        self._absent: set[str] = set()  # ids that have no context, of those that writes wait for
        self._loads: dict[str, asyncio.Task[Context | None]] = {}
        self._stale_loads: set[str] = set()  # those whose context was committed meanwhile

    # --- reads --------------------------------------------------------------------------------

    async def read(self, context_id: str) -> Context:
        """
        Return the committed state of a context.

        Raises:
            ContextNotFound: There is none, or it was purged.
            Unavailable: The store cannot be read.
        """
        if self._store.is_shared:
            context = await self._fresh(context_id)
        else:
            context = self.cache.get(context_id)
            if context is None and context_id not in self._absent:
                context = await self.load(context_id)
        if context is None:
            raise ContextNotFound
        if context.status is Status.PURGED:
            raise ContextNotFound("This context was purged; its id can never be used again.")
        return context

    async def _fresh(self, context_id: str) -> Context | None:
        """
        Return a state that is not older than this call, whatever other nodes do.

        Raises:
            Unavailable: The store cannot be read.
        """
        if context_id not in self.cache and context_id not in self._loads:
            return await self.load(context_id)  # begins now, and finds what was there by then
        with reading():
            revision = await self._freshness.revision(context_id)
        context = self.cache.get(context_id)
        while revision and not _is_as_new_as(revision, context):
            self.cache.mark_stale(context_id)
            # One that was under way may have begun too early, and is then followed by another.
            context = await self.load(context_id)
            if context is None:
                return None
        return context if revision else None

    async def is_current(self, context_id: str, context: Context | None) -> bool:
        """
        Ask the store whether *context* is what other nodes know too; None says that there is none.

        Raises:
            Unavailable: The store cannot be read.
        """
        with reading():
            revision = await self._freshness.revision(context_id)
        if context is None:
            return revision == 0
        return context.revision == revision or context.status is Status.PURGED  # nothing follows

    # --- loads --------------------------------------------------------------------------------

    async def load(self, context_id: str) -> Context | None:
        """
        Load a context into memory, once for all who ask, also if the first of them leaves.

        Raises:
            Unavailable: The store cannot be read.
        """
        load = self._loads.get(context_id)
        if load is None:
            load = self._loads[context_id] = asyncio.create_task(self._load_once(context_id))
        with reading():
            return await asyncio.shield(load)

    async def _load_once(self, context_id: str) -> Context | None:
        try:
            while True:
                self._stale_loads.discard(context_id)
                context, news = await self._read(context_id)
                held = self.cache.get(context_id)
                if held is not None and not _is_newer(context, held):
                    return held
                if held is not None or context_id not in self._stale_loads:
                    break
            if context is not None:
                self.cache.mark_stale(context_id)
                self.cache.put(context)
                self.measure()
                self._tell(context, news)
            return context
        finally:
            del self._loads[context_id]

    async def _read(self, context_id: str) -> tuple[Context | None, News]:
        """Read a context from the store: all that it needs, or what is new since it was here."""
        earlier = self.cache.earlier(context_id)
        if earlier is not None:
            delta = await self._store.load_since(context_id, rows.known(earlier))
            if delta is None:
                return None, list
            return await _caught_up(earlier, delta), partial(feed.changes_since, earlier, delta)
        snapshot = await self._store.load(context_id)
        return None if snapshot is None else await _rebuilt(snapshot), list

    def stop_loading(self) -> None:
        """Give up the loads that are under way."""
        for load in list(self._loads.values()):
            load.cancel()

    # --- writes -------------------------------------------------------------------------------

    def pin(self, context_id: str) -> None:
        """Keep what is known of a context until `unpin` is called as often."""
        self.cache.pin(context_id)

    def unpin(self, context_id: str) -> None:
        """Undo one `pin`."""
        if self.cache.unpin(context_id):
            self._absent.discard(context_id)

    def is_absent(self, context_id: str) -> bool:
        """Tell whether a pinned id is known to have no context."""
        return context_id in self._absent

    def note_absent(self, context_id: str) -> None:
        """Note that a pinned id has no context."""
        self._absent.add(context_id)

    def publish(self, context: Context) -> None:
        """Let everybody see a state that was just committed."""
        self.cache.put(context)
        self._absent.discard(context.id)
        if context.id in self._loads:
            self._stale_loads.add(context.id)

    def mark_stale(self, context_id: str) -> None:
        """Note that another node has changed a context."""
        self.cache.mark_stale(context_id)
        self._absent.discard(context_id)

    def forget(self, context_id: str) -> None:
        """Rely no longer on what memory says of a context: the next write loads it anew."""
        self.cache.drop(context_id)
        self._absent.discard(context_id)

    def measure(self) -> None:
        """Let the metrics show what is in memory."""
        self._metrics.hot_contexts.set(len(self.cache))
        self._metrics.hot_bytes.set(self.cache.bytes)


async def _rebuilt(snapshot: Snapshot) -> Context:
    """Make a context of its rows, in a thread if that would hold up the event loop."""
    size, items = _extent(snapshot.messages, snapshot.synthetics)
    return await offload(REBUILD, size, partial(rows.rebuilt, snapshot), items=items)


async def _caught_up(context: Context, delta: Delta) -> Context:
    """Bring an old state up to date, in a thread if that would hold up the event loop."""
    size, items = _extent(delta.messages, delta.synthetics)
    if delta.window is not None:  # all of it is made anew, of what is here and what was read
        size, items = size + context.window.text_bytes, items + len(context.window)
    return await offload(REBUILD, size, partial(rows.caught_up, context, delta), items=items)


def _extent(log: Sequence[MessageRow], synthetics: Sequence[SyntheticRow]) -> tuple[int, int]:
    """Return the bytes of rows of messages, and how many there are."""
    size = sum([len(row.body) for row in log]) + sum([len(row.body) for row in synthetics])
    return size, len(log) + len(synthetics)


def _is_as_new_as(revision: int, context: Context | None) -> bool:
    if context is None:
        return False
    return context.revision >= revision or context.status is Status.PURGED  # nothing follows


def _is_newer(context: Context | None, held: Context) -> bool:
    if context is None or held.status is Status.PURGED:
        return False
    return context.revision > held.revision or context.status is Status.PURGED
