"""
What a JSON text says, read by Python's own parser: the second opinion on what the decoder takes.

Objects are tuples of pairs and numbers are their text, so that order, repeated keys and every digit
count.
"""

from __future__ import annotations

import codecs
import json
from typing import Any, NamedTuple

ADDED = ("seq", "version", "token_count", "inserted_at")
"""The fields of a message that the log answers."""


class Number(NamedTuple):
    """A number, as it is written."""

    text: str


class Members(tuple[tuple[str, Any], ...]):
    """An object: its members in their order, also those whose keys repeat."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Members) and tuple.__eq__(self, other)

    def __hash__(self) -> int:
        return tuple.__hash__(self)

    def last(self, key: str) -> Any:
        """Give the value of *key*, the last one if there are several."""
        return dict(self)[key]

    def repeats(self, *keys: str) -> bool:
        """Tell whether one of these *keys* stands more than once."""
        named = [key for key, _ in self]
        return any(named.count(key) > 1 for key in keys)

    def without(self, *keys: str) -> Members:
        """Leave out the members with these *keys*."""
        return Members(pair for pair in self if pair[0] not in keys)


class Unreadable(Exception):
    """It is no JSON, or none that every reader would understand in the same way."""


def read(text: bytes) -> Any:
    """
    Read *text* as strictly as the standards allow.

    Raises:
        Unreadable: It has no meaning.
    """
    if text.startswith(codecs.BOM_UTF8):
        raise Unreadable("a byte order mark")
    try:
        found = json.loads(
            text.decode("utf-8"),
            object_pairs_hook=Members,
            parse_int=Number,
            parse_float=Number,
            parse_constant=_constant,
        )
        _refuse_halves(found)
    except (ValueError, RecursionError) as error:
        raise Unreadable(str(error)) from error
    return found


def _constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _refuse_halves(found: Any) -> None:
    """Refuse half of a surrogate pair, which is no character."""
    if isinstance(found, str):
        found.encode("utf-8")
    elif isinstance(found, list | tuple):  # lists, objects, their members; numbers are harmless
        for item in found:
            _refuse_halves(item)


def depth(found: Any) -> int:
    """Count the levels that *found* is nested, 0 for a scalar."""
    if isinstance(found, Members):
        return 1 + max((depth(value) for _, value in found), default=0)
    return 1 + max(map(depth, found), default=0) if isinstance(found, list) else 0


def kept_of(message: Members) -> Members:
    """Give what a log keeps of a *message*: all but what it answers itself, and metadata."""
    kept = message.without(*ADDED)
    if any(key == "metadata" for key, _ in kept):
        return kept
    return Members((*kept, ("metadata", Members())))
