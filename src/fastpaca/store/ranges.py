"""Ranges of seqs: inclusive pairs, ascending, that do not overlap."""

from __future__ import annotations

from collections.abc import Iterable

Range = tuple[int, int]


def missing(first: int, last: int, there: Iterable[Range]) -> list[Range]:
    """List what lies between *first* and *last*, inclusive, and not in the ranges *there*."""
    found: list[Range] = []
    at = first
    for begin, end in there:
        if begin > last:
            break
        if begin > at:
            found.append((at, begin - 1))
        at = max(at, end + 1)
    if at <= last:
        found.append((at, last))
    return found


def missing_in(wanted: Iterable[Range], seqs: Iterable[int]) -> list[Range]:
    """List what is in the ranges *wanted* and not among the ascending *seqs*."""
    there = runs(seqs)
    return [gap for first, last in wanted for gap in missing(first, last, there)]


def clipped(ranges: Iterable[Range], last: int) -> list[Range]:
    """Leave out what lies behind *last*."""
    return [(begin, min(end, last)) for begin, end in ranges if begin <= last]


def runs(seqs: Iterable[int]) -> list[Range]:
    """Put ascending *seqs* into as few ranges as there can be."""
    found: list[Range] = []
    for seq in seqs:
        if found and seq == found[-1][1] + 1:
            found[-1] = (found[-1][0], seq)
        else:
            found.append((seq, seq))
    return found


def count(ranges: Iterable[Range]) -> int:
    """Tell how many seqs are in *ranges*."""
    return sum(last - first + 1 for first, last in ranges)


def named(ranges: Iterable[Range], most: int = 5) -> str:
    """Write *ranges* for people, the first few of them."""
    listed = list(ranges)
    texts = [f"{first}" if first == last else f"{first} to {last}" for first, last in listed]
    return ", ".join(texts[:most]) + (" and more" if len(listed) > most else "")
