"""
The bounds of a connection. Each names the precedent it follows.

httptools is fast and limits nothing: without these a header may grow without end.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class SocketBounds:
    """
    The bounds of a WebSocket connection.

    Attributes:
        silent_seconds: How long a client may send nothing. (nginx's `proxy_read_timeout` is 60 s;
            clients ping every 30 s.)
        unread_seconds: How often to check that the client is reading what it is sent.
        unread_bytes: How much it must have read by then, if that much was sent.
        frames_max: How many frames a client may send in about *silent_seconds*.
        message_bytes_max: The largest message that a client may send; a pong has 15 bytes.
        close_seconds: How long the client may take to close after the last frame. (websockets: 10)
        system_bytes: The largest buffer of the system for what is sent, as the system counts.
    """

    silent_seconds: float = 90
    unread_seconds: float = 30
    unread_bytes: int = 32 * 1024
    frames_max: int = 1000
    message_bytes_max: int = 4096
    close_seconds: float = 5
    system_bytes: int = 128 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionBounds:
    """
    The bounds of a connection.

    Attributes:
        head_bytes_max: Of a request line and its headers; also of the trailers after a body.
            (h11: 16 KiB; node: 16 KiB; nginx: 4 × 8 KiB; uvicorn with h11: 64 KiB)
        headers_max: Headers of one request. (Apache: 100; node: 2000)
        head_seconds: From the first byte of a request to the end of its headers. (nginx's
            `client_header_timeout`: 60; node's `headersTimeout`: 60; Apache's `RequestReadTimeout`:
            20)
        idle_seconds: Between two requests, and before the first. (nginx: 75; node: 5)
        unread_seconds: How often to check that the client is reading the response. (nginx's
            `send_timeout`: 60)
        unread_bytes: How much it must have read by then, if that much was sent.
        held_bytes_max: How much of a body may wait for the application before reading pauses.
            (asyncio's and uvicorn's high-water mark: 64 KiB)
        rest_bytes_max: The longest body whose rest is read after an early response, to keep the
            connection. (Go's net/http: 256 KiB)
        linger_seconds: How long the rest of a request is discarded after an early response.
            (nginx's `lingering_timeout`: 5)
        pipelined_max: Requests that may wait for an earlier one of their connection.
        connections_max: Connections at the same time. (nginx's `worker_connections`: 512)
        socket: The bounds of those that become WebSockets.
    """

    head_bytes_max: int = 64 * 1024
    headers_max: int = 100
    head_seconds: float = 15
    idle_seconds: float = 75
    unread_seconds: float = 60
    unread_bytes: int = 32 * 1024
    held_bytes_max: int = 64 * 1024
    rest_bytes_max: int = 64 * 1024
    linger_seconds: float = 5
    pipelined_max: int = 64
    connections_max: int = 4096
    socket: SocketBounds = field(default_factory=SocketBounds)
