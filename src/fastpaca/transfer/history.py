"""
What happened to a context, page by page: read from a store as rows, and turned into lines and back.

A page ends between two versions, so after each page the context is in a state that it once had.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from itertools import chain
from operator import attrgetter
from typing import Final, NamedTuple

import msgspec
from msgspec import Raw

from fastpaca.context.draft import parse
from fastpaca.context.persisted import Persisted
from fastpaca.context.usage import Usage, UsageTotals
from fastpaca.engine.rows import forked_from
from fastpaca.store.base import (
    CompactionRow,
    ContextRow,
    IdRow,
    MessageRow,
    PageBounds,
    Store,
    SyntheticRow,
    message_id_hash,
)
from fastpaca.transfer.format import (
    CompactionLine,
    ContextLine,
    HistoryLine,
    MessageLine,
    SyntheticLine,
)

ROW_BYTES: Final = 100
"""What a row is counted as, besides its JSON."""


PAGE: Final = PageBounds(rows=2000, bytes=4 * 1024 * 1024)
"""Where a page ends, which is also how much is in memory at one time."""


class ContextGone(Exception):
    """The context was purged during the read."""


class HistoryBroken(Exception):
    """The store has lost rows; the message says which."""


class HistoryPage(NamedTuple):
    """The rows of a context's versions after *after*, up to and including *through*."""

    after: int
    through: int

    messages: list[MessageRow]
    synthetics: list[SyntheticRow]
    compactions: list[CompactionRow]

    def up_to(self, version: int) -> HistoryPage:
        """Return the part of the page up to and including *version*."""
        return self._part(self.after, min(self.through, version))

    def after_version(self, version: int) -> HistoryPage:
        """Return the part of the page after *version*."""
        return self._part(max(self.after, version), self.through)

    def _part(self, after: int, through: int) -> HistoryPage:
        if (after, through) == (self.after, self.through):
            return self
        return HistoryPage(
            after,
            through,
            [row for row in self.messages if after < row.version <= through],
            [row for row in self.synthetics if after < row.version <= through],
            [row for row in self.compactions if after < row.version <= through],
        )


async def pages(
    store: Store, context_id: str, after: int, through: int, bounds: PageBounds = PAGE
) -> AsyncIterator[HistoryPage]:
    """
    Read what happened to a context after the version *after*, up to and including *through*.

    Raises:
        ContextGone: The context was purged meanwhile.
        HistoryBroken: Rows are missing.
        ReadFailed: The store can't be read.
    """
    while after < through:
        changes = await store.changes(context_id, after, through, bounds)
        versions = {message.version for message in changes.messages}
        versions |= {compaction.version for compaction in changes.compactions}
        if changes.through <= after or len(versions) < changes.through - after:
            await _raise_for_missing(store, context_id, versions, after)
        synthetics: list[SyntheticRow] = []
        for compaction in changes.compactions:
            synthetics += await _replacement(store, context_id, compaction)
        yield HistoryPage(after, changes.through, changes.messages, synthetics, changes.compactions)
        after = changes.through


def joined(pages: Iterable[HistoryPage]) -> HistoryPage:
    """Join consecutive pages, at least one, into one page."""
    first, *others = pages
    for page in others:
        first.messages.extend(page.messages)
        first.synthetics.extend(page.synthetics)
        first.compactions.extend(page.compactions)
        first = first._replace(through=page.through)
    return first


async def _raise_for_missing(store: Store, context_id: str, versions: set[int], after: int) -> None:
    """Raise the reason why rows are missing: the context was purged, or the store lost them."""
    if await row_of(store, context_id) is None:
        raise ContextGone
    missing = after + 1
    while missing in versions:
        missing += 1
    raise HistoryBroken(f"the store has lost version {missing} of the context {context_id!r}")


async def _replacement(
    store: Store, context_id: str, compaction: CompactionRow
) -> list[SyntheticRow]:
    """Read the messages of *compaction*'s replacement, which are all in the window after it."""
    runs = Persisted.decode(compaction.window).runs
    if not any(run.replacement == compaction.version for run in runs):
        return []
    snapshot = await store.load_at(context_id, compaction.version)
    if snapshot is None:
        raise ContextGone
    return [row for row in snapshot.synthetics if row.version == compaction.version]


async def row_of(store: Store, context_id: str) -> ContextRow | None:
    """
    Read the row of a context without its window; None if it doesn't exist or was purged.

    Raises:
        ReadFailed: The store can't be read.
    """
    rows = await store.contexts(context_id, "", 1)  # an id sorts before all longer ids
    return rows[0] if rows and rows[0].id == context_id else None


# --- rows and lines ---


def context_line(row: ContextRow) -> ContextLine:
    """Return the line of a context."""
    return ContextLine(
        id=row.id,
        status="active" if row.status == "active" else "tombstoned",
        token_budget=row.token_budget,
        trigger_ratio=row.trigger_ratio,
        token_factor=row.token_factor,
        policy=Raw(row.policy),
        metadata=Raw(row.metadata),
        version=row.version,
        last_seq=row.last_seq,
        created_at_us=row.created_at_us,
        updated_at_us=row.updated_at_us,
        spoken_at_us=row.spoken_at_us,
        usage=UsageTotals.decode(row.usage),
        forked_from=forked_from(row),
    )


def context_row(line: ContextLine, revision: int, commit_id: bytes) -> ContextRow:
    """Return the row of a context line; *revision* and *commit_id* are the store's own."""
    return ContextRow(
        id=line.id,
        status=line.status,
        token_budget=line.token_budget,
        trigger_ratio=line.trigger_ratio,
        token_factor=line.token_factor,
        policy=bytes(line.policy),
        metadata=bytes(line.metadata),
        version=line.version,
        last_seq=line.last_seq,
        revision=revision,
        commit_id=commit_id,
        created_at_us=line.created_at_us,
        updated_at_us=line.updated_at_us,
        spoken_at_us=line.spoken_at_us,
        usage=line.usage.encode(),
        forked_from=b"" if line.forked_from is None else msgspec.json.encode(line.forked_from),
    )


def lines(page: HistoryPage) -> list[HistoryLine]:
    """Return the lines of a page, version by version, in the order of `format`."""
    # The sort is stable: within a version, a message comes first and the compaction last.
    of_kinds: tuple[Iterable[HistoryLine], ...] = (
        map(_message_line, page.messages),
        map(_synthetic_line, page.synthetics),
        map(_compaction_line, page.compactions),
    )
    return sorted(chain.from_iterable(of_kinds), key=attrgetter("version"))


def _message_line(row: MessageRow) -> MessageLine:
    usage = Usage.decode(row.usage) if row.usage else None
    body = Raw(row.body)
    return MessageLine(
        row.seq, row.version, row.at_us, row.counts, body, row.origin, usage, row.revises
    )


def _synthetic_line(row: SyntheticRow) -> SyntheticLine:
    body = Raw(row.body)
    return SyntheticLine(row.version, row.position, row.at_us, row.counts, body, row.origin)


def _compaction_line(row: CompactionRow) -> CompactionLine:
    return CompactionLine(
        version=row.version,
        strategy=row.strategy,
        from_seq=row.from_seq,
        to_seq=row.to_seq,
        tokens_before=row.tokens_before,
        tokens_after=row.tokens_after,
        at_us=row.at_us,
        window=Raw(row.window),
    )


class PageBuilder:
    """Collects lines into pages as large as those of a store; a page holds whole versions."""

    def __init__(self, bounds: PageBounds = PAGE) -> None:
        self._bounds = bounds
        self._begin(0)

    def _begin(self, version: int) -> None:
        self._page = HistoryPage(version, version, [], [], [])
        self._size_bytes = 0
        self._version = version

    def is_full_before(self, line: HistoryLine) -> bool:
        """Return whether to end the page before *line*, which begins another version."""
        if line.version == self._version:
            return False
        versions = self._version - self._page.after
        if versions >= self._bounds.rows:
            return True
        return versions > 0 and self._size_bytes >= self._bounds.bytes

    def add(self, line: HistoryLine) -> None:
        """Add the next line to the page."""
        page = self._page
        if isinstance(line, MessageLine):
            page.messages.append(message_row(line))
        elif isinstance(line, SyntheticLine):
            page.synthetics.append(synthetic_row(line))
        else:
            page.compactions.append(_compaction_row(line))
        json = line.window if isinstance(line, CompactionLine) else line.body
        self._size_bytes += len(memoryview(json)) + ROW_BYTES
        self._version = line.version

    def take(self) -> HistoryPage:
        """Return the page, and begin the next one."""
        page = self._page._replace(through=self._version)
        self._begin(self._version)
        return page


def message_row(line: MessageLine) -> MessageRow:
    """Return the row of a message of the log."""
    body = bytes(line.body)
    usage = b"" if line.usage is None else line.usage.encode()
    return MessageRow(
        line.seq, line.version, body, line.counts, line.at_us, line.origin, usage, line.revises
    )


def id_rows(messages: Iterable[MessageRow]) -> list[IdRow]:
    """Return the ids of those *messages* that were appended with one."""
    drafts = [
        (row, parse(row.body, "message"))
        for row in messages
        if row.revises is None and b'"id"' in row.body
    ]
    return [
        IdRow(message_id_hash(draft.message_id), row.seq)
        for row, draft in drafts
        if draft.message_id
    ]


def synthetic_row(line: SyntheticLine) -> SyntheticRow:
    """Return the row of a message of a replacement."""
    body = bytes(line.body)
    return SyntheticRow(line.version, line.position, body, line.counts, line.at_us, line.origin)


def _compaction_row(line: CompactionLine) -> CompactionRow:
    return CompactionRow(
        version=line.version,
        strategy=line.strategy,
        from_seq=line.from_seq,
        to_seq=line.to_seq,
        tokens_before=line.tokens_before,
        tokens_after=line.tokens_after,
        window=bytes(line.window),
        at_us=line.at_us,
    )


def page_bytes(page: HistoryPage) -> int:
    """Return about how much memory *page* takes."""
    rows: Iterable[bytes] = (
        *(row.body for row in page.messages),
        *(row.body for row in page.synthetics),
        *(row.window for row in page.compactions),
    )
    return sum(len(text) + ROW_BYTES for text in rows)
