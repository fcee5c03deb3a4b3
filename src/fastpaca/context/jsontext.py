"""
JSON as text: what is accepted, and how it is kept.

Callers get back the values they sent: integers of any size, `1.0`, key order, even duplicate keys.
So values are kept as JSON text and never as decoded objects. These rules make sure that stored text
can always be read back:

- UTF-8 only, checked on the whole text, since the decoder does not check the fields it skips.
- Insignificant white space is dropped; nothing else of the text changes.
- Nesting is limited to `DEPTH_MAX`, well below the recursion limit of any reader.
- A key that fastpaca reads itself may appear only once in an object, since readers disagree on
  which of two equal keys counts.
"""

from __future__ import annotations

import codecs
import json
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from decimal import Decimal, InvalidOperation
from difflib import get_close_matches
from itertools import accumulate
from typing import Final, NamedTuple

import msgspec

from fastpaca.errors import InvalidRequest

DEPTH_MAX: Final = 128
INTEGER_MAX: Final = 2**53 - 1  # the largest integer that every JSON reader keeps exact

KEY_SHOWN_CHARS: Final = 100  # how much of an unknown key an error message shows

Members = dict[str, bytes]

_members_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
_items_decoder = msgspec.json.Decoder(list[msgspec.Raw])
_string_decoder = msgspec.json.Decoder(str)
_STEP_BYTES: Final = 1 << 16
_RISE: Final = {ord("["): 1, ord("]"): -1}
_SPARSE: Final = 16  # fewer bracket pairs than one in so many bytes are quicker to walk over

_HALF_PAIR: Final = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])|(?<!\\u[dD][89abAB]..)\\u[dD][c-fC-F]"
)
_HALF_PAIR_HINT: Final = " A \\u escape that is half of a surrogate pair is not a character."
_TOKEN: Final = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{}:,]', re.DOTALL)

_to_square = bytes.maketrans(b"{}", b"[]")
_all_but_brackets = bytes(set(range(256)) - set(b"[]{}"))


def minified(text: bytes, field: str | None = None) -> bytes:
    """
    Return *text*, which must be one JSON value in UTF-8, without insignificant white space.

    Raises:
        InvalidRequest: It is not JSON or not UTF-8.
    """
    if not text or text.isspace():
        raise InvalidRequest("The text is empty; send JSON.", field)
    if text.startswith(codecs.BOM_UTF8):
        raise InvalidRequest("The text starts with a byte order mark; remove it.", field)
    try:
        if not text.isascii():
            text.decode()  # the decoder below accepts broken UTF-8 inside of strings
        return msgspec.json.format(text, indent=-1)
    except UnicodeDecodeError as error:
        raise InvalidRequest(
            f"The text is not UTF-8 (byte {error.start}); send UTF-8.", field
        ) from None
    except msgspec.DecodeError as error:
        hint = _HALF_PAIR_HINT if _HALF_PAIR.search(text) else ""
        raise InvalidRequest(f"Not valid JSON: {error}.{hint}", field) from None
    except (RecursionError, MemoryError):
        raise _too_deep(field) from None


def check_depth(text: bytes, field: str) -> None:
    """
    Refuse minified JSON *text* that is nested deeper than `DEPTH_MAX`.

    This works on the skeleton of brackets, mostly in C, since a loop in Python over 16 MiB would
    take seconds; and step by step, since each pass holds the interpreter's lock.
    """
    if is_shallow(text):
        return
    depth = 0
    for skeleton in _skeletons(text):
        room = DEPTH_MAX - depth
        if _height_at_most(skeleton) > room and _height(skeleton) > room:
            raise _too_deep(field)
        depth += 2 * skeleton.count(b"[") - len(skeleton)


def is_shallow(text: bytes) -> bool:
    """Return whether *text* has so few brackets that it can't be nested too deep."""
    return text.count(b"[") + text.count(b"{") <= DEPTH_MAX


def _skeletons(text: bytes) -> Iterator[bytes]:
    """Yield the brackets outside of strings, all as `[` or `]`, step by step."""
    at, in_string = 0, False
    while at < len(text):
        step = text[at : at + _STEP_BYTES]
        if (len(step) - len(step.rstrip(b"\\"))) % 2:  # an escape stays in one piece
            step = text[at : at + _STEP_BYTES + 1]
        at += len(step)
        pieces = step.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')
        outside = b"".join(pieces[in_string::2])
        yield outside.translate(_to_square, _all_but_brackets)
        in_string ^= len(pieces) % 2 == 0


def _height_at_most(skeleton: bytes) -> int:
    """Return a quick upper bound of the height of *skeleton*; the height itself if balanced."""
    levels = 0
    while skeleton.count(b"[]") * _SPARSE > len(skeleton):
        skeleton = skeleton.replace(b"[]", b"")  # removes the innermost level everywhere
        levels += 1
    depth = highest = 0
    for between in skeleton.split(b"[]"):  # of the form `]]][[[`
        depth += 2 * between.count(b"[") - len(between)
        highest = max(highest, depth + 1)
    return levels + highest


def _height(skeleton: bytes) -> int:
    """Return how many levels *skeleton* rises above its beginning."""
    return max(accumulate(map(_RISE.__getitem__, skeleton)), default=0)


def _too_deep(field: str | None) -> InvalidRequest:
    return InvalidRequest(f"Nested too deeply; the limit is {DEPTH_MAX} levels.", field)


def kind_of(text: bytes) -> str:
    """Return the JSON type of minified *text*, as error messages name it."""
    first = text[:1]
    if first == b"{":
        return "an object"
    if first == b"[":
        return "a list"
    if first == b'"':
        return "a string"
    if first in (b"t", b"f"):
        return "a boolean"
    return "null" if first == b"n" else "a number"


def members(text: bytes, known: Collection[str] | None, field: str | None) -> Members:
    """
    Split minified *text* into the members of an object, values as text.

    Raises:
        InvalidRequest: It is not an object, or one of the *known* keys (None: any key) appears
            twice.
    """
    if text[:1] != b"{":
        raise InvalidRequest(f"Must be an object, not {kind_of(text)}.", field)
    try:
        values = {key: bytes(value) for key, value in _members_decoder.decode(text).items()}
    except (RecursionError, MemoryError):
        raise _too_deep(field) from None
    except msgspec.DecodeError as error:
        raise InvalidRequest(f"Not valid JSON: {error}.", field) from None
    if not _has_length_of(values, text):
        _refuse_repeated(text, known, field)
    return values


def _has_length_of(values: Members, text: bytes) -> bool:
    """
    Return whether *values* account for every byte of *text*, so that no key appears twice.

    For keys with escapes or non-ASCII characters this is false; the slow way then decides.
    """
    # Braces, and for each member two quotes, a colon and a comma, except for the last comma.
    signs = 1 + 4 * len(values) if values else 2
    return signs + sum(map(len, values)) + sum(map(len, values.values())) == len(text)


def _refuse_repeated(text: bytes, known: Collection[str] | None, field: str | None) -> None:
    for key in repeated_keys(text):
        if known is None or key in known:
            path = f"{field}.{key}" if field else key
            raise InvalidRequest(f"The key {key!r} appears twice; send it once.", path)


def repeated_keys(text: bytes) -> list[str]:
    """Return the keys that appear more than once at the top level of the object *text*."""
    outermost: list[tuple[str, object]] = []

    def note(pairs: list[tuple[str, object]]) -> None:
        outermost[:] = pairs  # inner objects end first, so the last one noted is the outermost

    try:
        json.loads(text, object_pairs_hook=note, parse_int=str, parse_float=str)
    except RecursionError:
        raise _too_deep(None) from None
    uses = Counter(key for key, _ in outermost)
    return [key for key, times in uses.items() if times > 1]


def items(text: bytes, field: str) -> list[bytes]:
    """
    Split minified *text* into the items of a list, each as text.

    Raises:
        InvalidRequest: It is not a list.
    """
    if text[:1] != b"[":
        raise InvalidRequest(f"Must be a list, not {kind_of(text)}.", field)
    try:
        return [bytes(item) for item in _items_decoder.decode(text)]
    except RecursionError:
        raise _too_deep(field) from None


def string(text: bytes, field: str) -> str:
    """
    Decode a JSON string.

    Raises:
        InvalidRequest: It is another kind of value.
    """
    if text[:1] != b'"':
        raise InvalidRequest(f"Must be a string, not {kind_of(text)}.", field)
    return _string_decoder.decode(text)


def integer(text: bytes, field: str, least: int) -> int:
    """
    Decode an integer of the API, from *least* to 2^53-1.

    Raises:
        InvalidRequest: It is another kind of value, or out of range.
    """
    wanted = f"Must be an integer from {least} to {INTEGER_MAX}"
    if kind_of(text) != "a number":
        raise InvalidRequest(f"{wanted}, not {kind_of(text)}.", field)
    if not text.lstrip(b"-").isdigit():
        raise InvalidRequest(f"{wanted}, written without fraction or exponent.", field)
    if len(text) > 20 or not least <= (value := int(text)) <= INTEGER_MAX:
        raise InvalidRequest(f"{wanted}.", field)
    return value


def joined(values: Mapping[str, bytes]) -> bytes:
    """Return the text of an object with these members, in their order."""
    pairs = (msgspec.json.encode(key) + b":" + value for key, value in values.items())
    return b"{" + b",".join(pairs) + b"}"


def same_text(left: bytes, right: bytes) -> bool:
    """Return whether two JSON texts are the same, except for how characters are escaped."""
    return left == right or _spelled(left) == _spelled(right)


def _spelled(text: bytes) -> object:
    # Pairs keep their order, and numbers their digits; a string never equals either.
    return json.loads(text, object_pairs_hook=tuple, parse_int=_Number, parse_float=_Number)


class _Number(NamedTuple):
    """A number, as it was written."""

    text: str


def without(text: bytes, keys: Collection[str]) -> bytes:
    """Return the object *text* without *keys*; all else stays unchanged, even repeated keys."""
    values = members(text, (), None)
    if _has_length_of(values, text):
        return joined({key: value for key, value in values.items() if key not in keys})
    kept = [key + b":" + value for key, value in _pairs(text) if string(key, "") not in keys]
    return b"{" + b",".join(kept) + b"}"


def _pairs(text: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the members of the object *text* in order, keys and values as text."""
    depth, start, key = 0, 1, b""
    for token in _TOKEN.finditer(text):
        sign = token[0]
        if depth == 1 and sign == b":":
            key, start = text[start : token.start()], token.end()
        elif depth == 1 and sign in (b",", b"}") and key:
            yield key, text[start : token.start()]
            key, start = b"", token.end()
        depth += (sign in (b"{", b"[")) - (sign in (b"}", b"]"))


def same_value(left: bytes, right: bytes) -> bool:
    """
    Return whether two JSON texts mean the same value.

    Numbers are compared exactly and by value, since some clients write `1.0` as `1`. `true` does
    not equal `1`, and the order of keys does not matter.
    """
    return left == right or _comparable(left) == _comparable(right)


def _comparable(text: bytes) -> object:
    # Numbers become tagged values, so that 1, "1" and true stay three different things.
    return json.loads(text, parse_int=_number, parse_float=_number)


def _number(text: str) -> tuple[str, object]:
    try:
        return ("number", Decimal(text))
    except InvalidOperation:  # its exponent is too large: equal only to itself
        return ("number", text)


def unknown_key_message(key: str, known: Collection[str]) -> str:
    """Return the message for an unknown *key*, with the nearest known key or all of them."""
    if len(key) > KEY_SHOWN_CHARS:  # comparing one of megabytes would take seconds
        key = key[:KEY_SHOWN_CHARS] + "…"
    near = get_close_matches(key, known, n=1, cutoff=0.6)
    if near:
        return f"Unknown key {key!r}; did you mean {near[0]!r}?"
    return f"Unknown key {key!r}; the known keys are {', '.join(sorted(known))}."
