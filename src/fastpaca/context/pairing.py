"""
Which result belongs to which call.

Theory of operation
-------------------

`Pairing` reads the tool references of messages from the oldest to the newest, each once:

- **Pairs.** A result belongs to the nearest earlier call with its id that runs. A result without an
  id takes the oldest call of its name, or if it has no name the oldest of any, in the newest step
  that has one; so does a result with an id that no call has, among the calls without ids.
- **Running calls.** A call runs until it has its result, until a message opens the next turn, or
  until a call of a later step has its result.
- **Strays.** A second result, and one that comes when its call no longer runs, binds nothing. It
  goes with its call, the nearest of that id, else of that name.

Calls that were cut are remembered by the window (`CutCall`) and are read as if they stood at their
places, so that a result finds the nearest call, be it here or gone.

Whatever a message brings is found without a walk over what came before, so that one costs the
same however many calls wait, have stopped, or share its id or its name.

Decisions that the rules leave open:

- Only results that bind count in "a call after a result begins a new step", so that a stray between
  parallel calls doesn't end the step of the earlier ones.
- A closed part that holds a call and its result is no call of any step.
- A call that was cut counts as one of an earlier step than all that are here: of which it was is
  forgotten. So is a result that divided steps, once it was taken out with its call.
- A call that runs holds nothing once a provider's summary stands after it, which replaces it, and
  counts as one that was cut.
- A result that has neither an id nor a name is a stray of the nearest call of any.
- A result with an id that no call has is a stray of the nearest call of its name without an id; if
  there is none, nothing is known of it and it stays.
- A request for approval is a call and its answer a result, besides what binds it to the call it is
  about.
"""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Callable, Iterator
from itertools import islice

from fastpaca.context.calls import (
    GHOST,
    Call,
    CallsByName,
    Ghosts,
    OpenCalls,
    order_of,
    space_of,
)
from fastpaca.context.cut_calls import (
    ANSWERED,
    CUT_CALLS_MAX,
    RUNNING,
    CutCall,
    newest_calls,
)
from fastpaca.context.message import Entry
from fastpaca.shapes import Side, ToolReference

_RESULT, _BOTH, _RESPONSE = Side.RESULT, Side.BOTH, Side.RESPONSE


class Pairing:
    """
    Pairs the calls and results of a list of entries; see the module.

    Args:
        cut_calls: Calls that were cut, by seq.
        opened_at: Seq of the newest message that opened a turn, here or cut.

    Attributes:
        opened_at: As the argument, and what was read since.
        barrier: As the argument, until what comes before that message was read: those calls don't
            run any more. Then 0.
        awaited_seq: Where there is something to do before an entry is read: the barrier, or a call
            that was cut while it ran. Then `come_to`.
        size: How many calls were read.
        running_at: The first entry whose call runs; None if none does.
        calls: The calls of each entry that makes any.
        bonds: The results of each entry that holds any, with the call that each belongs to.
        answered: Of the entry that was read last, the earlier entries whose calls it answers.
        bound: The same of those that nothing which is taken out would part it from.
        unpaired: The same of the results that bind nothing.
        strays: Of each entry that holds any, how many results bind nothing, though their call is
            here.
        answers_earlier: Entries with a result of an earlier entry, strays included.
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
        self.awaited_seq = self._awaited()
        self._seq: float = 0
        self._by_id: dict[str, list[Call]] = {}
        self._names = CallsByName()
        self._named = 0  # so many cut calls, those that ran aside, can be found by name
        self._open = OpenCalls()
        self._open_ghosts = OpenCalls()
        self._replaced = OpenCalls()
        self._step = 0
        self._has_result = False

    # --- reading ---

    def come_to(self, seq: int) -> None:
        """Read the calls up to *seq* that were cut while they ran."""
        cut_calls, waiting = self._ghosts.cut_calls, self._ghosts_to_come
        while waiting and cut_calls[waiting[-1]].seq <= seq:
            ghost = self._ghosts.call(waiting.pop())
            self._names.unsorted.append(ghost)
            self._open_ghosts.calls.append(ghost)
        self.awaited_seq = self._awaited()

    def _awaited(self) -> float:
        waiting = self._ghosts_to_come
        ghost = self._ghosts.cut_calls[waiting[-1]].seq if waiting else math.inf
        return min(ghost, self.barrier or math.inf)

    def finish(self) -> None:
        """Read the cut calls that stood after all entries."""
        if self._ghosts_to_come:
            self.come_to(self._ghosts.last_seq)
        self._seq = math.inf

    def pass_barrier(self) -> None:
        """Note that what comes now comes after the message that opened the newest turn."""
        self.come_to(self.barrier - 1)
        self.barrier = 0
        self.awaited_seq = self._awaited()
        self._stop()

    def open_turn(self, seq: int) -> None:
        """Note that the message at *seq* opens a turn."""
        self._stop()
        self.opened_at = max(self.opened_at, seq)

    def _stop(self) -> None:
        """Let no call run any more."""
        for calls in (self._open, self._open_ghosts, self._replaced):
            if calls.calls:
                calls.stop_before(math.inf)
        self.running_at = None
        self._has_result = False

    def replace_running(self) -> None:
        """Note that the entry that is read next holds a provider's summary."""
        running = self._open.take_running()
        for call in running:
            call.step = GHOST
        self._replaced.calls += running
        self._has_result |= bool(running)  # calls that come now are of a later step
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
        """Let a part that is both answer an earlier part of the same call."""
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
        """Return the step of a call that comes now: a new one after a result."""
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
        # A result that a caller has put back without its call is a message like others.
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
        if call.at == GHOST:  # its result is no part of the window, and counts for nothing in it
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
        """Return the nearest call of that id, of those that have no result, if it runs."""
        known = self._by_id.get(key)
        if known and known[-1].state is RUNNING and known[-1].seq > self._ghosts.last_seq:
            return known[-1]  # as nearly always
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
        """List the calls of that id in order, those among them that were cut."""
        for ghost in self._ghosts.come(key, self._seq):
            insort(self._by_id.setdefault(key, []), ghost, key=order_of)
        return self._by_id.get(key)

    def owner(self, reference: ToolReference) -> Call | None:
        """Return the call that a result which binds nothing belongs to; None if none is known."""
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
        List what is remembered of calls once those of entries before *end* have gone that
        *has_gone* tells of.

        Only the newest are looked at, as many as are remembered: what else goes costs nothing.
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
        """List what is to be remembered of calls that went before."""
        return self._ghosts.remembered()

    def was_cut_since(self, seq: int) -> bool:
        """Tell whether a call was cut that stood at *seq* or after it."""
        return self._ghosts.last_seq >= seq

    def _answered_before(self, end: int) -> Iterator[Call]:
        """Give the calls with a result of entries before *end*, newest first."""
        for at, made in reversed(self.calls.items()):
            if at < end:
                yield from (call for call in reversed(made) if call.state is ANSWERED)

    def _open_before(self, end: int) -> Iterator[Call]:
        """Give the calls without a result of entries before *end*, newest first."""
        is_old = self.running_at is None or self.running_at >= end
        calls = reversed(self._open.stopped) if is_old else self._open.newest_first()
        return (call for call in calls if call.at < end)
