"""
What a follower of a context is sent next: frames, decided from doorbells and pages.

Pure: no I/O, no clock, no randomness, no `async`.

Theory of operation
-------------------

The changes of a conversation have the versions 1, 2, 3 …, and each is a message (perhaps with the
trim that it caused), a compact call or a rewind. They are in a store. A follower has a **cursor**:
the last version that it has processed. A `Subscription` is one connection of one follower. It has
two inputs.

A **doorbell** (`ring`) brings the newest state of the context, without changes. It may be lost,
doubled, late or out of order: only the newest state counts, and a later doorbell makes up for a
lost one. The first doorbell must be a state that was read after the follower connected. Otherwise a
cursor that is newer than an old state would look like one from a different history.

A **page** (`deliver`) brings the changes after some version: those that are `wanted`, or earlier
ones again. Versions up to the cursor are skipped. A page that begins above the cursor says nothing
about the versions in between, and is ignored. So any page may come at any time and any number of
times.

The output is frames, in an order that depends only on the versions:

- Every version after the cursor once, in order: the message, the compaction or the rewind, the
  context. Each frame carries the cursor to resume from, and only the last frame of a version moves
  it to that version. A follower that is cut off between two frames is sent the whole version again.
- A **gap** stands for versions that no page has: their rows are lost. A version that has lost its
  message counts as lost, even if its trim is left.
- The **context** frame is state, not history. It comes when the cursor has reached the newest known
  version (the subscription is then **live**), as the last frame of that version, and again whenever
  a doorbell brings a different configuration. Versions on the way there have none.
- A **reset** comes first if the cursor is above the version of the first doorbell: the store has
  gone back in time, and the follower starts again from there.
- **Tombstoned** ends the stream: after the last change, or at once if the content was erased.

A follower without message frames gets all other frames. Its cursor moves past a version that was
only a message without a frame; the next frame of any kind, including a ping, carries the new
cursor. That follower may therefore resume from before such versions; it passes them again, and
again they have no frame.

A subscription is never ahead of its doorbells: changes of a page above the newest known version
wait until their state is known, since a context frame has to follow them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import msgspec
from msgspec.structs import replace

from fastpaca.context.config import VERSIONED_REWRITES

CHANGE_BYTES: Final = 200
"""About the memory that a change takes besides the text of its message."""


# --- input ----------------------------------------------------------------------------


class LatestState(msgspec.Struct, frozen=True, gc=False):
    """
    The newest state of a context, which a doorbell brings.

    Attributes:
        version: Its newest version.
        revision: Grows with every commit that touches it; the higher of two is the newer state.
        is_tombstoned: Whether it was deleted for writing, so that no version will follow.
        is_gone: Whether its content was erased; the other fields mean nothing then.
        needs_compaction: Whether its window is above the trigger.
        used_tokens: The tokens of the LLM context as a read would return it.
        token_budget: Its budget.
        configuration: A value that differs when the rest of the configuration does.
    """

    version: int
    revision: int
    is_tombstoned: bool
    is_gone: bool
    needs_compaction: bool
    used_tokens: int
    token_budget: int
    configuration: object = None

    def gone(self) -> LatestState:
        """Return the state after the content is erased."""
        return replace(self, revision=self.revision + 1, is_gone=True)

    def looks_like(self, other: LatestState) -> bool:
        """Return whether a context frame for *other* says the same as one for this state."""
        return (
            self.version == other.version
            and self.needs_compaction == other.needs_compaction
            and self.used_tokens == other.used_tokens
            and self.token_budget == other.token_budget
            and self.configuration == other.configuration
        )


class AppendedMessage(msgspec.Struct, frozen=True, gc=False):
    """
    A message of the log: its *seq*, its JSON text as responses have it, and the place of the
    message that it *revises*, if it does.
    """

    seq: int
    body: bytes
    revises: int | None = None


class WindowRewrite(msgspec.Struct, frozen=True, gc=False):
    """A rewrite of the window, as in the event `Compacted` of the core."""

    strategy: str
    from_seq: int | None
    to_seq: int | None
    tokens_before: int
    tokens_after: int
    to_version: int | None = None


class VersionChange(msgspec.Struct, frozen=True, gc=False):
    """
    One version: a message, perhaps with the trim it caused, or a rewrite with its own version.
    """

    version: int
    message: AppendedMessage | None
    compaction: WindowRewrite | None

    @property
    def is_whole(self) -> bool:
        """Whether nothing of it is lost; a trim without its message has lost the message."""
        if self.message is None:
            return self.compaction is not None and self.compaction.strategy in VERSIONED_REWRITES
        return True

    @property
    def size(self) -> int:
        """About how many bytes of memory it takes."""
        return CHANGE_BYTES + (0 if self.message is None else len(self.message.body))


class Page(msgspec.Struct, frozen=True, gc=False):
    """
    All existing changes of the versions after *after*, up to and including *through*, ascending.

    If not all changes fit, *through* is the version of the last one. Otherwise the versions that
    didn't fit would count as lost.
    """

    after: int
    changes: Sequence[VersionChange]
    through: int


# --- output ---------------------------------------------------------------------------


class MessageFrame(msgspec.Struct, frozen=True, gc=False):
    """A message was appended; or it *revises* the message of that place."""

    version: int
    cursor: int
    seq: int
    body: bytes
    revises: int | None = None


class CompactionFrame(msgspec.Struct, frozen=True, gc=False):
    """The window was rewritten, by a compact call (`manual`) or a policy."""

    version: int
    cursor: int
    strategy: str
    from_seq: int | None
    to_seq: int | None
    tokens_before: int
    tokens_after: int


class RewindFrame(msgspec.Struct, frozen=True, gc=False):
    """The path became what it was after *to_version*."""

    version: int
    cursor: int
    to_version: int


class ContextFrame(msgspec.Struct, frozen=True, gc=False):
    """How full the LLM context is now."""

    version: int
    cursor: int
    needs_compaction: bool
    used_tokens: int
    token_budget: int


class TombstonedFrame(msgspec.Struct, frozen=True, gc=False):
    """The context was deleted; this is the last frame."""

    version: int
    cursor: int


class GapFrame(msgspec.Struct, frozen=True, gc=False):
    """The versions from *expected* up to the one before *actual* are lost."""

    expected: int
    actual: int
    cursor: int


class ResetFrame(msgspec.Struct, frozen=True, gc=False):
    """The follower's cursor is above the newest version; delivery continues from *version*."""

    version: int
    cursor: int


Frame = (
    MessageFrame
    | CompactionFrame
    | RewindFrame
    | ContextFrame
    | TombstonedFrame
    | GapFrame
    | ResetFrame
)


class PingFrame(msgspec.Struct, frozen=True, gc=False):
    """A sign of life when nothing happens. It comes from the follower, not from a subscription."""

    cursor: int


AnyFrame = Frame | PingFrame

Encode = Callable[[AnyFrame], bytes]
"""Encodes a frame for its connection."""


class Subscription:
    """
    One connection of one follower. A *cursor* of None starts at the version of the first doorbell.

    Attributes:
        wants_messages: Whether there are message frames. Without them, pages need no bodies.
    """

    __slots__ = ("_cursor", "_has_ended", "_newest", "_reported", "_reset_to", "wants_messages")

    def __init__(self, cursor: int | None, *, wants_messages: bool = True) -> None:
        self.wants_messages = wants_messages
        self._cursor = cursor
        self._newest: LatestState | None = None
        self._reset_to: int | None = (
            None  # the version of a reset frame, which comes before all others
        )
        self._reported: LatestState | None = None  # the state in the last context frame
        self._has_ended = False

    @property
    def cursor(self) -> int:
        """The version to resume after; it is known from the first doorbell on."""
        assert self._cursor is not None, (
            "a subscription without a cursor starts at its first doorbell"
        )
        return self._cursor

    @property
    def has_ended(self) -> bool:
        """Whether there will be no more frames."""
        return self._has_ended

    @property
    def is_live(self) -> bool:
        """Whether the cursor is at the newest known version."""
        return self._is_at_newest and not self._has_ended

    @property
    def wanted(self) -> tuple[int, int] | None:
        """The versions to read next, as `(after, through)`; None while there is nothing to read."""
        newest = self._newest
        if newest is None or newest.is_gone or self._reset_to is not None or self._is_at_newest:
            return None
        return self.cursor, newest.version

    def ring(self, state: LatestState) -> None:
        """Record *state*, unless a newer one is known. Frames come from `settle`."""
        known = self._newest
        if known is None:
            self._begin(state)
        elif self._has_ended or not _is_newer(state, known):
            return
        self._newest = state

    def deliver(self, page: Page) -> list[Frame]:
        """Return the frames of the new changes in *page*, and those of `settle`."""
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
        assert wanted[0] <= self.cursor <= wanted[1]
        frames += self.settle()
        return frames

    def settle(self) -> list[Frame]:
        """Return the frames that need no page: reset, context, tombstoned."""
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
        elif self._is_at_newest and (
            self._reported is None or not newest.looks_like(self._reported)
        ):
            self._reported = newest
            frames.append(_context_frame(newest))
        return frames

    def _begin(self, state: LatestState) -> None:
        if self._cursor is None:
            self._cursor = state.version
        elif self._cursor > state.version and not state.is_gone:
            self._reset_to = state.version

    @property
    def _is_at_newest(self) -> bool:
        newest = self._newest
        return newest is not None and self._reset_to is None and self._cursor == newest.version

    def _pass_gap(self, actual: int, frames: list[Frame]) -> None:
        """Move to the version before *actual*, with a gap frame if that skips any."""
        expected = self.cursor + 1
        if expected < actual:
            self._cursor = actual - 1
            frames.append(GapFrame(expected, actual, self._cursor))

    def _pass(self, change: VersionChange, frames: list[Frame]) -> None:
        """Move to *change*, the next version, and add its message and compaction frames."""
        version, before = change.version, self.cursor
        assert version == before + 1
        self._cursor = version
        last = before if self._is_context_due else version
        if (message := change.message) is not None and self.wants_messages:
            cursor = last if change.compaction is None else before
            frames.append(MessageFrame(version, cursor, message.seq, message.body, message.revises))
        if (rewrite := change.compaction) is not None and rewrite.to_version is not None:
            frames.append(RewindFrame(version, last, rewrite.to_version))
        elif rewrite is not None:
            frames.append(
                CompactionFrame(
                    version=version,
                    cursor=last,
                    strategy=rewrite.strategy,
                    from_seq=rewrite.from_seq,
                    to_seq=rewrite.to_seq,
                    tokens_before=rewrite.tokens_before,
                    tokens_after=rewrite.tokens_after,
                )
            )

    @property
    def _is_context_due(self) -> bool:
        """Whether a context frame ends the version at the cursor."""
        return self._newest is not None and self._is_at_newest and not self._newest.is_tombstoned


def _is_newer(state: LatestState, known: LatestState) -> bool:
    if known.is_gone or state.is_gone:
        return not known.is_gone
    # A later commit never has a lower version; a state that does is from a different history.
    return state.revision > known.revision and state.version >= known.version


def _context_frame(state: LatestState) -> ContextFrame:
    return ContextFrame(
        version=state.version,
        cursor=state.version,
        needs_compaction=state.needs_compaction,
        used_tokens=state.used_tokens,
        token_budget=state.token_budget,
    )
