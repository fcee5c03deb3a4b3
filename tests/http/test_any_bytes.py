"""Whatever comes over a connection, in whatever pieces and at whatever time, nothing breaks it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from fastpaca.errors import FastpacaError, Unavailable
from fastpaca.http.bounds import ConnectionBounds
from fastpaca.http.connection import Body, Disconnected, End, Event, Refused
from fastpaca.http.messages import Head
from fastpaca.http.states import Closing, WriteState
from tests.http.driver import BROKEN, CHUNKED, GET, OLD, SOCKET, Driver, get, post

Act = Callable[[st.DataObject], None]

REQUESTS = [
    *(GET, GET.replace(b"GET", b"HEAD"), get("/a?b=c", "A: b", "A: c"), OLD, b"\r\n" + GET),
    *(post(0), post(3) + b"abc", post(3, "Expect: 100-continue") + b"abc", post(300) + b"a" * 300),
    CHUNKED + b"1\r\na\r\n2;x=y\r\nbc\r\n0\r\nA: b\r\n\r\n",
    get("/", "Connection: Upgrade", "Upgrade: h2c"),
    get("/", "Connection: close"),
]
MISTAKES = [
    *(
        BROKEN,
        CHUNKED + b"x",
        CHUNKED + b"1\r\nab",
        get("/#"),
        get("/", "Host: b"),
        b"\x16\x03\x01",
    ),
    *(b"GET / HTTP/2.0\r\n\r\n", post(1, "Content-Length: 2"), get("/" + "a" * 1300)),
    get("/", *["A: b"] * 20),
]
PIECES = [
    *(*REQUESTS, *MISTAKES, SOCKET, b"\r\n", b"abc", b"1\r\na\r\n", b"0\r\n\r\n", b"a" * 99, b"\0"),
    *(post(9), post(99), CHUNKED),
]
BOUNDS = ConnectionBounds(
    head_bytes_max=600, headers_max=10, held_bytes_max=5, rest_bytes_max=50, pipelined_max=40
)


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    """*data* in pieces that begin at *places*."""
    bounds = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[start:end] for start, end in pairwise(bounds)]


# --- pieces -----------------------------------------------------------------------------------


class Reader(Driver):
    """
    A shell whose application reads each request to its end, and sends it back.

    Attributes:
        whole: The requests that came to their end, and the refusals.
    """

    def __init__(self, bounds: ConnectionBounds) -> None:
        super().__init__(bounds)
        self.whole: list[tuple[object, ...]] = []
        self._head: Head | None = None
        self._body = b""

    def play(self, pieces: Iterable[bytes]) -> None:
        """Let the client send *pieces*, and end its side."""
        for piece in pieces:
            self._take(self.receive(piece))
        self._take(self.receive_eof())

    def _take(self, events: list[Event]) -> None:
        while events:
            for event in events:
                self._take_event(event)
            events = self.events()

    def _take_event(self, event: Event) -> None:
        if isinstance(event, Head):
            self._head, self._body = event, b""
            if not event.has_body:
                self._answer(event)
        elif isinstance(event, Body):
            self._body += event.piece
            self.machine.taken(len(event.piece))
        elif isinstance(event, End):
            assert self._head is not None
            self._answer(self._head)
        elif isinstance(event, Refused):
            self.whole.append((type(event.error), event.error.message, event.sent_id))
            self.respond(event.error.message.encode(), status=400)
        else:
            self._head = None

    def _answer(self, head: Head) -> None:
        line = (head.method, head.path, head.query)
        self.whole.append((*line, head.headers, head.repeated, self._body))
        self.respond(b" ".join((head.method.encode(), head.path, self._body)))


@given(
    st.lists(st.sampled_from(REQUESTS), max_size=6),
    st.sampled_from([b"", *MISTAKES, b"GET / HT", post(3) + b"a"]),
    st.lists(st.integers(0, 4000), max_size=30),
)
def test_pieces_make_no_difference(requests: list[bytes], last: bytes, places: list[int]) -> None:
    """
    However the bytes are cut, the same requests are read and refused, and the same bytes are sent.
    """
    data = b"".join(requests) + last
    at_once, byte_by_byte, cut_up = Reader(BOUNDS), Reader(BOUNDS), Reader(BOUNDS)
    at_once.play([data])
    byte_by_byte.play(cut(data, range(len(data))))
    cut_up.play(cut(data, places))
    assert at_once.whole == byte_by_byte.whole == cut_up.whole
    assert at_once.sent == byte_by_byte.sent == cut_up.sent


# --- any order --------------------------------------------------------------------------------


class Shell(Driver):
    """
    A shell that does whatever `server.py` might do next, and holds what it is told against the
    order that events have.
    """

    def __init__(self, bounds: ConnectionBounds) -> None:
        super().__init__(bounds)
        self.head: Head | None = None
        self.is_whole = True
        self.is_begun = False
        self.is_gone = False
        self.is_eof = False
        self.room = 0
        self.taken = 0
        self.late = b""

    def act(self, draw: st.DataObject) -> None:
        """Do one thing that is possible now."""
        inputs: list[Act] = [self.hear, self.pass_time, self.stop, self.hold_up]
        outputs: list[Act] = []
        if self.head is not None and not self.is_begun:
            outputs = [self.ask, self.start, self.answer, self.fail]
        elif self.head is not None:
            outputs = [self.go_on, self.go_on, self.finish, self.fail]
        if self.taken:
            outputs.append(self.take)
        if not self.is_eof:
            inputs.append(self.hang_up)
        draw.draw(st.sampled_from([*inputs, *outputs, *outputs]))(draw)

    def tell(self, events: list[Event]) -> None:
        """Pass *events* on, and answer refusals at once."""
        for event in events:
            if isinstance(event, Head):
                assert self.head is None
                assert not event.wants_socket or not event.has_body
                self.head, self.is_whole, self.is_begun = event, not event.has_body, False
            elif isinstance(event, Refused):
                assert isinstance(event.error, FastpacaError)
                assert self.head is None
                self.respond(status=400)
            elif isinstance(event, Disconnected):
                self.head, self.taken = None, 0
            else:
                assert self.head is not None
                assert not self.is_whole
                self.is_whole = isinstance(event, End)
                self.taken += len(event.piece) if isinstance(event, Body) else 0
        if self.machine.wants_close is Closing.ABORT:
            self.lose()

    def lose(self) -> None:
        """Lose the connection."""
        if not self.is_gone:
            self.is_gone = True
            events = self.lost()
            assert all(isinstance(event, Disconnected) for event in events)
            assert (events != []) >= (self.head is not None)
            self.head = None

    # --- in ---

    def hear(self, draw: st.DataObject) -> None:
        data = self.late + b"".join(draw.draw(st.lists(st.sampled_from(PIECES), max_size=4)))
        size = draw.draw(st.integers(0, len(data)) | st.just(len(data)))
        self.late = data[size:]
        if not self.is_eof:
            self.tell(self.receive(data[:size]))

    def pass_time(self, draw: st.DataObject) -> None:
        left = max(0.0, min(self.seconds_left, 1e6))
        self.tell(self.wait(left * draw.draw(st.sampled_from([0, 0.5, 1])), self.room))

    def hang_up(self, draw: st.DataObject) -> None:
        self.is_eof = True
        self.tell(self.receive_eof())

    def stop(self, draw: st.DataObject) -> None:
        if draw.draw(st.integers(0, 4)) == 0:
            self.tell(self.drain())

    def hold_up(self, draw: st.DataObject) -> None:
        self.room = draw.draw(st.sampled_from([0, 10, 100_000]))
        self.machine.written(self.room, self.now)

    # --- out ---

    def take(self, draw: st.DataObject) -> None:
        self.machine.taken(self.taken)
        self.taken = 0
        self.tell(self.events())

    def ask(self, draw: st.DataObject) -> None:
        self.sent += self.machine.continue_()

    def start(self, draw: st.DataObject) -> None:
        assert self.head is not None
        if self.head.wants_socket and draw.draw(st.booleans()):
            self.machine.upgrade()
            self.head, self.is_gone = None, True
            return
        if not self.is_whole:
            self.machine.release()
            self.taken = 0
        self.is_begun = True
        self.begin(
            *draw.draw(st.sampled_from([(200, None), (200, 6), (204, 0), (304, 0), (408, 6)]))
        )

    def answer(self, draw: st.DataObject) -> None:
        if not self.is_whole:
            self.machine.release()
        self.respond(b"ok")
        self.over()

    def go_on(self, draw: st.DataObject) -> None:
        if self.machine._framing != 0:
            self.piece(draw.draw(st.sampled_from([b"", b"a"])))

    def finish(self, draw: st.DataObject) -> None:
        self.end()
        self.over()

    def fail(self, draw: st.DataObject) -> None:
        self.machine.fail()
        self.tell(self.events())

    def over(self) -> None:
        self.head, self.taken = None, 0
        self.tell(self.events())


@given(st.data())
def test_nothing_breaks_a_connection(draw: st.DataObject) -> None:
    """
    No bytes, times and responses, in any order that a shell may come to, lead where no step of the
    tables leads; events come in their order, and every request that was handed out comes to an end.
    """
    shell = Shell(BOUNDS)
    for _ in range(draw.draw(st.integers(0, 25))):
        if shell.is_gone:
            break
        shell.act(draw)
        assert shell.machine.owes_response >= (shell.head is not None)
    if not shell.is_gone:
        shell.tell(shell.refuse(Unavailable()) if shell.head is None else [])
    shell.lose()
    assert shell.head is None
    assert not shell.machine.owes_response
    assert shell.machine._writing is WriteState.CLOSED
