"""
The window: the ordered entries that are the LLM context before it is fitted to one read.

In memory a window is its entries. In a store it is tiny: the list of its segments and what the log
holds already. `persisted` writes that form, `rebuild` makes the same entries of it again, byte for
byte, and that is what makes a restart, an eviction and another node see the same window.

A window grows at its end for as long as nothing is compacted, so a stored form says *through* which
seq it reaches; every message of the log after that has simply been admitted. Admission has one rule:
the result of a call that a compaction cut out stays out too, since a model's provider refuses
results without calls. `cut_calls` remembers those calls.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Final, NamedTuple

import msgspec

from fastpaca.context.calls import Side, pair
from fastpaca.context.message import Entry, Form
from fastpaca.context.strip import strip, without_results

CUT_CALLS_MAX: Final = 1000
"""How many cut calls are remembered; the newest are the ones whose results may still come."""


class CutCall(NamedTuple):
    """An unanswered call that a compaction took out of the window: its id, the seq it stood at."""

    id: str
    seq: int


class Window:
    """
    Ordered entries with the sum of their tokens. A value: every change makes a new window.

    The entries of a window and of the windows grown from it share one list, of which each sees its
    own length, so that an append costs the same whatever the window holds.
    """

    __slots__ = ("_list", "_size", "cut_calls", "tokens")

    def __init__(
        self,
        entries: Iterable[Entry] = (),
        cut_calls: tuple[CutCall, ...] = (),
    ) -> None:
        self._list = list(entries)
        self._size = len(self._list)
        self.tokens = sum(entry.tokens for entry in self._list)
        self.cut_calls = cut_calls

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[Entry]:
        return islice(self._list, self._size)

    @property
    def entries(self) -> list[Entry]:
        """The entries, as a list of the caller's own."""
        return self._list[: self._size]

    def admit(self, entry: Entry) -> Window:
        """Let the newest message of the log in, without the results of calls that were cut."""
        admitted = entry
        if self.cut_calls and any(mark.side is Side.RESULT for mark in entry.marks):
            lost = self._results_of_cut_calls(entry)
            reduced = without_results(entry, lost) if lost else entry
            if reduced is None:
                return self
            admitted = reduced
        return self._grown(admitted)

    def _grown(self, entry: Entry) -> Window:
        grown = Window.__new__(Window)
        if len(self._list) == self._size:
            grown._list = self._list
        else:  # a sibling has grown already: this one goes its own way
            grown._list = self._list[: self._size]
        grown._list.append(entry)
        grown._size = self._size + 1
        grown.tokens = self.tokens + entry.tokens
        grown.cut_calls = self.cut_calls
        return grown

    def _results_of_cut_calls(self, entry: Entry) -> set[str]:
        cut = {call.id for call in self.cut_calls}
        if not any(mark.id in cut for mark in entry.marks):
            return set()
        orphans = pair([*self, entry]).orphans
        return {mark.id for index, mark in orphans if index == self._size and mark.id in cut}


class Segment(NamedTuple):
    """A run of window entries of one kind, as a reader sees it: `live` or `summary`."""

    kind: str
    from_seq: int
    to_seq: int


def segments(entries: Iterable[Entry]) -> list[Segment]:
    """List the runs of *entries* that are references to the log and that are synthetic."""
    runs: list[Segment] = []
    for entry in entries:
        kind = "summary" if entry.seq is None else "live"
        from_seq = entry.covers_from if entry.seq is None else entry.seq
        if runs and runs[-1].kind == kind:
            runs[-1] = runs[-1]._replace(to_seq=entry.covers_to)
        else:
            runs.append(Segment(kind, from_seq, entry.covers_to))
    return runs


class Run(msgspec.Struct, frozen=True, omit_defaults=True):
    """
    A segment as it is stored: entries that follow each other and have lost the same.

    Attributes:
        from_seq: First seq it covers.
        to_seq: Last seq it covers.
        kinds: Skip kinds that were stripped from its messages.
        rules: The version of the stripping rules that did it.
        without: Ids whose results were taken out.
        replacement: For synthetic messages, the version of their replacement.
        first: The position of the first of them in the replacement.
        last: The position of the last.
    """

    from_seq: int
    to_seq: int
    kinds: tuple[str, ...] = ()
    rules: int = 0
    without: tuple[str, ...] = ()
    replacement: int | None = None
    first: int = 0
    last: int = 0

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
    """

    through: int = 0
    runs: tuple[Run, ...] = ()
    cut_calls: tuple[tuple[str, int], ...] = ()

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
    runs: list[Run] = []
    for entry in window:
        run = _run_of(entry)
        if runs and (longer := _extended(runs[-1], run)) is not None:
            runs[-1] = longer
        else:
            runs.append(run)
    return Persisted(last_seq, tuple(runs), tuple((call.id, call.seq) for call in window.cut_calls))


def _run_of(entry: Entry) -> Run:
    form = entry.form or Form()
    synthetic = entry.seq is None
    return Run(
        from_seq=entry.covers_from,
        to_seq=entry.covers_to,
        kinds=form.kinds,
        rules=form.rules,
        without=form.without,
        replacement=entry.version if synthetic else None,
        first=entry.position,
        last=entry.position,
    )


def _extended(run: Run, following: Run) -> Run | None:
    """Join two runs into one if what lies between them is nothing."""
    if run.form != following.form or run.replacement != following.replacement:
        return None
    if run.replacement is None:
        if following.from_seq != run.to_seq + 1:
            return None
    elif following.first != run.last + 1 or following.from_seq != run.from_seq:
        return None
    return msgspec.structs.replace(run, to_seq=following.to_seq, last=following.last)


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
            entries += _reformed(log(run.from_seq, run.to_seq), run)
        else:
            found = replacement(run.replacement, run.first, run.last)
            placed = (
                msgspec.structs.replace(entry, covers_from=run.from_seq, covers_to=run.to_seq)
                for entry in found
            )
            entries += _reformed(placed, run)
    window = Window(entries, tuple(CutCall(*call) for call in stored.cut_calls))
    for entry in log(stored.through + 1, last_seq):
        window = window.admit(entry)
    return window


def _reformed(found: Iterable[Entry], run: Run) -> Iterator[Entry]:
    """Take out of each entry what its run had lost; `covers` takes in what vanished before it."""
    form = run.form
    if form is None:
        yield from found
        return
    covered = run.from_seq
    for entry in found:
        left: Entry | None = entry
        if form.without:
            left = without_results(entry, form.without)
        if left is not None and form.kinds:
            left = strip(left, form.kinds, form.rules)
        if left is not None:
            if left.seq is not None:
                left = msgspec.structs.replace(left, covers_from=covered)
                covered = left.covers_to + 1
            yield left


def ranges(stored: Persisted, last_seq: int) -> list[tuple[int, int]]:
    """List the seqs of the log, as inclusive ranges, that rebuilding needs."""
    found = [(run.from_seq, run.to_seq) for run in stored.runs if run.replacement is None]
    if stored.through < last_seq:
        found.append((stored.through + 1, last_seq))
    return found
