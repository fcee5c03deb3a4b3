"""
The newest changes and encoded frames, which many followers are sent at the same time.

Both are bounded over all contexts together. A follower that is too late for a change reads it from
the store, and one that is too late for a frame encodes it again.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Sequence
from itertools import islice
from typing import Final, Generic, TypeVar

from fastpaca.stream.subscription import Page, VersionChange

CHANNEL_BYTES_MAX: Final = 256 * 1024
"""How much of its newest changes a context keeps besides those of its last commit."""

CHANGES_BYTES_MAX: Final = 16 * 1024 * 1024
"""How much all contexts keep together, besides the last commit of one."""

FRAMES_BYTES_MAX: Final = 4 * 1024 * 1024
"""How much of encoded frames to keep."""

PAGE_CHANGES: Final = 200
"""How many changes a follower takes at a time."""

PAGE_HEADS: Final = 1000
"""The same for a follower without message frames, whose pages hold no bodies."""

PAGE_BYTES_MAX: Final = 256 * 1024
"""Where a page of changes ends early; it holds at least one."""

FRAME_BYTES: Final = 300
"""About the memory that an encoded frame takes besides its bytes."""


class _Run:
    """The newest changes of one context, without gaps."""

    __slots__ = ("bytes", "changes")

    def __init__(self) -> None:
        self.changes: deque[VersionChange] = deque()
        self.bytes = 0

    def add(self, changes: Sequence[VersionChange]) -> None:
        kept = self.changes
        if kept and kept[-1].version + 1 != changes[0].version:
            kept.clear()
            self.bytes = 0
        kept.extend(changes)
        self.bytes += sum(change.size for change in changes)
        while self.bytes > CHANNEL_BYTES_MAX and kept[0] is not changes[0]:
            self.bytes -= kept.popleft().size


class RecentChanges:
    """The newest changes of contexts with followers, by context id."""

    def __init__(self) -> None:
        self._runs: OrderedDict[str, _Run] = OrderedDict()
        self.bytes = 0

    def keep(self, context_id: str, changes: Sequence[VersionChange]) -> None:
        """Keep *changes*, which follow those that are kept of this context."""
        if not changes:
            return
        run = self._runs.pop(context_id, None) or _Run()
        self.bytes -= run.bytes
        run.add(changes)
        self._runs[context_id] = run
        self.bytes += run.bytes
        while self.bytes > CHANGES_BYTES_MAX and len(self._runs) > 1:
            self.forget(next(iter(self._runs)))

    def forget(self, context_id: str) -> None:
        """Drop all changes of a context."""
        run = self._runs.pop(context_id, None)
        if run is not None:
            self.bytes -= run.bytes

    def page(self, context_id: str, after: int, through: int) -> Page | None:
        """Return changes after version *after*, up to *through*; None if they are not here."""
        run = self._runs.get(context_id)
        if run is None:
            return None
        first, last = run.changes[0].version, run.changes[-1].version
        if not first <= after + 1 <= last:
            return None
        start = after + 1 - first
        count = min(PAGE_CHANGES, through - after)
        changes = _bounded(list(islice(run.changes, start, start + count)))
        return Page(after=after, changes=changes, through=changes[-1].version)


def _bounded(changes: list[VersionChange]) -> list[VersionChange]:
    """Take changes up to the limit in bytes; the first one is always taken."""
    size = 0
    for count, change in enumerate(changes):
        size += change.size
        if count and size > PAGE_BYTES_MAX:
            return changes[:count]
    return changes


F = TypeVar("F", bound=Hashable)


class FrameCache(Generic[F]):
    """Encoded frames, so that a frame is encoded once for all its followers."""

    def __init__(self) -> None:
        self._frames: dict[tuple[Callable[[F], bytes], F], bytes] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._frames)

    def encoded(self, encode: Callable[[F], bytes], frame: F) -> bytes:
        """Return *frame* as *encode* writes it."""
        key = (encode, frame)
        text = self._frames.get(key)
        if text is None:
            text = encode(frame)
            if self._bytes > FRAMES_BYTES_MAX:
                self._frames.clear()
                self._bytes = 0
            self._frames[key] = text
            self._bytes += 2 * len(text) + FRAME_BYTES  # the frame itself holds the body, too
        return text
