"""
Choosing what the `skip_parts` policy strips from a window.

- The kind `tool` strips calls, results and approvals of every provider, in parts and in keys. The
  kind `reasoning` strips reasoning, but an item of the Responses API stays as long as the item that
  it led to. Any other kind strips the parts whose types begin with it.
- For every kind, a call, its results, its strays and its approval are stripped together.
- Reasoning is stripped with what it led to: the next part that is not reasoning, in the same
  message or in the assistant message after it.
- The pinned entries are not stripped, and neither is the last turn if it holds a call, or held one
  that was cut.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from fastpaca import shapes
from fastpaca.context import jsontext
from fastpaca.context.calls import Call
from fastpaca.context.cuts import Layout
from fastpaca.context.groups import Groups
from fastpaca.context.message import Entry
from fastpaca.context.removal import taken_out
from fastpaca.context.window import Window
from fastpaca.shapes import ASSISTANT_ROLES, INSTRUCTION_ROLES, Reading, Shape

TOOL_KIND: Final = "tool"
REASONING_KIND: Final = "reasoning"

_REASONING: Final = frozenset({Shape.REASONING, Shape.REASONING_ITEM})
_SKIPPED: Final = frozenset({Shape.GONE, Shape.PAGE})


def stripped(window: Window, kinds: Iterable[str]) -> Window:
    """Return *window* without the parts of these *kinds*; the same window if it has none."""
    groups = window.grouped().finish_ghosts()
    layout = Layout(groups, window.shared, window.size, window.pinned)
    end = _end(layout)
    choice = _Choice(layout, end, frozenset(kinds))
    gone = choice.decided()
    if not gone:
        return window
    entries = []
    for index, entry in enumerate(window):
        left = taken_out(entry, gone[index]) if index in gone else entry
        if left is not None:
            entries.append(left)
    pairing = groups.pairing
    cut_calls = pairing.gone(layout.size, choice.has_gone)
    opened_at = window.opened_before(entries)
    return Window.of(entries, cut_calls, window.pinned, opened_at, path=window.path, end=window.end)


def _end(layout: Layout) -> int:
    """Return the end of what may be stripped: the last turn, if that must not be."""
    groups, size = layout.groups, layout.size
    if size == layout.pinned:
        return size
    turn = groups.turn[-1]
    holds = turn in groups.first_calls or (turn >= 0 and layout.entries[turn].is_task)
    if not holds and not groups.pairing.was_cut_since(groups.pairing.opened_at):
        return size
    return max(turn, layout.pinned)


class _Target(NamedTuple):
    """What reasoning led to: places in the entry at an index, which is -1 for nothing."""

    at: int
    places: tuple[int, ...]


_NOTHING: Final = _Target(-1, ())


class _Choice:
    """
    Decides what to strip from the entries of a window before *end*.

    Attributes:
        gone: The places to strip, by index of the entry.
    """

    def __init__(self, layout: Layout, end: int, kinds: frozenset[str]) -> None:
        self._layout = layout
        self._groups: Groups = layout.groups
        self._entries: Sequence[Entry] = layout.entries[: layout.size]
        self._range = range(layout.pinned, end)
        self._kinds = kinds
        self._prefixes = tuple(kinds - {TOOL_KIND, REASONING_KIND})
        self._calls: dict[int, dict[int, list[Call]]] = {}
        self.gone: dict[int, set[int]] = {}

    def decided(self) -> dict[int, set[int]]:
        """Decide, and return the places to strip."""
        for index in self._range:
            places = self._first_choice(self._entries[index])
            if places:
                self.gone[index] = places
        self._complete_pairs()
        self._decide_reasoning()
        return self.gone

    def has_gone(self, call: Call) -> bool:
        """Return whether *call*, of an entry of the window, is stripped."""
        return call.reference.place in self.gone.get(call.at, ())

    def _first_choice(self, entry: Entry) -> set[int]:
        """Choose the places of an entry by its own shapes and types."""
        reading = entry.reading
        places: set[int] = set()
        if TOOL_KIND in self._kinds:
            places.update(
                place for reference in reading.tool_references for place in reference.places
            )
        if REASONING_KIND in self._kinds:
            places.update(map(shapes.reasoning_place, reading.reasoning_keys))
            if Shape.REASONING in reading.shapes:
                places |= {p for p, s in enumerate(reading.shapes) if s == Shape.REASONING}
        if self._prefixes:
            places |= self._of_types(entry)
        return places

    def _of_types(self, entry: Entry) -> set[int]:
        """Choose the parts of an entry whose types begin with a kind."""
        there = [p for p, shape in enumerate(entry.reading.shapes) if shape != Shape.GONE]
        parts = jsontext.items(jsontext.members(entry.body, (), None)["parts"], "parts")
        return {
            place
            for place, part in zip(there, parts, strict=True)
            if jsontext.string(jsontext.members(part, (), None)["type"], "type").startswith(
                self._prefixes
            )
        }

    def _complete_pairs(self) -> None:
        """Add what belongs to the calls, results and approvals that are stripped."""
        taken: set[int] = set()
        waiting = [(index, place) for index, places in self.gone.items() for place in places]
        while waiting:
            index, place = waiting.pop()
            for call in self._calls_at(index).get(place, ()):
                if id(call) not in taken:
                    taken.add(id(call))
                    waiting += self._take_call(call)

    def _calls_at(self, index: int) -> dict[int, list[Call]]:
        """Return the calls that an entry makes or answers, by all places where it does so."""
        if index not in self._calls:
            by_place: dict[int, list[Call]] = {}
            pairing = self._groups.pairing
            for call in pairing.calls.get(index, ()):
                for place in call.reference.places:
                    by_place.setdefault(place, []).append(call)
            for reference, call in pairing.bonds.get(index, ()):
                if call.results[0] == (index, reference):
                    for place in reference.places:
                        by_place.setdefault(place, []).append(call)
            self._calls[index] = by_place
        return self._calls[index]

    def _take_call(self, call: Call) -> list[tuple[int, int]]:
        """Strip *call* and everything that belongs to it; return the new places, with indexes."""
        gone: list[tuple[int, int]] = []
        related = [call, *call.requests, *([call.about] if call.about is not None else [])]
        for one in related:
            if one.at in self._range:
                gone += self._take(one.at, one.reference.places)
            if one.at in self._range or one is call:
                for index, reference in one.results:
                    gone += self._take(index, reference.places)
        return gone

    def _take(self, index: int, places: Iterable[int]) -> list[tuple[int, int]]:
        assert index >= self._layout.pinned  # what belongs to a call stands after it
        gone = self.gone.setdefault(index, set())
        new = [place for place in places if place not in gone]
        gone.update(new)
        return [(index, place) for place in new]

    def _decide_reasoning(self) -> None:
        """
        Strip reasoning with what it led to, and keep items of the Responses API with it.

        This goes from the end to the beginning, so that what follows is known.
        """
        target: _Target | None = None
        for index in range(len(self._entries) - 1, self._range.start - 1, -1):
            entry = self._entries[index]
            if index < self._range.stop and not _REASONING.isdisjoint(entry.reading.shapes):
                self._decide_reasoning_of(index, target)
            target = _followed(index, entry, target)

    def _decide_reasoning_of(self, index: int, target: _Target | None) -> None:
        """Decide about the reasoning of an entry that is followed by *target*."""
        reading = self._entries[index].reading
        by_place = {
            place: reference.places
            for reference in reading.tool_references
            for place in reference.places
        }
        in_keys = _call_in_keys(reading)
        if in_keys is not None:
            target = _Target(index, in_keys)
        for place in range(len(reading.shapes) - 1, -1, -1):
            shape = reading.shapes[place]
            if shape in _REASONING:
                if target is not None and self._goes_with(target, shape):
                    self.gone.setdefault(index, set()).add(place)
            elif shape not in _SKIPPED:
                target = _Target(index, by_place.get(place, (place,)))

    def _goes_with(self, target: _Target, shape: int) -> bool:
        """Return whether reasoning is stripped because of what it led to."""
        if target.at < 0:  # it led to nothing
            return shape == Shape.REASONING_ITEM and REASONING_KIND in self._kinds
        return not self.gone.get(target.at, set()).isdisjoint(target.places)


def _followed(index: int, entry: Entry, target: _Target | None) -> _Target | None:
    """Return what reasoning before *entry* led to, given the *target* of reasoning after it."""
    if entry.role in ASSISTANT_ROLES:
        said = _first_said(entry.reading)
        if said is not None:
            return _Target(index, said)
        return target if entry.reading.shapes else _NOTHING
    return target if entry.role in INSTRUCTION_ROLES or _is_for_a_page(entry) else _NOTHING


def _is_for_a_page(entry: Entry) -> bool:
    reading = entry.reading
    return (
        bool(reading.shapes) and not reading.tool_references and _SKIPPED.issuperset(reading.shapes)
    )


def _first_said(reading: Reading) -> tuple[int, ...] | None:
    """Return the places of the first part that is not reasoning, else of a call in keys."""
    for at, shape in enumerate(reading.shapes):
        if shape not in _REASONING and shape not in _SKIPPED:
            return next((m.places for m in reading.tool_references if at in m.places), (at,))
    return _call_in_keys(reading)


def _call_in_keys(reading: Reading) -> tuple[int, ...] | None:
    """Return the places of the first call that is only in keys."""
    return next(
        (
            reference.places
            for reference in reading.tool_references
            if reference.place < shapes.WHOLE_PLACE
        ),
        None,
    )
