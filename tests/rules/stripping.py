"""
What `skip_parts` takes out of a window, told from the rules by definition.

Nothing here is shared with the core.
Where the rules leave a choice, the choice is written beside the line that makes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tests.rules.meaning import ASSISTANTS, INSTRUCTIONS, Item, Said
from tests.rules.pairing import Call, Pairing, Spot


class Kept(NamedTuple):
    """
    A message in the window.

    Attributes:
        number: Which message of the conversation.
        gone: The items that were taken out of it.
        tokens: What it costs as it stands here.
    """

    number: int
    gone: frozenset[int]
    tokens: int


class Stripping:
    """
    Decides what goes.

    Args:
        said: All messages.
        window: What is there.
        pairing: Which result answers which call.
        places: The places in the window that may be stripped; what is before them is pinned.
    """

    def __init__(
        self, said: Sequence[Said], window: Sequence[Kept], pairing: Pairing, places: range
    ) -> None:
        self._said = said
        self._window = window
        self._pairing = pairing
        self._range = {kept.number for kept in window[places.start : places.stop]}
        self._pinned = {kept.number for kept in window[: places.start]}
        self._before = {kept.number: kept.gone for kept in window}
        self.gone: dict[int, set[int]] = {kept.number: set() for kept in window}

    def decided(self, kinds: tuple[str, ...]) -> dict[int, set[int]]:
        """Return the items that go of each message, by its number."""
        for number in self._range:
            self.gone[number] |= {
                at
                for at, item in enumerate(self._said[number].items)
                if at not in self._before[number] and _is_skipped(item, kinds)
            }
        while self._add_partners():
            pass
        for place, kept in enumerate(self._window):
            if kept.number in self._range:
                for at, item in enumerate(self._said[kept.number].items):
                    if item.kind == "reasoning" and item.is_in_parts and at not in kept.gone:
                        self._decide_reasoning(place, at, kinds)
        return self.gone

    def _add_partners(self) -> bool:
        """Let what belongs to a call that goes go too; tell whether anything was added."""
        size = sum(map(len, self.gone.values()))
        for call in self._pairing.calls:
            if not self._is_there(call.spot):
                continue
            if not any(self._goes(spot) for spot in (call.spot, *call.answers[:1])):
                continue
            for one in (call, *call.requests, *([call.about] if call.about else [])):
                self._take(one, is_it=one is call)
        return sum(map(len, self.gone.values())) > size

    def _take(self, call: Call, *, is_it: bool) -> None:
        is_in_range = call.spot.number in self._range
        if is_in_range:
            self._add(call.spot)
        if is_in_range or is_it:
            for spot in (*call.answers, *call.strays):
                self._add(spot)

    def _add(self, spot: Spot) -> None:
        if spot.number in self.gone and spot.number not in self._pinned:
            self.gone[spot.number].add(spot.at)

    def _is_there(self, spot: Spot) -> bool:
        return spot.number in self._before and spot.at not in self._before[spot.number]

    def _goes(self, spot: Spot) -> bool:
        return spot.at in self.gone.get(spot.number, ())

    def _decide_reasoning(self, place: int, at: int, kinds: tuple[str, ...]) -> None:
        """
        Let reasoning go with what it led to.

        Choice: that holds for reasoning of every kind, and what it led to may still come.
        """
        number = self._window[place].number
        led_to = self._led_to(place, at)
        if led_to is None:
            return
        is_item = self._said[number].items[at].is_item
        if self._goes(led_to) if led_to else is_item and "reasoning" in kinds:
            self.gone[number].add(at)

    def _led_to(self, place: int, at: int) -> Spot | tuple[()] | None:
        """Find what reasoning led to: nothing is (), and None if that can't be told yet."""
        found = self._first_said(self._window[place], at + 1)
        if found is not None:
            return found
        for kept in self._window[place + 1 :]:
            said = self._said[kept.number]
            if said.role in ASSISTANTS:
                found = self._first_said(kept, 0)
                if found is not None:
                    return found
                if not said.message["parts"]:
                    return ()
            elif said.role not in INSTRUCTIONS:
                left = {item.kind for item in said.left(kept.gone)}
                if left != {"page"}:
                    return ()
        return None

    def _first_said(self, kept: Kept, start: int) -> Spot | None:
        """Find the first that a message says from an item on, in parts, else a call in keys."""
        items = [
            (at, item)
            for at, item in enumerate(self._said[kept.number].items)
            if at not in kept.gone and item.kind not in ("reasoning", "page")
        ]
        for at, item in items:
            if at >= start and item.is_in_parts:
                return Spot(kept.number, at)
        return next((Spot(kept.number, at) for at, item in items if item.is_in_keys), None)


def _is_skipped(item: Item, kinds: tuple[str, ...]) -> bool:
    """
    Tell whether an item is of one of the *kinds*.

    An item of the Responses API goes by what it led to.
    """
    if "tool" in kinds and item.kind in ("call", "both", "result", "request", "response"):
        return True
    if "reasoning" in kinds and item.kind == "reasoning" and not item.is_item:
        return True
    others = tuple(kind for kind in kinds if kind not in ("tool", "reasoning"))
    return bool(item.type) and item.type.startswith(others)
