"""
What the owner of a `manual` context does: decide when to summarise, and what stays.

Kept messages are sent back as they were read, so that they stay references to the log.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from random import Random
from typing import Any, Final

from tests.acceptance.data import Message
from tests.acceptance.judge import Judge
from tests.acceptance.plan import Configuration
from tests.acceptance.view import View
from tests.rules.stripping import Kept

KEPT_SHARE: Final = 0.3
SUMMARY_CHARACTERS: Final = 400


@dataclass(frozen=True)
class Replacement:
    """What the window is to be: messages of the log, by seq, with a summary between the two."""

    pinned: list[int]
    summary: Message | None
    rest: list[int]

    def body(self, view: View) -> list[Message]:
        """Return what to send, made of the messages of *view*."""
        shown = {message["seq"]: message for message in view.messages}
        summary = [] if self.summary is None else [self.summary]
        return [
            *(shown[seq] for seq in self.pinned), *summary, *(shown[seq] for seq in self.rest),
        ]  # fmt: skip


def is_due(view: View, configuration: Configuration) -> bool:
    """Tell whether the owner would summarise now."""
    if configuration.habit == "never":
        return False
    late = view.window_tokens > 1.5 * configuration.token_budget
    return late if configuration.habit == "late" else view.needs_compaction


def replacement(judge: Judge, budget: int, random: Random) -> Replacement | None:
    """
    Replace the older part of the window by a summary; what is kept is a small share of the budget.

    None where no cut is possible now, or nothing would be replaced.
    """
    window, pinned = judge.model.window, judge.model.pinned
    left = [*accumulate((kept.tokens for kept in reversed(window)), initial=0)][::-1]
    places = [at for at in judge.model.whole_cuts() if pinned < at < len(window)]
    fitting = (at for at in places if left[at] < KEPT_SHARE * budget)
    start = next(fitting, places[-1] if places else None)
    if start is None:
        return None
    return Replacement(
        seqs(judge, window[:pinned]),
        _summary(judge, window[pinned:start], random),
        seqs(judge, window[start:]),
    )


def emptying(judge: Judge) -> Replacement | None:
    """Replace the window by nothing, where no result is awaited."""
    is_open = len(judge.model.window) in judge.model.whole_cuts()
    return Replacement([], None, []) if is_open else None


def seqs(judge: Judge, window: list[Kept]) -> list[int]:
    """List the seqs of the messages of the log in a part of the window."""
    return [seq for kept in window if (seq := judge.seq_of(kept)) is not None]


def _summary(judge: Judge, replaced: list[Kept], random: Random) -> Message:
    texts = (
        part["text"][:40]
        for kept in replaced
        for part in judge.model.said[kept.number].message["parts"]
        if part["type"] == "text"
    )
    said = f"Of {len(replaced)} messages: " + " / ".join(texts)[:SUMMARY_CHARACTERS]
    message: dict[str, Any] = {"role": random.choice(("user", "assistant", "system"))}
    message["parts"] = [{"type": "text", "text": said, "of": [1, 1.0, True]}]
    if random.random() < 0.5:
        message["metadata"] = {"replaced": len(replaced)}
    if random.random() < 0.5:
        message["token_count"] = random.randrange(5, 60)
    return message
