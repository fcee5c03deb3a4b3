"""
The policies: deterministic functions that make a window smaller.

What every policy keeps:

- **Pinned** entries: the leading run of `system` and `developer` messages, and the one synthetic
  message right after it or at the very beginning. Never dropped, never stripped.
- **Groups**: no cut parts a call from its result. Entries that must stay together are a block, and
  a window is only ever cut between blocks. The newest block always stays.
- **The task**: if the cut falls inside a turn that holds tool calls, the user message that opened
  this turn stays too, when it fits under the budget.

A policy that is applied to its own outcome changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from msgspec.structs import replace

from fastpaca.context.calls import joints
from fastpaca.context.config import WINDOW_ENTRIES_MAX, Config, LastN, Manual, SkipParts
from fastpaca.context.message import Entry, Form
from fastpaca.context.strip import RULES, strip
from fastpaca.context.window import CUT_CALLS_MAX, CutCall, Window

PINNED_ROLES: Final = frozenset({"system", "developer"})


class Cut(NamedTuple):
    """
    Which entries of a window stay: the pinned, the opener, and all from *start* on.

    Attributes:
        pinned: How many entries at the beginning are pinned.
        opener: (from, to), half open: the block of the user message that opened the turn which the
            cut falls into; (0, 0) if none is kept.
        start: Index of the first of the newest entries that stay.
    """

    pinned: int
    opener: tuple[int, int]
    start: int

    def kept(self, entries: Sequence[Entry]) -> list[Entry]:
        """Give the entries that stay."""
        opener = entries[self.opener[0] : self.opener[1]]
        return [*entries[: self.pinned], *opener, *entries[self.start :]]

    def dropped(self, size: int) -> Iterator[int]:
        """Give the indexes of the entries that go, of a window of *size* entries."""
        stays = range(*self.opener)
        return (index for index in range(self.pinned, min(self.start, size)) if index not in stays)


NO_OPENER: Final = (0, 0)


class Layout:
    """
    What the choice of a cut needs to know of a list of entries, computed once.

    Attributes:
        size: How many entries there are.
        pinned: How many of them are pinned.
        joint: Per index, whether a cut right before it parts no group.
        open_calls: (index, id) of the calls without a result.
    """

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.size = len(entries)
        self.joint, pairing = joints(entries)
        self.open_calls = [(index, mark.id) for index, mark in pairing.open_calls]
        self.pinned = self._pinned(entries)
        self._sums = _running_sums(entries)
        self._turn = _turn_starts(entries, self.pinned)
        self._holds_calls = _turns_with_calls(entries, self._turn)

    def _pinned(self, entries: Sequence[Entry]) -> int:
        size = _pinned_run(entries)
        # A group that reaches from a pinned entry into the rest would be parted: pin less then.
        while size and size < len(entries) and not self.joint[size]:
            size -= 1
        return size

    def tokens(self, start: int, end: int) -> int:
        """Sum the tokens of the entries from *start* to *end*, half open."""
        return self._sums[end] - self._sums[start] if end > start else 0

    def newest(self, end: int) -> int:
        """Find where the newest block of the entries before *end* starts."""
        index = max(end - 1, self.pinned)
        while index > self.pinned and not self.joint[index]:
            index -= 1
        return index

    def opener(self, start: int) -> tuple[int, int]:
        """Find the block that opened the turn which a cut at *start* falls into."""
        turn = self._turn[start] if start < self.size else -1
        if turn < 0 or turn == start or turn not in self._holds_calls:
            return NO_OPENER
        first = self.newest(turn + 1)
        last = turn + 1
        while last < start and not self.joint[last]:
            last += 1
        return first, last

    def first_turn(self, start: int) -> int:
        """Find the first user message from *start* on that a cut may leave first; else *start*."""
        for index in range(start, self.size):
            if self._turn[index] == index and self.joint[index]:
                return index
        return start

    def last_turn(self) -> int:
        """
        Find where the running turn starts, if it holds calls; else the end.

        Without any user message all that is not pinned is one turn that may not be stripped.
        """
        turn = self._turn[-1] if self.size > self.pinned else self.size
        if turn < 0:
            return self.pinned
        return turn if turn in self._holds_calls else self.size


def _pinned_run(entries: Sequence[Entry]) -> int:
    size = _leading_instructions(entries, 0)
    if size < len(entries) and entries[size].seq is None:
        at_the_beginning = size == 0
        size += 1
        if at_the_beginning:
            size = _leading_instructions(entries, size)
    return size


def _leading_instructions(entries: Sequence[Entry], start: int) -> int:
    index = start
    while index < len(entries) and entries[index].role in PINNED_ROLES:
        index += 1
    return index


def _running_sums(entries: Sequence[Entry]) -> list[int]:
    sums = [0]
    for entry in entries:
        sums.append(sums[-1] + entry.tokens)
    return sums


def _turn_starts(entries: Sequence[Entry], pinned: int) -> list[int]:
    """Give per entry the index of the user message that opened its turn, or -1."""
    starts = [-1] * len(entries)
    turn = -1
    for index in range(pinned, len(entries)):
        if entries[index].opens_turn:
            turn = index
        starts[index] = turn
    return starts


def _turns_with_calls(entries: Sequence[Entry], turns: Sequence[int]) -> set[int]:
    """
    Give the turns that hold calls, or held them before something was cut out of their middle.

    Without the latter a second compaction would drop the opening message that the first one kept.
    """
    found = set()
    for index, turn in enumerate(turns):
        if turn < 0 or turn in found:
            continue
        if entries[index].marks or (index > turn and _gap_before(entries, index)):
            found.add(turn)
    return found


def _gap_before(entries: Sequence[Entry], index: int) -> bool:
    here, before = entries[index], entries[index - 1]
    return (
        here.seq is not None and before.seq is not None and here.covers_from != before.covers_to + 1
    )


def cut_for_tokens(
    layout: Layout, start: int, end: int, target: int, budget: int
) -> tuple[int, tuple[int, int]]:
    """
    Drop the oldest blocks between *start* and *end* until the rest is at or below *target* tokens.

    Where no cut reaches the target with the opener of its turn, the newest block stays with it as
    long as both fit under *budget*; then the opener goes; the newest block never does.

    Returns:
        The index of the first entry that stays, and the opener.
    """
    pinned = layout.tokens(0, layout.pinned)
    newest = max(layout.newest(end), start)
    cuts = [index for index in range(start, newest + 1) if index == start or layout.joint[index]]
    for index in cuts:
        opener = layout.opener(index)
        if pinned + layout.tokens(*opener) + layout.tokens(index, end) <= target:
            return index, opener
    opener = layout.opener(newest)
    if pinned + layout.tokens(*opener) + layout.tokens(newest, end) <= budget:
        return newest, opener
    for index in cuts:
        if pinned + layout.tokens(index, end) <= target:
            return index, NO_OPENER
    return newest, NO_OPENER


def cut_to_newest(layout: Layout, config: Config, limit: int) -> Cut:
    """Decide what `last_n` keeps of a window, by number and then by tokens."""
    policy = config.policy
    assert not isinstance(policy, Manual)
    budget, trigger = config.token_budget, config.trigger(config.token_budget)
    newest = layout.newest(layout.size)
    start = max(layout.pinned, layout.size - limit)
    while start < newest and not layout.joint[start]:
        start += 1
    start = min(start, newest)
    opener = layout.opener(start)
    rest = layout.tokens(0, layout.pinned) + layout.tokens(start, layout.size)
    if rest + layout.tokens(*opener) > budget:
        opener = NO_OPENER
    if 10 * (rest + layout.tokens(*opener)) > 9 * trigger:
        start, opener = cut_for_tokens(layout, start, layout.size, config.target(budget), budget)
    if policy.start_on_user and opener == NO_OPENER:
        start = layout.first_turn(start)
    return Cut(layout.pinned, opener, start)


def is_above_trigger(window: Window, config: Config, token_budget: int) -> bool:
    """Tell whether *window* needs compaction under *token_budget*."""
    return window.tokens > config.trigger(token_budget) or len(window) > WINDOW_ENTRIES_MAX


def compact(window: Window, config: Config) -> Window:
    """Make *window* smaller by the policy of *config*; the same window if nothing changes."""
    policy = config.policy
    if isinstance(policy, Manual):
        return window
    before = window.entries
    entries, cut_calls = _stripped(before, policy)
    layout = Layout(entries)
    cut = cut_to_newest(layout, config, _limit(policy, len(entries)))
    gone = frozenset(cut.dropped(layout.size))
    cut_calls += [
        CutCall(name, entries[index].covers_to)
        for index, name in layout.open_calls
        if index in gone
    ]
    kept = cut.kept(entries)
    if len(kept) == len(before) and all(map(_says_the_same, kept, before)):
        return window
    return Window(kept, (*window.cut_calls, *cut_calls)[-CUT_CALLS_MAX:])


def _says_the_same(left: Entry, right: Entry) -> bool:
    return left.body is right.body


def _limit(policy: LastN | SkipParts, size: int) -> int:
    # A window that overflowed by number of entries must get room, whatever limit was configured.
    return min(policy.limit, WINDOW_ENTRIES_MAX // 2) if size > WINDOW_ENTRIES_MAX else policy.limit


def _stripped(entries: list[Entry], policy: LastN | SkipParts) -> tuple[list[Entry], list[CutCall]]:
    """Strip all but the pinned and a running turn with calls; tell which open calls went."""
    if not isinstance(policy, SkipParts):
        return entries, []
    layout = Layout(entries)
    end = layout.last_turn()
    while layout.pinned < end < layout.size and not layout.joint[end]:
        end -= 1
    left = [strip(entry, policy.skip_kinds) for entry in entries[layout.pinned : end]]
    cut_calls = [
        CutCall(name, entries[index].covers_to)
        for index, name in layout.open_calls
        if layout.pinned <= index < end and not _holds_call(left[index - layout.pinned], name)
    ]
    kinds = frozenset(policy.skip_kinds)
    stripped = _covering(entries[layout.pinned : end], left, kinds)
    return [*entries[: layout.pinned], *stripped, *entries[end:]], cut_calls


def _holds_call(entry: Entry | None, name: str) -> bool:
    return entry is not None and any(mark.id == name for mark in entry.marks)


def _covering(entries: list[Entry], left: list[Entry | None], kinds: frozenset[str]) -> list[Entry]:
    """
    Let each entry that is *left* also cover the messages of the log that vanished right before it.

    Only where rebuilding from the log with the form of the entry makes them vanish again: a stored
    window would fall into a segment per stripped message otherwise.
    """
    kept: list[Entry] = []
    vanished: Entry | None = None
    for entry, rest in zip(entries, left, strict=True):
        if rest is None:
            vanished = _joined_to(vanished, entry, kinds)
        else:
            if vanished is not None and _continues(vanished, rest):
                rest = replace(rest, covers_from=vanished.covers_from)
            kept.append(rest)
            vanished = None
    return kept


def _joined_to(vanished: Entry | None, entry: Entry, kinds: frozenset[str]) -> Entry | None:
    """Extend the run of *vanished* messages by *entry*, which has lost all its parts."""
    if entry.seq is None:
        return None
    form = entry.form or Form()
    gone = replace(entry, form=Form(tuple(sorted({*form.kinds, *kinds})), RULES, form.without))
    if vanished is not None and _continues(vanished, gone):
        return replace(gone, covers_from=vanished.covers_from)
    return gone


def _continues(before: Entry, entry: Entry) -> bool:
    return (
        entry.seq is not None
        and before.form == entry.form
        and before.covers_to + 1 == entry.covers_from
    )
