"""
Operations: what a caller wants to do to one context. Each has everything that the decision needs,
such as token counts; `ContextState.apply` takes the time as an argument.
"""

from __future__ import annotations

import msgspec

from fastpaca.context.config import Config, Policy
from fastpaca.context.draft import Draft
from fastpaca.context.message import Counts, Entry
from fastpaca.context.persisted import Persisted, Stored
from fastpaca.context.usage import Usage
from fastpaca.context.window import Window


class Put(msgspec.Struct, frozen=True, gc=False):
    """Create the context, or change its configuration; None keeps a value."""

    token_budget: int | None = None
    trigger_ratio: float | None = None
    policy: Policy | None = None
    metadata: bytes | None = None
    token_factor: float | None = None


class PatchMetadata(msgspec.Struct, frozen=True, gc=False):
    """Merge *changes* into the metadata: JSON text by key; None removes the key."""

    changes: dict[str, bytes | None]


class Delete(msgspec.Struct, frozen=True, gc=False):
    """Tombstone the context: it stays readable and is never written again."""


class Purge(msgspec.Struct, frozen=True, gc=False):
    """Erase the content of the context; its id is never used again."""


class Counted(msgspec.Struct, frozen=True, gc=False):
    """A message to append or to put into the window, with its token counts."""

    draft: Draft
    counts: Counts


class Append(msgspec.Struct, frozen=True, gc=False):
    """
    Append *messages* in order, all or none, if *if_version* is None or the current version.

    *usage* is what the call cost that gave the last message.
    """

    messages: tuple[Counted, ...]
    if_version: int | None = None
    usage: Usage | None = None


class PutMessage(msgspec.Struct, frozen=True, gc=False):
    """
    Make *message* the message of its id: append it, or let it revise *current*.

    Nothing changes if both are equal. *current* is the entry of the newest message of the id on the
    path, as it was appended; None if there is none. *usage* is what the call cost that gave it.
    """

    message: Counted
    current: Entry | None = None
    if_version: int | None = None
    usage: Usage | None = None


class Rewind(msgspec.Struct, frozen=True, gc=False):
    """
    Let path and window become what they were after a version.

    Attributes:
        target: The version that the caller names, or the place after which everything leaves.
        is_place: Whether *target* is a place.
        if_version: The version that this relies on, or None.
        past: The context as it was after the version that *target* stands for; None if that is the
            current one, or there is none.
        fault: Why there is none, as a sentence; empty if that is unknown.
    """

    target: int
    is_place: bool = False
    if_version: int | None = None
    past: Past | None = None
    fault: str = ""


class Past(msgspec.Struct, frozen=True, gc=False):
    """
    What a context was after a version.

    Attributes:
        version: The version.
        last_seq: The last seq of its log.
        window: Its window, and its path.
    """

    version: int
    last_seq: int
    window: Window


class BeginFork(msgspec.Struct, frozen=True, gc=False):
    """
    Create a context that is forming: a fork of *forked_from*, which has none of its messages yet.

    *forked_from* is the id of the source and the version whose path is copied.
    """

    config: Config
    metadata: bytes
    forked_from: tuple[str, int]


class Copied(msgspec.Struct, frozen=True, gc=False):
    """
    A message of another log, as it is stored: its text, its counts as from `encode_counts`, how it
    came, the id by which it is found, and when it was appended, in microseconds since 1970, UTC.
    """

    body: bytes
    counts: bytes
    origin: str
    message_id: str
    at_us: int


class CopyMessages(msgspec.Struct, frozen=True, gc=False):
    """
    Append *messages* to a context that is forming, and let it become active if they are the last.

    Attributes:
        messages: The messages.
        after_seq: The last seq before them.
        created_at_us: When the context was created, which shows that the fork is still the same.
        ends: Whether they are the last.
        window: With the last of them, the window in its stored form; None if it is the whole path.
        tokens: The tokens of that window.
        replacement: The synthetic messages of that window.
    """

    messages: tuple[Copied, ...]
    after_seq: int
    created_at_us: int
    ends: bool = False
    window: Persisted | None = None
    tokens: int = 0
    replacement: tuple[Stored, ...] = ()


class TakeOver(msgspec.Struct, frozen=True, gc=False):
    """
    Take over a context that is forming, to erase it.

    The node that forms it knows when it was created; others may take over what is abandoned.
    """

    created_at_us: int | None = None


class Compact(msgspec.Struct, frozen=True, gc=False):
    """
    Replace the window with exactly *replacement*: references to the log and synthetic messages.

    A reference is the entry of a message on the path, as it was appended. References ascend by
    place.
    """

    replacement: tuple[Entry | Counted, ...]
    if_version: int | None = None


Op = (
    Put
    | PatchMetadata
    | Delete
    | Purge
    | Append
    | PutMessage
    | Rewind
    | BeginFork
    | CopyMessages
    | TakeOver
    | Compact
)
