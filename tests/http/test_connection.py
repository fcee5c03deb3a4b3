"""What a connection reads: requests in their order, bodies, upgrades, and what is not a request."""

from __future__ import annotations

import pytest

from fastpaca.errors import HeadersTooLarge, InvalidRequest, Unavailable
from fastpaca.http.bounds import ConnectionBounds
from fastpaca.http.connection import Body, Disconnected, End, Refused
from fastpaca.http.messages import Head, ReadyRequest
from fastpaca.http.states import Closing
from tests.http.driver import (
    BROKEN,
    CHUNKED,
    GET,
    OLD,
    SOCKET,
    Driver,
    body_in,
    get,
    head_in,
    is_ended,
    post,
    refused_in,
)

# --- requests ---------------------------------------------------------------------------------


def test_a_request_is_handed_out_with_its_parts() -> None:
    """
    A head has the method, the path and the query as they were sent, and its headers by name.
    """
    lines = ("A: 1", "X-B:  two \t", "a: 3")
    head = head_in(Driver().receive(get("/a%20b?c=d?e", *lines)))
    assert (head.method, head.path, head.query) == ("GET", b"/a%20b", b"c=d?e")
    assert head.headers == {b"host": b"a", b"a": b"1, 3", b"x-b": b"two"}
    assert head.repeated == (b"a",)
    assert not head.has_body
    assert not head.wants_socket


def test_a_body_comes_in_pieces_and_ends() -> None:
    """
    Each piece is passed on as it comes, and the last one is followed by the end.
    """
    driver = Driver()
    assert head_in(driver.receive(post(5) + b"ab")).has_body
    assert driver.receive(b"c") == [Body(b"c")]
    assert driver.receive(b"de" + GET) == [Body(b"de"), End()]


def test_small_chunks_are_one_piece() -> None:
    """
    What arrives together is passed on together, so a byte in a chunk of its own costs no event.
    """
    driver = Driver()
    assert head_in(driver.receive(CHUNKED)).has_body
    assert driver.receive(b"1\r\na\r\n" * 10_000) == [Body(b"a" * 10_000)]
    driver.machine.taken(10_000)
    assert driver.receive(b"1\r\nb\r\n" * 3 + b"0\r\n\r\n") == [Body(b"bbb"), End()]


def test_a_length_may_have_any_number_of_zeros() -> None:
    """
    Zeros in front of a length change nothing, however many there are.
    """
    events = Driver().receive(post(2, "A: b").replace(b": 2", b": " + b"0" * 5000 + b"2") + b"ab")
    assert (body_in(events), is_ended(events)) == (b"ab", True)


def test_chunks_are_joined_and_trailers_dropped() -> None:
    """
    A body in chunks reads like any other, and what follows it changes nothing of its head.
    """
    driver = Driver()
    events = driver.receive(CHUNKED + b"3;a=b\r\nabc\r\n1\r\nd\r\n0\r\nAuthorization: x\r\n\r\n")
    assert (body_in(events), is_ended(events)) == (b"abcd", True)
    assert b"authorization" not in head_in(events).headers


@pytest.mark.parametrize("trailer", [b"Connection", b"Proxy-Connection"])
def test_a_trailer_may_end_the_connection(trailer: bytes) -> None:
    """
    The parser obeys it and understands nothing that follows, so the response says so too.
    """
    driver = Driver()
    driver.receive(CHUNKED + b"0\r\n" + trailer + b": close\r\n\r\n" + GET)
    assert b"connection: close" in driver.machine.begin(200, (), 0)
    driver.machine.end(driver.now)
    assert driver.closing() is Closing.LINGER
    assert driver.machine.next_event() is None


@pytest.mark.parametrize("request_", [GET, post(0), OLD])
def test_a_request_without_a_body_has_no_end(request_: bytes) -> None:
    """
    Nothing follows the head of a request that has no body.
    """
    [head] = Driver().receive(request_)
    assert isinstance(head, Head)
    assert not head.has_body


def test_pipelined_requests_wait_for_their_turn() -> None:
    """
    A request is handed out, with its body, when the response to the one before it has ended.
    """
    driver = Driver()
    events = driver.receive(get("/1") + post(2, path="/2") + b"ab" + get("/3"))
    assert [head_in(events).path] == [b"/1"]
    driver.respond()
    events = driver.events()
    assert (head_in(events).path, body_in(events), is_ended(events)) == (b"/2", b"ab", True)
    driver.begin()
    assert driver.events() == []
    driver.end()
    assert head_in(driver.events()).path == b"/3"
    assert b"connection" not in driver.sent + driver.respond()


def test_pipelined_requests_are_bounded() -> None:
    """
    So many requests wait, then no more is read, and the last response says so.
    """
    driver = Driver(ConnectionBounds(pipelined_max=3))
    driver.receive(GET)
    driver.receive(GET * 1000)
    responses = [driver.respond()]
    while driver.events():
        responses.append(driver.respond())
    assert [b"connection: close" in response for response in responses] == [False] * 3 + [True]
    assert driver.closing() is Closing.LINGER


def test_nothing_is_begun_after_the_last_request() -> None:
    """
    A request that follows one with `Connection: close` is not handed out.
    """
    driver = Driver()
    driver.receive(get("/", "Connection: close") + GET)
    assert b"connection: close" in driver.respond()
    assert driver.events() == []
    assert driver.receive(GET) == []
    assert driver.closing() is Closing.LINGER


# --- what is not a request --------------------------------------------------------------------


def test_what_is_broken_is_refused_after_all_owed_responses() -> None:
    """
    A refusal waits for the responses to the requests before it, and ends the connection.
    """
    driver = Driver()
    assert head_in(driver.receive(get("/1") + get("/2") + BROKEN + GET)).path == b"/1"
    driver.respond()
    assert head_in(driver.events()).path == b"/2"
    driver.respond()
    [refused] = driver.events()
    assert isinstance(refused, Refused)
    assert isinstance(refused.error, InvalidRequest)
    assert b"connection: close" in driver.respond(status=400)
    assert driver.closing() is Closing.LINGER
    assert driver.receive(GET) == []


def test_a_refusal_has_the_id_and_the_time_of_its_request() -> None:
    """
    The request id that came before the mistake, and when the first byte came, go with a refusal.
    """
    driver = Driver()
    driver.receive(b"GET / HTTP/1.1\r\nX-Request-Id: abc\r\nA: b\r\n")
    driver.now += 1
    refused = refused_in(driver.receive(b"broken\r\n\r\n"))
    assert (refused.sent_id, refused.began_at) == (b"abc", 1000.0)


@pytest.mark.parametrize(
    "head",
    [
        get(version="1.2"),
        get(version="2.0"),
        get("a"),
        get("http://a/"),
        GET.replace(b"GET /", b"OPTIONS *"),
        GET.replace(b"GET /", b"CONNECT a:1"),
        get("/a#b"),
        get("/", "Host: b"),
        b"GET / HTTP/1.1\r\n\r\n",
        get("/", "Transfer-Encoding: gzip, chunked"),
        get("/", "Transfer-Encoding: chunked", version="1.0"),
        get("/", "Connection: upgrade", "Upgrade: a", "Content-Length: 1"),
        SOCKET.replace(b": 13", b": 8"),
        SOCKET.replace(b"==", b""),
    ],
)
def test_what_could_be_understood_in_two_ways_is_refused(head: bytes) -> None:
    """
    A head that a proxy may read differently never reaches the application.
    """
    [refused] = Driver().receive(head)
    assert isinstance(refused, Refused)
    assert isinstance(refused.error, InvalidRequest)


def test_heads_are_bounded() -> None:
    """
    One header too many, or one byte, is refused, however the bytes come.
    """
    bounds = ConnectionBounds(headers_max=3, head_bytes_max=200)
    for head in (get("/", "A: b", "A: b", "A: b"), get("/" + "a" * 300), b"\r\n" * 150):
        for size in (len(head), 70):
            driver = Driver(bounds)
            events = [
                event
                for place in range(0, len(head), size)
                for event in driver.receive(head[place : place + size])
            ]
            assert isinstance(refused_in(events).error, HeadersTooLarge)
    assert head_in(Driver(bounds).receive(get("/", "A: b", "A: b"))).repeated == (b"a",)
    driver = Driver(bounds)
    driver.receive(CHUNKED)
    refused = refused_in(driver.receive(b"1;" + b"a" * 300))
    assert isinstance(refused.error, HeadersTooLarge)


def test_what_follows_a_head_is_bounded_apart_from_it() -> None:
    """
    A long head leaves what comes between the pieces of its body the whole bound.
    """
    head = CHUNKED.replace(b"Host: a", b"Host: " + b"a" * 130)
    driver = Driver(ConnectionBounds(head_bytes_max=200))
    driver.receive(head)
    assert driver.receive(b"1;" + b"a" * 100) == []
    assert driver.receive(b"\r\nb\r\n") == [Body(b"b")]


def test_a_request_that_turns_out_broken_is_taken_back() -> None:
    """
    Its application learns that it is over, and the client gets the refusal instead of a response.
    """
    driver = Driver()
    driver.receive(CHUNKED + b"1\r\na\r\n")
    gone, refused = driver.receive(b"x\r\n")
    assert (gone, type(refused)) == (Disconnected(), Refused)
    assert driver.respond(status=400).startswith(b"HTTP/1.1 400")


def test_a_request_that_waits_is_taken_back_unseen() -> None:
    """
    A broken request that waits for its turn is never handed out, and those before it are served.
    """
    driver = Driver(ConnectionBounds(held_bytes_max=0))
    assert head_in(driver.receive(get("/1") + CHUNKED + b"1\r\na\r\nx\r\n")).path == b"/1"
    assert driver.reads()
    driver.respond()
    assert [type(event) for event in driver.events()] == [Refused]


def test_a_response_to_a_request_that_turns_out_broken_is_broken_off() -> None:
    """
    If the response has begun, the client must not take it for complete: nothing more is sent.
    """
    driver = Driver()
    driver.receive(CHUNKED)
    driver.begin()
    driver.piece(b"a")
    assert driver.receive(b"x\r\n") == [Disconnected()]
    assert driver.closing() is Closing.ABORT


def test_a_broken_rest_after_the_response_ends_the_connection() -> None:
    """
    What is broken after an early response, or after the last one, is answered with the end.
    """
    driver = Driver()
    driver.receive(CHUNKED)
    driver.machine.release()
    driver.begin(length=0)
    driver.machine.piece(b"")
    assert driver.end() == b""
    driver = Driver()
    driver.receive(post(3))
    driver.machine.release()
    driver.respond()
    driver.drain()
    driver.receive(b"abc")
    assert driver.closing() is Closing.SENT
    assert driver.receive(BROKEN) == []
    assert driver.receive(BROKEN) == []
    assert driver.closing() is Closing.SENT


def test_a_connection_can_be_refused_before_it_asks() -> None:
    """
    A server with too many connections says so to the next one, and reads nothing from it.
    """
    driver = Driver()
    refused = refused_in(driver.refuse(Unavailable()))
    assert (refused.sent_id, refused.began_at) == (None, 0.0)
    assert driver.receive(GET) == []
    assert driver.drain() == []
    assert b"connection: close" in driver.respond(status=503)


def test_a_defect_of_the_machine_is_not_taken_for_a_mistake_of_the_client() -> None:
    """
    What is neither an error of the API nor one of the parser is raised.
    """
    driver = Driver()
    with pytest.raises(ZeroDivisionError):
        driver.machine._fail(ZeroDivisionError())


# --- bodies and those who take them -----------------------------------------------------------


def test_reading_pauses_while_the_application_is_slower() -> None:
    """
    So much of a body is held for the application; when it has taken some, more is read.
    """
    driver = Driver(ConnectionBounds(held_bytes_max=10))
    driver.receive(post(100) + b"a" * 10)
    assert driver.reads()
    driver.receive(b"a")
    assert not driver.reads()
    driver.machine.taken(5)
    assert driver.reads()


def test_bodies_of_waiting_requests_are_held_too() -> None:
    """
    What waits behind another request counts, until its response has ended.
    """
    driver = Driver(ConnectionBounds(held_bytes_max=10))
    driver.receive(GET + post(20) + b"a" * 11)
    assert not driver.reads()
    driver.respond()
    driver.events()
    assert not driver.reads()
    driver.machine.release()
    driver.respond()
    assert driver.reads()


def test_a_body_that_is_not_wanted_is_dropped() -> None:
    """
    After a release nothing of the body is passed on or held, what has come included.
    """
    driver = Driver(ConnectionBounds(held_bytes_max=10))
    driver.machine.receive(post(40) + b"a" * 15, driver.now)
    head = driver.machine.next_event()
    assert isinstance(head, Head)
    driver.machine.release()
    assert driver.reads()
    assert driver.receive(b"a" * 15) == []
    assert driver.reads()
    driver.respond()
    assert driver.receive(b"a" * 10 + GET) != []


def test_a_body_that_was_not_looked_at_is_dropped_with_its_response() -> None:
    """
    Pieces that a shell has not asked for are gone when the response has ended.
    """
    driver = Driver(ConnectionBounds(held_bytes_max=10))
    driver.machine.receive(post(15) + b"a" * 15 + GET, driver.now)
    assert isinstance(driver.machine.next_event(), Head)
    driver.respond()
    [head] = driver.events()
    assert isinstance(head, Head)
    assert driver.reads()


# --- upgrades ---------------------------------------------------------------------------------


def test_a_websocket_gets_what_was_read_after_its_head() -> None:
    """
    The connection is given away with the bytes that are frames already, and reads nothing more.
    """
    driver = Driver()
    assert head_in(driver.receive(SOCKET + b"\x81\x05hello")).wants_socket
    assert not driver.reads()
    assert driver.machine.upgrade() == b"\x81\x05hello"
    assert driver.seconds_left == float("inf")
    assert driver.events() == []


def test_a_websocket_may_be_denied() -> None:
    """
    A response like any other is the answer to a client that may have no WebSocket, and the last.
    """
    driver = Driver()
    driver.receive(SOCKET)
    assert b"connection: close" in driver.respond(status=404)
    assert driver.closing() is Closing.LINGER
    assert driver.reads()


@pytest.mark.parametrize("size", [100, 1000])
def test_frames_after_a_head_are_kept_however_many(size: int) -> None:
    """
    What follows the head of a WebSocket is kept, though it is larger than a head may be.
    """
    driver = Driver(ConnectionBounds(head_bytes_max=len(SOCKET) + 10))
    assert head_in(driver.receive(SOCKET + b"\x89\x00" * size)).wants_socket
    assert driver.machine.upgrade() == b"\x89\x00" * size


@pytest.mark.parametrize(
    "head",
    [
        get("/", "Connection: Upgrade", "Upgrade: h2c"),
        SOCKET.replace(b"GET", b"POST"),
        SOCKET.replace(b"HTTP/1.1", b"HTTP/1.0"),
    ],
)
def test_another_upgrade_is_not_taken(head: bytes) -> None:
    """
    A request for another protocol is served as if it had not asked for it, and is the last.
    """
    driver = Driver()
    events = driver.receive(head + b"\x81\x05hello")
    assert not head_in(events).wants_socket
    assert b"connection: close" in driver.respond()
    assert driver.closing() is Closing.LINGER


def test_a_websocket_is_opened_only_when_nothing_is_owed() -> None:
    """
    A WebSocket that is asked for before earlier requests have their responses is refused.
    """
    driver = Driver()
    driver.receive(GET + SOCKET)
    driver.respond()
    assert isinstance(refused_in(driver.events()).error, InvalidRequest)


def test_a_caller_that_has_left_is_told_at_once() -> None:
    """
    Whoever asks to be told after a caller has left is told at once.
    """
    told: list[str] = []
    request = ReadyRequest(Head("GET", b"/"))
    request.on_disconnect(lambda: told.append("then"))
    request.leave()
    request.on_disconnect(lambda: told.append("at once"))
    assert told == ["then", "at once"]
