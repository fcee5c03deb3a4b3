"""
The path: the messages of the log that make the conversation as it is now.

A row of the log is on the path if its seq lies in one of the path's ranges, and no later row on the
path revises its place. Appended and revised messages join the last range, which is open. A rewind
closes it and opens another after the end of the log, so it adds at most one range.

Seqs and versions of rows rise together, so ranges of seqs say the same as ranges of versions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from fastpaca.ranges import Range, clipped, contains

RANGES_MAX: Final = 1_000
"""The most ranges of a path: each stored window has all of them."""


class Path(NamedTuple):
    """
    Which rows of the log are on the path, apart from those that were revised.

    Attributes:
        kept: The seqs before *since* that are on it, as ranges; none ends right before *since*.
        since: From this seq on, all rows are on it.
    """

    kept: tuple[Range, ...] = ()
    since: int = 1

    @staticmethod
    def of(ranges: Sequence[Range], last_seq: int) -> Path:
        """Return the path with these *ranges*, of a log that ends at *last_seq*."""
        if ranges and ranges[-1][1] == last_seq:
            return Path(tuple(ranges[:-1]), ranges[-1][0])
        return Path(tuple(ranges), last_seq + 1)

    def ranges(self, last_seq: int) -> list[Range]:
        """Return the ranges of seqs on it, of a log that ends at *last_seq*."""
        if self.since > last_seq:
            return clipped(self.kept, last_seq)
        return [*self.kept, (self.since, last_seq)]

    def holds(self, seq: int) -> bool:
        """Return whether the row *seq* is on it, unless it was revised."""
        return seq >= self.since or contains(self.kept, seq)


WHOLE_LOG: Final = Path()
"""The path of a conversation that never went back."""
