"""Flows carried out by hand: a test says what comes of each step, and sees what was asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from fastpaca.client.errors import ConnectionFailed
from fastpaca.client.flow import (
    Close,
    Effect,
    Flow,
    Invoke,
    NoResponse,
    Now,
    Open,
    RandomInt,
    Read,
    Send,
    Wait,
    Yield,
)
from fastpaca.client.requests import ClientRequest
from fastpaca.client.responses import ClientResponse

T = TypeVar("T")

CUT = NoResponse(ConnectionFailed("cut"))

ONE_HALF = 2**127


def answer(status: int, body: bytes = b"{}", **headers: str) -> ClientResponse:
    """What came back."""
    return ClientResponse(
        status, {name.replace("_", "-"): value for name, value in headers.items()}, body
    )


class Hand:
    """
    A driver whose clock goes only by what is waited, and whose network is a list.

    Attributes:
        now: The time.
        sent: Requests, in order.
        waits: Waits, in order.
        given: What the caller was given.
        pieces: What is read from what is open; None is the end of a connection.
        drawn: What comes of each draw.
        draws_another: Whether each draw is one above the last.
    """

    def __init__(
        self,
        outcomes: Iterable[ClientResponse | NoResponse] = (),
        pieces: Iterable[bytes | NoResponse | None] = (),
        seconds_per_attempt: float = 0.0,
    ) -> None:
        self.now = 1000.0
        self.sent: list[ClientRequest] = []
        self.waits: list[float] = []
        self.given: list[Any] = []
        self.pieces = list(pieces)
        self.drawn = ONE_HALF
        self.draws_another = False
        self._outcomes = list(outcomes)
        self._seconds = seconds_per_attempt

    def run(self, flow: Flow[T], until: Callable[[], bool] = lambda: False) -> T | None:
        """Carry out *flow* to its end, or *until* something."""
        reply = None
        while not until():
            try:
                effect = flow.send(reply)
            except StopIteration as done:
                found: T = done.value
                return found
            reply = self._perform(effect)
        flow.close()
        return None

    def _perform(self, effect: Effect) -> Any:
        match effect:
            case Send() | Open():
                self.sent.append(effect.request)
                self.now += self._seconds
                return self._outcomes.pop(0)
            case Read():
                return self.pieces.pop(0) or b""
            case Wait():
                self.waits.append(effect.seconds)
                self.now += effect.seconds
            case Now():
                return self.now
            case RandomInt():
                self.drawn += self.draws_another
                return self.drawn
            case Invoke():
                return effect.function(effect.argument)
            case Yield():
                self.given.append(effect.value)
            case Close():
                pass
        return None
