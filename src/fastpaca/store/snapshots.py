"""What snapshots are made of, whatever the store: what a window needs, and what a purge leaves."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from fastpaca.context.window import Persisted, ranges
from fastpaca.store.base import CompactionRow, ContextRow, Delta, Known, Snapshot


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


def news(window: bytes | None, last_seq: int, known: Known) -> Needs:
    """Tell what rebuilding takes and *known* has not; *window* is None if that is still in use."""
    if window is None:
        return Needs([(known.last_seq + 1, last_seq)] if known.last_seq < last_seq else [], [])
    needed = needs(window, last_seq)
    replacements = [
        (version, place, place)
        for version, first, last in needed.replacements
        for place in range(first, last + 1)
        if (version, place) not in known.synthetics
    ]
    return Needs(list(_beside(needed.log, known.log)), replacements)


def _beside(
    wanted: Iterable[tuple[int, int]], there: Iterable[tuple[int, int]]
) -> Iterator[tuple[int, int]]:
    """Give what the ranges *wanted* hold beside those that are *there*; both ascend."""
    left = iter(there)
    had = next(left, None)
    for start, last in wanted:
        first = start
        while had is not None and had[0] <= last:
            if first < had[0]:
                yield first, had[0] - 1
            first = max(first, had[1] + 1)
            if had[1] > last:  # it may reach into the next one
                break
            had = next(left, None)
        if first <= last:
            yield first, last


class _Through(msgspec.Struct):
    """Of a stored window, where the log ended."""

    through: int = 0


_through_decoder = msgspec.json.Decoder(_Through)


def seq_at(version: int, compaction: CompactionRow | None) -> int:
    """
    Tell where the log ended at *version*, of which *compaction* is the newest up to it.

    Messages have no index by version, which every append would have to pay for. They need none:
    behind a compaction each version is an appended message. So messages may be lost without harm to
    this, and compactions are never.
    """
    if compaction is None:
        return version
    return _through_decoder.decode(compaction.window).through + version - compaction.version


def row_at(row: ContextRow, version: int, compaction: CompactionRow | None) -> ContextRow:
    """Give *row* with the version and the end of the log that it had at *version*, as `seq_at`."""
    return replace(row, version=version, last_seq=seq_at(version, compaction))


def dated(snapshot: Snapshot, compaction: CompactionRow | None) -> Snapshot:
    """
    Let the row of *snapshot* say when its conversation came to where it is.

    That is when the newest of its messages came, or the newest *compaction*: one of them has
    brought the version.
    """
    moments = [found.at_us for found in (compaction, *snapshot.messages[-1:]) if found is not None]
    row = replace(snapshot.row, spoken_at_us=max(moments, default=0))
    return snapshot._replace(row=row)


def purged_delta(context_id: str) -> Delta:
    """Make what is new of a context that was purged: that it was."""
    return Delta(purged_row(context_id), None, [], [])


def purged_row(context_id: str) -> ContextRow:
    """Make the row of a purged context, of which nothing but the id is known."""
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
