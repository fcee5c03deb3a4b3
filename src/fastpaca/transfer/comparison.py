"""What differs between two contexts, as a sentence that names the first difference."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

from fastpaca.store.base import CompactionRow, MessageRow, SyntheticRow
from fastpaca.transfer.format import State, encode
from fastpaca.transfer.history import Page

Row = MessageRow | SyntheticRow | CompactionRow

SHOWN_CHARS = 60
"""How much of a value is shown."""


def difference_of_states(expected: State, found: State) -> str | None:
    """Name the first field in which the state in a store is not the *expected* one of a file."""
    if encode(expected) == encode(found):
        return None
    for field in State.__struct_fields__:
        ours, theirs = getattr(expected, field), getattr(found, field)
        if _bytes(ours) != _bytes(theirs):
            return f"its {field} is {_shown(theirs)}, and {_shown(ours)} in the file"
    raise AssertionError


def difference_of_pages(expected: Page, found: Page) -> str | None:
    """Name the first thing in which what a store has is not what is *expected* from a file."""
    return (
        _difference_of_rows("message", expected.messages, found.messages)
        or _difference_of_rows("message of a replacement", expected.synthetics, found.synthetics)
        or _difference_of_rows("compaction", expected.compactions, found.compactions)
    )


def _difference_of_rows(noun: str, expected: Sequence[Row], found: Sequence[Row]) -> str | None:
    if expected == found:
        return None
    for ours, theirs in zip_longest(expected, found):
        if theirs is None:
            return f"it lacks the {noun} of version {ours.version}"
        if ours is None:
            return f"it has a {noun} of version {theirs.version} that is not in the file"
        if ours != theirs:
            fields = [name for name in ours._fields if getattr(ours, name) != getattr(theirs, name)]
            return f"the {noun} of version {ours.version} differs in {', '.join(fields)}"
    raise AssertionError


def _bytes(value: object) -> object:
    return value if isinstance(value, int | float | str) else bytes(value)  # type: ignore[call-overload]  # raw JSON


def _shown(value: object) -> str:
    text = value if isinstance(value, int | float | str) else _bytes(value)
    shown = repr(text.decode() if isinstance(text, bytes) else text)
    return shown if len(shown) <= SHOWN_CHARS else f"{shown[:SHOWN_CHARS]}…"
