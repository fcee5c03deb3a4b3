"""One timer for many waits, most of which end before it rings."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable


class Alarm:
    """
    Calls a function after a while, unless it is told otherwise before.

    A timer of the event loop costs about 2 µs to start and cancel, as much as the rest of what a
    connection does around a request, and most waits end with the next request. So a timer that runs
    is left alone: it looks when it rings whether it is time.
    """

    __slots__ = ("_deadline", "_loop", "_rings_at", "_then", "_timer")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._deadline = math.inf
        self._then: Callable[[], None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._rings_at = 0.0

    @property
    def is_set(self) -> bool:
        """Whether something is waited for."""
        return self._deadline != math.inf

    def set(self, seconds: float, then: Callable[[], None]) -> None:
        """Call *then* in *seconds*, in place of what was to be called before."""
        self._deadline = self._loop.time() + seconds
        self._then = then
        if self._timer is None or self._rings_at > self._deadline:
            self._start(seconds)

    def clear(self) -> None:
        """Call nothing."""
        self._deadline = math.inf

    def stop(self) -> None:
        """Call nothing any more, and let go of the function."""
        self.clear()
        self._then = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _start(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._rings_at = self._loop.time() + seconds
        self._timer = self._loop.call_later(seconds, self._ring)

    def _ring(self) -> None:
        self._timer = None
        if not self.is_set:
            return
        left = self._deadline - self._loop.time()
        if left > 0:
            self._start(left)
            return
        self.clear()
        if self._then is not None:
            self._then()
