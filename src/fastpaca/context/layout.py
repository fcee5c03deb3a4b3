"""
What the choice of a cut needs to know of a list of entries, and the cut that was chosen.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Final, NamedTuple

from fastpaca.context.calls import joints
from fastpaca.context.message import Entry

Span = tuple[int, int]
"""Where a run of entries begins and ends, half open."""

NO_OPENER: Final = (0, 0)


class Cut(NamedTuple):
    """
    Which entries of a window stay: the pinned, the opener, and all from *start* on.

    Attributes:
        pinned: How many entries at the beginning are pinned.
        opener: The block of the user message that opened the turn which the cut falls into;
            `NO_OPENER` if none is kept.
        start: Index of the first of the newest entries that stay.
    """

    pinned: int
    opener: Span
    start: int

    def kept(self, entries: Sequence[Entry]) -> list[Entry]:
        """Give the entries that stay."""
        opener = entries[self.opener[0] : self.opener[1]]
        return [*entries[: self.pinned], *opener, *entries[self.start :]]

    def dropped(self) -> Iterator[int]:
        """Give the indexes of the entries that go."""
        stays = range(*self.opener)
        return (index for index in range(self.pinned, self.start) if index not in stays)


class Layout:
    """
    What the choice of a cut needs to know of a list of entries, computed once.

    Attributes:
        size: How many entries there are.
        pinned: How many of them are pinned, the rest of a group that reaches out of them included.
        joint: Per index, whether a cut right before it parts no group.
        pairing: Which calls and results belong together.
    """

    def __init__(self, entries: Sequence[Entry], pinned: int) -> None:
        self.size = len(entries)
        self.joint, self.pairing = joints(entries)
        self.pinned = pinned
        while 0 < self.pinned < self.size and not self.joint[self.pinned]:
            self.pinned += 1
        self._sums = [0, *accumulate(entry.tokens for entry in entries)]
        self._block = _block_starts(self.joint)
        self._next_joint = _next_joints(self.joint)
        self._turn = _turn_starts(entries, self.pinned)
        self._holds_calls = {
            turn
            for turn, entry in zip(self._turn, entries, strict=True)
            if entry.marks or entry.cut_after
        }

    def tokens(self, start: int, end: int) -> int:
        """Sum the tokens of the entries from *start* to *end*, half open."""
        return self._sums[end] - self._sums[start]

    def newest(self, end: int) -> int:
        """Find where the newest block of the entries before *end* starts."""
        return self._block[end - 1] if end > self.pinned else self.pinned

    def next_joint(self, index: int) -> int:
        """Find the first place from *index* on where a cut parts no group."""
        return self._next_joint[index]

    def turn(self, index: int) -> int:
        """
        Give the user message that opened the turn of the entry at *index*; -1 if there is none.
        """
        return self._turn[index] if index < self.size else -1

    def opener(self, start: int) -> Span:
        """Find the block that opened the turn which a cut at *start* falls into."""
        turn = self.turn(start)
        if turn < 0 or turn == start or turn not in self._holds_calls:
            return NO_OPENER
        return self._block[turn], self.next_joint(turn + 1)

    def first_turn(self, start: int) -> int | None:
        """Find the first user message from *start* on that a cut may leave first."""
        candidates = range(start, self.size)
        return next((i for i in candidates if self._turn[i] == i and self.joint[i]), None)

    def last_turn(self) -> int:
        """
        Find where the running turn starts, if it holds calls; else the end.

        Without any user message all that is not pinned is one turn that may not be stripped: what
        is left of it cannot tell whether it held calls before.
        """
        if self.size == self.pinned:
            return self.size
        turn = self._turn[-1]
        if turn < 0:
            return self.pinned
        return turn if turn in self._holds_calls else self.size


def _block_starts(joint: Sequence[bool]) -> list[int]:
    """Give per index where its block starts."""
    starts = []
    start = 0
    for index, is_joint in enumerate(joint):
        if is_joint:
            start = index
        starts.append(start)
    return starts


def _next_joints(joint: Sequence[bool]) -> list[int]:
    """Give per index, the end included, the first joint from there on."""
    found = [len(joint)] * (len(joint) + 1)
    for index in range(len(joint) - 1, -1, -1):
        found[index] = index if joint[index] else found[index + 1]
    return found


def _turn_starts(entries: Sequence[Entry], pinned: int) -> list[int]:
    """Give per entry the index of the user message that opened its turn, or -1."""
    starts = [-1] * len(entries)
    turn = -1
    for index in range(pinned, len(entries)):
        if entries[index].opens_turn:
            turn = index
        starts[index] = turn
    return starts
