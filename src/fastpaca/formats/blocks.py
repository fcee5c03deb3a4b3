"""
What a block of a provider must hold and may hold: one table per format, for both directions.

A field is a key, or a path: a dot leads into an object, `[]` to each item of a list. What a field
must be is written as how the JSON text of its value begins: `"` for a string, `{` for an object,
`[` for a list, `t` for a boolean; `?` says that it may be missing or null.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

Fields = Mapping[str, str]
"""By field, what it must be."""

KINDS: Final = {'"': "a string", "{": "an object", "[": "a list", "t": "a boolean"}
"""What the letters of fields stand for."""

_TYPES: Final = {'"': str, "{": dict, "[": list, "t": bool, "?": type(None)}


class Block(msgspec.Struct, frozen=True):
    """
    One kind of block.

    Attributes:
        fields: What it must hold.
        needed: The keys that it must have.
        known: The keys that it may have.
        checks: For each key of its own, the types that its value may have.
        inner_checks: For each field further in, but outside of lists, the keys that lead to it and
            the types it may have.
    """

    fields: Fields
    needed: frozenset[str]
    known: frozenset[str]
    checks: tuple[tuple[str, tuple[type, ...]], ...]
    inner_checks: tuple[tuple[tuple[str, ...], tuple[type, ...]], ...]

    @staticmethod
    def of(fields: Fields, more: str = "", needed: str = "") -> Block:
        """
        Make one from its *fields* and its other keys, which are divided by spaces.

        Keys that are *needed* tell a block from one of another provider, though they may be null.
        """
        keys = {field.partition(".")[0].removesuffix("[]") for field in fields}
        must = {field for field, kinds in fields.items() if "?" not in kinds and "." not in field}
        types = {
            tuple(field.split(".")): tuple(_TYPES[kind] for kind in kinds)
            for field, kinds in fields.items()
            if "[]" not in field
        }
        checks = tuple((path[0], kinds) for path, kinds in types.items() if len(path) == 1)
        inner = tuple((path, kinds) for path, kinds in types.items() if len(path) > 1)
        known = frozenset({"type", *keys, *more.split(), *needed.split()})
        return Block(fields, frozenset({*must, *needed.split()}), known, checks, inner)

    def fits(self, part: Mapping[str, Any]) -> bool:
        """Return whether *part* has all that it must have, and nothing that is not known."""
        return self.known.issuperset(part) and self.holds(part) and self.needed <= part.keys()

    def holds(self, part: Mapping[str, Any]) -> bool:
        """Return whether the fields of *part* are what they must be."""
        for key, kinds in self.checks:
            if not isinstance(part.get(key), kinds):
                return False
        for path, kinds in self.inner_checks:
            held: Any = part
            for key in path[:-1]:
                held = held.get(key) if isinstance(held, dict) else None
            if isinstance(held, dict) and not isinstance(held.get(path[-1]), kinds):
                return False
        return True
