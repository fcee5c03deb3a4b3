"""
Which result belongs to which call.

Theory of operation
-------------------

`Pairing` reads the tool references of messages, from the oldest to the newest, each once:

- **Pairs.** A result belongs to the nearest earlier running call with its id. A result without an
  id belongs to a call of its name, or to any call if it has no name: to the oldest such call in the
  newest step that has one. If no call has its id, the same holds among the calls without ids.
- **Running calls.** A call runs until it has its result, until a message opens the next turn, or
  until a call of a later step has its result.
- **Strays.** A second result, or one that arrives when its call no longer runs, binds nothing. It
  stays or goes with its call: the nearest with its id, else of its name.

The window remembers calls that were cut (`CutCall`). They are read in their places, so that a
result finds the nearest call, whether it is still in the window or not.

No lookup loops over earlier messages, so a tool reference costs the same however many calls wait,
have stopped, or share its id or its name.

Decisions that the rules leave open:

- A call after a result begins a new step, but not after a stray: a stray between parallel calls
  doesn't end the step of the earlier ones.
- A part that holds a call and its result belongs to no step.
- A call that was cut counts as one of an earlier step than all calls in the window, since its own
  step is forgotten. A result that separated steps is forgotten when it is taken out with its call.
- A running call binds nothing after a provider's summary, which replaces it: it counts as cut.
- A result that has neither an id nor a name is a stray of the nearest call.
- A result with an id that no call has is a stray of the nearest call of its name without an id; if
  there is none, it is unrelated to any call, and stays.
- An approval request is also a call, and the response to it a result.
"""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Callable, Iterator
from itertools import islice

from fastpaca.context.calls import GHOST, Call, CallsByName, Ghosts, OpenCalls, order_of, space_of
from fastpaca.context.cut_calls import ANSWERED, CUT_CALLS_MAX, RUNNING, CutCall, newest_calls
from fastpaca.context.message import Entry
from fastpaca.shapes import Side, ToolReference

_RESULT, _BOTH, _RESPONSE = Side.RESULT, Side.BOTH, Side.RESPONSE


class Pairing:
    """
    Pairs the calls and results of a list of entries; see the module.

    Args:
        cut_calls: Calls that were cut, by place.
        opened_at: Place of the newest message that opened a turn and was cut; 0 if none is known.

    Attributes:
        opened_at: The same, including the entries that were read.
        barrier: The argument *opened_at*, until the entries before that message were read, whose
            calls don't run any more; then 0.
        awaited_place: The next place before which `come_to` must be called: the barrier, or a call
            that was cut while it ran.
        size: How many calls were read.
        running_at: The index of the first entry with a running call, or None.
        calls: The calls of each entry that makes any.
        bonds: The results of each entry that holds any, each with its call.
        answered: The earlier entries whose calls the last entry answers.
        bound: The earlier entries that the last entry is bound to, even if its results go.
        unpaired: The results in the last entry that bind nothing.
        strays: For each entry that holds strays, how many.
        answers_earlier: The entries with results or strays of calls in earlier entries.
    """

    def __init__(self, cut_calls: tuple[CutCall, ...], opened_at: int) -> None:
        self.opened_at = opened_at
        self.barrier = opened_at
        self.size = 0
        self.running_at: int | None = None
        self.calls: dict[int, list[Call]] = {}
        self.bonds: dict[int, list[tuple[ToolReference, Call]]] = {}
        self.answered: list[int] = []
        self.bound: list[int] = []
        self.unpaired: list[ToolReference] = []
        self.strays: dict[int, int] = {}
        self.answers_earlier: set[int] = set()
        self._ghosts = Ghosts(cut_calls)
        self._ghosts_to_come = [
            place
            for place in range(len(cut_calls) - 1, -1, -1)
            if cut_calls[place].state == RUNNING
        ]
        self.awaited_place = self._awaited()
        self._seq: float = 0
        self._by_id: dict[str, list[Call]] = {}
        self._names = CallsByName()
        self._named = 0  # how many cut calls can be found by name, besides those that ran
        self._open = OpenCalls()
        self._open_ghosts = OpenCalls()
        self._replaced = OpenCalls()
        self._step = 0
        self._has_result = False

    # --- reading ---

    def come_to(self, seq: int) -> None:
        """Read the calls up to *seq* that were cut while running."""
        cut_calls, waiting = self._ghosts.cut_calls, self._ghosts_to_come
        while waiting and cut_calls[waiting[-1]].seq <= seq:
            ghost = self._ghosts.call(waiting.pop())
            self._names.unsorted.append(ghost)
            self._open_ghosts.calls.append(ghost)
        self.awaited_place = self._awaited()

    def _awaited(self) -> float:
        waiting = self._ghosts_to_come
        ghost = self._ghosts.cut_calls[waiting[-1]].seq if waiting else math.inf
        return min(ghost, self.barrier or math.inf)

    def stand_at(self, seq: int) -> None:
        """Find calls up to *seq* from now on."""
        self._seq = seq

    def finish(self) -> None:
        """Read the cut calls after all entries."""
        if self._ghosts_to_come:
            self.come_to(self._ghosts.last_seq)
        self._seq = math.inf

    def pass_barrier(self) -> None:
        """Record that the next entry comes after the message that opened the newest turn."""
        self.come_to(self.barrier - 1)
        self.barrier = 0
        self.awaited_place = self._awaited()
        self._stop()

    def open_turn(self, seq: int) -> None:
        """Record that the message at *seq* opens a turn."""
        self._stop()
        self.opened_at = max(self.opened_at, seq)

    def _stop(self) -> None:
        """Stop all running calls."""
        for calls in (self._open, self._open_ghosts, self._replaced):
            if calls.calls:
                calls.stop_before(math.inf)
        self.running_at = None
        self._has_result = False

    def replace_running(self) -> None:
        """Record that the next entry holds a provider's summary."""
        running = self._open.take_running()
        for call in running:
            call.step = GHOST
        self._replaced.calls += running
        self._has_result |= bool(running)  # later calls are of a later step
        self.running_at = None

    def read(self, index: int, entry: Entry, turn: int) -> None:
        """Read the tool references of *entry*, in the turn that began at *turn*."""
        self.answered.clear()
        self.bound.clear()
        self.unpaired.clear()
        self._seq = entry.covers_to
        for reference in entry.reading.tool_references:
            side = reference.side
            if side is _RESULT or side is _RESPONSE:
                self._read_result(index, reference)
                continue
            state = RUNNING
            if side is _BOTH:
                self._read_earlier_state(index, reference)
                state = RUNNING if reference.is_open else ANSWERED
            call = self._make(index, entry.covers_to, reference, state)
            if reference.link:
                self._bind_request(call, index, turn)
        first = self._open.first()
        self.running_at = None if first is None else first.at

    def _read_earlier_state(self, index: int, reference: ToolReference) -> None:
        """Let a part with a call and its result answer an earlier part of the same call."""
        earlier = self._nearest_running("=" + reference.id) if reference.id else None
        if earlier is not None and earlier.reference.side is _BOTH:
            self._answer(earlier, index, reference)
            if earlier.at not in (GHOST, index):
                self.bound.append(earlier.at)

    def _make(self, index: int, seq: int, reference: ToolReference, state: str) -> Call:
        step = self._step if state is ANSWERED else self._step_of_next()
        call = Call(index, seq, reference, step, state)
        if index in self.calls:
            self.calls[index].append(call)
        else:
            self.calls[index] = [call]
        space = space_of(reference)
        if reference.id:
            self._by_id.setdefault(space + reference.id, []).append(call)
        if reference.alias:
            self._by_id.setdefault(space + reference.alias, []).append(call)
        self._names.unsorted.append(call)
        self.size += 1
        if state is RUNNING:
            self._open.calls.append(call)
        return call

    def _step_of_next(self) -> int:
        """Return the step of the next call: a new one after a result."""
        self._step += self._has_result
        self._has_result = False
        return self._step

    def _bind_request(self, request: Call, index: int, turn: int) -> None:
        known = self._known("=" + request.reference.link)
        if not known or (known[-1].at != GHOST and known[-1].at < turn):
            return
        request.about = known[-1]
        known[-1].requests.append(request)
        if known[-1].at not in (GHOST, index):
            self.bound.append(known[-1].at)

    def _read_result(self, index: int, reference: ToolReference) -> None:
        call = self.match(reference)
        if call is not None:
            self._answer(call, index, reference)
            if reference.denies and call.about is not None and call.about.state is RUNNING:
                self._answer(call.about, index, reference)
            return
        self.unpaired.append(reference)
        owner = self.owner(reference)
        # A result that a caller put back without its call is an ordinary message.
        if owner is not None and owner.at != GHOST:
            owner.results.append((index, reference))
            self.bonds.setdefault(index, []).append((reference, owner))
            self.strays[index] = self.strays.get(index, 0) + 1
            if owner.at != index:
                self.answers_earlier.add(index)

    def _answer(self, call: Call, index: int, reference: ToolReference) -> None:
        call.state = ANSWERED
        call.results.append((index, reference))
        self.bonds.setdefault(index, []).append((reference, call))
        if call.at == GHOST:  # its result stays out of the window
            return
        if call.at != index:
            self.answers_earlier.add(index)
            self.answered.append(call.at)
        self._has_result = True
        self._open.stop_before(call.step)
        for calls in (self._open_ghosts, self._replaced):
            if calls.calls:
                calls.stop_before(call.step)

    # --- asking ---

    def match(self, reference: ToolReference) -> Call | None:
        """Return the running call that the result *reference* belongs to; None if none."""
        if reference.id:
            key = space_of(reference) + reference.id
            if key in self._by_id or self._known(key):
                return self._nearest_running(key)
        return self._names.running(reference)

    def _nearest_running(self, key: str) -> Call | None:
        """Return the nearest call with that id and without a result, if it runs."""
        known = self._by_id.get(key)
        if known and known[-1].state is RUNNING and known[-1].seq > self._ghosts.last_seq:
            return known[-1]  # the usual case
        known = self._known(key)
        if not known:
            return None
        nearest = known[-1]
        if nearest.state is ANSWERED:  # it stays, as the owner of strays
            while len(known) > 1 and known[-2].state is ANSWERED:
                del known[-2]
            nearest = known[-2] if len(known) > 1 else nearest
        return nearest if nearest.state is RUNNING else None

    def _known(self, key: str) -> list[Call] | None:
        """Return the calls with that id in order, including cut ones."""
        for ghost in self._ghosts.come(key, self._seq):
            insort(self._by_id.setdefault(key, []), ghost, key=order_of)
        return self._by_id.get(key)

    def owner(self, reference: ToolReference) -> Call | None:
        """Return the call that a result which binds nothing belongs to, or None."""
        known = self._known(space_of(reference) + reference.id) if reference.id else None
        if known:
            return known[-1]
        ghosts = self._ghosts
        while self._named < len(ghosts.cut_calls) and (
            ghosts.cut_calls[self._named].seq <= self._seq
        ):
            if ghosts.cut_calls[self._named].state != RUNNING:
                self._names.unsorted.append(ghosts.call(self._named))
            self._named += 1
        return self._names.owner(reference)

    def gone(self, end: int, has_gone: Callable[[Call], bool]) -> tuple[CutCall, ...]:
        """
        Return what to remember of cut calls, including those before *end* for which *has_gone*.

        Only as many of the newest as are remembered are inspected, so further cut calls are free.
        """
        gone = self.remembered()
        for calls in (
            self._answered_before(end),
            self._open_before(end),
            self._replaced.newest_first(),
        ):
            gone += [call.cut for call in islice(filter(has_gone, calls), CUT_CALLS_MAX)]
        return newest_calls(gone)

    def remembered(self) -> list[CutCall]:
        """Return what to remember of calls that were cut before."""
        return self._ghosts.remembered()

    def was_cut_since(self, seq: int) -> bool:
        """Return whether a call at or after *seq* was cut."""
        return self._ghosts.last_seq >= seq

    def _answered_before(self, end: int) -> Iterator[Call]:
        """Yield the answered calls of entries before *end*, newest first."""
        for at, made in reversed(self.calls.items()):
            if at < end:
                yield from (call for call in reversed(made) if call.state is ANSWERED)

    def _open_before(self, end: int) -> Iterator[Call]:
        """Return the unanswered calls of entries before *end*, newest first."""
        is_old = self.running_at is None or self.running_at >= end
        calls = reversed(self._open.stopped) if is_old else self._open.newest_first()
        return (call for call in calls if call.at < end)
