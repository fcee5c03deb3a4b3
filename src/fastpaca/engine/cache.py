"""The cache of hot contexts: committed states, least recently used out first, bounded in bytes."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from fastpaca.context import Context

CONTEXT_BYTES: Final = 800
"""Estimate of what a context takes besides its entries, its id and its metadata."""

CUT_CALL_BYTES: Final = 250
"""Estimate of what a remembered cut call takes."""

GROUPED_ENTRY_BYTES: Final = 400
"""Estimate of what is known of an entry once the groups of its window have been read."""

GROUPED_CALL_BYTES: Final = 430
"""Estimate of what is known of a call, and of its result, then."""


class ContextCache:
    """
    Committed states by context id, in at most about *bytes_max* bytes.

    A context that writes wait for is pinned: it stays, whatever the bound says. A state that
    another node has changed is stale: it is not returned any more, but kept to be brought up to
    date.

    Attributes:
        bytes: About what they take.
        tokens: Those of their windows.
    """

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._states: OrderedDict[str, tuple[Context, int]] = OrderedDict()
        self._pins: dict[str, int] = {}
        self._stale: set[str] = set()
        self.bytes = 0
        self.tokens = 0

    def __len__(self) -> int:
        return len(self._states)

    def __contains__(self, context_id: str) -> bool:
        return context_id in self._states and context_id not in self._stale

    def get(self, context_id: str) -> Context | None:
        """Return the state of a context and note its use; None if it is not in memory."""
        found = self._states.get(context_id)
        if found is None or context_id in self._stale:
            return None
        self._states.move_to_end(context_id)
        return found[0]

    def put(self, context: Context) -> None:
        """Keep *context*, in place of an older state of it; a newer one stays."""
        known = self._states.get(context.id)
        if known is not None and context.id in self and known[0].revision > context.revision:
            return
        self._take_out(context.id)
        size = _size(context)
        self._states[context.id] = (context, size)
        self.bytes += size
        self.tokens += context.window.tokens
        if self.bytes > self._bytes_max:
            self._shrink()

    def mark_stale(self, context_id: str) -> None:
        """Note that the state of a context is out of date, until the next `put`."""
        if context_id in self._states:
            self._stale.add(context_id)

    def earlier(self, context_id: str) -> Context | None:
        """Return a state that a context has now or had before; None if there is none in memory."""
        found = self._states.get(context_id)
        return None if found is None else found[0]

    def drop(self, context_id: str) -> None:
        """Forget the state of a context."""
        self._take_out(context_id)

    def pin(self, context_id: str) -> None:
        """Keep the state of a context in memory until `unpin` is called as often."""
        self._pins[context_id] = self._pins.get(context_id, 0) + 1

    def unpin(self, context_id: str) -> bool:
        """Undo one `pin`; True if it was the last."""
        left = self._pins[context_id] - 1
        if left:
            self._pins[context_id] = left
            return False
        del self._pins[context_id]
        if self.bytes > self._bytes_max:
            self._shrink()
        return True

    def _take_out(self, context_id: str) -> None:
        self._stale.discard(context_id)
        found = self._states.pop(context_id, None)
        if found is not None:
            self.bytes -= found[1]
            self.tokens -= found[0].window.tokens

    def _shrink(self) -> None:
        """Let the least recently used go; the pinned move to the end, so that none is met twice."""
        for _ in range(len(self._states)):
            if self.bytes <= self._bytes_max:
                return
            context_id = next(iter(self._states))
            if context_id in self._pins:
                self._states.move_to_end(context_id)
            else:
                self._take_out(context_id)


def _size(context: Context) -> int:
    """
    Estimate the bytes that *context* takes in memory.

    Measured on CPython 3.11, with memory that the allocator wastes: within a seventh for many small
    messages, few large ones, messages of many parts, calls and results, and metadata.
    """
    own = CONTEXT_BYTES + len(context.id) + len(context.metadata)
    window = context.window
    if window.groups is not None:
        own += GROUPED_ENTRY_BYTES * window.groups.size
        own += GROUPED_CALL_BYTES * window.groups.calls_read
    return own + window.weight + CUT_CALL_BYTES * len(window.cut_calls)
