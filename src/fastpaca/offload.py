"""
When work leaves the event loop: one rule, and one table of what work costs.

All requests of a node share one event loop, so work on it stalls all others. Work whose cost grows
with what a client sends or stores runs in a thread, unless it surely takes less than
`INLINE_SECONDS`: moving work to a thread and back costs about 0.1 ms and a turn of the scheduler,
which is more than most requests take in total.

Python's threads share the interpreter, so more of them would not be faster, and each holds several
copies of its data. Long work therefore waits for one of `LONG_AT_ONCE` places; shorter work does
not. Parsing bodies has the lowest priority, since the work after it frees the copies that it makes.

Single calls into C that only copy bytes always run on the event loop: they hold the interpreter's
lock in every thread, for about 0.2 ms per MiB.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

INLINE_SECONDS: Final = 0.0025
"""Work that is expected to take longer runs in a thread; a short append takes 0.1 ms."""

LONG_SECONDS: Final = 0.05
"""Work that is expected to take longer waits for a place."""

LONG_AT_ONCE: Final = 2
"""Places for long work; asyncio's own pool has at least five threads."""

T = TypeVar("T")


class Work(NamedTuple):
    """
    A kind of work, and an upper estimate of its cost, measured on a core of 2026.

    Attributes:
        byte_ns: Nanoseconds per byte.
        item_us: Microseconds per item, such as a message or an entry of a window.
        comes_last: Whether all other kinds go first when it waits for a place.
    """

    byte_ns: float
    item_us: float = 0.0
    comes_last: bool = False

    def seconds(self, size: int, items: int = 0) -> float:
        """Return how long work on *items* of *size* bytes in total is expected to take."""
        return self.byte_ns * size / 1e9 + self.item_us * items / 1e6

    def is_inline(self, size: int, items: int = 0) -> bool:
        """Return whether work on *items* of *size* bytes in total is done on the event loop."""
        return self.seconds(size, items) <= INLINE_SECONDS


PARSE: Final = Work(byte_ns=20, comes_last=True)
"""Parse and check a body: 20 ms per MiB, up to 100 ms if it consists of tiny objects."""

HASH: Final = Work(byte_ns=2.5)
"""Hash a body with SHA-256, on a processor without instructions for it."""

COUNT: Final = Work(byte_ns=150)
"""
Count tokens. o200k_base takes up to 0.25 ms for a KiB of random letters, 0.07 ms of Chinese, and
0.01 ms of English; a scan for media takes up to 0.35 ms for a KiB of tiny objects.
"""

COMPARE: Final = Work(byte_ns=150)
"""Compare messages value for value."""

APPLY: Final = Work(byte_ns=3, item_us=20)
"""Apply an op that rewrites no window: its messages are copied a few times."""

REWRITE: Final = Work(byte_ns=20, item_us=3)
"""Rewrite a window: parse its messages to take parts out of them."""

FIT: Final = Work(byte_ns=17, item_us=2.5)
"""Fit a window to a budget: find the cut, and shorten long texts."""

RENDER: Final = Work(byte_ns=80, item_us=60)
"""Render a window for a provider, up to three times: to price repairs, and before and after."""

REBUILD: Final = Work(byte_ns=20, item_us=10)
"""Rebuild a window from stored rows."""

WRITE_WINDOWS: Final = Work(byte_ns=150)
"""Encode stored windows as segments."""

LOOK_BACK: Final = Work(byte_ns=15, item_us=20)
"""Compare stored windows, each with the one before."""

WRITE_MESSAGES: Final = Work(byte_ns=1, item_us=5)
"""Encode stored messages for readers."""

WRITE_COLUMNS: Final = Work(byte_ns=10, item_us=5)
"""Convert messages into columns of the archive."""


class Places:
    """Places for long work, first come, first served, except for the kinds that come last."""

    def __init__(self, count: int) -> None:
        self._free = count
        self._waiting: tuple[deque[asyncio.Future[None]], ...] = (deque(), deque())

    async def take(self, *, comes_last: bool) -> None:
        """Wait for a place."""
        if self._free:
            self._free -= 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[comes_last].append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():  # it has just received a place
                self.leave()
            raise

    def leave(self) -> None:
        """Pass the place to the next one."""
        for waiting in self._waiting:
            while waiting:
                turn = waiting.popleft()
                if not turn.done():
                    turn.set_result(None)
                    return
        self._free += 1


_places: WeakKeyDictionary[asyncio.AbstractEventLoop, Places] = WeakKeyDictionary()


async def offload(kind: Work, size: int, work: Callable[[], T], *, items: int = 0) -> T:
    """Do *work* on *items* of *size* bytes in total: here if it is short, else in a thread."""
    # Nearly all work is short, and each request comes here several times.
    seconds = kind.byte_ns * size / 1e9 + kind.item_us * items / 1e6
    if seconds <= INLINE_SECONDS:
        return work()
    if seconds <= LONG_SECONDS:
        return await asyncio.to_thread(work)
    places = _places_of_this_loop()
    await places.take(comes_last=kind.comes_last)
    try:
        return await asyncio.to_thread(work)
    finally:
        places.leave()


def _places_of_this_loop() -> Places:
    loop = asyncio.get_running_loop()
    places = _places.get(loop)
    if places is None:
        places = _places[loop] = Places(LONG_AT_ONCE)
    return places


def steps(kind: Work, sizes: Sequence[int]) -> Iterator[tuple[int, int]]:
    """
    Divide items of *sizes* bytes into steps that are short enough for the event loop.

    Yields the half-open range of each step. A single item may take longer.
    """
    start, seconds = 0, 0.0
    for index, size in enumerate(sizes):
        more = kind.seconds(size, 1)
        if index > start and seconds + more > INLINE_SECONDS:
            yield start, index
            start, seconds = index, 0.0
        seconds += more
    if start < len(sizes):
        yield start, len(sizes)
