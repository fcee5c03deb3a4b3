"""
When work leaves the event loop: one rule, and one table of what work costs.

Everything that a node serves shares one event loop, so a piece of work on it is a stall for all
others. Work whose cost grows with what a client sends or keeps therefore goes to a thread, unless
it surely takes less than `INLINE_SECONDS`: handing work to a thread and back costs about 0.1 ms and
a turn of the scheduler, more than most requests take in all.

Threads of Python share the interpreter, so that more of them at once would not be faster, and each
of them holds several copies of what it works on. Long work therefore waits for one of
`LONG_AT_ONCE` places. Shorter work does not wait for it. Bodies that are still to be taken apart
wait longest: what follows frees the copies that taking them apart has made.

Single calls into C that only copy bytes stay where they are: they hold the interpreter's lock in
whichever thread they run, for about 0.2 ms a MiB.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

INLINE_SECONDS: Final = 0.0025
"""Work that is foreseen to take longer goes to a thread; a short append takes 0.1 ms."""

LONG_SECONDS: Final = 0.05
"""Work that is foreseen to take longer is long: it waits for a place."""

LONG_AT_ONCE: Final = 2
"""Places for long work; asyncio's own pool has at least five threads."""

T = TypeVar("T")


class Work(NamedTuple):
    """
    A kind of work, by what it costs: an upper estimate, measured on a core of 2026.

    Attributes:
        byte_ns: Nanoseconds a byte.
        item_us: Microseconds an item: a message, an entry of a window.
        comes_last: Whether it waits for a place until nothing else does.
    """

    byte_ns: float
    item_us: float = 0.0
    comes_last: bool = False

    def seconds(self, size: int, items: int = 0) -> float:
        """Foresee how long work on *items* of *size* bytes together takes."""
        return self.byte_ns * size / 1e9 + self.item_us * items / 1e6

    def is_inline(self, size: int, items: int = 0) -> bool:
        """Return whether work on *items* of *size* bytes in total is done on the event loop."""
        return self.seconds(size, items) <= INLINE_SECONDS


PARSE: Final = Work(byte_ns=20, comes_last=True)
"""Check a body and take it apart: 20 ms a MiB, up to 100 ms if it is nothing but tiny objects."""

HASH: Final = Work(byte_ns=2.5)
"""Hash a body with SHA-256, on a processor without instructions for it."""

COUNT: Final = Work(byte_ns=150)
"""
Count tokens. o200k_base takes up to 0.25 ms for a KiB of random letters, 0.07 ms for one of
Chinese, 0.01 ms for one of English; a scan for media takes up to 0.35 ms for a KiB of nothing but
tiny objects.
"""

COMPARE: Final = Work(byte_ns=150)
"""Compare messages value for value."""

APPLY: Final = Work(byte_ns=3, item_us=20)
"""Apply an op that rewrites no window: its messages are written down a few times."""

REWRITE: Final = Work(byte_ns=20, item_us=3)
"""Rewrite a window: look into its messages to take parts out of them."""

FIT: Final = Work(byte_ns=17, item_us=2.5)
"""Fit a window to a budget: walk over it, and cut long texts."""

REBUILD: Final = Work(byte_ns=20, item_us=10)
"""Make a window of stored rows."""

WRITE_WINDOWS: Final = Work(byte_ns=150)
"""Write stored windows as segments."""

LOOK_BACK: Final = Work(byte_ns=15, item_us=20)
"""Compare stored windows, each with the one before."""

WRITE_MESSAGES: Final = Work(byte_ns=1, item_us=5)
"""Write stored messages as readers get them."""

WRITE_COLUMNS: Final = Work(byte_ns=10, item_us=5)
"""Turn messages into columns of the archive."""


class Places:
    """Places for long work; those who wait get them in order, but for the kinds that come last."""

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
            if not turn.cancelled():  # it had just been given a place
                self.leave()
            raise

    def leave(self) -> None:
        """Let the next one have the place."""
        for waiting in self._waiting:
            while waiting:
                turn = waiting.popleft()
                if not turn.done():
                    turn.set_result(None)
                    return
        self._free += 1


_places: WeakKeyDictionary[asyncio.AbstractEventLoop, Places] = WeakKeyDictionary()


async def offload(kind: Work, size: int, work: Callable[[], T], *, items: int = 0) -> T:
    """Do *work* on *items* of *size* bytes together: here if it is short, else in a thread."""
    # Nearly all work is short, and each request asks here several times.
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

    Yields where each begins and ends; one item may be a longer step by itself.
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
