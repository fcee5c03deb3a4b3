"""
Which result belongs to which call, in the words of `items.py`.

`context.Pairing` decides, as it does for windows; what it says of the places of messages is told
here of their items.

Decisions that the rules leave open:

- A result that comes after its call stopped running still belongs to it if it comes in the turn of
  the call or in the next one; a later one belongs to none. So a call whose turn is neither the
  newest nor the one before is settled: how it was answered never changes again.
- A part of a UI message that a later part of the same call has replaced is not said.
- A call that a provider ran itself is one like others if its result does not follow in the same
  reply, or is not the provider's.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from fastpaca.context.cut_calls import ANSWERED, RUNNING
from fastpaca.context.message import Counts, Entry
from fastpaca.context.pairing import Pairing
from fastpaca.formats.items import ApprovalItem, CallItem, Item, ResultItem
from fastpaca.formats.reading import ASSISTANT, Said
from fastpaca.formats.report import DENIED_TEXT
from fastpaca.shapes import Reading, Side, ToolReference

_NO_COUNTS: Final = Counts(0, 0, (), ())


def pair(said: Sequence[Said]) -> None:
    """Bind the calls, results and approvals of a conversation to each other."""
    if bind_neighbours(said):
        return
    pairs = Pairs(said)
    pairs.bind()
    _unserve(said, pairs.calls.values())


def bind_neighbours(said: Sequence[Said]) -> bool:
    """
    Bind what needs no search: results that follow right after their calls, by id.

    Most conversations are like that from beginning to end. If this one is not, return false:
    `Pairs.bind` then does the same, and the rest.
    """
    waiting: dict[str, CallItem] = {}
    bound: list[tuple[CallItem, ResultItem]] = []
    for one in said:
        if one.is_itemised:
            if not _goes_on(one, waiting, bound):
                return False
        elif waiting:
            return False
    for call, result in bound:
        call.result, result.call = result, call
    for call in waiting.values():
        call.is_running, call.is_settled = True, False
    return True


def _goes_on(
    one: Said, waiting: dict[str, CallItem], bound: list[tuple[CallItem, ResultItem]]
) -> bool:
    """Read a message of calls alone, or of results of *waiting* ones; return false if it is not."""
    if one.by_table is not None and not _is_simple(one.by_table):
        return False
    answers = bool(waiting)
    for item in one.items:
        if type(item) is CallItem:
            if answers or item.id in waiting:
                return False
            waiting[item.id] = item
        elif type(item) is ResultItem:
            call = waiting.pop(item.id, None)
            if not answers or call is None or call.is_served or item.is_served:
                return False
            bound.append((call, item))
    return True


def _is_simple(reading: Reading) -> bool:
    """Return whether a message holds nothing but calls and results with an id, each once."""
    for reference in reading.tool_references:
        if reference.side is not Side.CALL and reference.side is not Side.RESULT:
            return False
        if not reference.id or reference.alias or reference.also:
            return False
    return bool(reading.tool_references) and not reading.holds_summary


Place = tuple[int, int]
"""The index of a message, and a place in it."""


class Pairs:
    """The calls, results and approvals of a conversation, by place."""

    def __init__(self, said: Sequence[Said]) -> None:
        self._said = said
        self.calls: dict[Place, CallItem] = {}
        self.results: dict[Place, ResultItem] = {}
        self._approvals: dict[Place, ApprovalItem] = {}
        for one in said:
            if one.is_itemised:
                self._add(one)

    def _add(self, said: Said) -> None:
        for item in said.items:
            if isinstance(item, CallItem):
                self.calls[item.at, item.place] = item
            elif isinstance(item, ResultItem):
                self.results[item.at, item.place] = item
            elif isinstance(item, ApprovalItem):
                self._approvals[item.at, item.place] = item

    def bind(self) -> None:
        """Bind all by the rules of `Pairing`."""
        pairing, task_places = _paired(self._said)
        for at, made in pairing.calls.items():
            turns_after = len(task_places) - bisect_right(task_places, at)
            for known in made:
                here = (at, known.reference.place)
                answer = known.results[0] if known.results else None
                if here in self._approvals:
                    if answer is not None and (answer[0], answer[1].place) in self._approvals:
                        response = self._approvals[answer[0], answer[1].place]
                        response.request = self._approvals[here]
                    continue
                call = self.calls[here]
                call.is_running = known.state is RUNNING
                call.is_settled = known.state is ANSWERED or turns_after > 1
                if here in self.results:
                    call.result, self.results[here].call = self.results[here], call
                elif answer is not None:
                    turns_until = bisect_right(task_places, answer[0])
                    turns_between = turns_until - bisect_right(task_places, at)
                    if known.state is ANSWERED or turns_between <= 1:
                        _bind(call, answer[0], answer[1], self.calls, self.results)


def _bind(
    call: CallItem,
    at: int,
    reference: ToolReference,
    calls: Mapping[Place, CallItem],
    results: Mapping[Place, ResultItem],
) -> None:
    """Bind *call* to what answers it, the *reference* of the message at index *at*."""
    call.is_settled = True
    if reference.side is Side.RESPONSE:  # it denies the call
        call.result = ResultItem(
            at=call.at, place=reference.place, value=DENIED_TEXT, is_error=True, is_added=True
        )
        call.result.call = call
    elif reference.side is Side.BOTH:
        call.is_replaced = True
        again = calls[at, reference.place]
        if again.arguments is None:
            again.arguments = call.arguments
    else:
        call.result = results[at, reference.place]
        call.result.call = call


def _unserve(said: Sequence[Said], calls: Iterable[CallItem]) -> None:
    """
    Let a call that a provider ran be one like others, unless its result follows in the same reply.
    """
    served = [
        call
        for call in calls
        if call.result is not None
        and call.part is not call.result.part
        and (call.is_served or call.result.is_served)
    ]
    if not served:
        return
    # Where a reply ends: at a message of another, and at a result that its provider did not give.
    ends = [one.at for one in said if one.side is not ASSISTANT or any(map(_is_told, one.items))]
    for call in served:
        result = call.result
        assert result is not None
        if call.is_served and result.is_served:
            place = bisect_left(ends, call.at)
            if place == len(ends) or ends[place] > result.at:
                continue
        call.is_served = result.is_served = False
        place = bisect_left(ends, result.at)
        if place == len(ends) or ends[place] != result.at:
            ends.insert(place, result.at)


def _is_told(item: Item) -> bool:
    """Return whether *item* is the result of a call that the provider did not run."""
    return isinstance(item, ResultItem) and not item.is_served


def _paired(said: Sequence[Said]) -> tuple[Pairing, list[int]]:
    """Read all messages; return the pairs, and where turns open."""
    pairing, task_places = Pairing((), 0), []
    for one in said:
        reading = one.reading
        if reading.opens_turn:
            pairing.open_turn(one.at + 1)
            task_places.append(one.at)
        if reading.holds_summary:
            pairing.replace_running()
        if reading.tool_references:
            place = one.at + 1
            entry = Entry(place, 0, 0, "", _NO_COUNTS, b"", reading, place, place)
            pairing.read(one.at, entry, task_places[-1] if task_places else -1)
    return pairing, task_places
