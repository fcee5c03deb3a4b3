"""How long a connection waits, with times that are handed in; and how it comes to its end."""

from __future__ import annotations

from math import inf

import pytest

from fastpaca.errors import RequestTimeout
from fastpaca.http.bounds import ConnectionBounds
from fastpaca.http.connection import Disconnected
from fastpaca.http.messages import Head
from fastpaca.http.states import Closing
from tests.http.driver import CHUNKED, GET, OLD, SOCKET, Driver, get, head_in, post, refused_in

BOUNDS = ConnectionBounds(
    head_seconds=10, idle_seconds=70, unread_seconds=60, unread_bytes=100, linger_seconds=5
)

# --- deadlines --------------------------------------------------------------------------------


def test_an_idle_connection_is_closed() -> None:
    """
    Before the first request and after each response a client may say nothing for so long.
    """
    driver = Driver(BOUNDS)
    assert driver.seconds_left == 70
    driver.wait(69)
    driver.receive(GET)
    assert driver.seconds_left == inf
    driver.now += 1000
    driver.respond()
    assert driver.seconds_left == 70
    driver.wait(69.9)
    assert driver.closing() is Closing.NO
    driver.wait(0.1)
    assert driver.closing() is Closing.ABORT
    assert driver.seconds_left == inf


def test_a_head_has_its_time_from_its_first_byte() -> None:
    """
    However a client trickles, the headers must have ended in time, or the request is refused.
    """
    driver = Driver(BOUNDS)
    driver.receive(b"G")
    assert driver.seconds_left == 10
    driver.wait(9)
    driver.receive(b"ET / HTTP/1.1\r\n")
    assert driver.seconds_left == 1
    assert isinstance(refused_in(driver.wait(1)).error, RequestTimeout)
    assert b"connection: close" in driver.respond(status=408)
    assert driver.closing() is Closing.LINGER


def test_a_slow_head_waits_for_the_responses_before_it() -> None:
    """
    A response under way is sent whole before the next request is refused.
    """
    driver = Driver(BOUNDS)
    driver.receive(GET + b"G")
    driver.begin(length=2)
    assert driver.wait(10) == []
    driver.piece(b"ok")
    driver.end()
    assert isinstance(refused_in(driver.events()).error, RequestTimeout)


def test_a_head_that_is_not_read_is_not_late() -> None:
    """
    As long as the application does not take a body, what follows it on the wire is given time.
    """
    bounds = ConnectionBounds(head_seconds=10, held_bytes_max=1)
    driver = Driver(bounds)
    driver.receive(post(2) + b"aaG")
    assert driver.wait(10) == []
    assert driver.seconds_left == 10
    driver.machine.taken(2)
    assert isinstance(driver.wait(10), list)
    driver.respond()
    assert isinstance(refused_in(driver.events()).error, RequestTimeout)


def test_a_head_under_way_keeps_its_time_when_a_response_ends() -> None:
    """
    The end of a response gives the next request no more time than its first byte did.
    """
    driver = Driver(BOUNDS)
    driver.receive(GET + b"G")
    driver.now += 4
    driver.respond()
    assert driver.seconds_left == 6


def test_the_rest_of_an_early_answered_request_has_its_time() -> None:
    """
    A rest that does not come closes the connection, and one that comes begins a new wait.
    """
    driver = Driver(BOUNDS)
    driver.receive(post(2))
    driver.machine.release()
    driver.respond()
    assert driver.seconds_left == 5
    driver.receive(b"aa")
    assert driver.seconds_left == 70
    driver.receive(post(2))
    driver.machine.release()
    driver.respond()
    driver.wait(5)
    assert driver.closing() is Closing.ABORT


def test_lingering_ends() -> None:
    """
    What arrives after the last response is discarded for so long, and then the connection is cut.
    """
    driver = Driver(BOUNDS)
    driver.receive(CHUNKED)
    driver.machine.release()
    driver.respond()
    assert (driver.closing(), driver.seconds_left) == (Closing.LINGER, 5)
    driver.wait(5)
    assert driver.closing() is Closing.ABORT


def test_a_client_that_reads_its_response_is_not_idle() -> None:
    """
    A connection whose response is still being read is kept, as long as the client keeps the pace.
    """
    driver = Driver(BOUNDS)
    driver.receive(GET)
    driver.respond()
    driver.wait(70, unsent=1000)
    assert (driver.closing(), driver.seconds_left) == (Closing.NO, 60)
    driver.wait(60, unsent=900)
    assert driver.closing() is Closing.NO
    driver.wait(60, unsent=801)
    assert driver.closing() is Closing.ABORT


def test_a_client_that_does_not_read_is_let_go() -> None:
    """
    While bytes wait to be sent, the client must take so many in each period.
    """
    driver = Driver(BOUNDS)
    driver.receive(GET)
    driver.begin()
    driver.machine.written(1000, driver.now)
    assert driver.seconds_left == 60
    driver.now += 1
    driver.machine.written(2000, driver.now)
    assert driver.seconds_left == 59
    driver.wait(59, unsent=900)
    assert (driver.closing(), driver.seconds_left) == (Closing.NO, 60)
    assert driver.wait(60, unsent=801) == [Disconnected()]
    assert driver.closing() is Closing.ABORT


def test_a_client_that_reads_again_is_not_watched() -> None:
    """
    When all that waited was taken, the pace no longer counts.
    """
    driver = Driver(BOUNDS)
    driver.receive(GET)
    driver.begin()
    driver.machine.written(1000, driver.now)
    driver.machine.written(0, driver.now)
    assert driver.seconds_left == inf


def test_a_timer_that_fires_too_early_changes_nothing() -> None:
    """
    Looking at a connection before its deadline leaves it as it is.
    """
    driver = Driver(BOUNDS)
    driver.wait(1)
    assert (driver.closing(), driver.seconds_left) == (Closing.NO, 69)


# --- the end ----------------------------------------------------------------------------------


def test_a_last_response_that_is_not_read_is_dropped() -> None:
    """
    A connection that closes after its last response waits for a client only while it reads.
    """
    driver = Driver(BOUNDS)
    driver.receive(get("/", "Connection: close"))
    driver.respond()
    assert (driver.closing(), driver.seconds_left) == (Closing.SENT, 60)
    driver.wait(60, unsent=1000)
    driver.wait(60, unsent=900)
    assert driver.closing() is Closing.SENT
    driver.wait(60, unsent=801)
    assert driver.closing() is Closing.ABORT


def test_a_client_that_has_sent_all_gets_its_responses() -> None:
    """
    A client may end its side once its requests are out; the last response closes the connection.
    """
    driver = Driver()
    driver.receive(get("/1") + get("/2"))
    assert driver.receive_eof() == []
    assert driver.closing() is Closing.NO
    assert b"connection" not in driver.respond()
    assert head_in(driver.events()).path == b"/2"
    assert b"connection: close" in driver.respond()
    assert driver.closing() is Closing.SENT


@pytest.mark.parametrize("request_", [GET, OLD])
def test_a_client_that_ends_its_side_leaves_a_stream(request_: bytes) -> None:
    """
    A response without a length ends when its client may be gone, not at the next failed write.
    """
    driver = Driver()
    driver.receive(request_)
    driver.begin(length=None)
    assert driver.receive_eof() == [Disconnected()]
    assert driver.closing() is Closing.ABORT


@pytest.mark.parametrize("begun", [b"", b"G"])
def test_a_client_that_ends_while_nothing_is_owed_is_closed(begun: bytes) -> None:
    """
    The end of an idle connection, or of one in the middle of a head, is its end on both sides.
    """
    driver = Driver()
    driver.receive(begun)
    driver.receive_eof()
    assert driver.closing() is Closing.SENT


def test_a_body_that_ends_with_its_connection_is_not_waited_for() -> None:
    """
    A client that ends its side in the middle of a body cannot complete the request.
    """
    driver = Driver()
    driver.receive(post(5) + b"a")
    driver.receive_eof()
    assert driver.closing() is Closing.SENT
    assert driver.lost() == [Disconnected()]


def test_a_client_that_ends_while_it_is_lingered_for_is_closed() -> None:
    """
    When the client ends its side too, there is nothing left to discard.
    """
    driver = Driver()
    driver.receive(CHUNKED)
    driver.machine.release()
    driver.respond()
    assert driver.closing() is Closing.LINGER
    driver.receive_eof()
    assert driver.closing() is Closing.SENT


def test_a_begun_request_does_not_hold_a_client_that_has_ended() -> None:
    """
    After the end of the client's side there is nothing to linger for, though bytes are unread.
    """
    driver = Driver()
    driver.receive(GET + b"G")
    driver.receive_eof()
    driver.respond()
    assert driver.closing() is Closing.SENT


def test_a_stopping_server_closes_idle_connections_at_once() -> None:
    """
    A connection that is owed nothing ends, and stays so.
    """
    driver = Driver()
    driver.drain()
    assert driver.closing() is Closing.SENT
    driver.drain()
    assert driver.receive(GET) == []
    assert driver.closing() is Closing.SENT


def test_a_stopping_server_sends_what_it_owes() -> None:
    """
    Requests that were handed out or wait are answered, the last with `Connection: close`.
    """
    driver = Driver()
    driver.receive(get("/1") + post(1, path="/2"))
    driver.drain()
    assert b"connection" not in driver.respond()
    assert head_in(driver.events()).path == b"/2"
    driver.receive(b"a" + GET)
    assert b"connection: close" in driver.respond()
    assert driver.events() == []
    assert driver.closing() is Closing.LINGER


@pytest.mark.parametrize("is_begun", [False, True])
def test_the_application_learns_that_its_client_has_gone(is_begun: bool) -> None:
    """
    A lost connection disconnects the request whose response is owed; those that wait are dropped.
    """
    driver = Driver()
    driver.receive(GET + GET)
    if is_begun:
        driver.begin()
    assert driver.lost() == [Disconnected()]
    assert not driver.machine.owes_response
    assert driver.reads()
    assert driver.seconds_left == inf


def test_a_connection_that_owes_nothing_is_lost_in_silence() -> None:
    """
    Without a request there is no one to tell.
    """
    driver = Driver()
    assert driver.lost() == []


def test_what_comes_from_a_websocket_is_not_read() -> None:
    """
    Bytes after the head of a WebSocket are not taken for requests.
    """
    driver = Driver()
    assert isinstance(driver.receive(SOCKET)[0], Head)
    assert driver.receive(GET) == []
