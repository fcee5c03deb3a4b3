"""
What both drivers have in common: requests and responses in terms of httpx, and its errors.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

import httpx

from fastpaca import __version__
from fastpaca.client.errors import ConnectionFailed, TimedOut, UnexpectedResponse
from fastpaca.client.flow import RANDOM_BELOW, Effect, NoResponse, Now, Open, RandomInt, Send
from fastpaca.client.options import Timeouts
from fastpaca.client.requests import checked_headers, is_api_key
from fastpaca.client.responses import ClientResponse
from fastpaca.errors import InvalidRequest

BASE_URL: Final = "http://127.0.0.1:4000"

DEFAULT_ESTIMATOR: Final = "tiktoken:gpt-4o"
"""How a node in this process counts tokens by default."""

RESPONSE_BYTES_MAX: Final = 500 * 1024 * 1024
"""
The largest response that is read into memory. A node ends a page at 16 MiB, and no model takes a
window larger than this. TypeScript has the same limit, because V8 has no strings above 512 MiB.
"""

WAIT_SECONDS_MAX: Final = 2.0**31 / 1000
"""The longest wait of a socket: many systems hold its milliseconds in 31 bits."""


class HttpRequests:
    """
    Builds httpx requests for one node.

    Attributes:
        headers: The headers of every request.
        timeouts: How long to wait.
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
                f"The address of a node must look like {BASE_URL}, not {base_url!r}.", "base_url"
            )
        if api_key is not None and not is_api_key(api_key):
            # The value is a secret, so the message leaves it out.
            raise InvalidRequest(
                "An API key must be printable ASCII without spaces, line ends and commas.",
                "api_key",
            )
        self._base = base_url.rstrip("/").removesuffix("/v1").rstrip("/")
        self.timeouts = timeouts
        self.headers = httpx.Headers({"User-Agent": f"fastpaca-python/{__version__}"})
        self.headers.update(checked_headers(headers or {}, has_key=api_key is not None))
        if api_key is not None:
            self.headers["Authorization"] = f"Bearer {api_key}"

    def request(self, effect: Send | Open) -> httpx.Request:
        """Build the httpx request of *effect*."""
        request = effect.request
        return httpx.Request(
            request.method,
            self._base + request.target,
            headers=[*self.headers.items(), *request.headers.items()],
            content=request.body,
            extensions={"timeout": self._timeout(effect)},
        )

    def _timeout(self, effect: Send | Open) -> dict[str, float]:
        timeouts = self.timeouts
        read, left = timeouts.stream_seconds, timeouts.read_seconds
        if isinstance(effect, Send):
            read, left = timeouts.read_seconds, max(effect.deadline - time.monotonic(), 0.001)
        connect = min(timeouts.connect_seconds, left)
        waits = {"connect": connect, "pool": connect, "write": left, "read": min(read, left)}
        return {name: min(seconds, WAIT_SECONDS_MAX) for name, seconds in waits.items()}


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        has_host = parts.hostname is not None and parts.port != 0  # reading `port` checks it
    except ValueError:
        return False
    # A user name or key in the address would be sent in place of the API key.
    is_plain = not set("?#") & set(url) and "@" not in parts.netloc
    return parts.scheme in {"http", "https"} and has_host and is_plain


def now_or_random(effect: Effect) -> float | int | None:
    """Return the reply to an *effect* that takes no time; None for any other."""
    if isinstance(effect, Now):
        return time.monotonic()
    if isinstance(effect, RandomInt):
        return secrets.randbelow(RANDOM_BELOW)
    return None


def no_response(error: httpx.RequestError | httpx.StreamError) -> NoResponse:
    """Translate an *error* of httpx."""
    reason = str(error) or type(error).__name__
    if isinstance(error, httpx.TimeoutException):
        failed: ConnectionFailed = TimedOut(f"No response came in time ({reason}).")
    else:
        failed = ConnectionFailed(f"No response came: {reason}.")
    failed.__cause__ = error
    return NoResponse(failed)


class BodyBuffer:
    """Collects the body of a response, piece by piece, until a *deadline*."""

    def __init__(self, deadline: float) -> None:
        self._deadline = deadline
        self._pieces: list[bytes] = []
        self._size_bytes = 0

    def add(self, piece: bytes) -> None:
        """
        Add the next piece.

        Raises:
            httpx.ReadTimeout: The deadline has passed, even if data comes steadily.
            UnexpectedResponse: The body is larger than `RESPONSE_BYTES_MAX`.
        """
        self._pieces.append(piece)
        self._size_bytes += len(piece)
        if time.monotonic() > self._deadline:
            raise httpx.ReadTimeout("the response takes too long")
        if self._size_bytes > RESPONSE_BYTES_MAX:
            raise UnexpectedResponse(f"The response is larger than {RESPONSE_BYTES_MAX:,} bytes.")

    def response(self, response: httpx.Response) -> ClientResponse:
        """Return the whole response."""
        return ClientResponse(response.status_code, response.headers, b"".join(self._pieces))


def body_buffer(effect: Send | Open, timeouts: Timeouts) -> BodyBuffer:
    """Return a buffer for the body of the response to *effect*."""
    if isinstance(effect, Send):
        return BodyBuffer(effect.deadline)
    return BodyBuffer(time.monotonic() + timeouts.read_seconds)
