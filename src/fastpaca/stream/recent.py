"""
What many followers are sent at the same time is kept for a moment: changes, and frames as bytes.

Both are bounded over all contexts together. Whoever comes too late for a change reads it from the
store, and encodes a frame once more.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Sequence
from itertools import islice
from typing import Final, Generic, TypeVar

from fastpaca.stream.subscription import Change, Page

CHANNEL_BYTES_MAX: Final = 256 * 1024
"""How much of its newest changes a context keeps beyond those of its last commit."""

CHANGES_BYTES_MAX: Final = 16 * 1024 * 1024
"""How much all contexts keep together, beyond the last commit of one."""

TEXTS_BYTES_MAX: Final = 4 * 1024 * 1024
"""How much of encoded frames is kept."""

PAGE_CHANGES: Final = 200
"""How many changes a follower takes at once."""

PAGE_HEADS: Final = 1000
"""The same, for one who wants no messages: of those a page holds no bodies."""

PAGE_BYTES_MAX: Final = 256 * 1024
"""Where a page of changes ends early; it has at least one."""

TEXT_BYTES: Final = 300
"""About what a text takes in memory beside its bytes."""


class _Run:
    """The newest changes of one context, without holes."""

    __slots__ = ("bytes", "changes")

    def __init__(self) -> None:
        self.changes: deque[Change] = deque()
        self.bytes = 0

    def add(self, changes: Sequence[Change]) -> None:
        kept = self.changes
        if kept and kept[-1].version + 1 != changes[0].version:
            kept.clear()
            self.bytes = 0
        kept.extend(changes)
        self.bytes += sum(change.size for change in changes)
        while self.bytes > CHANNEL_BYTES_MAX and kept[0] is not changes[0]:
            self.bytes -= kept.popleft().size


class Recent:
    """The newest changes of contexts that are followed, by context id."""

    def __init__(self) -> None:
        self._runs: OrderedDict[str, _Run] = OrderedDict()
        self.bytes = 0

    def keep(self, context_id: str, changes: Sequence[Change]) -> None:
        """Keep *changes*, which come behind what was kept of this context before."""
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
        """Keep nothing of a context."""
        run = self._runs.pop(context_id, None)
        if run is not None:
            self.bytes -= run.bytes

    def page(self, context_id: str, after: int, through: int) -> Page | None:
        """Give changes behind the version *after*, up to *through*; None if they are not here."""
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


def _bounded(changes: list[Change]) -> list[Change]:
    """Take changes until they are too big together; the first one is always taken."""
    size = 0
    for count, change in enumerate(changes):
        size += change.size
        if count and size > PAGE_BYTES_MAX:
            return changes[:count]
    return changes


F = TypeVar("F", bound=Hashable)


class Texts(Generic[F]):
    """Frames as they are sent, encoded once for all who are sent the same."""

    def __init__(self) -> None:
        self._texts: dict[tuple[Callable[[F], bytes], F], bytes] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._texts)

    def text(self, encode: Callable[[F], bytes], frame: F) -> bytes:
        """Give *frame* as *encode* writes it."""
        key = (encode, frame)
        text = self._texts.get(key)
        if text is None:
            text = encode(frame)
            if self._bytes > TEXTS_BYTES_MAX:
                self._texts.clear()
                self._bytes = 0
            self._texts[key] = text
            self._bytes += 2 * len(text) + TEXT_BYTES  # the frame has a body of its own
        return text
