"""
The window: the ordered entries that are the LLM context before it is fitted to one read.

In memory a window is its entries. In a store it is tiny: the list of its segments and what the log
holds already. `persisted` writes that form, `rebuild` makes the same entries of it again, byte for
byte, and that is what makes a restart, an eviction and another node see the same window.

A window grows at its end for as long as nothing is compacted, so a stored form says *through* which
seq it reaches; every message of the log after that has simply been admitted. Admission has one
rule: the result of a call that a compaction cut out stays out too, since a model's provider refuses
results without calls. `cut_calls` remembers those calls.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from heapq import merge
from itertools import islice
from typing import Final, NamedTuple

import msgspec
from msgspec.structs import replace

from fastpaca.context.calls import KEYS, Mark, Side, pair
from fastpaca.context.held import Held
from fastpaca.context.message import Entry, Form
from fastpaca.context.pinned import follows_pinned, pinned_run
from fastpaca.context.strip import strip, without_results

CUT_CALLS_MAX: Final = 256
"""How many cut calls are remembered; the newest are the ones whose results may still come."""

ENTRY_BYTES: Final = 350
"""What an entry takes in memory beside its JSON text: the entry, its place, its counts."""

PART_BYTES: Final = 16
"""What the count of a part takes; more than 256 tokens are an object of their own, few are not."""

MARK_BYTES: Final = 120
"""What a mark takes beside its id: the mark, the id as an object, their places."""


class CutCall(NamedTuple):
    """An unanswered call that a compaction took out of the window: its id, the seq it stood at."""

    id: str
    seq: int

    @property
    def marks(self) -> tuple[Mark, ...]:
        """What it looked like, to pair it with its result."""
        return (Mark(KEYS, self.id, Side.CALL),)


class Window(msgspec.Struct, eq=False, gc=False):
    """
    Ordered entries with the sum of their tokens. A value: every change makes a new window.

    Windows that grow from each other share one list, of which each sees its own length, so that an
    append costs the same whatever the window holds.

    Attributes:
        shared: The list; all behind *size* belongs to others.
        size: How many entries there are.
        tokens: What they cost together.
        weight: About how many bytes they take in memory.
        cut_calls: Calls that compactions took out while they waited for their results.
        pinned: How many entries at the beginning no policy may touch.
        held: Why it cannot become smaller, if that is known. It says nothing that the entries do
            not say, only sooner, and goes on to the next window instead of being copied.
    """

    shared: list[Entry] = []
    size: int = 0
    tokens: int = 0
    weight: int = 0
    cut_calls: tuple[CutCall, ...] = ()
    pinned: int = 0
    held: Held | None = None

    @staticmethod
    def of(entries: Iterable[Entry], cut_calls: Iterable[CutCall] = (), pinned: int = 0) -> Window:
        """Make a window of *entries*."""
        listed = list(entries)
        return Window(
            shared=listed,
            size=len(listed),
            tokens=sum(entry.tokens for entry in listed),
            weight=sum(map(weight_of, listed)),
            cut_calls=_newest_calls(cut_calls),
            pinned=pinned,
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
        """Give the same window with a list of its own, that may grow in another thread."""
        return replace(self, shared=self.entries, held=None)

    def admit(self, entry: Entry) -> Window:
        """Let the newest message of the log in, without the results of calls that were cut."""
        answered = self._cut_calls_of(entry)
        if not answered:
            return self._grown(entry, self.cut_calls)
        waiting = Counter(self.cut_calls)
        waiting.subtract(answered.values())
        reduced = without_results(entry, answered.keys())
        if reduced is not None:
            return self._grown(reduced, _newest_calls(waiting.elements()))
        waiting.update(_calls_in(entry))
        held, self.held = self.held, None
        return replace(self, cut_calls=_newest_calls(waiting.elements()), held=held)

    def _grown(self, entry: Entry, cut_calls: tuple[CutCall, ...]) -> Window:
        last = self.shared[self.size - 1] if self.size else None
        held, self.held = self.held, None
        if held is not None and last is not None and not held.takes_in(entry, last):
            held = None
        shared = self.shared
        if len(shared) != self.size:  # a sibling has grown already: this one goes its own way
            shared = shared[: self.size]
        shared.append(entry)
        pins = self.pinned == self.size and follows_pinned(entry, last, self.size)
        return Window(
            shared=shared,
            size=self.size + 1,
            tokens=self.tokens + entry.tokens,
            weight=self.weight + weight_of(entry),
            cut_calls=cut_calls,
            pinned=self.pinned + pins,
            held=held,
        )

    def _cut_calls_of(self, entry: Entry) -> dict[int, CutCall]:
        """Find the results in *entry*, by place, that belong to calls which were cut."""
        if not self.cut_calls:
            return {}
        names = {mark.id for mark in entry.marks if mark.side is Side.RESULT}
        cut = [call for call in self.cut_calls if call.id in names]
        if not cut:
            return {}
        # As they stood in the log: the nearest call counts, be it here or cut.
        present: Iterable[CutCall | Entry] = self
        stood = [*merge(cut, present, key=_last_seq), entry]
        answered = {}
        for call, result in pair(stood).answers:
            answerer = stood[call.at]
            if stood[result.at] is entry and isinstance(answerer, CutCall):
                answered[result.mark.place] = answerer
        return answered


def weight_of(entry: Entry) -> int:
    """Estimate the bytes that *entry* takes in memory."""
    weight = ENTRY_BYTES + len(entry.body) + PART_BYTES * len(entry.counts.parts)
    for mark in entry.marks:
        weight += MARK_BYTES + len(mark.id)
    return weight


def _newest_calls(cut_calls: Iterable[CutCall]) -> tuple[CutCall, ...]:
    by_seq = sorted(cut_calls, key=lambda call: (call.seq, call.id))
    return tuple(by_seq[-CUT_CALLS_MAX:])


def _last_seq(item: CutCall | Entry) -> int:
    return item.seq if isinstance(item, CutCall) else item.at_seq


def replaced(before: Window, entries: Sequence[Entry]) -> Window:
    """
    Make a window of exactly these *entries*, in place of *before*.

    A call that was waiting for its result and is not among them counts as cut, unless a synthetic
    message makes it again.
    """
    waiting = Counter(before.cut_calls)
    listed = before.entries
    for spot in pair(listed).open_calls:
        waiting[CutCall(spot.mark.id, listed[spot.at].at_seq)] += 1
    for entry in entries:
        if entry.marks and entry.seq is not None:
            waiting.subtract(_calls_in(entry))
    left = sorted(waiting.elements(), key=_last_seq)
    for spot in pair(entries).open_calls:
        if entries[spot.at].seq is None:
            _drop_newest(left, spot.mark.id)
    return Window.of(entries, left, pinned_run(entries))


def _calls_in(entry: Entry) -> list[CutCall]:
    made = [mark.id for mark in entry.marks if mark.side is Side.CALL]
    return [CutCall(name, entry.at_seq) for name in made]


def _drop_newest(cut_calls: list[CutCall], name: str) -> None:
    for index in range(len(cut_calls) - 1, -1, -1):
        if cut_calls[index].id == name:
            del cut_calls[index]
            return


class Segment(NamedTuple):
    """A run of window entries of one kind, as a reader sees it: `live` or `summary`."""

    kind: str
    from_seq: int
    to_seq: int


def segments(entries: Iterable[Entry]) -> list[Segment]:
    """List the runs of *entries* that are references to the log and that are synthetic."""
    runs: list[Segment] = []
    kind, from_seq, to_seq = "", 0, 0
    for entry in entries:
        entry_kind = "summary" if entry.seq is None else "live"
        if entry_kind != kind:
            if kind:
                runs.append(Segment(kind, from_seq, to_seq))
            kind = entry_kind
            from_seq = entry.covers_from if entry.seq is None else entry.seq
        to_seq = entry.at_seq
    if kind:
        runs.append(Segment(kind, from_seq, to_seq))
    return runs


class Run(msgspec.Struct, frozen=True, omit_defaults=True):
    """
    A segment as it is stored: entries that follow each other and have lost the same.

    Attributes:
        from_seq: First seq it covers.
        to_seq: Last seq it covers.
        kinds: Skip kinds that were stripped from its messages.
        rules: The version of the stripping rules that did it.
        without: Places of the results that were taken out.
        cut_after: See `Entry`.
        replacement: For synthetic messages, the version of their replacement.
        first: The position of the first of them in the replacement.
        last: The position of the last.
        vanished_before: How many of the seqs it covers vanished before its first message.
        vanished_behind: How many vanished behind its last one.
    """

    from_seq: int
    to_seq: int
    kinds: tuple[str, ...] = ()
    rules: int = 0
    without: tuple[int, ...] = ()
    cut_after: bool = False
    replacement: int | None = None
    first: int = 0
    last: int = 0
    vanished_before: int = 0
    vanished_behind: int = 0

    @property
    def form(self) -> Form | None:
        """What was taken out of each message of the run."""
        taken = Form(self.kinds, self.rules, self.without)
        return None if taken == Form() else taken


class Persisted(msgspec.Struct, frozen=True):
    """
    A window as it is stored.

    Attributes:
        through: The last seq of the log when this was written; what came later was admitted.
        runs: Its segments, in order.
        cut_calls: Calls that compactions cut out unanswered, as (id, seq).
        pinned: How many of its entries are pinned.
    """

    through: int = 0
    runs: tuple[Run, ...] = ()
    cut_calls: tuple[tuple[str, int], ...] = ()
    pinned: int = 0

    @property
    def segments(self) -> list[Segment]:
        """The segments of the window as it was when this was written; see `segments`."""
        found: list[Segment] = []
        kind, from_seq, to_seq = "", 0, 0
        for run in self.runs:
            run_kind = "live" if run.replacement is None else "summary"
            if run_kind != kind:
                if kind:
                    found.append(Segment(kind, from_seq, to_seq))
                kind, from_seq = run_kind, run.from_seq + run.vanished_before
            to_seq = run.to_seq - run.vanished_behind
        if kind:
            found.append(Segment(kind, from_seq, to_seq))
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
    cut_calls = tuple((call.id, call.seq) for call in window.cut_calls)
    runs = tuple(_run(first, last) for first, last in _stretches(window))
    return Persisted(last_seq, runs, cut_calls, window.pinned)


def _stretches(entries: Iterable[Entry]) -> Iterator[tuple[Entry, Entry]]:
    """Give the first and the last of the *entries* that make one run, run by run."""
    first: Entry | None = None
    last: Entry | None = None
    for entry in entries:
        if first is None or last is None or not _follows(entry, last):
            if first is not None and last is not None:
                yield first, last
            first = entry
        last = entry
    if first is not None and last is not None:
        yield first, last


def _follows(entry: Entry, last: Entry) -> bool:
    """Tell whether nothing lies between *last* and *entry*, and both have lost the same."""
    if entry.form != last.form or entry.cut_after != last.cut_after:
        return False
    if entry.seq is not None:
        return last.seq is not None and entry.covers_from == last.covers_to + 1
    return (
        last.seq is None
        and (entry.version, entry.position) == (last.version, last.position + 1)
        and entry.covers_from == last.covers_from
    )


def _run(first: Entry, last: Entry) -> Run:
    form = first.form or Form()
    return Run(
        from_seq=first.covers_from,
        to_seq=last.covers_to,
        kinds=form.kinds,
        rules=form.rules,
        without=form.without,
        cut_after=first.cut_after,
        replacement=first.version if first.seq is None else None,
        first=first.position,
        last=last.position,
        vanished_before=0 if first.seq is None else first.seq - first.covers_from,
        vanished_behind=last.covers_to - last.at_seq,
    )


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
            to another, inclusive; their `covers` are filled in here.
        last_seq: Where the log ends now.
    """
    entries: list[Entry] = []
    for run in stored.runs:
        if run.replacement is None:
            found = log(run.from_seq, run.to_seq)
            entries += _reformed(found, run) if run.form or run.cut_after else found
        else:
            found = replacement(run.replacement, run.first, run.last)
            placed = (
                replace(entry, covers_from=run.from_seq, covers_to=run.to_seq) for entry in found
            )
            entries += _reformed(placed, run)
    window = Window.of(entries, (CutCall(*call) for call in stored.cut_calls), stored.pinned)
    for entry in log(stored.through + 1, last_seq):
        window = window.admit(entry)
    return window


def _reformed(found: Iterable[Entry], run: Run) -> Iterator[Entry]:
    """
    Take out of each entry what its run had lost.

    The next entry covers what vanished before it; the last also covers what vanished behind it.
    """
    form = run.form or Form()
    left = [rest for entry in found if (rest := _taken_out(entry, form)) is not None]
    covered = run.from_seq
    for index, entry in enumerate(left, start=1):
        covers_from, covers_to = entry.covers_from, entry.covers_to
        if entry.seq is not None:
            covers_from = covered
            covers_to = run.to_seq if index == len(left) else entry.seq
            covered = covers_to + 1
        yield replace(entry, covers_from=covers_from, covers_to=covers_to, cut_after=run.cut_after)


def _taken_out(entry: Entry, form: Form) -> Entry | None:
    left: Entry | None = entry
    if form.without:
        left = without_results(entry, form.without)
    if left is not None and form.kinds:
        left = strip(left, form.kinds, form.rules)
    return left


def ranges(stored: Persisted, last_seq: int) -> list[tuple[int, int]]:
    """List the seqs of the log, as inclusive ranges, that rebuilding needs."""
    found = [(run.from_seq, run.to_seq) for run in stored.runs if run.replacement is None]
    if stored.through < last_seq:
        found.append((stored.through + 1, last_seq))
    return found
