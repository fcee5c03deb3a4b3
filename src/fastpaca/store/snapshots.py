"""What snapshots are made of, whatever the store: what a window needs, and what a purge leaves."""

from __future__ import annotations

from typing import NamedTuple

from fastpaca.context.window import Persisted, ranges
from fastpaca.store.base import ContextRow


class Needs(NamedTuple):
    """
    What rebuilding a window needs, both ascending.

    Attributes:
        log: Seqs of the log, as inclusive ranges that do not touch.
        replacements: Synthetic messages, as (version, first position, last position).
    """

    log: list[tuple[int, int]]
    replacements: list[tuple[int, int, int]]


def needs(window: bytes | None, last_seq: int) -> Needs:
    """Tell what rebuilding takes, from the stored *window* of a log that ends at *last_seq*."""
    stored = Persisted() if window is None else Persisted.decode(window)
    replacements = [
        (run.replacement, run.first, run.last) for run in stored.runs if run.replacement is not None
    ]
    return Needs(_joined(ranges(stored, last_seq)), sorted(replacements))


def _joined(found: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Join ranges that touch or overlap, so that each message is read once."""
    joined: list[tuple[int, int]] = []
    for first, last in sorted(found):
        if joined and first <= joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], max(joined[-1][1], last))
        else:
            joined.append((first, last))
    return joined


def purged_row(context_id: str) -> ContextRow:
    """Make the row of a purged context, of which nothing but the id is known."""
    return ContextRow(
        id=context_id,
        status="purged",
        token_budget=0,
        trigger_ratio=0.0,
        policy=b"",
        metadata=b"{}",
        version=0,
        last_seq=0,
        revision=0,
        commit_id=b"",
        created_at_us=0,
        updated_at_us=0,
        spoken_at_us=0,
    )
