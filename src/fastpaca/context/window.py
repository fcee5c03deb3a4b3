"""
The window: the ordered entries of the LLM context, before it is fitted to one read.

A new message of the log is admitted at its end, with one exception: the result of a call that left
the window stays out as well, since providers refuse results without calls. `cut_calls` remembers
those calls.

Entries stand in the order of their places on the path, and everything that sorts or looks for them
goes by place: a message that was revised keeps its place, and its seq is that of its newest row.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import islice
from operator import attrgetter
from typing import Final, NamedTuple

import msgspec
from msgspec.structs import replace

from fastpaca.context.calls import Call
from fastpaca.context.config import Config
from fastpaca.context.cut_calls import CutCall, newest_calls
from fastpaca.context.groups import Groups
from fastpaca.context.late_results import is_made_again, of_cut_calls, with_results
from fastpaca.context.message import Entry
from fastpaca.context.path import WHOLE_LOG, Path
from fastpaca.context.pinned import follows_pinned, pinned_run
from fastpaca.context.removal import taken_out
from fastpaca.shapes import Side, ToolReference

ENTRY_BYTES: Final = 338
"""What an entry takes in memory besides its JSON text: the entry, its place, counts and reading."""

PART_BYTES: Final = 17
"""What the count of a part takes; counts above 256 are objects of their own, which few are."""

TOOL_REFERENCE_BYTES: Final = 200
"""What a tool reference takes besides its id: its strings, and what `Groups` knows of the call."""


class Stuck(NamedTuple):
    """
    Under which circumstances a window could not shrink; it still can't while they are the same.

    Attributes:
        config: The configuration.
        newest_at: The index at which its newest block begins.
        compactions: How many of its entries hold a compaction part.
    """

    config: Config
    newest_at: int
    compactions: int


class Window(msgspec.Struct, eq=False, gc=False):
    """
    Ordered entries with the sum of their tokens. A value: every change makes a new window.

    Windows that grow from each other share one list, and each uses its first *size* entries, so
    that an append costs the same however large the window is. The groups are a cache of what the
    entries say: each window passes them to the next one instead of copying them.

    Attributes:
        shared: The list; entries after the first *size* belong to other windows.
        size: How many entries there are.
        tokens: The sum of their tokens.
        weight: About how many bytes they take in memory.
        cut_calls: Calls that left the window, by place.
        pinned: How many entries at the beginning no policy may touch.
        opened_at: Place of the newest message that opened a turn and has left the window.
        through: The last seq of the log then, or the last place when a message before others was
            revised; what stands before later messages is as it was when they were appended. After
            a rewind it is what it was at the version that this went back to.
        path: Which messages of the log are on the path.
        end: The last place of the path; 0 if it is empty.
        groups: The groups of its entries, as far as they were read, or None.
        stuck: Why it can't shrink, if known.
        seen: The groups that reads use, if any. A read takes them out, since reads and changes of
            a context run in several threads. Windows that grow from each other share it.
    """

    shared: list[Entry] = []
    size: int = 0
    tokens: int = 0
    weight: int = 0
    cut_calls: tuple[CutCall, ...] = ()
    pinned: int = 0
    opened_at: int = 0
    through: int = 0
    path: Path = WHOLE_LOG
    end: int = 0
    groups: Groups | None = None
    stuck: Stuck | None = None
    seen: list[Groups] = []

    @staticmethod
    def of(
        entries: Iterable[Entry],
        cut_calls: tuple[CutCall, ...] = (),
        pinned: int = 0,
        opened_at: int = 0,
        through: int = 0,
        path: Path = WHOLE_LOG,
        end: int = 0,
    ) -> Window:
        """Make a window of *entries*."""
        listed = list(entries)
        return Window(
            shared=listed,
            size=len(listed),
            tokens=sum(entry.tokens for entry in listed),
            weight=sum(map(weight_of, listed)),
            cut_calls=cut_calls,
            pinned=pinned,
            opened_at=opened_at,
            through=through,
            path=path,
            end=end,
        )

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[Entry]:
        return islice(self.shared, self.size)

    @property
    def text_bytes(self) -> int:
        """About how many bytes of JSON the entries have, to estimate the work on them."""
        return self.weight - ENTRY_BYTES * self.size

    @property
    def entries(self) -> list[Entry]:
        """The entries, as a new list."""
        return self.shared[: self.size]

    def opened_before(self, entries: Iterable[Entry]) -> int:
        """Return `opened_at` for a window of *entries*, which takes the place of this one."""
        opened = [*range(self.pinned), *self.grouped().task_messages]
        left = {self.shared[at].covers_to for at in opened if self.shared[at].opens_turn}
        if left:
            left.difference_update(entry.covers_to for entry in entries if entry.opens_turn)
        return max(self.opened_at, *left) if left else self.opened_at

    def apart(self) -> Window:
        """Return the same window with a list of its own, so it may grow in another thread."""
        return replace(self, shared=self.entries, groups=None, stuck=None, seen=[])

    def back(self, past_seq: int, last_seq: int) -> Window:
        """
        Return this window of a past, when the log ended at *past_seq*, as that of a present.

        What lies between *past_seq* and *last_seq*, where the log ends now, has left the path.
        """
        path = Path.of(self.path.ranges(past_seq), last_seq)
        return replace(self.apart(), path=path)

    def grouped(self) -> Groups:
        """Read and return the groups of the entries; only for the owner of the window."""
        if self.groups is None:
            self.groups = self.fresh_groups()
        groups = self.groups.read(self.size)
        assert groups.sums[self.size] == self.tokens
        return groups

    def take_groups(self) -> Groups:
        """Return its groups for a read, which returns them with `give_groups`."""
        try:
            groups = self.seen.pop()  # atomic: another thread finds it empty
        except IndexError:
            groups = None
        if groups is None or groups.entries is not self.shared or groups.size > self.size:
            groups = self.fresh_groups()
        groups.read(self.size).finish_ghosts()
        assert groups.sums[self.size] == self.tokens
        return groups

    def give_groups(self, groups: Groups) -> None:
        """Keep *groups*, which `take_groups` returned, for the next read."""
        if not self.seen:
            self.seen.append(groups)

    def fresh_groups(self) -> Groups:
        """Return groups that have read none of the entries."""
        return Groups(self.shared, self.pinned, self.cut_calls, self.opened_at)

    @property
    def unread(self) -> int:
        """How many entries the groups have not read yet."""
        return self.size - (0 if self.groups is None else min(self.groups.size, self.size))

    def admit(self, entry: Entry) -> Window:
        """Return the window with the newest message of the log, without results of cut calls."""
        return (
            self.admission(entry)[0] if self._may_answer_what_was_cut(entry) else self.grown(entry)
        )

    def admission(self, entry: Entry) -> tuple[Window, list[ToolReference]]:
        """Admit the newest message of the log, as `admit`, and return its unpaired results too."""
        if self._may_answer_what_was_cut(entry):
            pairing = self.grouped().finish_ghosts().pairing
            places, answered, late = of_cut_calls(pairing, entry)
            if places:
                return self._admitted_without(entry, places, answered, late)
        window = self.grown(entry)
        return window, window.grouped().pairing.unpaired

    def _may_answer_what_was_cut(self, entry: Entry) -> bool:
        return bool(self.cut_calls) and any(
            reference.answers for reference in entry.reading.tool_references
        )

    def _admitted_without(
        self, entry: Entry, places: set[int], answered: Iterable[Call], late: list[ToolReference]
    ) -> tuple[Window, list[ToolReference]]:
        cut_calls = with_results(self.cut_calls, answered)
        reduced = taken_out(entry, places)
        if reduced is not None:
            window = self.grown(reduced, cut_calls)
            return window, [*late, *window.grouped().pairing.unpaired]
        groups, stuck = self.groups, self.stuck
        self.groups = self.stuck = None
        place = entry.place
        window = replace(self, cut_calls=cut_calls, end=place, groups=groups, stuck=stuck)
        return window, late

    def grown(self, entry: Entry, cut_calls: tuple[CutCall, ...] | None = None) -> Window:
        """Return the window with the whole *entry* at its end."""
        last = self.shared[self.size - 1] if self.size else None
        groups, stuck = self.groups, self.stuck
        self.groups = self.stuck = None
        shared = self.shared
        if len(shared) != self.size:  # another window has grown from this one already
            shared = shared[: self.size]
            groups = stuck = None
            seen: list[Groups] = []
        else:
            seen = self.seen
        shared.append(entry)
        pins = self.pinned == self.size and follows_pinned(entry, last, self.size, self.end)
        return Window(
            shared=shared,
            size=self.size + 1,
            tokens=self.tokens + entry.tokens,
            weight=self.weight + weight_of(entry),
            cut_calls=self.cut_calls if cut_calls is None else cut_calls,
            pinned=self.pinned + pins,
            opened_at=self.opened_at,
            through=self.through,
            path=self.path,
            end=entry.covers_to,
            groups=groups,
            stuck=stuck,
            seen=seen,
        )

    def revised(self, entry: Entry) -> Window:
        """
        Return the window with *entry* where the message stands that it revises.

        It has everything that was appended, except the results of calls that left the window. If
        the message has left the window, nothing changes.
        """
        return self._revision(entry)[0]

    def revision(self, entry: Entry) -> tuple[Window, list[ToolReference]]:
        """Put *entry* in its place, as `revised`, and return its unpaired results too."""
        window, unpaired = self._revision(entry)
        return window, unpaired if window is self else [*unpaired, *window.unpaired_at(entry.place)]

    def unpaired_at(self, place: int) -> list[ToolReference]:
        """Return the results in the message at *place*, if it is here, that bind nothing."""
        at = self._index(place)
        if at is None or not any(one.answers for one in self.shared[at].tool_references):
            return []
        return self._read_before(at + 1, place).pairing.unpaired

    def _revision(self, entry: Entry) -> tuple[Window, list[ToolReference]]:
        place = entry.place
        at = self._index(place)
        if at is None:
            return self, []
        cut_calls = self.cut_calls
        left: Entry | None = entry
        unpaired: list[ToolReference] = []
        if self._may_answer_what_was_cut(entry):
            pairing = self._read_before(at, place).come_to(entry).pairing
            places, answered, unpaired = of_cut_calls(pairing, entry)
            cut_calls = with_results(cut_calls, answered)
            left = taken_out(entry, places)
        if entry.tool_references:
            cut_calls = tuple(
                [call for call in cut_calls if call.seq != place or not is_made_again(call, entry)]
            )
        if left is not None and self.shared[at].is_task:
            left = replace(left, is_task=True)
        return self._with(at, left, cut_calls), unpaired

    def _index(self, place: int) -> int | None:
        """Return the index of the message at *place*, or None."""
        at = bisect_left(self.shared, place, 0, self.size, key=_covers_to)
        is_there = at < self.size and self.shared[at].covers_to == place
        return at if is_there and self.shared[at].seq is not None else None

    def _read_before(self, at: int, place: int) -> Groups:
        """Return the groups of the entries before the index *at*, which come to *place*."""
        opened_at = self.opened_at if self.opened_at < place else 0  # else it comes later
        entries = self.shared[:at]
        return Groups(entries, min(self.pinned, at), self.cut_calls, opened_at).read(at)

    def _with(self, at: int, entry: Entry | None, cut_calls: tuple[CutCall, ...]) -> Window:
        """Return the window with *entry* at the index *at*, in place of what is there."""
        entries, old = self.entries, self.shared[at]
        entries[at : at + 1] = [] if entry is None else [entry]
        return Window(
            shared=entries,
            size=len(entries),
            tokens=self.tokens - old.tokens + (0 if entry is None else entry.tokens),
            weight=self.weight - weight_of(old) + (0 if entry is None else weight_of(entry)),
            cut_calls=cut_calls,
            pinned=self.pinned - (entry is None and at < self.pinned),
            opened_at=self.opened_at,
            # Only what comes after the message has another beginning now.
            through=self.through if at == self.size - 1 else max(self.through, self.end),
            path=self.path,
            end=self.end,
        )


_covers_to: Final = attrgetter("covers_to")


def weight_of(entry: Entry) -> int:
    """Estimate how many bytes *entry* takes in memory."""
    counts = entry.counts
    weight = ENTRY_BYTES + len(entry.body) + PART_BYTES * (len(counts.parts) + len(counts.keys))
    for reference in entry.tool_references:
        weight += TOOL_REFERENCE_BYTES + len(reference.id)
    return weight


def replaced(before: Window, entries: Sequence[Entry], last_seq: int) -> Window:
    """
    Return a window of exactly these *entries*, which replaces *before* at *last_seq* of the log.

    A call that is not among them counts as cut, unless a synthetic message makes it again.
    """
    pairing = before.grouped().finish_ghosts().pairing
    there = {
        (None if entry.seq is None else entry.place, reference.place)
        for entry in entries
        if entry.tool_references
        for reference in entry.tool_references
    }
    again = {
        (reference.side is Side.REQUEST, reference.id)
        for entry in entries
        if entry.seq is None
        for reference in entry.tool_references
        if not reference.answers
    }
    listed = before.shared
    # A call that was cut before is back if a reference brings its message back, unless that was
    # revised and makes the call no more: then its result stays out.
    back = {entry.place: entry for entry in entries if entry.seq is not None}
    cut = [call for call in pairing.remembered() if not is_made_again(call, back.get(call.seq))]
    for at, calls in pairing.calls.items():
        place = None if listed[at].seq is None else listed[at].place
        cut += [
            call.cut
            for call in calls
            if place is None or (place, call.reference.place) not in there
        ]
    left = [call for call in cut if (call.is_request, call.id) not in again or not call.id]
    return Window.of(
        entries,
        newest_calls(left),
        pinned_run(entries),
        before.opened_before(entries),
        last_seq,
        before.path,
        before.end,
    )


def changed_range(
    before: Window, after: Window, references: Sequence[Entry]
) -> tuple[int | None, int | None]:
    """
    Return the first and last place whose message in the window has changed.

    *references* are the entries of *after* that may not have been in *before*: none after a trim.
    """
    spans = [_span_of_others(before.shared, before.size, {entry.body for entry in after})]
    if references:
        bodies = {entry.body for entry in before}
        spans.append(_span_of_others(references, len(references), bodies))
    changed = [span for span in spans if span is not None]
    if not changed:
        return None, None
    return min(first for first, _ in changed), max(last for _, last in changed)


def _span_of_others(
    entries: Sequence[Entry], size: int, bodies: Collection[bytes]
) -> tuple[int, int] | None:
    """
    Return the range covered by those of the first *size* entries that have none of *bodies*.

    Entries are in the order of the path, so the search ends at the first one from either end.
    """

    def is_other(entry: Entry) -> bool:
        return entry.body not in bodies and entry.covers_from <= entry.covers_to

    first = next(filter(is_other, islice(entries, size)), None)
    if first is None:
        return None
    last = next(filter(is_other, map(entries.__getitem__, range(size - 1, -1, -1))))
    return first.covers_from, last.covers_to


class WindowSegment(NamedTuple):
    """Consecutive entries of one kind, as in the API: `live` or `summary`; ranges of places."""

    kind: str
    from_seq: int
    to_seq: int


def segments(entries: Iterable[Entry]) -> list[WindowSegment]:
    """Divide *entries* into references to the log (`live`) and synthetic messages (`summary`)."""
    listed: list[WindowSegment] = []
    kind, from_seq, to_seq = "", 0, 0
    for entry in entries:
        entry_kind = "summary" if entry.seq is None else "live"
        if entry_kind != kind:
            if kind:
                listed.append(WindowSegment(kind, from_seq, to_seq))
            kind, from_seq = entry_kind, entry.covers_from
        to_seq = entry.covers_to
    if kind:
        listed.append(WindowSegment(kind, from_seq, to_seq))
    return listed
