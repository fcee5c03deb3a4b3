"""
What calls return: values with typed fields.

Fields that this release does not know are ignored, so a newer node can be spoken to. Messages alone
keep everything: what is in them belongs to the caller.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar, Literal

import msgspec


class Message(dict[str, Any]):
    """
    A message as a node answers it: the JSON object itself, with names for what every message has.

    Keys of the caller's own are in it as they were sent, and it can be given back, to `compact` or
    to another context.
    """

    __slots__ = ()

    @property
    def seq(self) -> int | None:
        """Its position in the log; None for a synthetic message, such as a summary."""
        return self["seq"]  # type: ignore[no-any-return]  # a node has made it

    @property
    def version(self) -> int:
        """The version of the context that it came with."""
        return self["version"]  # type: ignore[no-any-return]  # a node has made it

    @property
    def role(self) -> str:
        """Who speaks."""
        return self["role"]  # type: ignore[no-any-return]  # a node has checked it

    @property
    def parts(self) -> list[dict[str, Any]]:
        """What is said."""
        return self["parts"]  # type: ignore[no-any-return]  # a node has checked it

    @property
    def token_count(self) -> int:
        """What it counts."""
        return self["token_count"]  # type: ignore[no-any-return]  # a node has made it

    @property
    def metadata(self) -> dict[str, Any]:
        """The caller's own; empty if it had none."""
        return self["metadata"]  # type: ignore[no-any-return]  # a node has checked it

    @property
    def id(self) -> Any:
        """The caller's own id; None if it had none."""
        return self.get("id")

    @property
    def inserted_at(self) -> datetime:
        """When it was appended, or made."""
        return datetime.fromisoformat(self["inserted_at"])


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """How a window that has grown too large is made smaller."""

    strategy: str
    config: dict[str, Any]


class ContextInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A context as it is configured, and how far it has come."""

    id: str
    status: str
    token_budget: int
    trigger_ratio: float
    token_factor: float
    policy: Policy
    metadata: dict[str, Any]
    version: int
    last_seq: int
    created_at: datetime
    updated_at: datetime


class AppendWarning(msgspec.Struct, frozen=True, kw_only=True):
    """
    Something odd about a message that was taken all the same.

    Attributes:
        code: `unpaired_result`, `empty_call_id` or `unknown_shape`.
        field: Where it is in the request, such as `message.parts[0]`.
    """

    code: str
    field: str


class Appended(msgspec.Struct, frozen=True, kw_only=True):
    """Where an appended message stands, what it counts, and what is odd about it."""

    seq: int
    version: int
    token_estimate: int
    warnings: list[AppendWarning] = []


class Compacted(msgspec.Struct, frozen=True, kw_only=True):
    """The version that a replacement of the window has made."""

    version: int


class Segment(msgspec.Struct, frozen=True, kw_only=True):
    """A run of messages of one kind in an LLM context."""

    type: Literal["live", "summary"] | str
    from_seq: int
    to_seq: int


class Explained(msgspec.Struct, frozen=True, kw_only=True):
    """
    What became of the messages of a range.

    Attributes:
        from_seq: The first of them.
        to_seq: The last of them.
        state: `pinned`, `task`, `kept`, `stripped`, `cut`, `dropped` or `summarised`; `older` for
            all that is older than what is told one by one.
        by: The version whose rewrite did it, or `view`; None where nothing was done.
    """

    from_seq: int
    to_seq: int
    state: str
    by: int | str | None


class View(msgspec.Struct, frozen=True, kw_only=True):
    """
    What one read of the LLM context returns; `messages` are ready for a model.

    `explained` is there if it was asked for.
    """

    version: int
    messages: list[Message]
    used_tokens: int
    needs_compaction: bool
    segments: list[Segment]
    token_budget: int
    window_tokens: int
    fit: str
    explained: list[Explained] | None = None


class Range(msgspec.Struct, frozen=True, kw_only=True):
    """The first and the last seq of what was changed."""

    from_seq: int
    to_seq: int


class Compaction(msgspec.Struct, frozen=True, kw_only=True):
    """A rewrite of the window, by a policy or by `compact`."""

    version: int
    strategy: str
    range: Range | None
    used_tokens_before: int
    used_tokens_after: int
    segments: list[Segment]
    at: datetime


# --- frames of a stream ---------------------------------------------------------------------------


class MessageFrame(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="message"):
    """A message was appended."""

    type: ClassVar[Literal["message"]] = "message"
    version: int
    seq: int
    cursor: int
    message: Message


class CompactionFrame(
    msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="compaction"
):
    """The window was rewritten."""

    type: ClassVar[Literal["compaction"]] = "compaction"
    version: int
    cursor: int
    range: Range | None
    strategy: str
    used_tokens_before: int
    used_tokens_after: int


class ContextFrame(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="context"):
    """How full the window is now."""

    type: ClassVar[Literal["context"]] = "context"
    version: int
    cursor: int
    needs_compaction: bool
    used_tokens: int
    token_budget: int


class TombstonedFrame(
    msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="tombstoned"
):
    """The context was deleted; nothing comes behind it."""

    type: ClassVar[Literal["tombstoned"]] = "tombstoned"
    version: int
    cursor: int


class GapFrame(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="gap"):
    """The versions from `expected` up to the one before `actual` are gone for ever."""

    type: ClassVar[Literal["gap"]] = "gap"
    expected: int
    actual: int
    cursor: int


class ResetFrame(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="reset"):
    """The cursor was above the newest version: discard what was read, and read again."""

    type: ClassVar[Literal["reset"]] = "reset"
    version: int
    cursor: int


Frame = MessageFrame | CompactionFrame | ContextFrame | TombstonedFrame | GapFrame | ResetFrame
