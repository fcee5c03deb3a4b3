"""
Taking parts out of a message.

`strip` follows the stripping rules of the `skip_parts` policy. The rules have a version, which a
stored window names: windows are rebuilt from the log after a restart and must come out equal, so a
later version is added beside this one, and this one stays.

Rules, version 1, each decided by the message alone:

- A part goes if its type begins with a skip kind. `dynamic-tool` counts as `tool`; `thinking` and
  `redacted_thinking` count as `reasoning`.
- Calls and results always go together: if a kind takes one side of a family, it takes both. Calls
  and results in message keys are of the family of `tool_call`. A message with `tool_call_id` is a
  result as a whole.
- The call and the result of a tool that the provider ran stand in one message: if a kind takes one
  of them, the other goes too.
- A message left without parts goes. One that never had any stays.

Where these would still part a call from its result, as among shapes of different families, the
policy leaves both messages as they are.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Final

from msgspec.structs import replace

from fastpaca.context import calls, jsontext
from fastpaca.context.calls import KEYS, Mark
from fastpaca.context.message import Counts, Entry, Form, opens_turn

RULES: Final = 1
"""The version of the stripping rules that new compactions use."""

_ALIASES: Final = {
    "dynamic-tool": "tool",
    "thinking": "reasoning",
    "redacted_thinking": "reasoning",
}
_FAMILIES: Final = (
    frozenset({"tool_call", "tool_use", "tool_result"}),
    frozenset({"function_call", "function_call_output"}),
    frozenset({"tool-call", "tool-result"}),
)
_KEYS_FAMILY: Final = _FAMILIES[0]


def strip(entry: Entry, kinds: Iterable[str], rules: int = RULES) -> Entry | None:
    """
    Take the parts of these *kinds* out of *entry*; None if nothing is left of it.

    An entry that was stripped of some of the *kinds* before loses the others too.
    """
    assert rules == RULES, f"stripping rules {rules} are unknown"
    form = entry.form or Form()
    wanted = tuple(sorted({*form.kinds, *kinds}))
    if wanted == form.kinds:
        return entry
    message = jsontext.members(entry.body, (), None)
    part_kinds = _part_kinds(message)
    skips = _Skips(wanted)
    gone = skips.places(part_kinds, entry.marks)
    gone_keys: list[str] = []
    if skips.takes_keys:
        if calls.answered_in_keys(message) is not None:
            return None
        if calls.has_calls_in_keys(message):
            gone_keys.append("tool_calls")
    form = replace(form, kinds=wanted, rules=rules)
    if not gone and not gone_keys:
        return replace(entry, form=form)
    if len(gone) == len(part_kinds):
        return None
    return _reduced(entry, message, gone, gone_keys, form)


def without_results(entry: Entry, places: Collection[int]) -> Entry | None:
    """Take the results at these *places* out of *entry*; None if nothing is left of it."""
    message = jsontext.members(entry.body, (), None)
    gone_parts = [place for place in places if place != KEYS]
    if KEYS in places and all(mark.place in places for mark in entry.marks):
        return None
    if gone_parts and len(gone_parts) == len(_part_kinds(message)):
        return None
    form = replace(entry.form or Form(), without=tuple(sorted(places)))
    gone_keys = ["tool_call_id"] if KEYS in places else []
    return _reduced(entry, message, gone_parts, gone_keys, form)


class _Skips:
    """
    Decides for a set of skip kinds what goes.

    Attributes:
        takes_keys: Whether the calls and results in keys of a message go.
    """

    def __init__(self, kinds: tuple[str, ...]) -> None:
        self._kinds = kinds
        self._families = [family for family in _FAMILIES if any(map(self._begins, family))]
        self.takes_keys = _KEYS_FAMILY in self._families

    def _begins(self, kind: str) -> bool:
        return kind.startswith(self._kinds) or _ALIASES.get(kind, kind).startswith(self._kinds)

    def places(self, kinds: list[str], marks: tuple[Mark, ...]) -> set[int]:
        """Give the places of the parts that go, of a message with parts of these *kinds*."""
        gone = {place for place, kind in enumerate(kinds) if self._takes(kind)}
        for call, result in _served(kinds, marks):
            if not gone.isdisjoint((call, result)):
                gone |= {call, result}
        return gone

    def _takes(self, kind: str) -> bool:
        return self._begins(kind) or any(kind in family for family in self._families)


def _served(kinds: list[str], marks: tuple[Mark, ...]) -> Iterator[tuple[int, int]]:
    """Find the calls of tools that the provider ran, with their results, by place."""
    for call, result in calls.pair([_Marks(marks)]).answers:
        place, other = call.mark.place, result.mark.place
        if KEYS in (place, other):
            continue
        if kinds[place].endswith("_tool_use") and kinds[other].endswith("_tool_result"):
            yield place, other


class _Marks:
    """The marks of a single message, to pair them."""

    def __init__(self, marks: tuple[Mark, ...]) -> None:
        self.marks = marks


def _reduced(
    entry: Entry,
    message: jsontext.Members,
    gone: Collection[int],
    gone_keys: Iterable[str],
    form: Form,
) -> Entry:
    """Write the *message* of *entry* again without the parts and the keys that are *gone*."""
    parts = jsontext.items(message["parts"], "parts")
    kept = [place for place in range(len(parts)) if place not in gone]
    for key in gone_keys:
        del message[key]
    counts = _what_is_left(entry.counts, kept, message)
    message["parts"] = b"[" + b",".join(parts[place] for place in kept) + b"]"
    message["token_count"] = b"%d" % counts.total
    kinds = _part_kinds(message)
    return replace(
        entry,
        form=form,
        body=jsontext.joined(message),
        counts=counts,
        marks=_marks(message, kinds),
        opens_turn=opens_turn(entry.role, kinds, message),
    )


def _part_kinds(message: jsontext.Members) -> list[str]:
    parts = jsontext.items(message["parts"], "parts")
    return [jsontext.string(jsontext.members(part, (), None)["type"], "type") for part in parts]


def _marks(message: jsontext.Members, kinds: list[str]) -> tuple[Mark, ...]:
    parts = jsontext.items(message["parts"], "parts")
    in_parts = [
        calls.mark_of_part(place, kind, jsontext.members(part, (), None))
        for place, (part, kind) in enumerate(zip(parts, kinds, strict=True))
    ]
    return calls.marks_of([mark for mark in in_parts if mark is not None], message)


def _what_is_left(counts: Counts, kept: list[int], message: jsontext.Members) -> Counts:
    parts = tuple(counts.parts[place] for place in kept)
    has_keys = calls.has_calls_in_keys(message) or calls.answered_in_keys(message) is not None
    keys = counts.keys if has_keys else 0
    total = min(counts.total, counts.overhead + keys + sum(parts))
    return Counts(total, counts.overhead, keys, parts)
