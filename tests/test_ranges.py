"""Ranges of integers: what they hold, and what is missing between them."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from fastpaca.ranges import Range, clipped, contains, count, divide, missing, named, runs, union

SEQS = st.sets(st.integers(1, 30))


def seqs_in(ranges: list[Range]) -> list[int]:
    """List the seqs of ranges one by one."""
    return [seq for first, last in ranges for seq in range(first, last + 1)]


@given(SEQS)
def test_runs_hold_the_same_seqs(seqs: set[int]) -> None:
    """There are as few ranges as can be: no two of them touch."""
    ranges = runs(sorted(seqs))
    assert seqs_in(ranges) == sorted(seqs)
    assert count(ranges) == len(seqs)
    assert all(later[0] > earlier[1] + 1 for earlier, later in pairwise(ranges))


@given(SEQS, st.integers(-3, 33), st.integers(-3, 33))
def test_what_is_missing_is_the_rest(there: set[int], first: int, last: int) -> None:
    """What is there and what is missing are all that there is, wherever it begins and ends."""
    outside = missing([(first, last)], runs(sorted(there)))
    assert seqs_in(outside) == [seq for seq in range(first, last + 1) if seq not in there]


@given(SEQS, SEQS)
def test_what_is_missing_of_what_is_wanted(wanted: set[int], there: set[int]) -> None:
    """The same, of what has holes itself."""
    inside, outside = divide(runs(sorted(wanted)), runs(sorted(there)))
    assert seqs_in(inside) == sorted(wanted & there)
    assert seqs_in(outside) == sorted(wanted - there)


@given(st.lists(st.tuples(st.integers(1, 30), st.integers(0, 30))))
def test_a_union_holds_what_its_ranges_hold(ranges: list[Range]) -> None:
    """As few ranges as can be, from any, in any order, empty ones too."""
    joined = union(ranges)
    assert joined == runs(sorted({*seqs_in(ranges)}))
    assert all(contains(joined, seq) == (seq in seqs_in(ranges)) for seq in range(-1, 33))


@given(SEQS, st.integers(1, 5))
def test_runs_may_read_over_narrow_gaps(seqs: set[int], step_max: int) -> None:
    """All numbers are held, and what is held between them is no wider than asked for."""
    ranges = runs(sorted(seqs), step_max)
    assert seqs <= {*seqs_in(ranges)}
    assert all(later[0] - earlier[1] > step_max for earlier, later in pairwise(ranges))
    assert all(any(contains([(n, n + step_max)], s) for s in seqs) for n in seqs_in(ranges))


def test_ranges_are_named_for_people() -> None:
    """The first few are named."""
    assert named([(1, 1), (3, 5)]) == "1, 3 to 5"
    assert named([(n, n) for n in range(1, 8)]) == "1, 2, 3, 4, 5 and more"


@given(SEQS, st.integers(-3, 33))
def test_clipped_ranges_end_in_time(seqs: set[int], last: int) -> None:
    """Nothing behind the end is left, and nothing before it is gone."""
    assert seqs_in(clipped(runs(sorted(seqs)), last)) == sorted(s for s in seqs if s <= last)
