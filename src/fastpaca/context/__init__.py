"""
What an operation does to a conversation. Pure: no I/O, no clock, no randomness, no `async`.

Theory of operation
-------------------

A conversation is a **context**. It owns two things. The **message log** is every message ever
appended, immutable, in `seq` order: 1, 2, 3, no holes. The **window** is what a model is sent, an
ordered list of entries: references to the log, and synthetic messages.

`ContextState` (`context.py`) is a value. `ContextState.apply(op, now)` returns the next value and
the events that a store must write, or raises and has done nothing. Times, ids and token counts are
arguments.

An **append** adds an entry to the end of the log and of the window. If the window's tokens are then
strictly above the **trigger**, the **policy** (`policies.py`) makes it smaller, within the version
of that append. A **compact** call replaces the window with exactly what the caller sends. Nothing
ever changes the log.

A **read** fits the window to a budget (`fit.py`) and stores nothing. On request, `explain.py` works
out from the stored windows what became of each message.

Tool calls and their results are recognised in the shapes of all providers (`fastpaca.shapes`).
`pairing.py` decides which result belongs to which call, `groups.py` what belongs together, and a
cut (`cuts.py`) never separates that. Instructions at the beginning are never cut (`pinned.py`).
Parts that are taken out of a message are named by their places (`stripping.py`, `removal.py`).

Everything is kept and served as the JSON text that arrived (`draft.py`, `jsontext.py`), so values
come back as they were sent. The stored form of a window is tiny (`persisted.py`), and rebuilding
the window from it and the log produces the same bytes. This is also why the tokens of a message are
counted only once, when it arrives.
"""

from fastpaca.context.config import Config, LastN, Manual, Policy, SkipParts
from fastpaca.context.context import ContextState, Status, WindowView, create

__all__ = [
    "Config",
    "ContextState",
    "LastN",
    "Manual",
    "Policy",
    "SkipParts",
    "Status",
    "WindowView",
    "create",
]
