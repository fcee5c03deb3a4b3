"""
What both clients have in common below their flows: requests and answers as httpx has them, and what
its errors mean.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

import httpx

from fastpaca import __version__
from fastpaca.client.errors import ConnectionFailed, TimedOut, UnexpectedAnswer
from fastpaca.client.flow import DRAWN_BELOW, Draw, Effect, Failure, Now, Open, Send
from fastpaca.client.protocol import Answer, checked_headers, is_api_key
from fastpaca.client.terms import Timeouts
from fastpaca.errors import InvalidRequest

BASE_URL: Final = "http://127.0.0.1:4000"

LOCAL_URL: Final = "http://localhost"
"""Where a node in this process is, as far as it is concerned."""

DEFAULT_ESTIMATOR: Final = "tiktoken:gpt-4o"
"""How a node in this process counts tokens, unless told otherwise."""

INTERRUPT: Final = "fastpaca.interrupt"
"""The extension of a response by which another thread ends its reading."""

RESPONSE_BYTES_MAX: Final = 500 * 1024 * 1024
"""
What is read into memory of one answer; a page of a node ends at 16 MiB, and a window that is larger
than this fits no model. It is the same as in TypeScript, where no text can be longer than 512 MiB.
"""

WAIT_SECONDS_MAX: Final = 2.0**31 / 1000
"""No wait of a socket is longer, since those of many systems have no more bits for milliseconds."""


class Transfer:
    """
    Makes requests of httpx for one node.

    Attributes:
        headers: What every request says.
        timeouts: How long to wait for the answer.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str | None,
        timeouts: Timeouts,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        if not _is_address(base_url):
            raise InvalidRequest(
                f"The address of a node looks like {BASE_URL}, not {base_url!r}.", "base_url"
            )
        if api_key is not None and not is_api_key(api_key):
            # Its value is a secret, and is not told.
            raise InvalidRequest(
                "An API key is printable ASCII without spaces, line ends and commas.", "api_key"
            )
        self._base = base_url.rstrip("/").removesuffix("/v1").rstrip("/")
        self.timeouts = timeouts
        self.headers = httpx.Headers({"User-Agent": f"fastpaca-python/{__version__}"})
        self.headers.update(checked_headers(headers or {}, has_key=api_key is not None))
        if api_key is not None:
            self.headers["Authorization"] = f"Bearer {api_key}"

    def request(self, effect: Send | Open) -> httpx.Request:
        """Make the request that *effect* is about."""
        request = effect.request
        return httpx.Request(
            request.method,
            self._base + request.target,
            headers=[*self.headers.items(), *request.headers.items()],
            content=request.body,
            extensions={"timeout": self._timeout(effect)},
        )

    def _timeout(self, effect: Send | Open) -> dict[str, float]:
        terms = self.timeouts
        read, left = terms.stream_seconds, terms.read_seconds
        if isinstance(effect, Send):
            read, left = terms.read_seconds, max(effect.deadline - time.monotonic(), 0.001)
        connect = min(terms.connect_seconds, left)
        waits = {"connect": connect, "pool": connect, "write": left, "read": min(read, left)}
        return {name: min(seconds, WAIT_SECONDS_MAX) for name, seconds in waits.items()}


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        has_host = parts.hostname is not None and parts.port != 0  # reading it checks the port
    except ValueError:
        return False
    # A user or a key in it would be sent in place of the API key.
    is_plain = not set("?#") & set(url) and "@" not in parts.netloc
    return parts.scheme in {"http", "https"} and has_host and is_plain


def now_or_drawn(effect: Effect) -> float | int | None:
    """Answer to an *effect* that takes no time; None if it does."""
    if isinstance(effect, Now):
        return time.monotonic()
    if isinstance(effect, Draw):
        return secrets.randbelow(DRAWN_BELOW)
    return None


def failure_of(error: httpx.RequestError | httpx.StreamError) -> Failure:
    """Say in our words that no answer came."""
    said = str(error) or type(error).__name__
    if isinstance(error, httpx.TimeoutException):
        failed: ConnectionFailed = TimedOut(f"No answer came in time ({said}).")
    else:
        failed = ConnectionFailed(f"No answer came: {said}.")
    failed.__cause__ = error
    return Failure(failed)


class Body:
    """The body of an answer while it comes in, piece by piece, until a *deadline*."""

    def __init__(self, deadline: float) -> None:
        self._deadline = deadline
        self._pieces: list[bytes] = []
        self._size = 0

    def add(self, piece: bytes) -> None:
        """
        Take the next piece.

        Raises:
            httpx.ReadTimeout: It comes too late, however steadily.
            UnexpectedAnswer: There is too much.
        """
        self._pieces.append(piece)
        self._size += len(piece)
        if time.monotonic() > self._deadline:
            raise httpx.ReadTimeout("the answer takes too long")
        if self._size > RESPONSE_BYTES_MAX:
            raise UnexpectedAnswer(f"The answer is larger than {RESPONSE_BYTES_MAX:,} bytes.")

    def answer(self, response: httpx.Response) -> Answer:
        """Give the whole answer."""
        return Answer(response.status_code, response.headers, b"".join(self._pieces))


def body_of(effect: Send | Open, timeouts: Timeouts) -> Body:
    """Begin the body of the answer to *effect*."""
    if isinstance(effect, Send):
        return Body(effect.deadline)
    return Body(time.monotonic() + timeouts.read_seconds)
