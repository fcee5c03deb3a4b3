"""
Pages of logs, of compactions and of the list of contexts, and the past of a context.

No page is ahead of the published state, so that no reader is ahead of another.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Final

from msgspec.structs import replace

from fastpaca.context import ContextState
from fastpaca.engine import rows
from fastpaca.engine.contexts import ContextStates
from fastpaca.engine.failures import READING
from fastpaca.errors import ContextNotFound
from fastpaca.ranges import Range, missing, runs
from fastpaca.store.base import (
    CompactionRow,
    ContextRow,
    MessageRow,
    PageBounds,
    Store,
    message_id_hash,
)
from fastpaca.store.pages import R

PAGE_BYTES_MAX: Final = 16 * 1024 * 1024
"""Where a page of messages ends early."""

SAME_IDS_MAX: Final = 100
"""How many messages with one id are looked at to find the newest that has left the path."""


class Pages:
    """
    Reads pages from *store*.

    Args:
        store: The store to read from.
        contexts: Checks whether a context with an empty page still exists.
        settled: Cleared during a commit, see `Commits.settled`.
    """

    def __init__(self, store: Store, contexts: ContextStates, settled: asyncio.Event) -> None:
        self._store = store
        self._contexts = contexts
        self._settled = settled

    async def messages(
        self, context: ContextState, from_seq: int, to_seq: int, limit: int
    ) -> list[MessageRow]:
        """
        Read a page of the log forward, up to the last message of *context*.

        Raises:
            ContextNotFound: The context was purged meanwhile.
            Unavailable: The store can't be read.
        """
        end = min(to_seq, context.last_seq)
        if from_seq > end or limit == 0:
            return []
        reading = self._store.messages(context.id, from_seq, end, _bounds(limit))
        return await self._checked(context, reading)

    async def tail(self, context: ContextState, offset: int, limit: int) -> list[MessageRow]:
        """
        Skip the *offset* newest messages and read the next *limit*, in ascending order.

        Raises:
            ContextNotFound: The context was purged meanwhile.
            Unavailable: The store can't be read.
        """
        before = context.last_seq - offset + 1
        if before <= 1 or limit == 0:
            return []
        reading = self._store.messages_before(context.id, before, _bounds(limit))
        return await self._checked(context, reading)

    async def path(
        self,
        context: ContextState,
        from_place: int,
        to_place: int,
        limit: int,
        *,
        skip: int = 0,
        newest_first: bool = False,
        bytes_max: int = PAGE_BYTES_MAX,
    ) -> list[MessageRow]:
        """
        Read a page of the path of *context* between two places, inclusive; see `Store.path`.

        Raises:
            ContextNotFound: The context was purged meanwhile.
            Unavailable: The store can't be read.
        """
        ranges = context.window.path.ranges(context.last_seq)
        reading = self._store.path(
            context.id,
            ranges,
            from_place,
            to_place,
            PageBounds(limit, bytes_max),
            skip=skip,
            newest_first=newest_first,
        )
        return await self._checked(context, reading)

    async def message_on_path(self, context: ContextState, message_id: str) -> MessageRow | None:
        """
        Return the newest message with an id on the path of *context*, as it is now; None if none.

        Raises:
            Unavailable: The store can't be read.
        """
        ranges = context.window.path.ranges(context.last_seq)
        places = await self._places_of(context, message_id, ranges, 1)
        for place in places:
            with READING:
                page = await self._store.path(context.id, ranges, place, place, _bounds(1))
            for row in page:
                return row
        return None

    async def message_in_log(self, context: ContextState, message_id: str) -> MessageRow | None:
        """
        Return the newest message with an id in the log of *context*; None if there is none.

        Raises:
            Unavailable: The store can't be read.
        """
        ranges = [(1, context.last_seq)]
        places = await self._places_of(context, message_id, ranges, SAME_IDS_MAX)
        if not places:
            return None
        revisions = await self.revisions(context, runs(reversed(places)))
        newest = max([places[0], *(seq for _, seq in revisions if seq <= context.last_seq)])
        with READING:
            page = await self._store.messages(context.id, newest, newest, _bounds(1))
        return page[0] if page else None

    async def _places_of(
        self, context: ContextState, message_id: str, ranges: Sequence[Range], limit: int
    ) -> list[int]:
        with READING:
            return await self._store.places_of_id(
                context.id, message_id_hash(message_id), ranges, limit
            )

    async def revisions(
        self, context: ContextState, places: Sequence[Range]
    ) -> list[tuple[int, int]]:
        """
        Return which rows of the log revise a message at *places*; see `Store.revisions_of`.

        Raises:
            Unavailable: The store can't be read.
        """
        if not places:
            return []
        with READING:
            return await self._store.revisions_of(context.id, places)

    async def compactions(
        self, context: ContextState, after: int, limit: int
    ) -> list[CompactionRow]:
        """
        Read the compactions after the version *after*, up to the version of *context*.

        Raises:
            ContextNotFound: The context was purged meanwhile.
            Unavailable: The store can't be read.
        """
        reading = self._store.compactions(context.id, after, context.version, _bounds(limit))
        return await self._checked(context, reading)

    async def compactions_before(
        self, context: ContextState, before: int, limit: int
    ) -> list[CompactionRow]:
        """
        Read the newest compactions before the version *before*, newest first.

        Raises:
            ContextNotFound: The context was purged meanwhile.
            Unavailable: The store can't be read.
        """
        reading = self._store.compactions_before(context.id, before, _bounds(limit))
        return await self._checked(context, reading)

    async def places(self, context: ContextState) -> list[Range]:
        """
        Return the places of the path of *context*, as ascending ranges.

        Raises:
            Unavailable: The store can't be read.
        """
        path = context.window.path.ranges(context.last_seq)
        revisions = await self.revisions(context, path)
        return missing(path, runs(sorted(seq for _, seq in revisions)))

    async def _checked(self, context: ContextState, reading: Awaitable[list[R]]) -> list[R]:
        """
        Return the page that *reading* brings; an empty one only if the context still exists.

        Raises:
            ContextNotFound: The context was purged meanwhile.
            Unavailable: The store can't be read.
        """
        with READING:
            page = await reading
        if not page:
            await self._settled.wait()  # a state in the store may not be published yet
            await self._contexts.read(context.id)
        return page

    async def contexts(self, prefix: str, after: str, limit: int) -> list[ContextRow]:
        """
        Read rows of contexts in byte order of their ids; none is ahead of its published state.

        Raises:
            Unavailable: The store can't be read.
        """
        with READING:
            page = await self._store.contexts(prefix, after, limit)
        await self._settled.wait()
        return page

    async def at_version(self, context: ContextState, version: int) -> ContextState:
        """
        Return *context* as it was after *version*, under its current configuration.

        Raises:
            ContextNotFound: The context was purged meanwhile.
            Unavailable: The store can't be read.
        """
        if version == context.version:
            return context
        with READING:
            snapshot = await self._store.load_at(context.id, version)
        if snapshot is None:
            raise ContextNotFound
        # Such reads are rare, and the window may be long, so always use a thread.
        earlier = await asyncio.to_thread(rows.rebuilt, snapshot)
        return replace(
            context,
            version=earlier.version,
            last_seq=earlier.last_seq,
            spoken_at_us=earlier.spoken_at_us,
            window=earlier.window,
        )


def _bounds(limit: int) -> PageBounds:
    return PageBounds(limit, PAGE_BYTES_MAX)
