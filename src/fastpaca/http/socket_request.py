"""A request that comes in over a socket, piece by piece."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from fastpaca.http.messages import ClientGone, Head


class BodySource(Protocol):
    """
    Where the body of a request comes from.

    Attributes:
        address: The address of the client; empty on a Unix socket.
    """

    address: str

    def taken(self, size: int) -> None:
        """Note that the application has taken *size* bytes of a body."""

    def ask(self) -> None:
        """Ask a client that waits with its body to send it."""


class SocketRequest:
    """A request that came over a socket; see `HttpRequest`."""

    __slots__ = (
        "_body",
        "_connection",
        "_on_disconnect",
        "_waiter",
        "address",
        "has_ended",
        "head",
        "is_gone",
        "is_whole",
    )

    def __init__(self, head: Head, connection: BodySource) -> None:
        self.head = head
        self.address = connection.address
        self.is_whole = not head.has_body
        self.has_ended = not head.has_body  # all has come
        self.is_gone = False
        self._connection = connection
        self._body: bytes | bytearray = b""
        self._waiter: asyncio.Future[None] | None = None
        self._on_disconnect: Callable[[], None] | None = None

    # --- for the application ---

    def take(self) -> bytes:
        """Return what has come of the body since the last call; perhaps nothing."""
        body = self._body
        if body:
            self._body = b""
            self._connection.taken(len(body))
        self.is_whole = self.has_ended
        return bytes(body)

    async def wait(self) -> None:
        """
        Wait until `take` returns more, or the body is whole.

        Raises:
            ClientGone: The client left.
        """
        while not (self._body or self.has_ended):
            if self.is_gone:
                raise ClientGone
            self._connection.ask()
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter

    def on_disconnect(self, then: Callable[[], None]) -> None:
        """Call *then* if the client leaves before the response was sent; at once if it has left."""
        if self.is_gone:
            then()
        else:
            self._on_disconnect = then

    # --- for the connection ---

    def feed(self, piece: bytes | bytearray) -> None:
        """Add a piece of the body."""
        if not self._body:
            self._body = piece
        elif isinstance(self._body, bytearray):
            self._body += piece
        else:
            self._body = bytearray(self._body) + piece
        self._wake()

    def finish(self) -> None:
        """Note that the body is whole."""
        self.has_ended = True
        self._wake()

    def disconnect(self) -> None:
        """Note that no response can reach the client."""
        self.is_gone = True
        self._wake()
        if self._on_disconnect is not None:
            self._on_disconnect()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
