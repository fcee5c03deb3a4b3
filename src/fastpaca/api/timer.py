"""One timer for many deadlines, most of which are cleared before they pass."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable


class DeadlineTimer:
    """
    Calls a function after a while, unless the deadline is cleared or moved before.

    Starting and canceling a timer of the event loop costs about 2 µs, as much as everything else
    that a connection does around a request, and most deadlines are cleared by the next request. So
    a running timer is left alone: when it fires, it checks whether the deadline has passed.
    """

    __slots__ = ("_deadline", "_fires_at", "_loop", "_then", "_timer")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._deadline = math.inf
        self._then: Callable[[], None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._fires_at = 0.0

    @property
    def is_set(self) -> bool:
        """Whether there is a deadline."""
        return self._deadline != math.inf

    def set(self, seconds: float, then: Callable[[], None]) -> None:
        """Call *then* in *seconds*. This replaces the deadline that was set before."""
        self._deadline = self._loop.time() + seconds
        self._then = then
        if self._timer is None or self._fires_at > self._deadline:
            self._start(seconds)

    def clear(self) -> None:
        """Call nothing."""
        self._deadline = math.inf

    def stop(self) -> None:
        """Call nothing anymore, and release the function and the timer."""
        self.clear()
        self._then = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _start(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._fires_at = self._loop.time() + seconds
        self._timer = self._loop.call_later(seconds, self._fire)

    def _fire(self) -> None:
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
