"""The port of an archive: what a node asks of the second copy of its logs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from fastpaca.ranges import Range
from fastpaca.store.base import MessageRow


class ArchiveFailed(Exception):
    """It could not be done now; trying again may help."""


class ArchiveRefused(ArchiveFailed):
    """It is not an archive that can be used; the message is a sentence for the operator."""


class LogRow(NamedTuple):
    """A message, and whose log it belongs to."""

    context_id: str
    row: MessageRow


class Inserted(NamedTuple):
    """
    What became of rows that were to be inserted.

    Attributes:
        rows: How many were not there before.
        bytes: Of how many bytes of messages.
        conflicts: The first seq of each context under which the archive has something else. If
            there are any, nothing was inserted.
    """

    rows: int
    bytes: int
    conflicts: dict[str, int]


class Archive(Protocol):
    """
    A copy of message logs. Methods may be called concurrently, from one event loop.

    All of them raise `ArchiveFailed`; nothing is trusted but what they return.
    """

    @property
    def name(self) -> str:
        """What the start banner calls it; shows no password."""

    async def open(self) -> bytes:
        """
        Get ready, and give random bytes that tell this archive from all others.

        What is called later refers to the archive that these bytes name, and fails at any other.
        May be called again after a failure.

        Raises:
            ArchiveRefused: It is not one that can be used.
        """

    async def insert(self, rows: Sequence[LogRow]) -> Inserted:
        """Add *rows* in one durable transaction, but for those that are there already."""

    async def messages(
        self,
        context_id: str,
        ranges: Sequence[Range],
        limit: int | None,
        bytes_max: int | None,
        *,
        newest_first: bool = False,
        with_bodies: bool = True,
    ) -> list[MessageRow]:
        """
        Read what there is in *ranges* of a log, in the order of seqs or, if asked for, against it.

        Ends early after *limit* messages, or with the one whose body takes the sum above
        *bytes_max*, which is there too. Without bodies, these and the counts are empty.
        """

    async def erase(self, context_ids: Sequence[str]) -> None:
        """Delete all of these contexts; nothing that was inserted before comes up after it."""

    async def close(self) -> None:
        """Close the connections. May be called on an archive that never opened."""
