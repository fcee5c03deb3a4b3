"""The cache of hot contexts: an LRU cache of committed states, bounded in bytes."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from fastpaca.context import ContextState

CONTEXT_BYTES: Final = 800
"""The estimated size of a context without its entries, its id and its metadata."""

CUT_CALL_BYTES: Final = 250
"""The estimated size of a remembered cut call."""

GROUPED_ENTRY_BYTES: Final = 400
"""The estimated size of an entry's groups, once those of its window have been read."""

GROUPED_CALL_BYTES: Final = 430
"""The same for a call, or a result."""


class ContextCache:
    """
    Committed states by context id, in at most about *bytes_max* bytes.

    A context that writes wait for is pinned: it stays even above the bound. The state of a context
    that another node has changed is stale: it is no longer returned, but kept so that it can be
    updated.

    Attributes:
        bytes: The estimated size of all states.
        tokens: The tokens of all windows.
    """

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._states: OrderedDict[str, tuple[ContextState, int]] = OrderedDict()
        self._pins: dict[str, int] = {}
        self._stale: set[str] = set()
        self.bytes = 0
        self.tokens = 0

    def __len__(self) -> int:
        return len(self._states)

    def __contains__(self, context_id: str) -> bool:
        return context_id in self._states and context_id not in self._stale

    def get(self, context_id: str) -> ContextState | None:
        """Return the state of a context and record its use; None if it is not in memory."""
        state = self._states.get(context_id)
        if state is None or context_id in self._stale:
            return None
        self._states.move_to_end(context_id)
        return state[0]

    def put(self, context: ContextState) -> None:
        """Keep *context* instead of an older state of it; a newer one stays."""
        present = self._states.get(context.id)
        if present is not None and context.id in self and present[0].revision > context.revision:
            return
        self._remove(context.id)
        size = _size(context)
        self._states[context.id] = (context, size)
        self.bytes += size
        self.tokens += context.window.tokens
        if self.bytes > self._bytes_max:
            self._shrink()

    def mark_stale(self, context_id: str) -> None:
        """Mark the state of a context as out of date, until the next `put`."""
        if context_id in self._states:
            self._stale.add(context_id)

    def earlier(self, context_id: str) -> ContextState | None:
        """Return the state of a context, stale or not; None if there is none in memory."""
        state = self._states.get(context_id)
        return None if state is None else state[0]

    def drop(self, context_id: str) -> None:
        """Remove the state of a context."""
        self._remove(context_id)

    def pin(self, context_id: str) -> None:
        """Keep the state of a context in memory until `unpin` has been called as often."""
        self._pins[context_id] = self._pins.get(context_id, 0) + 1

    def unpin(self, context_id: str) -> bool:
        """Undo one `pin`, and return whether it was the last."""
        left = self._pins[context_id] - 1
        if left:
            self._pins[context_id] = left
            return False
        del self._pins[context_id]
        if self.bytes > self._bytes_max:
            self._shrink()
        return True

    def _remove(self, context_id: str) -> None:
        self._stale.discard(context_id)
        state = self._states.pop(context_id, None)
        if state is not None:
            self.bytes -= state[1]
            self.tokens -= state[0].window.tokens

    def _shrink(self) -> None:
        """Evict the least recently used; pinned ones move to the end, so each is seen once."""
        for _ in range(len(self._states)):
            if self.bytes <= self._bytes_max:
                return
            context_id = next(iter(self._states))
            if context_id in self._pins:
                self._states.move_to_end(context_id)
            else:
                self._remove(context_id)


def _size(context: ContextState) -> int:
    """
    Estimate the bytes that *context* takes in memory.

    Within a seventh of what CPython 3.11 takes, including what its allocator wastes: measured with
    many small messages, few large ones, many parts, calls and results, and metadata.
    """
    own = CONTEXT_BYTES + len(context.id) + len(context.metadata)
    window = context.window
    if window.groups is not None:
        own += GROUPED_ENTRY_BYTES * window.groups.size
        own += GROUPED_CALL_BYTES * window.groups.pairing.size
    return own + window.weight + CUT_CALL_BYTES * len(window.cut_calls)
