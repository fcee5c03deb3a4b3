"""What a context was: its window as it was after an earlier version."""

from __future__ import annotations

import asyncio

from msgspec.structs import replace

from fastpaca.context import Context
from fastpaca.engine import rows
from fastpaca.errors import ContextNotFound
from fastpaca.store.base import Store


async def at_version(store: Store, context: Context, version: int) -> Context:
    """
    Give *context* as it was after *version*, one that it has, under its configuration of now.

    Raises:
        ContextNotFound: It was purged meanwhile.
        ReadFailed: The store cannot be read.
    """
    if version == context.version:
        return context
    snapshot = await store.load_at(context.id, version)
    if snapshot is None:
        raise ContextNotFound
    # The past is read rarely, and a window of it may be long: always in a thread.
    then = await asyncio.to_thread(rows.rebuilt, snapshot)
    return replace(
        context,
        version=then.version,
        last_seq=then.last_seq,
        spoken_at_us=then.spoken_at_us,
        window=then.window,
    )
