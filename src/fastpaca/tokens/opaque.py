"""
Signatures and encrypted payloads, which no model reads as text.

They are hundreds to thousands of characters of base64, which a provider puts next to reasoning and
search results and wants back unchanged. They are billed, but at far less than such a text.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Final

from fastpaca.shapes import OPAQUE_KEYS, OPAQUE_TYPES
from fastpaca.tokens.counter import TokenCounter
from fastpaca.tokens.scan import strings, without

OPAQUE_PERCENT: Final = 22
"""
The cost of a payload, in percent of the tokens of its text. Measured on the bills of real
conversations with OpenAI and Anthropic: 20 to 27.
"""


def without_opaque(json: bytes, kind: str, counter: TokenCounter) -> tuple[bytes, int]:
    """
    Cut the opaque payloads out of *json*, a part of type *kind* or a key of a message.

    Returns:
        The rest, and the cost of the payloads in tokens.
    """
    payloads = list(strings(_pattern(OPAQUE_TYPES.get(kind)), json))
    tokens = sum(counter.count(json[start:end].decode()) for start, end in payloads)
    return without(json, payloads), -(-tokens * OPAQUE_PERCENT // 100)


@cache
def _pattern(key: str | None) -> re.Pattern[bytes]:
    keys = OPAQUE_KEYS if key is None else (*OPAQUE_KEYS, key)
    # Quotes inside a string are escaped, so this matches only keys.
    return re.compile(b'"(?:%b)":"' % "|".join(sorted(keys)).encode())
