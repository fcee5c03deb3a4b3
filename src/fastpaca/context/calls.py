"""
Tool calls and their results: how they are recognised, and which messages they bind together.

A call and its result may stand in parts or in keys of the message, in the shapes of several
providers and SDKs:

| shape | call | result | id in |
| --- | --- | --- | --- |
| fastpaca | `tool_call` | `tool_result` | `tool_call_id`, `call_id` |
| Anthropic | `tool_use`, `…_tool_use` | `tool_result`, `…_tool_result` | `id`; `tool_use_id` |
| OpenAI Chat | key `tool_calls` | key `tool_call_id` | `id`; the key itself |
| OpenAI Responses | `function_call` | `function_call_output` | `call_id` |
| AI SDK model messages | `tool-call` | `tool-result`, both without `state` | `toolCallId` |
| AI SDK UI messages | `tool-<name>`, `dynamic-tool` | the same part | `toolCallId` |

A result belongs to the nearest earlier unanswered call with its id, since real logs repeat ids.
What a message says twice, in a part and in a key, is one call or one result: that of the key.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import Enum
from itertools import accumulate
from typing import Final, NamedTuple, Protocol

import msgspec

from fastpaca.context import jsontext

KEYS: Final = -1  # the place of a call or result that stands in keys of its message

CALL_TYPES: Final = frozenset({"tool_call", "tool_use", "function_call"})
RESULT_TYPES: Final = frozenset({"tool_result", "function_call_output"})
MESSAGE_KEYS: Final = ("tool_calls", "tool_call_id")

_CALL_ID_KEYS: Final = ("tool_call_id", "call_id", "id", "toolCallId")
_USE_ID_KEYS: Final = ("id", "tool_call_id", "call_id", "toolCallId")  # Anthropic's are named `id`
_RESULT_ID_KEYS: Final = ("tool_use_id", "tool_call_id", "call_id", "toolCallId")

# Keys of a part that are read here: given twice, they would mean two things.
PART_KEYS: Final = frozenset({"type", "text", "state", *_CALL_ID_KEYS, *_RESULT_ID_KEYS})


class Side(Enum):
    """What a mark stands for."""

    CALL = 1
    RESULT = 2
    BOTH = 3


class Mark(msgspec.Struct, frozen=True, gc=False):
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
    if kind in ("tool-call", "tool-result"):
        if "state" in part:  # a UI part of a tool that is named so
            return Side.BOTH
        return Side.CALL if kind == "tool-call" else Side.RESULT
    if is_result(kind):
        return Side.RESULT
    if kind == "dynamic-tool" or kind.startswith("tool-"):
        return Side.BOTH
    return None


def is_result(kind: str) -> bool:
    """Tell whether a part of type *kind* is a result and nothing else."""
    return kind in RESULT_TYPES or kind.endswith("_tool_result") or kind == "tool-result"


def mark_of_part(place: int, kind: str, part: jsontext.Members) -> Mark | None:
    """Read the mark of the part at *place*; None if it is no call or result, or has no id."""
    side = side_of_part(kind, part)
    if side is None:
        return None
    for key in _id_keys(kind, side):
        found = jsontext.string_or_none(part.get(key))
        if found:
            return Mark(place, found, side)
    return None


def _id_keys(kind: str, side: Side) -> tuple[str, ...]:
    if side is Side.RESULT:
        return _RESULT_ID_KEYS
    return _USE_ID_KEYS if kind.endswith("tool_use") else _CALL_ID_KEYS


def has_calls_in_keys(message: jsontext.Members) -> bool:
    """Tell whether the keys of a *message* list calls, with ids or without."""
    listed = message.get("tool_calls", b"[]")
    return listed[:1] == b"[" and listed != b"[]"


def answered_in_keys(message: jsontext.Members) -> str | None:
    """Give the id of the call that a *message* as a whole is the result of, by its keys."""
    return jsontext.string_or_none(message.get("tool_call_id")) or None


def marks_of(part_marks: Iterable[Mark], message: jsontext.Members) -> tuple[Mark, ...]:
    """Join the marks of the parts of a *message* and those of its keys."""
    in_keys = _marks_of_keys(message)
    if not in_keys:
        return tuple(part_marks)
    said = {(mark.id, mark.side) for mark in in_keys}
    return (*(mark for mark in part_marks if (mark.id, mark.side) not in said), *in_keys)


def _marks_of_keys(message: jsontext.Members) -> list[Mark]:
    marks = []
    for item in jsontext.items(message["tool_calls"], "") if has_calls_in_keys(message) else ():
        if item[:1] == b"{":
            found = jsontext.string_or_none(jsontext.members(item, (), None).get("id"))
            if found:
                marks.append(Mark(KEYS, found, Side.CALL))
    answered = answered_in_keys(message)
    if answered is not None:
        marks.append(Mark(KEYS, answered, Side.RESULT))
    return marks


class Spot(NamedTuple):
    """A call or a result in a list of messages: the index of its message, and its mark there."""

    at: int
    mark: Mark


class Pairing(NamedTuple):
    """
    Which calls and results of a list of messages belong together.

    Attributes:
        answers: (call, result) of each result that has its call.
        open_calls: The calls that have no result, in order.
    """

    answers: list[tuple[Spot, Spot]]
    open_calls: list[Spot]


def pair(entries: Iterable[Marked]) -> Pairing:
    """Pair each result with the nearest earlier unanswered call that has its id."""
    waiting: dict[str, list[Spot]] = {}
    answers = []
    for index, entry in enumerate(entries):
        for mark in entry.marks:
            if mark.side is Side.CALL:
                waiting.setdefault(mark.id, []).append(Spot(index, mark))
            elif mark.side is Side.RESULT and (calls := waiting.get(mark.id)):
                answers.append((calls.pop(), Spot(index, mark)))
    open_calls = sorted(
        (call for calls in waiting.values() for call in calls),
        key=lambda call: (call.at, call.mark.place),
    )
    return Pairing(answers, open_calls)


def joints(entries: Sequence[Marked]) -> tuple[list[bool], Pairing]:
    """
    Find where a list of messages may be cut without parting what belongs together.

    Returns:
        A flag per index: True where a cut right before that message parts no group. A group spans
        from a call to its result. The calls of a step that is still being answered span to the
        end, so that a result on its way still finds its call.
    """
    pairing = pair(entries)
    inside = [0] * (len(entries) + 1)
    for call, result in pairing.answers:
        inside[call.at + 1] += 1
        inside[result.at + 1] -= 1
    step = _running_step(entries)
    waiting = next((call.at for call in pairing.open_calls if call.at >= step), None)
    if waiting is not None:
        inside[waiting + 1] += 1
    return [depth == 0 for depth in accumulate(inside[:-1])], pairing


def _running_step(entries: Sequence[Marked]) -> int:
    """
    Find where the step starts that is under way at the end: calls, then some of their results.

    Parallel calls often are messages of their own, and their results come in one by one.
    """
    start = len(entries)
    while start and is_only(Side.RESULT, entries[start - 1]):
        start -= 1
    while start and is_only(Side.CALL, entries[start - 1]):
        start -= 1
    return start


def is_only(side: Side, entry: Marked) -> bool:
    """Tell whether *entry* holds this *side* and not the other; a part that is both is neither."""
    found = False
    for mark in entry.marks:
        if mark.side is side:
            found = True
        elif mark.side is not Side.BOTH:
            return False
    return found
