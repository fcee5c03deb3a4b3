"""
The window: the ordered entries that are the LLM context before it is fitted to one read.

In memory a window is its entries. In a store it is tiny: the list of its segments and what the log
holds already. `persisted` writes that form, `rebuild` makes the same entries of it again, byte for
byte, and that is what makes a restart, an eviction and another node see the same window.

A window grows at its end for as long as nothing is compacted, so a stored form says *through* which
seq it reaches; every message of the log after that has simply been admitted. Admission has one
rule: the result of a call that left the window stays out too, since a model's provider refuses
results without calls. `cut_calls` remembers those calls.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice, pairwise
from typing import Final, NamedTuple

import msgspec
from msgspec.structs import replace

from fastpaca.context.calls import GHOST, Call
from fastpaca.context.config import Config
from fastpaca.context.cut_calls import CutCall, newest_calls, with_result
from fastpaca.context.groups import Groups
from fastpaca.context.message import Entry
from fastpaca.context.pairing import Pairing
from fastpaca.context.pinned import follows_pinned, pinned_run
from fastpaca.context.removal import taken_out
from fastpaca.shapes import Side, ToolReference

RULES: Final = 1
"""The version of the rules by which messages are admitted to a stored window."""

ENTRY_BYTES: Final = 330
"""What an entry takes in memory beside its JSON text: the entry, its place, counts and reading."""

PART_BYTES: Final = 17
"""What the count of a part takes; more than 256 tokens are an object of their own, few are not."""

TOOL_REFERENCE_BYTES: Final = 200
"""What a tool reference takes besides its id: its strings, and what `Groups` knows of the call."""

GAP_MAX: Final = 16
"""A segment goes on over so many messages of the log that are not in the window."""


class Stuck(NamedTuple):
    """
    That a window could not become smaller; it still can't while all of this is the same.

    Attributes:
        config: The configuration.
        newest_at: Where its newest block begins.
        compactions: How many of its entries hold a compaction part.
    """

    config: Config
    newest_at: int
    compactions: int


class Window(msgspec.Struct, eq=False, gc=False):
    """
    Ordered entries with the sum of their tokens. A value: every change makes a new window.

    Windows that grow from each other share one list, of which each sees its own length, so that an
    append costs the same whatever the window holds. What is known of their groups is handed on to
    the next window instead of being copied: it says nothing that the entries do not say, only
    sooner.

    Attributes:
        shared: The list; all behind *size* belongs to others.
        size: How many entries there are.
        tokens: What they cost together.
        weight: About how many bytes they take in memory.
        cut_calls: Calls that left the window, by seq.
        pinned: How many entries at the beginning no policy may touch.
        opened_at: Seq of the newest message that opened a turn when the window was last rewritten.
        groups: What is known of the groups of its entries, or None.
        stuck: That it cannot become smaller, if that is known.
        seen: What readers know of its groups, if any: whoever takes it has it alone, since reads
            and changes of a context go on in several threads. Windows that grow from each other
            share it.
    """

    shared: list[Entry] = []
    size: int = 0
    tokens: int = 0
    weight: int = 0
    cut_calls: tuple[CutCall, ...] = ()
    pinned: int = 0
    opened_at: int = 0
    groups: Groups | None = None
    stuck: Stuck | None = None
    seen: list[Groups] = []

    @staticmethod
    def of(
        entries: Iterable[Entry],
        cut_calls: tuple[CutCall, ...] = (),
        pinned: int = 0,
        opened_at: int = 0,
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
        )

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[Entry]:
        return islice(self.shared, self.size)

    @property
    def text_bytes(self) -> int:
        """About how many bytes of JSON the entries have, by which work on them can be foreseen."""
        return self.weight - ENTRY_BYTES * self.size

    @property
    def entries(self) -> list[Entry]:
        """The entries, as a list of the caller's own."""
        return self.shared[: self.size]

    def apart(self) -> Window:
        """Return the same window with a list of its own, that may grow in another thread."""
        return replace(self, shared=self.entries, groups=None, stuck=None, seen=[])

    def grouped(self) -> Groups:
        """Read the groups of the entries, as far as they are not known; for its owner only."""
        if self.groups is None:
            self.groups = self.fresh_groups()
        return self.groups.read(self.size)

    def take_groups(self) -> Groups:
        """Return its groups for a read, which gives them back with `give_groups`."""
        try:
            groups = self.seen.pop()  # atomic: another thread finds it empty
        except IndexError:
            groups = None
        if groups is None or groups.entries is not self.shared or groups.size > self.size:
            groups = self.fresh_groups()
        return groups.read(self.size).finish_ghosts()

    def give_groups(self, groups: Groups) -> None:
        """Keep *groups*, which `take_groups` has returned, for the next read."""
        if not self.seen:
            self.seen.append(groups)

    def fresh_groups(self) -> Groups:
        """Return groups of its entries of which nothing was read yet."""
        return Groups(self.shared, self.pinned, self.cut_calls, self.opened_at)

    @property
    def unread(self) -> int:
        """How many entries have to be read to know the groups."""
        return self.size - (0 if self.groups is None else min(self.groups.size, self.size))

    def admit(self, entry: Entry) -> Window:
        """Let the newest message of the log in, without the results of calls that have gone."""
        return (
            self.admission(entry)[0] if self._may_answer_what_was_cut(entry) else self.grown(entry)
        )

    def admission(self, entry: Entry) -> tuple[Window, list[ToolReference]]:
        """
        Let the newest message of the log in, as `admit`; return its results that answer no call,
        too.
        """
        if self._may_answer_what_was_cut(entry):
            pairing = self.grouped().finish_ghosts().pairing
            places, answered, late = _of_cut_calls(pairing, entry)
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
        cut_calls = self.cut_calls
        for call in answered:
            before = call.cut
            call.consume()
            cut_calls = with_result(cut_calls, before, call.cut)
        reduced = taken_out(entry, places)
        if reduced is not None:
            window = self.grown(reduced, cut_calls)
            return window, [*late, *window.grouped().pairing.unpaired]
        if cut_calls is self.cut_calls:
            return self, late
        groups, stuck = self.groups, self.stuck
        self.groups = self.stuck = None
        return replace(self, cut_calls=cut_calls, groups=groups, stuck=stuck), late

    def grown(self, entry: Entry, cut_calls: tuple[CutCall, ...] | None = None) -> Window:
        """Return the window with *entry*, all of it, at its end."""
        last = self.shared[self.size - 1] if self.size else None
        groups, stuck = self.groups, self.stuck
        self.groups = self.stuck = None
        shared = self.shared
        if len(shared) != self.size:  # a sibling has grown already: this one goes its own way
            shared = shared[: self.size]
            groups = stuck = None
            seen: list[Groups] = []
        else:
            seen = self.seen
        shared.append(entry)
        pins = self.pinned == self.size and follows_pinned(entry, last, self.size)
        return Window(
            shared=shared,
            size=self.size + 1,
            tokens=self.tokens + entry.tokens,
            weight=self.weight + weight_of(entry),
            cut_calls=self.cut_calls if cut_calls is None else cut_calls,
            pinned=self.pinned + pins,
            opened_at=self.opened_at,
            groups=groups,
            stuck=stuck,
            seen=seen,
        )


def _of_cut_calls(
    pairing: Pairing, entry: Entry
) -> tuple[set[int], list[Call], list[ToolReference]]:
    """
    Find the results in *entry*, by place, of calls that were cut, and which these answer.

    The third are those of these results that answer nothing.
    """
    places: set[int] = set()
    answered: list[Call] = []
    late: list[ToolReference] = []
    made: set[str] = set()
    for reference in entry.tool_references:
        if not reference.answers:
            made |= {reference.id, reference.name} - {""}
            continue
        if reference.id in made or (not reference.id and reference.name in made):
            continue  # answers a call of this message
        call = pairing.match(reference)
        if call is None or call in answered:
            call = pairing.owner(reference)
            if call is not None and call.at == GHOST:
                late.append(reference)
        elif call.at == GHOST:
            answered.append(call)
        if call is not None and call.at == GHOST:
            places.update(reference.places)
    return places, answered, late


def weight_of(entry: Entry) -> int:
    """Estimate the bytes that *entry* takes in memory."""
    counts = entry.counts
    weight = ENTRY_BYTES + len(entry.body) + PART_BYTES * (len(counts.parts) + len(counts.keys))
    for reference in entry.tool_references:
        weight += TOOL_REFERENCE_BYTES + len(reference.id)
    return weight


def replaced(before: Window, entries: Sequence[Entry]) -> Window:
    """
    Make a window of exactly these *entries*, in place of *before*.

    A call that is not among them counts as cut, unless a synthetic message makes it again.
    """
    pairing = before.grouped().finish_ghosts().pairing
    there = {
        (entry.seq, reference.place)
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
    # What was cut before and stands in a reference now has come back.
    back = {entry.seq for entry in entries if entry.seq is not None and entry.tool_references}
    cut = [call for call in pairing.remembered() if call.seq not in back]
    for at, calls in pairing.calls.items():
        seq = listed[at].seq
        cut += [
            call.cut for call in calls if seq is None or (seq, call.reference.place) not in there
        ]
    left = [call for call in cut if (call.is_request, call.id) not in again or not call.id]
    return Window.of(entries, newest_calls(left), pinned_run(entries), pairing.opened_at)


class WindowSegment(NamedTuple):
    """A run of window entries of one kind, as a reader sees it: `live` or `summary`."""

    kind: str
    from_seq: int
    to_seq: int


def segments(entries: Iterable[Entry]) -> list[WindowSegment]:
    """List the runs of *entries* that are references to the log and that are synthetic."""
    runs: list[WindowSegment] = []
    kind, from_seq, to_seq = "", 0, 0
    for entry in entries:
        entry_kind = "summary" if entry.seq is None else "live"
        if entry_kind != kind:
            if kind:
                runs.append(WindowSegment(kind, from_seq, to_seq))
            kind = entry_kind
            from_seq = entry.covers_from if entry.seq is None else entry.seq
        to_seq = entry.at_seq
    if kind:
        runs.append(WindowSegment(kind, from_seq, to_seq))
    return runs


class Run(msgspec.Struct, frozen=True, omit_defaults=True):
    """
    A segment as it is stored: entries that follow each other.

    Attributes:
        from_seq: First seq it covers.
        to_seq: Last seq it covers.
        gone: Seqs in between that are not in the window, as first and last of each range, in turn.
        without: What was taken out of its messages: of each its seq, or its position in the
            replacement, and then ranges of places as in *gone*.
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
    A window as it is stored.

    Attributes:
        through: The last seq of the log when this was written; what came later was admitted.
        runs: Its segments, in order.
        cut_calls: Calls that left the window; see `CutCall`.
        pinned: How many of its entries are pinned.
        opened_at: See `Window`.
        task: Where the entries that stayed as the task begin and end, half open.
        rules: The version of the rules by which what came later was admitted; absent it is 1.
    """

    through: int = 0
    runs: tuple[Run, ...] = ()
    cut_calls: tuple[CutCall, ...] = ()
    pinned: int = 0
    opened_at: int = 0
    task: tuple[int, int] = (0, 0)
    rules: int = 1

    @property
    def segments(self) -> list[WindowSegment]:
        """The segments of the window as it was when this was written; see `segments`."""
        found: list[WindowSegment] = []
        kind, from_seq, to_seq = "", 0, 0
        for run in self.runs:
            run_kind = "live" if run.replacement is None else "summary"
            if run_kind != kind:
                if kind:
                    found.append(WindowSegment(kind, from_seq, to_seq))
                kind, from_seq = run_kind, run.from_seq
            to_seq = run.to_seq
        if kind:
            found.append(WindowSegment(kind, from_seq, to_seq))
        return found

    def encode(self) -> bytes:
        """Write it as JSON."""
        return msgspec.json.encode(self)

    @staticmethod
    def decode(text: bytes) -> Persisted:
        """Read what `encode` wrote."""
        return _persisted_decoder.decode(text)


_persisted_decoder = msgspec.json.Decoder(Persisted)


def persisted(window: Window, last_seq: int) -> Persisted:
    """Write down *window*, of a context whose log ends at *last_seq*."""
    task = [index for index, entry in enumerate(window) if entry.is_task]
    return Persisted(
        through=last_seq,
        runs=tuple(map(_run, _stretches(window))),
        cut_calls=window.cut_calls,
        pinned=window.pinned,
        opened_at=window.opened_at,
        task=(task[0], task[-1] + 1) if task else (0, 0),
        rules=RULES,
    )


def _stretches(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    """Divide the *entries* into those that make one run each."""
    run: list[Entry] = []
    for entry in entries:
        if run and not _follows(entry, run[-1]):
            yield run
            run = []
        run.append(entry)
    if run:
        yield run


def _follows(entry: Entry, last: Entry) -> bool:
    """Tell whether *entry* may stand in one run with *last*, which comes before it."""
    if entry.seq is not None:
        return last.seq is not None and entry.seq - last.seq <= GAP_MAX + 1
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
        if following.at_seq != entry.at_seq + 1:
            gone += [entry.at_seq + 1, following.at_seq - 1]
    return Run(first.at_seq, last.at_seq, tuple(gone), without)


def _number(entry: Entry) -> int:
    return entry.position if entry.seq is None else entry.seq


def number_ranges(numbers: Iterable[int]) -> list[int]:
    """Write ascending *numbers* as first and last of each range, in turn."""
    found: list[int] = []
    for number in numbers:
        if found and number == found[-1] + 1:
            found[-1] = number
        else:
            found += [number, number]
    return found


def _numbers(flat: Sequence[int]) -> Iterator[int]:
    """Give the numbers that `_ranges` wrote."""
    for first, last in zip(flat[::2], flat[1::2], strict=True):
        yield from range(first, last + 1)


def rebuild(
    stored: Persisted,
    log: Callable[[int, int], Sequence[Entry]],
    replacement: Callable[[int, int, int], Sequence[Entry]],
    last_seq: int,
) -> Window:
    """
    Make the window of its stored form again.

    Args:
        stored: What `persisted` wrote.
        log: Gives the entries of the log between two seqs, inclusive, as they were appended.
        replacement: Gives the synthetic entries of the replacement of a version, from one position
            to another, inclusive; what they cover is filled in here.
        last_seq: Where the log ends now.
    """
    assert stored.rules == RULES, f"rules {stored.rules} of stored windows are unknown"
    entries: list[Entry] = []
    for run in stored.runs:
        if run.replacement is None:
            found = log(run.from_seq, run.to_seq)
        else:
            found = [
                replace(entry, covers_from=run.from_seq, covers_to=run.to_seq)
                for entry in replacement(run.replacement, run.first, run.last)
            ]
        entries += _as_they_are(found, run) if run.gone or run.without else found
    for index in range(*stored.task):
        entries[index] = replace(entries[index], is_task=True)
    window = Window.of(entries, stored.cut_calls, stored.pinned, stored.opened_at)
    for entry in log(stored.through + 1, last_seq):
        window = window.admit(entry)
    return window


def _as_they_are(found: Iterable[Entry], run: Run) -> Iterator[Entry]:
    """Take out of each entry what it has lost."""
    gone = frozenset(_numbers(run.gone))
    without = {number: flat for number, *flat in run.without}
    for entry in found:
        number = _number(entry)
        if number in without:
            left = taken_out(entry, frozenset(_numbers(without[number])))
            assert left is not None, "what is stored of a window was left of its messages"
            yield left
        elif entry.seq is None or number not in gone:
            yield entry


def ranges(stored: Persisted, last_seq: int) -> list[tuple[int, int]]:
    """List the seqs of the log, as inclusive ranges, that rebuilding needs."""
    found = [(run.from_seq, run.to_seq) for run in stored.runs if run.replacement is None]
    if stored.through < last_seq:
        found.append((stored.through + 1, last_seq))
    return found
