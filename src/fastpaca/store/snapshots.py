"""Snapshots, for every store: the rows that a window needs, and the row of a purged context."""

from __future__ import annotations

from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from fastpaca.context.persisted import Persisted, ranges
from fastpaca.ranges import missing
from fastpaca.store.base import CompactionRow, ContextRow, Diff, Have, Snapshot


class Needs(NamedTuple):
    """
    The rows that a window is rebuilt from, in ascending order.

    Attributes:
        log: Seqs of the log, as the fewest ranges.
        replacements: Synthetic messages, as (version, first position, last position).
    """

    log: list[tuple[int, int]]
    replacements: list[tuple[int, int, int]]


def needs(window: bytes | None, last_seq: int) -> Needs:
    """Return what a rebuild of the stored *window* needs; the log ends at *last_seq*."""
    stored = Persisted() if window is None else Persisted.decode(window)
    replacements = [
        (run.replacement, run.first, run.last) for run in stored.runs if run.replacement is not None
    ]
    return Needs(ranges(stored, last_seq), sorted(replacements))


def needs_of(row: ContextRow, window: bytes | None) -> Needs:
    """
    Return what a rebuild of the stored *window* of the context of *row* needs.

    Nothing while it is forming: it has no window yet, and its log may be long.
    """
    return Needs([], []) if row.status == "forming" else needs(window, row.last_seq)


def needs_besides(have: Have, window: bytes | None, last_seq: int) -> Needs:
    """Return what a rebuild needs besides *have*; *window* is None if it was not rewritten."""
    if window is None:
        return Needs([(have.last_seq + 1, last_seq)] if have.last_seq < last_seq else [], [])
    needed = needs(window, last_seq)
    replacements = [
        (version, position, position)
        for version, first, last in needed.replacements
        for position in range(first, last + 1)
        if (version, position) not in have.synthetics
    ]
    return Needs(missing(needed.log, have.log), replacements)


class _Through(msgspec.Struct):
    """The field of a stored window that says where the log ended."""

    through: int = 0


_through_decoder = msgspec.json.Decoder(_Through)


def seq_at(version: int, compaction: CompactionRow | None) -> int:
    """
    Return the last seq as of *version*; *compaction* is the newest one up to that version.

    Messages have no index by version, which would make every append slower, and need none: after a
    compaction, each version is an appended message. Lost messages don't affect this; compactions
    are never lost.
    """
    if compaction is None:
        return version
    return _through_decoder.decode(compaction.window).through + version - compaction.version


def row_at(row: ContextRow, version: int, compaction: CompactionRow | None) -> ContextRow:
    """Return *row* with the version and the last seq that it had at *version*; see `seq_at`."""
    return replace(row, version=version, last_seq=seq_at(version, compaction))


def dated(snapshot: Snapshot, compaction: CompactionRow | None) -> Snapshot:
    """
    Set the time of the last change in the row of *snapshot*.

    It is that of the newest message or of the newest *compaction*: one of them made the version.
    """
    rows = (compaction, *snapshot.messages[-1:])
    times_us = [row.at_us for row in rows if row is not None]
    row = replace(snapshot.row, spoken_at_us=max(times_us, default=0))
    return snapshot._replace(row=row)


def purged_diff(context_id: str) -> Diff:
    """Return the diff of a context that was purged."""
    return Diff(purged_row(context_id), None, [], [])


def purged_row(context_id: str) -> ContextRow:
    """Return the row of a purged context, which has only its id."""
    return ContextRow(
        id=context_id,
        status="purged",
        token_budget=0,
        trigger_ratio=0.0,
        token_factor=0.0,
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
