"""
Why a window that is above its trigger cannot become smaller.

A long step, such as a thousand calls whose results come one by one, is one group that may not be
parted. To look for something to drop after each of them would make the step cost the square of its
length. `Held` knows what such a group waits for, and so that there is nothing to look for.
"""

from __future__ import annotations

from collections.abc import Iterable

from fastpaca.context.calls import Side, is_only
from fastpaca.context.config import Config, SkipParts
from fastpaca.context.message import Entry


class Held:
    """
    What a window waits for of which nothing is left to drop but its newest block.

    Args:
        config: The configuration under which that is so.
        waiting: The ids of the calls in the block that wait for their results.
        has_opener: Whether the message that opened the block's turn is in the window.
        tokens_max: Above so many tokens the window must be looked at again, if not None.
    """

    __slots__ = ("_config", "_has_opener", "_tokens_max", "_waiting")

    def __init__(
        self, config: Config, waiting: Iterable[str], *, has_opener: bool, tokens_max: int | None
    ) -> None:
        self._config = config
        self._waiting = set(waiting)
        self._has_opener = has_opener
        self._tokens_max = tokens_max

    def holds(self, config: Config, tokens: int) -> bool:
        """Tell whether a window of so many *tokens* cannot become smaller under *config*."""
        return config is self._config and (self._tokens_max is None or tokens <= self._tokens_max)

    def takes_in(self, entry: Entry, last: Entry) -> bool:
        """Let *entry* come after *last*; tell whether it surely belongs to the newest block."""
        answers = {mark.id for mark in entry.marks if mark.side is Side.RESULT}
        made = {mark.id for mark in entry.marks if mark.side is Side.CALL}
        if not answers <= self._waiting:
            return False
        if entry.opens_turn and self._has_opener and isinstance(self._config.policy, SkipParts):
            return False  # the opener is of an earlier turn now, and may be stripped
        if not answers:
            joins = is_only(Side.CALL, entry) and is_only(Side.CALL, last)
        elif made:  # breaks a step of calls that wait, but not a chain of results
            in_step = is_only(Side.CALL, last) or is_only(Side.RESULT, last)
            joins = not in_step and answers.isdisjoint(made)
        else:
            joins = True
        self._waiting -= answers
        self._waiting |= made
        return joins
