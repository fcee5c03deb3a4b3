"""
Follow a context: a flow that reconnects, and yields every frame once.

A node sends only what comes after the cursor in the request. But the cursor moves only on the last
frame of a version, so after a break in the middle of a version its first frames come again.
`Position` remembers which frames of versions above the cursor the caller has had. Every connection
begins with a frame about the state of the context. On all but the first connection this frame is
skipped if it says the same as the last one. Later ones are never skipped: each reports a change,
even if only of the configuration.
"""

from __future__ import annotations

from typing import NamedTuple

from fastpaca.client import requests, responses
from fastpaca.client.errors import UnexpectedResponse
from fastpaca.client.events import EventReader
from fastpaca.client.flow import (
    RANDOM_BELOW,
    Close,
    Flow,
    NoResponse,
    Open,
    RandomInt,
    Read,
    Wait,
    Yield,
)
from fastpaca.client.options import Retries, retry_wait_seconds_min
from fastpaca.client.responses import ClientResponse, LaterFrame, error_of
from fastpaca.client.values import (
    CompactionFrame,
    ContextFrame,
    Frame,
    MessageFrame,
    ResetFrame,
    RewindFrame,
    TombstonedFrame,
)


class Position:
    """
    How far a follower has read.

    Attributes:
        cursor: The version to resume after.
    """

    def __init__(self, cursor: int) -> None:
        self.cursor = cursor
        # Types and versions of the frames that the caller has had, for versions above the cursor.
        self._seen: set[tuple[str, int]] = set()
        self._state: tuple[int, bool, int, int] | None = None
        self._is_resuming = False

    def resume(self) -> None:
        """Note that a new connection takes over."""
        self._is_resuming = True

    def take(self, frame: Frame | LaterFrame) -> bool:
        """Move on to *frame*, and return whether it is new to the caller."""
        is_new = self._is_new(frame)
        if isinstance(frame, ResetFrame):
            self.cursor, self._seen, self._state = frame.cursor, set(), None
        elif frame.cursor > self.cursor:
            self.cursor = frame.cursor
            self._seen = {seen for seen in self._seen if seen[1] > frame.cursor}
        return is_new

    def _is_new(self, frame: Frame | LaterFrame) -> bool:
        if isinstance(frame, MessageFrame | CompactionFrame | RewindFrame):
            name = (frame.type, frame.version)
            if frame.version <= self.cursor or name in self._seen:
                return False
            self._seen.add(name)
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
    Yield the frames after *position*, over as many connections as it takes, until the deletion.

    Raises:
        FastpacaError: The node refuses the request with an error that is not worth a retry.
    """
    attempt = 0
    is_resumed = False
    while True:
        request = requests.follow(context_id, position.cursor, include_messages=include_messages)
        outcome = yield Open(request)
        wait_seconds_min = retry_wait_seconds_min(outcome)
        events = EventReader()
        if isinstance(outcome, ClientResponse) and outcome.is_success:
            if outcome.status == 204:
                if is_resumed:
                    # A deletion moves no cursor, so the node can't know that this follower
                    # hasn't heard of it.
                    yield Yield(TombstonedFrame(version=position.cursor, cursor=position.cursor))
                return
            is_resumed = True
            _check_type(outcome)
            received = yield from _read(events, position)
            if received.is_end:
                return
            yield Close()
            if received.frames:
                attempt = 0
            position.resume()
        elif wait_seconds_min is None:
            assert isinstance(outcome, ClientResponse)
            raise error_of(outcome)
        jitter = (yield RandomInt()) / RANDOM_BELOW
        seconds = retries.wait_for(attempt, jitter, wait_seconds_min or 0.0)
        if events.retry_seconds is not None:  # it replaces a shorter wait, up to the longest one
            seconds = max(seconds, jitter * min(events.retry_seconds, retries.wait_seconds_max))
        yield Wait(seconds)
        attempt += 1


def _check_type(response: ClientResponse) -> None:
    content_type = response.headers.get("content-type", "")
    if content_type.partition(";")[0].strip().lower() != requests.EVENTS_TYPE:
        raise UnexpectedResponse(
            f"This is not the event stream of a fastpaca node but {content_type!r}."
        )


class Received(NamedTuple):
    """What one connection brought: how many frames, and whether the stream is at its end."""

    frames: int
    is_end: bool


def _read(events: EventReader, position: Position) -> Flow[Received]:
    """Yield the frames of one connection."""
    frames = 0
    while True:
        chunk = yield Read()
        if isinstance(chunk, NoResponse) or not chunk:
            return Received(frames, is_end=False)
        for data in events.feed(chunk):
            frame = responses.frame(data)
            frames += 1
            if position.take(frame):
                yield Yield(frame)
            if isinstance(frame, TombstonedFrame):
                return Received(frames, is_end=True)
