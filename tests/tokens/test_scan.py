"""The scan for media against a walk over the decoded JSON."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastpaca.tokens.scan import (
    DATA_KEYS,
    LONG_BYTES,
    MEDIA_TYPE_KEYS,
    REFERENCE_KEYS,
    objects,
)

_KEYS = st.sampled_from(
    ["type", "a", "text", "", "content", "source", "ä", 'q"', "\\", "data:x", "k" * 300]
    + [key.decode() for key in sorted(DATA_KEYS | MEDIA_TYPE_KEYS | REFERENCE_KEYS)]
)
_WORDS = ["image", "text", "image/PNG; a=b", "http://a/b", "data:", "data:image/png;base64,AAAA"]
_WORDS += ["", '"', "\\", '\\"', "{", "}", '{"type":"image"}', "中文", "\n" * 9, "type", '":"']
_WORDS += ["A" * LONG_BYTES, "A" * (LONG_BYTES - 1), '"' * 700, "\\" * 701, "ä{" * 300]
_STRINGS = st.one_of(st.sampled_from(_WORDS), st.text(max_size=8))
_VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), _STRINGS),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(_KEYS, inner, max_size=5)),
    max_leaves=25,
)
_PARTS = st.dictionaries(_KEYS, _VALUES, max_size=6)


def dump(value: object, *, ascii_only: bool = False) -> bytes:
    """Write *value* as minified JSON."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=ascii_only).encode()


Noted = tuple[str, str, str, bool, list[str]]


def walk(value: Any, key: str = "") -> Iterator[Noted]:
    """List what matters of the objects in decoded JSON, inner ones first, as the scan should."""
    kind, media_type, refers, texts = "", "", False, []
    for name, inner in _members(value):
        if isinstance(inner, dict):
            yield from walk(inner, _seen(name))
        elif isinstance(inner, str):
            raw = dump(inner)[1:-1].decode()
            known, is_data_url = name.encode(), raw.startswith("data:")
            if name == "type":
                kind = _shortened(raw)
            elif known in MEDIA_TYPE_KEYS:
                media_type = _shortened(raw)
            else:
                if known in DATA_KEYS or is_data_url or len(raw.encode()) >= LONG_BYTES:
                    texts.append(raw)
                is_reference = known in REFERENCE_KEYS or (
                    known in DATA_KEYS and raw.startswith("http")
                )
                refers |= is_reference and raw != "" and not is_data_url
    if kind or media_type or refers or texts:
        yield key, kind, media_type, refers, texts


def _members(value: Any) -> Iterator[tuple[str, Any]]:
    """List the members of an object, and what stands in its lists, which has no key."""
    for name, inner in value.items():
        yield from _flat(name, inner)


def _flat(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, list):
        for item in value:
            yield from _flat("", item)
    else:
        yield name, value


def _seen(name: str) -> str:
    """Shorten a key as the scan does, for which no known key is long or has a quote in it."""
    raw = dump(name)[1:-1].decode()
    return "" if len(raw) > 63 else raw.rpartition('"')[2].lower()


def _shortened(raw: str) -> str:
    return raw.lower().encode()[:64].decode(errors="replace").partition(";")[0].strip()


@given(_PARTS)
def test_the_scan_finds_what_a_walk_over_the_decoded_json_finds(value: dict[str, Any]) -> None:
    """
    Objects, their types and their long strings are those of the JSON, whatever stands in it.
    """
    part = dump(value)
    found = [
        (
            item.key.decode().lower(),
            item.kind,
            item.media_type,
            item.refers,
            [part[text.start : text.end].decode() for text in item.texts],
        )
        for item, _ in objects(part)
        if item.kind or item.media_type or item.refers or item.texts
    ]
    assert found == list(walk(value))


@given(_PARTS)
def test_only_the_part_itself_has_nothing_around_it(value: dict[str, Any]) -> None:
    """
    Every object but the last one, which is the part, comes with the one that it stands in.
    """
    around = [outer for _, outer in objects(dump(value))]
    assert all(outer is not None for outer in around[:-1])
    assert not around or around[-1] is None


@pytest.mark.parametrize(
    "unit",
    [
        *('{"data":"x"}', "{}", '{"":0}', '"a"', "1", '"data:image/png;base64,AAAA"', '"\\"\\""'),
        *('{"type":"image","url":"http"}', '{"a":{"b":{"c":[]}}}', '"' + "\\n" * 9 + '"'),
        '{"type":"file","media_type":"image/png","data":"AAAA"}',
    ],
)
def test_a_megabyte_of_anything_is_scanned_once(unit: str) -> None:
    """
    The time for a scan grows with the length of the part and with nothing else.
    """
    items = ",".join([unit] * (1_000_000 // len(unit)))
    part = f'{{"type":"image","content":[{items}]}}'.encode()
    start = time.process_time()
    assert sum(1 for _ in objects(part)) >= 1
    assert time.process_time() - start < 5


@pytest.mark.parametrize("char", ["A", '\\"', "\\\\", "\\u4f60"])
def test_a_string_of_megabytes_is_scanned_once(char: str) -> None:
    """
    Nor does it matter what a long string is made of.
    """
    text = char * (4_000_000 // len(char))
    start = time.process_time()
    (found,) = (item for item, _ in objects(f'{{"type":"image","a":"{text}"}}'.encode()))
    assert [end - start for _, start, end in found.texts] == [len(text)]
    assert time.process_time() - start < 5


def test_nesting_needs_no_stack() -> None:
    """
    The scan goes as deep as a part may be nested, and deeper.
    """
    part = b'{"type":"image","a":' + b'{"a":[' * 5000 + b"]}" * 5000 + b"}"
    assert sum(1 for _ in objects(part)) >= 5000
