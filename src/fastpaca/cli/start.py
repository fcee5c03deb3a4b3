"""
Where the command begins: before anything else is imported, a signal can end it.

The first process of a container is not ended by SIGTERM unless it handles it: the kernel discards
a signal that such a process leaves to its default. A node handles it as soon as it has an event
loop. But that is after some tenths of a second of imports, in which `docker stop` would be lost.
"""

from __future__ import annotations

import os
import signal
from typing import Final

ENDED: Final = 128 + signal.SIGTERM
"""The exit code of what SIGTERM has ended, as shells tell it."""


def main() -> int:
    """Run the command of this process, and answer its exit code."""
    if os.getpid() == 1:
        # Nothing is under way yet: what has to be put in order first handles the signal itself.
        signal.signal(signal.SIGTERM, lambda *_: os._exit(ENDED))
    from fastpaca.cli.main import main as run

    return run()
