"""
Which result answers which call, which messages belong together, and where turns begin.

A result belongs to the nearest earlier unanswered call with its id; recorded conversations repeat
ids.
Four shapes are read: parts `tool_call`/`tool_result`, Anthropic's `tool_use`/`tool_result`,
OpenAI's message keys `tool_calls` and `tool_call_id`, and AI SDK parts, which are call and result
in one and so need no pairing.
Calls that a provider runs itself (`server_tool_use`, `mcp_tool_use`) are paired as well: whoever
parts them breaks the conversation too.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

Message = Mapping[str, Any]
Part = Mapping[str, Any]

TOOL_CALL_ID = "tool_call_id"
TOOL_CALLS = "tool_calls"

_CALL_IDS = {"tool_call": ("tool_call_id", "call_id"), "tool_use": ("id",)}
_PROVIDER_CALLS = frozenset({"server_tool_use", "mcp_tool_use"})
_RESULT_IDS = ("tool_call_id", "call_id", "tool_use_id")


class Place(NamedTuple):
    """Where a call or a result sits: the message's seq, and the part's index or the message key."""

    seq: int
    slot: int | str


class Pair(NamedTuple):
    """A call and the result that answers it."""

    call: Place
    result: Place

    @property
    def span(self) -> tuple[int, int]:
        """The seqs of the two messages."""
        return self.call.seq, self.result.seq


class Half(NamedTuple):
    """A call or a result with its id, and where in its message it sits."""

    kind: Literal["call", "result"]
    id: str
    slot: int | str


def halves(message: Message) -> Iterator[Half]:
    """
    Yield the calls and results of *message* that have an id and can be parted from each other.
    """
    for index, part in enumerate(message["parts"]):
        half = _half(part, index)
        if half is not None:
            yield half
    for index, call in enumerate(message.get(TOOL_CALLS) or ()):
        if isinstance(call.get("id"), str):
            yield Half("call", call["id"], f"{TOOL_CALLS}[{index}]")
    if isinstance(message.get(TOOL_CALL_ID), str):
        yield Half("result", message[TOOL_CALL_ID], TOOL_CALL_ID)


def _half(part: Part, index: int) -> Half | None:
    kind = part["type"]
    if kind in _CALL_IDS or kind in _PROVIDER_CALLS:
        call_id = _first_string(part, _CALL_IDS.get(kind, ("id",)))
        return None if call_id is None else Half("call", call_id, index)
    if kind == "tool_result" or kind.endswith("_tool_result"):
        result_id = _first_string(part, _RESULT_IDS)
        return None if result_id is None else Half("result", result_id, index)
    return None


def _first_string(part: Part, keys: Iterable[str]) -> str | None:
    return next((part[key] for key in keys if isinstance(part.get(key), str)), None)


@dataclass
class Pairing:
    """The pairs of a log, kept up to date while the log grows."""

    pairs: list[Pair] = field(default_factory=list)
    spans: list[tuple[int, int]] = field(default_factory=list)
    adjacent: list[tuple[int, int]] = field(default_factory=list)
    _unanswered: dict[str, list[Place]] = field(default_factory=dict)
    _speaker: tuple[int, Message] | None = None

    def add(self, seq: int, message: Message) -> None:
        """
        Take note of the calls in *message*, and answer earlier calls of its turn with its results.

        Neighbouring messages of the assistant hold together where one of them may have led to the
        other: that is more than the contract asks for.
        """
        if opens_turn(message):
            self._unanswered.clear()
        if message["role"] == "assistant":
            if self._speaker is not None and self._belongs_to(self._speaker[1], message):
                self.adjacent.append((self._speaker[0], seq))
                self.spans.append(self.adjacent[-1])
            self._speaker = (seq, message)
        elif not is_pinned_role(message):
            self._speaker = None
        for half in halves(message):
            waiting = self._unanswered.setdefault(half.id, [])
            if half.kind == "call":
                waiting.append(Place(seq, half.slot))
            elif waiting:
                pair = Pair(waiting.pop(), Place(seq, half.slot))
                self.pairs.append(pair)
                self.spans.append(pair.span)

    def _belongs_to(self, earlier: Message, message: Message) -> bool:
        kinds = [half.kind for half in halves(message)]
        ends = earlier["parts"][-1:]
        led = any(is_skipped(part, ("reasoning",)) for part in ends) or not ends
        return led or ("call" in kinds and "result" not in kinds)

    def unanswered(self) -> Iterator[Place]:
        """Yield the calls that have no result yet."""
        for waiting in self._unanswered.values():
            yield from waiting


def pairs_of(messages: Sequence[Message]) -> list[Pair]:
    """Return the pairs of a whole log, the first message of which has seq 1."""
    pairing = Pairing()
    for seq, message in enumerate(messages, start=1):
        pairing.add(seq, message)
    return pairing.pairs


def blocks(seqs: Sequence[int], spans: Iterable[tuple[int, int]]) -> list[list[int]]:
    """
    Divide ascending *seqs* at every place where a cut falls inside none of *spans*.

    The last block is the newest group: what a trim always leaves.
    """
    present = set(seqs)
    reach: dict[int, int] = {}
    for first, last in spans:
        if first in present and last in present:
            reach[first] = max(reach.get(first, 0), last)
    divided: list[list[int]] = []
    held_to = 0
    for seq in seqs:
        if seq > held_to or not divided:
            divided.append([])
        divided[-1].append(seq)
        held_to = max(held_to, reach.get(seq, seq))
    return divided


def newest_block(seqs: Sequence[int], spans: Sequence[tuple[int, int]]) -> Sequence[int]:
    """
    Return the last of the blocks into which *spans*, ordered by where they end, divide *seqs*.

    It is found from the end, and so without looking at the whole log.
    """
    if not seqs:
        return ()
    start = seqs[-1]
    for first, last in reversed(spans):
        if last < start:
            break
        start = min(start, first)
    return seqs[bisect_left(seqs, start) :]


def is_pinned_role(message: Message) -> bool:
    """Tell whether *message* would belong to a leading run of instructions."""
    return message["role"] in ("system", "developer")


def pinned_count(messages: Sequence[Message]) -> int:
    """Return the length of the leading run of instructions."""
    return next(
        (index for index, one in enumerate(messages) if not is_pinned_role(one)), len(messages)
    )


def opens_turn(message: Message) -> bool:
    """Tell whether *message* is a user's with a part that a model sees, that answers nothing."""
    if message["role"] != "user" or TOOL_CALL_ID in message:
        return False
    parts = message["parts"]
    return bool(parts) and not any(map(_is_result, parts))


def _is_result(part: Part) -> bool:
    kind: str = part["type"]
    return kind == "tool_result" or kind.endswith("_tool_result")


def holds_call_id(message: Message) -> bool:
    """Tell whether *message* holds a call with an id, in a shape that the contract names."""
    if any(isinstance(call.get("id"), str) for call in message.get(TOOL_CALLS) or ()):
        return True
    return any(_part_holds_call_id(part) for part in message["parts"])


def _part_holds_call_id(part: Part) -> bool:
    kind: str = part["type"]
    if kind.startswith("tool-") or kind == "dynamic-tool":
        return isinstance(part.get("toolCallId"), str)
    return kind in _CALL_IDS and _first_string(part, _CALL_IDS[kind]) is not None


def is_skipped(part: Part, skip_kinds: Sequence[str]) -> bool:
    """Tell whether `skip_parts` with *skip_kinds* removes *part*."""
    kind: str = part["type"]
    aliases = {"dynamic-tool": "tool", "thinking": "reasoning", "redacted_thinking": "reasoning"}
    return kind.startswith(tuple(skip_kinds)) or aliases.get(kind) in skip_kinds


def is_provider_run(part: Part) -> bool:
    """Tell whether *part* is a call that a provider ran itself, or the result of one."""
    kind: str = part["type"]
    return kind in _PROVIDER_CALLS or (kind.endswith("_tool_result"))
