"""When a request is sent again, and how long is waited before."""

from __future__ import annotations

from typing import Any

import pytest

from fastpaca import FastpacaError, InvalidRequest, Retries, Timeouts
from fastpaca.client.calls import Calls
from fastpaca.client.flow import RANDOM_BELOW, NoResponse, exchange
from fastpaca.client.options import RETRIED_STATUSES
from fastpaca.client.requests import get
from fastpaca.client.responses import ClientResponse, retry_after_seconds
from tests.client.driven import CUT, Hand, answer
from tests.client.rules import answered, repeated, rules, terms

REQUEST = get("/v1/contexts/c")
OK = answer(200)
NO_WAITS = Retries(wait_seconds=0.0)


def run(hand: Hand) -> ClientResponse | None:
    return hand.run(exchange(REQUEST, Timeouts(), NO_WAITS))


RULES = rules("retries")


@pytest.mark.parametrize("status", [*range(300, 600)])
def test_statuses_that_are_tried_again(status: int) -> None:
    """
    Those that the rules list are tried again, the same request each time; all others are final.
    """
    hand = Hand([answer(status)] * 3 + [OK])
    if status in RULES["statuses"]:
        assert run(hand) == OK
        assert hand.sent == [REQUEST] * 4
    else:
        with pytest.raises(FastpacaError) as raised:
            run(hand)
        assert raised.value.status == status
        assert hand.waits == []


def test_the_statuses_are_listed_once() -> None:
    """
    What the code has is what the rules have.
    """
    assert sorted(RETRIED_STATUSES) == RULES["statuses"]


@pytest.mark.parametrize("case", RULES["calls"], ids=lambda case: case["rule"])
def test_calls_by_the_rules(case: Any) -> None:
    """
    How often a call is tried, how long it waits before each attempt, and how it ends.
    """
    timeouts, retries = terms(case)
    outcomes = [CUT if told is None else answered(told) for told in case["answers"]]
    hand = Hand(outcomes, seconds_per_attempt=case.get("attempt_seconds", 0.0))
    hand.drawn = int(case["chance"] * RANDOM_BELOW)
    try:
        hand.run(Calls(timeouts, retries).patch_metadata("c", {}))
    except FastpacaError as error:
        outcome = error.code
    else:
        outcome = "answered"
    assert outcome == case["outcome"]
    assert hand.waits == pytest.approx(case["waits_seconds"])
    assert len(hand.sent) == len(case["answers"])


@pytest.mark.parametrize("case", RULES["streams"], ids=lambda case: case["rule"])
def test_streams_by_the_rules(case: Any) -> None:
    """
    How long a stream waits before each connection; it ends when the context was deleted.
    """
    frame = b'data: {"type":"gap","expected":1,"actual":2,"cursor":1}\n\n'
    outcomes: list[ClientResponse | NoResponse] = []
    pieces: list[bytes | NoResponse | None] = []
    for told in case["connections"]:
        if told is None or "status" in told:
            outcomes.append(CUT if told is None else answered(told))
            continue
        outcomes.append(answer(200, b"", content_type="text/event-stream"))
        retry = f"retry: {told['retry']}\n\n".encode() if "retry" in told else b": open\n\n"
        pieces += [retry + frame * told["frames"], None]
    hand = Hand([*outcomes, answer(204, b"")], pieces)
    hand.drawn = int(case["chance"] * RANDOM_BELOW)
    hand.run(Calls(Timeouts(), Retries()).stream("c", 0, include_messages=True))
    assert hand.waits == pytest.approx(case["waits_seconds"])


@pytest.mark.parametrize("case", RULES["retry_after"], ids=lambda case: str(case["headers"]))
def test_retry_after_is_read(case: Any) -> None:
    """
    Seconds, or a date by the clock of who sends it; nothing else.
    """
    assert retry_after_seconds(case["headers"]) == case["seconds"]


def test_a_key_is_made_once_for_each_call() -> None:
    """
    Attempts of one call share its key; another call has another.
    """
    calls = Calls(Timeouts(), NO_WAITS)
    body = b'{"seq":1,"version":1,"token_estimate":4}'
    hand = Hand([CUT, answer(503), answer(201, body), answer(201, body)])
    message = {"role": "user", "parts": []}
    hand.run(calls.append("c", message, None, None, None))
    hand.drawn = 7
    hand.run(calls.append("c", message, None, None, None))
    first, *again, other = [request.key for request in hand.sent]
    assert first is not None
    assert again == [first, first]
    assert other == f"{7:032x}"
    assert other != first


def test_who_gives_up_knows_the_key() -> None:
    """
    The same append can be sent again later, and is still done once.
    """
    hand = Hand([CUT])
    calls = Calls(Timeouts(), Retries(attempts_max=1))
    with pytest.raises(FastpacaError) as raised:
        hand.run(calls.append("c", {"role": "user", "parts": []}, None, None, None))
    assert raised.value.idempotency_key == hand.sent[0].key is not None


@pytest.mark.parametrize("case", rules("limits")["idempotency_keys_refused"], ids=str)
def test_a_key_that_no_node_takes_is_not_sent(case: Any) -> None:
    """
    It is refused at once, and not tried ten times.
    """
    key = repeated(case, "key")
    hand = Hand([])
    calls = Calls(Timeouts(), NO_WAITS)
    for call in (calls.append("c", [], None, None, key), calls.compact("c", [], None, key)):
        with pytest.raises(InvalidRequest) as raised:
            hand.run(call)
        assert raised.value.field == "idempotency_key"
    assert hand.sent == []


@pytest.mark.parametrize("case", rules("limits")["idempotency_keys"], ids=str)
def test_a_key_of_the_caller_is_sent_as_it_is(case: Any) -> None:
    """
    Every key that a node takes can be sent.
    """
    key = repeated(case, "key")
    hand = Hand([answer(200, b'{"version":1}')])
    hand.run(Calls(Timeouts(), NO_WAITS).compact("c", [], None, key))
    assert hand.sent[0].headers["Idempotency-Key"] == key
