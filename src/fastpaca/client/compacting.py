"""
Where to cut a window for a summary, and what the window becomes. Pure.

The leading system and developer messages stay. After them, old messages go into the summary and the
newest ones stay. The cut is at a cut point of the node (`fastpaca.context.groups`): a call, its
approval, its result and the reasoning that led to it stay together, and a running call stays. The
cut is before a task message if possible, otherwise inside a turn: an agent may work on one task for
hours.

Two limits apply to what stays: a number of messages, and a number of tokens, so that the window
ends up at or below its trigger. The tokens between the instructions and the trigger are the room:
half of it is for the newest messages, the other half for the summary.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from math import floor
from typing import Any, Final, NamedTuple

from fastpaca.client.errors import CannotCompact
from fastpaca.client.requests import encode
from fastpaca.client.values import ContextInfo, Message, View
from fastpaca.context.draft import parse
from fastpaca.context.groups import Groups
from fastpaca.context.message import Counts, Entry
from fastpaca.errors import InvalidRequest
from fastpaca.shapes import INSTRUCTION_ROLES

Summary = str | Mapping[str, Any] | Sequence[Mapping[str, Any]]
"""What a caller's function may return: a text, a message, or several messages."""

KEEP_LAST: Final = 20
"""How many of the newest messages to keep by default."""


class Plan(NamedTuple):
    """
    How to divide a window.

    Attributes:
        pinned: The messages at the front that stay.
        old: The messages to summarise.
    """

    pinned: list[Message]
    old: list[Message]

    @property
    def cut(self) -> int:
        """The index of the first message that stays after the summary."""
        return len(self.pinned) + len(self.old)

    def holds_for(self, window: View) -> bool:
        """
        Return whether *window* still begins with the summarised messages and may be cut after them.

        It may not be cut there if the result of an old call has come in since.
        """
        is_same = window.messages[: self.cut] == [*self.pinned, *self.old]
        return is_same and self.cut in cut_points(window.messages).indexes

    def replacement(
        self, window: View, summary: Sequence[Mapping[str, Any]]
    ) -> list[Mapping[str, Any]]:
        """Return what *window* becomes; messages of the log go back as they were read."""
        return [*self.pinned, *summary, *window.messages[self.cut :]]


class CutPoints(NamedTuple):
    """
    Where messages may be cut.

    Attributes:
        indexes: A cut before the message at one of these separates nothing that belongs together.
            The number of messages is one of them if all may go.
        task_messages: The indexes of the messages that open a turn.
    """

    indexes: list[int]
    task_messages: list[int]


def cut_points(messages: Sequence[Message]) -> CutPoints:
    """Find where *messages* may be cut, by the rules of a node."""
    entries = list(map(_entry, messages))
    groups = Groups(entries).read(len(entries))
    task_messages = [index for index, entry in enumerate(entries) if entry.opens_turn]
    return CutPoints(groups.whole_cuts(), task_messages)


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
    Decide which messages of *window* to summarise, to get it to *trigger* tokens or below.

    Return None if it is there already, because the configuration has changed since the read.

    Raises:
        CannotCompact: What has to stay is too large for any summary to help.
    """
    messages = window.messages
    size = len(messages)
    leading = next(
        (i for i, message in enumerate(messages) if message.role not in INSTRUCTION_ROLES), size
    )
    cuts, task_messages = cut_points(messages)
    start = next((cut for cut in cuts if cut >= leading), size)
    sums = list(accumulate((message.token_count for message in messages), initial=0))
    room = trigger - sums[start]

    def fitting(tokens_max: int) -> Callable[[int], bool]:
        return lambda cut: sums[size] - sums[cut] <= tokens_max

    latest = size - max(keep_last, 0)
    first_logged = next((i for i in range(start, size) if messages[i].seq is not None), size)
    turns = {*task_messages, size}
    cuts = [cut for cut in cuts if start < cut <= max(latest, size - 1)]
    # To summarise nothing but an earlier summary helps only if that one was too long.
    fresh = [cut for cut in cuts if cut > first_logged]
    small = list(filter(fitting(room // 2), fresh))
    preferred = [cut for cut in small if cut <= latest]
    cut = (
        max([cut for cut in preferred if cut in turns] or preferred, default=None)
        or min([cut for cut in small if cut in turns] or small, default=None)
        or max(filter(fitting(room - 1), fresh or cuts), default=None)
    )
    if cut is None and sums[size] <= trigger:
        return None
    if cut is None:
        newest = max(cuts, default=start)
        raise CannotCompact(trigger, sums[start] + sums[size] - sums[newest])
    return Plan(messages[:start], messages[start:cut])


def summary_of(returned: Summary) -> list[Mapping[str, Any]]:
    """
    Turn what a caller's function has *returned* into messages.

    Raises:
        InvalidRequest: It is no text, no message and no list of messages.
    """
    if isinstance(returned, str):
        return [{"role": "user", "parts": [{"type": "text", "text": returned}]}]
    if isinstance(returned, Mapping):
        return [returned]
    if isinstance(returned, list | tuple):
        return list(returned)
    raise InvalidRequest("A summary must be a text, a message or a list of messages.", "summary")
