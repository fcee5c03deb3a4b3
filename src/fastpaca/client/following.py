"""
Following a context: a flow that reconnects, and gives every frame once.

A node repeats nothing after the cursor that it is given. But the cursor moves only on the last
frame of a version, so after a break in the middle of one its first frames come again. `Position`
knows them: it remembers which frames of versions above the cursor were given. The frame about the
state of the context opens every connection; on all but the first it is left out if it says what the
last one said. Later ones are always given: each tells of a change, if only of the configuration.
"""

from __future__ import annotations

from typing import NamedTuple

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
from fastpaca.client.protocol import Answer, LaterFrame, error_of
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
        self._given: set[tuple[str, int]] = (
            set()
        )  # types and versions, of versions above the cursor
        self._state: tuple[int, bool, int, int] | None = None
        self._is_resuming = False

    def resume(self) -> None:
        """Note that another connection takes over."""
        self._is_resuming = True

    def take(self, frame: Frame | LaterFrame) -> bool:
        """Move on to *frame*; whether it is new to the caller."""
        is_new = self._is_new(frame)
        if isinstance(frame, ResetFrame):
            self.cursor, self._given, self._state = frame.cursor, set(), None
        elif frame.cursor > self.cursor:
            self.cursor = frame.cursor
            self._given = {given for given in self._given if given[1] > frame.cursor}
        return is_new

    def _is_new(self, frame: Frame | LaterFrame) -> bool:
        if isinstance(frame, MessageFrame | CompactionFrame):
            name = (frame.type, frame.version)
            if frame.version <= self.cursor or name in self._given:
                return False
            self._given.add(name)
            return True
        if isinstance(frame, ContextFrame):
            state = (
                frame.version,
                frame.needs_compaction,
                frame.used_tokens,
                frame.token_budget,
            )
            is_repeated = self._is_resuming and state == self._state
            self._is_resuming, self._state = False, state
            return not is_repeated
        return not isinstance(frame, LaterFrame)


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
            came = yield from _read(events, position)
            if came.is_end:
                return
            yield Close()
            if came.frames:
                attempt = 0
            position.resume()
        elif at_least is None:
            assert isinstance(outcome, Answer)
            raise error_of(outcome)
        chance = (yield Draw()) / DRAWN_BELOW
        yield Wait(_wait(retries, attempt, chance, at_least or 0.0, events.retry_seconds))
        attempt += 1


def _check_type(answer: Answer) -> None:
    kind = answer.headers.get("content-type", "")
    if kind.partition(";")[0].strip().lower() != protocol.EVENTS_TYPE:
        raise UnexpectedAnswer(f"This is no event stream of a fastpaca node but {kind!r}.")


class Came(NamedTuple):
    """What one connection brought: how many frames, and whether none are to come on any other."""

    frames: int
    is_end: bool


def _read(events: EventReader, position: Position) -> Flow[Came]:
    """Give the frames of one connection."""
    frames = 0
    while True:
        chunk = yield Read()
        if isinstance(chunk, Failure) or not chunk:
            return Came(frames, is_end=False)
        for data in events.feed(chunk):
            frame = protocol.frame(data)
            frames += 1
            if position.take(frame):
                yield Give(frame)
            if isinstance(frame, TombstonedFrame):
                return Came(frames, is_end=True)


def _wait(
    retries: Retries, attempt: int, chance: float, at_least: float, told: float | None
) -> float:
    """Give the seconds to wait: what the stream *told* stands in for a shorter first wait."""
    wait = retries.wait(attempt, chance, at_least=at_least)
    if told is None:
        return wait
    return max(wait, chance * min(told, retries.wait_seconds_max))
