"""
The calls of a client as generators, which a driver carries out.

A flow decides what to do next and yields it as an effect: send a request, wait, pass a value to the
caller. The driver does it and sends back the reply. Retries, pages and streams are therefore
written once for both clients; `sync_driver.py` and `aio_driver.py` hold what differs, a short loop
each. Flows do no I/O and use neither clock nor randomness, so tests drive them by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, Generic, NamedTuple, TypeVar

from fastpaca.client.errors import ConnectionFailed
from fastpaca.client.options import Retries, Timeouts, retry_wait_seconds_min
from fastpaca.client.requests import ClientRequest, checked_key
from fastpaca.client.responses import ClientResponse, error_of

T = TypeVar("T")


class Send(NamedTuple):
    """
    Send a request and read the whole response, until *deadline*. Reply: as `Outcome`.

    *is_first* says that this request was not sent before.
    """

    request: ClientRequest
    deadline: float
    is_first: bool = False


class Open(NamedTuple):
    """
    Send a request and keep the response open. Reply: as `Outcome`.

    A response of success comes without its body, which `Read` reads.
    """

    request: ClientRequest


class Read(NamedTuple):
    """Read from the open response. Reply: bytes, empty at its end, or a `NoResponse`."""


class Close(NamedTuple):
    """Close the open response."""


class Wait(NamedTuple):
    """Wait for a number of seconds."""

    seconds: float


class Now(NamedTuple):
    """Read the clock. Reply: seconds since an arbitrary moment."""


class RandomInt(NamedTuple):
    """Draw a random integer. Reply: from 0 to `RANDOM_BELOW`, exclusive."""


class Invoke(NamedTuple):
    """Call a function of the caller's. Reply: its result, awaited if need be."""

    function: Callable[[Any], Any]
    argument: Any


class Yield(NamedTuple, Generic[T]):
    """Pass a value to the caller, who may never ask for the next."""

    value: T


class NoResponse(NamedTuple):
    """Why no response came."""

    error: ConnectionFailed


Outcome = ClientResponse | NoResponse

Effect = Send | Open | Read | Close | Wait | Now | RandomInt | Invoke | Yield[Any]

Flow = Generator[Effect, Any, T]

RANDOM_BELOW = 2**128


def exchange(request: ClientRequest, timeouts: Timeouts, retries: Retries) -> Flow[ClientResponse]:
    """
    Send *request* until it succeeds, as often and as long as the options allow.

    Raises:
        FastpacaError: The node refused it, or the last attempt failed too.
    """
    deadline = (yield Now()) + timeouts.total_seconds
    attempt = 0
    while True:
        outcome = yield Send(request, deadline, attempt == 0)
        if isinstance(outcome, ClientResponse) and outcome.is_success:
            return outcome
        error = outcome.error if isinstance(outcome, NoResponse) else error_of(outcome)
        error.idempotency_key = request.key
        wait_seconds_min = retry_wait_seconds_min(outcome)
        attempt += 1
        if wait_seconds_min is None or attempt >= retries.attempts_max:
            raise error
        jitter = (yield RandomInt()) / RANDOM_BELOW
        seconds = retries.wait_for(attempt - 1, jitter, wait_seconds_min)
        if (yield Now()) + seconds >= deadline:
            raise error
        yield Wait(seconds)


class NewKey(str):
    """An Idempotency-Key that the client made: no earlier request had it."""

    __slots__ = ()


def key_or_new(key: str | None) -> Flow[str]:
    """Return *key*, or a new random one for None."""
    if key is not None:
        return checked_key(key)
    number: int = yield RandomInt()
    return NewKey(f"{number:032x}")
