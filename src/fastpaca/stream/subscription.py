"""
What a follower of a context is sent next: frames, made of doorbells and pages.

Pure: no I/O, no clock, no randomness, no `async`.

Theory of operation
-------------------

The changes of a conversation have the versions 1, 2, 3 …, and each is a message (perhaps with the
trim that it caused) or a compact call. They lie in a store. A follower has a **cursor**: the last
version it has processed. A `Subscription` is one connection of one follower. Two things come in.

A **doorbell** (`ring`) says what the context has come to. It brings no changes, so it may be lost,
doubled, late or out of order: only the newest `State` counts, and a later doorbell makes up for a
lost one. The first doorbell must be a state that was read after the follower came, or a cursor that
is merely ahead of old news would look like one from another history.

A **page** (`deliver`) brings the changes behind some version: those that are `wanted`, or older
ones once more. Versions up to the cursor are skipped. A page that begins above the cursor says
nothing of what lies between, and is ignored. So any page may come at any time and any number of
times.

Frames come out, in an order that rests on nothing but the versions:

- Every version behind the cursor once, in order: the message, the compaction, the context. Frames
  carry the cursor to resume from, and only the last one of a version moves it there. Whoever is cut
  off between two frames is sent the whole version again.
- A **gap** stands for versions that no page has: their rows are gone for ever. What is left of a
  version that has lost its message counts as gone as well.
- The **context** frame is state, not history. It comes when the cursor has reached the newest known
  version (the subscription is then **live**), as the last frame of that version, and again whenever
  a doorbell brings another configuration. Versions that were passed on the way have none.
- A **reset** is sent first, if the cursor is above the version of the first doorbell: the store has
  gone back in time, and the follower begins anew from there.
- **Tombstoned** ends the stream: after the last change, or at once if the content was erased.

A follower who wants no messages is sent no message frames, and everything else as it is. Its cursor
moves past a version that was nothing but a message as if a frame had said so; the next frame of any
kind, a ping included, carries it. What that follower resumes from can therefore lie before versions
that it was not told of; they are passed again, and again there is nothing to tell.

A subscription is never ahead of its doorbells: what a page holds above the newest known version
waits until its state is known, since a context frame belongs behind it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import msgspec
from msgspec.structs import replace

CHANGE_BYTES: Final = 200
"""About what a change takes in memory beside the text of its message."""


# --- what comes in ----------------------------------------------------------------------------


class State(msgspec.Struct, frozen=True, gc=False):
    """
    What a context has come to: the news of a doorbell.

    Attributes:
        version: Its newest version.
        revision: Grows with every commit that touches it; tells old news from new.
        is_tombstoned: Whether it was deleted for writing, so that no version will follow.
        is_gone: Whether its content was erased; nothing else here needs to hold then.
        needs_compaction: Whether its window is above the trigger.
        used_tokens: Tokens of the LLM context as a read would give it.
        token_budget: Its budget.
        configuration: Anything that differs when the rest of the configuration does.
    """

    version: int
    revision: int
    is_tombstoned: bool
    is_gone: bool
    needs_compaction: bool
    used_tokens: int
    token_budget: int
    configuration: object = None

    def gone(self) -> State:
        """Give the state that follows when the content is erased."""
        return replace(self, revision=self.revision + 1, is_gone=True)

    def looks_like(self, other: State) -> bool:
        """Tell whether a follower who knows the *other* needs no context frame for this one."""
        return (
            self.version == other.version
            and self.needs_compaction == other.needs_compaction
            and self.used_tokens == other.used_tokens
            and self.token_budget == other.token_budget
            and self.configuration == other.configuration
        )


class Message(msgspec.Struct, frozen=True, gc=False):
    """A message of the log: its *seq*, and the JSON text as it is served."""

    seq: int
    body: bytes


class Compaction(msgspec.Struct, frozen=True, gc=False):
    """A rewrite of the window, as `Compacted` of the core tells it."""

    strategy: str
    from_seq: int | None
    to_seq: int | None
    tokens_before: int
    tokens_after: int


class Change(msgspec.Struct, frozen=True, gc=False):
    """One version: a message, perhaps with the trim it caused, or the compaction of a call."""

    version: int
    message: Message | None
    compaction: Compaction | None

    @property
    def is_whole(self) -> bool:
        """Whether all of it is there: of a trim without its message, the message was lost."""
        if self.message is None:
            return self.compaction is not None and self.compaction.strategy == "manual"
        return True

    @property
    def size(self) -> int:
        """About how many bytes it takes in memory."""
        return CHANGE_BYTES + (0 if self.message is None else len(self.message.body))


class Page(msgspec.Struct, frozen=True, gc=False):
    """
    All changes that exist of the versions behind *after*, up to *through*; versions ascend.

    A page that was cut short ends with the last change it holds: *through* is then that version,
    or versions that merely did not fit would count as lost.
    """

    after: int
    changes: Sequence[Change]
    through: int


# --- what comes out ---------------------------------------------------------------------------


class MessageFrame(msgspec.Struct, frozen=True, gc=False):
    """A message was appended."""

    version: int
    cursor: int
    seq: int
    body: bytes


class CompactionFrame(msgspec.Struct, frozen=True, gc=False):
    """The window was rewritten, by a compact call (`manual`) or a policy."""

    version: int
    cursor: int
    strategy: str
    from_seq: int | None
    to_seq: int | None
    tokens_before: int
    tokens_after: int


class ContextFrame(msgspec.Struct, frozen=True, gc=False):
    """This is what the LLM context has come to."""

    version: int
    cursor: int
    needs_compaction: bool
    used_tokens: int
    token_budget: int


class TombstonedFrame(msgspec.Struct, frozen=True, gc=False):
    """The context was deleted; nothing follows."""

    version: int
    cursor: int


class GapFrame(msgspec.Struct, frozen=True, gc=False):
    """The versions from *expected* up to the one before *actual* are gone for ever."""

    expected: int
    actual: int
    cursor: int


class ResetFrame(msgspec.Struct, frozen=True, gc=False):
    """The store knows nothing of the follower's cursor; delivery goes on from *version*."""

    version: int
    cursor: int


Frame = MessageFrame | CompactionFrame | ContextFrame | TombstonedFrame | GapFrame | ResetFrame


class PingFrame(msgspec.Struct, frozen=True, gc=False):
    """Nothing has happened for a while, and the connection is alive. No subscription makes it."""

    cursor: int


AnyFrame = Frame | PingFrame

Encode = Callable[[AnyFrame], bytes]
"""Writes a frame as it is sent."""


class Subscription:
    """
    One connection of one follower. A *cursor* of None means from now.

    Attributes:
        wants_messages: Whether there are message frames. Without them, pages need no bodies.
    """

    __slots__ = ("_cursor", "_has_ended", "_newest", "_reset_to", "_told", "wants_messages")

    def __init__(self, cursor: int | None, *, wants_messages: bool = True) -> None:
        self.wants_messages = wants_messages
        self._cursor = cursor
        self._newest: State | None = None
        self._reset_to: int | None = None  # what a reset frame must say before all else
        self._told: State | None = None  # what the last context frame was made of
        self._has_ended = False

    @property
    def cursor(self) -> int:
        """The version up to which everything was given; known from the first doorbell on."""
        assert self._cursor is not None, "a subscription from now begins with its first doorbell"
        return self._cursor

    @property
    def has_ended(self) -> bool:
        """Whether the last frame was given."""
        return self._has_ended

    @property
    def is_live(self) -> bool:
        """Whether everything that is known of was given, so that what comes next is new."""
        return self._is_at_newest and not self._has_ended

    @property
    def wanted(self) -> tuple[int, int] | None:
        """The versions to read next, as `(after, through)`; None while there is nothing to read."""
        newest = self._newest
        if newest is None or newest.is_gone or self._reset_to is not None or self._is_at_newest:
            return None
        return self.cursor, newest.version

    def ring(self, state: State) -> None:
        """Take note of *state*, unless something newer is known. Frames come from `settle`."""
        known = self._newest
        if known is None:
            self._begin(state)
        elif self._has_ended or not _is_newer(state, known):
            return
        self._newest = state

    def deliver(self, page: Page) -> list[Frame]:
        """Give the frames of what is new in *page*, and all that `settle` gives."""
        frames = self.settle()
        wanted = self.wanted
        if wanted is None or page.after > self.cursor:
            return frames
        through = min(page.through, wanted[1])
        for change in page.changes:
            if change.version > through:
                break
            if change.version > self.cursor and change.is_whole:
                self._pass_gap(change.version, frames)
                self._pass(change, frames)
        self._pass_gap(through + 1, frames)
        frames += self.settle()
        return frames

    def settle(self) -> list[Frame]:
        """Give the frames that need no page: reset, context, tombstoned."""
        frames: list[Frame] = []
        newest = self._newest
        if newest is None or self._has_ended:
            return frames
        if self._reset_to is not None:
            self._cursor, self._reset_to = self._reset_to, None
            frames.append(ResetFrame(self.cursor, self.cursor))
        if newest.is_gone or (newest.is_tombstoned and self._is_at_newest):
            self._has_ended = True
            frames.append(TombstonedFrame(self.cursor, self.cursor))
        elif self._is_at_newest and (self._told is None or not newest.looks_like(self._told)):
            self._told = newest
            frames.append(_context_frame(newest))
        return frames

    def _begin(self, state: State) -> None:
        if self._cursor is None:
            self._cursor = state.version
        elif self._cursor > state.version and not state.is_gone:
            self._reset_to = state.version

    @property
    def _is_at_newest(self) -> bool:
        newest = self._newest
        return newest is not None and self._reset_to is None and self._cursor == newest.version

    def _pass_gap(self, actual: int, frames: list[Frame]) -> None:
        """Go on to the version before *actual*, and say so if that leaves out any."""
        expected = self.cursor + 1
        if expected < actual:
            self._cursor = actual - 1
            frames.append(GapFrame(expected, actual, self._cursor))

    def _pass(self, change: Change, frames: list[Frame]) -> None:
        """Go on to the version of *change*, the next one, with its frames but for the context."""
        version, before = change.version, self.cursor
        self._cursor = version
        last = before if self._is_context_due else version
        if (message := change.message) is not None and self.wants_messages:
            cursor = last if change.compaction is None else before
            frames.append(MessageFrame(version, cursor, message.seq, message.body))
        if (done := change.compaction) is not None:
            frames.append(
                CompactionFrame(
                    version=version,
                    cursor=last,
                    strategy=done.strategy,
                    from_seq=done.from_seq,
                    to_seq=done.to_seq,
                    tokens_before=done.tokens_before,
                    tokens_after=done.tokens_after,
                )
            )

    @property
    def _is_context_due(self) -> bool:
        """Whether a context frame ends the version at the cursor."""
        return self._newest is not None and self._is_at_newest and not self._newest.is_tombstoned


def _is_newer(state: State, known: State) -> bool:
    if known.is_gone or state.is_gone:
        return not known.is_gone
    # A later commit never has a lower version; a state that says so is of another history.
    return state.revision > known.revision and state.version >= known.version


def _context_frame(state: State) -> ContextFrame:
    return ContextFrame(
        version=state.version,
        cursor=state.version,
        needs_compaction=state.needs_compaction,
        used_tokens=state.used_tokens,
        token_budget=state.token_budget,
    )
