"""
Fitting a window to the budget of one read. Nothing is stored.

The cut is the one that trims under the requested budget would have made if the entries had arrived
one by one, each with the newest block of that time. So repeated reads with the same budget begin
with the same messages for many turns, and a provider's prompt cache keeps hitting.

If the newest block does not fit next to the pinned entries and the task, the block is shortened
(`shortening.py`), then the pinned entries, and then its oldest calls are dropped with their
results. If that is not enough, the block is dropped, then the pinned entries, latest first. The
task is dropped last, and shortened before that.

Decisions that the rules leave open:

- A task that is above the budget by itself is shortened together with the pinned entries, since it
  would not fit even without anything else.
- If the newest block begins with the message that opened its turn, that message is the task: it is
  shortened with its block, but not dropped with it.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from msgspec.structs import replace

from fastpaca import shapes
from fastpaca.context.calls import Call
from fastpaca.context.config import Config
from fastpaca.context.cut_calls import ANSWERED
from fastpaca.context.cuts import NO_TASK, Base, Cut, Layout, cut_for_tokens, kept_by, moved_to_user
from fastpaca.context.message import Entry
from fastpaca.context.pairing import Pairing
from fastpaca.context.removal import taken_out
from fastpaca.context.shortening import shortened
from fastpaca.context.window import Window
from fastpaca.shapes import ASSISTANT_ROLES, Reading, Shape, Side

WHOLE, DROPPED, CUT, EMPTY = "whole", "dropped", "cut", "empty"

_REASONING: Final = frozenset({Shape.REASONING, Shape.REASONING_ITEM})
_SKIPPED: Final = frozenset({Shape.GONE, Shape.PAGE})


class Fitted(NamedTuple):
    """
    What is left of a window after fitting.

    Attributes:
        entries: The entries of the view.
        used_tokens: The sum of their tokens.
        fit: What fitting did.
        stable: How many of them at the front the next view begins with, unless the window is
            rewritten or cut again: none if the newest block was shortened.
        through: The last place when the window was last rewritten, or cut for this budget.
    """

    entries: Sequence[Entry]
    used_tokens: int
    fit: str
    stable: int
    through: int


def whole(window: Window) -> Fitted:
    """Return all of *window*."""
    return Fitted(window.entries, window.tokens, WHOLE, window.size, window.through)


def fit(window: Window, config: Config, token_budget: int) -> Fitted:
    """Fit *window* to *token_budget*; the result never has more tokens."""
    if window.tokens <= token_budget:
        return whole(window)
    groups = window.take_groups()
    layout = Layout(groups, window.shared, window.size, window.pinned)
    base, cut, end = replayed(layout, config, token_budget)
    kept = [(index, _as_task(index, entry, cut)) for index, entry in kept_by(layout, base, cut)]
    used = sum([entry.tokens for _, entry in kept])
    if used <= token_budget:
        through = max(window.through, window.shared[end - 1].covers_to if end else 0)
        fitted = Fitted([entry for _, entry in kept], used, DROPPED, len(kept), through)
    else:
        squeezed = _squeezed(layout, base, cut, kept, token_budget, config.token_factor)
        fitted = _fitted(squeezed, window.shared[window.size - 1].covers_to)
    window.give_groups(groups)
    assert fitted.used_tokens <= token_budget
    return fitted


def _as_task(index: int, entry: Entry, cut: Cut) -> Entry:
    """Return *entry*, flagged if it stays as the task."""
    is_task = cut.task[0] <= index < cut.task[1]
    return replace(entry, is_task=True) if is_task and not entry.is_task else entry


def replayed(layout: Layout, config: Config, token_budget: int) -> tuple[Base, Cut, int]:
    """
    Return the cut that trims under *token_budget* would have made, entry by entry.

    The number says how many entries there were when it was made; 0 if there was no trim.
    """
    sums, compactions = layout.groups.sums, layout.groups.compactions
    end = layout.pinned
    base = layout.base(end)
    ceiling = config.ceiling(token_budget, base.tokens)
    cut, cut_at = Cut(base.first, NO_TASK), 0
    while True:
        always = layout.tokens(base, cut, end) - (sums[end] - sums[cut.start])
        # The next entry that takes the tokens above the ceiling, or changes what is pinned.
        after = bisect_right(sums, ceiling - always + sums[cut.start], end + 1)
        at = bisect_left(compactions, end)
        if at < len(compactions):
            after = min(after, compactions[at] + 1)
        if after > layout.size:
            return base, cut, cut_at
        assert after > end  # or this would not end
        end = after
        now = layout.base(end)
        ceiling = config.ceiling(token_budget, now.tokens)
        if layout.tokens(base, cut, end) <= ceiling:
            continue
        base = now
        start = max(cut.start, base.first)
        task = layout.task(base, start, end, token_budget, cut.task)
        cut, kept = Cut(start, task), cut.task
        if 10 * layout.tokens(base, cut, end) > 9 * ceiling:
            cut = cut_for_tokens(layout, base, start, end, config, token_budget, kept)
        cut, cut_at = moved_to_user(layout, base, cut, end, config), end


class Piece(NamedTuple):
    """An entry of a view, its index in the window, and whether it was shortened."""

    at: int
    entry: Entry
    is_shortened: bool = False


def _fitted(pieces: Iterable[Piece], through: int) -> Fitted:
    ordered = sorted(pieces, key=lambda piece: piece.at)
    entries = [piece.entry for piece in ordered]
    what = CUT if any(piece.is_shortened for piece in ordered) else DROPPED
    return Fitted(entries, _total(ordered), what if entries else EMPTY, 0, through)


def _total(pieces: Iterable[Piece]) -> int:
    return sum([piece.entry.tokens for piece in pieces])


def _shortened(pieces: list[Piece], budget: int, factor: float) -> list[Piece]:
    """Shorten *pieces* to *budget* tokens, or to their floors if those are higher."""
    if _total(pieces) <= budget:
        return pieces
    left = shortened([piece.entry for piece in pieces], budget, factor)
    return [
        piece if entry is piece.entry else Piece(piece.at, entry, is_shortened=True)
        for piece, entry in zip(pieces, left, strict=True)
    ]


def _squeezed(
    layout: Layout,
    base: Base,
    cut: Cut,
    kept: Sequence[tuple[int, Entry]],
    budget: int,
    factor: float,
) -> list[Piece]:
    """Make the entries that a *cut* has *kept* fit, though its newest block is too large."""
    pieces = [Piece(index, entry) for index, entry in kept]
    alone = base.summary if cut.start > base.summary else -1
    pinned = [piece for piece in pieces if piece.at in base.entries or piece.at == alone]
    task = [
        piece for piece in pieces if cut.task[0] <= piece.at < cut.task[1] and piece.at != alone
    ]
    block = pieces[bisect_left(pieces, (cut.start,)) :]
    opens = cut.start < layout.size and layout.groups.turn[cut.start] == cut.start
    whole = _with_block(layout, pinned, task, block, budget, factor)
    if whole is not None:
        return whole
    task = _task_messages_alone(block[:1]) if opens else task
    pairing = layout.groups.pairing
    task = _without_parted_calls(pairing, task)
    left = _without_block(pairing, pinned, task, budget, factor, is_cut_first=opens)
    if left:
        return left
    # The block may fit even if neither the pinned entries nor the task do.
    block = _without_parted_results(pairing, block)
    return _with_block(layout, [], [], block, budget, factor) or []


def _with_block(
    layout: Layout,
    pinned: list[Piece],
    task: list[Piece],
    block: list[Piece],
    budget: int,
    factor: float,
) -> list[Piece] | None:
    """Shorten the *block*, then the *pinned*, then drop calls; None if the block can't fit."""
    block = _shortened(block, budget - _total(pinned) - _total(task), factor)
    if _total(task) > budget:
        shorter = _shortened(pinned + task, budget - _total(block), factor)
        pinned, task = shorter[: len(pinned)], shorter[len(pinned) :]
    else:
        pinned = _shortened(pinned, budget - _total(task) - _total(block), factor)
    room = budget - _total(pinned) - _total(task)
    if _total(block) > room:
        rest = _without_oldest_calls(layout.groups.pairing, block, room)
        if rest is None:
            return None
        block = rest
    return pinned + task + block


def _without_block(
    pairing: Pairing,
    pinned: list[Piece],
    task: list[Piece],
    budget: int,
    factor: float,
    *,
    is_cut_first: bool,
) -> list[Piece]:
    """Keep the *task*, if it can fit, and as many of the first *pinned* as fit with it."""
    is_cut_first = is_cut_first or _total(task) > budget
    if _total(_shortened(task, 0, factor)) > budget:
        task = _task_messages_alone(task)
    task = task[_start_that_fits(_floors(task, factor), budget) :]  # the rest would not fit alone
    least = sum(_floors(task, factor)) if is_cut_first else _total(task)
    floors = _floors(pinned, factor)
    end, pinned_tokens = len(pinned), sum(floors)
    while end and pinned_tokens + least > budget:
        before = _end_without_last(pairing, pinned, end)
        pinned_tokens -= sum(floors[before:end])
        end = before
    pinned = pinned[:end]
    if is_cut_first:
        task = _shortened(task, budget - _total(pinned), factor)
    return _shortened(pinned, budget - _total(task), factor) + task


def _floors(pieces: list[Piece], factor: float) -> list[int]:
    """Return the lowest cost of each of *pieces*, after shortening."""
    return [piece.entry.tokens for piece in _shortened(pieces, 0, factor)]


def _start_that_fits(tokens: list[int], budget: int) -> int:
    """Return how many of *tokens* to drop at the front so that the rest fit into *budget*."""
    total, start = sum(tokens), 0
    while start < len(tokens) and total > budget:
        total -= tokens[start]
        start += 1
    return start


def _task_messages_alone(task: list[Piece]) -> list[Piece]:
    """Drop all but the messages that opened turns from the *task*, and the calls in these."""
    left = []
    for piece in task:
        gone = {place for reference in piece.entry.tool_references for place in reference.places}
        entry = taken_out(piece.entry, gone) if piece.entry.opens_turn else None
        if entry is not None:
            left.append(piece._replace(entry=entry))
    return left


def _without_parted_calls(pairing: Pairing, task: list[Piece]) -> list[Piece]:
    """Drop the calls from the *task* that a message outside of it answers."""
    there = {piece.at for piece in task}
    parted = [
        call
        for piece in task
        for call in pairing.calls.get(piece.at, ())
        if call.state == ANSWERED and call.results and call.results[0][0] not in there
    ]
    return _without_calls(pairing, task, parted) if parted else task


def _without_parted_results(pairing: Pairing, block: list[Piece]) -> list[Piece]:
    """Drop the results from the *block* whose calls are outside of it."""
    there = {piece.at for piece in block}
    left = []
    for piece in block:
        bonds = pairing.bonds.get(piece.at, ())
        parted = [
            reference for reference, call in bonds if reference.answers and call.at not in there
        ]
        entry = taken_out(
            piece.entry, {place for reference in parted for place in reference.places}
        )
        if entry is not None:
            left.append(piece._replace(entry=entry))
    return left


def _end_without_last(pairing: Pairing, pinned: list[Piece], end: int) -> int:
    """Return the end of the *pinned* before *end* without the last and the calls it answers."""
    first, before = pinned[end - 1].at, end
    while before and pinned[before - 1].at >= first:
        before -= 1
        for _, call in pairing.bonds.get(pinned[before].at, ()):
            if call.at >= 0:
                first = min(first, call.at)
    return before


def _without_oldest_calls(pairing: Pairing, block: list[Piece], room: int) -> list[Piece] | None:
    """Drop as few of the oldest calls of *block* as needed, with their results; None if in vain."""
    first = block[0].at if block else 0
    pairs = [
        call
        for index, calls in pairing.calls.items()
        if index >= first
        for call in calls
        if call.state == ANSWERED and call.about is None
    ]
    low, high = 1, len(pairs)
    fewest = None
    while low <= high:
        count = (low + high) // 2
        rest = _without_calls(pairing, block, pairs[:count])
        if _total(rest) <= room:
            fewest, high = rest, count - 1
        else:
            low = count + 1
    return fewest


def _without_calls(pairing: Pairing, block: list[Piece], pairs: Sequence[Call]) -> list[Piece]:
    gone: dict[int, set[int]] = {}
    waiting = list(pairs)
    while waiting:
        call = waiting.pop()
        for one in (call, *call.requests):
            gone.setdefault(one.at, set()).update(one.reference.places)
            for index, reference in one.results:
                gone.setdefault(index, set()).update(reference.places)
                if reference.side is Side.BOTH:  # it is a call as well, which others may answer
                    waiting += [
                        made for made in pairing.calls[index] if made.reference is reference
                    ]
    _add_reasoning(block, gone)
    left = []
    for piece in block:
        entry = taken_out(piece.entry, gone.get(piece.at, ()))
        if entry is not None:
            left.append(piece._replace(entry=entry))
    return left


def _add_reasoning(block: list[Piece], gone: dict[int, set[int]]) -> None:
    """Add the reasoning that led to what is *gone*, and to nothing else."""
    following: tuple[int, list[int]] = (-1, [])
    for piece in reversed(block):
        reading = piece.entry.reading
        if not _REASONING.isdisjoint(reading.shapes):
            places = _reasoning_gone(piece, following, gone)
            if places:
                gone.setdefault(piece.at, set()).update(places)
        if piece.entry.role in ASSISTANT_ROLES:
            following = (piece.at, _said_first(reading))
        elif piece.entry.role not in shapes.INSTRUCTION_ROLES:
            following = (-1, [])


def _reasoning_gone(
    piece: Piece, following: tuple[int, list[int]], gone: dict[int, set[int]]
) -> list[int]:
    """
    Return the places of the reasoning of *piece* that led to nothing but what is *gone*.

    *following* is the index of the next message of the assistant, and the first places in it.
    """
    reading = piece.entry.reading
    in_keys = _calls_in_keys(reading)
    at, led = (piece.at, in_keys) if in_keys else following
    goes = []
    is_open = False  # whether the parts that were just seen belong to the same reasoning
    for place in range(len(reading.shapes) - 1, -1, -1):
        shape = reading.shapes[place]
        if shape in _REASONING:
            is_open = False
            if led and gone.get(at, set()).issuperset(led):
                goes.append(place)
        elif shape not in _SKIPPED:
            if is_open:
                led.append(place)
            else:
                at, led, is_open = piece.at, [place], True
    return goes


def _said_first(reading: Reading) -> list[int]:
    """Return the first places up to reasoning after them; if none, the calls in keys."""
    said: list[int] = []
    for place, shape in enumerate(reading.shapes):
        if shape in _REASONING:
            if said:
                break
        elif shape not in _SKIPPED:
            said.append(place)
    return said or _calls_in_keys(reading)


def _calls_in_keys(reading: Reading) -> list[int]:
    return [
        reference.place
        for reference in reading.tool_references
        if reference.place < shapes.WHOLE_PLACE
    ]
