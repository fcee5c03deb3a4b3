"""
What became of each message of the log in one view, and what did it.

Theory of operation
-------------------

The window and the view say of every seq whether it is there and how it stands there. What is not
there left with an earlier rewrite, and the stored windows say with which: `look_back` takes them
from the newest to the oldest, and each of two that follow each other is compared with the next. A
message that came between two of them was there when the later one was made.

Seqs are held as ranges, so that a rewrite costs what its stored window has, and not what the log
has. Looking back ends as soon as the newest `RANGES_MAX` ranges are known, and after
`REWRITES_MAX` rewrites in any case, so a long history costs no more than that.

Decisions that the rules leave open:

- A message that a summary covers though an earlier rewrite had dropped it was dropped: nobody who
  wrote the summary had it in the window.
- If the view leaves a summary out, all that it stands for is dropped by the view.
- A message that was left out as it came, since its call had gone, counts as dropped by the first
  rewrite after it, or by the newest one if there is none yet. The same holds for parts of it.
- A message that lost something says so, be it pinned or the task. One that was shortened says that
  before all else.
- A provider's compaction part that stands for what is before it is pinned.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import msgspec

from fastpaca.context.message import Entry
from fastpaca.context.persisted import Run, number_ranges
from fastpaca.context.removal import taken_out
from fastpaca.context.window import Window

RANGES_MAX: Final = 1_000
"""How many ranges are told one by one."""

REWRITES_MAX: Final = 5_000
"""
How many rewrites are looked at. To compare one takes 25 µs, measured on stored windows of agents,
14 KB each with the calls that they remember: 0.13 s for all, besides reading them.
"""

PINNED, TASK, KEPT, STRIPPED, CUT = "pinned", "task", "kept", "stripped", "cut"
DROPPED, SUMMARISED, OLDER = "dropped", "summarised", "older"

STATES: Final = (PINNED, TASK, KEPT, STRIPPED, CUT, DROPPED, SUMMARISED, OLDER)

BY_VIEW: Final = "view"
"""In place of a version: fitting this view did it."""

Span = tuple[int, int]
"""The first and the last of some seqs."""


class Fate(NamedTuple):
    """
    What became of the messages of a range.

    Attributes:
        from_seq: The first of them.
        to_seq: The last of them.
        state: What became of them: `pinned`, `task`, `kept`, `stripped`, `cut`, `dropped` or
            `summarised`; `older` for all that is older than what is told one by one.
        by: The version whose rewrite did it, or `view`; None for what nothing was done to.
    """

    from_seq: int
    to_seq: int
    state: str
    by: int | str | None


class _Rewrite(msgspec.Struct, frozen=True):
    """A stored window (`Persisted`), as far as it says which seqs it has."""

    through: int = 0
    runs: tuple[Run, ...] = ()

    @property
    def live(self) -> list[Span]:
        """The messages that are in it."""
        found: list[Span] = []
        for run in self.runs:
            if run.replacement is None:
                first = run.from_seq
                for start, end in zip(run.gone[::2], run.gone[1::2], strict=True):
                    found.append((first, start - 1))
                    first = end + 1
                found.append((first, run.to_seq))
        return found

    @property
    def summaries(self) -> list[Span]:
        """What its summaries stand for."""
        spans = [(run.from_seq, run.to_seq) for run in self.runs if run.replacement is not None]
        return [span for span in spans if span[0] <= span[1]]

    @property
    def without(self) -> dict[int, tuple[int, ...]]:
        """Places of what its messages have lost, as ranges in turn."""
        return {
            seq: tuple(places)
            for run in self.runs
            if run.replacement is None
            for seq, *places in run.without
        }


_decoder = msgspec.json.Decoder(_Rewrite)


class Explanation:
    """
    Finds out what became of each message.

    Args:
        window: The window.
        view: What was returned of it, in order.
        last_seq: Where the log ends.

    Attributes:
        is_done: Whether looking back further would tell nothing more.
    """

    def __init__(self, window: Window, view: Iterable[Entry], last_seq: int) -> None:
        self._last_seq = last_seq
        self._told: list[Fate] = []
        self._stripped: dict[int, tuple[int, ...]] = {}
        self._newer: tuple[int, _Rewrite] | None = None
        self._seen = 0
        live, shown, hidden = self._look_at(window, {_place(entry): entry for entry in view})
        self._summarised = _joined(shown)
        for first, last in _divided(_joined(hidden), self._summarised)[1]:
            self._tell(first, last, DROPPED, BY_VIEW)
        there = _joined([*live, *shown, *hidden])
        self._lost = _divided([(1, last_seq)] if last_seq else [], there)[1]
        self.is_done = self._top == 0

    def _look_at(
        self, window: Window, view: dict[Span, Entry]
    ) -> tuple[list[Span], list[Span], list[Span]]:
        """Tell what the window and the view say; return what is live, and what summaries cover."""
        live: list[Span] = []
        shown: list[Span] = []
        hidden: list[Span] = []
        replacing = [i for i, e in enumerate(window) if e.reading.holds_summary][-1:]
        for index, entry in enumerate(window):
            left = view.get(_place(entry))
            if entry.seq is None:
                if entry.covers_from <= entry.covers_to:
                    (hidden if left is None else shown).append((entry.covers_from, entry.covers_to))
                continue
            live.append((entry.seq, entry.seq))
            state = _state(entry, left, is_pinned=index < window.pinned or index in replacing)
            if state == STRIPPED and left is not None and left.without == entry.without:
                self._stripped[entry.seq] = tuple(number_ranges(entry.without))
            else:
                by = BY_VIEW if state in _DONE_BY_VIEW else None
                self._tell(entry.seq, entry.seq, state, by)
        return live, shown, hidden

    def _tell(self, from_seq: int, to_seq: int, state: str, by: int | str | None) -> None:
        last = self._told[-1] if self._told else None
        if last is not None and last[1:] == (from_seq - 1, state, by):
            self._told[-1] = last._replace(to_seq=to_seq)
        else:
            self._told.append(Fate(from_seq, to_seq, state, by))

    @property
    def _top(self) -> int:
        """The newest seq of which it is not known yet what did it; 0 if there is none."""
        ends = [spans[-1][1] for spans in (self._lost, self._summarised) if spans]
        return max([*ends, *self._stripped], default=0)

    def look_back(self, rewrites: Sequence[tuple[int, bytes]]) -> None:
        """
        Look at the next older *rewrites*, newest first, and none of them twice.

        Each is its version and the stored form of the window that it left. None at all says that
        there are no more.
        """
        for version, window in rewrites:
            self._look(version, _decoder.decode(window))
        if not rewrites:
            self._look(0, _Rewrite())
        self._seen += len(rewrites)
        self.is_done = (
            not rewrites
            or self._seen >= REWRITES_MAX
            or self._top == 0
            or len(self._newest()) > RANGES_MAX
        )

    def _look(self, version: int, older: _Rewrite) -> None:
        """Find out what the rewrite after *older* did; at first, what came after the newest."""
        arrived = (older.through + 1, self._last_seq)
        if self._newer is None:
            by, after, here = version, _Rewrite(), [arrived]
        else:
            by, after = self._newer
            here = _joined([*older.live, (older.through + 1, after.through)])
        self._newer = (version, older)
        gone, self._lost = _divided(self._lost, _joined([*here, *older.summaries]))
        self._tell_all(gone, DROPPED, by)
        gone, self._summarised = _divided(self._summarised, here)
        summarised, dropped = _divided(gone, _joined(after.summaries))
        self._tell_all(summarised, SUMMARISED, by)
        self._tell_all(dropped, DROPPED, by)
        if self._stripped:
            without = older.without
            for seq, places in list(self._stripped.items()):
                if without.get(seq) != places:
                    del self._stripped[seq]
                    self._tell(seq, seq, STRIPPED, by)

    def _tell_all(self, spans: Iterable[Span], state: str, by: int) -> None:
        for first, last in spans:
            self._tell(first, last, state, by)

    def _newest(self) -> list[Fate]:
        """List what is known without a gap, back from the newest message; newest first."""
        top = self._top
        found: list[Fate] = []
        for piece in sorted(self._told, reverse=True):
            if piece.to_seq <= top:
                break
            if found and found[-1][0] == piece.to_seq + 1 and found[-1][2:] == piece[2:]:
                found[-1] = found[-1]._replace(from_seq=piece.from_seq)
            else:
                found.append(piece)
        return found

    def ranges(self) -> list[Fate]:
        """List all ranges, ascending: together they are the log, and each seq is in one."""
        newest = self._newest()
        told = newest[:RANGES_MAX]
        rest = newest[RANGES_MAX:]
        older = told[-1].from_seq - 1 if told else self._last_seq
        if len(rest) == 1 and rest[0].from_seq == 1:
            told += rest
        elif older:
            told.append(Fate(1, older, OLDER, None))
        return told[::-1]


_DONE_BY_VIEW: Final = frozenset({DROPPED, CUT, STRIPPED})


def _place(entry: Entry) -> Span:
    """Name an entry within its window: a seq, or a replacement and a place in it."""
    return (0, entry.seq) if entry.seq is not None else (entry.version, entry.position)


def _state(entry: Entry, left: Entry | None, *, is_pinned: bool) -> str:
    """Tell what became of a message of the window, of which *left* is in the view."""
    if left is None:
        return DROPPED
    if left.body != entry.body:
        whole = entry if left.without == entry.without else taken_out(entry, left.without)
        return STRIPPED if whole is not None and whole.body == left.body else CUT
    if entry.without:
        return STRIPPED
    if is_pinned:
        return PINNED
    return TASK if left.is_task else KEPT


def _joined(spans: Iterable[Span]) -> list[Span]:
    """Put *spans* in order, and join those that touch or overlap; empty ones go."""
    joined: list[Span] = []
    for first, last in sorted(spans):
        if first > last:
            continue
        if joined and first <= joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], max(joined[-1][1], last))
        else:
            joined.append((first, last))
    return joined


def _divided(spans: Sequence[Span], among: Sequence[Span]) -> tuple[list[Span], list[Span]]:
    """Divide *spans* into what is *among* others and what is not; both are as `_joined` makes."""
    inside: list[Span] = []
    outside: list[Span] = []
    at = 0
    for start, end in spans:
        first = start
        while at < len(among) and among[at][1] < first:
            at += 1
        here = at
        while first <= end and here < len(among) and among[here][0] <= end:
            begin, last = among[here]
            if first < begin:
                outside.append((first, begin - 1))
            inside.append((max(first, begin), min(end, last)))
            first = min(end, last) + 1
            here += 1
        if first <= end:
            outside.append((first, end))
    return inside, outside
