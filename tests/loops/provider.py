"""
A scripted model as a server, which speaks the protocols of all providers.

It keeps each request that it was sent, refuses or breaks off those that it is told to, and knows
how often the conversation had been cut when a request came.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

from tests.loops.protocols import Wire
from tests.loops.protocols.anthropic import AnthropicWire
from tests.loops.protocols.gemini import GeminiWire
from tests.loops.protocols.openai_chat import ChatWire
from tests.loops.protocols.openai_responses import ResponsesWire
from tests.loops.script import Json, reply

WIRES: Final[tuple[Wire, ...]] = (ChatWire(), ResponsesWire(), AnthropicWire(), GeminiWire())

CUT: Final = 0
"""As a fault, in place of a status: the stream ends in the middle."""


@dataclass(frozen=True)
class Sent:
    """
    A request that the model was sent.

    Attributes:
        cuts: What the observer said when it came.
        fault: The status that it was refused with, `CUT`, or nothing.
    """

    wire: Wire
    body: Json
    cuts: int
    fault: int | None


@dataclass
class ScriptedProvider:
    """
    The model.

    Attributes:
        faults: What to do to the request of that number, the first being 1.
        observe: Called at each request; its answer stands in what is kept.
        sent: The requests so far.
    """

    faults: dict[int, int] = field(default_factory=dict)
    observe: Callable[[], int] = lambda: 0
    sent: list[Sent] = field(default_factory=list)
    address: str = ""

    def received(self, path: str, body: Json) -> tuple[Sent, int] | None:
        """Keep a request; it and its number, or nothing if no protocol has such a path."""
        for wire in WIRES:
            if path.endswith(wire.path):
                number = len(self.sent) + 1
                sent = Sent(wire, body, self.observe(), self.faults.get(number))
                self.sent.append(sent)
                return sent, number
        return None


def _handler(provider: ScriptedProvider) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as it is named
            pass

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            received = provider.received(self.path.partition("?")[0], body)
            if received is None:
                self.answer(404, {"error": {"message": f"nothing at {self.path}"}})
                return
            sent, number = received
            if sent.fault:
                self.answer(sent.fault, sent.wire.refused(sent.fault))
                return
            self.stream(sent, number)

        def answer(self, status: int, body: Json) -> None:
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(content)))
            self.send_header("retry-after-ms", "1")  # clients that try again needn't wait
            self.end_headers()
            self.wfile.write(content)

        def stream(self, sent: Sent, number: int) -> None:
            wire, body = sent.wire, sent.body
            events = list(wire.stream(body, reply(wire.asked(body), number), number))
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            if sent.fault == CUT:
                events = events[: len(events) // 2]
            for event in events:
                self.chunk(_written(event))
            if sent.fault == CUT:
                self.close_connection = True  # without the last chunk
                return
            self.chunk(b"")

        def chunk(self, data: bytes) -> None:
            self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))

    return Handler


def _written(event: Json | str) -> bytes:
    if isinstance(event, str):
        return f"data: {event}\n\n".encode()
    name = f"event: {event['type']}\n" if "type" in event else ""
    return f"{name}data: {json.dumps(event)}\n\n".encode()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Take it that a program has died, which leaves its connections."""


@contextmanager
def served(provider: ScriptedProvider) -> Iterator[ScriptedProvider]:
    """Serve *provider* on a free port."""
    server = _Server(("127.0.0.1", 0), _handler(provider))
    provider.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield provider
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
