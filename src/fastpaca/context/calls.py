"""
Tool calls and their results: how they are recognised, and which messages they bind together.

A call and its result may stand in parts or in keys of the message, in the shapes of several
providers and SDKs (`design.md` section 7 and the providers' own references):

| shape | call | result | id in |
| --- | --- | --- | --- |
| fastpaca | part `tool_call` | part `tool_result` | `tool_call_id`, `call_id` |
| Anthropic | part `tool_use`, `server_tool_use` … | part `tool_result`, `…_tool_result` | `id`; `tool_use_id` |
| OpenAI Chat | message key `tool_calls` | message key `tool_call_id` | `id`; the key itself |
| OpenAI Responses | part `function_call` | part `function_call_output` | `call_id` |
| AI SDK model messages | part `tool-call` | part `tool-result` (both without `state`) | `toolCallId` |
| AI SDK UI messages | part `tool-<name>`, `dynamic-tool`: call and result in one | the same part | `toolCallId` |

A result belongs to the nearest earlier unanswered call with its id, since real logs repeat ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Final, NamedTuple, Protocol

from fastpaca.context import jsontext

KEYS: Final = -1  # the place of a call or result that stands in keys of its message

CALL_TYPES: Final = frozenset({"tool_call", "tool_use", "function_call"})
RESULT_TYPES: Final = frozenset({"tool_result", "function_call_output"})
MESSAGE_KEYS: Final = ("tool_calls", "tool_call_id")

_CALL_ID_KEYS: Final = ("tool_call_id", "call_id", "id", "toolCallId")
_RESULT_ID_KEYS: Final = ("tool_use_id", "tool_call_id", "call_id", "toolCallId")

# Keys of a part that are read here: given twice, they would mean two things.
PART_KEYS: Final = frozenset({"type", "text", "state", *_CALL_ID_KEYS, *_RESULT_ID_KEYS})


class Side(Enum):
    """What a mark stands for."""

    CALL = 1
    RESULT = 2
    BOTH = 3


class Mark(NamedTuple):
    """A call or a result in a message: the index of its part (or `KEYS`), its id, its side."""

    place: int
    id: str
    side: Side


class Marked(Protocol):
    """Anything that carries marks: an entry of a window."""

    @property
    def marks(self) -> tuple[Mark, ...]: ...


def side_of_part(kind: str, part: jsontext.Members) -> Side | None:
    """Tell whether a part of type *kind* is a call, a result, both in one, or neither."""
    if kind in CALL_TYPES or kind.endswith("_tool_use"):
        return Side.CALL
    if kind in RESULT_TYPES or kind.endswith("_tool_result"):
        return Side.RESULT
    if kind in ("tool-call", "tool-result") and "state" not in part:
        return Side.CALL if kind == "tool-call" else Side.RESULT
    if kind == "dynamic-tool" or kind.startswith("tool-"):
        return Side.BOTH
    return None


def mark_of_part(place: int, kind: str, part: jsontext.Members) -> Mark | None:
    """Read the mark of the part at *place*; None if it is no call or result, or has no id."""
    side = side_of_part(kind, part)
    if side is None:
        return None
    for key in _RESULT_ID_KEYS if side is Side.RESULT else _CALL_ID_KEYS:
        found = jsontext.string_or_none(part.get(key))
        if found:
            return Mark(place, found, side)
    return None


def marks_of_keys(message: jsontext.Members) -> list[Mark]:
    """Read the calls and results that stand in keys of a *message*."""
    marks = []
    listed = message.get("tool_calls", b"")
    for item in jsontext.items(listed, "tool_calls") if listed[:1] == b"[" else ():
        if item[:1] == b"{":
            found = jsontext.string_or_none(jsontext.members(item, (), None).get("id"))
            if found:
                marks.append(Mark(KEYS, found, Side.CALL))
    answered = jsontext.string_or_none(message.get("tool_call_id"))
    if answered:
        marks.append(Mark(KEYS, answered, Side.RESULT))
    return marks


class Pairing(NamedTuple):
    """
    Which calls and results of a list of messages belong together.

    Attributes:
        spans: (index of the call's message, index of the result's message), where they differ.
        open_calls: (index of the message, mark) of the calls that have no result, in order.
        orphans: (index of the message, mark) of the results that have no call, in order.
    """

    spans: list[tuple[int, int]]
    open_calls: list[tuple[int, Mark]]
    orphans: list[tuple[int, Mark]]


def pair(entries: Sequence[Marked]) -> Pairing:
    """Pair each result with the nearest earlier unanswered call that has its id."""
    waiting: dict[str, list[tuple[int, Mark]]] = {}
    spans = []
    orphans = []
    for index, entry in enumerate(entries):
        for mark in entry.marks:
            if mark.side is Side.CALL:
                waiting.setdefault(mark.id, []).append((index, mark))
            elif mark.side is Side.RESULT:
                calls = waiting.get(mark.id)
                if not calls:
                    orphans.append((index, mark))
                elif (start := calls.pop()[0]) < index:
                    spans.append((start, index))
    open_calls = sorted(
        (call for calls in waiting.values() for call in calls),
        key=lambda call: (call[0], call[1].place),
    )
    return Pairing(spans, open_calls, orphans)


def joints(entries: Sequence[Marked]) -> tuple[list[bool], Pairing]:
    """
    Find where a list of messages may be cut without parting what belongs together.

    Returns:
        A flag per index: True where a cut right before that message parts no group. A group spans
        from a call to its result. The calls of a step that is still being answered span to the
        end, so that a result on its way still finds its call.
    """
    pairing = pair(entries)
    spans = pairing.spans
    step = _running_step(entries)
    waiting = [index for index, _ in pairing.open_calls if index >= step]
    if waiting:
        spans = [*spans, (waiting[0], len(entries) - 1)]
    inside = [0] * (len(entries) + 1)
    for start, end in spans:
        inside[start + 1] += 1
        inside[end + 1] -= 1
    flags = []
    depth = 0
    for change in inside[:-1]:
        depth += change
        flags.append(depth == 0)
    return flags, pairing


def _running_step(entries: Sequence[Marked]) -> int:
    """
    Find where the step starts that is under way at the end: calls, then some of their results.

    Parallel calls often are messages of their own, and their results come in one by one.
    """
    start = len(entries)
    while start and _has(entries[start - 1], Side.RESULT):
        start -= 1
    while start and _has(entries[start - 1], Side.CALL):
        start -= 1
    return start


def _has(entry: Marked, side: Side) -> bool:
    sides = {mark.side for mark in entry.marks}
    other = Side.CALL if side is Side.RESULT else Side.RESULT
    return side in sides and other not in sides
