"""When a request is sent again, and how long is waited before."""

from __future__ import annotations

from typing import Any

import pytest

from fastpaca import (
    FastpacaError,
    InvalidRequest,
    RateLimited,
    Retries,
    Timeouts,
    UnexpectedAnswer,
)
from fastpaca.client.calls import Calls
from fastpaca.client.flow import exchange
from fastpaca.client.protocol import Answer, get, retry_after_seconds
from tests.client.driven import CUT, Hand, answer

REQUEST = get("/v1/contexts/c")
OK = answer(200)
NO_WAITS = Retries(wait_seconds=0.0)


def run(hand: Hand, retries: Retries = NO_WAITS, total_seconds: float = 60.0) -> Answer | None:
    return hand.run(exchange(REQUEST, Timeouts(total_seconds=total_seconds), retries))


@pytest.mark.parametrize("status", [408, 429, 502, 503, 504, None])
def test_what_may_pass_is_tried_again(status: int | None) -> None:
    """
    No answer, 408, 429 and the errors of nodes and proxies that are away for a moment.
    """
    hand = Hand([CUT if status is None else answer(status)] * 3 + [OK])
    assert run(hand) == OK
    assert hand.sent == [REQUEST] * 4


@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 405, 409, 413, 415, 431, 500])
def test_what_stays_as_it_is_is_not_tried_again(status: int) -> None:
    """
    Everything else is raised at once.
    """
    hand = Hand([answer(status)])
    with pytest.raises(FastpacaError) as raised:
        run(hand)
    assert raised.value.status == status
    assert hand.waits == []


def test_attempts_are_counted() -> None:
    """
    After the last attempt its error is raised, without a wait behind it.
    """
    hand = Hand([CUT] * 4 + [answer(503, b'{"error":"unavailable","message":"m"}')])
    with pytest.raises(FastpacaError, match="m"):
        run(hand, Retries(attempts_max=5))
    assert len(hand.sent) == 5
    assert len(hand.waits) == 4


def test_waits_double_up_to_a_limit_and_are_drawn() -> None:
    """
    Each wait is a random part of a time that doubles: here one half, then none of it.
    """
    retries = Retries(attempts_max=8, wait_seconds=1.0, wait_seconds_max=6.0)
    hand = Hand([CUT] * 5 + [OK])
    run(hand, retries)
    assert hand.waits == [0.5, 1.0, 2.0, 3.0, 3.0]
    hand = Hand([CUT] * 3 + [OK])
    hand.drawn = 0
    run(hand, retries)
    assert hand.waits == [0.0, 0.0, 0.0]


def test_a_wait_is_as_long_as_the_node_asks_for() -> None:
    """
    The wait of the client's own comes on top, so that not all come back in the same moment.
    """
    hand = Hand([answer(503, retry_after="3"), answer(429, retry_after="7"), OK])
    run(hand, Retries(wait_seconds=1.0))
    assert hand.waits == [3.5, 8.0]


def test_a_call_ends_by_its_deadline() -> None:
    """
    A wait that would go beyond it is not begun, however long the node asks to wait.
    """
    hand = Hand([answer(503, retry_after="61")])
    with pytest.raises(UnexpectedAnswer) as raised:
        run(hand)
    assert raised.value.status == 503
    assert hand.waits == []
    hand = Hand([CUT] * 9, seconds_per_attempt=25.0)
    with pytest.raises(FastpacaError, match="cut"):
        run(hand)
    assert len(hand.sent) == 3


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, 0),
        ({"retry-after": "12"}, 12),
        ({"retry-after": " 0 "}, 0),
        ({"retry-after": "-1"}, 0),
        ({"retry-after": "soon"}, 0),
        ({"retry-after": "١"}, 0),
        (
            {
                "date": "Mon, 05 Jan 2026 09:30:00 GMT",
                "retry-after": "Mon, 05 Jan 2026 09:30:20 GMT",
            },
            20,
        ),
        (
            {
                "date": "Mon, 05 Jan 2026 09:30:00 GMT",
                "retry-after": "Mon, 05 Jan 2026 09:29:00 GMT",
            },
            0,
        ),
        ({"retry-after": "Mon, 05 Jan 2026 09:30:20 GMT"}, 0),
        ({"date": "Mon, 05 Jan 2026 09:30:00 GMT", "retry-after": "Mon, 99 Foo"}, 0),
    ],
)
def test_retry_after_is_read(headers: dict[str, str], seconds: float) -> None:
    """
    Seconds, or a date by the clock of who sends it; nothing else.
    """
    assert retry_after_seconds(headers) == seconds


def test_the_wait_of_a_rate_limit_is_known() -> None:
    """
    Who gives up can say for how long.
    """
    body = b'{"error":"rate_limited","message":"Too many"}'
    hand = Hand([answer(429, body, retry_after="9")])
    with pytest.raises(RateLimited) as raised:
        run(hand, Retries(attempts_max=1))
    assert raised.value.retry_after_s == 9


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


@pytest.mark.parametrize("key", ["", " a", "a\n", "a\nb", "ä", "k" * 256, 7])
def test_a_key_that_no_node_takes_is_not_sent(key: Any) -> None:
    """
    It is refused at once, and not tried ten times.
    """
    hand = Hand([])
    calls = Calls(Timeouts(), NO_WAITS)
    for call in (calls.append("c", [], None, None, key), calls.compact("c", [], None, key)):
        with pytest.raises(InvalidRequest) as raised:
            hand.run(call)
        assert raised.value.field == "idempotency_key"
    assert hand.sent == []
