"""How long a client waits, and how often it tries. Pure: time and randomness are arguments."""

from __future__ import annotations

import math
from typing import Final

import msgspec

from fastpaca.client.responses import ClientResponse, retry_after_seconds
from fastpaca.errors import InvalidRequest

RETRIED_STATUSES: Final = frozenset({408, 429, 502, 503, 504, 520, 521, 522, 523, 524, 529})
"""
Statuses after which a request is sent again. Every request may be: reads, idempotent writes, and
writes with a key. 520 to 524 are Cloudflare's own, and 529 says that a service is overloaded.
"""


class Timeouts(msgspec.Struct, frozen=True, kw_only=True):
    """
    How long to wait; `math.inf` means as long as it takes.

    Attributes:
        connect_seconds: For a connection.
        read_seconds: For the start of a response, and then for each piece of it.
        total_seconds: For a call, including all attempts and the waits between them.
        stream_seconds: For the next sign of life on a stream; a node sends one every 30 seconds.

    Raises:
        InvalidRequest: A time is 0 or less.
    """

    connect_seconds: float = 5.0
    read_seconds: float = 30.0
    total_seconds: float = 60.0
    stream_seconds: float = 75.0

    def __post_init__(self) -> None:
        """Refuse values that could never work."""
        for name in self.__struct_fields__:
            if not getattr(self, name) > 0:
                raise InvalidRequest(f"{name} must be a number of seconds above 0.", name)


class Retries(msgspec.Struct, frozen=True, kw_only=True):
    """
    How often to try, and how long to wait in between.

    A wait is what the node asked for in `Retry-After`, plus a random part of a time that doubles
    with each attempt. The jitter avoids a thundering herd of clients that failed together.

    Attributes:
        attempts_max: How often to send a request at most; 1 means no retries.
        wait_seconds: The time that doubles.
        wait_seconds_max: The longest that it gets.

    Raises:
        InvalidRequest: *attempts_max* is below 1, or a time is below 0.
    """

    attempts_max: int = 10
    wait_seconds: float = 0.1
    wait_seconds_max: float = 5.0

    def __post_init__(self) -> None:
        """Refuse values that could never work."""
        attempts = self.attempts_max
        if not attempts >= 1 or attempts % 1:
            raise InvalidRequest(
                "attempts_max must be a whole number of 1 or more.", "attempts_max"
            )
        for name in ("wait_seconds", "wait_seconds_max"):
            if not 0 <= getattr(self, name) < math.inf:
                raise InvalidRequest(f"{name} must be a number of seconds, 0 or more.", name)

    def wait_for(self, attempt: int, jitter: float, seconds_min: float = 0.0) -> float:
        """
        Return how many seconds to wait after an attempt has failed.

        Args:
            attempt: The number of the attempt; the first is 0.
            jitter: A random number from 0 to 1.
            seconds_min: What the node asked for.
        """
        doubled_seconds = self.wait_seconds * 2.0 ** min(attempt, 60)
        return seconds_min + jitter * min(doubled_seconds, self.wait_seconds_max)


def retry_wait_seconds_min(outcome: object) -> float | None:
    """Return the shortest wait before the next attempt; None if there must not be one."""
    if not isinstance(outcome, ClientResponse):
        return 0.0  # no response came
    if outcome.status in RETRIED_STATUSES:
        return retry_after_seconds(outcome.headers) or 0.0
    return None
