"""
The policies: deterministic functions that shrink a window.

What every policy keeps:

- **Pinned** entries (`pinned.py`). Never dropped, never stripped.
- **Groups** (`groups.py`): no cut separates a call from its result, its approval or its reasoning.
  A window is only ever cut between blocks, and the newest block always stays.
- **The task** (`cuts.py`): if the cut falls inside the newest turn, or inside one that holds calls,
  the user message that opened it stays too.

A policy that is applied to its own result changes nothing.

The names and keys of the policies are in `config.py`. Every policy cuts a window once, between two
blocks, and keeps everything after the cut (`cuts.py`). The memory of cut calls depends on that, and
so does `fit.py`, which replays such cuts for other budgets.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from fastpaca.context.config import WINDOW_ENTRIES_MAX, Config, LastN, Manual, SkipParts
from fastpaca.context.cuts import (
    NO_TASK,
    Base,
    Cut,
    Layout,
    calls_cut,
    cut_for_tokens,
    kept_by,
    moved_to_user,
)
from fastpaca.context.groups import next_of
from fastpaca.context.message import Entry
from fastpaca.context.stripping import stripped
from fastpaca.context.window import Stuck, Window


def is_above_trigger(window: Window, config: Config, token_budget: int) -> bool:
    """Return whether *window* needs compaction under *token_budget*."""
    return window.tokens > config.trigger(token_budget) or len(window) > WINDOW_ENTRIES_MAX


def is_due(window: Window, config: Config) -> bool:
    """Return whether the policy of *config* should act on *window* now."""
    if isinstance(config.policy, Manual):
        return False
    if not is_above_trigger(window, config, config.token_budget):
        return False
    if window.pinned == len(window) or _is_stuck(window, config):
        return False
    if len(window) > WINDOW_ENTRIES_MAX:
        return True
    layout = _layout(window)
    pinned_tokens = layout.base(layout.size).tokens
    return window.tokens > config.ceiling(config.token_budget, pinned_tokens)


def compact(window: Window, config: Config) -> Window:
    """
    Shrink *window* by the policy of *config*; the same window if nothing changes.

    What a first pass removes may have bound other entries together, so a window that still needs
    it gets another pass.
    """
    policy = config.policy
    if isinstance(policy, Manual) or window.pinned == len(window):
        return window
    smaller, is_newest_alone = _smaller(window, policy, config)
    assert smaller.tokens <= window.tokens
    assert smaller.size <= window.size
    if smaller is not window and window.grouped().pairing.size:
        smaller.grouped()  # now, so that no later append costs more
    if smaller is not window and (is_newest_alone or is_due(smaller, config)):
        again, is_newest_alone = _smaller(smaller, policy, config)
        if again is not smaller:
            return compact(smaller, config) if is_due(smaller, config) else smaller
    if is_newest_alone:
        smaller.stuck = _stuck(smaller, config)
    return smaller


def _smaller(window: Window, policy: LastN | SkipParts, config: Config) -> tuple[Window, bool]:
    """Return what *policy* keeps of *window*, and whether only its newest block could be kept."""
    slimmer = window
    if isinstance(policy, SkipParts) and window.pinned < len(window):
        slimmer = stripped(window, policy.skip_kinds)
    if slimmer.pinned == len(slimmer):
        return slimmer, False
    layout = _layout(slimmer)
    base = layout.base(layout.size)
    cut = last_n(layout, base, config, _limit(policy, layout.size))
    smaller = _cut(slimmer, layout, base, cut)
    assert base.first <= cut.start <= layout.size
    return smaller, cut.start >= layout.newest(layout.size)


def _layout(window: Window) -> Layout:
    groups = window.grouped().finish_ghosts()
    return Layout(groups, window.shared, window.size, window.pinned)


def _is_stuck(window: Window, config: Config) -> bool:
    """
    Return whether it is known that *window* can't shrink.

    It can't while only its newest block is left to drop and that block begins at the same place,
    unless

    - the limit is now between the pinned entries and that block,
    - a provider's summary has arrived, which replaces everything before it, or
    - something may be stripped, since the newest turn holds no call.
    """
    policy, stuck = config.policy, window.stuck
    if stuck is None or stuck.config is not config or isinstance(policy, Manual):
        return False
    if stuck != _stuck(window, config):
        return False
    if window.pinned < window.size - _limit(policy, window.size) < stuck.newest_at:
        return False
    groups = window.grouped()
    return isinstance(policy, LastN) or groups.turn[-1] in groups.first_calls


def _stuck(window: Window, config: Config) -> Stuck:
    groups = window.grouped()
    return Stuck(config, groups.newest(), len(groups.compactions))


def last_n(layout: Layout, base: Base, config: Config, limit: int) -> Cut:
    """Return the cut of `last_n`, by number of entries and then by tokens."""
    budget, size = config.token_budget, layout.size
    newest = max(layout.newest(size), base.first)
    start = base.first
    if size - limit > start:
        start = next_of(layout.places, size - limit, newest)
    cut = Cut(start, layout.task(base, start, size, budget, NO_TASK))
    if 10 * layout.tokens(base, cut, size) > 9 * config.ceiling(budget, base.tokens):
        cut = cut_for_tokens(layout, base, start, size, config, budget, NO_TASK)
    return moved_to_user(layout, base, cut, size, config)


def _limit(policy: LastN | SkipParts, size: int) -> int:
    # A window with too many entries must get room, even if the configured limit is higher.
    return min(policy.limit, WINDOW_ENTRIES_MAX // 2) if size > WINDOW_ENTRIES_MAX else policy.limit


def _cut(window: Window, layout: Layout, base: Base, cut: Cut) -> Window:
    """Return what stays of *window* at a *cut*; the same window if everything does."""
    kept = kept_by(layout, base, cut)
    if len(kept) == layout.size and _are_the_same(kept, layout.entries):
        return window
    entries = [_as_task(index, entry, cut) for index, entry in kept]
    pinned = sum(1 for index, _ in kept if index < window.pinned)
    cut_calls = calls_cut(layout, base, cut)
    opened_at = window.opened_before(entries)
    return Window.of(entries, cut_calls, pinned, opened_at, path=window.path, end=window.end)


def _are_the_same(kept: Sequence[tuple[int, Entry]], entries: Sequence[Entry]) -> bool:
    return all(entries[index] is entry for index, entry in kept)


def _as_task(index: int, entry: Entry, cut: Cut) -> Entry:
    """Return *entry*, flagged if it stays as the task, and only then."""
    is_task = cut.task[0] <= index < cut.task[1]
    return entry if entry.is_task == is_task else replace(entry, is_task=is_task)
