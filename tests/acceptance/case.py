"""
What is known when a read of the LLM context is judged: the log, the configuration, the answer.

A `Log` is what was appended. `Expected` is what is known of the answer before it comes.
A `Case` joins them with the answer, and compares each returned message with its source once, for
all rules.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property
from itertools import takewhile
from math import floor
from typing import Any, NamedTuple

from tests.acceptance.difference import Difference, compare, fingerprint
from tests.acceptance.pairing import (
    TOOL_CALL_ID,
    Message,
    Pair,
    Pairing,
    Place,
    blocks,
    holds_call_id,
    is_pinned_role,
    is_provider_run,
    is_skipped,
    opens_turn,
)
from tests.acceptance.view import View

LAST_N = "last_n"
SKIP_PARTS = "skip_parts"
MANUAL = "manual"


class Slot(NamedTuple):
    """
    An entry of a window that is known.

    A message of the log has a *seq* and the indexes of the parts it has *kept*. A summary has
    neither; it stands
    for the seqs from somewhere in *first* to *last*. Its token count is None until the server was
    asked for it.
    """

    seq: int | None
    message: Message
    token_count: int | None
    kept: tuple[int, ...] = ()
    first: tuple[int, int] = (0, 0)
    last: int = 0


class Logged(NamedTuple):
    """One appended message and what the server answered to it."""

    message: Message
    token_count: int
    version: int
    fingerprint: Mapping[str, str]


@dataclass
class Log:
    """Everything that was appended so far, in order."""

    entries: list[Logged] = field(default_factory=list)
    slots: list[Slot] = field(default_factory=list)
    pairing: Pairing = field(default_factory=Pairing)
    pinned: int = 0
    """The length of the leading run of instructions."""

    def append(self, message: Message, token_count: int, version: int) -> int:
        """Add *message* and return its seq."""
        if self.pinned == len(self.entries) and is_pinned_role(message):
            self.pinned += 1
        self.entries.append(Logged(message, token_count, version, fingerprint(message)))
        every_part = tuple(range(len(message["parts"])))
        self.slots.append(Slot(self.last_seq, message, token_count, every_part))
        self.pairing.add(self.last_seq, message)
        return self.last_seq

    def __getitem__(self, seq: int) -> Logged:
        return self.entries[seq - 1]

    @property
    def last_seq(self) -> int:
        """The seq of the newest message, 0 when there is none."""
        return len(self.entries)

    @property
    def pairs(self) -> Sequence[Pair]:
        """The calls that have their result, as the log stands."""
        return self.pairing.pairs

    def open_spans(self) -> list[tuple[int, int]]:
        """
        Return spans from the unanswered calls of the last turn to the end of the log.

        The contract lets an unanswered call span its own message only. But the result of such a
        call may be yet to
        come, and a window that holds on to the call until then breaks no promise, so both are fair.
        """
        turn = self.opener_of(self.last_seq) or 1
        return [(call.seq, self.last_seq) for call in self.pairing.unanswered() if call.seq >= turn]

    def tokens(self, seqs: Iterable[int]) -> int:
        """Return the sum of the token counts of the messages at *seqs*."""
        return sum(self[seq].token_count for seq in seqs)

    def opener_of(self, seq: int) -> int | None:
        """Return the seq of the user message that opens the turn of the message at *seq*."""
        turns = (one for one in range(seq, 0, -1) if opens_turn(self[one].message))
        return next(turns, None)

    def running_turn(self, last_seq: int) -> int | None:
        """
        Return where the last turn began when the log ended at *last_seq*, if it holds a call with
        an id.
        """
        opener = self.opener_of(last_seq)
        if opener is None:
            return None
        turn = range(opener, last_seq + 1)
        return opener if any(holds_call_id(self[seq].message) for seq in turn) else None


@dataclass(frozen=True)
class Expected:
    """What is known, before a read, of the answer."""

    strategy: str
    version: int
    token_budget: int
    trigger_ratio: float = 0.7
    config: Mapping[str, Any] = field(default_factory=dict)
    overridden: bool = False
    window: tuple[Slot, ...] | None = None
    """
    The stored window where it is known entry by entry: what `manual` was given, or what was just
    read whole.
    """

    @property
    def is_budget_promised(self) -> bool:
        """Tell whether the view must fit under its budget."""
        return self.overridden or self.strategy != MANUAL

    @property
    def skip_kinds(self) -> Sequence[str]:
        """The part kinds that the policy removes."""
        kinds: Sequence[str] = self.config.get("skip_kinds", ("tool", "reasoning"))
        return kinds

    @property
    def limit(self) -> int:
        """How many messages a trim keeps."""
        limit: int = self.config.get("limit", 200)
        return limit

    @property
    def target(self) -> float:
        """What a trim that drops groups comes down to."""
        ratio: float = self.config.get("target_ratio", 0.5)
        return min(ratio * self.token_budget, self.triggers[1])

    @cached_property
    def triggers(self) -> tuple[int, int]:
        """
        The lowest and the highest value that `floor(token_budget * trigger_ratio)` can mean.

        They differ by one where 0.7 as a binary fraction and 0.7 as a decimal do.
        """
        decimal = floor(self.token_budget * Decimal(repr(self.trigger_ratio)))
        binary = floor(self.token_budget * self.trigger_ratio)
        return min(decimal, binary), max(decimal, binary)

    def skips(self, part: Mapping[str, Any]) -> bool:
        """
        Tell whether stripping may remove *part*.

        Calls that a provider runs itself are tool calls in all but name; either reading is fair.
        """
        by_name = is_provider_run(part) and "tool" in self.skip_kinds
        return by_name or is_skipped(part, self.skip_kinds)

    def may_vanish(self, message: Message) -> bool:
        """
        Tell whether stripping may leave nothing of *message*; of a known window, nothing more
        vanishes.
        """
        if self.strategy != SKIP_PARTS or self.window is not None:
            return False
        if TOOL_CALL_ID in message and "tool" in self.skip_kinds:
            return True
        return all(self.skips(part) for part in message["parts"])


class Material(NamedTuple):
    """
    What a view is made from: the pinned entries and the rest, of which the newest group is the end.

    How far the *newest* group reaches back is open to two readings; *surely_newest* is the shorter.
    """

    pinned: Sequence[Slot]
    rest: Sequence[Slot]
    newest: Sequence[Slot]
    surely_newest: Sequence[Slot]
    blocks: Sequence[Sequence[int]]

    @property
    def rest_seqs(self) -> list[int]:
        """The seqs of the entries that are not pinned."""
        return [slot.seq for slot in self.rest if slot.seq is not None]


@dataclass(frozen=True)
class Case:
    """One answer, and all that is needed to judge it."""

    log: Log
    view: View
    expected: Expected

    @cached_property
    def differences(self) -> dict[int, Difference]:
        """What each returned message of the log has left of its source."""
        differences: dict[int, Difference] = {}
        for returned in self.view.messages:
            seq = returned["seq"]
            if seq is None or not 1 <= seq <= self.log.last_seq:
                continue
            if fingerprint(returned) == self.log[seq].fingerprint:
                differences[seq] = Difference(self.log.slots[seq - 1].kept, ())
            else:
                differences[seq] = compare(self.log[seq].message, returned)
        return differences

    @cached_property
    def returned(self) -> frozenset[int]:
        """The seqs of the returned messages of the log."""
        return frozenset(self.differences)

    @cached_property
    def material(self) -> Material:
        """The window where it is known, and the whole log where it is not."""
        window = self.log.slots if self.expected.window is None else self.expected.window
        count = _pinned_slots(window)
        rest = window[count:]
        seqs = [slot.seq for slot in rest if slot.seq is not None]
        spans = [pair.span for pair in self._material_pairs(window)]
        divided = blocks(seqs, spans + self.open_spans)
        newest = set(divided[-1] if divided else ())
        shortest = blocks(seqs, spans) if self.open_spans else divided
        surely_newest = set(shortest[-1] if shortest else ())
        return Material(
            window[:count],
            rest,
            [slot for slot in rest if slot.seq in newest],
            [slot for slot in rest if slot.seq in surely_newest],
            divided,
        )

    @cached_property
    def open_spans(self) -> list[tuple[int, int]]:
        """The calls of the last turn that may be yet to be answered, with what follows them."""
        return self.log.open_spans()

    def _material_pairs(self, window: Sequence[Slot]) -> Sequence[Pair]:
        if self.expected.window is None:
            return self.log.pairs
        kept = {slot.seq: slot.kept for slot in window}

        def holds(place: Place) -> bool:
            if not isinstance(place.slot, int):
                return place.seq in kept
            return place.slot in kept.get(place.seq, ())

        return [pair for pair in self.log.pairs if holds(pair.call) and holds(pair.result)]

    def keeps(self, place: Place) -> bool:
        """Tell whether the call or result at *place* is still there."""
        difference = self.differences.get(place.seq)
        return difference is not None and difference.keeps(place.slot)

    @cached_property
    def kept_pairs(self) -> list[Pair]:
        """The pairs of the log of which both sides are still there."""
        return [
            pair for pair in self.log.pairs if self.keeps(pair.call) and self.keeps(pair.result)
        ]

    @cached_property
    def run_start(self) -> int:
        """
        The first seq of the unbroken run that ends the view; one beyond the log if there is none.
        """
        start = self.log.last_seq + 1
        for seq in reversed(self.material.rest_seqs):
            if seq in self.returned:
                start = seq
            elif not self.expected.may_vanish(self.log[seq].message):
                break
        return start

    @cached_property
    def also_leading(self) -> list[int]:
        """
        The seqs of instructions from the middle of the log that lead the view, behind the pinned.

        When all between them and the pinned is gone, they belong to the leading run of the window.
        """
        pinned = {slot.seq for slot in self.material.pinned}
        leading = takewhile(
            lambda one: one["seq"] in pinned or is_pinned_role(one), self.view.messages
        )
        return [one["seq"] for one in leading if one["seq"] not in pinned]

    @cached_property
    def rest(self) -> list[int]:
        """The seqs of the returned messages of the log behind the leading instructions."""
        leading = {slot.seq for slot in self.material.pinned} | set(self.also_leading)
        return [seq for seq in self.view.seqs if seq not in leading]

    def fits(self, *also: Sequence[Slot]) -> bool:
        """Tell whether the pinned, and *also* these, fit under the budget."""
        slots = {slot.seq: slot for more in (self.material.pinned, *also) for slot in more}
        for seq in self.also_leading:
            slots[seq] = self.log.slots[seq - 1]
        return self.fit_alone(slots.values())

    def fit_alone(self, slots: Iterable[Slot]) -> bool:
        """Tell whether *slots* fit under the budget."""
        return sum(slot.token_count or 0 for slot in slots) <= self.expected.token_budget

    def window(self) -> tuple[Slot, ...]:
        """Return the entries of a view that shows a stored window whole."""
        return tuple(
            Slot(one["seq"], one, one["token_count"], self.differences[one["seq"]].kept)
            for one in self.view.messages
        )


def _pinned_slots(window: Sequence[Slot]) -> int:
    """Count the leading instructions and the one summary right behind them, or before them."""
    count = 0
    summary_first = bool(window) and window[0].seq is None and not is_pinned_role(window[0].message)
    if summary_first:
        count = 1
    while count < len(window) and is_pinned_role(window[count].message):
        count += 1
    if count < len(window) and window[count].seq is None and not summary_first:
        count += 1
    return count
