"""Requests that are made of calls, and values and errors that are made of answers."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastpaca
from fastpaca import FastpacaError, InvalidRequest, Message, Retries, Timeouts, UnexpectedResponse
from fastpaca.api.routes import decode_id
from fastpaca.client import requests, responses
from fastpaca.client.appending import read_appended
from fastpaca.client.calls import Calls
from fastpaca.client.flow import Send
from fastpaca.client.http_requests import RESPONSE_BYTES_MAX, HttpRequests
from fastpaca.client.requests import encode, path_of
from fastpaca.client.responses import ClientResponse, LaterFrame, error_of
from fastpaca.client.values import Policy, ResetFrame
from fastpaca.ids import ID_BYTES_MAX, KEY_CHARS_MAX
from tests.client.driven import Hand, answer
from tests.client.rules import answered, repeated, rules

LIMITS = rules("limits")

# --- ids ---


@given(st.text(min_size=1, max_size=100).filter(lambda name: name not in {".", ".."}))
def test_an_id_is_one_segment_that_a_node_reads_back(name: str) -> None:
    """
    Whatever the id, its path has three slashes, no question mark, and comes back as it was.
    """
    if "\0" in name:
        return
    path = path_of(name)
    assert path.isascii()
    assert path.count("/") == 3
    assert not set("?# ") & set(path)
    assert decode_id(path.removeprefix("/v1/contexts/").encode()) == name


@pytest.mark.parametrize("case", LIMITS["ids"], ids=str)
def test_an_id_has_its_path(case: Any) -> None:
    """
    The same in every client, to the letter: a proxy may choose a node by it.
    """
    name = repeated(case, "id")
    assert path_of(name) == case.get("path", "/v1/contexts/" + quote(name, safe=""))


@pytest.mark.parametrize("case", LIMITS["ids_refused"], ids=ascii)
def test_an_id_that_no_node_takes_is_refused(case: Any) -> None:
    """
    Dots and nothing would name another path, and all else would be refused by the node.
    """
    name = repeated(case, "id")
    with pytest.raises(InvalidRequest) as refused:
        path_of(name)
    assert refused.value.field == "id"


# --- what is sent ---


def test_only_what_is_given_is_sent() -> None:
    """
    A zero and an empty object are given, None is not.
    """
    assert requests.put("c", None, None, None, None).body == b"{}"
    assert requests.put("c", 0, 0, "manual", {}).body == (
        b'{"token_budget":0,"trigger_ratio":0,"policy":{"strategy":"manual"},"metadata":{}}'
    )
    assert requests.compact("c", [], 0, "k").body == b'{"replacement":[],"if_version":0}'
    assert requests.get("/p", offset=0, limit=None).target == "/p?offset=0"
    assert requests.get("/p", prefix="a&b=c d").target == "/p?prefix=a%26b%3Dc%20d"
    assert requests.get("/p").target == "/p"


def test_a_policy_is_sent_as_it_was_read() -> None:
    """
    A policy that a node answered can be given to another context.
    """
    policy = Policy(strategy="last_n", config={"limit": 5})
    body = requests.put("c", None, None, policy, None).body
    assert body == b'{"policy":{"strategy":"last_n","config":{"limit":5}}}'


@pytest.mark.parametrize("case", LIMITS["base_urls"], ids=lambda case: case["given"])
def test_an_address_may_have_the_version_and_slashes(case: Any) -> None:
    """
    Requests go to the same place however the address of the node is written.
    """
    transfer = HttpRequests(case["given"], None, Timeouts())
    request = transfer.request(Send(requests.get(path_of("demo")), 0.0))
    assert str(request.url) == case["asked"]


@pytest.mark.parametrize("address", LIMITS["base_urls_refused"])
def test_an_address_that_can_never_work_is_refused(address: str) -> None:
    """
    It is told when the client is made, and not after ten attempts.
    """
    with pytest.raises(InvalidRequest) as raised:
        HttpRequests(address, None, Timeouts())
    assert raised.value.field == "base_url"


@pytest.mark.parametrize("api_key", LIMITS["api_keys"])
def test_a_key_is_sent_as_it_is(api_key: str) -> None:
    """
    Every key that a node can have.
    """
    assert (
        HttpRequests("http://h", api_key, Timeouts()).headers["Authorization"]
        == f"Bearer {api_key}"
    )


@pytest.mark.parametrize("api_key", LIMITS["api_keys_refused"])
def test_a_key_that_no_node_has_is_refused(api_key: str) -> None:
    """
    A key is often read from a file, with the end of its line; it is not told to who reads logs.
    """
    with pytest.raises(InvalidRequest) as raised:
        HttpRequests("http://localhost", api_key, Timeouts())
    assert raised.value.field == "api_key"
    assert api_key.strip() not in str(raised.value).split()


@pytest.mark.parametrize("case", LIMITS["headers"], ids=str)
def test_headers_of_the_caller_are_sent(case: Any) -> None:
    """
    With every request, next to those of the client.
    """
    transfer = HttpRequests("http://h", case.get("api_key"), Timeouts(), case["given"])
    sent = transfer.request(Send(requests.compact("c", [], None, "k"), 0.0)).headers
    assert {name: sent[name] for name in case["given"]} == case["given"]
    assert len(sent.get_list("authorization")) <= 1
    assert (sent["accept"], sent["idempotency-key"]) == ("application/json", "k")


@pytest.mark.parametrize("case", LIMITS["headers_refused"], ids=str)
def test_headers_that_cannot_be_sent_are_refused(case: Any) -> None:
    """
    So are those that the client sets itself; no value is shown.
    """
    with pytest.raises(InvalidRequest) as raised:
        HttpRequests("http://h", case.get("api_key"), Timeouts(), case["given"])
    assert raised.value.field == "headers"


def test_limits_are_those_of_all_clients() -> None:
    """
    What one client sends and reads, another does too.
    """
    assert LIMITS["id_bytes_max"] == ID_BYTES_MAX
    assert LIMITS["idempotency_key_chars_max"] == KEY_CHARS_MAX
    assert LIMITS["response_bytes_max"] == RESPONSE_BYTES_MAX


def test_a_count_is_of_one_message() -> None:
    """
    It does not change the caller's message, and several have their own.
    """
    message = {"role": "user", "parts": []}
    body = requests.append("c", read_appended(message, None, None), None, 0, "k").body
    assert body == b'{"message":{"role":"user","parts":[],"token_count":0}}'
    assert message == {"role": "user", "parts": []}
    with pytest.raises(InvalidRequest) as refused:
        requests.append("c", read_appended([message], None, None), None, 3, "k")
    assert refused.value.field == "token_count"


@pytest.mark.parametrize(
    ("message", "message_id", "field"),
    [
        ([{"role": "user", "content": "Hi"}], "m", "message"),
        ("Hi", None, "id"),
        ({"role": "user", "content": "Hi", "id": 7}, None, "id"),
        ("Hi", "..", "id"),
        ("Hi", "m" * 513, "id"),
    ],
)
def test_what_cannot_be_put_is_refused(message: Any, message_id: str | None, field: str) -> None:
    """
    Several messages, and a message without an id that a path can have.
    """
    appending = read_appended(message, None, None)
    with pytest.raises(InvalidRequest) as refused:
        requests.put_message("c", message_id, appending, None, None, "k")
    assert refused.value.field == field


def test_a_message_is_put_under_its_own_id_or_the_one_that_is_named() -> None:
    """
    With all of the id in one segment of the path.
    """
    own = read_appended({"role": "user", "parts": [], "id": "a/b"}, "ai-sdk", None)
    request = requests.put_message("c", None, own, 3, 5, "k")
    assert request.target == "/v1/contexts/c/messages/a%2Fb?format=ai-sdk"
    assert json.loads(request.body or b"") == {
        "message": {"role": "user", "parts": [], "id": "a/b", "token_count": 5},
        "if_version": 3,
    }
    assert requests.put_message("c", "x", own, None, None, "k").target.split("?")[0].endswith("/x")


@pytest.mark.parametrize("places", [(None, None), (1, 1)])
def test_a_rewind_goes_to_one_place(places: tuple[int | None, int | None]) -> None:
    """
    Neither to none nor to two.
    """
    with pytest.raises(InvalidRequest):
        requests.rewind("c", *places, None, "k")


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), "\ud800", {1, 2}, object(), Decimal("NaN"), b"bytes"]
)
def test_what_is_no_json_is_not_sent(value: Any) -> None:
    """
    It is refused, and never sent as something else.
    """
    with pytest.raises(InvalidRequest, match="cannot be sent as JSON"):
        encode({"metadata": {"k": [value]}})


def test_what_contains_itself_is_not_sent() -> None:
    """
    A list without an end is no JSON either.
    """
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(InvalidRequest, match="cannot be sent as JSON"):
        encode(endless)


NUMBERS = b"[1180591620717411303424,-1180591620717411303425,1.0,0.1,1e+22,-0.0,1.5e300,0]"


def test_numbers_keep_their_value() -> None:
    """
    Integers of any size, floats as Python writes them, and the sign of zero.
    """
    found = responses.BodyReader[list[Any]](list[Any])(NUMBERS)
    assert found[0] == 2**70
    assert [type(number) for number in found] == [int, int, float, float, float, float, float, int]
    assert json.loads(encode(found)) == json.loads(NUMBERS)
    assert encode(found) == NUMBERS.replace(b"1.5e300", b"1.5e+300")


def test_a_number_beyond_floats_is_exact() -> None:
    """
    It is read as a decimal, is sent as it was, and does not hide the rest of a page.
    """
    page = b'{"messages":[{"seq":1,"n":1e400,"f":2.0}],"version":1}'
    (message,) = responses.messages_page(page).messages
    assert message["n"] == Decimal("1e400")
    assert message["f"] == 2.0
    assert encode(message) == b'{"seq":1,"n":1E+400,"f":2.0}'


def test_an_integer_of_more_digits_than_python_reads_is_exact() -> None:
    """
    Another client may have sent it; the conversation stays readable, and it goes back as it came.
    """
    large = b"-1" + b"0" * 5000
    page = b'{"messages":[{"seq":1,"n":%b,"f":2.0}],"version":1}' % large
    (message,) = responses.messages_page(page).messages
    assert message["n"] == Decimal("-1E+5000")
    assert type(message.seq) is int
    assert encode(message) == b'{"seq":1,"n":%b,"f":2.0}' % large


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.text()
        | st.floats(allow_nan=False, allow_infinity=False),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=20,
    )
)
def test_json_comes_back(value: Any) -> None:
    """
    What was sent is read as the same value, order of keys and types included.
    """
    found = responses.BodyReader[Any](Any)(encode(value))
    assert repr(found) == repr(value)


def test_text_is_sent_in_utf8() -> None:
    """
    Escapes are for what JSON escapes.
    """
    assert encode("é🦙\0\uffff\u2028") == '"é🦙\\u0000\uffff\u2028"'.encode()


# --- what comes back ---


def test_a_message_is_the_json_with_names() -> None:
    """
    Keys of the caller's own stay, and what it lacks is None or empty.
    """
    body = (
        b'{"messages":[{"seq":null,"version":3,"role":"user","parts":[{"type":"x"}],"custom":[1],'
        b'"metadata":{},"token_count":4,"inserted_at":"2026-01-05T09:30:00.000001Z"}]}'
    )
    (message,) = responses.messages_page(body).messages
    assert isinstance(message, Message)
    assert (message.seq, message.version, message.role) == (None, 3, "user")
    assert (message.parts, message.token_count, message.metadata) == ([{"type": "x"}], 4, {})
    assert message.id is None
    assert message.inserted_at.isoformat() == "2026-01-05T09:30:00.000001+00:00"
    assert message["custom"] == [1]
    assert json.loads(encode(message)) == json.loads(body)["messages"][0]


def test_unknown_fields_and_frames_are_left_out() -> None:
    """
    A newer node can be spoken to: what it adds is not read, what it should have said is missed.
    """
    assert responses.appended(b'{"seq":1,"version":1,"token_estimate":2,"new":[]}').seq == 1
    frame = responses.frame(b'{"type":"reset","version":1,"cursor":1,"new":1}')
    assert frame == ResetFrame(version=1, cursor=1)
    assert responses.frame(b'{"type":"news","cursor":1}') == LaterFrame(type="news", cursor=1)
    with pytest.raises(UnexpectedResponse):
        responses.frame(b"\xff")


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"\xff", b"[]", b"{}", b'{"seq":"1"}', b"[" * 5000]
)
def test_an_answer_of_somebody_else_is_told_apart(body: bytes) -> None:
    """
    What is no answer of a node is no value, whatever its status.
    """
    with pytest.raises(UnexpectedResponse, match="not the response of a fastpaca node"):
        responses.appended(body)
    error = error_of(ClientResponse(502, {}, body))
    assert isinstance(error, UnexpectedResponse)
    assert (error.code, error.status) == ("unexpected_response", 502)
    assert len(error.message) < 1500


# --- errors ---


ERRORS = rules("errors")


def test_every_error_is_exported() -> None:
    """
    The classes that the package exports are those that the rules list, each with its code.
    """
    exported = {
        name: kind.code
        for name in dir(fastpaca)
        if isinstance(kind := getattr(fastpaca, name), type) and issubclass(kind, FastpacaError)
    }
    del exported["FastpacaError"]
    listed = [error for error in ERRORS["errors"] if "python" in error.get("sdks", ["python"])]
    assert exported == {error["class"]: error["code"] for error in listed}
    for error in listed:
        above = getattr(fastpaca, error.get("is_also", "FastpacaError"))
        assert issubclass(getattr(fastpaca, error["class"]), above)


@pytest.mark.parametrize(
    "error", [one for one in ERRORS["errors"] if "status" in one], ids=lambda one: one["code"]
)
def test_an_error_is_of_the_class_of_its_code(error: Any) -> None:
    """
    With the message of the node and the fields of its own.
    """
    fields = error.get("fields", {})
    body = encode({"error": error["code"], "message": "Why.", **fields})
    found = error_of(answer(error["status"], body))
    assert type(found) is getattr(fastpaca, error["class"])
    assert (found.code, found.message) == (error["code"], "Why.")
    assert str(found) == (f"{found.field}: Why." if found.field else "Why.")
    assert (found.status, found.fields) == (error["status"], fields)
    for name, value in fields.items():
        assert getattr(found, name) == value


@pytest.mark.parametrize("case", ERRORS["answers"], ids=lambda case: case["rule"])
def test_errors_by_the_rules(case: Any) -> None:
    """
    What becomes of any answer, whoever has sent it.
    """
    hand = Hand([answered(case["answer"])])
    calls = Calls(Timeouts(), Retries(attempts_max=1))
    with pytest.raises(FastpacaError) as raised:
        hand.run(calls.info("demo"))
    expected = dict(case["error"])
    assert type(raised.value).__name__ == expected.pop("class")
    assert {name: getattr(raised.value, name) for name in expected} == expected
