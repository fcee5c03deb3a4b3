"""
A view of a window in the form of a provider, within its budget.

Repairs cost tokens, so the window is fitted with what they may add to each entry, in the replay
that finds the cut too. The cost of a repair is stated for a token factor of 1, as that of a marker.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from msgspec.structs import replace

from fastpaca.context import ContextState, WindowView
from fastpaca.context.fit import EMPTY, Fitted, fit, whole
from fastpaca.context.message import Entry
from fastpaca.context.window import Window
from fastpaca.formats.arrangement import OpenCalls
from fastpaca.formats.rendering import (
    RESERVED_TOKENS,
    Rendering,
    decoded,
    exactly,
    rendered,
    surcharges,
)
from fastpaca.formats.writing import Options


class AskedFormat(NamedTuple):
    """
    The format that a reader asks for, with its parameters.

    Attributes:
        format: The name of the format.
        open_calls: See `Options`.
        cache: See `Options`.
    """

    format: str
    open_calls: OpenCalls = "close"
    cache: bool = False


class RenderedView(NamedTuple):
    """
    A view, and its rendering.

    Attributes:
        view: The view; its tokens include what the repairs add, and its stable messages are those
            of the rendering.
        rendering: The rendering.
        window: The window that was fitted.
    """

    view: WindowView
    rendering: Rendering
    window: Window


def rendered_view(
    context: ContextState, budget_tokens: int | None, asked: AskedFormat
) -> RenderedView:
    """Return the view of *context* for *budget_tokens*, rendered; never above a budget."""
    window, factor = context.window, context.config.token_factor
    budget, binds = context.budget(budget_tokens)
    if not binds or window.tokens <= budget:
        everything = _costed(whole(window), asked, factor)
        if not binds or everything.fitted.used_tokens <= budget:
            return _viewed(context, budget, everything, window)
    priced, added = _priced(window, asked, factor)
    left = _fitted_to(context, priced, budget - math.ceil(RESERVED_TOKENS * factor))
    raw_tokens = left.used_tokens - sum([added[_place(entry)] for entry in left.entries])
    costed = _costed(left._replace(used_tokens=raw_tokens), asked, factor)
    assert costed.fitted.used_tokens <= budget, "a repair costs more than `surcharges` says"
    return _viewed(context, budget, costed, priced)


class _Costed(NamedTuple):
    """What is left of a window, with the tokens of its repairs, and its rendering."""

    fitted: Fitted
    rendering: Rendering


def _costed(left: Fitted, asked: AskedFormat, factor: float) -> _Costed:
    entries = left.entries
    rendering = rendered(
        _messages(entries),
        asked.format,
        _options(asked, _intact_from(entries, left.through)),
        _origins(entries),
    )
    added = math.ceil(rendering.added_tokens * factor)
    return _Costed(left._replace(used_tokens=left.used_tokens + added), rendering)


def _viewed(context: ContextState, budget: int, costed: _Costed, window: Window) -> RenderedView:
    left, rendering = costed
    stable = rendering.stable_messages if left.stable == len(left.entries) else 0
    view = context.view_of(left, budget)._replace(stable_messages=stable)
    return RenderedView(view, rendering, window)


def _fitted_to(context: ContextState, window: Window, budget: int) -> Fitted:
    if budget <= 0:
        return Fitted([], 0, EMPTY, 0, context.window.end)
    return fit(window, context.config, budget)


def _priced(
    window: Window, asked: AskedFormat, factor: float
) -> tuple[Window, dict[tuple[int, int], int]]:
    """Return *window* with what repairs may add to its entries, and that by the place of each."""
    entries = window.entries
    added = surcharges(_messages(entries), asked.format, _options(asked, 0), _origins(entries))
    scaled = [math.ceil(tokens * factor) for tokens in added]
    priced = Window.of(
        map(_dearer, entries, scaled),
        window.cut_calls,
        window.pinned,
        window.opened_at,
        window.through,
        window.path,
        window.end,
    )
    return priced, dict(zip(map(_place, entries), scaled, strict=True))


def _dearer(entry: Entry, tokens: int) -> Entry:
    """Return *entry* at so many *tokens* more, which no shortening takes away."""
    if not tokens:
        return entry
    counts = entry.counts
    counts = replace(counts, total=counts.total + tokens, overhead=counts.overhead + tokens)
    return replace(entry, counts=counts)


def _place(entry: Entry) -> tuple[int, int]:
    """Return what tells an entry from all others of its window."""
    return (entry.version, entry.position) if entry.seq is None else (0, entry.place)


def _intact_from(entries: Sequence[Entry], through: int) -> int:
    """Return the first of *entries* that came after *through*; before it, the beginning changed."""
    if not through:
        return 0
    later = (at for at, entry in enumerate(entries) if entry.seq is not None)
    return next((at for at in later if entries[at].covers_to > through), len(entries))


def _messages(entries: Sequence[Entry]) -> list[dict[str, object]]:
    return decoded([entry.body for entry in entries])


def _origins(entries: Sequence[Entry]) -> list[str]:
    return [entry.origin for entry in entries]


def _options(asked: AskedFormat, intact_from: int) -> Options:
    return Options(
        open_calls=asked.open_calls, cache=asked.cache, intact_from=intact_from, decode=exactly
    )
