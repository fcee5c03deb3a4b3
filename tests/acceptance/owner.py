"""
What the owner of a `manual` context does: decide when to summarise, and what stays.

The owner knows the whole conversation, also what comes, and so never parts a call from a result
that is still to come.
Kept messages are sent back as they were read, so that they stay references to the log.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from random import Random
from typing import Any

from tests.acceptance.case import Case
from tests.acceptance.log import Slot
from tests.acceptance.pairing import Message, pairs_of
from tests.acceptance.plan import Configuration

KEPT_SHARE = 0.3
SUMMARY_CHARACTERS = 400


@dataclass(frozen=True)
class Replacement:
    """What to send, and the window that must result."""

    entries: tuple[Mapping[str, Any], ...]
    window: tuple[Slot, ...]


class Cuts:
    """The places at which a conversation can be cut without parting a call from its result."""

    def __init__(self, messages: Sequence[Message]) -> None:
        depth = [0] * (len(messages) + 3)
        for pair in pairs_of(messages):
            depth[pair.call.seq + 1] += 1
            depth[pair.result.seq + 1] -= 1
        self._depth = list(accumulate(depth))

    def is_open(self, seq: int) -> bool:
        """Tell whether a cut right before *seq* parts nothing."""
        return self._depth[seq] == 0


def is_due(case: Case, configuration: Configuration) -> bool:
    """Tell whether the owner would summarise now."""
    if configuration.habit == "never":
        return False
    late = case.view.window_tokens > 1.5 * configuration.token_budget
    return late if configuration.habit == "late" else case.view.needs_compaction


def replacement(case: Case, cuts: Cuts, random: Random) -> Replacement | None:
    """
    Replace the older part of the window in *case*, which is shown whole, by a summary.

    None where no cut is possible now, or nothing would be replaced.
    """
    rest = case.material.rest_seqs
    start = _start(case, cuts, rest)
    if start is None or not rest or start == rest[0]:
        return None
    returned = {one["seq"]: one for one in case.view.messages}
    pinned = [slot for slot in case.material.pinned if slot.seq is not None]
    tail = [slot for slot in case.material.rest if slot.seq is not None and slot.seq >= start]
    summary = _summary(case, pinned, start, random)
    entries = (
        *(returned[slot.seq] for slot in pinned),
        summary.message,
        *(returned[slot.seq] for slot in tail),
    )
    return Replacement(entries, (*pinned, summary, *tail))


def emptying(case: Case, cuts: Cuts) -> Replacement | None:
    """Replace the window by nothing, where no result is awaited."""
    return Replacement((), ()) if cuts.is_open(case.log.last_seq + 1) else None


def _start(case: Case, cuts: Cuts, rest: Sequence[int]) -> int | None:
    """Return the first seq to keep: a small share of the budget, the newest message at least."""
    places = [seq for seq in rest if cuts.is_open(seq)]
    wanted = KEPT_SHARE * case.expected.token_budget
    fitting = (seq for seq in places if case.log.tokens(one for one in rest if one >= seq) < wanted)
    return next(fitting, places[-1] if places else None)


def _summary(case: Case, pinned: Sequence[Slot], start: int, random: Random) -> Slot:
    after_pinned = (pinned[-1].seq or 0) + 1 if pinned else 1
    summaries = [slot for slot in case.expected.window or () if slot.seq is None]
    oldest = summaries[0].first[1] if summaries else case.material.rest_seqs[0]
    message: dict[str, Any] = {"role": random.choice(("user", "assistant", "system"))}
    message["parts"] = [{"type": "text", "text": _summarise(case, start), "of": [1, 1.0, True]}]
    if random.random() < 0.5:
        message["metadata"] = {"until": start - 1}
    count = None
    if random.random() < 0.5:
        count = message["token_count"] = random.randrange(5, 60)
    return Slot(None, message, count, (0,), (after_pinned, oldest), start - 1)


def _summarise(case: Case, start: int) -> str:
    texts = (
        part["text"][:40]
        for seq in case.material.rest_seqs
        if seq < start
        for part in case.log[seq].message["parts"]
        if part["type"] == "text"
    )
    return f"Until message {start - 1}: " + " / ".join(texts)[:SUMMARY_CHARACTERS]
