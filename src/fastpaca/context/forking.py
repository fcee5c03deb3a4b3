"""
The window of a fork: that of its source, with the places of the new log.

A fork has the messages of its source's path, renumbered from 1. So a place becomes its rank on the
path, and everything that names places is translated.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import NamedTuple

from msgspec.structs import replace

from fastpaca.context.draft import parse
from fastpaca.context.message import Entry, unrendered
from fastpaca.context.persisted import Persisted, Stored, grown, persisted
from fastpaca.context.window import Window


class ForkedWindow(NamedTuple):
    """
    The window that a fork begins with.

    Attributes:
        window: Its stored form.
        tokens: Its tokens.
        replacement: Its synthetic messages.
    """

    window: Persisted
    tokens: int
    replacement: tuple[Stored, ...]


def forked_window(window: Window, places: Sequence[int]) -> ForkedWindow | None:
    """
    Return *window* for a fork of the messages at *places*, which are the whole path.

    None if it is exactly the path: then the fork has no rewrite. Else its version is the one after
    the last message, as is that of the synthetic messages.
    """
    end = len(places)
    entries: list[Entry] = []
    replacement: list[Stored] = []
    for entry in window:
        if entry.seq is None:
            entries.append(_synthetic(entry, len(replacement), places))
            draft = replace(parse(unrendered(entry.body), "message"), origin=entry.origin)
            replacement.append(Stored(len(replacement), draft, entry.counts))
        else:
            seq = bisect_right(places, entry.place)
            entries.append(replace(entry, seq=seq, version=seq, covers_from=seq, covers_to=seq))
    forked = Window.of(
        entries,
        tuple([call._replace(seq=bisect_right(places, call.seq)) for call in window.cut_calls]),
        window.pinned,
        bisect_right(places, window.opened_at),
        bisect_right(places, window.through),
        end=end,
    )
    # An empty fork has a rewrite, too: a stored response needs a row, and there is no message.
    if end and _is_path(forked):
        return None
    return ForkedWindow(persisted(forked, end), forked.tokens, tuple(replacement))


def _synthetic(entry: Entry, position: int, places: Sequence[int]) -> Entry:
    return replace(
        entry,
        version=len(places) + 1,
        position=position,
        covers_from=bisect_left(places, entry.covers_from) + 1,
        covers_to=bisect_right(places, entry.covers_to),
        without=(),  # it is stored as it is here
    )


def _is_path(window: Window) -> bool:
    """Return whether the messages of *window*, appended one by one, would be that window."""
    entries = window.entries
    if len(entries) != window.end or window.cut_calls:
        return False
    if any(entry.seq is None or entry.without or entry.is_task for entry in entries):
        return False
    return grown(Window(), entries).pinned == window.pinned
