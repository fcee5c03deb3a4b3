"""
What is remembered of calls that left the window: their results may still come, and stay out then.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable
from typing import Final, NamedTuple

CUT_CALLS_MAX: Final = 256
"""
How many cut calls are remembered, of those that were answered and of those that were not; the
newest are the ones whose results may still come.
"""

RUNNING: Final = "running"
STOPPED: Final = "stopped"
ANSWERED: Final = "answered"


class CutCall(NamedTuple):
    """
    A call that left the window.

    Attributes:
        seq: Where it stood.
        id: Its id; empty if it has none.
        name: The name of its tool.
        state: `answered`, `running` or `stopped`.
        is_request: Whether it is a request for approval.
        alias: Another id of it.
    """

    seq: int
    id: str
    name: str
    state: str
    is_request: bool = False
    alias: str = ""


def newest_calls(cut_calls: Iterable[CutCall]) -> tuple[CutCall, ...]:
    """Put *cut_calls* in order, and forget the oldest of those that are too many to remember."""
    by_seq = sorted(cut_calls)
    if len(by_seq) <= CUT_CALLS_MAX:
        return tuple(by_seq)
    answered = [call for call in by_seq if call.state == ANSWERED]
    open_ = [call for call in by_seq if call.state != ANSWERED]
    return tuple(sorted(answered[-CUT_CALLS_MAX:] + open_[-CUT_CALLS_MAX:]))


def with_result(
    cut_calls: tuple[CutCall, ...], before: CutCall, after: CutCall
) -> tuple[CutCall, ...]:
    """
    Put *after*, a call that now has its result, in the place of *before*, in order.

    None is forgotten before the window is next rewritten: whoever has read the cut calls knows them
    all until then, and so must whoever reads them anew.
    """
    left = list(cut_calls)
    left.remove(before)
    insort(left, after)
    return tuple(left)
