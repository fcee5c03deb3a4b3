"""
What is odd about a message that is accepted all the same. The response to its append says so.

Most of it is noticed when the message is parsed; whether a result has a call, when it is applied.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from fastpaca import shapes
from fastpaca.shapes import By, Part, Row, ToolReference

UNPAIRED_RESULT: Final = "unpaired_result"
EMPTY_CALL_ID: Final = "empty_call_id"
UNKNOWN_SHAPE: Final = "unknown_shape"

CODES: Final = (UNPAIRED_RESULT, EMPTY_CALL_ID, UNKNOWN_SHAPE)

# fmt: off
ENDINGS: Final = (
    "_call", "-call", "Call",
    "_result", "-result", "Result",
    "_output", "-output", "Output",
    "_return", "-return", "Return",
    "_tool_use", "-tool-use", "toolUse", "ToolUse",
)
# fmt: on
"""How the types of calls and results end, in the spelling of any provider."""

_ID_KEYS: Final = frozenset(key for row in shapes.ROWS for key in row.ids) - {"id"}


class Oddity(NamedTuple):
    """
    Something odd.

    Attributes:
        code: What it is, one of `CODES`.
        path: Where it is, relative to the message, such as `.parts[0]`.
    """

    code: str
    path: str


def oddity_of_part(
    place: int, part: Part, row: Row | None, reference: ToolReference | None
) -> Oddity | None:
    """Return what is odd about *part*, given its *row* and *reference* by the table of shapes."""
    path = f".parts[{place}]"
    if row is None or reference is None:
        if not part["type"].endswith(ENDINGS):
            return None
        is_empty = any(part.get(key) == "" for key in _ID_KEYS)
        return Oddity(EMPTY_CALL_ID if is_empty else UNKNOWN_SHAPE, path)
    if reference.id:
        return None
    held: Part = part[row.word] if row.by is By.KEY else part
    is_empty = any(held.get(key) == "" for key in _ID_KEYS.union(row.ids))
    return Oddity(EMPTY_CALL_ID, path) if is_empty else None


def unpaired(reference: ToolReference) -> Oddity:
    """Return the oddity of a result that answers no call."""
    if reference.place >= 0:
        return Oddity(UNPAIRED_RESULT, f".parts[{reference.place}]")
    return Oddity(UNPAIRED_RESULT, f".{shapes.RESULT_ID_KEY}" if reference.id else "")
