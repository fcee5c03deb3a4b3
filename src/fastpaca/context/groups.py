"""
What belongs together in a list of entries, and where it may be cut.

Theory of operation
-------------------

`Groups` reads entries from the oldest to the newest, each once, and knows after each of them:

- **Pairs.** A result belongs to the nearest earlier call with its id that runs. A result without an
  id takes the oldest call of its name, or if it has no name the oldest of any, in the newest step
  that has one; so does a result with an id that no call has, among the calls without ids.
- **Running calls.** A call runs until it has its result, until a message opens the next turn, or
  until a call of a later step has its result. A running call and all that follows it can't be cut.
- **Strays.** A second result, and one that comes when its call no longer runs, binds nothing. It
  goes with its call, the nearest of that id, else of that name.
- **Spans.** From a call to its result, to the request for its approval and to the answer of that;
  from an assistant message to the next one, if the first ends in reasoning or the second holds a
  call that runs or is answered by another message, and not the result of an earlier call.
- **Cut points.** A place that no span reaches over; or one before a message that makes a call, if
  all spans that reach over it end in that message and are results, which are then taken out of it.

Spans never change once no call runs before their end, so the places are decided from left to right
and each of them once: an append costs the same however long a step has become.

Decisions that the rules leave open:

- Only results that bind count in "a call after a result begins a new step", so that a stray between
  parallel calls doesn't end the step of the earlier ones.
- A closed part that holds a call and its result is no call of any step.
- A call that was cut counts as one of an earlier step than all that are here: of which it was is
  forgotten.
- A result that has neither an id nor a name is a stray of the nearest call of any.
- A result with an id that no call has is a stray of the nearest call of its name without an id; if
  there is none, nothing is known of it and it stays.
- What stands between an assistant message that ends in reasoning and the end of the conversation is
  held to it until the next message says whether the reasoning led to it.
- A synthetic message is no part of a reply: no message is held to it for coming after it.
- A request is a call and its answer a result, besides what binds it to the call it is about.

Calls that were cut are remembered by the window (`Cut calls`) and are read as if they stood at
their places, so that a result finds the nearest call, be it here or gone.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence
from itertools import accumulate, chain
from typing import Final, NamedTuple

from fastpaca.context.message import Entry
from fastpaca.shapes import (
    WHOLE_PLACE,
    Mark,
    Reading,
    Shape,
    Side,
    Speaker,
)

GHOST: Final = -1
"""Where a call stands that was cut."""

_STRAY: Final = frozenset({Shape.GONE, Shape.PAGE, Shape.BLANK, Shape.RESULT, Shape.RESPONSE})


class CutCall(NamedTuple):
    """
    A call that left the window.

    Attributes:
        seq: Where it stood.
        id: Its id; empty if it has none.
        name: The name of its tool.
        state: `answered`, `running` or `stopped`.
        is_request: Whether it is a request for approval.
        alias: Another id of it.
    """

    seq: int
    id: str
    name: str
    state: str
    is_request: bool = False
    alias: str = ""


RUNNING: Final = "running"
STOPPED: Final = "stopped"
ANSWERED: Final = "answered"
_STATES: Final = {state: state for state in (RUNNING, STOPPED, ANSWERED)}


class Call:
    """
    A call of the conversation.

    Attributes:
        at: The index of its entry; `GHOST` if it was cut.
        seq: Where it stands in the log.
        mark: Its mark.
        step: The step it belongs to.
        state: Whether it runs, has stopped, or has its result.
        about: Of a request, the call that it asks for.
        results: Where its results and strays stand: index of the entry, and mark.
        requests: The requests that ask for it.
    """

    __slots__ = ("about", "at", "mark", "requests", "results", "seq", "state", "step")

    def __init__(self, at: int, seq: int, mark: Mark, step: int, state: str) -> None:
        self.at = at
        self.seq = seq
        self.mark = mark
        self.step = step
        self.state = state
        self.about: Call | None = None
        self.results: list[tuple[int, Mark]] = []
        self.requests: list[Call] = []

    @property
    def cut(self) -> CutCall:
        """What is remembered of it once it was cut."""
        mark = self.mark
        is_request = mark.side is Side.REQUEST
        return CutCall(self.seq, mark.id, mark.name, self.state, is_request, mark.alias)


class _Step:
    """The calls of one step that may still be taken by a result without an id, oldest first."""

    __slots__ = ("by_name", "number")

    def __init__(self, number: int) -> None:
        self.number = number
        self.by_name: dict[tuple[str, bool, str], deque[Call]] = {}

    def add(self, call: Call) -> None:
        mark = call.mark
        for without_id in (False,) if mark.id else (False, True):
            for name in (mark.name, "") if mark.name else ("",):
                key = (_space(mark), without_id, name)
                self.by_name.setdefault(key, deque()).append(call)

    def oldest(self, mark: Mark) -> Call | None:
        """Return the oldest running call that the result *mark*, which no id binds, may take."""
        waiting = self.by_name.get((_space(mark), bool(mark.id), mark.name))
        while waiting:
            if waiting[0].state is RUNNING:
                return waiting[0]
            waiting.popleft()
        return None


def _space(mark: Mark) -> str:
    """Requests for approval and their answers have ids of their own."""
    return "?" if mark.side is Side.REQUEST or mark.side is Side.RESPONSE else "="


class Groups:
    """
    What belongs together in a list of entries; see the module.

    Args:
        entries: The list; it may grow behind what was read.
        pinned: How many entries at the beginning are pinned.
        ghosts: Calls that were cut, by seq.
        opened_at: Seq of the newest message that opened a turn, here or cut: calls before it don't
            run.

    Attributes:
        entries: The list.
        size: How many entries were read.
        sums: Tokens of all entries before an index.
        turn: Per entry the index of the message that opened its turn; -1 if there is none.
        marked: Per index that is a value of `turn`, the first entry of that turn that makes a call.
        cuts: Places where a cut may fall, ascending.
        newest_at: Per entry, where the newest block began once it had been read.
        calls: The calls of each entry that makes any.
        bonds: The results of each entry that holds any, with the call that each belongs to.
        compactions: The entries that hold a compaction part, ascending.
        opened_at: As the argument, and what was read since.
        unpaired: Of the entry that was read last, the results that bind nothing.
    """

    def __init__(
        self,
        entries: Sequence[Entry],
        pinned: int = 0,
        ghosts: Iterable[CutCall] = (),
        opened_at: int = 0,
    ) -> None:
        self.entries = entries
        self._pinned = pinned
        self._ghosts = deque(sorted(ghosts))
        self._barrier = opened_at
        self.opened_at = opened_at
        self.size = 0
        self.sums = [0]
        self.turn: list[int] = []
        self.marked: dict[int, int] = {}
        self.newest_at: list[int] = []
        self.calls: dict[int, list[Call]] = {}
        self.bonds: dict[int, list[tuple[Mark, Call]]] = {}
        self.compactions: list[int] = []
        self.all_ghosts: list[Call] = []
        self.unpaired: list[Mark] = []
        # Pairing.
        self._by_id: dict[str, list[Call]] = {}
        self._by_name: dict[str, list[Call]] = {}
        self._every: list[Call] = []
        self._running: OrderedDict[int, Call] = OrderedDict()
        self._running_ghosts: list[Call] = []
        self._ghost_step = _Step(GHOST)
        self._steps: list[_Step] = []
        self._step = 0
        self._has_result = False
        # Deciding places, from left to right.
        self.cuts: list[int] = []
        self.with_removal: set[int] = set()
        self._settled = 0
        self._hard = -1
        self._soft = -1
        self._reach: dict[int, int] = {}
        self._soft_reach: dict[int, int] = {}
        self._speaker = -1
        self._withheld: list[int] = []
        self._strays: set[int] = set()
        self._stray_marks: dict[int, int] = {}
        self._earlier_results: set[int] = set()
        self._foreign: set[int] = set()

    @property
    def calls_read(self) -> int:
        """How many calls have been read, those that were cut included."""
        return len(self._every)

    def read(self, size: int) -> Groups:
        """Read on until *size* entries are read."""
        for index in range(self.size, size):
            self._read(index, self.entries[index])
        if self._barrier:  # the message that opened the newest turn came after all of these
            self._pass_barrier()
        return self

    # --- reading ---

    def _read(self, index: int, entry: Entry) -> None:
        reading = entry.reading
        if self._barrier and entry.at_seq >= self._barrier:
            self._pass_barrier()
        self.size = index + 1
        self.sums.append(self.sums[-1] + entry.counts.total)
        if self._ghosts and self._ghosts[0].seq <= entry.at_seq:
            self._read_ghosts(entry.at_seq)
        if reading.opens_turn:
            self._open_turn(entry)
            turn = index if index >= self._pinned else -1
        else:
            turn = self.turn[-1] if self.turn else -1
        self.turn.append(turn)
        self.unpaired.clear()
        if reading.marks:
            for mark in reading.marks:
                if not mark.answers:
                    self.marked.setdefault(turn, index)
                self._read_mark(index, entry, mark)
            if index in self._stray_marks:
                self._note_strays(index, reading)
        if reading.holds_summary:
            self.compactions.append(index)
        self._settle()
        self.newest_at.append(self.newest())

    def _read_ghosts(self, at_seq: int) -> None:
        while self._ghosts and self._ghosts[0].seq <= at_seq:
            ghost = self._ghosts.popleft()
            side = Side.REQUEST if ghost.is_request else Side.CALL
            mark = Mark(WHOLE_PLACE, side, ghost.id, ghost.name, ghost.alias)
            call = self._make(GHOST, ghost.seq, mark, ghost.state)
            self.all_ghosts.append(call)

    def finish_ghosts(self) -> Groups:
        """Read the ghosts that stood after all entries."""
        if self._ghosts:
            self._read_ghosts(self._ghosts[-1].seq)
        return self

    def _pass_barrier(self) -> None:
        self._read_ghosts(self._barrier - 1)
        self._barrier = 0
        self._stop_calls()
        self._settle()
        if self.newest_at:
            self.newest_at[-1] = self.newest()

    def _open_turn(self, entry: Entry) -> None:
        self._stop_calls()
        self.opened_at = max(self.opened_at, entry.at_seq)

    def _stop_calls(self) -> None:
        for call in self._running.values():
            call.state = STOPPED
        self._running.clear()
        self._steps.clear()
        self._has_result = False
        self._stop_ghosts()

    def _stop_ghosts(self) -> None:
        for call in self._running_ghosts:
            if call.state is RUNNING:
                call.state = STOPPED
        self._running_ghosts.clear()

    def _read_mark(self, index: int, entry: Entry, mark: Mark) -> None:
        if mark.side is Side.RESULT or mark.side is Side.RESPONSE:
            self._read_result(index, mark)
            return
        if mark.side is Side.BOTH:
            earlier = self._nearest_running(mark) if mark.id else None
            if earlier is not None and earlier.mark.side is Side.BOTH:
                self._answer(earlier, index, mark, is_hard=True)
        is_open = mark.side is not Side.BOTH or mark.is_open
        call = self._make(index, entry.at_seq, mark, RUNNING if is_open else ANSWERED)
        self.calls.setdefault(index, []).append(call)
        if mark.link:
            self._bind_request(call, index)

    def _make(self, at: int, seq: int, mark: Mark, state: str) -> Call:
        state = _STATES[state]  # one object each, as they are compared by identity
        is_ghost = at == GHOST
        if state is not ANSWERED and self._has_result and not is_ghost:
            self._step += 1
            self._has_result = False
        call = Call(at, seq, mark, GHOST if is_ghost else self._step, state)
        space = _space(mark)
        for name in (mark.id, mark.alias):
            if name:
                self._by_id.setdefault(space + name, []).append(call)
        if mark.name:
            self._by_name.setdefault(space + mark.name, []).append(call)
        self._every.append(call)
        if state is RUNNING and is_ghost:
            self._running_ghosts.append(call)
            self._ghost_step.add(call)
        elif state is RUNNING:
            self._running[id(call)] = call
            if not self._steps or self._steps[-1].number != self._step:
                self._steps.append(_Step(self._step))
            self._steps[-1].add(call)
        return call

    def _bind_request(self, request: Call, index: int) -> None:
        known = self._by_id.get("=" + request.mark.link)
        if not known or (known[-1].at != GHOST and known[-1].at < self.turn[index]):
            return
        request.about = known[-1]
        known[-1].requests.append(request)
        if known[-1].at not in (GHOST, index):
            self._span(known[-1].at, index, is_hard=True)

    def _read_result(self, index: int, mark: Mark) -> None:
        call = self.match(mark)
        if call is not None:
            self._answer(call, index, mark, is_hard=False)
            if mark.denies and call.about is not None and call.about.state is RUNNING:
                self._answer(call.about, index, mark, is_hard=False)
            return
        self.unpaired.append(mark)
        owner = self.owner(mark)
        # A result that a caller has put back without its call is a message like others.
        if owner is not None and owner.at != GHOST:
            owner.results.append((index, mark))
            self.bonds.setdefault(index, []).append((mark, owner))
            self._stray_marks[index] = self._stray_marks.get(index, 0) + 1
            if owner.at != index:
                self._earlier_results.add(index)

    def match(self, mark: Mark) -> Call | None:
        """Return the running call that the result *mark* belongs to; None if it binds nothing."""
        space = _space(mark)
        if mark.id and space + mark.id in self._by_id:
            return self._nearest_running(mark)
        for step in chain(reversed(self._steps), (self._ghost_step,)):
            found = step.oldest(mark)
            if found is not None:
                return found
        return None

    def _nearest_running(self, mark: Mark) -> Call | None:
        for call in reversed(self._by_id.get(_space(mark) + mark.id, ())):
            if call.state is not ANSWERED:
                return call if call.state is RUNNING else None
        return None

    def owner(self, mark: Mark) -> Call | None:
        """Return the call that a result which binds nothing belongs to; None if none is known."""
        space = _space(mark)
        if mark.id:
            known = self._by_id.get(space + mark.id)
            if known:
                return known[-1]
        if mark.name or mark.id:
            named = self._by_name.get(space + mark.name, ())
            return next((c for c in reversed(named) if not (mark.id and c.mark.id)), None)
        return next((c for c in reversed(self._every) if _space(c.mark) == space), None)

    def _answer(self, call: Call, index: int, mark: Mark, *, is_hard: bool) -> None:
        self._running.pop(id(call), None)
        call.state = ANSWERED
        call.results.append((index, mark))
        self.bonds.setdefault(index, []).append((mark, call))
        if call.at == GHOST:  # its result is no part of the window, and counts for nothing in it
            return
        if call.at != index:
            self._foreign.add(call.at)
            self._earlier_results.add(index)
            self._span(call.at, index, is_hard=is_hard)
        self._has_result = True
        self._stop_ghosts()
        while self._running:
            oldest = next(iter(self._running.values()))
            if oldest.step >= call.step:
                break
            oldest.state = STOPPED
            del self._running[id(oldest)]
        if self._steps and self._steps[0].number < call.step:
            self._steps = [step for step in self._steps if step.number >= call.step]

    def consume(self, call: Call) -> None:
        """Note that the result of a call that was cut has come, and stays out."""
        call.state = ANSWERED

    def _note_strays(self, index: int, reading: Reading) -> None:
        """Note a message that holds nothing but strays."""
        if self._stray_marks.get(index, 0) == len(reading.marks):
            is_whole = any(mark.place == WHOLE_PLACE for mark in reading.marks)
            if is_whole or _STRAY.issuperset(reading.shapes):
                self._strays.add(index)

    # --- deciding places ---

    def _span(self, start: int, end: int, *, is_hard: bool) -> None:
        """Bind the entries from *start* to *end*."""
        if start < self._settled:
            self._hard = max(self._hard, end)
            self._forget_after(start)
            return
        reach = self._reach if is_hard else self._soft_reach
        reach[start] = max(reach.get(start, -1), end)

    def _forget_after(self, start: int) -> None:
        while self.cuts and self.cuts[-1] > start:
            self.with_removal.discard(self.cuts.pop())
        self._withheld = [place for place in self._withheld if place <= start]

    def _settle(self) -> None:
        """Decide all places up to the first entry whose call runs."""
        end = next((call.at for call in self._running.values()), self.size)
        while self._settled < end:
            self._decide(self._settled)

    def _decide(self, place: int) -> None:
        entry = self.entries[place]
        kind = entry.reading.speaker
        is_joined = False
        if kind == Speaker.PASSED:
            if self._speaker >= 0 and self.entries[self._speaker].reading.ends_in_reasoning:
                is_joined = True
                if self._is_free(place):
                    self._withheld.append(place)
                    if self._soft == place:
                        self.with_removal.add(place)
        elif kind == Speaker.ASSISTANT and self._joins(place, runs=False):
            is_joined = True
            self._hard = max(self._hard, place)
            self._forget_after(self._speaker)
            self._withheld.clear()
        else:
            self.cuts += self._withheld
            self._withheld.clear()
        if not is_joined and self._is_free(place):
            self.cuts.append(place)
            if self._soft == place:
                self.with_removal.add(place)
        if kind != Speaker.PASSED:
            is_reply = kind == Speaker.ASSISTANT and entry.seq is not None
            self._speaker = place if is_reply and not _ends_with_summary(entry) else -1
        self._hard = max(self._hard, self._reach.pop(place, -1))
        self._soft = max(self._soft, self._soft_reach.pop(place, -1))
        self._settled = place + 1

    def _is_free(self, place: int) -> bool:
        """Tell whether no span of what was settled reaches over *place*."""
        if place == 0:
            return True
        if self._hard >= place or self._soft > place or place in self._strays:
            return False
        entries = self.entries
        if entries[place].is_task and entries[place - 1].is_task:
            return False
        return self._soft < place or self._makes_call(place)

    def _makes_call(self, place: int) -> bool:
        calls = self.calls.get(place, ())
        return any(call.mark.side is not Side.BOTH or call.mark.is_open for call in calls)

    def _joins(self, place: int, *, runs: bool) -> bool:
        """Tell whether the assistant message at *place* is held to the one before it."""
        if self._speaker < 0 or place in self._earlier_results:
            return False
        if runs or place in self._foreign:
            return True
        return self.entries[self._speaker].reading.ends_in_reasoning

    def newest(self) -> int:
        """Return where the newest block begins."""
        place = self._settled
        if place == self.size:
            return self.cuts[-1] if self.cuts else 0
        if self.entries[place].reading.speaker == Speaker.ASSISTANT and self._joins(
            place, runs=True
        ):
            return self.cuts[bisect_right(self.cuts, self._speaker) - 1]
        if self._is_free(place):
            return place
        return self.cuts[-1]

    # --- asking ---

    def cut_places(self) -> list[int]:
        """List all places where a cut may fall."""
        newest = self.newest()
        return self.cuts if self.cuts and newest <= self.cuts[-1] else [*self.cuts, newest]

    def whole_cuts(self) -> list[int]:
        """
        List the places where a cut takes nothing out of what stays, for whoever cuts by hand.

        None is between a call and a stray of it, either. The end is among them if all may go: no
        call runs, and no reasoning waits for what it led to.
        """
        newest = self.newest()
        inside = [0] * (self.size + 2)
        for at, calls in self.calls.items():
            end = max((index for call in calls for index, _ in call.results), default=at)
            inside[at + 1] += 1
            inside[max(end, at) + 1] -= 1
        depths = list(accumulate(inside))
        whole = [
            place
            for place in (self.cut_places() if self.size else ())
            if place <= newest and not depths[place] and not self.needs_removal(place)
        ]
        waits = self._speaker >= 0 and self.entries[self._speaker].reading.ends_in_reasoning
        return whole if self._settled < self.size or waits else [*whole, self.size]

    def needs_removal(self, place: int) -> bool:
        """Tell whether a cut at *place* takes results out of the message there."""
        return place in self.with_removal or (place == self._settled and self._soft == place)


def _ends_with_summary(entry: Entry) -> bool:
    """Tell whether *entry* ends with a compaction part, right after which a cut may fall."""
    return entry.reading.shapes.endswith(_SUMMARY)


_SUMMARY: Final = bytes([Shape.COMPACTION])


def floor_of(places: Sequence[int], index: int) -> int:
    """Return the last of *places* that is not after *index*."""
    return places[bisect_right(places, index) - 1]


def next_of(places: Sequence[int], index: int, end: int) -> int:
    """Return the first of *places* from *index* on; *end* if there is none before that."""
    at = bisect_left(places, index)
    return min(places[at], end) if at < len(places) else end
