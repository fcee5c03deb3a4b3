"""
What calls return: values with typed fields.

Fields that this release doesn't know are ignored, so that it works with newer nodes. Only messages
keep every field, because their content belongs to the caller.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar, Generic, Literal, TypeVar

import msgspec

MessageT = TypeVar("MessageT")
SystemT = TypeVar("SystemT")


class Message(dict[str, Any]):
    """
    A message from a node: the JSON object itself, with properties for what every message has.

    The caller's own keys are in it as they were sent. You can pass it to `compact` or append it to
    another context.
    """

    __slots__ = ()

    @property
    def seq(self) -> int | None:
        """Its position in the log; None for a synthetic message, such as a summary."""
        return self["seq"]  # type: ignore[no-any-return]  # a node has made it

    @property
    def version(self) -> int:
        """The version of the context that its append or compaction made."""
        return self["version"]  # type: ignore[no-any-return]  # a node has made it

    @property
    def role(self) -> str:
        """The role of the speaker."""
        return self["role"]  # type: ignore[no-any-return]  # a node has checked it

    @property
    def parts(self) -> list[dict[str, Any]]:
        """The parts of the content."""
        return self["parts"]  # type: ignore[no-any-return]  # a node has checked it

    @property
    def token_count(self) -> int:
        """The number of tokens that it counts."""
        return self["token_count"]  # type: ignore[no-any-return]  # a node has made it

    @property
    def metadata(self) -> dict[str, Any]:
        """The caller's metadata; empty if there is none."""
        return self["metadata"]  # type: ignore[no-any-return]  # a node has checked it

    @property
    def id(self) -> Any:
        """The caller's id; None if there is none."""
        return self.get("id")

    @property
    def revises(self) -> int | None:
        """The place that it takes; None if it revises no message."""
        return self.get("revises")

    @property
    def inserted_at(self) -> datetime:
        """When it was appended, or for a synthetic message, made."""
        return datetime.fromisoformat(self["inserted_at"])


class Range(msgspec.Struct, frozen=True, kw_only=True):
    """The first and the last seq of a change, or of a piece of the path."""

    from_seq: int
    to_seq: int


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """How to shrink a window that has grown too large."""

    strategy: str
    config: dict[str, Any]


class ContextUsage(msgspec.Struct, frozen=True, kw_only=True):
    """
    What was reported of the model calls of a context.

    Attributes:
        input_tokens: The tokens of all prompts; includes the next two.
        cached_input_tokens: Those that were read from the provider's cache.
        cache_write_tokens: Those that were written to it.
        output_tokens: The tokens of all answers.
        counted_ratio: Counted tokens for each token that the provider billed; None until 20 pairs
            of reports could be compared.
    """

    input_tokens: int
    cached_input_tokens: int
    cache_write_tokens: int
    output_tokens: int
    counted_ratio: float | None


class ForkedFrom(msgspec.Struct, frozen=True, kw_only=True):
    """The source of a fork, and the version of it that the fork began with."""

    id: str
    version: int


class ContextInfo(msgspec.Struct, frozen=True, kw_only=True):
    """
    A context's configuration, version and last seq, and what was reported of its calls.

    `path` has the ranges of seqs that the path lies in; None in lists of contexts. `forked_from` is
    what it is a fork of, if it is one.
    """

    id: str
    status: str
    token_budget: int
    trigger_ratio: float
    token_factor: float
    policy: Policy
    metadata: dict[str, Any]
    version: int
    last_seq: int
    path: list[Range] | None = None
    forked_from: ForkedFrom | None = None
    usage: ContextUsage
    created_at: datetime
    updated_at: datetime


class AppendWarning(msgspec.Struct, frozen=True, kw_only=True):
    """
    Something odd about a message that was appended all the same.

    Attributes:
        code: `unpaired_result`, `empty_call_id` or `unknown_shape`.
        field: Where it is in the request, such as `message.parts[0]`.
    """

    code: str
    field: str


class AppendResult(msgspec.Struct, frozen=True, kw_only=True):
    """
    The seq and version of an appended message, its token count, and what is odd about it.

    Of a message that was put, `revises` is the place that it takes; None if it was appended.
    """

    seq: int
    version: int
    token_estimate: int
    revises: int | None = None
    warnings: list[AppendWarning] = []


class TokenUsage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """
    What a provider billed for one call.

    Attributes:
        input_tokens: Everything that was billed as input, read from a cache or not.
        output_tokens: Everything that was billed as output, reasoning included.
        cached_input_tokens: How many of the input tokens were read from a cache.
        cache_write_tokens: How many of the input tokens were written to a cache.
        model: The model.
    """

    input_tokens: int
    output_tokens: int
    cached_input_tokens: int | None = None
    cache_write_tokens: int | None = None
    model: str | None = None


class CompactResult(msgspec.Struct, frozen=True, kw_only=True):
    """The version that a compaction made."""

    version: int


class RewindResult(msgspec.Struct, frozen=True, kw_only=True):
    """The version that a rewind made; the current one if there was nothing to do."""

    version: int


class Branch(msgspec.Struct, frozen=True, kw_only=True):
    """
    The end of a branch that a rewind left.

    Attributes:
        version: Its last version; `rewind(to_version=branch.version)` goes back to it.
        to_version: Where the rewind that left it went.
        at: When that was.
    """

    version: int
    to_version: int
    at: datetime


class Segment(msgspec.Struct, frozen=True, kw_only=True):
    """A run of messages of one kind in an LLM context."""

    type: Literal["live", "summary"] | str
    from_seq: int
    to_seq: int


class Explained(msgspec.Struct, frozen=True, kw_only=True):
    """
    What happened to a range of messages.

    Attributes:
        from_seq: The first of them.
        to_seq: The last of them.
        state: `pinned`, `task`, `kept`, `stripped`, `cut`, `dropped` or `summarised`; `older` for
            everything before the ranges that are listed.
        by: The version whose rewrite did it, or `view`; None if nothing happened.
    """

    from_seq: int
    to_seq: int
    state: str
    by: int | str | None


class View(msgspec.Struct, frozen=True, kw_only=True):
    """
    What one read of the LLM context returns; `messages` are ready for a model.

    `explained` is None unless the read asked for it.
    """

    version: int
    messages: list[Message]
    used_tokens: int
    needs_compaction: bool
    segments: list[Segment]
    token_budget: int
    window_tokens: int
    fit: str
    stable_messages: int
    explained: list[Explained] | None = None


class Repair(msgspec.Struct, frozen=True):
    """
    What was put right in a list of messages, so that a provider accepts it.

    Attributes:
        code: What was done.
        seq: The message it was made for; None for a summary or the whole list.
        call: The id of the call.
    """

    code: str
    seq: int | None = None
    call: str | None = None


class Loss(msgspec.Struct, frozen=True):
    """What a provider has no form for: a code, and the seq of the message that said more."""

    code: str
    seq: int | None = None


class ProviderView(msgspec.Struct, Generic[MessageT, SystemT], frozen=True, kw_only=True):
    """
    What one read of the LLM context in a format returns.

    Attributes:
        format: The format.
        messages: The provider's messages, oldest first, to be sent as they are.
        system: The instructions, where the provider wants them apart; empty if there are none.
        used_tokens: The tokens of the messages, with what the repairs add at most.
        stable_messages: How many messages at the front the next view will begin with, byte for
            byte, unless the window is rewritten.
        repairs: What was put right, so that the provider accepts it.
        losses: What the provider has no form for.
        explained: None unless the read asked for it.
    """

    version: int
    format: str
    messages: list[MessageT]
    system: SystemT = None  # type: ignore[assignment]  # absent if a format has none of its own
    used_tokens: int
    needs_compaction: bool
    segments: list[Segment]
    token_budget: int
    window_tokens: int
    fit: str
    stable_messages: int
    repairs: list[Repair]
    losses: list[Loss]
    explained: list[Explained] | None = None


class Compaction(msgspec.Struct, frozen=True, kw_only=True):
    """A rewrite of the window, by a policy, `compact` or a rewind, which has a `to_version`."""

    version: int
    strategy: str
    range: Range | None
    used_tokens_before: int
    used_tokens_after: int
    segments: list[Segment]
    at: datetime
    to_version: int | None = None


# --- frames of a stream ---------------------------------------------------------------------------


class MessageFrame(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="message"):
    """A message was appended, or takes the place that `revises` says."""

    type: ClassVar[Literal["message"]] = "message"
    version: int
    seq: int
    cursor: int
    message: Message
    revises: int | None = None


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


class RewindFrame(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="rewind"):
    """The path became what it was after `to_version`."""

    type: ClassVar[Literal["rewind"]] = "rewind"
    version: int
    to_version: int
    cursor: int


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
    """The context was deleted; this is the last frame."""

    type: ClassVar[Literal["tombstoned"]] = "tombstoned"
    version: int
    cursor: int


class GapFrame(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="gap"):
    """The versions from `expected` up to the one before `actual` are lost."""

    type: ClassVar[Literal["gap"]] = "gap"
    expected: int
    actual: int
    cursor: int


class ResetFrame(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="reset"):
    """The cursor was above the newest version: discard what you have read, and read again."""

    type: ClassVar[Literal["reset"]] = "reset"
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
