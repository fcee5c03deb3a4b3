"""
The errors that callers get when a store fails.

The store's own message goes to the log, because it may name servers.
"""

from __future__ import annotations

import logging
from types import TracebackType
from typing import Final

from fastpaca.errors import Unavailable
from fastpaca.store.base import CommitFailed, ReadFailed

logger = logging.getLogger(__name__)


class _Reading:
    """
    Translates a failed read of the store, for a block.

    A class and not a generator, because every read of a shared store passes here.

    Raises:
        Unavailable: The store can't be read.
    """

    __slots__ = ()

    def __enter__(self) -> None:
        """Begin the block."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Raise the error for the caller, if the block ended in a failed read."""
        if isinstance(error, ReadFailed):
            raise unreadable(error) from error


READING: Final = _Reading()
"""Stands around reads: `with READING: …`."""


def unreadable(error: ReadFailed) -> Unavailable:
    """Log why the store can't be read, and return the error for the caller."""
    logger.error("the store could not be read: %s", error)
    return Unavailable(error.told or "The store cannot be read now; try again.")


def uncommitted(error: CommitFailed) -> Unavailable:
    """Log why a commit failed, and return the error for the callers."""
    logger.error("a commit failed, nothing was changed: %s", error)
    return Unavailable()


def lost() -> Unavailable:
    """Return the error for callers after the store has failed permanently."""
    return Unavailable("The store has failed, and this node accepts no more writes.")
