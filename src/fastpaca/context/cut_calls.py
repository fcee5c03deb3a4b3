"""What is remembered of calls that left the window: their late results must stay out as well."""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable
from typing import Final, NamedTuple

CUT_CALLS_MAX: Final = 256
"""
How many answered and how many unanswered cut calls are remembered: the newest, whose results may
still arrive.
"""

RUNNING: Final = "running"
STOPPED: Final = "stopped"
ANSWERED: Final = "answered"


class CutCall(NamedTuple):
    """
    A call that left the window.

    Attributes:
        seq: The place of its message.
        id: Its id; empty if it has none.
        name: The name of its tool.
        state: `answered`, `running` or `stopped`.
        is_request: Whether it is an approval request.
        alias: Its other id, if any.
    """

    seq: int
    id: str
    name: str
    state: str
    is_request: bool = False
    alias: str = ""


def newest_calls(cut_calls: Iterable[CutCall]) -> tuple[CutCall, ...]:
    """Sort *cut_calls*, and forget the oldest if there are too many to remember."""
    by_place = sorted(cut_calls)
    if len(by_place) <= CUT_CALLS_MAX:
        return tuple(by_place)
    answered = [call for call in by_place if call.state == ANSWERED]
    open_ = [call for call in by_place if call.state != ANSWERED]
    return tuple(sorted(answered[-CUT_CALLS_MAX:] + open_[-CUT_CALLS_MAX:]))


def with_result(
    cut_calls: tuple[CutCall, ...], before: CutCall, after: CutCall
) -> tuple[CutCall, ...]:
    """
    Replace *before* with *after*, the same call with its result.

    No call is forgotten until the window is next rewritten: groups that have read the cut calls
    know all of them until then, and so must groups that read them again.
    """
    left = list(cut_calls)
    left.remove(before)
    insort(left, after)
    return tuple(left)
