"""
The pinned entries, which no policy ever drops or strips.

They are the instructions at the beginning of a window, and one synthetic message right after them
or before them: the summary of a replacement. Instructions after anything else are never pinned,
even if a compaction moves them up to the pinned ones. Otherwise the reminders that many
applications insert would pile up forever.
"""

from __future__ import annotations

from collections.abc import Sequence

from fastpaca.context.message import Entry
from fastpaca.shapes import INSTRUCTION_ROLES


def pinned_run(entries: Sequence[Entry]) -> int:
    """Return how many of *entries* are pinned in a window that consists of them."""
    size = _leading_instructions(entries, 0)
    if size < len(entries) and entries[size].seq is None:
        at_the_beginning = size == 0
        size += 1
        if at_the_beginning:
            size = _leading_instructions(entries, size)
    return size


def _leading_instructions(entries: Sequence[Entry], start: int) -> int:
    index = start
    while index < len(entries) and entries[index].role in INSTRUCTION_ROLES:
        index += 1
    return index


def follows_pinned(entry: Entry, last: Entry | None, size: int, end: int) -> bool:
    """
    Return whether *entry* is pinned after *size* pinned entries, the last of which is *last*.

    *end* is the last place of the path before *entry*.
    """
    if entry.role not in INSTRUCTION_ROLES:
        return False
    if last is None:
        return True
    is_lone_summary = size == 1 and last.seq is None
    goes_on = last.covers_to == end
    return goes_on and (is_lone_summary or last.role in INSTRUCTION_ROLES)
