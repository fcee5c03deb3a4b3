"""Describe the first difference between two contexts in a sentence."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

import msgspec

from fastpaca.store.base import CompactionRow, MessageRow, SyntheticRow
from fastpaca.transfer.format import ContextLine, encode
from fastpaca.transfer.history import HistoryPage

Row = MessageRow | SyntheticRow | CompactionRow

QUOTED_CHARS_MAX = 60
"""How much of a value to quote."""


def context_difference(expected: ContextLine, actual: ContextLine) -> str | None:
    """Describe how the *actual* context of a store differs from the *expected* one of a file."""
    if encode(expected) == encode(actual):
        return None
    for field in ContextLine.__struct_fields__:
        in_file, in_store = _text(getattr(expected, field)), _text(getattr(actual, field))
        if in_file != in_store:
            return f"its {field} is {_quoted(in_store)}, and {_quoted(in_file)} in the file"
    raise AssertionError


def page_difference(expected: HistoryPage, actual: HistoryPage) -> str | None:
    """Describe how the *actual* history in a store differs from the *expected* one of a file."""
    return (
        _difference_of_rows("message", expected.messages, actual.messages)
        or _difference_of_rows("message of a replacement", expected.synthetics, actual.synthetics)
        or _difference_of_rows("compaction", expected.compactions, actual.compactions)
    )


def _difference_of_rows(noun: str, expected: Sequence[Row], actual: Sequence[Row]) -> str | None:
    if expected == actual:
        return None
    for in_file, in_store in zip_longest(expected, actual):
        if in_store is None:
            return f"it lacks the {noun} of version {in_file.version}"
        if in_file is None:
            return f"it has a {noun} of version {in_store.version} that is not in the file"
        if in_file != in_store:
            names = in_file._fields
            fields = [name for name in names if getattr(in_file, name) != getattr(in_store, name)]
            return f"the {noun} of version {in_file.version} differs in {', '.join(fields)}"
    raise AssertionError


def _text(value: object) -> object:
    """Return *value*, JSON as a text."""
    return value if isinstance(value, int | float | str) else msgspec.json.encode(value).decode()


def _quoted(value: object) -> str:
    quoted = repr(value)
    return quoted if len(quoted) <= QUOTED_CHARS_MAX else f"{quoted[:QUOTED_CHARS_MAX]}…"
