"""
Ranges of integers, such as seqs: pairs of a first and a last one, both inclusive. Pure.

Unless stated otherwise, a list of ranges is ascending, and its ranges don't overlap.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from operator import itemgetter

Range = tuple[int, int]


def runs(numbers: Iterable[int], step_max: int = 1) -> list[Range]:
    """
    Return the ascending *numbers* as ranges.

    A range may include numbers between two that are at most *step_max* apart.
    """
    ranges: list[Range] = []
    for number in numbers:
        if ranges and number - ranges[-1][1] <= step_max:
            ranges[-1] = (ranges[-1][0], number)
        else:
            ranges.append((number, number))
    return ranges


def union(ranges: Iterable[Range]) -> list[Range]:
    """Return the fewest ranges that hold *ranges*, which may overlap, be empty, or be unsorted."""
    joined: list[Range] = []
    for first, last in sorted(ranges):
        if first > last:
            continue
        if joined and first <= joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], max(joined[-1][1], last))
        else:
            joined.append((first, last))
    return joined


def divide(ranges: Iterable[Range], there: Sequence[Range]) -> tuple[list[Range], list[Range]]:
    """Divide *ranges* into what is in the ranges *there*, and what is not."""
    inside: list[Range] = []
    outside: list[Range] = []
    at = 0
    for start, end in ranges:
        first = start
        while at < len(there) and there[at][1] < first:
            at += 1
        here = at
        while first <= end and here < len(there) and there[here][0] <= end:
            begin, last = there[here]
            if first < begin:
                outside.append((first, begin - 1))
            inside.append((max(first, begin), min(end, last)))
            first = min(end, last) + 1
            here += 1
        if first <= end:
            outside.append((first, end))
    return inside, outside


def missing(wanted: Iterable[Range], there: Sequence[Range]) -> list[Range]:
    """Subtract the ranges *there* from *wanted*."""
    return divide(wanted, there)[1]


def contains(ranges: Sequence[Range], number: int) -> bool:
    """Return whether *number* is in *ranges*."""
    index = bisect_right(ranges, number, key=itemgetter(0))
    return index > 0 and number <= ranges[index - 1][1]


def clipped(ranges: Iterable[Range], last: int) -> list[Range]:
    """Return the part of *ranges* up to and including *last*."""
    return [(begin, min(end, last)) for begin, end in ranges if begin <= last]


def count(ranges: Iterable[Range]) -> int:
    """Return how many integers are in *ranges*."""
    return sum(last - first + 1 for first, last in ranges)


def named(ranges: Iterable[Range], ranges_max: int = 5) -> str:
    """Return a text for people that lists the first *ranges_max* of *ranges*."""
    listed = list(ranges)
    texts = [f"{first}" if first == last else f"{first} to {last}" for first, last in listed]
    return ", ".join(texts[:ranges_max]) + (" and more" if len(listed) > ranges_max else "")
