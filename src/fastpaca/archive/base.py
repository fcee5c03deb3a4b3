"""The port of an archive: what a node needs from the second copy of its logs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from fastpaca.ranges import Range
from fastpaca.store.base import MessageRow, PageBounds


class ArchiveFailed(Exception):
    """The archive could not do it now; a retry may succeed."""


class ArchiveRefused(ArchiveFailed):
    """The archive can't be used; the message is a sentence for the operator."""


class LogRow(NamedTuple):
    """A message, and the context of its log."""

    context_id: str
    row: MessageRow


class Inserted(NamedTuple):
    """
    What became of rows to insert.

    Attributes:
        rows: How many were new.
        bytes: The bytes of messages in them.
        conflicts: For each context, the first seq under which the archive has a different message.
            If there are any, nothing was inserted.
    """

    rows: int
    bytes: int
    conflicts: dict[str, int]


class Archive(Protocol):
    """
    A copy of message logs. Methods may be called concurrently, from one event loop.

    All of them raise `ArchiveFailed`; only what they return is certain.
    """

    @property
    def name(self) -> str:
        """Its name in the start banner, without a password."""

    async def open(self) -> bytes:
        """
        Connect, and return random bytes that identify this archive.

        Later calls refer to the archive with this identity, and fail at any other. May be called
        again after a failure.

        Raises:
            ArchiveRefused: It can't be used.
        """

    async def insert(self, rows: Sequence[LogRow]) -> Inserted:
        """Add those of *rows* that don't exist yet, in one durable transaction."""

    async def messages(
        self,
        context_id: str,
        ranges: Sequence[Range],
        bounds: PageBounds | None = None,
        *,
        newest_first: bool = False,
        with_bodies: bool = True,
    ) -> list[MessageRow]:
        """
        Read the messages in *ranges* of a log, range by range, each oldest or newest first.

        With *bounds*, ends early after so many messages, or after the one with which the sum of
        bodies exceeds the bytes. Without bodies, bodies and counts are empty.
        """

    async def erase(self, context_ids: Sequence[str]) -> None:
        """Delete these contexts; no earlier insert takes effect afterwards."""

    async def close(self) -> None:
        """Close the connections. May be called on an archive that never opened."""
