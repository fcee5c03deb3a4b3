"""A shell around the machine of a connection, without sockets: time is a number that tests move."""

from __future__ import annotations

from typing import Final

from fastpaca.errors import FastpacaError
from fastpaca.http.bounds import ConnectionBounds
from fastpaca.http.connection import Body, Connection, End, Event, Refused
from fastpaca.http.messages import Head
from fastpaca.http.states import Closing

GET: Final = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
OLD: Final = b"GET / HTTP/1.0\r\n\r\n"
SOCKET: Final = (
    b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
CHUNKED: Final = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
BROKEN: Final = b"hello\r\n\r\n"


def get(path: str = "/", *lines: str, version: str = "1.1") -> bytes:
    """A request without a body."""
    return "\r\n".join((f"GET {path} HTTP/{version}", "Host: a", *lines, "", "")).encode()


def post(size: int, *lines: str, path: str = "/", version: str = "1.1") -> bytes:
    """The head of a request with a body of *size* bytes."""
    head = (f"POST {path} HTTP/{version}", "Host: a", f"Content-Length: {size}", *lines, "", "")
    return "\r\n".join(head).encode()


class Driver:
    """
    A connection, and what a shell does around it.

    Attributes:
        machine: The connection.
        now: The time.
        sent: All that was sent.
    """

    def __init__(self, bounds: ConnectionBounds | None = None) -> None:
        self.now = 1000.0
        self.machine = Connection(bounds or ConnectionBounds(), self.now)
        self.sent = b""

    # --- in ---

    def receive(self, data: bytes) -> list[Event]:
        """Take *data* from the client."""
        self.machine.receive(data, self.now)
        return self.events()

    def receive_eof(self) -> list[Event]:
        """Let the client end its side."""
        self.machine.receive_eof(self.now)
        return self.events()

    def drain(self) -> list[Event]:
        """Let the server stop."""
        self.machine.drain(self.now)
        return self.events()

    def refuse(self, error: FastpacaError) -> list[Event]:
        """Refuse the connection."""
        self.machine.refuse(error, self.now)
        return self.events()

    def lost(self) -> list[Event]:
        """Lose the connection."""
        self.machine.lost()
        return self.events()

    def wait(self, seconds: float, unsent: int = 0) -> list[Event]:
        """Let time pass; *unsent* bytes have not been read by the client."""
        self.now += seconds
        self.machine.expire(unsent, self.now)
        return self.events()

    @property
    def seconds_left(self) -> float:
        """How long it is to the next deadline."""
        return self.machine.deadline() - self.now

    def events(self) -> list[Event]:
        """Take the events that have come."""
        return list(iter(self.machine.next_event, None))

    # --- out ---

    def begin(self, status: int = 200, length: int | None = None) -> bytes:
        """Begin a response; return its head."""
        head = self.machine.begin(status, (), length)
        self.sent += head
        return head

    def piece(self, data: bytes) -> bytes:
        """Send a piece of a response's body."""
        piece = self.machine.piece(data)
        self.sent += piece
        return piece

    def end(self) -> bytes:
        """End a response."""
        tail = self.machine.end(self.now)
        self.sent += tail
        return tail

    def respond(self, body: bytes = b"ok", status: int = 200) -> bytes:
        """Send a whole response; return it."""
        return self.begin(status, len(body)) + self.piece(body) + self.end()

    # --- what a shell looks at; methods, since mypy takes attributes for constant ---

    def closing(self) -> Closing:
        """How to close the connection."""
        return self.machine.wants_close

    def reads(self) -> bool:
        """Return whether to read from the client."""
        return self.machine.wants_data


def head_in(events: list[Event]) -> Head:
    """The one head among *events*."""
    [head] = [event for event in events if isinstance(event, Head)]
    return head


def refused_in(events: list[Event]) -> Refused:
    """The one refusal among *events*."""
    [refused] = [event for event in events if isinstance(event, Refused)]
    return refused


def body_in(events: list[Event]) -> bytes:
    """The pieces of bodies among *events*, joined."""
    return b"".join(event.piece for event in events if isinstance(event, Body))


def is_ended(events: list[Event]) -> bool:
    """Return whether a body ends in *events*."""
    return any(isinstance(event, End) for event in events)
