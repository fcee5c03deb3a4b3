"""Standard output for bytes, and sizes for people."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, Final

STANDARD_OUTPUT: Final = "-"
"""The name of standard output in place of a file."""


@contextmanager
def standard_output() -> Iterator[BinaryIO]:
    """
    Return standard output for a block, and flush it at the end.

    Raises:
        OSError: It is closed, or its reader has closed it.
    """
    if sys.stdout is None:
        raise OSError(None, "it is closed")
    try:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
    except OSError:
        # Otherwise flushing the rest of the buffer would fail again when the process ends.
        null_device = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null_device, sys.stdout.fileno())
        os.close(null_device)
        raise


def readable_size(size_bytes: int) -> str:
    """Format a number of bytes for people."""
    size = float(size_bytes)
    for unit in ("bytes", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"
