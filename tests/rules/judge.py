"""
What must hold of every view, whatever was cut: told from the messages as they were sent.

A view is judged against the whole conversation, and so knows what every message had.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple

from tests.kit.messages import encoded
from tests.rules.meaning import WHOLE, Json, Place, Said
from tests.rules.pairing import Call, Pairing, Spot

MARKER: Final = re.compile(r"\[\.\.\. \d+ tokens left out \.\.\.\]")
ARGUMENTS: Final = ("arguments", "args", "input", "payload", "action", "rawInput")
"""Keys of what a call is given, which is JSON also if it is written in a string."""

KEPT_CHARACTERS_MIN: Final = 64
"""What is left of a text at the least: its floor is 256 tokens, in dense scripts 3 a character."""

FIXED: Final = ("type", "id", "name", "role", "state")
ADDED: Final = ("seq", "version", "revises", "token_count", "inserted_at", "metadata")


class Shown(NamedTuple):
    """A message of a view: which of the conversation it is, and what is left of its items."""

    number: int
    message: Json
    items: frozenset[int]


def numbered(said: Said) -> Said:
    """Return *said* with numbers in its parts and calls; see `with_numbers`."""
    return replace(said, message=with_numbers(said.message))


def with_numbers(message: Mapping[str, Any]) -> Json:
    """Return *message* with its place as `n` in each part and each call of a list."""
    found = dict(message)
    found["parts"] = [part | {"n": place} for place, part in enumerate(message["parts"])]
    calls = message.get("tool_calls")
    if isinstance(calls, list):
        found["tool_calls"] = [
            call | {"n": index} if isinstance(call, dict) else call
            for index, call in enumerate(calls)
        ]
    return found


def shown(said: Sequence[Said], messages: Iterable[Mapping[str, Any]]) -> list[Shown]:
    """Find what is left of each message of the log, numbered, in *messages* as they came back."""
    found = []
    for message in messages:
        number = message["seq"] - 1
        found.append(Shown(number, dict(message), items_left(said[number], message)))
    return found


def items_left(said: Said, message: Mapping[str, Any]) -> frozenset[int]:
    """Find what is left of *said*, which has numbers, in *message* as it came back."""
    calls = message.get("tool_calls")
    listed = [call for call in calls if isinstance(call, dict)] if isinstance(calls, list) else []
    places = {WHOLE, *message, *(part["n"] for part in message["parts"])}
    places |= {f"tool_calls.{call['n']}" for call in listed}
    return frozenset(at for at, item in enumerate(said.items) if places.issuperset(item.places))


def left_of(said: Said, message: Mapping[str, Any]) -> frozenset[int]:
    """Find what is left of *said*, which has no numbers, in *message* as it came back."""
    calls = _matched(said.message.get("tool_calls") or (), message.get("tool_calls") or ())
    places: set[Place] = {WHOLE, *message, *_matched(said.message["parts"], message["parts"])}
    places |= {f"tool_calls.{index}" for index in calls}
    return frozenset(at for at, item in enumerate(said.items) if places.issuperset(item.places))


def _matched(sent: Sequence[Any], got: Sequence[Any]) -> Iterator[int]:
    """Yield which of the *sent* came back, in order: the same, else the first that is shortened."""
    start = 0
    for one in got:
        rest = range(start, len(sent))
        same = [at for at in rest if encoded(sent[at]) == encoded(one)]
        found = next(
            iter(same or (at for at in rest if not any(_differing(sent[at], one, ())))), None
        )
        if found is not None:
            yield found
            start = found + 1


def pairing_of(said: Sequence[Said]) -> Pairing:
    """Pair the results of a whole conversation."""
    pairing = Pairing()
    for number, one in enumerate(said):
        pairing.add(number, one)
    return pairing


def complaints(
    said: Sequence[Said], pairing: Pairing, view: Sequence[Shown], *, may_be_cut: bool
) -> Iterator[str]:
    """Say what is wrong with a view."""
    numbers = [one.number for one in view]
    if numbers != sorted(set(numbers)):
        yield f"the messages {numbers} are not in order"
    there = {Spot(one.number, at) for one in view for at in one.items}
    yield from parted(pairing, there)
    for one in view:
        yield from faults(said[one.number], one, may_be_cut=may_be_cut)


def faults(said: Said, one: Shown, *, may_be_cut: bool) -> Iterator[str]:
    """Say what is wrong with a message of a view; *said* is what it was."""
    gone = frozenset(range(len(said.items))) - one.items
    if said.is_emptied(gone):
        yield f"message {one.number + 1} was emptied and kept"
    for fault in differences(said.without(gone), one.message):
        yield f"message {one.number + 1}: {fault}"
    if not may_be_cut and _own(said.without(gone)) != _own(one.message):
        yield f"message {one.number + 1} was shortened"
    whole = list(map(encoded, one.message["parts"]))
    for item in (said.items[at] for at in one.items):
        places = item.places if item.kind == "reasoning" and item.is_in_parts else ()
        if any(encoded(said.message["parts"][place]) not in whole for place in places):
            yield f"message {one.number + 1} has reasoning that was shortened"


def parted(
    pairing: Pairing, there: set[Spot], binds: Callable[[Call, Spot], bool] = lambda *_: True
) -> Iterator[str]:
    """
    Say which calls are without their results, and which results without their calls.

    *binds* tells whether a call must hold together with what stands at a spot.
    """
    for call in pairing.calls:
        for spot in call.answers:
            if (call.spot in there) != (spot in there) and binds(call, spot):
                yield f"{call.spot} and its result {spot} are parted"
        for spot in call.strays:
            if spot in there and call.spot not in there and binds(call, spot):
                yield f"{spot} has lost its call {call.spot}"
        for request in call.requests:
            is_lost = request.spot in there and call.spot not in there
            if is_lost and binds(call, request.spot):
                yield f"{request.spot} has lost the call {call.spot} that it is about"


def differences(sent: Json, got: Mapping[str, Any]) -> Iterator[str]:
    """Say what differs but for texts that were shortened and results that a marker stands for."""
    yield from _differing(_own(sent), _own(got), ())


def _own(message: Mapping[str, Any]) -> Json:
    return {key: value for key, value in message.items() if key not in ADDED}


def _differing(sent: Any, got: Any, path: tuple[Any, ...]) -> Iterator[str]:
    if encoded(sent) == encoded(got):
        return
    where = ".".join(map(str, path))
    is_fixed = bool(path) and str(path[-1]).endswith((*FIXED, "_id", "Id", "ature"))
    if is_fixed:
        yield f"{where} was {sent!r} and is {got!r}"
    elif isinstance(sent, str) and isinstance(got, str):
        if path[-1:] and path[-1] in ARGUMENTS and sent[:1] == "{":
            if not MARKER.search(got) or not _is_like(json.loads(sent), got):
                yield f"{where} is no longer what it was: JSON"
        elif not _is_shortened(sent, got):
            yield f"{where} is not its beginning and its end with a marker between them"
    elif isinstance(sent, dict) and isinstance(got, dict) and list(sent) == list(got):
        for key in sent:
            yield from _differing(sent[key], got[key], (*path, key))
    elif isinstance(sent, list) and isinstance(got, list) and len(sent) == len(got):
        for at, one in enumerate(sent):
            yield from _differing(one, got[at], (*path, at))
    elif not path or not MARKER.search(json.dumps(got)):
        yield f"{where} was replaced without a marker"


def _is_shortened(sent: str, got: str) -> bool:
    """Tell whether *got* is the beginning and the end of *sent*, or nothing but a marker."""
    head, _, tail = MARKER.sub("\0", got, count=1).partition("\0")
    kept = head.removesuffix("\n"), tail.removeprefix("\n")
    is_marker = MARKER.fullmatch(got) is not None
    return is_marker or (
        all(kept)
        and sent.startswith(kept[0])
        and sent.endswith(kept[1])
        and KEPT_CHARACTERS_MIN <= sum(map(len, kept)) < len(sent)
    )


def _is_like(sent: Any, got: str) -> bool:
    """Tell whether *got* is JSON with the keys of *sent*, or a marker for all of it."""
    try:
        found = json.loads(got)
    except ValueError:
        return MARKER.fullmatch(got) is not None
    return isinstance(found, dict) and list(found) == list(sent)


def task_of(said: Sequence[Said]) -> int | None:
    """Return the number of the message that opened the newest turn."""
    return max((number for number, one in enumerate(said) if one.opens_turn), default=None)
