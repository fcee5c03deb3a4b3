"""
The order in which a provider takes what was said: results right after their calls, each call with
its result.

Theory of operation
-------------------

`pairs.py` has bound results to their calls. `arranged` goes over the messages once. What an
assistant says is collected in a *run*. It ends when another speaks, or with the first result of one
of its calls; all results of its calls follow it in a turn of their own, wherever they stand in the
log.

A call that runs, as `Pairing` says, is left as it is. Any other call without a result is closed
with a result that says so, or dropped, or kept, as the caller wants.

A decision that the rules leave open: in a UI message the results of one step come after all calls
of the step. Steps are told apart by `step-start`; where a message has none, a text or reasoning
after a result begins a new one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from fastpaca.context.message import Counts
from fastpaca.formats.items import (
    ApprovalItem,
    CallItem,
    Item,
    PageOnlyItem,
    ReasoningItem,
    ResultItem,
    TextItem,
)
from fastpaca.formats.reading import ASSISTANT, STEP_START, Said
from fastpaca.formats.report import (
    CLOSED_CALL,
    CLOSED_TEXT,
    DROPPED_CALL,
    DROPPED_RESULT,
    MOVED_RESULT,
    Findings,
)

OpenCalls = Literal["close", "drop", "keep"]

OPEN_CALLS: Final[tuple[OpenCalls, ...]] = ("close", "drop", "keep")
"""What can be done with a call that will not get its result any more."""

RESULTS: Final = "results"

_NO_COUNTS: Final = Counts(0, 0, (), ())


class Turn(msgspec.Struct, eq=False, gc=False):
    """Items that are sent together; *side* is `user`, `assistant`, `system` or `results`."""

    side: str
    items: Sequence[Item]


class Arrangement(msgspec.Struct, eq=False):
    """
    The turns of a list.

    Attributes:
        turns: In order.
        settled: How many turns at the front never change, unless the window is rewritten.
    """

    turns: list[Turn]
    settled: int


def arranged(said: Sequence[Said], report: Findings, open_calls: OpenCalls) -> Arrangement:
    """Put what was *said*, once `pair` has bound its calls and results, into turns."""
    arranger = _Arranger(report, open_calls)
    arranger.read(said)
    return arranger.finish()


class _Arranger:
    def __init__(self, report: Findings, open_calls: OpenCalls) -> None:
        self._report = report
        self._open_calls = open_calls
        self._turns: list[Turn] = []
        self._run: list[Item] = []
        self._spoken: list[Item] = []  # the items of the last turn, if it may go on
        self._has_result = False  # of a part of the run that holds a call as well
        self._last_spoken = -1  # the last turn that was no approval alone
        self._settled: int | None = None
        self._torn: list[tuple[int, int]] = []  # ranges of turns that a moved result has changed
        self._torn_in_run = 0  # how many items of the run such a change has been noted in

    def read(self, said: Sequence[Said]) -> None:
        turns = self._turns
        for one in said:
            if one.is_itemised:
                self._read_items(one)
            elif one.side is ASSISTANT or (not one.is_plain and _is_page_only(one.items)):
                self._run += one.items
            else:
                if self._run:
                    self._close()
                turns.append(Turn(one.side, one.items))
                self._last_spoken = len(turns) - 1

    def _read_items(self, said: Said) -> None:
        """Read a message with calls, results or reasoning item by item."""
        side, has_steps = said.side, None
        for item in said.items:
            if type(item) is ResultItem:
                self._read_result(item)
                if self._has_result and has_steps is None:
                    has_steps = any(part["type"] == STEP_START for part in said.parts)
            elif type(item) is ApprovalItem and item.answers and item.request is None:
                self._report.repair(DROPPED_RESULT, item.at)
            elif side is ASSISTANT or type(item) is CallItem:
                if self._has_result and _begins_step(item, has_steps=has_steps is True):
                    self._close()
                if type(item) is not CallItem or not self._is_dropped(item):
                    self._run.append(item)
            else:
                self._read_of_others(side, item)
        if self._has_result:
            self._close()

    def _is_dropped(self, call: CallItem) -> bool:
        """Return whether *call* is dropped, since its result has not come and never will."""
        if call.is_replaced:
            return True
        if call.result is not None or call.is_running:
            return False
        if not (call.is_served or self._open_calls == "drop"):
            return False
        if call.is_served and self._open_calls == "keep":
            return False
        self._report.repair(DROPPED_CALL, call.at, call.id)
        if not call.is_settled:
            self._unsettle(len(self._turns))
        return True

    def _read_of_others(self, side: str, item: Item) -> None:
        if isinstance(item, PageOnlyItem):
            self._run.append(item)
            return
        self._close()
        last = self._turns[-1] if self._turns else None
        if last is not None and last.items is self._spoken and self._spoken[-1].at == item.at:
            self._spoken.append(item)
        else:
            self._spoken = [item]
            self._turns.append(Turn(side, self._spoken))
        if not isinstance(item, ApprovalItem):
            self._last_spoken = len(self._turns) - 1

    def _read_result(self, result: ResultItem) -> None:
        call = result.call
        if call is None:
            self._report.repair(DROPPED_RESULT, result.at)
        elif result.is_served:
            self._run.append(
                result
            )  # its call is there, or it would be one like others: `pairs.py`
        elif call.turn >= 0:
            if self._last_spoken > call.turn or self._run:
                self._report.repair(MOVED_RESULT, result.at, call.id)
                self._tear(call.turn)
        elif call.part is result.part:
            self._has_result = True
        else:
            self._close()

    def _tear(self, turn: int) -> None:
        """Mark the thinking after a *turn* that changes: it was made when that said otherwise."""
        self._torn.append((turn + 1, len(self._turns)))
        run = self._run
        for index in range(self._torn_in_run, len(run)):
            _mark(run[index])
        self._torn_in_run = len(run)

    def _mark_torn(self) -> None:
        """Mark what stands in turns, each once: many results may be late."""
        done = 0
        for start, end in sorted(self._torn):
            for turn in self._turns[max(start, done) : end]:
                for item in turn.items:
                    _mark(item)
            done = max(done, end)

    def _close(self, *, at_end: bool = False) -> None:
        """End the run: what was said in it, and then the results of its calls."""
        self._has_result = False
        run = self._run
        if not run:
            return
        self._run, self._torn_in_run = [], 0
        self._turns.append(Turn(ASSISTANT, run))
        here = len(self._turns) - 1
        self._last_spoken = here
        results: list[Item] = []
        for call in run:
            if type(call) is not CallItem:
                continue
            if not call.is_settled:  # how it is written may depend on its result
                self._unsettle(here)
            if not call.is_served:
                call.turn = here + 1
                result = self._result_of(call)
                if result is not None:
                    results.append(result)
        if results:
            if len(results) > 1:
                results.sort(key=_source)
            self._turns.append(Turn(RESULTS, results))
            self._last_spoken = here + 1
        elif at_end and any(type(item) is CallItem for item in run):
            self._unsettle(here)

    def _result_of(self, call: CallItem) -> ResultItem | None:
        if call.result is not None:
            if call.result.is_added:
                self._report.repair(CLOSED_CALL, call.at, call.id)
            return call.result
        if call.is_running or self._open_calls == "keep":
            return None
        self._report.repair(CLOSED_CALL, call.at, call.id)
        call.result = ResultItem(at=call.at, value=CLOSED_TEXT, is_error=True, is_added=True)
        call.result.call = call
        return call.result

    def _unsettle(self, turn: int) -> None:
        self._settled = turn if self._settled is None else min(self._settled, turn)

    def finish(self) -> Arrangement:
        self._close(at_end=True)
        self._mark_torn()
        turns = self._turns
        return Arrangement(turns, len(turns) if self._settled is None else self._settled)


def _mark(item: Item) -> None:
    if type(item) is ReasoningItem:
        item.is_torn = True


def _begins_step(item: Item, *, has_steps: bool) -> bool:
    """Return whether *item*, after a result in the same message, begins the next step."""
    if has_steps:
        return item.part.get("type") == STEP_START
    return isinstance(item, (TextItem, ReasoningItem))


def _is_page_only(items: Sequence[Item]) -> bool:
    return all(isinstance(item, PageOnlyItem) for item in items)


def _source(result: Item) -> tuple[bool, int, int]:
    """Results stand in the order in which they came; what was added comes last."""
    assert isinstance(result, ResultItem)
    return result.is_added, result.at, result.place
