"""Events: what an op did to one context. A commit writes exactly these."""

from __future__ import annotations

import msgspec

from fastpaca.context.draft import Draft
from fastpaca.context.message import Entry
from fastpaca.context.oddities import Oddity
from fastpaca.context.ops import Copied
from fastpaca.context.persisted import Persisted, Stored
from fastpaca.context.usage import Usage


class Created(msgspec.Struct, frozen=True, gc=False):
    """The context was created."""


class Configured(msgspec.Struct, frozen=True, gc=False):
    """Its token budget, trigger ratio or policy changed."""


class MetadataChanged(msgspec.Struct, frozen=True, gc=False):
    """Its metadata changed."""


class ContextTombstoned(msgspec.Struct, frozen=True, gc=False):
    """It was deleted for writing."""


class ContextPurged(msgspec.Struct, frozen=True, gc=False):
    """Its content was erased."""


class Appended(msgspec.Struct, frozen=True, gc=False):
    """
    A message was appended, perhaps as a revision of another (`Entry.revises`).

    Attributes:
        entry: The message in the log.
        draft: The message as the caller sent it.
        at_us: When, in microseconds since 1970, UTC.
        oddities: What is odd about it.
        usage: What the call cost that gave it, if that was reported.
    """

    entry: Entry
    draft: Draft
    at_us: int
    oddities: tuple[Oddity, ...] = ()
    usage: Usage | None = None


class CopiedMessage(msgspec.Struct, frozen=True, gc=False):
    """A message was copied from another log; *at_us* never falls along the log."""

    seq: int
    message: Copied
    at_us: int


class Activated(msgspec.Struct, frozen=True, gc=False):
    """A context that was forming can be used."""


class TakenOver(msgspec.Struct, frozen=True, gc=False):
    """A context that is forming was taken over, to be erased."""


class Compacted(msgspec.Struct, frozen=True, gc=False):
    """
    The window was rewritten: by a compact call (`manual`), a policy, or a rewind.

    Attributes:
        version: Its version; for a trim, that of the append that caused it.
        strategy: The strategy that did it; see `config.REWRITES`.
        from_seq: The first place whose message in the window changed; None if none did.
        to_seq: The last such place.
        tokens_before: The tokens of the window before.
        tokens_after: The tokens of the window after.
        window: The stored form of the new window.
        replacement: The synthetic messages of the call.
        at_us: When, in microseconds since 1970, UTC.
    """

    version: int
    strategy: str
    from_seq: int | None
    to_seq: int | None
    tokens_before: int
    tokens_after: int
    window: Persisted
    replacement: tuple[Stored, ...]
    at_us: int

    @property
    def to_version(self) -> int | None:
        """The version that a rewind went back to."""
        return self.window.to_version


Event = (
    Created
    | Configured
    | MetadataChanged
    | ContextTombstoned
    | ContextPurged
    | Appended
    | CopiedMessage
    | Activated
    | TakenOver
    | Compacted
)
