"""
Choosing what the `skip_parts` policy takes out of a window.

- The kind `tool` takes calls, results and approvals of every provider, in parts and in keys. The
  kind `reasoning` takes reasoning; an item of the Responses API stays while the item that it led to
  stays. Any other kind takes the parts whose types begin with it.
- A call goes with its results, its strays and its approval, and they go with it, whatever the kind.
- Reasoning goes with what it led to: the next part that is none, of the same message or of the
  assistant message after it.
- The pinned entries stay as they are, and so does the last turn if it holds a call, or held one
  that was cut.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from fastpaca import shapes
from fastpaca.context import jsontext
from fastpaca.context.cuts import Layout
from fastpaca.context.groups import Call, Groups
from fastpaca.context.message import Entry
from fastpaca.context.removal import taken_out
from fastpaca.context.window import Window
from fastpaca.shapes import ASSISTANT_ROLES, INSTRUCTION_ROLES, Shape

TOOL_KIND: Final = "tool"
REASONING_KIND: Final = "reasoning"

_TOOLS: Final = frozenset({Shape.CALL, Shape.RESULT, Shape.BOTH, Shape.REQUEST, Shape.RESPONSE})
_REASONING: Final = frozenset({Shape.REASONING, Shape.REASONING_ITEM})
_SKIPPED: Final = frozenset({Shape.GONE, Shape.PAGE})


def stripped(window: Window, kinds: Iterable[str]) -> Window:
    """Return *window* without the parts of these *kinds*; the same if there are none."""
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
    cut_calls = [call.cut for call in (*groups.all_ghosts, *choice.calls_gone())]
    return Window.of(entries, cut_calls, window.pinned, groups.opened_at)


def _end(layout: Layout) -> int:
    """Find where the last turn begins, if it may not be stripped; else the end."""
    groups, size = layout.groups, layout.size
    if size == layout.pinned:
        return size
    turn = groups.turn[-1]
    holds = turn in groups.marked or (turn >= 0 and layout.entries[turn].is_task)
    if not holds and not any(call.seq >= groups.opened_at for call in groups.all_ghosts):
        return size
    return max(turn, layout.pinned)


class _Choice:
    """
    Decides what goes, of the entries of a window up to *end*.

    Attributes:
        gone: Places by index of the entry.
    """

    def __init__(self, layout: Layout, end: int, kinds: frozenset[str]) -> None:
        self._layout = layout
        self._groups: Groups = layout.groups
        self._entries: Sequence[Entry] = layout.entries[: layout.size]
        self._range = range(layout.pinned, end)
        self._kinds = kinds
        self._prefixes = tuple(kinds - {TOOL_KIND, REASONING_KIND})
        self.gone: dict[int, set[int]] = {}

    def decided(self) -> dict[int, set[int]]:
        """Decide, and return the places that go."""
        for index in self._range:
            places = self._first_choice(self._entries[index])
            if places:
                self.gone[index] = places
        if self.gone:
            self._complete_pairs()
        self._decide_reasoning()
        return self.gone

    def calls_gone(self) -> list[Call]:
        """List the calls that went."""
        return [
            call
            for index in self.gone
            for call in self._groups.calls.get(index, ())
            if call.mark.place in self.gone[index]
        ]

    def _first_choice(self, entry: Entry) -> set[int]:
        """Choose the places of an entry that its own shapes or types give away."""
        reading = entry.reading
        places: set[int] = set()
        if TOOL_KIND in self._kinds:
            places.update(place for mark in reading.marks for place in mark.places)
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
        """Let calls, results and approvals go together."""
        waiting = list(self.gone)
        while waiting:
            index = waiting.pop()
            places = self.gone[index]
            for call in self._groups.calls.get(index, ()):
                if call.mark.place in places or not places.isdisjoint(call.mark.also):
                    waiting += self._take_call(call)
            for mark, call in self._groups.bonds.get(index, ()):
                is_answer = call.results[0] == (index, mark)
                if is_answer and not places.isdisjoint(mark.places):
                    waiting += self._take_call(call)

    def _take_call(self, call: Call) -> list[int]:
        """Take *call* and all that belongs to it; return where more has gone."""
        changed = []
        related = [call, *call.requests, *([call.about] if call.about is not None else [])]
        for one in related:
            if one.at in self._range:
                changed += self._take(one.at, one.mark.places)
            if one.at in self._range or one is call:
                for index, mark in one.results:
                    changed += self._take(index, mark.places)
        return changed

    def _take(self, index: int, places: Iterable[int]) -> list[int]:
        if index < self._layout.pinned:
            return []
        gone = self.gone.setdefault(index, set())
        if gone.issuperset(places):
            return []
        gone.update(places)
        return [index]

    def _decide_reasoning(self) -> None:
        """Let reasoning go with what it led to, and items of the Responses API stay with it."""
        for index in self._range:
            reading = self._entries[index].reading
            if _REASONING.isdisjoint(reading.shapes):
                continue
            for place, shape in enumerate(reading.shapes):
                if shape in _REASONING and self._follows_its_target(index, place, shape):
                    self.gone.setdefault(index, set()).add(place)

    def _follows_its_target(self, index: int, place: int, shape: int) -> bool:
        """Tell whether reasoning goes since what it led to goes."""
        target = self._target(index, place)
        if target is None:
            return False
        at, places = target
        if at < 0:  # it led to nothing
            return shape == Shape.REASONING_ITEM and REASONING_KIND in self._kinds
        return not self.gone.get(at, set()).isdisjoint(places)

    def _target(self, index: int, place: int) -> tuple[int, tuple[int, ...]] | None:
        """
        Find what the reasoning at *place* of an entry led to: where that stands, and its places.

        An index below 0 if it led to nothing; None if that can't be told yet.
        """
        found = _first_said(self._entries[index], place + 1)
        if found is not None:
            return index, found
        for at in range(index + 1, len(self._entries)):
            entry = self._entries[at]
            if entry.role in ASSISTANT_ROLES:
                found = _first_said(entry, 0)
                if found is not None:
                    return at, found
                if not entry.reading.shapes:
                    return -1, ()
            elif entry.role not in INSTRUCTION_ROLES and not _is_for_a_page(entry):
                return -1, ()
        return None


def _is_for_a_page(entry: Entry) -> bool:
    reading = entry.reading
    return bool(reading.shapes) and not reading.marks and _SKIPPED.issuperset(reading.shapes)


def _first_said(entry: Entry, place: int) -> tuple[int, ...] | None:
    """Find the first part of *entry* from *place* on that is no reasoning, else a call in keys."""
    reading = entry.reading
    for at in range(place, len(reading.shapes)):
        if reading.shapes[at] not in _REASONING and reading.shapes[at] not in _SKIPPED:
            return next((m.places for m in reading.marks if at in m.places), (at,))
    return next((mark.places for mark in reading.marks if mark.place < shapes.WHOLE_PLACE), None)
