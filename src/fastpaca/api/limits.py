"""
Limits on requests: the size, pace and media type of a body, and the request rate.

A body is refused while it streams in, before it takes memory or time; also when the memory that all
large bodies share is full. Large responses share it too.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from fastpaca.api.request import Request
from fastpaca.errors import (
    InvalidRequest,
    PayloadTooLarge,
    RateLimited,
    RequestTimeout,
    UnsupportedMediaType,
)

CALLERS_MAX: Final = 10_000
"""How many keys and addresses the rate limit remembers; the least recently used are forgotten."""

SHORT_BYTES: Final = 64 * 1024
"""
The largest short body. If a short body is refused, the rest of it is read and the connection kept.

Short bodies do not count in the memory that longer ones share, so that large requests never block
small ones. Their number is bounded by the number of connections.
"""

REQUEST_FACTOR: Final = 3
"""
How many bytes of memory a byte of a large request takes until the response is sent.

Measured with bodies of 15 MiB, 6 and 12 at once: 1 for ASCII, 2.6 where each text has an emoji.
That is the body, or what is kept of it, and the entry made of it. Parsing a body takes up to seven
times its size, but only two bodies are parsed at a time (`offload.LONG_AT_ONCE`).
"""

RESPONSE_FACTOR: Final = 3
"""How many bytes a byte of a page takes while it is written: its row, its text, the response."""

GIVE_BACK_BYTES: Final = 16 * 1024 * 1024
"""After so many bytes of large bodies the C library is asked to return free memory."""

GIVE_BACK_SECONDS: Final = 1.0
"""How much later: what bodies in quick succession free is returned together."""

ROUNDING_S: Final = 1e-9
"""The largest error of a sum of floats."""

_JSON_TYPE: Final = re.compile(rb"application/json|[\w.!#$&^-]+/[\w.!#$&^+-]+\+json")
_UTF_8: Final = frozenset({b"utf-8", b"utf8", b'"utf-8"', b'"utf8"'})


class BodyPace(NamedTuple):
    """
    How slowly a body may arrive.

    Attributes:
        idle_s: The longest pause between two pieces.
        bytes_per_s: The average rate of the whole body, after *idle_s* to begin.
    """

    idle_s: float = 30.0
    bytes_per_s: int = 16 * 1024


class BodyMemory:
    """
    The memory that the large bodies of requests and responses share.

    Args:
        bytes_max: How much there is.
        body_bytes_max: The largest body of a request; there is always room for one of these.
        give_back: Returns free memory to the system; called in a thread after large bodies. None
            leaves that to the system.
    """

    def __init__(
        self, bytes_max: int, body_bytes_max: int, give_back: Callable[[], None] | None = None
    ) -> None:
        self._bytes_max = max(bytes_max, REQUEST_FACTOR * body_bytes_max)
        self._give_back = give_back
        self._bytes = 0
        self._released_bytes = 0
        self._returning: asyncio.Task[None] | None = None

    def hold(self, request: Request, size: int) -> None:
        """
        Let *request* hold *size* bytes instead of what it held before.

        Raises:
            RateLimited: The memory is full. *request* still holds what it held before.
        """
        more = size - request.held_bytes
        if more > 0 and self._bytes + more > self._bytes_max:
            raise RateLimited(
                "Too many large requests and responses are in progress; try again in a second."
            )
        self.set(request, size)

    def set(self, request: Request, size: int) -> None:
        """Record that *request* holds *size* bytes now, even if the memory is full."""
        more = size - request.held_bytes
        request.held_bytes = size
        self._bytes += more
        if more < 0 and self._give_back is not None:
            self._released_bytes -= more
            if self._released_bytes >= GIVE_BACK_BYTES and self._returning is None:
                self._released_bytes = 0
                self._returning = asyncio.create_task(self._return_soon(self._give_back))

    def release(self, request: Request) -> None:
        """Let *request* hold nothing."""
        if request.held_bytes:
            self.set(request, 0)

    async def _return_soon(self, give_back: Callable[[], None]) -> None:
        try:
            await asyncio.sleep(GIVE_BACK_SECONDS)
            await asyncio.to_thread(give_back)
        finally:
            self._returning = None

    def hold_page(self, request: Request, sizes: Iterable[int]) -> None:
        """
        Let *request* hold the memory for writing a page of items of *sizes* bytes.

        Raises:
            RateLimited: The memory is full.
        """
        size = sum(sizes)
        if size > SHORT_BYTES:
            self.hold(request, RESPONSE_FACTOR * size)

    def hold_response(self, request: Request, size: int) -> None:
        """
        Let *request* hold only a response of *size* bytes, until it is sent.

        Raises:
            RateLimited: The memory is full.
        """
        self.hold(request, size if size > SHORT_BYTES else 0)


class RequestBodies:
    """Reads the bodies of requests within the limits of this node."""

    def __init__(self, bytes_max: int, pace: BodyPace, memory: BodyMemory) -> None:
        self._bytes_max = bytes_max
        self._pace = pace
        self.memory = memory

    async def read(self, request: Request) -> bytes:
        """
        Return the whole body of *request*, which is JSON or empty.

        Raises:
            PayloadTooLarge: It is larger than this node allows.
            UnsupportedMediaType: It is not JSON, or is compressed.
            RequestTimeout: It arrives too slowly.
            RateLimited: The memory that large bodies share is full.
            Disconnected: The connection ended before it did.
        """
        incoming = request.incoming
        if incoming.is_whole:
            return b""
        declared = self._declared(request)
        if declared > 0:
            check_media_type(request)
        body = incoming.take()  # most bodies have arrived together with their request
        if not incoming.is_whole:
            body = await self._rest(request, body)
        self._hold(request, len(body))
        if body and declared <= 0:
            check_media_type(request)
        return body

    async def _rest(self, request: Request, body: bytes) -> bytes:
        """Read the rest of a body that begins with *body*."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        incoming = request.incoming
        whole = bytearray(body)
        while not incoming.is_whole:
            self._hold(request, len(whole))
            deadline = min(
                loop.time() + self._pace.idle_s,
                started + self._pace.idle_s + len(whole) / self._pace.bytes_per_s,
            )
            try:
                async with asyncio.timeout_at(deadline):
                    await incoming.wait()
            except TimeoutError:
                raise RequestTimeout from None
            whole += incoming.take()
        return bytes(whole)

    def _hold(self, request: Request, size: int) -> None:
        """Count *size* bytes of the body of *request* until the response is sent."""
        if size > self._bytes_max:
            raise self._too_large()
        if size > SHORT_BYTES:
            self.memory.hold(request, REQUEST_FACTOR * size)

    def _declared(self, request: Request) -> int:
        """Return the size that the request declares, -1 if none; refuse one that is too large."""
        text = request.headers.get(b"content-length")
        if text is None:
            return -1
        if not text.isdigit():
            raise InvalidRequest("Must be a number of bytes.", "Content-Length")
        # Compare the length first: a number of a million digits is not worth converting.
        if len(text) > 18 or int(text) > self._bytes_max:
            raise self._too_large()
        return int(text)

    def _too_large(self) -> PayloadTooLarge:
        return PayloadTooLarge(f"The body is too large; the limit is {self._bytes_max} bytes.")


def check_media_type(request: Request) -> None:
    """
    Check that the body of *request* is plain JSON, or has no Content-Type.

    Raises:
        UnsupportedMediaType: Its headers say that it is not JSON, or is compressed.
    """
    kind = request.headers.get(b"content-type")
    if kind and kind != b"application/json" and not _is_json(kind):
        raise UnsupportedMediaType
    encoding = request.headers.get(b"content-encoding")
    if encoding is not None and encoding.lower() != b"identity":
        raise UnsupportedMediaType(
            "Compressed bodies are not supported; send the body without Content-Encoding."
        )


def _is_json(content_type: bytes) -> bool:
    kind, *parameters = (part.strip() for part in content_type.lower().split(b";"))
    if not _JSON_TYPE.fullmatch(kind):
        return False
    named = (parameter.partition(b"=") for parameter in parameters)
    return all(name.strip() != b"charset" or value.strip() in _UTF_8 for name, _, value in named)


class RateLimiter:
    """
    Allows *count* requests in a period for each caller, which is a key or an address.

    A token bucket that holds *count* and fills evenly over the period. A bucket is stored as the
    time at which it will be full again (the generic cell rate algorithm).
    """

    def __init__(
        self,
        count: int,
        period_s: float,
        monotonic: Callable[[], float],
        callers_max: int = CALLERS_MAX,
    ) -> None:
        self._interval_s = period_s / count
        self._slack_s = period_s - self._interval_s
        self._monotonic = monotonic
        self._callers_max = callers_max
        self._full_at: OrderedDict[int | str, float] = OrderedDict()

    def take(self, caller: int | str) -> None:
        """
        Count one request of *caller*.

        Raises:
            RateLimited: It is one too many.
        """
        now = self._monotonic()
        full_at = max(self._full_at.get(caller, now), now)
        wait_s = full_at - now - self._slack_s
        if wait_s > ROUNDING_S:
            raise RateLimited(retry_after_seconds=math.ceil(wait_s))
        self._full_at[caller] = full_at + self._interval_s
        self._full_at.move_to_end(caller)
        if len(self._full_at) > self._callers_max:
            self._full_at.popitem(last=False)
