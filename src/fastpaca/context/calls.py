"""The calls of a conversation, and how `Pairing` finds them: by name, running, or cut."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Final

import msgspec

from fastpaca.context.cut_calls import ANSWERED, RUNNING, STOPPED, CutCall
from fastpaca.shapes import WHOLE_PLACE, Side, ToolReference

_REQUEST, _RESPONSE = Side.REQUEST, Side.RESPONSE

GHOST: Final = -1
"""The index of a call that was cut."""

_STATES: Final = {state: state for state in (RUNNING, STOPPED, ANSWERED)}


class Call(msgspec.Struct, eq=False):
    """
    A tool call.

    Attributes:
        at: The index of its entry; `GHOST` if it was cut.
        seq: The place of its message.
        reference: How its message refers to it.
        step: The step it belongs to.
        state: Running, stopped or answered; a call never runs again.
        about: For an approval request, the call it is about.
        results: Its results and strays, each with the index of its entry.
        requests: The approval requests about it.
    """

    at: int
    seq: int
    reference: ToolReference
    step: int
    state: str
    about: Call | None = None
    results: list[tuple[int, ToolReference]] = []
    requests: list[Call] = []

    def consume(self) -> None:
        """Record that its result arrived and stays out of the window."""
        self.state = ANSWERED

    @property
    def cut(self) -> CutCall:
        """What is remembered of it after it was cut."""
        reference = self.reference
        is_request = reference.side is Side.REQUEST
        return CutCall(
            self.seq, reference.id, reference.name, self.state, is_request, reference.alias
        )


class CallsByName:
    """
    Finds calls by the name of their tool, for results that no id binds.

    Few conversations need that, so calls are sorted in at the first lookup.

    Attributes:
        unsorted: Calls that are not sorted in yet, oldest first.
    """

    def __init__(self) -> None:
        self.unsorted: list[Call] = []
        self._last: dict[str, Call] = {}
        self._last_without_id: dict[str, Call] = {}
        self._steps: dict[tuple[str, bool], list[tuple[int, deque[Call]]]] = {}

    def _sort(self) -> None:
        for call in self.unsorted:
            reference = call.reference
            for name in (reference.name, "") if reference.name else ("",):
                key = space_of(reference) + name
                if _is_later(call, self._last.get(key)):
                    self._last[key] = call
                if not reference.id and _is_later(call, self._last_without_id.get(key)):
                    self._last_without_id[key] = call
                if call.state is RUNNING:
                    for without_id in (False,) if reference.id else (False, True):
                        steps = self._steps.setdefault((key, without_id), [(GHOST, deque())])
                        if call.at == GHOST:
                            steps[0][1].append(call)
                            continue
                        if steps[-1][0] != call.step:
                            steps.append((call.step, deque()))
                        steps[-1][1].append(call)
        self.unsorted.clear()

    def running(self, reference: ToolReference) -> Call | None:
        """Return the running call that a result takes: the oldest of the newest step with one."""
        self._sort()
        steps = self._steps.get((space_of(reference) + reference.name, bool(reference.id)), ())
        while steps:
            calls = steps[-1][1]
            while calls:
                if calls[0].state is RUNNING:
                    return calls[0]
                calls.popleft()  # a call never runs again
            if len(steps) == 1:
                break
            steps.pop()
        return None

    def owner(self, reference: ToolReference) -> Call | None:
        """Return the nearest call that a result which binds nothing may belong to."""
        self._sort()
        if not reference.id:
            return self._last.get(space_of(reference) + reference.name)
        return (
            self._last_without_id.get(space_of(reference) + reference.name)
            if reference.name
            else None
        )


def _is_later(call: Call, known: Call | None) -> bool:
    """Return whether *call* comes after *known*, or later in the same message."""
    return known is None or order_of(call) >= order_of(known)


def order_of(call: Call) -> tuple[int, bool]:
    """Return the sort key of *call*; in one message, what was cut precedes what is left."""
    return call.seq, call.at != GHOST


def space_of(reference: ToolReference) -> str:
    """Return the id space of *reference*: approval requests and responses have their own."""
    return "?" if reference.side is _REQUEST or reference.side is _RESPONSE else "="


class Ghosts:
    """
    The calls that were cut. Each becomes a `Call` at its first lookup, since few are ever needed.

    Attributes:
        cut_calls: What is remembered of them, by place.
        last_seq: The place of the last one.
    """

    def __init__(self, cut_calls: tuple[CutCall, ...]) -> None:
        self.cut_calls = cut_calls
        self.last_seq = cut_calls[-1].seq if cut_calls else -1
        self._made: dict[int, Call] = {}
        self._waiting: dict[str, list[int]] | None = None

    def come(self, key: str, seq: float) -> Iterator[Call]:
        """Yield the calls with an id up to *seq* that were not yielded before."""
        if self._waiting is None:
            self._waiting = {}
            for place in range(len(self.cut_calls) - 1, -1, -1):
                cut = self.cut_calls[place]
                space = "?" if cut.is_request else "="
                for name in {cut.id, cut.alias} - {""}:
                    self._waiting.setdefault(space + name, []).append(place)
        waiting = self._waiting.get(key)
        while waiting and self.cut_calls[waiting[-1]].seq <= seq:
            yield self.call(waiting.pop())

    def call(self, place: int) -> Call:
        """Return the call at *place* in `cut_calls`; always the same object."""
        if place not in self._made:
            cut = self.cut_calls[place]
            side = Side.REQUEST if cut.is_request else Side.CALL
            reference = ToolReference(WHOLE_PLACE, side, cut.id, cut.name, cut.alias)
            self._made[place] = Call(GHOST, cut.seq, reference, GHOST, _STATES[cut.state])
        return self._made[place]

    def remembered(self) -> list[CutCall]:
        """Return what to remember of them now."""
        return [
            self._made[place].cut if cut.state == RUNNING and place in self._made else cut
            for place, cut in enumerate(self.cut_calls)
        ]


class OpenCalls:
    """
    Calls without a result, in the order in which they were made.

    Attributes:
        calls: All calls since the last time that none was running.
        stopped: Calls that stopped without a result, oldest first.
    """

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.stopped: list[Call] = []
        self._start = 0

    def first(self) -> Call | None:
        """Return the oldest running call."""
        calls = self.calls
        while self._start < len(calls):
            call = calls[self._start]
            if call.state is RUNNING:
                return call
            self._start += 1
        calls.clear()
        self._start = 0
        return None

    def take_running(self) -> list[Call]:
        """Remove and return the running calls, oldest first."""
        running = [call for call in self.calls if call.state is RUNNING]
        self.calls.clear()
        self._start = 0
        return running

    def stop_before(self, step: float) -> None:
        """Stop the running calls of steps before *step*."""
        call = self.first()
        while call is not None and call.step < step:
            call.state = STOPPED
            self.stopped.append(call)
            call = self.first()

    def newest_first(self) -> Iterator[Call]:
        """Yield all calls without a result, newest first."""
        for call in reversed(self.calls):
            if call.state is RUNNING:
                yield call
        yield from reversed(self.stopped)
