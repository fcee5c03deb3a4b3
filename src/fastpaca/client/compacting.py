"""
Where a window is cut for a summary, and what it becomes. Pure.

The leading system and developer messages stay. Behind them, what is old goes to the summary and the
newest messages stay. The cut is before the newest turn that leaves as many messages as are to be
kept, or inside of a turn if that one alone is too long: an agent may work on one task for hours. It
never parts a tool call from its result, and a call that still waits for its result stays.

Calls and results are recognised in the shapes that `fastpaca.context.calls` of a node lists.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any, Final, NamedTuple

from fastpaca.client.values import Message, View
from fastpaca.errors import InvalidRequest

Summary = str | Mapping[str, Any] | Sequence[Mapping[str, Any]]
"""A summary as a caller's function gives it: a text, a message, or several."""

KEEP_LAST: Final = 20
"""How many of the newest messages are kept, unless told otherwise."""

PINNED_ROLES: Final = frozenset({"system", "developer"})

_CALLS: Final = frozenset({"tool_call", "tool_use", "function_call", "tool-call"})
_RESULTS: Final = frozenset({"tool_result", "function_call_output", "tool-result"})
_CALL_ID_KEYS: Final = ("tool_call_id", "call_id", "id", "toolCallId")
_USE_ID_KEYS: Final = ("id", "tool_call_id", "call_id", "toolCallId")
_RESULT_ID_KEYS: Final = ("tool_use_id", "tool_call_id", "call_id", "toolCallId")


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
        """The index of the first message that is kept behind the summary."""
        return len(self.pinned) + len(self.old)

    def holds_for(self, window: View) -> bool:
        """
        Whether *window* still begins with what was summarised, and may be cut behind it.

        The result of an old call may have come in since then.
        """
        is_same = window.messages[: self.cut] == [*self.pinned, *self.old]
        return is_same and joints(window.messages)[self.cut]

    def replacement(
        self, window: View, summary: Sequence[Mapping[str, Any]]
    ) -> list[Mapping[str, Any]]:
        """Give what *window* becomes, messages of the log as they were read."""
        return [*self.pinned, *summary, *window.messages[self.cut :]]


def plan(window: View, keep_last: int) -> Plan | None:
    """Decide what of *window* is summarised; None if nothing can be."""
    messages = window.messages
    start = 0
    while start < len(messages) and messages[start].role in PINNED_ROLES:
        start += 1
    cut = _cut(messages, start, len(messages) - max(keep_last, 0))
    if cut is None:
        return None
    return Plan(messages[:start], messages[start:cut])


def summary_of(given: Summary) -> list[Mapping[str, Any]]:
    """
    Make messages of what a caller's function has given: a text, a message, or several.

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


def _cut(messages: Sequence[Message], start: int, latest: int) -> int | None:
    """Find the newest place up to *latest* to cut before: of a turn, or else of a group."""
    # A summary of nothing but an earlier summary would gain nothing.
    first = next((at for at in range(start, len(messages)) if messages[at].seq is not None), latest)
    whole = joints(messages)
    places = [at for at in range(first + 1, latest + 1) if whole[at]]
    turns = [at for at in places if at == len(messages) or opens_turn(messages[at])]
    return max(turns or places, default=None)


def joints(messages: Sequence[Mapping[str, Any]]) -> list[bool]:
    """Tell for each index, and for the end, whether a cut there parts no call from its result."""
    marked = [list(marks(message)) for message in messages]
    waiting: dict[str, list[int]] = {}
    inside = [0] * (len(messages) + 2)
    for at, found in enumerate(marked):
        for is_call, name in found:
            if is_call:
                waiting.setdefault(name, []).append(at)
            elif calls := waiting.get(name):
                inside[calls.pop() + 1] += 1
                inside[at + 1] -= 1
    step = _running_step(marked)
    for at in (at for calls in waiting.values() for at in calls if at >= step):
        inside[at + 1] += 1
    return [depth == 0 for depth in accumulate(inside[:-1])]


def _running_step(marked: Sequence[Sequence[tuple[bool, str]]]) -> int:
    """Find where calls begin at the end whose results are still coming in."""
    start = len(marked)
    for side in (False, True):  # results first, backwards
        while start and marked[start - 1] and all(one[0] is side for one in marked[start - 1]):
            start -= 1
    return start


def opens_turn(message: Mapping[str, Any]) -> bool:
    """Tell whether a turn begins here: a user's message that holds more than tool results."""
    answered = message.get("tool_call_id")
    if message["role"] != "user" or (isinstance(answered, str) and answered):
        return False
    return not all(_is_result(part["type"]) for part in message["parts"])


def marks(message: Mapping[str, Any]) -> Iterator[tuple[bool, str]]:
    """Give the ids of the calls (True) and of the results (False) in *message*, each once."""
    listed = message.get("tool_calls")
    in_keys = [
        (True, call["id"])
        for call in (listed if isinstance(listed, list) else ())
        if isinstance(call, dict) and isinstance(call.get("id"), str) and call["id"]
    ]
    answered = message.get("tool_call_id")
    if isinstance(answered, str) and answered:
        in_keys.append((False, answered))
    said = set(in_keys)
    for part in message["parts"]:
        found = _mark_of(part)
        if found is not None and found not in said:
            yield found
    yield from in_keys


def _mark_of(part: Mapping[str, Any]) -> tuple[bool, str] | None:
    kind: str = part["type"]
    if kind in {"tool-call", "tool-result"} and "state" in part:
        return None  # a part that is a call and its result in one
    if _is_result(kind):
        return _named(False, part, _RESULT_ID_KEYS)
    if kind in _CALLS or kind.endswith("_tool_use"):
        return _named(True, part, _USE_ID_KEYS if kind.endswith("tool_use") else _CALL_ID_KEYS)
    return None


def _named(is_call: bool, part: Mapping[str, Any], keys: Sequence[str]) -> tuple[bool, str] | None:
    for key in keys:
        found = part.get(key)
        if isinstance(found, str) and found:
            return is_call, found
    return None


def _is_result(kind: str) -> bool:
    return kind in _RESULTS or kind.endswith("_tool_result")
