"""
The pinned entries: what no policy ever drops or strips.

They are the instructions that a window begins with, and the one synthetic message right after them
or at the very beginning, which is the summary of a replacement. A window counts them when they
come: once something else has come, no later instruction joins them, even if a compaction brings it
up to them. Otherwise the reminders that many applications strew in would pile up for ever.
"""

from __future__ import annotations

from collections.abc import Sequence

from fastpaca.context.message import Entry
from fastpaca.shapes import INSTRUCTION_ROLES


def pinned_run(entries: Sequence[Entry]) -> int:
    """
    Count the leading instructions, and the one synthetic message behind them or at the beginning.
    """
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


def follows_pinned(entry: Entry, last: Entry | None, size: int) -> bool:
    """
    Tell whether *entry* is pinned too, behind *size* pinned entries of which *last* is the last.
    """
    if entry.role not in INSTRUCTION_ROLES:
        return False
    if last is None:
        return True
    is_lone_summary = size == 1 and last.seq is None
    goes_on = last.covers_to + 1 == entry.covers_from
    return goes_on and (is_lone_summary or last.role in INSTRUCTION_ROLES)
