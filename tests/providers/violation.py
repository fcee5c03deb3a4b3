"""
What a validator finds, and the tolerant readings of JSON that the validators share.

A validator is given a request as its provider would be and returns each place that the provider
would refuse.
It knows nothing of fastpaca: the tests of windows and of renderings map places back to messages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

Block = Mapping[str, Any]


class Violation(NamedTuple):
    """
    One place that a provider refuses.

    Attributes:
        rule: The name of the rule, stable and hyphenated.
        message: Index of the message or item in its list; -1 for the list as a whole.
        block: Index of the block in that message; -1 for the message as a whole.
        detail: One sentence for a person.
    """

    rule: str
    message: int
    block: int
    detail: str


def is_blank(text: object) -> bool:
    """Tell whether *text* is missing, not a string, or white space alone."""
    return not isinstance(text, str) or not text.strip()


def mappings(value: object) -> Sequence[Block]:
    """Return the objects of the list *value*; nothing if it is no list."""
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []
