"""A network between a browser and a server that a test can take away."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import cast
from urllib.parse import urlsplit


class Relay(socketserver.ThreadingTCPServer):
    """Passes on what comes to the server at *address*."""

    daemon_threads = True
    request_queue_size = 50

    def __init__(self, address: str) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        port = urlsplit(address).port
        assert port is not None
        self._target = ("127.0.0.1", port)
        self._is_there = threading.Event()
        self._is_there.set()
        self._open: list[socket.socket] = []

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def verify_request(self, request: object, client_address: object) -> bool:
        """Take no connection while the network is away."""
        return self._is_there.is_set()

    def take_away(self) -> None:
        """Break all connections, and take none until the network is back."""
        self._is_there.clear()
        for connection in self._open:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def bring_back(self) -> None:
        """Take connections again."""
        self._is_there.set()

    def connect(self, client: socket.socket) -> socket.socket:
        """Connect to the server for *client*."""
        server = socket.create_connection(self._target)
        self._open += [client, server]
        return server


class _Connection(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        client: socket.socket = self.request
        with cast(Relay, self.server).connect(client) as server:
            back = threading.Thread(target=_pass_on, args=(server, client))
            back.start()
            _pass_on(client, server)
            back.join()


def _pass_on(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            sink.sendall(data)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_RDWR)


@contextmanager
def relayed(address: str) -> Iterator[Relay]:
    """Stand between a browser and the server at *address*."""
    with Relay(address) as relay:
        thread = threading.Thread(target=relay.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield relay
        finally:
            relay.take_away()
            relay.shutdown()
            thread.join()
