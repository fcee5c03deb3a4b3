"""
Choosing where to cut a list of entries, and what stays in spite of the cut.

A cut leaves the pinned entries, the task of the turn that it falls into, and all from its *start*
on. The task is the user message that opened the turn, with the user messages right before it that
answer nothing, while they take at most a quarter of the budget together.

A provider's own compaction part replaces all before it but the instructions, and counts as pinned
from then on: the newest one that has come bounds every cut.

Decisions that the rules leave open:

- A turn counts as one that holds calls, too, if a cut fell into it before and its task stayed: the
  calls may have gone with that cut, and a second look must come to the same.
- If a group begins in the pinned entries and reaches out of them, a compaction part leaves all of
  them as they are.
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
"""Where a run of entries begins and ends, half open."""

NO_TASK: Final = (0, 0)

TASK_SHARE: Final = 4
"""What comes with a task, and the task, take at most one part in so many of the budget."""


class Cut(NamedTuple):
    """
    Which entries of a window stay.

    Attributes:
        start: Index of the first of the newest entries that stay.
        task: The entries that stay as the task; `NO_TASK` if there is none.
    """

    start: int
    task: Span


class Base(NamedTuple):
    """
    What stays whatever the cut.

    Attributes:
        entries: Indexes of the pinned entries, ascending.
        summary: Index of the entry whose compaction part replaces what is before it; -1 if none.
        first: The first place where a cut may fall.
        tokens: What the pinned cost, the compaction part included.
        summary_tokens: What the compaction part costs with its message.
    """

    entries: Collection[int]
    summary: int
    first: int
    tokens: int
    summary_tokens: int


class Layout:
    """
    What the choice of a cut needs to know of the entries of a window.

    Args:
        groups: Their groups, read up to *size*.
        entries: The entries, and maybe more.
        size: How many of them count.
        pinned: How many at the beginning are pinned.

    Attributes:
        pinned: How many are pinned, with the rest of the groups that begin in them.
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
        """The pinned entries that a compaction part leaves, and their tokens."""
        kept = dict.fromkeys(range(self.pinned))
        if self.pinned == self._window_pinned:
            kept = {i: None for i in kept if self.entries[i].role in INSTRUCTION_ROLES}
        return kept, sum(self.entries[index].tokens for index in kept)

    def base(self, end: int) -> Base:
        """Return what stays whatever the cut, of the entries before *end*."""
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
        """Sum the tokens of what stays of the entries before *end*."""
        sums = self.groups.sums
        task = sums[cut.task[1]] - sums[cut.task[0]]
        rest = sums[end] - sums[cut.start]
        if cut.task[0] <= base.summary < cut.task[1]:  # it is reduced, and one of the pinned
            task -= self.entries[base.summary].tokens
        return base.tokens + task + rest - (base.summary_tokens if cut.start == base.first else 0)

    def newest(self, end: int) -> int:
        """Return where the newest block began when the entries before *end* had come."""
        return floor_of(self.places, self.groups.newest_at[end - 1])

    def task(self, base: Base, start: int, end: int, budget: int, kept: Span) -> Span:
        """
        Return the task that a cut at *start* leaves, of the entries before *end*.

        *kept* is what an earlier cut has left as the task.
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
        """Find the first of the user messages that stay with the task at *turn*."""
        if (turn, last) in self._task_starts:  # of one budget, as all that a layout is asked
            return self._task_starts[turn, last]
        first = floor_of(self.places, turn)
        sums = self.groups.sums
        while first > self.pinned and _may_stand_before(self.entries[first - 1]):
            before = floor_of(self.places, first - 1)
            if before != first - 1 and not self.entries[first - 1].is_task:
                break
            if before < self.pinned or TASK_SHARE * (sums[last] - sums[before]) > budget:
                break
            first = before
        self._task_starts[turn, last] = first
        return first

    def _reaches_on(self, turn: int) -> bool:
        """Tell whether the message that opened a turn makes calls that others answer."""
        calls = self.groups.pairing.calls.get(turn, ())
        return any(index > turn for call in calls for index, _ in call.results)

    def next_turn(self, start: int, end: int) -> int | None:
        """Find the first message from *start* on, before *end*, that opens a turn."""
        task_messages = self.groups.task_messages
        at = bisect_left(task_messages, start)
        return task_messages[at] if at < len(task_messages) and task_messages[at] < end else None


def _may_stand_before(entry: Entry) -> bool:
    """Tell whether *entry* may stay with the task that it stands right before."""
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
    # Before this place what follows a cut is too much even without a task.
    enough = bisect_left(sums, sums[end] - target + base.tokens, 0, end)
    while True:
        cut = Cut(start, layout.task(base, start, end, budget, kept))
        if start >= newest or layout.tokens(base, cut, end) <= target:
            return cut
        start = next_of(layout.places, max(start + 1, enough), newest)


def moved_to_user(layout: Layout, base: Base, cut: Cut, end: int, config: Config) -> Cut:
    """Move a *cut* that falls inside a turn without calls on to the next user message."""
    policy = config.policy
    if not isinstance(policy, Manual) and not policy.start_on_user:
        return cut
    if cut.start == base.first or cut.task != NO_TASK or cut.start >= end:
        return cut
    if layout.groups.turn[cut.start] == cut.start:
        return cut
    found = layout.next_turn(cut.start, end)
    return cut if found is None else Cut(found, NO_TASK)


def kept_by(layout: Layout, base: Base, cut: Cut) -> list[tuple[int, Entry]]:
    """
    List the entries that a cut leaves, with their indexes.

    Results whose calls have gone are taken out; so are the other parts of a message whose
    compaction part stays alone.
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
    """Give the indexes of what stays, ascending."""
    yield from base.entries
    beside = set(range(*cut.task))
    if 0 <= base.summary < cut.start:
        beside.add(base.summary)
    yield from sorted(beside)
    yield from range(cut.start, size)


def _stays(base: Base, cut: Cut, call: Call) -> bool:
    """Tell whether *call* is still there after the cut; one that was cut before never is."""
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
    """List what is remembered of the calls that have gone once the *cut* is made."""
    return layout.groups.pairing.gone(cut.start, lambda call: not _stays(base, cut, call))
