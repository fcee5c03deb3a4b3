"""
Where a window is cut for a summary, and what it becomes. Pure.

The leading system and developer messages stay. After them, what is old goes to the summary and the
newest messages stay. The cut is at a place where a node would cut too (`fastpaca.context.groups`):
a call, its approval, its result and the reasoning that led to it are never parted, and a call that
runs stays. It is before a message that opens a turn if there is one, or else inside a turn: an
agent may work on one task for hours.

What stays is bounded twice: by a number of messages, and by tokens, so that the window ends up at
or below its trigger. What the instructions leave of the trigger is the room; the newest messages
get half of it, and the summary has the other half.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from math import floor
from typing import Any, Final, NamedTuple

from fastpaca.client.errors import CannotCompact
from fastpaca.client.protocol import encode
from fastpaca.client.values import ContextInfo, Message, View
from fastpaca.context.groups import Groups
from fastpaca.context.message import Counts, Entry, parse
from fastpaca.errors import InvalidRequest
from fastpaca.shapes import INSTRUCTION_ROLES

Summary = str | Mapping[str, Any] | Sequence[Mapping[str, Any]]
"""A summary as a caller's function returns it: a text, a message, or several."""

KEEP_LAST: Final = 20
"""How many of the newest messages are kept, unless told otherwise."""


class Plan(NamedTuple):
    """
    A window taken apart.

    Attributes:
        pinned: What it begins with and keeps.
        old: What is to be summarised.
    """

    pinned: list[Message]
    old: list[Message]

    @property
    def cut(self) -> int:
        """The index of the first message that is kept after the summary."""
        return len(self.pinned) + len(self.old)

    def holds_for(self, window: View) -> bool:
        """
        Return whether *window* still begins with what was summarised, and may be cut after it.

        The result of an old call may have come in since then.
        """
        is_same = window.messages[: self.cut] == [*self.pinned, *self.old]
        return is_same and self.cut in joints(window.messages).places

    def replacement(
        self, window: View, summary: Sequence[Mapping[str, Any]]
    ) -> list[Mapping[str, Any]]:
        """Return what *window* becomes, messages of the log as they were read."""
        return [*self.pinned, *summary, *window.messages[self.cut :]]


class Joints(NamedTuple):
    """
    Where messages may be parted.

    Attributes:
        places: Indexes before which a cut parts nothing that belongs together; the end is one of
            them if everything may go.
        openers: Indexes of the messages that open a turn.
    """

    places: list[int]
    openers: list[int]


def joints(messages: Sequence[Message]) -> Joints:
    """Find where *messages* may be parted, by the rules of a node."""
    entries = list(map(_entry, messages))
    groups = Groups(entries).read(len(entries))
    openers = [at for at, entry in enumerate(entries) if entry.opens_turn]
    return Joints(groups.whole_cuts(), openers)


def _entry(message: Message) -> Entry:
    draft = parse(encode(message), "messages")
    return Entry(
        seq=message.seq,
        version=message.version,
        position=0,
        role=draft.role,
        counts=Counts(message.token_count, 0, (), ()),
        body=b"",
        reading=draft.reading,
        covers_from=0,
        covers_to=0,
    )


def trigger_of(info: ContextInfo) -> int:
    """Return how many tokens the window of a context may have before it needs compaction."""
    return floor(info.token_budget * info.trigger_ratio)


def plan(window: View, keep_last: int, trigger: int) -> Plan | None:
    """
    Decide what of *window* is summarised, so that it ends up at or below *trigger* tokens.

    None if it is there already, because the configuration was changed since the window was read.

    Raises:
        CannotCompact: What has to stay is too large for any summary to help.
    """
    messages = window.messages
    size = len(messages)
    leading = next(
        (at for at, message in enumerate(messages) if message.role not in INSTRUCTION_ROLES), size
    )
    places, openers = joints(messages)
    start = next((place for place in places if place >= leading), size)
    sums = list(accumulate((message.token_count for message in messages), initial=0))
    room = trigger - sums[start]

    def fitting(tokens_max: int) -> Callable[[int], bool]:
        return lambda at: sums[size] - sums[at] <= tokens_max

    latest = size - max(keep_last, 0)
    first = next((at for at in range(start, size) if messages[at].seq is not None), size)
    turns = {*openers, size}
    places = [place for place in places if start < place <= max(latest, size - 1)]
    # A summary of an earlier summary alone gains something only if that was too long.
    fresh = [place for place in places if place > first]
    small = list(filter(fitting(room // 2), fresh))
    asked = [place for place in small if place <= latest]
    cut = (
        max([place for place in asked if place in turns] or asked, default=None)
        or min([place for place in small if place in turns] or small, default=None)
        or max(filter(fitting(room - 1), fresh or places), default=None)
    )
    if cut is None and sums[size] <= trigger:
        return None
    if cut is None:
        newest = max(places, default=start)
        raise CannotCompact(trigger, sums[start] + sums[size] - sums[newest])
    return Plan(messages[:start], messages[start:cut])


def summary_of(given: Summary) -> list[Mapping[str, Any]]:
    """
    Make messages of what a caller's function has returned: a text, a message, or several.

    Raises:
        InvalidRequest: It is none of these.
    """
    if isinstance(given, str):
        return [{"role": "user", "parts": [{"type": "text", "text": given}]}]
    if isinstance(given, Mapping):
        return [given]
    if isinstance(given, list | tuple):
        return list(given)
    raise InvalidRequest("A summary is a text, a message or a list of messages.", "summary")
