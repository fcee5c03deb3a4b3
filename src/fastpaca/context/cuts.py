"""
Choosing where to cut a list of entries, and what stays besides the entries after the cut.

A cut keeps the pinned entries, the task of the turn that it falls into, and everything from its
*start*. The task is the user message that opened the turn, with the user messages right before it
that answer nothing, while all of them take at most a quarter of the budget.

A provider's own compaction part replaces everything before it except the instructions, and counts
as pinned from then on. Cuts fall at or after the newest one.

Decisions that the rules leave open:

- A turn also counts as one with calls if an earlier cut fell into it and its task stayed: the calls
  may be gone with that cut, and a second cut must decide the same.
- If a group begins in the pinned entries and ends after them, a compaction part keeps all of them.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterator, Sequence
from functools import cached_property
from typing import Final, NamedTuple

from fastpaca.context.calls import Call
from fastpaca.context.config import Config, Manual
from fastpaca.context.cut_calls import CutCall
from fastpaca.context.groups import Groups, floor_of, next_of
from fastpaca.context.message import Entry
from fastpaca.context.removal import taken_out
from fastpaca.shapes import INSTRUCTION_ROLES, Shape

Span = tuple[int, int]
"""A half-open range of entries."""

NO_TASK: Final = (0, 0)

TASK_SHARE: Final = 4
"""A task, with the messages before it, takes at most this fraction (a quarter) of the budget."""


class Cut(NamedTuple):
    """
    Which entries of a window stay.

    Attributes:
        start: The index from which all entries stay.
        task: The entries that stay as the task, or `NO_TASK`.
    """

    start: int
    task: Span


class Base(NamedTuple):
    """
    What stays at every cut.

    Attributes:
        entries: The indexes of the pinned entries, ascending.
        summary: The index of the entry whose compaction part replaces those before it, or -1.
        first: The first place where a cut may fall.
        tokens: The tokens of the pinned entries, including the compaction part.
        summary_tokens: The tokens of the message with the compaction part, reduced to that.
    """

    entries: Collection[int]
    summary: int
    first: int
    tokens: int
    summary_tokens: int


class Layout:
    """
    What the choice of a cut needs to know about the entries of a window.

    Args:
        groups: Their groups, read up to *size*.
        entries: A list whose first *size* entries are those of the window.
        size: How many there are.
        pinned: How many at the beginning are pinned.

    Attributes:
        pinned: How many are pinned, including the rest of groups that begin in them.
    """

    def __init__(self, groups: Groups, entries: Sequence[Entry], size: int, pinned: int) -> None:
        self.groups = groups
        self.entries = entries
        self.size = size
        self._window_pinned = pinned
        self.pinned = pinned if pinned == 0 or pinned >= size else groups.clean_cut(pinned)
        self._reduced: dict[int, Entry] = {}
        self._task_starts: dict[Span, int] = {}

    @cached_property
    def places(self) -> Sequence[int]:
        """Where a cut may fall."""
        return self.groups.cut_places()

    @cached_property
    def _instructions(self) -> tuple[dict[int, None], int]:
        """The pinned entries that stay with a compaction part, and their tokens."""
        kept = dict.fromkeys(range(self.pinned))
        if self.pinned == self._window_pinned:
            kept = {i: None for i in kept if self.entries[i].role in INSTRUCTION_ROLES}
        return kept, sum(self.entries[index].tokens for index in kept)

    def base(self, end: int) -> Base:
        """Return what stays at every cut of the entries before *end*."""
        compactions = self.groups.compactions
        before = bisect_left(compactions, end)
        if not before or compactions[before - 1] < self.pinned:
            return Base(range(self.pinned), -1, self.pinned, self.groups.sums[self.pinned], 0)
        summary = compactions[before - 1]
        pinned, tokens = self._instructions
        summary_tokens = self.summary(summary).tokens
        return Base(pinned, summary, summary, tokens + summary_tokens, summary_tokens)

    def summary(self, index: int) -> Entry:
        """Return the entry at *index*, reduced to its compaction part."""
        if index not in self._reduced:
            entry = self.entries[index]
            shapes = entry.reading.shapes
            last = shapes.rindex(Shape.COMPACTION)
            gone = {place for place in range(len(shapes)) if place != last}
            gone |= {place for reference in entry.tool_references for place in reference.places}
            left = taken_out(entry, gone)
            assert left is not None
            self._reduced[index] = left
        return self._reduced[index]

    def tokens(self, base: Base, cut: Cut, end: int) -> int:
        """Return the tokens of what stays of the entries before *end*."""
        sums = self.groups.sums
        task = sums[cut.task[1]] - sums[cut.task[0]]
        rest = sums[end] - sums[cut.start]
        if cut.task[0] <= base.summary < cut.task[1]:  # it is reduced, and one of the pinned
            task -= self.entries[base.summary].tokens
        return base.tokens + task + rest - (base.summary_tokens if cut.start == base.first else 0)

    def newest(self, end: int) -> int:
        """Return where the newest block began when only the entries before *end* existed."""
        return floor_of(self.places, self.groups.newest_at[end - 1])

    def task(self, base: Base, start: int, end: int, budget: int, kept: Span) -> Span:
        """
        Return the task that stays at a cut at *start* of the entries before *end*.

        *kept* is the task that stayed at an earlier cut.
        """
        turn = self.groups.turn[start] if start < self.size else -1
        if turn < self.pinned or turn >= start:
            return NO_TASK
        last = turn + 1
        if self._reaches_on(turn):
            last = min(self.groups.clean_cut(last), start)
        if kept[0] <= turn < kept[1]:
            return kept[0], max(kept[1], last)
        holds = (
            self.groups.first_calls.get(turn, end) < end
            or self.entries[turn].is_task
            or self.groups.turn[end - 1] == turn
            or turn <= base.summary == start
        )
        if not holds:
            return NO_TASK
        return self._task_start(turn, last, budget), last

    def _task_start(self, turn: int, last: int, budget: int) -> int:
        """Return the first of the user messages that stay with the task at *turn*."""
        if (turn, last) in self._task_starts:  # a layout is used for one budget only
            return self._task_starts[turn, last]
        first = floor_of(self.places, turn)
        sums = self.groups.sums
        while first > self.pinned and _may_stand_before(self.entries[first - 1]):
            before = floor_of(self.places, first - 1)
            is_tied = before != first - 1 and not self.entries[first - 1].is_task
            if is_tied or before < self.pinned or TASK_SHARE * (sums[last] - sums[before]) > budget:
                break
            first = before
        self._task_starts[turn, last] = first
        return first

    def _reaches_on(self, turn: int) -> bool:
        """Return whether the message that opened a turn makes calls that others answer."""
        calls = self.groups.pairing.calls.get(turn, ())
        return any(index > turn for call in calls for index, _ in call.results)

    def next_turn(self, start: int, end: int) -> int | None:
        """Return the first message from *start* to before *end* that opens a turn."""
        task_messages = self.groups.task_messages
        at = bisect_left(task_messages, start)
        return task_messages[at] if at < len(task_messages) and task_messages[at] < end else None


def _may_stand_before(entry: Entry) -> bool:
    """Return whether *entry* may stay with the task right after it."""
    return entry.role == "user" and not any(
        reference.answers for reference in entry.tool_references
    )


def cut_for_tokens(
    layout: Layout, base: Base, start: int, end: int, config: Config, budget: int, kept: Span
) -> Cut:
    """
    Drop the oldest blocks between *start* and *end* until the rest is at or below the target.

    The newest block always stays.
    """
    target = config.target(budget, base.tokens)
    newest = max(layout.newest(end), start)
    sums = layout.groups.sums
    # A cut before this place keeps too much even without a task.
    enough = bisect_left(sums, sums[end] - target + base.tokens, 0, end)
    while True:
        cut = Cut(start, layout.task(base, start, end, budget, kept))
        if start >= newest or layout.tokens(base, cut, end) <= target:
            return cut
        start = next_of(layout.places, max(start + 1, enough), newest)


def moved_to_user(layout: Layout, base: Base, cut: Cut, end: int, config: Config) -> Cut:
    """Move a *cut* inside a turn without calls to the next user message."""
    policy = config.policy
    if not isinstance(policy, Manual) and not policy.start_on_user:
        return cut
    if cut.start == base.first or cut.task != NO_TASK or cut.start >= end:
        return cut
    if layout.groups.turn[cut.start] == cut.start:
        return cut
    turn = layout.next_turn(cut.start, end)
    return cut if turn is None else Cut(turn, NO_TASK)


def kept_by(layout: Layout, base: Base, cut: Cut) -> list[tuple[int, Entry]]:
    """
    Return the entries that stay at a cut, with their indexes.

    Results whose calls are gone are taken out. A message that stays only for its compaction part is
    reduced to that part.
    """
    kept: list[tuple[int, Entry]] = []
    bonds = layout.groups.pairing.bonds
    alone = base.summary if cut.start > base.summary else -1
    for index in _indexes(base, cut, layout.size):
        entry: Entry | None = layout.entries[index]
        if index == alone:
            entry = layout.summary(index)
        elif index in bonds:
            entry = _without_strays(layout, base, cut, index)
        if entry is not None:
            kept.append((index, entry))
    return kept


def _indexes(base: Base, cut: Cut, size: int) -> Iterator[int]:
    """Yield the indexes of what stays, ascending."""
    yield from base.entries
    between = set(range(*cut.task))
    if 0 <= base.summary < cut.start:
        between.add(base.summary)
    yield from sorted(between)
    yield from range(cut.start, size)


def _stays(base: Base, cut: Cut, call: Call) -> bool:
    """Return whether *call* stays at the cut; one that was cut before does not."""
    at = call.at
    if at == base.summary < cut.start:  # it is reduced to the summary
        return False
    if at >= cut.start or cut.task[0] <= at < cut.task[1]:
        return True
    return at >= 0 and at in base.entries


def _without_strays(layout: Layout, base: Base, cut: Cut, index: int) -> Entry | None:
    gone = {
        place
        for reference, call in layout.groups.pairing.bonds[index]
        if reference.answers and call.at >= 0 and not _stays(base, cut, call)
        for place in reference.places
    }
    return taken_out(layout.entries[index], gone) if gone else layout.entries[index]


def calls_cut(layout: Layout, base: Base, cut: Cut) -> tuple[CutCall, ...]:
    """Return what is remembered of the calls that are gone after the *cut*."""
    return layout.groups.pairing.gone(cut.start, lambda call: not _stays(base, cut, call))
