"""Work that would hold up the event loop goes to a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, TypeVar

INLINE_BYTES: Final = 128 * 1024
"""What is done to larger bodies is done in a thread (parsing takes about 20 ms for a MiB)."""

T = TypeVar("T")


async def done_to(body: bytes, work: Callable[[bytes], T]) -> T:
    """Do *work* to *body*, in a thread if it is large."""
    if len(body) > INLINE_BYTES:
        return await asyncio.to_thread(work, body)
    return work(body)
