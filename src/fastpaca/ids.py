"""
What a context id and an idempotency key may be. Pure.

The API, the reader of exports and the clients all check them here. `tests/wire/rules/limits.json`
holds the SDKs of other languages to the same rules.
"""

from __future__ import annotations

import re
from typing import Final

ID_BYTES_MAX: Final = 512

KEY_CHARS_MAX: Final = 255

_KEY: Final = re.compile(rf"[ -~]{{1,{KEY_CHARS_MAX}}}")

_HEADER_VALUE: Final = re.compile(r"[!-~](?:[ -~]*[!-~])?")
"""What any HTTP software passes on unchanged: printable ASCII without spaces around it."""


def id_fault(text: str) -> str | None:
    """Return why *text* can't be a context id, to follow "The context id"; None if it can be."""
    if not text:
        return "is empty"
    if text in (".", ".."):
        return "is '.' or '..', which clients and proxies treat as a step in the path"
    if "\0" in text:
        return "contains a NUL character, which is not allowed"
    try:
        size_bytes = len(text.encode())
    except UnicodeEncodeError:
        return "contains a lone surrogate, which is not allowed"
    if size_bytes > ID_BYTES_MAX:
        return f"has {size_bytes} bytes of UTF-8; the limit is {ID_BYTES_MAX}"
    return None


def is_header_value(text: object) -> bool:
    """Return whether *text* can be the value of a header."""
    return isinstance(text, str) and _HEADER_VALUE.fullmatch(text) is not None


def is_idempotency_key(text: object) -> bool:
    """Return whether *text* can be an `Idempotency-Key`: printable ASCII."""
    return isinstance(text, str) and _KEY.fullmatch(text) is not None
