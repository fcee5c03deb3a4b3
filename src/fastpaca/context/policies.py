"""
The policies: deterministic functions that make a window smaller.

What every policy keeps:

- **Pinned** entries (`pinned.py`). Never dropped, never stripped.
- **Groups** (`calls.py`): no cut parts a call from its result. Entries that must stay together are
  a block, and a window is only ever cut between blocks. The newest block always stays.
- **The task**: if the cut falls inside a turn that holds tool calls, the user message that opened
  this turn stays too, when it fits.

A policy that is applied to its own outcome changes nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from msgspec.structs import replace

from fastpaca.context.calls import Side, Spot
from fastpaca.context.config import WINDOW_ENTRIES_MAX, Config, LastN, Manual, SkipParts
from fastpaca.context.held import Held
from fastpaca.context.layout import NO_OPENER, Cut, Layout, Span
from fastpaca.context.message import Entry, Form
from fastpaca.context.strip import RULES, strip
from fastpaca.context.window import CutCall, Window


def cut_for_tokens(
    layout: Layout, start: int, end: int, target: int, budget: int
) -> tuple[int, Span]:
    """
    Drop the oldest blocks between *start* and *end* until the rest is at or below *target* tokens.

    The newest block always stays. So does the opener of the turn that the cut falls into, if it
    fits beside that.

    Returns:
        The index of the first entry that stays, and the opener.
    """
    newest = max(layout.newest(end), start)
    index = start
    while True:
        opener = opener_that_fits(layout, index, layout.tokens(newest, end), budget)
        if index == newest or _total(layout, opener, index, end) <= target:
            return index, opener
        index = layout.next_joint(index + 1)


def opener_that_fits(layout: Layout, start: int, newest_tokens: int, budget: int) -> Span:
    """
    Give the opener of a cut at *start*, if it fits beside the pinned and the newest block.

    A newest block that does not fit by itself is cut in every view, and can make room: then half of
    the budget is for the pinned and the opener.
    """
    opener = layout.opener(start)
    pinned = layout.tokens(0, layout.pinned)
    tokens = pinned + layout.tokens(*opener)
    if pinned + newest_tokens > budget:
        return opener if 2 * tokens <= budget else NO_OPENER
    return opener if tokens + newest_tokens <= budget else NO_OPENER


def _total(layout: Layout, opener: Span, start: int, end: int) -> int:
    pinned = layout.tokens(0, layout.pinned)
    return pinned + layout.tokens(*opener) + layout.tokens(start, end)


def cut_to_newest(layout: Layout, config: Config, limit: int) -> Cut:
    """Decide what `last_n` keeps of a window, by number and then by tokens."""
    policy = config.policy
    assert not isinstance(policy, Manual)
    budget, size = config.token_budget, layout.size
    newest = layout.newest(size)
    start = min(layout.next_joint(max(layout.pinned, size - limit)), newest)
    opener = opener_that_fits(layout, start, layout.tokens(newest, size), budget)
    if 10 * _total(layout, opener, start, size) > 9 * config.trigger(budget):
        start, opener = cut_for_tokens(layout, start, size, config.target(budget), budget)
    if policy.start_on_user:
        start, opener = cut_to_user(layout, start, opener)
    return Cut(layout.pinned, opener, start)


def cut_to_user(layout: Layout, start: int, opener: Span) -> tuple[int, Span]:
    """Drop what stands before the first user message, if there is one to begin with."""
    first = start if opener == NO_OPENER else opener[0]
    if layout.turn(first) == first:
        return start, opener
    found = layout.first_turn(start)
    return (start, opener) if found is None else (found, NO_OPENER)


def is_above_trigger(window: Window, config: Config, token_budget: int) -> bool:
    """Tell whether *window* needs compaction under *token_budget*."""
    return window.tokens > config.trigger(token_budget) or len(window) > WINDOW_ENTRIES_MAX


def compact(window: Window, config: Config) -> Window:
    """Make *window* smaller by the policy of *config*; the same window if nothing changes."""
    policy = config.policy
    if isinstance(policy, Manual) or window.pinned == len(window):
        return window
    if window.held is not None and window.held.holds(config, window.tokens):
        return window
    before = window.entries
    entries, cut_calls = _stripped(before, window.pinned, policy)
    layout = Layout(entries, window.pinned)
    cut = cut_to_newest(layout, config, _limit(policy, len(entries)))
    kept = _marked(cut, entries, layout)
    if len(kept) == len(before) and all(map(_says_the_same, kept, before)):
        window.held = _held(cut, layout, config)
        return window
    gone = frozenset(cut.dropped())
    cut_calls += [_cut_call(entries, call) for call in layout.pairing.open_calls if call.at in gone]
    return Window.of(kept, (*window.cut_calls, *cut_calls), window.pinned)


def _held(cut: Cut, layout: Layout, config: Config) -> Held | None:
    """Note what holds up a window of which nothing is left to drop but the newest block."""
    if cut.start != layout.newest(layout.size):
        return None
    waiting = [call.mark.id for call in layout.pairing.open_calls if call.at >= cut.start]
    has_opener = cut.opener != NO_OPENER
    budget = config.token_budget
    newest_fits = _total(layout, NO_OPENER, cut.start, layout.size) <= budget
    # An opener beside a block that fits goes when both no longer do; see `opener_that_fits`.
    tokens_max = budget if has_opener and newest_fits else None
    return Held(config, waiting, has_opener=has_opener, tokens_max=tokens_max)


def _marked(cut: Cut, entries: Sequence[Entry], layout: Layout) -> list[Entry]:
    """Give the entries that stay; an opener remembers that a cut fell into its turn."""
    kept = cut.kept(entries)
    first, last = cut.opener
    if first < last < cut.start:
        turn = layout.turn(cut.start)
        kept[cut.pinned + turn - first] = replace(entries[turn], cut_after=True)
    return kept


def _says_the_same(left: Entry, right: Entry) -> bool:
    return left.body is right.body


def _limit(policy: LastN | SkipParts, size: int) -> int:
    # A window that overflowed by number of entries must get room, whatever limit was configured.
    return min(policy.limit, WINDOW_ENTRIES_MAX // 2) if size > WINDOW_ENTRIES_MAX else policy.limit


def _cut_call(entries: Sequence[Entry], call: Spot) -> CutCall:
    return CutCall(call.mark.id, entries[call.at].at_seq)


def _stripped(
    entries: list[Entry], pinned: int, policy: LastN | SkipParts
) -> tuple[list[Entry], list[CutCall]]:
    """Strip all but the pinned and a running turn with calls; tell which open calls went."""
    if not isinstance(policy, SkipParts):
        return entries, []
    layout = Layout(entries, pinned)
    end = layout.last_turn()
    while layout.pinned < end < layout.size and not layout.joint[end]:
        end -= 1
    left: list[Entry | None] = list(entries)
    for index in range(layout.pinned, end):
        left[index] = strip(entries[index], policy.skip_kinds)
    taken = _Taken(entries, left)
    taken.restore_parted(layout.pairing.answers)
    open_calls = layout.pairing.open_calls
    cut_calls = [_cut_call(entries, call) for call in open_calls if taken.has(call) is True]
    return _covering(entries, left, frozenset(policy.skip_kinds)), cut_calls


class _Taken:
    """Which calls and results the stripping of *entries* has taken, so that *left* is left."""

    def __init__(self, entries: Sequence[Entry], left: list[Entry | None]) -> None:
        self._entries = entries
        self._left = left
        self._marks = {
            index: (_sides(entry), _sides(rest) if rest is not None else Counter())
            for index, (entry, rest) in enumerate(zip(entries, left, strict=True))
            if entry.marks and rest is not entry
        }

    def has(self, spot: Spot) -> bool | None:
        """Tell whether it took the call or result at *spot*; None if it took another like it."""
        if spot.at not in self._marks:
            return False
        what = (spot.mark.id, spot.mark.side is Side.CALL)
        before, after = (sides[what] for sides in self._marks[spot.at])
        if before == after:
            return False
        return None if after else True

    def restore_parted(self, answers: Sequence[tuple[Spot, Spot]]) -> None:
        """Undo the stripping of messages where it would part a call from its result."""
        pairs_at: dict[int, list[tuple[Spot, Spot]]] = {}
        for pair in answers:
            for spot in pair:
                if spot.at in self._marks:
                    pairs_at.setdefault(spot.at, []).append(pair)
        doubtful = [pair for pairs in pairs_at.values() for pair in pairs]
        while doubtful:
            pair = doubtful.pop()
            if {self.has(spot) for spot in pair} not in ({True}, {False}):
                for spot in pair:
                    if self._marks.pop(spot.at, None) is not None:
                        self._left[spot.at] = self._entries[spot.at]
                        doubtful += pairs_at[spot.at]


def _sides(entry: Entry) -> Counter[tuple[str, bool]]:
    """Count the calls and results of *entry*, by id and side."""
    return Counter(
        (mark.id, mark.side is Side.CALL) for mark in entry.marks if mark.side is not Side.BOTH
    )


def _covering(
    entries: Sequence[Entry], left: Sequence[Entry | None], kinds: frozenset[str]
) -> list[Entry]:
    """
    Let the entries that are *left* also cover the messages of the log that vanished beside them.

    Only where rebuilding from the log with the form of the entry makes them vanish again: a stored
    window would fall into a segment per stripped message otherwise. An entry covers what vanished
    before it; what vanished behind it only as long as the next entry has another form.
    """
    kept: list[Entry] = []
    vanished: Entry | None = None
    for entry, rest in zip(entries, left, strict=True):
        if rest is None:
            vanished = _joined_to(vanished, entry, kinds)
            continue
        _cover(kept, vanished, rest)
        vanished = None
    if vanished is not None:
        _cover_behind(kept, vanished)
    return kept


def _cover(kept: list[Entry], vanished: Entry | None, entry: Entry) -> None:
    """Put *entry* behind those that are *kept*; between them *vanished* has vanished."""
    if vanished is not None and _continues(vanished, entry):
        entry = replace(entry, covers_from=vanished.covers_from)
    elif vanished is not None:
        _cover_behind(kept, vanished)
    if kept and kept[-1].covers_to != kept[-1].at_seq and _continues(kept[-1], entry):
        kept[-1] = replace(kept[-1], covers_to=kept[-1].at_seq)
        entry = replace(entry, covers_from=kept[-1].at_seq + 1)
    kept.append(entry)


def _cover_behind(kept: list[Entry], vanished: Entry) -> None:
    if kept and kept[-1].seq is not None and _continues(kept[-1], vanished):
        kept[-1] = replace(kept[-1], covers_to=vanished.covers_to)


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
