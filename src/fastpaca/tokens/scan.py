"""
Find strings in JSON text by what comes before them, without decoding the text.

A part may be 16 MiB of JSON. A single search would hold the interpreter's lock for longer than the
event loop may wait, so a search goes in steps.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

_STEP_BYTES: Final = 1 << 16
_OVERLAP_BYTES: Final = 512  # more than any pattern matches or looks ahead

_BACKSLASH: Final = ord("\\")


def has_match(pattern: re.Pattern[bytes], json: bytes) -> bool:
    """Return whether *pattern* matches anywhere in *json*."""
    steps = range(0, len(json), _STEP_BYTES)
    return any(pattern.search(json, at, at + _STEP_BYTES + _OVERLAP_BYTES) for at in steps)


def strings(pattern: re.Pattern[bytes], json: bytes) -> Iterator[tuple[int, int]]:
    """Yield the start and end, without quotes, of each string that follows a match of *pattern*."""
    at = 0
    while at < len(json):
        match = pattern.search(json, at, at + _STEP_BYTES + _OVERLAP_BYTES)
        if match is None:
            at += _STEP_BYTES
        else:
            at = _end_of_string(json, match.end())
            yield match.end(), at


def _end_of_string(json: bytes, start: int) -> int:
    """Find the quote that ends the string whose first character is at *start*."""
    end = json.find(b'"', start)
    while _is_escaped(json, end):
        end = json.find(b'"', end + 1)
    return end


def _is_escaped(json: bytes, at: int) -> bool:
    before = at - 1
    while json[before] == _BACKSLASH:
        before -= 1
    return (at - before) % 2 == 0


def without(json: bytes, spans: Iterable[tuple[int, int]], *, placeholders: bool = False) -> bytes:
    """Return *json* without *spans*, or with a placeholder for each: a NUL and its number."""
    pieces = []
    at = 0
    for number, (start, end) in enumerate(spans):
        pieces.append(json[at:start])
        if placeholders:
            pieces.append(rb"\u0000%d" % number)
        at = end
    pieces.append(json[at:])
    return b"".join(pieces)
