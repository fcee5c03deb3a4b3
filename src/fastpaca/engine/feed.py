"""Between the engine and the stream: commits and stored rows, as changes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from fastpaca.context import ContextState
from fastpaca.context.config import REWIND
from fastpaca.context.events import Appended, Compacted, Event
from fastpaca.context.message import decode_counts, render
from fastpaca.context.persisted import Persisted
from fastpaca.store.base import ChangesPage, CompactionRow, Diff, MessageRow
from fastpaca.stream.hub import Hub
from fastpaca.stream.subscription import AppendedMessage, Page, VersionChange, WindowRewrite

logger = logging.getLogger(__name__)

MakeChanges = Callable[[], list[VersionChange]]
"""Returns the changes of a context, for its followers."""


def notify(hub: Hub, context: ContextState, make_changes: MakeChanges) -> None:
    """Notify the followers of *context* of a commit, here or at another node."""
    if context.id not in hub.channels:
        return
    try:
        hub.publish(context, make_changes())
    except Exception:  # a defect there must not affect the commit
        logger.exception("followers could not be notified of a commit")
        hub.ring(context.id)


def changes_of(events: Iterable[Event]) -> list[VersionChange]:
    """Return the events of a commit as changes."""
    changes: list[VersionChange] = []
    for event in events:
        if isinstance(event, Appended):
            entry = event.entry
            assert entry.seq is not None
            changes.append(
                VersionChange(
                    entry.version, AppendedMessage(entry.seq, entry.body, entry.revises), None
                )
            )
        elif isinstance(event, Compacted):
            message = None
            if changes and changes[-1].version == event.version:  # the append that caused it
                message = changes.pop().message
            changes.append(VersionChange(event.version, message, _compaction(event)))
    return changes


def changes_since(context: ContextState, diff: Diff) -> list[VersionChange]:
    """
    Return the changes since *context*, if *diff* holds all of them.

    It doesn't if the window was rewritten or rows are missing. Then the list is empty, and
    followers read the changes from the store.
    """
    if diff.window is not None or len(diff.messages) != diff.row.version - context.version:
        return []
    return [VersionChange(row.version, _message(row), None) for row in diff.messages]


def page_of(after: int, rows: ChangesPage) -> Page:
    """Return *rows*, which were read after the version *after*, as a page of changes."""
    messages = {row.version: _message(row) for row in rows.messages}
    compactions = {row.version: _compaction(row) for row in rows.compactions}
    changes = [
        VersionChange(version, messages.get(version), compactions.get(version))
        for version in sorted(messages.keys() | compactions.keys())
    ]
    return Page(after, changes, rows.through)


def _message(row: MessageRow) -> AppendedMessage:
    if not row.body:  # it was not read; no stored body is empty
        return AppendedMessage(row.seq, b"", row.revises)
    tokens = decode_counts(row.counts).total
    text = render(row.body, row.seq, row.version, tokens, row.at_us, row.revises)
    return AppendedMessage(row.seq, text, row.revises)


def _compaction(done: CompactionRow | Compacted) -> WindowRewrite:
    to_version = None
    if done.strategy == REWIND:
        window = done.window
        stored = Persisted.decode(window) if isinstance(window, bytes) else window
        to_version = stored.to_version
    return WindowRewrite(
        done.strategy,
        done.from_seq,
        done.to_seq,
        done.tokens_before,
        done.tokens_after,
        to_version,
    )
