"""
JSON as text: what may come in, and how it is kept.

Callers get back what they sent, value for value: integers of any size, `1.0`, key order, duplicate
keys of their own. So values are kept as JSON text and never as decoded objects. The rules here make
sure that what is kept can always be read back:

- UTF-8 only, checked on the whole text, since skipped fields are not looked at by the decoder.
- Insignificant white space is dropped on the way in; nothing else of the text changes.
- Nesting ends at `DEPTH_MAX`, well below what any reader's own recursion limit allows.
- An object whose meaning depends on which of two equal keys a reader takes is refused where the
  key is one that fastpaca itself reads.
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

KEY_SHOWN_CHARS: Final = 100  # how much of an unknown key an error message repeats

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
    Check that *text* is one JSON value in UTF-8 and drop its insignificant white space.

    Raises:
        InvalidRequest: It is not JSON or not UTF-8.
    """
    if not text or text.isspace():
        raise InvalidRequest("The text is empty; send JSON.", field)
    if text.startswith(codecs.BOM_UTF8):
        raise InvalidRequest("The text starts with a byte order mark; remove it.", field)
    try:
        if not text.isascii():
            text.decode()  # the decoder below lets broken UTF-8 through inside of strings
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

    Works on the skeleton of brackets, mostly with passes in C, since a walk in Python over 16 MiB
    would take seconds; and step by step, since each pass holds the interpreter's lock.
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
    """Tell whether *text* has so few brackets that it can't be nested too deep."""
    return text.count(b"[") + text.count(b"{") <= DEPTH_MAX


def _skeletons(text: bytes) -> Iterator[bytes]:
    """Give the brackets outside of strings, all as `[` or `]`, step by step."""
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
    """Tell quickly how high *skeleton* rises at most; exactly that if it is balanced."""
    levels = 0
    while skeleton.count(b"[]") * _SPARSE > len(skeleton):
        skeleton = skeleton.replace(b"[]", b"")  # takes the innermost level off everywhere
        levels += 1
    depth = highest = 0
    for between in skeleton.split(b"[]"):  # of the form `]]][[[`
        depth += 2 * between.count(b"[") - len(between)
        highest = max(highest, depth + 1)
    return levels + highest


def _height(skeleton: bytes) -> int:
    """Tell how high *skeleton* rises above where it begins."""
    return max(accumulate(map(_RISE.__getitem__, skeleton)), default=0)


def _too_deep(field: str | None) -> InvalidRequest:
    return InvalidRequest(f"Nested too deeply; the limit is {DEPTH_MAX} levels.", field)


def kind_of(text: bytes) -> str:
    """Name the JSON type of minified *text*, as an error message would."""
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
        InvalidRequest: It is not an object, or one of the *known* keys (None: any key) stands in it
            twice.
    """
    if text[:1] != b"{":
        raise InvalidRequest(f"Must be an object, not {kind_of(text)}.", field)
    try:
        found = {key: bytes(value) for key, value in _members_decoder.decode(text).items()}
    except (RecursionError, MemoryError):
        raise _too_deep(field) from None
    except msgspec.DecodeError as error:
        raise InvalidRequest(f"Not valid JSON: {error}.", field) from None
    if not _has_length_of(found, text):
        _refuse_repeated(text, known, field)
    return found


def _has_length_of(found: Members, text: bytes) -> bool:
    """
    Tell whether *found* accounts for every byte of *text*, so that no key stands twice.

    Keys with escapes, or beyond ASCII, make it say no; the slow way then decides.
    """
    # Braces, and for each member two quotes, a colon and a comma, the last comma aside.
    marks = 1 + 4 * len(found) if found else 2
    return marks + sum(map(len, found)) + sum(map(len, found.values())) == len(text)


def _refuse_repeated(text: bytes, known: Collection[str] | None, field: str | None) -> None:
    for key in repeated_keys(text):
        if known is None or key in known:
            path = f"{field}.{key}" if field else key
            raise InvalidRequest(f"The key {key!r} appears twice; send it once.", path)


def repeated_keys(text: bytes) -> list[str]:
    """List the keys that stand more than once at the top of the object *text*."""
    outermost: list[tuple[str, object]] = []

    def note(pairs: list[tuple[str, object]]) -> None:
        outermost[:] = pairs  # objects end from the inside out: the last to report is the top

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
    Decode one of the API's own integers, from *least* to 2^53-1.

    Raises:
        InvalidRequest: It is something else or out of range.
    """
    wanted = f"Must be an integer from {least} to {INTEGER_MAX}"
    if kind_of(text) != "a number":
        raise InvalidRequest(f"{wanted}, not {kind_of(text)}.", field)
    if not text.lstrip(b"-").isdigit():
        raise InvalidRequest(f"{wanted}, written without fraction or exponent.", field)
    if len(text) > 20 or not least <= (value := int(text)) <= INTEGER_MAX:
        raise InvalidRequest(f"{wanted}.", field)
    return value


def joined(found: Mapping[str, bytes]) -> bytes:
    """Write an object from its members, in their order."""
    pairs = (msgspec.json.encode(key) + b":" + value for key, value in found.items())
    return b"{" + b",".join(pairs) + b"}"


def same_text(left: bytes, right: bytes) -> bool:
    """
    Tell whether two JSON texts are the same to the letter, but for how characters are escaped.
    """
    return left == right or _spelled(left) == _spelled(right)


def _spelled(text: bytes) -> object:
    # Pairs keep their order, and numbers their digits; a string never equals either.
    return json.loads(text, object_pairs_hook=tuple, parse_int=_Number, parse_float=_Number)


class _Number(NamedTuple):
    """A number, as it is written."""

    text: str


def without(text: bytes, keys: Collection[str]) -> bytes:
    """
    Take the members with these *keys* out of the object *text*; all others stay to the letter.

    That includes what stands twice: an object of members by key would lose one of them.
    """
    found = members(text, (), None)
    if _has_length_of(found, text):
        return joined({key: value for key, value in found.items() if key not in keys})
    kept = [key + b":" + value for key, value in _pairs(text) if string(key, "") not in keys]
    return b"{" + b",".join(kept) + b"}"


def _pairs(text: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Walk over the members of the object *text*, keys and values as text, in order."""
    depth, start, key = 0, 1, b""
    for token in _TOKEN.finditer(text):
        mark = token[0]
        if depth == 1 and mark == b":":
            key, start = text[start : token.start()], token.end()
        elif depth == 1 and mark in (b",", b"}") and key:
            yield key, text[start : token.start()]
            key, start = b"", token.end()
        depth += (mark in (b"{", b"[")) - (mark in (b"}", b"]"))


def same_value(left: bytes, right: bytes) -> bool:
    """
    Tell whether two JSON texts mean the same value.

    Numbers are compared exactly and by value, so that a client whose JSON reader writes `1.0` as
    `1` is understood; `true` is not `1`; the order of keys does not matter.
    """
    return left == right or _comparable(left) == _comparable(right)


def _comparable(text: bytes) -> object:
    # Numbers become tagged values, so that 1, "1" and true stay three different things.
    return json.loads(text, parse_int=_number, parse_float=_number)


def _number(text: str) -> tuple[str, object]:
    try:
        return ("number", Decimal(text))
    except InvalidOperation:  # an exponent beyond all bounds: equal only to itself
        return ("number", text)


def unknown_key_message(key: str, known: Collection[str]) -> str:
    """Say that *key* is unknown, with the nearest known name or all of them."""
    if len(key) > KEY_SHOWN_CHARS:  # to compare one of megabytes would take seconds
        key = key[:KEY_SHOWN_CHARS] + "…"
    near = get_close_matches(key, known, n=1, cutoff=0.6)
    if near:
        return f"Unknown key {key!r}; did you mean {near[0]!r}?"
    return f"Unknown key {key!r}; the known keys are {', '.join(sorted(known))}."
