"""
What an operation does to a conversation. Pure: no I/O, no clock, no randomness, no `async`.

Theory of operation
-------------------

A conversation is a **context**. It owns two things and never confuses them. The **message log** is
every message ever appended, immutable, in `seq` order: 1, 2, 3, no holes. The **window** is the
part of the log, or a rewrite of it, that is sent to a model, as an ordered list of entries:
references to the log, and synthetic messages.

`ContextState` (`context.py`) is a value. `ContextState.apply(op, now)` returns the next value and
the events that a store must write, or raises and has done nothing. Times, ids and token counts are
arguments.

An **append** puts an entry at the end of the log and of the window. If the window's tokens are then
strictly above the **trigger**, the **policy** (`policies.py`) makes it smaller, within the version
of that append. A **compact** call makes the window exactly what the caller gives. Nothing ever
touches the log.

A **read** fits the window to a budget (`fit.py`) and stores nothing. What became of each message in
it is worked out from the stored windows when somebody asks (`explain.py`).

Calls of tools and their results are recognised in the shapes of all providers
(`fastpaca.shapes`). Which result belongs to which call (`pairing.py`) says what belongs together,
and a cut never separates that (`groups.py`, `cuts.py`). Instructions at the beginning are never cut
(`pinned.py`). What is taken out of a message is named by its place (`stripping.py`, `removal.py`).

Everything is kept and served as the JSON text it came in (`jsontext.py`, `message.py`), so that
values come back as they were sent. What is stored of a window is tiny, and rebuilding it from that
and the log gives the same bytes (`window.py`). For the same reason token counts are decided once,
when a message comes in.
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
