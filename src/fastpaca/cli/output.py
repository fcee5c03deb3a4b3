"""Standard output, for a command that writes bytes there."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, Final

STANDARD_OUTPUT: Final = "-"
"""What a command calls it in place of a file."""


@contextmanager
def written_out() -> Iterator[BinaryIO]:
    """
    Lend standard output; all that was written to it has been passed on in the end.

    Raises:
        OSError: It was closed, by this process's parent or by the one that reads it.
    """
    if sys.stdout is None:
        raise OSError(None, "it is closed")
    try:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
    except OSError:
        # What is left in the buffer would fail once more at the end of the process.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
        raise
