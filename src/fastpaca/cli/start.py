"""
The start of the command: signals can end it before anything else is imported.

SIGTERM doesn't end the first process of a container unless the process handles it: the kernel
discards signals that such a process leaves at their default. A node handles SIGTERM once it has an
event loop, but imports take some tenths of a second before that, and `docker stop` would be lost.
"""

from __future__ import annotations

import os
import signal
from typing import Final

ENDED: Final = 128 + signal.SIGTERM
"""The exit code that shells report for a process that SIGTERM has ended."""


def main() -> int:
    """Run the command of this process, and return its exit code."""
    if os.getpid() == 1:
        # Nothing needs to be cleaned up yet; commands that do more install their own handler.
        signal.signal(signal.SIGTERM, lambda *_: os._exit(ENDED))
    from fastpaca.cli.main import main as run

    return run()
