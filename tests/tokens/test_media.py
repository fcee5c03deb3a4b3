"""Images and files in parts of every shape: by pixels, pages and seconds, never by length."""

from __future__ import annotations

import base64
import json
import os
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastpaca.context.draft import parse
from fastpaca.tokens import CharsCounter, count_message
from fastpaca.tokens.image import IMAGE_TOKENS
from fastpaca.tokens.media import (
    DATA_KEYS,
    MEDIA_TYPE_KEYS,
    MEDIA_TYPES,
    REFERENCE_KEYS,
    VALUES_MAX,
    StrippedPart,
    without_media,
)
from fastpaca.tokens.medium import FILE_TOKENS, decoded
from fastpaca.tokens.pdf import PAGE_TOKENS
from tests.kit.messages import user
from tests.tokens import files
from tests.tokens.shapes import DATA, MEGAPIXEL, NOISE, PDF, PNG, SHAPES, URL, url


def dump(value: object) -> bytes:
    """Write *value* as a part arrives: minified."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def look(part: dict[str, Any]) -> StrippedPart:
    """Take the media out of *part*."""
    return without_media(dump(part), CharsCounter())


def emptied(value: Any, data: str) -> Any:
    """Replace the strings that are *data*, or URLs of it, by empty ones."""
    if isinstance(value, dict):
        return {key: emptied(inner, data) for key, inner in value.items()}
    if isinstance(value, list):
        return [emptied(inner, data) for inner in value]
    return "" if isinstance(value, str) and value.endswith(data) else value


@pytest.mark.parametrize("name", DATA)
def test_binary_data_is_counted_by_what_it_is(name: str) -> None:
    """
    Data leaves the counted JSON and costs its pixels, pages or seconds, once, in every shape.
    """
    part, data, tokens = DATA[name]
    assert look(part) == StrippedPart(dump(emptied(part, data)), tokens)


@pytest.mark.parametrize("name", DATA)
def test_the_order_of_keys_does_not_matter(name: str) -> None:
    """
    A type that comes after the data says as much as one that comes before.
    """
    part, data, tokens = DATA[name]

    def turned(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: turned(value[key]) for key in reversed(value)}
        return value

    assert look(turned(part)) == StrippedPart(dump(emptied(turned(part), data)), tokens)


@pytest.mark.parametrize("name", DATA)
def test_what_holds_a_part_does_not_change_its_media(name: str) -> None:
    """
    The same shape inside of a tool's result costs the same.
    """
    part, data, tokens = DATA[name]
    outer = {
        "type": "tool_result",
        "tool_call_id": "c1",
        "content": [{"type": "text", "text": "a"}, part],
    }
    assert look(outer) == StrippedPart(dump(emptied(outer, data)), tokens)


@pytest.mark.parametrize("key", sorted(DATA_KEYS))
def test_every_key_for_data_is_looked_at(key: str) -> None:
    """
    An image under any of the keys for data is found by how it begins.
    """
    part = {"type": "x", "a": [{key: PNG}]}
    assert look(part) == StrippedPart(dump(emptied(part, PNG)), MEGAPIXEL)


@pytest.mark.parametrize("key", sorted(MEDIA_TYPE_KEYS))
def test_every_key_for_a_media_type_is_looked_at(key: str) -> None:
    """
    Data beside any of the keys for a media type is found, and is what that type says.
    """
    table = base64.b64encode(b"a,b\n" * 90).decode()
    part = {"type": "x", "a": [{"payload": table, key: " Text/CSV ; header=present"}]}
    assert look(part) == StrippedPart(dump(emptied(part, table)), 90)


@pytest.mark.parametrize("key", sorted(REFERENCE_KEYS))
@pytest.mark.parametrize("kind", sorted(MEDIA_TYPES))
def test_every_key_for_a_reference_is_looked_at(key: str, kind: str) -> None:
    """
    A reference under any of the keys for one is found, in an object of any of the media's types.
    """
    assert look({"type": "x", "a": [{key: URL, "type": kind}]}).tokens > 0
    assert look({"type": "x", "a": [{key: "", "type": kind}]}).tokens == 0


@pytest.mark.parametrize("name", sorted(SHAPES.keys() - DATA.keys()))
def test_what_holds_no_data_stays_in_the_json(name: str) -> None:
    """
    A URL or an id costs a stated price, once; signatures, encrypted reasoning, texts and lists of
    files cost nothing beside their JSON.
    """
    part, _, tokens = SHAPES[name]
    assert look(part) == StrippedPart(dump(part), tokens)


def test_a_medium_on_the_border_of_two_steps_is_found() -> None:
    """
    A long part is looked through step by step, and an image on a border is not overlooked.
    """
    for at in range(65536 - 120, 65536 + 10):
        part = {"type": "x", "a": "b" * (at - len('{"type":"x","a":"","')), "screenshot": PNG}
        assert look(part).tokens == MEGAPIXEL


def test_a_large_image_costs_its_pixels_and_not_its_base64() -> None:
    """
    1.9 MB of PNG are 1296 tokens and a few for the JSON around it, not 638,000.
    """
    data = base64.b64encode(files.png(1000, 1000, os.urandom(1_900_000))).decode()
    source = {"type": "base64", "media_type": "image/png", "data": data}
    message = user({"type": "image", "source": source})
    counts = count_message(CharsCounter(), parse(dump(message), "message"))
    around = len(dump({"type": "image", "source": {**source, "data": ""}}))
    assert counts.parts == (MEGAPIXEL + -(-around // 4),)
    assert counts.total < 1400


@pytest.mark.parametrize("unpadded", [True, False])
@pytest.mark.parametrize("extra", [0, 1, 2])
def test_the_url_safe_alphabet_and_missing_padding_are_read(unpadded: bool, extra: int) -> None:
    """
    Base64 in the other alphabet, with or without its padding, is the same image.
    """
    image = files.jpeg(1000, 1000) + b"\xff\xfe" * 200 + b"\xff" * extra
    data = base64.urlsafe_b64encode(image).decode()
    data = data.rstrip("=") if unpadded else data
    assert "_" in data
    assert look({"type": "file", "mediaType": "image/jpeg", "data": data}).tokens == MEGAPIXEL


@pytest.mark.parametrize("escape", ["slashes", "lines", "plus"])
def test_base64_that_an_encoder_escaped_is_read(escape: str) -> None:
    r"""
    Some encoders write `\/` for a slash or `\u002b` for a plus, and some break lines.
    """
    image = files.png(1000, 1000, b"\xff\xef\xbe" * 300)
    data = (
        base64.encodebytes(image).decode()
        if escape == "lines"
        else base64.b64encode(image).decode()
    )
    for prefix in ("", "data:image/png;base64,"):
        part = dump({"type": "file", "mediaType": "image/png", "data": prefix + data})
        if escape == "slashes":
            part = part.replace(b"/", rb"\/")
        if escape == "plus":
            part = part.replace(b"+", rb"\u002B")
        assert b"\\" in part
        found = without_media(part, CharsCounter())
        assert found.tokens == MEGAPIXEL
        assert json.loads(found.text)["data"] == ""


def test_an_escaped_media_type_is_read() -> None:
    r"""
    A data URL's own media type may have escapes too, and says what the data does not.
    """
    part = dump({"type": "x", "a": url("text/plain", "YWJjZGVmZ2g=")}).replace(b"/", rb"\/")
    assert without_media(part, CharsCounter()) == StrippedPart(b'{"type":"x","a":""}', 2)


@given(st.binary(max_size=40), st.integers(0, 3), st.booleans(), st.booleans())
def test_base64_is_decoded_in_every_form(
    data: bytes, missing: int, is_url_safe: bool, is_padded: bool
) -> None:
    """
    Either alphabet, with or without padding, and as much as there is of data that was cut off.
    """
    encoded = (base64.urlsafe_b64encode if is_url_safe else base64.b64encode)(data)
    if missing or not is_padded:
        encoded = encoded.rstrip(b"=")
        encoded = encoded[: max(len(encoded) - missing, 0)]
        data = data[: len(encoded) * 3 // 4]
    assert decoded(encoded) == data


@pytest.mark.parametrize("text", [b"AAA,", b"A A A", b"====", b"AA=A", "ä".encode(), b"AAAA!"])
def test_what_is_no_base64_is_not_decoded(text: bytes) -> None:
    """
    A character of no alphabet anywhere, or padding inside, makes it a text.
    """
    assert decoded(text) is None


def test_several_media_in_a_part_are_cut_in_their_places() -> None:
    """
    What stands between two pieces of data stays, in its order.
    """
    part = {
        "type": "tool_result",
        "content": [
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
            {"type": "text", "text": "between"},
            {"type": "input_file", "file_data": PDF, "inner": {"image_url": url("image/png", PNG)}},
            {"type": "image", "source": {"type": "url", "url": URL}},
        ],
    }
    found = look(part)
    assert found.text == dump(emptied(emptied(part, PNG), PDF))
    assert found.tokens == 2 * MEGAPIXEL + 7 * PAGE_TOKENS + IMAGE_TOKENS


@pytest.mark.parametrize(
    "data", ["A" * 300, "=" * 300, "/9j/" * 100, "iVBORw0KGgo" + "A" * 290, "JVBERi0" + "A" * 301]
)
def test_broken_data_has_a_price(data: str) -> None:
    """
    Data that is not what it is said to be costs a default, or stays text; it never fails.
    """
    for media_type in (
        "image/png",
        "application/pdf",
        "audio/wav",
        "video/mp4",
        "text/plain",
        "a/b",
    ):
        found = look({"type": "file", "mediaType": media_type, "data": data})
        assert 0 <= found.tokens <= max(IMAGE_TOKENS, FILE_TOKENS)
        assert 0 <= look({"type": "file", "url": url(media_type, data)}).tokens <= FILE_TOKENS


def test_a_recording_that_claims_no_speed_has_a_bounded_price() -> None:
    """
    The speed in a header is believed down to a limit, so a byte is never worth many seconds.
    """
    sound = files.wav(1).replace((32_000).to_bytes(4, "little"), bytes(4))
    part = {"type": "file", "mediaType": "audio/wav", "data": base64.b64encode(sound).decode()}
    assert look(part).tokens == -(-len(sound) * 32 // 1000)


_WORDS = ["type", "image", "file", "document", "source", "data", "url", "media_type", "mediaType"]
_WORDS += ["text", "image_url", "input_image", "content", "file_data", "fileData", "result", "x"]
_STRINGS = [
    *_WORDS,
    URL,
    PNG,
    PDF,
    NOISE,
    url("image/png", PNG),
    url("", "!"),
    "image/png",
    "text/a",
    "aä中文",
    "\0000",
]
_VALUES = st.recursive(
    st.sampled_from([*_STRINGS, None, 1, 1.5, True, "", '"\\', "data:", "data:;base64,"]),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(_WORDS), inner, max_size=5)
    ),
    max_leaves=20,
)


@given(st.dictionaries(st.sampled_from(_WORDS), _VALUES, max_size=6))
def test_any_part_keeps_all_but_its_data(part: dict[str, Any]) -> None:
    """
    Whatever a part is made of, what is left is its JSON, with strings emptied and nothing else
    changed, and the outcome is the same every time.
    """
    found = look(part)
    assert found == look(part)
    assert found.tokens >= 0
    _assert_emptied(part, json.loads(found.text))


def _assert_emptied(before: Any, after: Any) -> None:
    if isinstance(before, dict):
        assert list(before) == list(after)
        for key in before:
            _assert_emptied(before[key], after[key])
    elif isinstance(before, list):
        assert len(before) == len(after)
        for one, other in zip(before, after, strict=True):
            _assert_emptied(one, other)
    else:
        assert after in (before, "")


@pytest.mark.parametrize(
    "media_type", ["image/jpeg", "application/pdf", "text/plain", "audio/mpeg", ""]
)
def test_sixteen_megabytes_of_base64_take_linear_time(media_type: str) -> None:
    """
    As much data as a request may hold is read in well under a few seconds, whatever it is called.
    """
    data = b"QUFB" * (4 << 20)
    part = b'{"type":"file","mediaType":"%b","data":"%b"}' % (media_type.encode(), data)
    start = time.process_time()
    assert without_media(part, CharsCounter()).tokens > 0
    assert time.process_time() - start < 5


@pytest.mark.parametrize("unit", ['{"data":"x"}', "{}", '"a"', '{"type":"image","url":"http"}'])
def test_a_part_of_a_million_values_is_judged_string_by_string(unit: str) -> None:
    """
    It takes linear time, and an image that says so itself costs its pixels there too.
    """
    items = ",".join([unit] * max(VALUES_MAX + 1, 1_000_000 // len(unit)))
    part = f'{{"type":"x","content":[{items}],"image":"{url("image/png", PNG)}"}}'.encode()
    start = time.process_time()
    assert without_media(part, CharsCounter()).tokens == MEGAPIXEL
    assert time.process_time() - start < 5


@pytest.mark.parametrize("char", ['\\"', "\\\\", "\\u4f60"])
def test_a_string_of_a_megabyte_of_escapes_takes_linear_time(char: str) -> None:
    """
    Nor does it matter what a long string is made of.
    """
    part = f'{{"type":"x","data":"{"A" * 300}{char * (1_000_000 // len(char))}"}}'.encode()
    start = time.process_time()
    assert without_media(part, CharsCounter()) == StrippedPart(part, 0)
    assert time.process_time() - start < 5


@pytest.mark.parametrize("number", ["1" * 5000, "1e999", "-0.0"])
def test_a_number_that_python_does_not_read_hides_no_image(number: str) -> None:
    """
    What cannot be decoded is judged string by string.
    """
    part = f'{{"type":"x","a":{number},"image":"{PNG}"}}'.encode()
    assert without_media(part, CharsCounter()).tokens == MEGAPIXEL


def test_the_deepest_part_is_read() -> None:
    """
    An image at the greatest depth that is accepted is found there.
    """
    image = dump({"type": "image", "source": {"type": "url", "url": URL}})
    part = b'{"type":"x","a":' + b'{"a":[' * 61 + image + b"]}" * 61 + b"}"
    message = parse(b'{"role":"user","parts":[%b]}' % part, "message")
    assert without_media(message.parts[0].body, CharsCounter()).tokens == IMAGE_TOKENS
