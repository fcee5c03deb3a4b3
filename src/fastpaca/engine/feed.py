"""Between the engine and the stream: what was committed, and what is stored, as changes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from fastpaca.context import Context
from fastpaca.context.events import Appended, Compacted, Event
from fastpaca.context.message import decode_counts, render
from fastpaca.store.base import ChangesPage, CompactionRow, Delta, MessageRow
from fastpaca.stream.hub import Hub
from fastpaca.stream.subscription import AppendedMessage, Page, VersionChange, WindowRewrite

logger = logging.getLogger(__name__)

News = Callable[[], list[VersionChange]]
"""Makes the changes that those who follow a context are told of."""


def tell(hub: Hub, context: Context, news: News) -> None:
    """Tell those who follow *context* what has become of it, here or at another node."""
    if context.id not in hub.channels:
        return
    try:
        hub.publish(context, news())
    except Exception:  # no defect there may touch a commit
        logger.exception("followers could not be notified of a commit")
        hub.ring(context.id)


def changes_of(events: Iterable[Event]) -> list[VersionChange]:
    """Make changes of what ops have just done to a context."""
    changes: list[VersionChange] = []
    for event in events:
        if isinstance(event, Appended):
            entry = event.entry
            assert entry.seq is not None
            changes.append(
                VersionChange(entry.version, AppendedMessage(entry.seq, entry.body), None)
            )
        elif isinstance(event, Compacted):
            compaction = WindowRewrite(
                event.strategy,
                event.from_seq,
                event.to_seq,
                event.tokens_before,
                event.tokens_after,
            )
            message = None
            if changes and changes[-1].version == event.version:  # the append that caused it
                message = changes.pop().message
            changes.append(VersionChange(event.version, message, compaction))
    return changes


def changes_since(context: Context, delta: Delta) -> list[VersionChange]:
    """
    Make changes of what others have done to *context*, as far as *delta* tells.

    If its window was rewritten, or rows are missing, that is not everything: there are none then,
    and whoever wants them reads them from the store.
    """
    if delta.window is not None or len(delta.messages) != delta.row.version - context.version:
        return []
    return [VersionChange(row.version, _message(row), None) for row in delta.messages]


def page_of(after: int, found: ChangesPage) -> Page:
    """Make a page of the rows that were read after the version *after*."""
    messages = {row.version: _message(row) for row in found.messages}
    compactions = {row.version: _compaction(row) for row in found.compactions}
    changes = [
        VersionChange(version, messages.get(version), compactions.get(version))
        for version in sorted(messages.keys() | compactions.keys())
    ]
    return Page(after, changes, found.through)


def _message(row: MessageRow) -> AppendedMessage:
    if not row.body:  # it was not asked for; no stored one is empty
        return AppendedMessage(row.seq, b"")
    tokens = decode_counts(row.counts).total
    return AppendedMessage(row.seq, render(row.body, row.seq, row.version, tokens, row.at_us))


def _compaction(row: CompactionRow) -> WindowRewrite:
    return WindowRewrite(
        row.strategy, row.from_seq, row.to_seq, row.tokens_before, row.tokens_after
    )
