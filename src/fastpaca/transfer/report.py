"""How a long transfer reports its progress."""

from __future__ import annotations

from typing import Protocol


class Report(Protocol):
    """Takes the progress since the last report."""

    def __call__(self, contexts: int, messages: int, size_bytes: int, /) -> None:
        """Add so many contexts, messages, and bytes of the file."""
