"""
Which result answers which call, told from the rules by definition: every result looks at all calls.

Nothing here is shared with the core.
Where the rules leave a choice, the choice is written beside the line that makes it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Final, Literal, NamedTuple

from tests.rules.meaning import ANSWERS, Item, Said

State = Literal["runs", "stopped", "answered"]

REMEMBERED: Final = 256
"""How many calls that have gone are remembered, of the answered and of the others."""


class Spot(NamedTuple):
    """
    Where an item stands.

    Attributes:
        number: The number of its message, in the order in which they came.
        at: Its index among the items of that message.
    """

    number: int
    at: int


class Call:
    """
    A call, or a request for approval: that is a call of its own, besides what it is about.

    Attributes:
        spot: Where it is made.
        item: The item.
        step: The number of its step.
        state: Whether it runs, has stopped, or has its result.
        ended: The number of the message with which it ran no more; None while it runs.
        answers: Where its results stand that it is bound to; a denial is one.
        strays: Where results stand that come too late for it, or twice.
        about: Of a request, the call that it is about.
        requests: The requests that are about it.
        is_former: Whether it was made by its message before that was revised, and was gone then.
    """

    def __init__(self, spot: Spot, item: Item, step: int) -> None:
        self.spot = spot
        self.item = item
        self.step = step
        self.state: State = "runs"
        self.ended: int | None = None
        self.answers: list[Spot] = []
        self.strays: list[Spot] = []
        self.about: Call | None = None
        self.requests: list[Call] = []
        self.is_former = False

    def end(self, state: State, number: int) -> None:
        """Let it run no more, from the message *number* on."""
        self.state = state
        self.ended = number if self.ended is None else self.ended

    def ran_at(self, number: int) -> bool:
        """Tell whether it ran when the message *number* had come."""
        return self.ended is None or self.ended > number


class Pairing:
    """
    The calls of a conversation, and what answers them.

    Attributes:
        calls: All calls, oldest first.
        made: The calls of each message that makes any, by its number.
        owners: The calls that each result belongs to, by the number of its message and its index:
            of a denial the request and the call, else one.
        strays: Spots of results that bind nothing.
    """

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.made: dict[int, list[Call]] = {}
        self.owners: dict[int, dict[int, list[Call]]] = {}
        self.strays: set[Spot] = set()
        self._step = 0
        self._has_result = False
        self._opened_at = 0
        self._is_gone: Callable[[Call], bool] = lambda call: False
        self._is_replaced: Callable[[Call], bool] = lambda call: False

    def add(
        self,
        number: int,
        said: Said,
        is_gone: Callable[[Call], bool] = lambda call: False,
        is_replaced: Callable[[Call], bool] = lambda call: False,
        gone: Collection[int] = (),
        known: Mapping[Spot, Call] | None = None,
    ) -> None:
        """
        Read a message.

        *is_gone* tells whether a call is no longer in the window, and *is_replaced* whether it
        stands before a provider's summary there. Of what has *gone* of the message, the calls are
        those that are *known*, as they have become.
        """
        self._is_gone, self._is_replaced = is_gone, is_replaced
        if said.opens_turn:
            self._opened_at = number
            self._has_result = False
            for call in self.calls:
                if call.state == "runs":
                    call.end("stopped", number)
        for at, item in enumerate(said.items):
            spot = Spot(number, at)
            if at in gone:
                if known is not None and spot in known:
                    self.keep(known[spot])
                continue
            if item.kind in ANSWERS:
                self._read_answer(spot, item)
            elif item.kind == "both":
                self._read_both(spot, item)
            elif item.kind in ("call", "request"):
                self._make(spot, item)

    def keep(self, call: Call) -> None:
        """Take in a call that has gone, as it has become."""
        self.calls.append(call)
        self.made.setdefault(call.spot.number, []).append(call)

    def let_go(self, spot: Spot) -> None:
        """Forget to which call the result at *spot* belongs."""
        for call in self.owners[spot.number].pop(spot.at):
            call.answers = [one for one in call.answers if one != spot]
            call.strays = [one for one in call.strays if one != spot]
        self.strays.discard(spot)

    def _make(self, spot: Spot, item: Item) -> Call:
        is_open = item.may_be_answered
        if is_open and self._has_result:
            self._step += 1
            self._has_result = False
        call = Call(spot, item, self._step)
        if not is_open:
            call.end("answered", spot.number)
        if item.link:
            asked = [one for one in self.calls if item.link in _ids(one.item, "call")]
            # Choice: the call that a request is about is of the same turn.
            if asked and asked[-1].spot.number >= self._opened_at:
                call.about = asked[-1]
                call.about.requests.append(call)
        self.calls.append(call)
        self.made.setdefault(spot.number, []).append(call)
        return call

    def _read_both(self, spot: Spot, item: Item) -> None:
        same = [
            call
            for call in self.calls
            if item.id and item.id in _ids(call.item, "call") and call.state != "answered"
        ]
        if same and same[-1].state == "runs" and same[-1].item.kind == "both":
            self._answer(same[-1], spot)
        self._make(spot, item)

    def _read_answer(self, spot: Spot, item: Item) -> None:
        call = self._answered_by(item)
        if call is None:
            owner = self._owner(item)
            if owner is not None:
                owner.strays.append(spot)
                self._own(spot, owner)
                self.strays.add(spot)
            return
        self._answer(call, spot)
        if item.denies and call.about is not None and call.about.state == "runs":
            self._answer(call.about, spot)

    def _answered_by(self, item: Item) -> Call | None:
        """Find the call that the result *item* is bound to."""
        known = self._known(item)
        same = [call for call in known if item.id and item.id in _ids(call.item, item.kind)]
        if same:
            unanswered = [call for call in same if call.state != "answered"]
            return unanswered[-1] if unanswered and unanswered[-1].state == "runs" else None
        running = [
            call
            for call in known
            if call.state == "runs"
            and (not item.name or call.item.name == item.name)
            and not (item.id and call.item.id)
        ]
        # Choice: of the newest step, the oldest that matches.
        newest = max(map(self._step_of, running), default=0)
        return next((call for call in running if self._step_of(call) == newest), None)

    def _step_of(self, call: Call) -> int:
        """
        Return the step of a call.

        Choice: one that has gone, or that a summary replaces, is of an earlier step than others.
        """
        return -1 if self._is_gone(call) or self._is_replaced(call) else call.step

    def _owner(self, item: Item) -> Call | None:
        """Find the call that a result which binds nothing belongs to."""
        known = self._known(item)
        same = [call for call in known if item.id and item.id in _ids(call.item, item.kind)]
        if not same and (item.name or item.id):
            same = [
                call
                for call in known
                if item.name and call.item.name == item.name and not (item.id and call.item.id)
            ]
        elif not same:
            same = known  # Choice: a result without id and name belongs to the nearest of any
        return same[-1] if same else None

    def _known(self, item: Item) -> list[Call]:
        """List the calls, or for a response the requests, that are not forgotten."""
        kind = "request" if item.kind == "response" else "call"
        gone = [call for call in self.calls if self._is_gone(call)]
        answered = [call for call in gone if call.state == "answered"]
        others = [call for call in gone if call.state != "answered"]
        forgotten = {id(call) for call in (*answered[:-REMEMBERED], *others[:-REMEMBERED])}
        return [
            call
            for call in self.calls
            if (call.item.kind == "request") == (kind == "request") and id(call) not in forgotten
        ]

    def _answer(self, call: Call, spot: Spot) -> None:
        call.end("answered", spot.number)
        call.answers.append(spot)
        self._own(spot, call)
        # Choice: a result that stays out since its call has gone ends no step.
        if self._is_gone(call):
            return
        self._has_result = True
        for earlier in self.calls:
            if earlier.state == "runs" and self._step_of(earlier) < self._step_of(call):
                earlier.end("stopped", spot.number)

    def _own(self, spot: Spot, call: Call) -> None:
        self.owners.setdefault(spot.number, {}).setdefault(spot.at, []).append(call)


def _ids(asked: Item, kind: str) -> tuple[str, ...]:
    """Return the ids of a call; none if *kind* of item can't answer it or be about it."""
    if (asked.kind == "request") != (kind == "response"):
        return ()
    return tuple(id_ for id_ in (asked.id, asked.alias) if id_)
