"""
What callers are told when a store fails.

What the store says itself goes to the log: it may name servers that callers have no business with.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from fastpaca.errors import Unavailable
from fastpaca.store.base import CommitFailed, ReadFailed

logger = logging.getLogger(__name__)


@contextmanager
def reading() -> Iterator[None]:
    """
    Tell the caller if the store cannot be read.

    Raises:
        Unavailable: It cannot.
    """
    try:
        yield
    except ReadFailed as error:
        raise unreadable(error) from error


def unreadable(error: ReadFailed) -> Unavailable:
    """Log why the store cannot be read, and return what the caller is told."""
    logger.error("the store could not be read: %s", error)
    return Unavailable(error.told or "The store cannot be read now; try again.")


def uncommitted(error: CommitFailed) -> Unavailable:
    """Log why a commit failed, and return what the callers are told."""
    logger.error("a commit failed, nothing was changed: %s", error)
    return Unavailable()


def lost() -> Unavailable:
    """Return what callers are told once the store has failed permanently."""
    return Unavailable("The store has failed, and this node accepts no more writes.")
