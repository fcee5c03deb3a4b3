"""
Following a context: a flow that reconnects, and gives every frame once.

A node repeats nothing behind the cursor that it is given. But the cursor moves only on the last
frame of a version, so after a break in the middle of one its first frames come again. `Position`
knows them: a frame of a version above the cursor was given if one of its type was. The frame about
the state of the context, which opens every connection, is left out if it says what the last one
said.
"""

from __future__ import annotations

from fastpaca.client import protocol
from fastpaca.client.errors import UnexpectedAnswer
from fastpaca.client.events import EventReader
from fastpaca.client.flow import (
    DRAWN_BELOW,
    Close,
    Draw,
    Failure,
    Flow,
    Give,
    Open,
    Read,
    Wait,
)
from fastpaca.client.protocol import Answer, error_of
from fastpaca.client.terms import Retries, asked_wait_seconds
from fastpaca.client.values import (
    CompactionFrame,
    ContextFrame,
    Frame,
    MessageFrame,
    ResetFrame,
    TombstonedFrame,
)


class Position:
    """
    How far a follower has come.

    Attributes:
        cursor: What to resume from.
    """

    def __init__(self, cursor: int) -> None:
        self.cursor = cursor
        self._version = 0  # the one of which some frames were given
        self._given: set[str] = set()  # their types
        self._state: tuple[int, bool, int, int] | None = None

    def take(self, frame: Frame) -> bool:
        """Move on to *frame*; whether it is new to the caller."""
        is_new = self._is_new(frame)
        self.cursor = frame.cursor
        return is_new

    def _is_new(self, frame: Frame) -> bool:
        if isinstance(frame, ContextFrame):
            state = (
                frame.version,
                frame.needs_compaction,
                frame.used_tokens,
                frame.token_budget,
            )
            is_news, self._state = state != self._state, state
            return is_news
        if isinstance(frame, ResetFrame):
            self._version, self._given, self._state = 0, set(), None
            return True
        if not isinstance(frame, MessageFrame | CompactionFrame):
            return True
        if frame.version != self._version:
            self._version, self._given = frame.version, set()
        if frame.type in self._given:
            return False
        self._given.add(frame.type)
        return True


def follow(
    context_id: str, position: Position, retries: Retries, *, include_messages: bool
) -> Flow[None]:
    """
    Give the frames behind *position*, over as many connections as it takes, to the end of it.

    Raises:
        FastpacaError: A node refuses to be followed, for another reason than that it is not there.
    """
    attempt = 0
    is_resumed = False
    while True:
        request = protocol.follow(context_id, position.cursor, include_messages=include_messages)
        outcome = yield Open(request)
        at_least = asked_wait_seconds(outcome)
        events = EventReader()
        if isinstance(outcome, Answer) and outcome.is_success:
            if outcome.status == 204:
                if is_resumed:
                    # The deletion moves no cursor: a node cannot know that it was not told of yet.
                    yield Give(TombstonedFrame(version=position.cursor, cursor=position.cursor))
                return
            is_resumed = True
            _check_type(outcome)
            if (yield from _read(events, position)):
                return
            yield Close()
            attempt = 0
        elif at_least is None:
            assert isinstance(outcome, Answer)
            raise error_of(outcome)
        chance = (yield Draw()) / DRAWN_BELOW
        yield Wait(_wait(retries, attempt, chance, at_least or 0.0, events.retry_seconds))
        attempt += 1


def _check_type(answer: Answer) -> None:
    kind = answer.headers.get("content-type", "")
    if kind.partition(";")[0].strip() != protocol.EVENTS_TYPE:
        raise UnexpectedAnswer(f"This is no event stream of a fastpaca node but {kind!r}.")


def _read(events: EventReader, position: Position) -> Flow[bool]:
    """Give the frames of one connection; whether there are none to come, on any other either."""
    while True:
        chunk = yield Read()
        if isinstance(chunk, Failure) or not chunk:
            return False
        for data in events.feed(chunk):
            frame = protocol.frame(data)
            if frame is None:
                continue
            if position.take(frame):
                yield Give(frame)
            if isinstance(frame, TombstonedFrame):
                return True


def _wait(
    retries: Retries, attempt: int, chance: float, at_least: float, told: float | None
) -> float:
    """Give the seconds to wait: what the stream *told* stands in for a shorter first wait."""
    wait = retries.wait(attempt, chance, at_least=at_least)
    if told is None:
        return wait
    return max(wait, chance * min(told, retries.wait_seconds_max))
