"""
What must hold from one read of the LLM context to the next.

A trim happens when an append lifts the window above the trigger, and only then; it drops the
oldest, deep enough and no deeper than the policy says; what left a window never returns to it.
The reads compared are those that show the stored window whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile

from tests.acceptance.case import MANUAL, SKIP_PARTS, Case
from tests.acceptance.oracle import Violation
from tests.acceptance.pairing import blocks, opens_turn


@dataclass(frozen=True)
class Step:
    """Two reads of one context, and the appends between them."""

    before: Case
    before_last_seq: int
    after: Case

    @property
    def appended(self) -> range:
        """The seqs that were appended between the reads."""
        return range(self.before_last_seq + 1, self.after.log.last_seq + 1)

    @cached_property
    def untrimmed_tokens(self) -> int:
        """What the window would hold if nothing had been dropped."""
        return self.before.view.window_tokens + self.after.log.tokens(self.appended)

    @cached_property
    def is_surely_quiet(self) -> bool:
        """Tell whether nothing can have lifted the window above its trigger."""
        lowest, _ = self.after.expected.triggers
        return self.after.expected.strategy == MANUAL or self.untrimmed_tokens <= lowest

    @property
    def is_surely_trimmed(self) -> bool:
        """Tell whether exactly one append lifted the window above its trigger."""
        automatic = self.after.expected.strategy != MANUAL
        highest = self.after.expected.ceiling(self.pinned_tokens)
        return automatic and len(self.appended) == 1 and self.untrimmed_tokens > highest

    @cached_property
    def pinned_tokens(self) -> int:
        """What the pinned entries cost."""
        return sum(slot.token_count or 0 for slot in self.after.material.pinned)

    @property
    def is_whole(self) -> bool:
        """Tell whether both reads show the stored window whole."""
        return self.before.view.fit == self.after.view.fit == "whole"

    @cached_property
    def opener(self) -> int | None:
        """The last of the user messages in front, which may have been kept for its turn alone."""
        return self.task[-1] if self.task and len(self.after.rest) > 1 else None

    @cached_property
    def task(self) -> list[int]:
        """The user messages in front: an opener, and what may have been kept with it."""
        log = self.after.log
        openers = list(takewhile(lambda seq: opens_turn(log[seq].message), self.after.rest))
        return openers[:-1] if len(openers) == len(self.after.rest) else openers

    @property
    def opener_tokens(self) -> int:
        """What the opener costs, which may be kept beyond any target."""
        return self.after.log.tokens(self.task)

    @cached_property
    def run(self) -> list[int]:
        """What the later read shows besides the pinned and the opener."""
        return [seq for seq in self.after.rest if seq not in self.task]

    @cached_property
    def is_minimal(self) -> bool:
        """Tell whether a trim could not have dropped more than it did, but for an opener."""
        spans = [pair.span for pair in self.after.kept_pairs] + self.after.log.pairing.spans
        return len(blocks(self.run, spans + self.after.open_spans)) <= 1


def check_step(step: Step) -> list[Violation]:
    """Hold the later read against the earlier one."""
    return [
        Violation(rule, detail) for rule, checker in CHECKERS.items() for detail in checker(step)
    ]


def check_arithmetic(step: Step) -> Iterator[str]:
    """`window_tokens` grows by what was appended, and by a trim it does not grow."""
    found, expected = step.after.view.window_tokens, step.untrimmed_tokens
    if step.is_surely_quiet and found != expected:
        yield f"window_tokens is {found}, not {expected}, and the trigger was not passed"
    if found > expected:
        yield f"window_tokens is {found}, more than the {expected} that were there and appended"


def check_nothing_returns(step: Step) -> Iterator[str]:
    """
    What was dropped or stripped stays so; below the trigger nothing is dropped or stripped at all.
    """
    if not step.is_whole:
        return
    known = step.before.returned | set(step.appended)
    if back := sorted(step.after.returned - known):
        yield f"seqs {back} had left the window and are back"
    for seq in sorted(step.before.returned & step.after.returned):
        before, after = step.before.differences[seq], step.after.differences[seq]
        if not set(after.kept) <= set(before.kept):
            yield f"seq {seq} has parts again that had been stripped"
        if step.is_surely_quiet and after.kept != before.kept:
            yield f"seq {seq} was stripped though the trigger was not passed"
    if step.is_surely_quiet and (gone := sorted(known - step.after.returned)):
        yield f"seqs {gone} were dropped though the trigger was not passed"


def check_flag_up(step: Step) -> Iterator[str]:
    """Behind a policy's trim the flag stays up only if the newest group alone is left."""
    case = step.after
    if case.expected.strategy == MANUAL or case.view.fit != "whole":
        return
    tokens = case.view.window_tokens - step.opener_tokens
    if tokens > case.expected.ceiling(step.pinned_tokens) and not step.is_minimal:
        yield f"{tokens} tokens are left, above the trigger, and are more than the newest group"


def check_depth(step: Step) -> Iterator[str]:
    """A trim goes down to 0.9 of the trigger by the limit alone, or else to its target."""
    if not step.is_surely_trimmed or step.after.view.fit != "whole" or step.is_minimal:
        return
    expected = step.after.expected
    tokens = step.after.view.window_tokens - step.opener_tokens
    pinned = step.pinned_tokens
    allowed = max(0.9 * expected.ceiling(pinned), expected.target(pinned)) + 1
    if tokens > allowed:
        yield f"a trim left {tokens} tokens, more than {allowed:.0f}"
    if len(step.run) > expected.limit:
        yield f"a trim left {len(step.run)} messages, the limit is {expected.limit}"


def check_greed(step: Step) -> Iterator[str]:
    """A trim drops no group that could have stayed."""
    expected = step.after.expected
    if expected.config.get("start_on_user", True) or not step.is_surely_trimmed:
        return
    if not step.is_whole or not step.run:
        return
    more = _newest_dropped(step)
    tokens = step.after.view.window_tokens + step.after.log.tokens([*more, *_task_of(step, more)])
    count = len(step.after.rest) + len(more)
    target = expected.target(step.pinned_tokens)
    if more and tokens <= target and count <= expected.limit:
        yield (
            f"a trim dropped the group {more}, with which {count} messages of {tokens} tokens "
            f"would have met the target {target:.0f} and the limit {expected.limit}"
        )


def _newest_dropped(step: Step) -> list[int]:
    """
    Return the group before the cut, and what else is gone since, but for an opener that was kept.

    What stripping may have left nothing of was not dropped.
    """
    log, expected = step.after.log, step.after.expected
    turn = log.running_turn(log.last_seq) or log.last_seq + 1
    was = [seq for seq in sorted(step.before.returned) if seq > log.pinned]
    window = [
        seq
        for seq in (*was, *step.appended)
        if seq != step.opener and (seq >= turn or not expected.may_vanish(log[seq].message))
    ]
    groups = blocks(window, [*log.pairing.spans, *step.after.open_spans])
    starts = [group[0] for group in groups if group[-1] < step.run[0]]
    if not starts:
        return []
    more = [seq for seq in window if starts[-1] <= seq < step.run[0]]
    # A group of which one end may have vanished is not known whole.
    is_whole = all((call in more) == (result in more) for call, result in log.pairing.spans)
    return more if is_whole else []


def _task_of(step: Step, more: list[int]) -> list[int]:
    """
    Return the opener that a cut before *more* would have had to keep besides, if it is not there.

    Only a turn with calls keeps its opener; where tools are stripped, only the last turn has any.
    """
    log, expected = step.after.log, step.after.expected
    opener = log.opener_of(more[0]) if more else None
    if opener is None or opener == more[0] or opener in step.after.returned:
        return []
    strips_tools = expected.strategy == SKIP_PARTS and "tool" in expected.skip_kinds
    is_running = opener == log.running_turn(log.last_seq)
    return [opener] if is_running or (not strips_tools and log.turn_holds_calls(opener)) else []


def check_running_turn(step: Step) -> Iterator[str]:
    """A last turn that holds a call id is not stripped."""
    if step.after.expected.strategy != SKIP_PARTS or not step.is_whole or not step.appended:
        return
    log = step.after.log
    turn = log.running_turn(step.appended[0])
    if turn is None or turn != log.running_turn(log.last_seq):
        return
    for seq in range(turn, log.last_seq + 1):
        after, before = step.after.differences.get(seq), step.before.differences.get(seq)
        had = log.slots[seq - 1].kept if before is None else before.kept
        is_new = before is not None or seq in step.appended
        if after is None:
            if is_new and step.run and seq > step.run[0]:
                yield f"seq {seq} of the running turn was stripped away"
        elif after.is_stripped and after.kept != had:
            yield f"seq {seq} of the running turn was stripped"


def check_start_on_user(step: Step) -> Iterator[str]:
    """With `start_on_user` a trimmed window begins with a user's message, if it holds one."""
    expected, log = step.after.expected, step.after.log
    if not expected.config.get("start_on_user", True) or not step.is_whole:
        return
    if not step.is_surely_trimmed or step.is_minimal:
        return
    rest = step.after.rest
    if rest[:1] == step.before.rest[:1]:
        return  # nothing was cut
    if any(opens_turn(log[seq].message) for seq in rest) and not opens_turn(log[rest[0]].message):
        yield f"the window begins with seq {rest[0]}, which is no user's message"


CHECKERS = {
    "arithmetic": check_arithmetic,
    "nothing returns": check_nothing_returns,
    "flag up": check_flag_up,
    "depth": check_depth,
    "greed": check_greed,
    "running turn": check_running_turn,
    "start on user": check_start_on_user,
}
