"""The live stream of a context, over a WebSocket or as server-sent events."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from typing import Final

from fastpaca.api import frames, query
from fastpaca.api.request import Request, Response
from fastpaca.context import jsontext
from fastpaca.errors import InvalidRequest, Unavailable
from fastpaca.http.messages import Headers
from fastpaca.service import Service
from fastpaca.stream.follower import Follower, Stopping
from fastpaca.stream.subscription import Encode
from fastpaca.telemetry import Metrics

DONE: Final = 1000
GOING_AWAY: Final = 1001

CHUNK_BYTES: Final = 32 * 1024
"""How much of short frames is sent in one go."""

RETRY_MS: Final = 2000
"""How long a client waits before it reconnects after an event stream breaks off."""

STOPPING_RETRY_MS: Final = 5000
"""The same when the node stops: a restart takes a moment."""

_EVENT_STREAM: Final[Headers] = (
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # nginx would buffer events
)
_CURSOR: Final = re.compile(rb"0|[1-9][0-9]{0,15}")


class Streams:
    """Handlers of `/v1/contexts/{id}/stream` and `/v1/contexts/{id}/events`."""

    def __init__(self, service: Service, metrics: Metrics, connections_max: int) -> None:
        self._service = service
        self._metrics = metrics
        self._connections_max = connections_max
        self._connections = 0

    async def stream(self, request: Request) -> Response:
        """
        Follow the context over a WebSocket.

        Raises:
            Unavailable: The node has as many streams as it may have.
        """
        cursor, wants_messages = _parameters(request)
        if not request.is_socket:
            raise InvalidRequest(
                "Open a WebSocket here (Upgrade: websocket), or use /events over plain HTTP."
            )
        following = await self._followed(
            request.context_id, cursor, frames.socket, wants_messages=wants_messages
        )
        return Response(101, following)

    async def events(self, request: Request) -> Response:
        """
        Follow the context as server-sent events.

        Raises:
            Unavailable: The node has as many streams as it may have.
        """
        cursor, wants_messages = _parameters(request)
        if request.is_socket:
            raise InvalidRequest("This route is not a WebSocket; open one at /stream.")
        last = request.headers.get(b"last-event-id")
        if last:
            cursor = _cursor_of(last)
        encode = frames.event if wants_messages else frames.event_without_messages
        following = await self._followed(
            request.context_id, cursor, encode, wants_messages=wants_messages
        )
        if following.follower.is_at_the_end:
            following.close()
            return Response(204, headers=())
        following.opening = b"retry: %d\n\n" % RETRY_MS
        following.farewell = b"retry: %d\n\n" % STOPPING_RETRY_MS
        return Response(200, following, _EVENT_STREAM)

    async def _followed(
        self, context_id: str, cursor: int | None, encode: Encode, *, wants_messages: bool
    ) -> Following:
        if self._connections >= self._connections_max:
            raise Unavailable(
                "This node has as many streams as it may have; try again, or try another node."
            )
        self._count(1)
        try:
            follower = await self._service.follow(
                context_id, cursor, encode, wants_messages=wants_messages
            )
        except BaseException:
            self._count(-1)
            raise
        return Following(follower, self)

    def left(self) -> None:
        """Note that a stream has ended."""
        self._count(-1)

    def _count(self, more: int) -> None:
        self._connections += more
        self._metrics.stream_connections.set(self._connections)


class Following:
    """
    A stream as the body of a response.

    Attributes:
        follower: Returns the frames.
        opening: Sent first.
        farewell: Sent last when the node stops.
        close_code: The code that a WebSocket is closed with after it.
    """

    size: int | None = None

    def __init__(self, follower: Follower, streams: Streams) -> None:
        self.follower = follower
        self.opening = self.farewell = b""
        self.close_code = DONE
        self._streams = streams
        self._is_open = True

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the frames as they come, until the context is deleted or the node stops."""
        if self.opening:
            yield self.opening
        try:
            while not self.follower.has_ended:
                for chunk in _chunks(await self.follower.next()):
                    yield chunk
                    if self.follower.is_erased:
                        break
        except Stopping:
            self.close_code = GOING_AWAY
            if self.farewell:
                yield self.farewell

    def close(self) -> None:
        """Stop following."""
        if self._is_open:
            self._is_open = False
            self.follower.close()
            self._streams.left()


def _chunks(texts: list[bytes]) -> Iterator[bytes]:
    """Join short *texts*; a large one is shared by all its followers, so it is not copied."""
    small: list[bytes] = []
    size = 0
    for text in texts:
        if small and size + len(text) > CHUNK_BYTES:
            yield b"".join(small)
            small, size = [], 0
        small.append(text)
        size += len(text)
    if small:
        yield b"".join(small)


def _parameters(request: Request) -> tuple[int | None, bool]:
    parameters = query.parse(request.query, ("cursor", "include_messages"))
    cursor = query.integer(parameters, "cursor", 0)
    return cursor, query.flag(parameters, "include_messages", default=True)


def _cursor_of(last_event_id: bytes) -> int:
    if not _CURSOR.fullmatch(last_event_id) or int(last_event_id) > jsontext.INTEGER_MAX:
        raise InvalidRequest(
            f"Must be a version, an integer from 0 to {jsontext.INTEGER_MAX}.", "Last-Event-ID"
        )
    return int(last_event_id)
