"""What a message may look like, what is refused and where, and how it is served."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from fastpaca.context.draft import Draft, parse, plain
from fastpaca.context.message import (
    Counts,
    as_appended,
    decode_counts,
    encode_counts,
    log_entry,
    render,
    scaled,
    synthetic_entry,
    timestamp,
    unrendered,
)
from fastpaca.errors import InvalidRequest
from tests.context.strategies import anything, parts, the_same_every_time
from tests.kit.messages import call, counted, encoded, message, result, text, user

PARTS = b'"parts":[{"type":"text","text":"hi"}]'


def parsed(content: bytes) -> Draft:
    """Parse the JSON of a message."""
    return parse(content, "message")


# What is taken


members = st.sampled_from(
    [b'"role":"user"', b'"role":"tool"', b'"role":""', b'"r\\u006fle":"system"', b'"id":"a"', PARTS]
    + [b'"parts":[%b]' % b",".join(p) for p in ([], [b'{"type":"text","text":"a \\": b"}'])]
    + [
        b'"parts":[{"text":"hi","type":"text"},{"type":"text","text":"ho"}]',
        b'"parts":[{"type":"text","text":"hi","text":"ho"}]',
        b'"parts":[{"type":"tool_call","text":"hi"}]',
        b'"parts":[{"type":"text","text":"hi","n":1}]',
    ]
)


@given(st.lists(members, min_size=1, max_size=4))
@example([b'"role":"user"', PARTS])
@example([b'"role":"user"', b'"id":"a"', PARTS])
def test_plain_messages_are_the_same_read_in_one_go(found: list[bytes]) -> None:
    """
    What is read in one go is what comes of taking it apart, and nothing is read that is refused.
    """
    draft = plain(b"{%b}" % b",".join(found))
    if draft is None:
        assert found != [b'"role":"user"', PARTS], "the plainest message is read in one go"
        return
    apart = parsed(b'{"seq":7,%b}' % b",".join(found))  # a plain message has no seq
    assert replace(apart, body=b"", seq=None) == replace(draft, body=b"")
    assert json.loads(apart.body) == json.loads(draft.body)


def test_a_message_is_kept_as_it_was_sent() -> None:
    """
    Unknown keys, their order, and every number stay as they are written.
    """
    sent = (
        b'{"id":"m-1","role":"user","parts":[{"text":"hi","type":"text","n":1.0}],'
        b'"big":1180591620717411303424,"none":null,"metadata":{"b":1e400,"a":[]}}'
    )
    assert parsed(sent).body == sent


def test_metadata_is_an_empty_object_by_default() -> None:
    """
    A message without metadata has an empty object of them.
    """
    assert parsed(b'{"role":"user",%b}' % PARTS).body.endswith(b'"metadata":{}}')


def test_what_the_log_answers_is_left_out() -> None:
    """
    A message that was read may be sent again: its place, version and time are ignored.
    """
    sent = b'{"seq":7,"version":9,"role":"user",%b,"inserted_at":"x","token_count":3}' % PARTS
    draft = parsed(sent)
    assert draft.body == b'{"role":"user",%b,"metadata":{}}' % PARTS
    assert (draft.seq, draft.token_count) == (7, 3)


@pytest.mark.parametrize("seq", [b"null", b'"1"', b"1.0", b"-1", b"{}", b"1" * 30, b"true"])
def test_a_seq_that_is_none_is_ignored(seq: bytes) -> None:
    """
    A seq is a hint for compactions, never a reason to refuse.
    """
    assert parsed(b'{"seq":%b,"role":"user",%b}' % (seq, PARTS)).seq is None


@pytest.mark.parametrize("role", ["user", "assistant", "critic", "é", " ", "x" * 1000, "\u0000"])
def test_any_role_but_an_empty_one_is_taken(role: str) -> None:
    """
    Roles belong to the caller.
    """
    assert parsed(encoded({"role": role, "parts": []})).role == role


def test_texts_are_found() -> None:
    """
    The text of a text part is decoded; no other part has one.
    """
    sent = message(
        "user",
        "a\n漢",
        {"type": "text", "text": 5},
        {"type": "note", "text": "x"},
        {"type": "text"},
    )
    assert [part.text for part in parsed(encoded(sent)).parts] == ["a\n漢", None, None, None]


ODD: list[dict[str, Any]] = [
    message("user"),
    message("user", {"type": ""}),
    message("user", {"type": "text", "text": None}),
    message("user", {"type": "text", "text": {"a": 1}}),
    message("user", {"type": "tool_call"}),
    message("user", {"type": "tool_call", "tool_call_id": 5, "call_id": None, "id": []}),
    message("user", {"type": "tool_use", "id": ""}),
    message("user", {"type": "tool-"}),
    message("user", {"type": "dynamic-tool", "toolCallId": False}),
    message("user", {"type": "_tool_result", "tool_use_id": "a"}),
    message("assistant", tool_calls=None, tool_call_id=None),
    message("assistant", tool_calls=[], tool_call_id=""),
    message("assistant", tool_calls={}, tool_call_id=5),
    message("assistant", tool_calls="x", tool_call_id=[]),
    message("assistant", tool_calls=[{}, 1, None, [], "x", {"id": 5}, {"id": ""}]),
    message("assistant", tool_calls=[{"id": "a", "function": {"arguments": "{"}}]),
    message("assistant", "\u0000\u001f\ufffe\u200f😀"),
    message("assistant", {"type": "te\u0000xt", "\u0000": 1}),
    message("assistant", id=None, metadata={"role": "x"}, parts2=[]),
    message("assistant", id={"any": "thing"}),
]


@pytest.mark.parametrize("odd", ODD, ids=str)
def test_odd_messages_are_taken(odd: dict[str, Any]) -> None:
    """
    What the API does not read may have any shape.
    """
    draft = parsed(encoded(odd))
    assert json.loads(draft.body) == {"metadata": {}, **odd}


def test_keys_given_twice_in_a_part_of_the_callers_own() -> None:
    """
    Repeated keys that mean nothing here are kept in a part, as they are.
    """
    sent = b'{"role":"user","parts":[{"type":"text","x":1,"x":2,"\\u0061":1,"a":2}],"metadata":{}}'
    assert parsed(sent).body == sent


def test_keys_given_twice_in_a_message_of_the_callers_own() -> None:
    """
    Of a repeated key that means nothing here a message keeps the last, as most readers do.
    """
    sent = b'{"role":"user","mine":1,%b,"mine":2,"metadata":{"a":1,"a":2}}' % PARTS
    assert json.loads(parsed(sent).body) == json.loads(sent)


# What is refused


REFUSED = [
    (b"[]", "message"),
    (b'"x"', "message"),
    (b"null", "message"),
    (b"{}", "message.role"),
    (b'{"role":null,%b}' % PARTS, "message.role"),
    (b'{"role":"",%b}' % PARTS, "message.role"),
    (b'{"role":5,%b}' % PARTS, "message.role"),
    (b'{"role":["user"],%b}' % PARTS, "message.role"),
    (b'{"role":"user"}', "message.parts"),
    (b'{"role":"user","parts":null}', "message.parts"),
    (b'{"role":"user","parts":{}}', "message.parts"),
    (b'{"role":"user","parts":"hi"}', "message.parts"),
    (b'{"role":"user","parts":[1]}', "message.parts[0]"),
    (b'{"role":"user","parts":[{"type":"text"},null]}', "message.parts[1]"),
    (b'{"role":"user","parts":[{"type":"text"},{}]}', "message.parts[1].type"),
    (b'{"role":"user","parts":[{"type":null}]}', "message.parts[0].type"),
    (b'{"role":"user","parts":[{"type":5}]}', "message.parts[0].type"),
    (b'{"role":"user","parts":[{"type":"a","type":"b"}]}', "message.parts[0].type"),
    (b'{"role":"user","parts":[{"type":"a","t\\u0079pe":"b"}]}', "message.parts[0].type"),
    (b'{"role":"user","parts":[{"type":"text","text":"a","text":"b"}]}', "message.parts[0].text"),
    (b'{"role":"user","parts":[{"type":"tool_use","id":"a","id":"b"}]}', "message.parts[0].id"),
    (b'{"role":"user","role":"tool",%b}' % PARTS, "message.role"),
    (b'{"role":"user",%b,%b}' % (PARTS, PARTS), "message.parts"),
    (b'{"role":"user",%b,"metadata":{},"metadata":{}}' % PARTS, "message.metadata"),
    (b'{"role":"user",%b,"token_count":1,"token_count":2}' % PARTS, "message.token_count"),
    (b'{"role":"user",%b,"tool_call_id":"a","tool_call_id":"b"}' % PARTS, "message.tool_call_id"),
    (b'{"role":"user",%b,"seq":1,"seq":2}' % PARTS, "message.seq"),
    (b'{"role":"user",%b,"id":1,"\\u0069d":2}' % PARTS, "message.id"),
    (b'{"role":"user",%b,"metadata":null}' % PARTS, "message.metadata"),
    (b'{"role":"user",%b,"metadata":[]}' % PARTS, "message.metadata"),
    (b'{"role":"user",%b,"token_count":null}' % PARTS, "message.token_count"),
    (b'{"role":"user",%b,"token_count":-1}' % PARTS, "message.token_count"),
    (b'{"role":"user",%b,"token_count":1.0}' % PARTS, "message.token_count"),
    (b'{"role":"user",%b,"token_count":"1"}' % PARTS, "message.token_count"),
    (b'{"role":"user",%b,"token_count":true}' % PARTS, "message.token_count"),
    (b'{"role":"user",%b,"token_count":9007199254740992}' % PARTS, "message.token_count"),
    (b'{"role":"user","parts":[%b]}' % b",".join([b'{"type":"text"}'] * 10_001), "message.parts"),
    (
        b'{"role":"x","tool_calls":[%b],%b}' % (b",".join([b"{}"] * 1_001), PARTS),
        "message.tool_calls",
    ),
]


@pytest.mark.parametrize(("sent", "field"), REFUSED, ids=lambda value: repr(value)[:60])
def test_a_refusal_names_the_field(sent: bytes, field: str) -> None:
    """
    What is no message is refused with the path of what is wrong, and a sentence.
    """
    with pytest.raises(InvalidRequest) as refusal:
        parsed(sent)
    assert refusal.value.field == field
    assert refusal.value.message.endswith((".", "once.", '"Hello"}].'))


@pytest.mark.parametrize(("levels", "fits"), [(125, True), (126, False)])
def test_nesting_is_counted_from_the_message(levels: int, fits: bool) -> None:
    """
    128 levels, of which message, list of parts and part are the first three.
    """
    sent = b'{"role":"user","parts":[{"type":"x","y":%b}]}' % (b"[" * levels + b"]" * levels)
    if fits:
        parsed(sent)
    else:
        with pytest.raises(InvalidRequest, match="128"):
            parsed(sent)


@given(
    st.fixed_dictionaries(
        {"role": st.text(min_size=1) | anything, "parts": st.lists(parts | anything) | anything},
        optional={
            "metadata": anything,
            "token_count": anything,
            "tool_calls": anything,
            "tool_call_id": anything,
            "seq": anything,
            "id": anything,
        },
    )
)
@the_same_every_time
def test_any_input_is_taken_or_refused(sent: dict[str, Any]) -> None:
    """
    Whatever comes is a message, or is refused with a field; nothing else is ever raised.
    """
    try:
        text_sent = encoded(sent)
    except (UnicodeEncodeError, InvalidRequest):
        return  # not JSON: lone surrogates, infinities
    try:
        draft = parsed(text_sent)
    except InvalidRequest as refusal:
        field = refusal.field
    else:
        body = json.loads(draft.body)
        assert body["parts"] == sent["parts"]
        assert len(draft.parts) == len(sent["parts"])
        return
    assert field is not None
    assert field.startswith("message")


# Turns


@pytest.mark.parametrize(
    ("content", "opens"),
    [
        (user("hi"), True),
        (user("hi", result("a")), False),
        (user({"type": "image"}), True),
        (user({"type": "tool-x", "toolCallId": "a"}), True),
        (user(result("a")), False),
        (user(result("a"), {"type": "web_search_tool_result", "tool_use_id": "b"}), False),
        (user({"type": "tool_result"}), False),
        (user({"type": "data-chart"}), False),
        (user("hi", {"type": "tool-approval-response", "approvalId": "a"}), False),
        (user("hi", tool_call_id="a"), True),
        (user("hi", tool_call_id=None), True),
        (user(), False),
        (message("assistant", "hi"), False),
        (message("User", "hi"), False),
    ],
)
def test_a_user_message_opens_a_turn(content: dict[str, Any], opens: bool) -> None:
    """
    A message of the user opens a turn if a model sees a part of it, and none answers anything.
    """
    assert counted(content).draft.reading.opens_turn is opens


# How it is counted


def test_keys_are_counted_if_they_hold_something() -> None:
    """
    Every key that can reach a model costs what its JSON costs; empty and bookkeeping keys do not.
    """
    keys = [
        (message("assistant", tool_calls=[{"id": "a"}]), (b'"tool_calls":[{"id":"a"}]',)),
        (message("tool", tool_call_id="a"), (b'"tool_call_id":"a"',)),
        (message("assistant", reasoning_content="x"), (b'"reasoning_content":"x"',)),
        (message("user", tool_calls=[], tool_call_id=None), (b"", b"")),
        (message("user", id="m1", usage={"input": 3}, mine=1), (b"", b"", b'"mine":1')),
        (message("user"), ()),
    ]
    assert [counted(content).draft.keys for content, _ in keys] == [kept for _, kept in keys]


def test_counts_survive_their_stored_form() -> None:
    """
    What is stored of counts reads back as it was.
    """
    for counts in (Counts(0, 0, (), ()), Counts(2**53 - 1, 3, (2**40,), (0, 1, 2**53 - 1))):
        assert decode_counts(encode_counts(counts)) == counts


# How it is served


def test_an_entry_reads_as_the_page_says() -> None:
    """
    Seq and version come first, then what was sent, then count and time.
    """
    made = counted(user(text("hi"), id="m-1"))
    entry = log_entry(made.draft, made.counts, 5, 7, 1_700_000_000_000_001)
    assert entry.body == (
        b'{"seq":5,"version":7,"role":"user","parts":[{"type":"text","text":"hi"}],"id":"m-1",'
        b'"metadata":{},"token_count":6,"inserted_at":"2023-11-14T22:13:20.000001Z"}'
    )
    assert (entry.covers_from, entry.covers_to, entry.tokens) == (5, 5, 6)


def test_a_synthetic_entry_has_no_seq() -> None:
    """
    What no log holds stands for the seqs that it replaced.
    """
    made = counted(user("hi"))
    entry = synthetic_entry(made.draft, made.counts, 7, 2, (3, 6), 0)
    assert json.loads(entry.body)["seq"] is None
    assert (entry.covers_from, entry.covers_to, entry.position) == (3, 6, 2)


def test_what_was_rendered_can_be_unrendered() -> None:
    """
    The text that was stored comes back from the text that is served.
    """
    body = counted(user(call("a"), note="é")).draft.body
    assert unrendered(render(body, None, 3, 5, 0)) == body


def test_an_entry_as_it_was_appended() -> None:
    """
    What the window knows about an entry beyond the log goes.
    """
    made = counted(user("hi"))
    entry = log_entry(made.draft, made.counts, 5, 7, 0)
    assert as_appended(entry) is entry


@pytest.mark.parametrize(
    ("at_us", "written"),
    [
        (0, b"1970-01-01T00:00:00.000000Z"),
        (1, b"1970-01-01T00:00:00.000001Z"),
        (1_700_000_000_999_999, b"2023-11-14T22:13:20.999999Z"),
        (253_402_300_799_999_999, b"9999-12-31T23:59:59.999999Z"),
    ],
)
def test_times_are_utc(at_us: int, written: bytes) -> None:
    """
    ISO-8601 with `Z`, always of the same length, so that text sorts as time does.
    """
    assert timestamp(at_us) == written


# What a token is worth


@pytest.mark.parametrize(
    ("factor", "token_count", "expected"),
    [
        (1.0, None, Counts(16, 4, (0, 7), (5,))),
        (1.5, None, Counts(25, 6, (0, 11), (8,))),
        (0.1, None, Counts(3, 1, (0, 1), (1,))),
        (1.5, 9, Counts(9, 6, (0, 11), (8,))),
    ],
)
def test_a_factor_scales_each_piece_and_rounds_it_up(
    factor: float, token_count: int | None, expected: Counts
) -> None:
    """
    The sum is that of the scaled pieces, unless the caller has counted the message.
    """
    assert scaled(Counts(16, 4, (0, 7), (5,)), factor, token_count) == expected


def test_an_id_that_is_null_is_kept_and_finds_nothing() -> None:
    """
    Only a string of 1 to 512 bytes is an id by which a message is found.
    """
    for sent, expected in (
        ("null", ""),
        ('"m"', "m"),
        ('""', ""),
        ("7", ""),
        (f'"{"x" * 513}"', ""),
    ):
        text = f'{{"role":"user","parts":[{{"type":"text","text":"hi"}}],"id":{sent}}}'.encode()
        draft = parse(text, "message")
        assert draft.message_id == expected
        assert f'"id":{sent}'.encode() in draft.body
