"""
Signatures and encrypted payloads: what no model reads as text.

They are base64 of hundreds to thousands of characters, which a provider puts beside reasoning and
search results and wants back untouched. They are billed, but for far less than such a text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from typing import Final

from fastpaca.shapes import OPAQUE_KEYS, OPAQUE_TYPES
from fastpaca.tokens.counter import TokenCounter

OPAQUE_PERCENT: Final = 22
"""
What such a payload costs, of the tokens that its text would have. Measured on the bills of real
conversations with OpenAI and Anthropic: 20 to 27.
"""

_STEP_BYTES: Final = 1 << 16
_KEY_BYTES_MAX: Final = 64  # more than any key of the table takes, with its quotes and the colon
_REST: Final = re.compile(rb'[^"\\]*(?:\\.[^"\\]*)*', re.DOTALL)


def without_opaque(json: bytes, kind: str, counter: TokenCounter) -> tuple[bytes, int]:
    """
    Take the opaque payloads out of *json*, a part of type *kind* or a key of a message.

    Returns:
        The rest, and what the payloads cost in tokens.
    """
    pattern = _pattern(OPAQUE_TYPES.get(kind))
    kept: list[bytes] = []
    tokens = at = start = 0
    while start < len(json):
        # Step by step, as one search through megabytes would hold the interpreter's lock.
        end = start + _STEP_BYTES
        key = pattern.search(json, start, end + _KEY_BYTES_MAX)
        if key is None:
            start = end
            continue
        payload = _REST.match(json, key.end())
        start = key.end() if payload is None else payload.end()
        kept.append(json[at : key.end()])
        tokens += counter.count(json[key.end() : start].decode())
        at = start
    if not kept:
        return json, 0
    kept.append(json[at:])
    return b"".join(kept), -(-tokens * OPAQUE_PERCENT // 100)


@cache
def _pattern(key: str | None) -> re.Pattern[bytes]:
    keys: Iterable[str] = OPAQUE_KEYS if key is None else (*OPAQUE_KEYS, key)
    # Quotes inside of a string are escaped, so that this matches nothing but keys.
    return re.compile(b'"(?:%b)":"' % "|".join(sorted(keys)).encode())
