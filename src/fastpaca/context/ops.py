"""
Operations: what a caller wants done to one context. Each carries all that deciding needs, such as
token counts; `ContextState.apply` takes the time as an argument.
"""

from __future__ import annotations

import msgspec

from fastpaca.context.config import Policy
from fastpaca.context.draft import Draft
from fastpaca.context.message import Counts, Entry


class Put(msgspec.Struct, frozen=True, gc=False):
    """Create the context, or change its configuration; None leaves a value as it is."""

    token_budget: int | None = None
    trigger_ratio: float | None = None
    policy: Policy | None = None
    metadata: bytes | None = None
    token_factor: float | None = None


class PatchMetadata(msgspec.Struct, frozen=True, gc=False):
    """Merge *changes* into the metadata: JSON text by key; None takes the key away."""

    changes: dict[str, bytes | None]


class Delete(msgspec.Struct, frozen=True, gc=False):
    """Tombstone the context: it stays readable and is never written again."""


class Purge(msgspec.Struct, frozen=True, gc=False):
    """Erase the content of the context; its id is never used again."""


class Counted(msgspec.Struct, frozen=True, gc=False):
    """A message on its way in, with what it costs."""

    draft: Draft
    counts: Counts


class Append(msgspec.Struct, frozen=True, gc=False):
    """Append *messages* in order, all or none; *if_version* guards the version before them."""

    messages: tuple[Counted, ...]
    if_version: int | None = None


class Compact(msgspec.Struct, frozen=True, gc=False):
    """
    Make the window exactly the *replacement*: references to the log and synthetic messages.

    A reference is the entry of the log itself, as it was appended; references ascend.
    """

    replacement: tuple[Entry | Counted, ...]
    if_version: int | None = None


Op = Put | PatchMetadata | Delete | Purge | Append | Compact
