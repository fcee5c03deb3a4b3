"""
A follower as an application would write it, but one that believes nothing.

It keeps nothing but the cursor of the last frame, and resumes from it. Each frame is checked
against all the moments of the world so far: whether it may come now, and whether it is true.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from itertools import chain

from fastpaca.stream.subscription import (
    AppendedMessage,
    CompactionFrame,
    ContextFrame,
    Frame,
    GapFrame,
    LatestState,
    MessageFrame,
    ResetFrame,
    RewindFrame,
    Subscription,
    TombstonedFrame,
    WindowRewrite,
)
from tests.stream.world import World

Piece = AppendedMessage | WindowRewrite


class Client:
    """
    Follows the world whose moments are *history*, the newest last.

    Attributes:
        wants_messages: Whether it is sent messages. If not, versions that are nothing but a message
            are passed in silence.
        cursor: That of the last frame; None while none has come to one who follows from now.
        start: Where it began to follow, or was told to begin anew.
        done: The versions that it was told completely.
        missed: The versions that it was told are gone.
        has_ended: Whether it was told that nothing follows.
        met: The kinds of frames it was sent.
        cut_short: How often it was cut off in the middle of a version.
    """

    def __init__(
        self, cursor: int | None, history: Sequence[World], *, wants_messages: bool = True
    ) -> None:
        self.history = history
        self.wants_messages = wants_messages
        self.cursor = cursor
        self.start = cursor
        self.done: tuple[int, ...] = ()
        self.missed: tuple[int, ...] = ()
        self.has_ended = False
        self.met: frozenset[type[Frame]] = frozenset()
        self.cut_short = 0
        self._at = 0  # as the cursor, and known from the first doorbell on
        self._since = 0  # the moment of this connection's first doorbell
        self._pieces: tuple[Piece, ...] = ()  # of the version that is being told
        self._previous: Frame | None = None
        self._told: int | None = None  # the moment that the last context frame told of

    def connect(self) -> Subscription:
        """Connect, or connect again; what was told of a version in part is worth nothing."""
        newest = self.history[-1].state
        self._since = len(self.history) - 1
        if self.cursor is None:
            self.start = newest.version
        self._at = newest.version if self.cursor is None else self.cursor
        self.cut_short += bool(self._pieces)
        self._pieces = ()
        self._previous = None
        self._told = None
        subscription = Subscription(self.cursor, wants_messages=self.wants_messages)
        subscription.ring(newest)
        return subscription

    def receive(self, frame: Frame) -> None:
        """Take the next frame, if it may come now and is true."""
        assert not self.has_ended, "nothing follows the end"
        assert isinstance(frame, ResetFrame) == self._is_reset_due(), (
            "a reset comes first, or never"
        )
        if not isinstance(frame, ResetFrame):
            self._pass_silent_versions(frame)
        match frame:
            case MessageFrame():
                self._piece(frame, AppendedMessage(frame.seq, frame.body, frame.revises))
            case CompactionFrame():
                self._piece(frame, _compaction(frame))
            case RewindFrame():
                self._rewind(frame)
            case ContextFrame():
                self._context(frame)
            case GapFrame():
                self._gap(frame)
            case ResetFrame():
                self._reset(frame)
            case TombstonedFrame():
                self._end(frame)
        self.met |= {type(frame)}
        self.cursor = self._at = frame.cursor
        self._previous = frame

    def check_caught_up(self) -> None:
        """See that nothing is missing when nothing more is to come."""
        newest = self.history[-1].state
        if newest.is_gone:
            assert self.has_ended, "the end must be told"
            return
        assert self.cursor == newest.version, "the newest version must be reached"
        assert self.has_ended == newest.is_tombstoned, "the end must be told, if there is one"
        if not self.has_ended:
            assert self._told is not None, "one who is live knows the context"
            assert _looks(self.history[self._told].state) == _looks(newest), "that of now"
        assert self.start is not None
        assert list(self.done) == sorted(set(self.done)), "once, and in order"
        told = sorted(chain(self.done, self.missed))
        assert told == list(range(self.start + 1, newest.version + 1)), "all, and no others"

    @property
    def key(self) -> Hashable:
        """All that what it will take depends on."""
        return (
            self.cursor,
            self.has_ended,
            self._at,
            self._since,
            self._pieces,
            self._previous,
            self._told,
        )

    def _is_reset_due(self) -> bool:
        first = self.history[self._since].state
        return self._previous is None and self._at > first.version and not first.is_gone

    def _pass_silent_versions(self, frame: Frame) -> None:
        """Take the versions for done that were passed without a frame, if they had none to give."""
        if isinstance(frame, GapFrame):
            passed = frame.expected - 1
        elif isinstance(frame, TombstonedFrame):
            passed = frame.cursor
        else:
            passed = frame.version - 1
        for version in range(self._at + 1, passed + 1):
            assert not self._pieces, "a version is told without a break"
            assert not self._whole(version), "what there is to tell of a version is told"
            self._complete(version)
            self._at = version

    def _whole(self, version: int) -> tuple[Piece, ...]:
        """Give all that there is to tell of a version."""
        change = self.history[-1].truth[version - 1]
        pieces = (change.message if self.wants_messages else None, change.compaction)
        return tuple(piece for piece in pieces if piece is not None)

    def _piece(self, frame: MessageFrame | CompactionFrame | RewindFrame, piece: Piece) -> None:
        version = self._at + 1
        assert frame.version == version, "the version behind the cursor comes next"
        self._pieces += (piece,)
        whole = self._whole(version)
        assert self._pieces == whole[: len(self._pieces)], "what it is, in its order"
        if frame.cursor == version:
            self._complete(version)
        else:
            assert frame.cursor == self._at, "nothing else moves the cursor"

    def _rewind(self, frame: RewindFrame) -> None:
        """A frame tells where it went back to, and not what became of the window."""
        (rewrite,) = self._whole(self._at + 1)
        assert isinstance(rewrite, WindowRewrite)
        assert (rewrite.strategy, rewrite.to_version) == ("rewind", frame.to_version)
        assert frame.to_version < frame.version, "it goes back"
        self._piece(frame, rewrite)

    def _complete(self, version: int) -> None:
        assert self._pieces == self._whole(version), "the whole change"
        self._pieces = ()
        self.done += (version,)

    def _context(self, frame: ContextFrame) -> None:
        assert frame.cursor == frame.version
        if frame.version == self._at + 1:
            self._complete(frame.version)
        else:
            assert frame.version == self._at, "there is no version to be told of first"
            assert not self._pieces, "a version is told without a break"
            moved = isinstance(self._previous, MessageFrame | CompactionFrame | RewindFrame)
            assert not moved, "the cursor moves with the last frame of a version"
        self._told = self._moment_of(frame)

    def _moment_of(self, frame: ContextFrame) -> int:
        """Find the first moment that *frame* can be news of."""
        known = None if self._told is None else _looks(self.history[self._told].state)
        start = self._since if self._told is None else self._told
        for moment in range(start, len(self.history)):
            looks = _looks(self.history[moment].state)
            told = (frame.version, frame.needs_compaction, frame.used_tokens, frame.token_budget)
            if looks == told and looks != known:
                return moment
        raise AssertionError("the context must be one that is newer than the last one told")

    def _gap(self, frame: GapFrame) -> None:
        assert not self._pieces, "a version is told without a break"
        assert frame.expected == self._at + 1, "the gap begins behind the cursor"
        assert frame.expected < frame.actual == frame.cursor + 1
        missed = range(frame.expected, frame.actual)
        assert self.history[-1].lost.issuperset(missed), "no gap without a loss"
        self.missed += tuple(missed)

    def _reset(self, frame: ResetFrame) -> None:
        assert frame.version == frame.cursor == self.history[self._since].state.version
        self.start = frame.version
        self.done = self.missed = ()

    def _end(self, frame: TombstonedFrame) -> None:
        assert not self._pieces, "a version is told without a break"
        assert frame.version == frame.cursor == self._at, "the end moves nothing"
        assert any(
            state.is_gone or (state.is_tombstoned and state.version == self._at)
            for state in (world.state for world in self.history[self._since :])
        ), "no end without a deletion"
        self.has_ended = True


def _compaction(frame: CompactionFrame) -> WindowRewrite:
    return WindowRewrite(
        strategy=frame.strategy,
        from_seq=frame.from_seq,
        to_seq=frame.to_seq,
        tokens_before=frame.tokens_before,
        tokens_after=frame.tokens_after,
    )


def _looks(state: LatestState) -> tuple[int, bool, int, int]:
    return state.version, state.needs_compaction, state.used_tokens, state.token_budget
