"""Work that would hold up the event loop goes to a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, TypeVar

PARSE_INLINE_BYTES: Final = 128 * 1024
"""Larger bodies are parsed in a thread (about 20 ms for a MiB of small parts)."""

T = TypeVar("T")


async def parsed(parse: Callable[[bytes], T], body: bytes) -> T:
    """Read *body* with *parse*, in a thread if it is large."""
    if len(body) > PARSE_INLINE_BYTES:
        return await asyncio.to_thread(parse, body)
    return parse(body)
