"""
The stored form of a window.

In memory a window is its entries. Its stored form is tiny: the list of its runs, since the log has
the messages. Runs range over places; where a message was revised, it says which row of the log
stands there. `persisted` writes that form, and `rebuild` makes the same entries from it and the
log, byte for byte, so a window survives a restart, an eviction, and a move to another node.

Between two compactions, messages are only admitted and revised, so a stored form says *through*
which seq it was written; every later row of the log was admitted, or took the place that it
revises.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, groupby, pairwise
from operator import attrgetter
from typing import Final

import msgspec
from msgspec.structs import replace

from fastpaca.context.cut_calls import CutCall
from fastpaca.context.draft import Draft
from fastpaca.context.message import Counts, Entry
from fastpaca.context.path import WHOLE_LOG, Path
from fastpaca.context.removal import taken_out
from fastpaca.context.window import Window, WindowSegment
from fastpaca.ranges import Range, missing, runs, union

RULES: Final = 1
"""The version of the rules by which messages are admitted to a window."""

GAP_MAX: Final = 16
"""How many messages of the log that are not in the window a run may include in one gap."""


class Stored(msgspec.Struct, frozen=True, gc=False):
    """A synthetic message of a replacement, at its *position*."""

    position: int
    draft: Draft
    counts: Counts


class Run(msgspec.Struct, frozen=True, omit_defaults=True):
    """
    Consecutive entries, as they are stored.

    Attributes:
        from_seq: The first place it covers.
        to_seq: The last place it covers.
        gone: Places in between that are not in the window: the first and last of each range, in
            turn.
        without: What was taken out of its messages: for each its place, or its position in the
            replacement, and then ranges of places in the message, as in *gone*.
        replacement: For synthetic messages, the version of their replacement.
        first: The position of the first of them in the replacement.
        last: The position of the last.
    """

    from_seq: int
    to_seq: int
    gone: tuple[int, ...] = ()
    without: tuple[tuple[int, ...], ...] = ()
    replacement: int | None = None
    first: int = 0
    last: int = 0


class Persisted(msgspec.Struct, frozen=True, omit_defaults=True):
    """
    A window, as it is stored.

    Attributes:
        through: The last seq of the log when this was written; later messages were admitted.
        runs: Its runs, in order.
        cut_calls: Calls that left the window; see `CutCall`.
        pinned: How many of its entries are pinned.
        opened_at: See `Window`.
        task: The half-open range of entries that stayed as the task.
        rules: The version of the rules by which later messages were admitted; 1 if absent.
        revised: For messages that were revised, place and seq of the row that is in the window.
        end: The last place of the path; that of *through* if absent.
        path: The ranges of seqs on the path; the whole log if absent.
        to_version: For a rewind, the version that it went back to.
        rewritten: See `Window.through`; that of *through* if absent.
    """

    through: int = 0
    runs: tuple[Run, ...] = ()
    cut_calls: tuple[CutCall, ...] = ()
    pinned: int = 0
    opened_at: int = 0
    task: tuple[int, int] = (0, 0)
    rules: int = 1
    revised: tuple[tuple[int, int], ...] = ()
    end: int | None = None
    path: tuple[Range, ...] | None = None
    to_version: int | None = None
    rewritten: int | None = None

    @property
    def segments(self) -> list[WindowSegment]:
        """The segments of the window when this was written; see `segments`."""
        grouped = groupby(self.runs, lambda run: "live" if run.replacement is None else "summary")
        listed = [(kind, list(runs)) for kind, runs in grouped]
        return [WindowSegment(kind, runs[0].from_seq, runs[-1].to_seq) for kind, runs in listed]

    def encode(self) -> bytes:
        """Return it as JSON."""
        return msgspec.json.encode(self)

    @staticmethod
    def decode(text: bytes) -> Persisted:
        """Decode what `encode` returned."""
        return _persisted_decoder.decode(text)


_persisted_decoder = msgspec.json.Decoder(Persisted)


def persisted(window: Window, last_seq: int, to_version: int | None = None) -> Persisted:
    """
    Return the stored form of *window*, of a context whose log ends at *last_seq*.

    *to_version* is the version that a rewind went back to.
    """
    task = [index for index, entry in enumerate(window) if entry.is_task]
    return Persisted(
        through=last_seq,
        runs=tuple(map(_run, _stretches(window))),
        cut_calls=window.cut_calls,
        pinned=window.pinned,
        opened_at=window.opened_at,
        task=(task[0], task[-1] + 1) if task else (0, 0),
        rules=RULES,
        revised=tuple(
            [
                (entry.covers_to, entry.seq)
                for entry in window
                if entry.seq is not None and entry.seq != entry.covers_to
            ]
        ),
        end=None if window.end == last_seq else window.end,
        path=None if window.path == WHOLE_LOG else tuple(window.path.ranges(last_seq)),
        to_version=to_version,
        rewritten=None if window.through == last_seq else window.through,
    )


def _stretches(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    """Divide *entries* into those that form one run each."""
    run: list[Entry] = []
    for entry in entries:
        if run and not _follows(entry, run[-1]):
            yield run
            run = []
        run.append(entry)
    if run:
        yield run


def _follows(entry: Entry, last: Entry) -> bool:
    """Return whether *entry* may be in the same run as *last*, the entry before it."""
    if entry.seq is not None:
        return last.seq is not None and entry.place - last.place <= GAP_MAX + 1
    return (
        last.seq is None
        and (entry.version, entry.position) == (last.version, last.position + 1)
        and (entry.covers_from, entry.covers_to) == (last.covers_from, last.covers_to)
    )


def _run(run: Sequence[Entry]) -> Run:
    first, last = run[0], run[-1]
    without = tuple(
        (_number(entry), *number_ranges(entry.without)) for entry in run if entry.without
    )
    if first.seq is None:
        return Run(
            from_seq=first.covers_from,
            to_seq=first.covers_to,
            without=without,
            replacement=first.version,
            first=first.position,
            last=last.position,
        )
    gone: list[int] = []
    for entry, following in pairwise(run):
        if following.covers_to != entry.covers_to + 1:
            gone += [entry.covers_to + 1, following.covers_to - 1]
    return Run(first.covers_to, last.covers_to, tuple(gone), without)


def _number(entry: Entry) -> int:
    return entry.position if entry.seq is None else entry.place


def number_ranges(numbers: Iterable[int]) -> list[int]:
    """Return ascending *numbers* as the first and last of each range, in turn."""
    return [*chain.from_iterable(runs(numbers))]


def _numbers(flat: Sequence[int]) -> Iterator[int]:
    """Yield the numbers that `number_ranges` returned as *flat*."""
    for first, last in zip(flat[::2], flat[1::2], strict=True):
        yield from range(first, last + 1)


def rebuild(
    stored: Persisted,
    log: Iterable[Entry],
    replacement: Callable[[int, int, int], Sequence[Entry]],
) -> Window:
    """
    Rebuild a window from its stored form.

    Args:
        stored: What `persisted` returned.
        log: The entries of the log that `ranges` names, as they were appended, in any order; there
            may be more.
        replacement: Returns the synthetic entries of the replacement of a version, from one
            position to another, inclusive; what they cover is filled in here.
    """
    assert stored.rules == RULES, f"rules {stored.rules} of stored windows are unknown"
    there, later = _as_it_was(stored, log)
    places = [entry.covers_to for entry in there]
    entries: list[Entry] = []
    for run in stored.runs:
        if run.replacement is None:
            start, end = bisect_left(places, run.from_seq), bisect_left(places, run.to_seq + 1)
            whole: Sequence[Entry] = there[start:end]
        else:
            whole = [
                replace(entry, covers_from=run.from_seq, covers_to=run.to_seq)
                for entry in replacement(run.replacement, run.first, run.last)
            ]
        entries += _reduced(whole, run) if run.gone or run.without else whole
    for index in range(*stored.task):
        entries[index] = replace(entries[index], is_task=True)
    window = Window.of(
        entries,
        stored.cut_calls,
        stored.pinned,
        stored.opened_at,
        stored.through if stored.rewritten is None else stored.rewritten,
        WHOLE_LOG if stored.path is None else Path.of(stored.path, stored.through),
        stored.through if stored.end is None else stored.end,
    )
    return grown(window, later)


def _as_it_was(stored: Persisted, log: Iterable[Entry]) -> tuple[list[Entry], list[Entry]]:
    """
    Return the messages of *log* that were there when a window was *stored*, by place.

    Return also the rows that came later, by seq.
    """
    revised = dict(stored.revised)
    there: list[Entry] = []
    later: list[Entry] = []
    for entry in log:
        if entry.seq is not None and entry.seq > stored.through:
            later.append(entry)
        elif entry.seq == revised.get(entry.covers_to, entry.covers_to):
            there.append(entry)
    return sorted(there, key=_place), sorted(later, key=_seq)


_place: Final = attrgetter("covers_to")
_seq: Final = attrgetter("seq")


def grown(window: Window, rows: Iterable[Entry]) -> Window:
    """Return *window* after these newer *rows* of the log, in order."""
    for entry in rows:
        window = window.admit(entry) if entry.revises is None else window.revised(entry)
    return window


def _reduced(entries: Iterable[Entry], run: Run) -> Iterator[Entry]:
    """Yield the entries of *run*, without what was taken out of each."""
    gone = frozenset(_numbers(run.gone))
    without = {number: flat for number, *flat in run.without}
    for entry in entries:
        number = _number(entry)
        if number in without:
            left = taken_out(entry, frozenset(_numbers(without[number])))
            assert left is not None, "something of each message of a stored window is left"
            yield left
        elif entry.seq is None or number not in gone:
            yield entry


def ranges(stored: Persisted, last_seq: int) -> list[tuple[int, int]]:
    """Return the seqs of the log that rebuilding needs, as the fewest inclusive ranges."""
    places = [(run.from_seq, run.to_seq) for run in stored.runs if run.replacement is None]
    needed = missing(places, [(place, place) for place, _ in stored.revised])
    needed += [(seq, seq) for _, seq in stored.revised]
    if stored.through < last_seq:
        needed.append((stored.through + 1, last_seq))
    return union(needed)
