"""
What is known when a read of the LLM context is judged: the log, the configuration, the answer.

`Expected` is what is known of the answer before it comes.
A `Case` joins it with the log and the answer, and compares each returned message with its source
once, for all rules.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property
from itertools import takewhile
from math import floor
from typing import Any, NamedTuple

from tests.acceptance.difference import Difference
from tests.acceptance.log import Log, Slot
from tests.acceptance.pairing import (
    TOOL_CALL_ID,
    Message,
    Pair,
    Place,
    blocks,
    is_pinned_role,
    is_provider_run,
    is_skipped,
    newest_block,
)
from tests.acceptance.view import View

LAST_N = "last_n"
SKIP_PARTS = "skip_parts"
MANUAL = "manual"


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

    def ceiling(self, pinned_tokens: int) -> int:
        """What a trim acts above, where the pinned cost so many tokens."""
        trigger = self.triggers[1]
        return max(trigger, min(self.token_budget, pinned_tokens + trigger // 2))

    def target(self, pinned_tokens: int) -> float:
        """What a trim that drops groups comes down to."""
        ratio: float = self.config.get("target_ratio", 0.5)
        return pinned_tokens + ratio * (self.ceiling(pinned_tokens) - pinned_tokens)

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
        return all(self.skips(part) or is_nothing(part) for part in message["parts"])


def is_nothing(part: Mapping[str, Any]) -> bool:
    """Tell whether no message may be left with parts like this one alone, once it was stripped."""
    kind: str = part["type"]
    is_blank = kind == "text" and not str(part.get("text") or "").strip()
    return (
        is_blank
        or kind == "step-start"
        or kind.startswith(("data-", "source-"))
        or is_skipped(part, ("reasoning",))
    )


class Material(NamedTuple):
    """
    What a view is made from: the pinned entries and the rest, of which the newest group is the end.

    How far the *newest* group reaches back is open to two readings; *surely_newest* is the shorter.
    """

    pinned: Sequence[Slot]
    rest: Sequence[Slot]
    newest: Sequence[Slot]
    surely_newest: Sequence[Slot]

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
            differences[seq] = self.log.compare(returned)
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
        spans = self._spans_of(window)
        newest = newest_block(seqs, [*spans, *self.open_spans])
        surely_newest = newest_block(seqs, spans)
        of_seq = {slot.seq: slot for slot in rest}
        return Material(
            window[:count],
            rest,
            [of_seq[seq] for seq in newest],
            [of_seq[seq] for seq in surely_newest],
        )

    @cached_property
    def groups(self) -> list[list[int]]:
        """The seqs of the window, divided wherever a cut parts nothing."""
        window = self.log.slots if self.expected.window is None else self.expected.window
        return blocks(self.material.rest_seqs, [*self._spans_of(window), *self.open_spans])

    @cached_property
    def open_spans(self) -> list[tuple[int, int]]:
        """The calls of the last turn that may be yet to be answered, with what follows them."""
        return self.log.open_spans()

    def _spans_of(self, window: Sequence[Slot]) -> list[tuple[int, int]]:
        if self.expected.window is None:
            return self.log.pairing.spans
        kept = {slot.seq: slot.kept for slot in window}

        def holds(place: Place) -> bool:
            if not isinstance(place.slot, int):
                return place.seq in kept
            return place.slot in kept.get(place.seq, ())

        pairs = [pair.span for pair in self.log.pairs if holds(pair.call) and holds(pair.result)]
        adjacent = [span for span in self.log.pairing.adjacent if kept.keys() >= set(span)]
        return sorted([*pairs, *adjacent], key=lambda span: span[1])

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
    def run(self) -> list[int]:
        """
        The seqs of the log from the oldest possible cut on, without a hole.

        Some of them may have been stripped away altogether.
        """
        run: list[int] = []
        for seq in reversed(self.material.rest_seqs):
            if seq not in self.returned and not self.expected.may_vanish(self.log[seq].message):
                break
            run.append(seq)
        return run[::-1]

    @cached_property
    def run_start(self) -> int:
        """The first message shown of the run that ends the view; beyond the log if none is."""
        shown = (seq for seq in self.run if seq in self.returned)
        return next(shown, self.log.last_seq + 1)

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
        leading = [self.log.slots[seq - 1] for seq in self.also_leading]
        slots = [slot for more in (self.material.pinned, leading, *also) for slot in more]
        of_log = {slot.seq: slot for slot in slots if slot.seq is not None}
        return self.fit_alone([*of_log.values(), *(slot for slot in slots if slot.seq is None)])

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
