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
- A message left without parts goes. One that never had any stays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from msgspec.structs import replace

from fastpaca.context import calls, jsontext
from fastpaca.context.calls import KEYS, Mark, Side
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
    return _reduced(entry, _Kinds(wanted).takes, form._replace(kinds=wanted, rules=rules))


def without_results(entry: Entry, ids: Iterable[str]) -> Entry | None:
    """Take the results of the calls with these *ids* out of *entry*; None if nothing is left."""
    form = entry.form or Form()
    gone = frozenset(ids)
    places = {mark.place for mark in entry.marks if mark.side is Side.RESULT and mark.id in gone}

    def takes(place: int, kind: str, siblings: frozenset[str]) -> bool:
        return place in places

    return _reduced(entry, takes, form._replace(without=tuple(sorted({*form.without, *gone}))))


class _Kinds:
    """Decides for a set of skip kinds which parts go."""

    def __init__(self, kinds: tuple[str, ...]) -> None:
        self._kinds = kinds
        self._families = [family for family in _FAMILIES if any(map(self._begins, family))]

    def _begins(self, kind: str) -> bool:
        return kind.startswith(self._kinds) or _ALIASES.get(kind, kind).startswith(self._kinds)

    def takes(self, place: int, kind: str, siblings: frozenset[str]) -> bool:
        if place == KEYS:
            return _KEYS_FAMILY in self._families
        if _is_server_side(kind):
            # Tools that the provider runs: call and result stand in one message, side by side.
            return any(self._begins(other) for other in siblings if _is_server_side(other))
        return self._begins(kind) or any(kind in family for family in self._families)


def _is_server_side(kind: str) -> bool:
    return kind.endswith(("_tool_use", "_tool_result"))


def _reduced(
    entry: Entry, takes: Callable[[int, str, frozenset[str]], bool], form: Form
) -> Entry | None:
    """Rebuild *entry* without what *takes* (place, type, types beside it) says must go."""
    message = jsontext.members(entry.body, (), None)
    parts = jsontext.items(message["parts"], "parts")
    kinds = [_kind(part) for part in parts]
    siblings = frozenset(kinds)
    kept = [place for place, kind in enumerate(kinds) if not takes(place, kind, siblings)]
    has_keys = any(key in message for key in calls.MESSAGE_KEYS)
    keys_go = has_keys and takes(KEYS, "", siblings)
    if len(kept) == len(parts) and not keys_go:
        return replace(entry, form=form)
    if not kept or (keys_go and "tool_call_id" in message):
        return None
    counts = _what_is_left(entry.counts, kept, keys_go)
    if keys_go:
        del message["tool_calls"]
    message["parts"] = b"[" + b",".join(parts[place] for place in kept) + b"]"
    message["token_count"] = b"%d" % counts.total
    marks = _kept_marks(entry.marks, kept, keys_go)
    return replace(
        entry,
        form=form,
        body=jsontext.joined(message),
        counts=counts,
        marks=marks,
        opens_turn=opens_turn(entry.role, len(kept), marks),
    )


def _kind(part: bytes) -> str:
    return jsontext.string(jsontext.members(part, (), None)["type"], "type")


def _what_is_left(counts: Counts, kept: list[int], keys_go: bool) -> Counts:
    parts = tuple(counts.parts[place] for place in kept)
    keys = 0 if keys_go else counts.keys
    total = min(counts.total, counts.overhead + keys + sum(parts))
    return Counts(total, counts.overhead, keys, parts)


def _kept_marks(marks: tuple[Mark, ...], kept: list[int], keys_go: bool) -> tuple[Mark, ...]:
    places = {old: new for new, old in enumerate(kept)}
    if not keys_go:
        places[KEYS] = KEYS
    return tuple(mark._replace(place=places[mark.place]) for mark in marks if mark.place in places)
