"""
The promise to an agent that it does not lose its task.

If a cut falls inside a turn that holds tool calls with ids, the user message that opens the turn is
kept, when it fits.
Whether it is missing can be seen in one answer; whether it was promised, when it goes missing.
"""

from __future__ import annotations

from tests.acceptance.case import SKIP_PARTS, Case
from tests.acceptance.pairing import holds_call_id, opens_turn


def missing_opener(case: Case) -> int | None:
    """Return the seq of a turn's opening user message if a cut inside that turn dropped it."""
    newest = [slot.seq for slot in case.material.newest if slot.seq is not None]
    start = case.run_start if case.run_start <= case.log.last_seq else min(newest, default=0)
    opener = case.log.opener_of(start)
    if opener is None or opener in case.returned or opener not in case.material.rest_seqs:
        return None
    return None if case.expected.may_vanish(case.log[opener].message) else opener


def is_opener_promised(case: Case, opener: int) -> bool:
    """
    Tell whether a cut behind *opener* must keep it: its turn holds calls with ids, and it fits.
    """
    return _turn_holds_calls(case, opener) and case.fits([case.log.slots[opener - 1]])


def was_opener_always_promised(case: Case, opener: int) -> bool:
    """
    Tell whether *opener* would have fitted beside the pinned and any one group since.

    A cut for a budget that is asked for is found by replaying the window, so an earlier group
    counts as well, and so does that the first call may have come late.
    """
    later = [block for block in case.groups if block[-1] > opener]
    largest = max(later, key=case.log.tokens, default=[])
    first = case.log[min(opener + 1, case.log.last_seq)].message
    slots = [case.log.slots[seq - 1] for seq in {opener, *largest}]
    return holds_call_id(first) and _turn_holds_calls(case, opener) and case.fits(slots)


def _turn_holds_calls(case: Case, opener: int) -> bool:
    """Tell whether a turn holds calls with ids; of a stripped window, only what is shown counts."""
    for seq in range(opener, case.log.last_seq + 1):
        if seq > opener and opens_turn(case.log[seq].message):
            return False
        difference = case.differences.get(seq)
        is_shown = difference is not None and not difference.is_stripped
        if holds_call_id(case.log[seq].message) and (
            is_shown or case.expected.strategy != SKIP_PARTS
        ):
            return True
    return False
