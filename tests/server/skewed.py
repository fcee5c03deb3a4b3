"""
A node on a machine whose clock is wrong: `python -m tests.server.skewed SECONDS serve …`.

The clock of the machine is SECONDS ahead, or behind if they are negative; whatever only measures
time runs as it does.
"""

from __future__ import annotations

import sys
import time
from typing import Any

_ahead_s = float(sys.argv[1])
_time, _time_ns = time.time, time.time_ns

setattr(time, "time", lambda: _time() + _ahead_s)  # noqa: B010  # mypy lets nobody assign to it
setattr(time, "time_ns", lambda: _time_ns() + int(_ahead_s * 1e9))  # noqa: B010

if __name__ == "__main__":
    from fastpaca.cli.main import main

    arguments: list[Any] = sys.argv[2:]
    sys.exit(main(arguments))
