"""How long a client waits, and how often it tries. Pure: time and chance are arguments."""

from __future__ import annotations

import math
from typing import Final

import msgspec

from fastpaca.client.protocol import Answer, retry_after_seconds
from fastpaca.errors import InvalidRequest

RETRIED_STATUSES: Final = frozenset({408, 429, 502, 503, 504, 520, 521, 522, 523, 524, 529})
"""
Answers after which a request is sent again; any request may be: reads, idempotent writes, and
writes with a key. 520 to 524 are those of Cloudflare, and 529 says that a service is overloaded.
"""


class Timeouts(msgspec.Struct, frozen=True, kw_only=True):
    """
    How long to wait; `math.inf` is for as long as it takes.

    Attributes:
        connect_seconds: For a connection.
        read_seconds: For the answer to begin, and for each next piece of it.
        total_seconds: For a call, all attempts and the waits between them together.
        stream_seconds: For the next sign of life on a stream; a node gives one every 30 seconds.

    Raises:
        InvalidRequest: A time is not above 0.
    """

    connect_seconds: float = 5.0
    read_seconds: float = 30.0
    total_seconds: float = 60.0
    stream_seconds: float = 75.0

    def __post_init__(self) -> None:
        """Refuse what could never work."""
        for name in self.__struct_fields__:
            if not getattr(self, name) > 0:
                raise InvalidRequest(f"{name} is a number of seconds above 0.", name)


class Retries(msgspec.Struct, frozen=True, kw_only=True):
    """
    How often to try, and how long to wait in between.

    A wait is a random part of a time that doubles with each attempt, so that clients who failed
    together do not come back together, on top of what the node asked for in `Retry-After`.

    Attributes:
        attempts_max: How often a request is sent at most; 1 means no retries.
        wait_seconds: The time that doubles.
        wait_seconds_max: What it doubles to.

    Raises:
        InvalidRequest: There is no attempt, or a time is below 0.
    """

    attempts_max: int = 10
    wait_seconds: float = 0.1
    wait_seconds_max: float = 5.0

    def __post_init__(self) -> None:
        """Refuse what could never work."""
        attempts = self.attempts_max
        if not attempts >= 1 or attempts % 1:
            raise InvalidRequest("attempts_max is a whole number of 1 or more.", "attempts_max")
        for name in ("wait_seconds", "wait_seconds_max"):
            if not 0 <= getattr(self, name) < math.inf:
                raise InvalidRequest(f"{name} is a number of seconds, 0 or more.", name)

    def wait(self, attempt: int, chance: float, *, at_least: float = 0.0) -> float:
        """Give the seconds to wait after *attempt* (from 0) has failed, by *chance* in 0 … 1."""
        doubled = self.wait_seconds * 2.0 ** min(attempt, 60)
        return at_least + chance * min(doubled, self.wait_seconds_max)


def asked_wait_seconds(outcome: object) -> float | None:
    """Give how long to wait at least before the next attempt; None if there must be none."""
    if not isinstance(outcome, Answer):
        return 0.0  # nothing came back
    if outcome.status in RETRIED_STATUSES:
        return retry_after_seconds(outcome.headers) or 0.0
    return None
