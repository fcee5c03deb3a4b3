"""Count the tokens of a message, piece by piece."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

import msgspec

from fastpaca.context.draft import Draft, Part
from fastpaca.context.message import MESSAGE_OVERHEAD_TOKENS, Counts
from fastpaca.tokens.counter import TokenCounter
from fastpaca.tokens.media import without_media
from fastpaca.tokens.opaque import without_opaque

_CACHED_ROLE_CHARS: Final = 64

_ESCAPES: Final = re.compile(rb"((?:\\u[0-9a-fA-F]{4})+)|(?:\\[^u])+")
# Where an escape begins, except the second one of a surrogate pair: JSON text may be cut there.
_BORDER: Final = re.compile(rb"(?<!\\)\\(?!u[dD][c-fC-F])")
_STEP_BYTES: Final = 1 << 16


def count_message(counter: TokenCounter, draft: Draft) -> Counts:
    """
    Count *draft* with *counter*, piece by piece.

    A caller's own count replaces the total. The pieces are counted anyway: when some of them are
    stripped later, the count of the rest is calculated from them.
    """
    overhead = MESSAGE_OVERHEAD_TOKENS + _role_tokens(counter, draft.role)
    keys = tuple([_json_tokens(counter, text) if text else 0 for text in draft.keys])
    parts = tuple([_part_tokens(counter, part) for part in draft.parts])
    counted = overhead + sum(keys) + sum(parts)
    return Counts(
        total=counted if draft.token_count is None else draft.token_count,
        overhead=overhead,
        keys=keys,
        parts=parts,
    )


def _role_tokens(counter: TokenCounter, role: str) -> int:
    # Roles are few and short, but a caller may send any text of any length.
    return _cached(counter, role) if len(role) <= _CACHED_ROLE_CHARS else counter.count(role)


@lru_cache(maxsize=256)
def _cached(counter: TokenCounter, text: str) -> int:
    return counter.count(text)


def _part_tokens(counter: TokenCounter, part: Part) -> int:
    if part.text is not None:
        signed = without_opaque(part.opaque, part.kind, counter)[1] if part.opaque else 0
        return counter.count(part.text) + signed
    return _json_tokens(counter, part.body, part.kind)


def _json_tokens(counter: TokenCounter, json: bytes, kind: str = "") -> int:
    text, opaque = without_opaque(json, kind, counter)
    text, media = without_media(text, counter)
    return counter.count(_readable(text)) + opaque + media


def _readable(json: bytes) -> str:
    r"""
    Decode JSON text, with characters in place of their escapes.

    Some clients write characters beyond ASCII as escapes (`\u4f60`) and some don't. A message costs
    the same from either, because the model never gets the escapes.
    """
    return (json if b"\\u" not in json else b"".join(_unescaped(json))).decode()


def _unescaped(json: bytes) -> Iterator[bytes]:
    """Unescape JSON text in steps, since a single step would hold the interpreter's lock."""
    at = 0
    while at < len(json):
        border = _BORDER.search(json, at + _STEP_BYTES)
        end = len(json) if border is None else border.start()
        yield _ESCAPES.sub(_characters, json[at:end])
        at = end


def _characters(escapes: re.Match[bytes]) -> bytes:
    run = escapes[1]
    if run is None:
        return escapes[0]
    return msgspec.json.encode(msgspec.json.decode(b'"%b"' % run, type=str))[1:-1]
