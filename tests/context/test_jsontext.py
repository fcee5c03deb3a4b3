"""What JSON may come in, and that it comes back as it was sent."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastpaca.context import jsontext
from fastpaca.errors import InvalidRequest
from tests.context.strategies import the_same_every_time

# minified

KEPT = [
    b'{"a":1.0}',
    b'{"a":1180591620717411303424}',
    b'{"a":1e400}',
    b'{"a":-0}',
    b'{"a":-0.0}',
    b'{"a":1E+5}',
    b'{"a":0.1000}',
    b'{"b":1,"a":2}',
    b'{"a":null}',
    b'{"a":"\\u0000"}',
    b'{"a":"\\ud83d\\ude00"}',
    b'{"\\u0061":1}',
    b'{"a":"\xef\xbf\xbe"}',
    b'{"a":"\\uffff"}',
    b'{"a":"\x7f"}',
    b'{"x":1,"x":2}',
    '{"a":"漢字😀ключ\u200f"}'.encode(),
    b"[]",
    b"1",
    b'""',
    b"null",
]


@pytest.mark.parametrize("text", KEPT)
def test_values_are_kept_as_they_are_written(text: bytes) -> None:
    """
    Numbers, escapes, keys and their order stay to the letter.
    """
    assert jsontext.minified(text) == text


def test_white_space_between_values_goes() -> None:
    """
    Insignificant white space is dropped, white space in strings is not.
    """
    text = b' \r\n{ "a b" :\t[ 1 , 2 , { } ] , "c" : " \\n d " } \n'
    assert jsontext.minified(text) == b'{"a b":[1,2,{}],"c":" \\n d "}'


REFUSED = [
    b"",
    b" ",
    b"{",
    b"}",
    b"[1,]",
    b'{"a":1,}',
    b"[1 2]",
    b'{"a" 1}',
    b"{a:1}",
    b"{'a':1}",
    b'{"a":1}{',
    b'{"a":1} 2',
    b'{"a":1}\x00',
    b'{"a":tru}',
    b'{"a":NaN}',
    b'{"a":Infinity}',
    b'{"a":-Infinity}',
    b'{"a":01}',
    b'{"a":-01}',
    b'{"a":1.}',
    b'{"a":.5}',
    b'{"a":+1}',
    b'{"a":1e}',
    b'{"a":-}',
    b'{"a":0x10}',
    b'{"a":/**/1}',
    b'{"a":"\\x"}',
    b'{"a":"\\u12"}',
    b'{"a":"\\u12G4"}',
    b'{"a":"\n"}',
    b'{"a":"\x00"}',
    b'{"a":"open}',
    b'{"a":"\\"}',
    b"\xef\xbb\xbf{}",
    b'{"a":\xc2\xa01}',
    b"\x00",
]


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_not_json_is_refused(text: bytes) -> None:
    """
    Only JSON as the standard has it comes in: no NaN, no comments, no trailing commas.
    """
    with pytest.raises(InvalidRequest):
        jsontext.minified(text, "message")


@pytest.mark.parametrize("where", ['{"a":"%s"}', '{"%s":1}', '["%s"]', '{"a":{"b":["%s"]}}'])
@pytest.mark.parametrize(
    "escaped",
    ["\\ud800", "\\udfff", "\\ud800x", "\\ud800\\n", "\\ud800\\u0041", "\\udc00\\ud800", "\\uD800"],
)
def test_lone_surrogates_are_refused(where: str, escaped: str) -> None:
    """
    A lone surrogate is no character and could not be sent on, in whatever field it stands.
    """
    with pytest.raises(InvalidRequest):
        jsontext.minified((where % escaped).encode())


@pytest.mark.parametrize("where", [b'{"a":"%b"}', b'{"%b":1}', b'{"skipped":{"a":["%b"]}}'])
@pytest.mark.parametrize(
    "broken", [b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe6\xbc", b"\x80"]
)
def test_invalid_utf_8_is_refused_in_every_field(where: bytes, broken: bytes) -> None:
    """
    Bytes that are not UTF-8 are refused also where nobody would have looked.
    """
    with pytest.raises(InvalidRequest) as refusal:
        jsontext.minified(where % broken, "message")
    assert refusal.value.field == "message"
    assert "UTF-8" in refusal.value.message


@pytest.mark.parametrize("levels", [900, 5_000, 1_000_000])
def test_no_nesting_overflows_the_stack(levels: int) -> None:
    """
    However deep a text is nested, it is refused and not a crash.
    """
    for text in (b"[" * levels + b"]" * levels, b'{"a":' * levels + b"1" + b"}" * levels):
        with pytest.raises(InvalidRequest, match="128"):
            jsontext.check_depth(jsontext.minified(text), "message")


def test_unbalanced_nesting_is_no_crash_either() -> None:
    """
    An endless opening is not JSON.
    """
    with pytest.raises(InvalidRequest):
        jsontext.minified(b"[" * 1_000_000)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(json_values, st.booleans())
@the_same_every_time
def test_whatever_json_writes_is_kept(value: object, ascii_only: bool) -> None:
    """
    What another JSON library writes is read and kept, whatever it escapes.
    """
    text = json.dumps(value, ensure_ascii=ascii_only, indent=2)
    try:
        kept = jsontext.minified(text.encode())
    except UnicodeEncodeError:  # the surrogates that Python's strings may hold
        return
    assert kept.decode() == json.dumps(value, ensure_ascii=ascii_only, separators=(",", ":"))


# Depth


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
@pytest.mark.parametrize(("levels", "fits"), [(1, True), (127, True), (128, True), (129, False)])
def test_nesting_ends_at_128_levels(opening: bytes, levels: int, fits: bool) -> None:
    """
    128 levels are kept, 129 are not.
    """
    closing = b"]" if opening == b"[" else b"}"
    text = opening * levels + b"1" + closing * levels
    if fits:
        jsontext.check_depth(text, "message")
    else:
        with pytest.raises(InvalidRequest) as refusal:
            jsontext.check_depth(text, "message")
        assert refusal.value.field == "message"


@pytest.mark.parametrize(
    "decoy", [b'"' + b"[" * 300 + b'"', b'"\\"' + b"{" * 300 + b'"', b'"\\\\","[["', b'"\\\\\\"[["']
)
def test_brackets_in_strings_are_no_nesting(decoy: bytes) -> None:
    """
    Only brackets outside of strings count, however the strings are escaped.
    """
    text = b"[" + b",".join([decoy, b"[" * 100 + b"]" * 100] * 3) + b"]"
    jsontext.check_depth(text, "message")
    deep = b"[" + b",".join([decoy, b"[" * 128 + b"]" * 128] * 3) + b"]"
    with pytest.raises(InvalidRequest):
        jsontext.check_depth(deep, "message")


@pytest.mark.parametrize("height", [1, 2, 5, 20])
@pytest.mark.parametrize(("levels", "fits"), [(128, True), (129, False)])
def test_what_stands_beside_changes_no_depth(height: int, levels: int, fits: bool) -> None:
    """
    A deep text with many shallow neighbours on each level is as deep as without them.
    """
    text = beside = b"[" * height + b"]" * height
    for _ in range(levels - height):
        text = b"[" + b",".join([beside, text, *[beside] * 5]) + b"]"
    if fits:
        jsontext.check_depth(text, "message")
    else:
        with pytest.raises(InvalidRequest):
            jsontext.check_depth(text, "message")


trees: st.SearchStrategy[list[Any]] = st.recursive(
    st.just([]), lambda inner: st.lists(inner, min_size=1, max_size=3)
)


@given(st.lists(trees, min_size=1, max_size=4), st.integers(0, 140))
@the_same_every_time
def test_depth_is_measured_right_in_every_shape(branches: list[object], wrapped: int) -> None:
    """
    Wide and narrow, even and ragged: a text is refused exactly when it is too deep.
    """
    value: object = branches
    for _ in range(wrapped):
        value = [[], value, []]
    too_deep = depth(value) > jsontext.DEPTH_MAX
    text = json.dumps(value, separators=(",", ":")).encode()
    try:
        jsontext.check_depth(text, "message")
    except InvalidRequest:
        assert too_deep
    else:
        assert not too_deep


@pytest.mark.parametrize("short_by", range(24))
@pytest.mark.parametrize(("levels", "fits"), [(128, True), (129, False)])
def test_where_a_long_text_is_looked_at_in_steps_changes_no_depth(
    levels: int, fits: bool, short_by: int
) -> None:
    """
    A long text is looked at step by step; no step ends in the middle of something and forgets it.
    """
    filler = b'"%b"' % (b"x" * ((1 << 16) - short_by))
    decoy = b'"\\\\\\"[[\\\\","]]\\"{"'
    opened = b"[" * (levels - 1)
    deep = b"[%b]" % b",".join([filler, decoy, opened + filler + b"]" * (levels - 1), decoy])
    if fits:
        jsontext.check_depth(deep, "message")
    else:
        with pytest.raises(InvalidRequest):
            jsontext.check_depth(deep, "message")


@pytest.mark.parametrize(("levels", "fits"), [(128, True), (129, False)])
def test_a_long_text_of_nothing_but_brackets_has_its_depth(levels: int, fits: bool) -> None:
    """
    That holds as well where every step ends deep inside.
    """
    branch = b"[" * 99 + b"]" * 99
    text = b"[%b]" % b",".join([*[branch] * 1000, b"[" * (levels - 1) + b"]" * (levels - 1)])
    if fits:
        jsontext.check_depth(text, "message")
    else:
        with pytest.raises(InvalidRequest):
            jsontext.check_depth(text, "message")


def depth(value: object) -> int:
    """Count the levels of nested lists."""
    return 1 + max(map(depth, value), default=0) if isinstance(value, list) else 0


# Members and items


def test_members_keep_their_order_and_text() -> None:
    """
    An object falls into its members, each value as it is written.
    """
    text = b'{"b":1.0,"a":{"x":[1,2]},"\\u0063":"\\u00e9"}'
    assert list(jsontext.members(text, None, "field").items()) == [
        ("b", b"1.0"),
        ("a", b'{"x":[1,2]}'),
        ("c", b'"\\u00e9"'),
    ]


def test_joined_undoes_members() -> None:
    """
    An object written from its members reads as the same.
    """
    text = '{"b":1.0,"é\\n":{"x":[1,2]},"":null}'.encode()
    assert jsontext.joined(jsontext.members(text, None, None)) == text


@pytest.mark.parametrize(
    ("text", "known", "twice"),
    [
        (b'{"a":1,"a":1}', None, "a"),
        (b'{"a":1,"b":2,"a":3}', {"a"}, "a"),
        (b'{"a":1,"\\u0061":2}', {"a"}, "a"),
        (b'{"a":1,"a":2}', {"b"}, None),
        (b'{"a":{"b":1,"b":2}}', {"a", "b"}, None),
        (b'{"a":[{"a":1},{"a":2}]}', {"a"}, None),
        ('{"é":1,"\\u00e9":2}'.encode(), {"é"}, "é"),
        ('{"é":"ü","漢":"字"}'.encode(), None, None),
        (b'{"a":"\\u0000","\\u0000":"a"}', None, None),
        (b"{}", None, None),
    ],
)
def test_known_keys_are_given_once(text: bytes, known: set[str] | None, twice: str | None) -> None:
    """
    A known key that stands twice would mean two things; keys of the caller's own may.
    """
    if twice is None:
        jsontext.members(text, known, "message")
        return
    with pytest.raises(InvalidRequest, match="twice") as refusal:
        jsontext.members(text, known, "message")
    assert refusal.value.field == f"message.{twice}"


def test_repeated_keys_in_a_deep_object_are_no_crash() -> None:
    """
    The slow look for repeated keys refuses what is nested too deep for it.
    """
    text = b'{"\\u0061":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    with pytest.raises(InvalidRequest):
        jsontext.repeated_keys(text)


DEEP = b"[" * 100_000 + b"]" * 100_000


@pytest.mark.parametrize("text", [b'{"a":%b}' % DEEP, b'{"\\ud800":1}', b'{"a":}'])
def test_an_object_that_cannot_be_read_is_refused(text: bytes) -> None:
    """
    What is nested too deep, or was never checked, is refused with its path and is no crash.
    """
    with pytest.raises(InvalidRequest) as refusal:
        jsontext.members(text, None, "message")
    assert refusal.value.field == "message"
    with pytest.raises(InvalidRequest):
        jsontext.items(DEEP, "message.parts")


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (b'{"seq":1,"a":[1.0]}', b'{"a":[1.0]}'),
        (
            b'{"seq":1,"a":{"seq":2},"b":[{"seq":3},","],"a":"}\\"","seq":[4,5]}',
            b'{"a":{"seq":2},"b":[{"seq":3},","],"a":"}\\""}',
        ),
        (b'{"\\u0073eq":{},"\\u0061":1,"a":2}', b'{"\\u0061":1,"a":2}'),
        (b'{"seq":1,"seq":2}', b"{}"),
    ],
)
def test_members_go_and_all_others_stay_to_the_letter(text: bytes, left: bytes) -> None:
    """
    Keys go wherever they stand at the top, spelled in whatever way; a key of others stays twice.
    """
    assert jsontext.without(text, {"seq"}) == left


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (b"[]", "a list"),
        (b'"x"', "a string"),
        (b"1", "a number"),
        (b"-1.5", "a number"),
        (b"true", "a boolean"),
        (b"false", "a boolean"),
        (b"null", "null"),
    ],
)
def test_what_is_no_object_is_named(text: bytes, kind: str) -> None:
    """
    A refusal says what came instead.
    """
    with pytest.raises(InvalidRequest, match=f"not {kind}") as refusal:
        jsontext.members(text, None, "message")
    assert refusal.value.field == "message"
    if kind != "a list":
        with pytest.raises(InvalidRequest, match=f"not {kind}"):
            jsontext.items(text, "message.parts")
    if kind != "a string":
        with pytest.raises(InvalidRequest, match=f"not {kind}"):
            jsontext.string(text, "message.role")
    with pytest.raises(InvalidRequest, match="not an object"):
        jsontext.string(b"{}", "message.role")


# Integers of the API


@pytest.mark.parametrize("text", [b"0", b"1", b"-0", b"9007199254740991"])
def test_integers_up_to_2_53_are_taken(text: bytes) -> None:
    """
    The API's own integers end where every JSON reader keeps them exact.
    """
    assert jsontext.integer(text, "n", 0) == int(text)


@pytest.mark.parametrize(
    "text",
    [
        b"-1",
        b"9007199254740992",
        b"1180591620717411303424",
        b"1" * 100_000,
        b"1.0",
        b"1e3",
        b"1E3",
        b'"1"',
        b"true",
        b"null",
        b"[]",
        b"{}",
    ],
)
def test_other_values_are_no_integers(text: bytes) -> None:
    """
    Fractions, exponents, strings and booleans are not integers, nor what is out of range.
    """
    with pytest.raises(InvalidRequest, match="integer from 0 to 9007199254740991") as refusal:
        jsontext.integer(text, "message.token_count", 0)
    assert refusal.value.field == "message.token_count"


# Equality


@pytest.mark.parametrize(
    ("left", "right", "same_value", "same_text"),
    [
        (b'{"a":1,"b":2}', b'{"a":1,"b":2}', True, True),
        (b'{"a":1,"b":2}', b'{"b":2,"a":1}', True, False),
        (b"1", b"1.0", True, False),
        (b"100", b"1e2", True, False),
        (b"9007199254740993", b"9007199254740993.0", True, False),
        (b"9007199254740993", b"9007199254740992", False, False),
        (b"0.1", b"0.1000000000000000055", False, False),
        (b"1e400", b"1e401", False, False),
        (b"1e999999999999999999999", b"1e999999999999999999999", True, True),
        (b"1e999999999999999999999", b"2e999999999999999999999", False, False),
        (b"1", b"true", False, False),
        (b"0", b"false", False, False),
        (b"1", b'"1"', False, False),
        (b'["number",1]', b"1", False, False),
        (b'[["a",1]]', b'{"a":1}', False, False),
        (b"[]", b"{}", False, False),
        (b"null", b"{}", False, False),
        (b'"\\u00e9"', '"é"'.encode(), True, True),
        (b'"\\/"', b'"/"', True, True),
        (b'"\\ud83d\\ude00"', '"😀"'.encode(), True, True),
        (b"[1,2]", b"[2,1]", False, False),
        (b'{"a":null}', b"{}", False, False),
    ],
)
def test_equality(left: bytes, right: bytes, same_value: bool, same_text: bool) -> None:
    """
    Two texts mean the same value, or are the same to the letter but for escapes.
    """
    assert jsontext.same_value(left, right) is same_value
    assert jsontext.same_value(right, left) is same_value
    assert jsontext.same_text(left, right) is same_text
    assert jsontext.same_text(right, left) is same_text


@given(st.decimals(allow_nan=False, allow_infinity=False), st.integers(0, 3))
@the_same_every_time
def test_numbers_are_compared_exactly(number: Decimal, zeros: int) -> None:
    """
    However a number is written, it equals itself and no other.
    """
    written = f"{number:f}" + ("." if "." not in f"{number:f}" else "") + "0" * (zeros + 1)
    other = f"{number + Decimal(1).scaleb(number.adjusted() - 20):f}"
    assert jsontext.same_value(f"{number:f}".encode(), written.encode())
    assert jsontext.same_value(written.encode(), other.encode()) == (Decimal(other) == number)


def test_the_nearest_known_name_is_told() -> None:
    """
    A key that is misspelled is answered by the right one, another by the list of all.
    """
    known = ("token_budget", "policy")
    assert "'token_budget'" in jsontext.unknown_key_message("token_buget", known)
    assert "policy, token_budget" in jsontext.unknown_key_message("xyz", known)
    assert len(jsontext.unknown_key_message("x" * 1_000_000, known)) < 400
