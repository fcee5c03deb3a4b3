"""
The calls of a conversation, and the collections in which `Pairing` looks them up: by name, by
whether they run, and those that were cut.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Final

import msgspec

from fastpaca.context.cut_calls import ANSWERED, RUNNING, STOPPED, CutCall
from fastpaca.shapes import WHOLE_PLACE, Side, ToolReference

_REQUEST, _RESPONSE = Side.REQUEST, Side.RESPONSE

GHOST: Final = -1
"""Where a call stands that was cut."""

_STATES: Final = {state: state for state in (RUNNING, STOPPED, ANSWERED)}


class Call(msgspec.Struct, eq=False):
    """
    A call of the conversation.

    Attributes:
        at: The index of its entry; `GHOST` if it was cut.
        seq: Where it stands in the log.
        reference: What its message says of it.
        step: The step it belongs to.
        state: Whether it runs, has stopped, or has its result; it never runs again.
        about: Of a request, the call that it asks for.
        results: Where its results and strays stand: index of the entry, and reference.
        requests: The requests that ask for it.
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
        """Note that its result has come, and stays out."""
        self.state = ANSWERED

    @property
    def cut(self) -> CutCall:
        """What is remembered of it once it was cut."""
        reference = self.reference
        is_request = reference.side is Side.REQUEST
        return CutCall(
            self.seq, reference.id, reference.name, self.state, is_request, reference.alias
        )


class CallsByName:
    """
    Finds calls by the name of their tool, where no id binds a result.

    Few conversations need that, so calls wait here unsorted until somebody asks.

    Attributes:
        unsorted: Calls that were not sorted in yet, oldest first.
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
                calls.popleft()  # it never runs again
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
    """Tell whether *call* comes after one that is *known*; of two in one message, the other."""
    return known is None or order_of(call) >= order_of(known)


def order_of(call: Call) -> tuple[int, bool]:
    """Put calls in order; what was cut of a message came before what is left of it."""
    return call.seq, call.at != GHOST


def space_of(reference: ToolReference) -> str:
    """Requests for approval and their answers have ids of their own."""
    return "?" if reference.side is _REQUEST or reference.side is _RESPONSE else "="


class Ghosts:
    """
    The calls that were cut, which become calls when somebody asks for them: few ever are.

    Attributes:
        cut_calls: What is remembered of them, by seq.
        last_seq: Where the last of them stood.
    """

    def __init__(self, cut_calls: tuple[CutCall, ...]) -> None:
        self.cut_calls = cut_calls
        self.last_seq = cut_calls[-1].seq if cut_calls else -1
        self._made: dict[int, Call] = {}
        self._waiting: dict[str, list[int]] | None = None

    def come(self, key: str, seq: float) -> Iterator[Call]:
        """Give those with an id that stood up to *seq*, but for those that were given before."""
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
        """Return the call of `cut_calls` at *place*; always the same one."""
        if place not in self._made:
            cut = self.cut_calls[place]
            side = Side.REQUEST if cut.is_request else Side.CALL
            reference = ToolReference(WHOLE_PLACE, side, cut.id, cut.name, cut.alias)
            self._made[place] = Call(GHOST, cut.seq, reference, GHOST, _STATES[cut.state])
        return self._made[place]

    def remembered(self) -> list[CutCall]:
        """List what is to be remembered of them now."""
        return [
            self._made[place].cut if cut.state == RUNNING and place in self._made else cut
            for place, cut in enumerate(self.cut_calls)
        ]


class OpenCalls:
    """
    Calls without a result, in the order in which they were made, from the first that runs.

    Attributes:
        calls: All that ran when they were made, since none ran.
        stopped: Those that run no more, oldest first.
    """

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.stopped: list[Call] = []
        self._start = 0

    def first(self) -> Call | None:
        """Return the oldest that runs."""
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
        """Return those that run, oldest first, and hold them no more."""
        running = [call for call in self.calls if call.state is RUNNING]
        self.calls.clear()
        self._start = 0
        return running

    def stop_before(self, step: float) -> None:
        """Stop those of earlier steps than *step*."""
        call = self.first()
        while call is not None and call.step < step:
            call.state = STOPPED
            self.stopped.append(call)
            call = self.first()

    def newest_first(self) -> Iterator[Call]:
        """Give all that have no result, the newest first."""
        for call in reversed(self.calls):
            if call.state is RUNNING:
                yield call
        yield from reversed(self.stopped)
