"""
How much freed memory the C library keeps.

As soon as one large block was freed, glibc serves blocks of that size from its heaps, and never
returns memory below a block that is in use: after 36 bodies of 15 MiB, a node would keep 1 GiB. So
a node tells glibc to map large blocks separately, which returns each as soon as it is freed, and to
use few heaps. After large bodies, it also returns free pages in between. `MALLOC_…` variables in
the environment take precedence. Other C libraries return memory on their own.
"""

from __future__ import annotations

import ctypes
import os
from typing import Any, Final

MMAP_BYTES: Final = 128 * 1024
"""Blocks of this size are mapped separately; this is glibc's default, before it adapts."""

ARENAS: Final = 2
"""
Heaps, which threads share: because of Python's lock, mostly one thread at a time allocates.

With the default, eight per core, batches of 15 MiB took a third more memory at their peak.
"""

_M_MMAP_THRESHOLD: Final = -3  # malloc.h of glibc
_M_ARENA_MAX: Final = -8

_OPTIONS: Final = (
    ("MALLOC_MMAP_THRESHOLD_", _M_MMAP_THRESHOLD, MMAP_BYTES),
    ("MALLOC_ARENA_MAX", _M_ARENA_MAX, ARENAS),
)


def keep_little() -> None:
    """Make glibc keep little freed memory; call this before the process has threads."""
    libc = _glibc()
    if libc is None:
        return
    for variable, option, value in _OPTIONS:
        if variable not in os.environ:  # noqa: TID251  # settings of glibc, not of fastpaca
            libc.mallopt(option, value)


def give_back() -> None:
    """
    Return free memory to the system; call this in a thread, since it takes up to about 100 ms.

    Meanwhile, only threads that allocate from the same heap have to wait.
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
