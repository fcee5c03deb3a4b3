"""
How much memory the C library keeps of what was freed.

glibc serves large blocks from its heaps as soon as one of that size was freed, and never gives back
what lies below a block that is in use: after 36 bodies of 15 MiB a node would keep 1 GiB
permanently. So a node asks for large blocks to be mapped by themselves, which returns each as soon
as it is freed, and for few heaps; and it lets free pages in between be returned when large bodies
are done with. What the operator says in the environment (`MALLOC_…`) stands. Other C libraries give
back by themselves: for them nothing is done.
"""

from __future__ import annotations

import ctypes
import os
from typing import Any, Final

MMAP_BYTES: Final = 128 * 1024
"""Blocks of this size are mapped by themselves: what glibc begins with, before it adapts."""

ARENAS: Final = 2
"""
Heaps. Threads share them: Python's lock lets one thread at a time allocate most of the time.

With the default, eight for each core, batches of 15 MiB took a third more at their peak.
"""

_M_MMAP_THRESHOLD: Final = -3  # malloc.h of glibc
_M_ARENA_MAX: Final = -8

_OPTIONS: Final = (
    ("MALLOC_MMAP_THRESHOLD_", _M_MMAP_THRESHOLD, MMAP_BYTES),
    ("MALLOC_ARENA_MAX", _M_ARENA_MAX, ARENAS),
)


def keep_little() -> None:
    """Let glibc keep little of what this process frees; called before it has threads."""
    libc = _glibc()
    if libc is None:
        return
    for variable, option, value in _OPTIONS:
        if variable not in os.environ:  # noqa: TID251  # glibc's own, and not settings of ours
            libc.mallopt(option, value)


def give_back() -> None:
    """
    Return free memory to the system; called in a thread, since it takes up to some 100 ms.

    The interpreter goes on meanwhile, but for threads that want memory from the same heap.
    """
    libc = _glibc()
    if libc is not None:
        libc.malloc_trim(0)


def _glibc() -> Any:
    """Return the C library of this process if it is glibc, else None."""
    try:
        version = os.confstr("CS_GNU_LIBC_VERSION")
    except (AttributeError, OSError, ValueError):
        return None
    return ctypes.CDLL(None) if version else None
