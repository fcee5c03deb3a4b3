"""The past of a context: its window after an earlier version."""

from __future__ import annotations

import asyncio

from msgspec.structs import replace

from fastpaca.context import ContextState
from fastpaca.engine import rows
from fastpaca.errors import ContextNotFound
from fastpaca.store.base import Store


async def at_version(store: Store, context: ContextState, version: int) -> ContextState:
    """
    Return *context* as it was after *version*, under its current configuration.

    Raises:
        ContextNotFound: The context was purged meanwhile.
        ReadFailed: The store can't be read.
    """
    if version == context.version:
        return context
    snapshot = await store.load_at(context.id, version)
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
