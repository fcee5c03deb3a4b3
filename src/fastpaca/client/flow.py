"""
The calls of a client as generators, which a driver carries out.

A flow decides what to do next and yields it: send this, wait so long, give this to the caller. The
driver does it and sends back what came of it. So retries, pages and streams are written once and
hold for both clients; `sync.py` and `aio.py` hold what differs, a loop of a few lines each. Flows
do no I/O, know no clock and no chance, and are tested without either.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, Generic, NamedTuple, TypeVar

from fastpaca.client.errors import ConnectionFailed
from fastpaca.client.protocol import Answer, Request, checked_key, error_of
from fastpaca.client.terms import Retries, Timeouts, asked_wait_seconds

T = TypeVar("T")


class Send(NamedTuple):
    """Send a request and read the whole answer, by *deadline*; an `Answer` or a `Failure`."""

    request: Request
    deadline: float


class Open(NamedTuple):
    """Send a request and read on while it lasts; an `Answer`, with a body if it is no success."""

    request: Request


class Read(NamedTuple):
    """Read what comes next on what is open: bytes, none at its end, or a `Failure`."""


class Close(NamedTuple):
    """Close what is open."""


class Wait(NamedTuple):
    """Let time pass."""

    seconds: float


class Now(NamedTuple):
    """Look at the clock: seconds of any beginning."""


class Draw(NamedTuple):
    """Take a random integer below 2^128."""


class Ask(NamedTuple):
    """Call a function of the caller's, and wait for what it gives."""

    function: Callable[[Any], Any]
    argument: Any


class Give(NamedTuple, Generic[T]):
    """Give a value to the caller, who may never ask for the next."""

    value: T


class Failure(NamedTuple):
    """No answer came."""

    error: ConnectionFailed


Effect = Send | Open | Read | Close | Wait | Now | Draw | Ask | Give[Any]

Flow = Generator[Effect, Any, T]

DRAWN_BELOW = 2**128


def exchange(request: Request, timeouts: Timeouts, retries: Retries) -> Flow[Answer]:
    """
    Send *request* until it is answered, as often and as long as the terms allow.

    Raises:
        FastpacaError: It was refused, or the last attempt failed too.
    """
    deadline = (yield Now()) + timeouts.total_seconds
    attempt = 0
    while True:
        outcome = yield Send(request, deadline)
        if isinstance(outcome, Answer) and outcome.is_success:
            return outcome
        error = outcome.error if isinstance(outcome, Failure) else error_of(outcome)
        error.idempotency_key = request.key
        at_least = asked_wait_seconds(outcome)
        attempt += 1
        if at_least is None or attempt >= retries.attempts_max:
            raise error
        chance = (yield Draw()) / DRAWN_BELOW
        wait = retries.wait(attempt - 1, chance, at_least=at_least)
        if (yield Now()) + wait >= deadline:
            raise error
        yield Wait(wait)


def key_or_new(key: str | None) -> Flow[str]:
    """Give *key*, or make one up."""
    if key is not None:
        return checked_key(key)
    number: int = yield Draw()
    return f"{number:032x}"
