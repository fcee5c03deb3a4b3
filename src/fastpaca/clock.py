"""The one place that reads the time of day; everything else is handed a `Clock`."""

from __future__ import annotations

import time
from collections.abc import Callable

Clock = Callable[[], int]
"""Returns the time in microseconds since 1970, UTC."""


def now_us() -> int:
    """Read the machine's clock."""
    return time.time_ns() // 1000
