"""What a connection reads in bytes, and what h11 reads in them."""

from __future__ import annotations

from typing import Final, NamedTuple

import h11

from fastpaca.http.bounds import ConnectionBounds
from fastpaca.http.connection import Body, Connection, End, Refused
from fastpaca.http.messages import Head, joined

REFUSED: Final = "refused"
WAITS: Final = "waits for more"
CLOSES: Final = "closes after the response"


class Read(NamedTuple):
    """A request that was read to its end."""

    method: str
    path: bytes
    query: bytes
    headers: dict[bytes, bytes]
    body: bytes


class Verdict(NamedTuple):
    """
    What was read of some bytes.

    Attributes:
        requests: The whole requests; each of them was answered.
        end: What came after them.
        starts: Where each of them starts, and what came after them; only h11 tells.
    """

    requests: list[Read]
    end: str
    starts: list[int]


def ours(data: bytes) -> Verdict:
    """Read *data* as a node does."""
    machine = Connection(ConnectionBounds(), 0.0)
    machine.receive(data, 0.0)
    requests: list[Read] = []
    head, body = None, b""
    while (event := machine.next_event()) is not None:
        if isinstance(event, Refused):
            return Verdict(requests, REFUSED, [])
        if isinstance(event, Head):
            head, body = event, b""
        elif isinstance(event, Body):
            body += event.piece
        if head is not None and (isinstance(event, End) or not head.has_body):
            requests.append(Read(head.method, head.path, head.query, head.headers, body))
            machine.begin(404, (), 0)
            machine.end(0.0)
            head = None
    closes = machine.wants_close != "no"
    return Verdict(requests, CLOSES if closes else WAITS, [])


def h11s(data: bytes) -> Verdict:
    """Read *data* as h11 does."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=64 * 1024)
    connection.receive_data(data)
    requests: list[Read] = []
    starts = [0]
    head, body = None, b""
    while True:
        try:
            event = connection.next_event()
        except h11.RemoteProtocolError:
            return Verdict(requests, REFUSED, starts)
        if event is h11.NEED_DATA:
            return Verdict(requests, WAITS, starts)
        if isinstance(event, h11.Request):
            head, body = event, b""
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            assert head is not None
            headers, _ = joined(list(head.headers))
            path, _, query = head.target.partition(b"?")
            requests.append(Read(head.method.decode(), path, query, headers, body))
            starts.append(len(data) - len(connection.trailing_data[0]))
            connection.send(h11.Response(status_code=404, headers=[("Content-Length", "0")]))
            connection.send(h11.EndOfMessage())
            if connection.our_state is not h11.DONE:
                return Verdict(requests, CLOSES, starts)
            connection.start_next_cycle()
        else:
            assert event is h11.PAUSED, event
            return Verdict(requests, CLOSES, starts)
