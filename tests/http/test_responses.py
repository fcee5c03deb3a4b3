"""What a connection sends: the framing of responses, early ones, and whether it stays open."""

from __future__ import annotations

import pytest

from fastpaca.http.bounds import ConnectionBounds
from fastpaca.http.connection import CONTINUE, Disconnected
from fastpaca.http.messages import Head
from fastpaca.http.states import Closing
from tests.http.driver import CHUNKED, GET, OLD, Driver, body_in, get, post

EXPECTING = post(3, "Expect: 100-Continue")

# --- framing ----------------------------------------------------------------------------------


def test_a_response_has_its_length() -> None:
    """
    A head has the status with its reason, the lines of every response, the headers, and the length.
    """
    driver = Driver()
    driver.receive(GET)
    head = driver.machine.begin(201, ((b"a", b"b"),), 2, common=b"date: now\r\n")
    assert head == b"HTTP/1.1 201 Created\r\ndate: now\r\na: b\r\ncontent-length: 2\r\n\r\n"
    assert driver.piece(b"o") + driver.piece(b"k") + driver.end() == b"ok"
    assert driver.closing() is Closing.NO


def test_a_status_without_a_reason_is_sent_without() -> None:
    """
    The reason of a status that has none here is empty, as HTTP allows.
    """
    driver = Driver()
    driver.receive(GET)
    assert driver.respond(status=418).startswith(b"HTTP/1.1 418 \r\n")


def test_a_response_of_unknown_length_is_sent_in_chunks() -> None:
    """
    Each piece is a chunk, an empty one is none, and the end is the closing chunk.
    """
    driver = Driver()
    driver.receive(GET)
    assert b"\r\ntransfer-encoding: chunked\r\n" in driver.begin()
    assert driver.piece(b"a" * 17) == b"11\r\n" + b"a" * 17 + b"\r\n"
    assert driver.piece(b"") == b""
    assert driver.end() == b"0\r\n\r\n"
    assert driver.closing() is Closing.NO


@pytest.mark.parametrize("keep_alive", [(), ("Connection: keep-alive",)])
def test_old_clients_get_no_chunks(keep_alive: tuple[str, ...]) -> None:
    """
    A body of unknown length ends for HTTP/1.0 where the connection ends, whatever it asked for.
    """
    driver = Driver()
    driver.receive(get("/", *keep_alive, version="1.0"))
    assert driver.begin() == b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n"
    assert driver.piece(b"ab") + driver.piece(b"") + driver.end() == b"ab"
    assert driver.closing() is Closing.SENT


@pytest.mark.parametrize(("length", "framing"), [(2, b"content-length: 2"), (None, b"chunked")])
def test_head_is_answered_like_get_without_the_body(length: int | None, framing: bytes) -> None:
    """
    The response to HEAD has the length of the body that GET would get, and ends after its head.
    """
    driver = Driver()
    driver.receive(GET.replace(b"GET", b"HEAD") + GET)
    assert framing in driver.begin(length=length)
    assert driver.piece(b"ok") + driver.end() == b""
    assert driver.closing() is Closing.NO
    assert isinstance(driver.events()[0], Head)


@pytest.mark.parametrize("status", [204, 304])
def test_some_statuses_have_no_body(status: int) -> None:
    """
    204 and 304 end after their head, and do not frame what is not there.
    """
    driver = Driver()
    driver.receive(GET)
    head = driver.respond(b"", status)
    assert b"content-length" not in head
    assert b"transfer-encoding" not in head
    assert head.endswith(b"\r\n\r\n")
    assert driver.closing() is Closing.NO


def test_a_response_that_is_too_short_is_broken_off() -> None:
    """
    A response that ends before the length it gave is not taken for complete.
    """
    driver = Driver()
    driver.receive(GET)
    driver.begin(length=3)
    driver.piece(b"ab")
    assert driver.end() == b""
    assert driver.closing() is Closing.ABORT
    assert driver.events() == [Disconnected()]


def test_a_response_that_is_too_long_is_a_defect() -> None:
    """
    No more is sent than the length that was given.
    """
    driver = Driver()
    driver.receive(GET)
    driver.begin(length=1)
    with pytest.raises(AssertionError):
        driver.piece(b"ab")


@pytest.mark.parametrize("length", [None, 9, 1])
def test_what_fails_is_never_closed_like_what_ended(length: int | None) -> None:
    """
    A response that fails gets no closing chunk, and its connection is cut off.
    """
    driver = Driver()
    driver.receive(GET + GET)
    driver.begin(length=length)
    driver.piece(b"a")
    driver.machine.fail()
    assert driver.events() == [Disconnected()]
    assert not driver.sent.endswith(b"0\r\n\r\n")
    assert driver.closing() is Closing.ABORT


# --- clients that wait with their body --------------------------------------------------------


def test_a_client_that_waits_with_its_body_is_asked_once() -> None:
    """
    `Expect: 100-continue` gets its go-ahead when the application wants the body, and once.
    """
    driver = Driver()
    driver.receive(EXPECTING)
    assert driver.machine.continue_() == CONTINUE
    assert driver.machine.continue_() == b""
    assert body_in(driver.receive(b"abc")) == b"abc"
    assert b"connection" not in driver.respond()


@pytest.mark.parametrize(
    "request_",
    [
        GET,
        EXPECTING + b"a",
        post(3, "Expect: 200-ok"),
        post(3, "Expect: 100-continue", version="1.0"),
    ],
)
def test_nobody_else_is_asked(request_: bytes) -> None:
    """
    Who does not wait, has begun to send, or has an older version, gets no interim response.
    """
    driver = Driver()
    assert driver.machine.continue_() == b""
    driver.receive(request_)
    assert driver.machine.continue_() == b""


def test_no_client_is_asked_after_a_final_head() -> None:
    """
    Once the response has begun there is no go-ahead; a body that was not asked for ends the
    connection, since the client may send it or not.
    """
    driver = Driver()
    driver.receive(EXPECTING)
    assert b"connection: close" in driver.begin(length=0)
    assert driver.machine.continue_() == b""
    driver.end()
    assert driver.machine.continue_() == b""
    assert driver.closing() is Closing.LINGER


def test_a_client_whose_turn_has_not_come_is_not_asked() -> None:
    """
    The go-ahead for a request comes after the responses before it.
    """
    driver = Driver()
    driver.receive(GET + EXPECTING)
    assert driver.machine.continue_() == b""
    driver.respond()
    driver.events()
    assert driver.machine.continue_() == CONTINUE


# --- early responses --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "closes"),
    [
        (post(100), False),
        (post(70_000), True),
        (post(70_000) + b"a" * 70_000, False),
        (CHUNKED, True),
        (CHUNKED + b"1\r\na\r\n", True),
        (CHUNKED + b"1\r\na\r\n0\r\n\r\n", False),
        (post(0), False),
        (GET, False),
        (post(70_000) + b"a" * 70_000 + post(9), False),
        (post(100, "Connection: close"), True),
    ],
)
def test_an_early_response_closes_only_where_much_is_to_come(request_: bytes, closes: bool) -> None:
    """
    A short body that was not read is let come; a long one costs the client its connection.
    """
    driver = Driver()
    driver.receive(request_)
    driver.machine.release()
    assert (b"connection: close" in driver.respond(status=401)) is closes


def test_a_body_that_came_too_slowly_costs_the_connection() -> None:
    """
    408 ends the connection, however little is still to come.
    """
    driver = Driver()
    driver.receive(post(5) + b"a")
    assert b"connection: close" in driver.respond(status=408)


def test_the_rest_of_a_short_body_is_discarded() -> None:
    """
    Once the rest of an early answered request has come, the connection serves the next one.
    """
    driver = Driver()
    driver.receive(post(9))
    driver.machine.release()
    driver.respond()
    assert driver.receive(b"GET / ABC") == []
    assert isinstance(driver.receive(GET)[0], Head)
    assert driver.closing() is Closing.NO


def test_sending_ends_before_a_connection_with_unread_bytes_is_closed() -> None:
    """
    What arrives after the last response is discarded, so that no reset destroys the response.
    """
    driver = Driver()
    driver.receive(post(100_000))
    driver.machine.release()
    driver.respond()
    assert driver.closing() is Closing.LINGER
    assert driver.receive(b"a" * 50_000) == []
    driver.receive(b"a" * 50_000)
    assert driver.closing() is Closing.SENT


def test_a_connection_with_nothing_unread_is_closed_at_once() -> None:
    """
    After the last response nothing is waited for if nothing more can have been sent.
    """
    for request in (OLD, get("/", "Connection: close")):
        driver = Driver()
        driver.receive(request)
        driver.respond()
        assert driver.closing() is Closing.SENT


@pytest.mark.parametrize("begun", [b"G", GET[:-2]])
def test_a_begun_request_is_left_unread_after_the_last_response(begun: bytes) -> None:
    """
    A part of another request counts as unread when the connection ends.
    """
    driver = Driver(ConnectionBounds())
    driver.receive(GET + begun)
    driver.drain()
    driver.respond()
    assert driver.closing() is Closing.LINGER
