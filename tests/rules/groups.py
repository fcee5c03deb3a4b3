"""
What holds together in a window, told from the rules by definition: each look is at everything.

Nothing here is shared with the core.
Where the rules leave a choice, the choice is written beside the line that makes it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import NamedTuple

from tests.rules.meaning import ASSISTANTS, WHOLE, Item, Said, ends_in_reasoning, is_passed_over
from tests.rules.pairing import Call, Pairing, Spot
from tests.rules.stripping import Kept


class Span(NamedTuple):
    """What holds together, from a place in the window to another; *ends* if it ends in a result."""

    first: int
    last: int
    ends: bool = False


Cost = Callable[[Said, frozenset[int]], int]
"""What is left of a message costs so many tokens when some of its items have gone."""


class Groups:
    """
    The messages of a conversation, those of them that are in its window, and what holds together.

    Args:
        cost: What is left of a message costs.

    Attributes:
        said: All messages, in the order in which they came; the first has number 0.
        log: The numbers of those that were appended, and again of each that was revised.
        window: What is kept.
        pinned: How many messages at the beginning of the window are pinned.
        pairing: Which result answers which call.
    """

    def __init__(self, cost: Cost) -> None:
        self.said: list[Said] = []
        self.log: list[int] = []
        self.window: list[Kept] = []
        self.pinned = 0
        self.pairing = Pairing()
        self._cost = cost
        self._task: frozenset[int] = frozenset()
        self._there: dict[int, Kept] = {}
        self._places: dict[int, int] = {}

    def whole_cuts(self) -> list[int]:
        """List the places where one may cut by hand and part nothing, the end included."""
        size = len(self.window)
        spans = list(self._spans(size))
        spans += [
            Span(self._place(call.spot.number), self._place(spot.number))
            for call in self._calls_there()
            for spot in call.strays
            if spot.number in self._there
        ]
        held = {at for span in spans for at in range(span.first + 1, span.last + 1)}
        held |= {size for span in self._open_spans(size)}
        return [at for at in range(size + 1) if at not in held] if size else [0]

    # What is there

    def _set(self, window: Sequence[Kept]) -> None:
        self.window = list(window)
        self._there = {kept.number: kept for kept in self.window}
        self._places = {kept.number: at for at, kept in enumerate(self.window)}

    def _place(self, number: int) -> int:
        return self._places[number]

    def _is_gone(self, call: Call) -> bool:
        if call.is_former:
            return True
        kept = self._there.get(call.spot.number)
        return kept is None or call.spot.at in kept.gone

    def _has_lost_call(self, number: int, at: int) -> bool:
        # Choice: a part that holds its result needs no earlier one.
        if self.said[number].items[at].kind == "both":
            return False
        owners = self.pairing.owners.get(number, {}).get(at, ())
        return any(
            call.is_former or (call.spot.number != number and self._is_gone(call))
            for call in owners[:1]
        )

    def _calls_there(self) -> list[Call]:
        return [call for call in self.pairing.calls if not self._is_gone(call)]

    def _left(self, place: int) -> list[Item]:
        kept = self.window[place]
        return self.said[kept.number].left(kept.gone)

    def _role(self, at: int) -> str:
        return self.said[self.window[at].number].role

    def _costs(self, number: int, gone: frozenset[int]) -> int:
        said = self.said[number]
        return self._cost(said, gone) if gone else said.tokens

    # Groups

    def _spans(self, end: int) -> Iterator[Span]:
        """Yield what held together when the messages before the place *end* had come."""
        for call in self._calls_there():
            start = self._place(call.spot.number)
            for spot in call.answers:
                if self._is_there(spot) and self._place(spot.number) < end:
                    answer = self.said[spot.number].items[spot.at]
                    ends = answer.kind != "both" and WHOLE not in answer.places
                    yield Span(start, self._place(spot.number), ends)
            for request in call.requests:
                if not self._is_gone(request) and self._place(request.spot.number) < end:
                    yield Span(start, self._place(request.spot.number))
        yield from self._neighbours(end)
        yield from self._open_spans(end)
        for at in range(1, end):
            if self._is_of_strays(at):
                yield Span(at - 1, at)
        task = [at for at in range(end) if self.window[at].number in self._task]
        if task:
            yield Span(task[0], task[-1])

    def _open_spans(self, end: int) -> Iterator[Span]:
        """Yield what held together up to the place *end*, as more might come."""
        if end == 0:
            return
        newest, summary = self._newest(end), self._newest_summary(end)
        for call in self._calls_there():
            # Choice: a call that a summary replaces holds nothing.
            if summary <= call.spot.number <= newest and call.ran_at(newest):
                yield Span(self._place(call.spot.number), end - 1)
        # Choice: what the newest reasoning led to may still come.
        said = [at for at in range(end) if not self._is_passed_over(at)]
        if said and self._is_reply(said[-1]) and self._ends_in_reasoning(said[-1]):
            yield Span(said[-1], end - 1)

    def _is_summary(self, at: int) -> bool:
        kept = self.window[at]
        return holds_summary(self.said[kept.number], kept.gone)

    def _newest_summary(self, end: int) -> int:
        """Return the number of the newest provider's summary before the place *end*; else -1."""
        found = (at for at in range(end - 1, -1, -1) if self._is_summary(at))
        return next((self.window[at].number for at in found), -1)

    def _newest(self, end: int) -> int:
        """Return the number of the newest message of the log before the place *end*."""
        if end == len(self.window):
            return max(self.log)  # it may have gone, with a text that is skipped
        numbers = [kept.number for kept in self.window[:end]]
        return max((n for n in numbers if not self.said[n].is_synthetic), default=-1)

    def _neighbours(self, end: int) -> Iterator[Span]:
        """Yield the messages of the assistant that hold together with the one before them."""
        before: int | None = None
        for at in range(end):
            if self._is_passed_over(at):
                continue
            is_reply = self._role(at) in ASSISTANTS
            if is_reply and before is not None and self._belong_together(before, at, end):
                yield Span(before, at)
            before = at if self._is_reply(at) else None

    def _is_passed_over(self, at: int) -> bool:
        kept = self.window[at]
        return is_passed_over(self.said[kept.number], kept.gone)

    def _is_reply(self, at: int) -> bool:
        """
        Tell whether the message at a place may hold together with the next one.

        A cut may fall right after a provider's summary.
        Choice: a synthetic message is no part of a reply.
        """
        said = self.said[self.window[at].number]
        parts = [item for item in said.items if item.is_in_parts]
        is_summary = bool(parts) and parts[-1].kind == "compaction"
        return said.role in ASSISTANTS and not said.is_synthetic and not is_summary

    def _belong_together(self, first: int, second: int, end: int) -> bool:
        kept = self.window[second]
        for at, owners in self.pairing.owners.get(kept.number, {}).items():
            earlier = [call for call in owners if call.spot.number != kept.number]
            if at not in kept.gone and not all(map(self._is_gone, earlier)):
                return False
        if self._ends_in_reasoning(first):
            return True
        newest = self._newest(end)
        return any(
            call.ran_at(newest) or any(kept.number < spot.number <= newest for spot in call.answers)
            for call in self.pairing.made.get(kept.number, ())
            if not self._is_gone(call)
        )

    def _is_there(self, spot: Spot) -> bool:
        kept = self._there.get(spot.number)
        return kept is not None and spot.at not in kept.gone

    def _ends_in_reasoning(self, at: int) -> bool:
        kept = self.window[at]
        return ends_in_reasoning(self.said[kept.number], kept.gone)

    def _holds_call(self, at: int) -> bool:
        return any(item.kind in ("call", "both", "request") for item in self._left(at))

    def _makes_call(self, at: int) -> bool:
        return any(item.may_be_answered for item in self._left(at))

    def _is_of_strays(self, at: int) -> bool:
        """Tell whether a message holds nothing but results that bind nothing."""
        kept = self.window[at]
        items = self.said[kept.number].items
        strays = {spot.at for spot in self.pairing.strays if spot.number == kept.number}
        left = [(one, item) for one, item in enumerate(items) if one not in kept.gone]
        if any(item.places == (WHOLE,) and one in strays for one, item in left):
            left = [(one, item) for one, item in left if not item.is_in_parts or one in strays]
        kinds = {item.kind for one, item in left if one not in strays}
        return any(one in strays for one, _ in left) and kinds <= {"blank", "page"}

    def _cut_places(self, end: int) -> list[int]:
        """
        List where the messages before the place *end* might be cut when they had come.

        A cut falls before a place; the first is after the pinned.
        """
        spans = list(self._spans(end))
        start = self._pinned_end(spans)
        places = [start] if start < end else []
        for at in range(start + 1, end):
            over = [span for span in spans if span.first < at <= span.last]
            if not over or (
                self._makes_call(at) and all(span.last == at and span.ends for span in over)
            ):
                places.append(at)
        return places

    def _all_spans(self) -> list[Span]:
        """List what holds together, as far as it is needed to tell where the pinned end."""
        return list(self._spans(len(self.window))) if self.pinned else []

    def _pinned_end(self, spans: Sequence[Span]) -> int:
        """Return where the groups end that begin in the pinned."""
        start = self.pinned
        while start and any(span.first < start <= span.last for span in spans):
            start += 1
        return start


def holds_summary(said: Said, gone: Collection[int] = ()) -> bool:
    """Tell whether *said* holds a provider's summary, and is no result as a whole."""
    left = said.left(gone)
    is_whole = any(WHOLE in item.places for item in left)
    return not is_whole and any(item.kind == "compaction" for item in left)
