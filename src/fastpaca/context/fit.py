"""
Fitting a window to the budget of one read. Nothing is stored.

The cut is found by replaying the policy's trigger and target from the window's start, as if the
entries had come in one by one under the budget asked for. So a reader who asks again and again with
the same budget is given the same beginning for many turns, and a provider's prompt cache keeps
hitting.

If the newest block alone is too large, the texts and the string results in it are cut in the
middle, longest first, down to a floor; then those of the pinned entries. What still does not fit is
left out, whole groups at a time. Signatures, ids, arguments and binary data are never cut.

What a shortened text costs is reckoned from its stored count, in proportion to the bytes that stay.
No tokenizer is asked, so that a view does not depend on which one is configured today.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

import msgspec
from msgspec.structs import replace

from fastpaca.context import jsontext
from fastpaca.context.calls import Side, joints, side_of_part
from fastpaca.context.config import Config, Manual
from fastpaca.context.layout import NO_OPENER, Cut, Layout
from fastpaca.context.message import Entry
from fastpaca.context.policies import cut_for_tokens, cut_to_user
from fastpaca.context.window import Window

FLOOR_TOKENS: Final = 256
"""A text is never cut to fewer tokens than this, its marker aside; nor to fewer bytes."""

MARKER_TOKENS: Final = 16
"""What the marker in a cut text is counted as."""

_WORTH_CUTTING_BYTES: Final = FLOOR_TOKENS + 64  # a shorter text would not get shorter by a marker

_RESULT_KEYS: Final = ("content", "output", "result")

WHOLE, DROPPED, CUT, EMPTY = "whole", "dropped", "cut", "empty"


class Fitted(NamedTuple):
    """The entries of a view, the sum of their tokens, and what was done to make them fit."""

    entries: Sequence[Entry]
    used_tokens: int
    fit: str


def fit(window: Window, config: Config, token_budget: int) -> Fitted:
    """Fit *window* under *token_budget*: the tokens of what is given are never above it."""
    if window.tokens <= token_budget:
        return Fitted(window.entries, window.tokens, WHOLE)
    entries = window.entries
    layout = Layout(entries, window.pinned)
    cut = _replay(layout, config, token_budget)
    kept = cut.kept(entries)
    used = _total(kept)
    if used <= token_budget:
        return Fitted(kept, used, DROPPED)
    opener = entries[slice(*layout.opener(cut.start))]
    kept = _shortened(entries[: cut.pinned], opener, entries[cut.start :], token_budget)
    return Fitted(kept, _total(kept), _what_was_done(entries, kept))


def _what_was_done(entries: Sequence[Entry], kept: Sequence[Entry]) -> str:
    if not kept:
        return EMPTY
    untouched = {id(entry) for entry in entries}
    return DROPPED if all(id(entry) in untouched for entry in kept) else CUT


def _total(entries: Iterable[Entry]) -> int:
    return sum(entry.tokens for entry in entries)


def _replay(layout: Layout, config: Config, token_budget: int) -> Cut:
    """Find the cut that compactions under *token_budget* would have made, entry by entry."""
    trigger, target = config.trigger(token_budget), config.target(token_budget)
    start, opener = layout.pinned, NO_OPENER
    pinned = layout.tokens(0, layout.pinned)
    for end in range(layout.pinned + 1, layout.size + 1):
        if pinned + layout.tokens(*opener) + layout.tokens(start, end) > trigger:
            start, opener = cut_for_tokens(layout, start, end, target, token_budget)
    policy = config.policy
    if not isinstance(policy, Manual) and policy.start_on_user:
        start, opener = cut_to_user(layout, start, opener)
    return Cut(layout.pinned, opener, start)


def _shortened(
    pinned: list[Entry], opener: list[Entry], newest: list[Entry], token_budget: int
) -> list[Entry]:
    """
    Cut the texts of the *newest* block, then of the *pinned*, then leave out what is too much.

    The *opener* of the turn stays as it is if a cut of the newest block makes room for it.
    """
    least = _total(cut_texts(newest, 0))
    if least > token_budget:
        newest, least = [], 0
    elif _total(pinned) + _total(opener) + least <= token_budget:
        pinned = pinned + opener
    pinned = _those_that_fit(pinned, token_budget - least)
    newest = cut_texts(newest, token_budget - _total(pinned))
    return cut_texts(pinned, token_budget - _total(newest)) + newest


def _those_that_fit(entries: list[Entry], tokens: int) -> list[Entry]:
    """Choose the groups of *entries* that fit into *tokens* when all their texts are cut."""
    flags, _ = joints(entries)
    starts = [index for index, is_joint in enumerate(flags) if is_joint]
    chosen: list[Entry] = []
    for start, end in pairwise((*starts, len(entries))):
        least = _total(cut_texts(entries[start:end], 0))
        if least <= tokens:
            chosen += entries[start:end]
            tokens -= least
    return chosen


Path = tuple[str | int, ...]
"""The keys and indexes that lead to a string inside of a part."""


class Text(NamedTuple):
    """A text that may be cut: the entry and part it is in, the path there, what it costs."""

    entry: int
    part: int
    path: Path
    tokens: int


def cut_texts(entries: list[Entry], token_budget: int) -> list[Entry]:
    """
    Cut the longest texts of *entries* in the middle until all fit under *token_budget*.

    No text is cut below the floor, so the outcome may still be above the budget.
    """
    excess = _total(entries) - token_budget
    if excess <= 0:
        return entries
    texts = [text for index, entry in enumerate(entries) for text in _texts(index, entry)]
    level = _level([text.tokens for text in texts], excess)
    chosen: dict[int, list[Text]] = {}
    for text in texts:
        if text.tokens > level + MARKER_TOKENS:
            chosen.setdefault(text.entry, []).append(text)
    return [
        _with_cuts(entry, chosen[index], level) if index in chosen else entry
        for index, entry in enumerate(entries)
    ]


def _level(costs: list[int], excess: int) -> int:
    """
    Find the highest level to cut all longer texts to that saves *excess* tokens, or the floor.
    """
    low, high = FLOOR_TOKENS, max(costs, default=FLOOR_TOKENS)
    while low < high:
        level = (low + high + 1) // 2
        saved = sum(cost - level - MARKER_TOKENS for cost in costs if cost > level + MARKER_TOKENS)
        if saved >= excess:
            low = level
        else:
            high = level - 1
    return low


def _texts(index: int, entry: Entry) -> Iterator[Text]:
    """List the texts of *entry* that may be cut, with their share of what it costs."""
    if entry.tokens <= FLOOR_TOKENS:
        return
    counted = max(entry.counts.overhead + entry.counts.keys + sum(entry.counts.parts), 1)
    for place, part in enumerate(_parts(entry)):
        # A caller's own count stands for the whole message: each part has its share of it.
        tokens = entry.counts.parts[place] * entry.tokens // counted
        if tokens > FLOOR_TOKENS:
            for path, value, whole in _cuttable(part):
                share = tokens * len(value) // whole
                if share > FLOOR_TOKENS and _is_worth_cutting(value):
                    yield Text(index, place, path, share)


def _is_worth_cutting(value: bytes) -> bool:
    # A caller may count more tokens than there are bytes.
    return len(value) > _WORTH_CUTTING_BYTES < len(_decoded(value).encode())


def _decoded(value: bytes) -> str:
    return msgspec.json.decode(value, type=str)


def _parts(entry: Entry) -> list[bytes]:
    return jsontext.items(jsontext.members(entry.body, (), None)["parts"], "parts")


def _cuttable(part: bytes) -> Iterator[tuple[Path, bytes, int]]:
    """Give (path, JSON of the string, bytes that the part's count stands for) of each text."""
    found = jsontext.members(part, (), None)
    kind = jsontext.string(found["type"], "type")
    if kind == "text":
        value = found.get("text", b"")
        if value[:1] == b'"':
            yield ("text",), value, len(value)  # a text part is counted as its text alone
        return
    side = side_of_part(kind, found)
    keys = {Side.RESULT: _RESULT_KEYS, Side.BOTH: ("output",)}.get(side, ()) if side else ()
    for key in keys:
        if key in found:
            for path, value in _strings(found[key]):
                yield (key, *path), value, len(part)


def _strings(value: bytes) -> Iterator[tuple[Path, bytes]]:
    """Find the strings in what a tool gave back: itself, its text blocks, or its text value."""
    if value[:1] == b'"':
        if not value.startswith(b'"data:'):
            yield (), value
    elif value[:1] == b"[":
        for index, item in enumerate(jsontext.items(value, "content")):
            for path, text in _typed_text(item, "text"):
                yield (index, *path), text
    else:
        yield from _typed_text(value, "value")


def _typed_text(value: bytes, key: str) -> Iterator[tuple[Path, bytes]]:
    """Find the string under *key* of an object of type `text`."""
    if value[:1] == b"{":
        block = jsontext.members(value, (), None)
        text = block.get(key, b"")
        if block.get("type") == b'"text"' and text[:1] == b'"':
            yield (key,), text


def _with_cuts(entry: Entry, texts: list[Text], level: int) -> Entry:
    message = jsontext.members(entry.body, (), None)
    parts = jsontext.items(message["parts"], "parts")
    for text in texts:
        parts[text.part] = _rewritten(parts[text.part], text.path, text.tokens, level)
    saved = sum(text.tokens - level - MARKER_TOKENS for text in texts)
    counts = replace(entry.counts, total=entry.tokens - saved)
    message["parts"] = b"[" + b",".join(parts) + b"]"
    message["token_count"] = b"%d" % counts.total
    return replace(entry, body=jsontext.joined(message), counts=counts)


def _rewritten(value: bytes, path: Path, tokens: int, level: int) -> bytes:
    """Cut the string at *path* inside of *value*."""
    if not path:
        return msgspec.json.encode(cut_middle(_decoded(value), tokens, level))
    key = path[0]
    if isinstance(key, int):
        listed = jsontext.items(value, "content")
        listed[key] = _rewritten(listed[key], path[1:], tokens, level)
        return b"[" + b",".join(listed) + b"]"
    found = jsontext.members(value, (), None)
    found[key] = _rewritten(found[key], path[1:], tokens, level)
    return jsontext.joined(found)


def cut_middle(text: str, tokens: int, level: int) -> str:
    """
    Cut *text*, counted as *tokens*, down to about *level* tokens of its beginning and end.

    The marker in between says how many tokens were left out.
    """
    data = text.encode()
    kept = max(len(data) * level // tokens, FLOOR_TOKENS)
    head = data[: kept - kept // 2].decode(errors="ignore")
    tail = data[len(data) - kept // 2 :].decode(errors="ignore")
    return f"{head}\n[... {tokens - level} tokens left out ...]\n{tail}"
