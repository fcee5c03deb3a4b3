"""
What happened to a context, page by page: out of a store as rows, and from rows to lines and back.

A page ends between two versions, so that after each the context is as it once was.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Final, NamedTuple

from msgspec import Raw

from fastpaca.context.window import Persisted
from fastpaca.store.base import CompactionRow, ContextRow, MessageRow, Store, SyntheticRow
from fastpaca.transfer.format import Compaction, Message, Past, State, Synthetic

ROW_BYTES: Final = 100
"""What a row counts beside its JSON."""


class Bounds(NamedTuple):
    """Where a page ends: after so many versions, or so many bytes unless one version has more."""

    versions: int = 2000
    bytes: int = 4 * 1024 * 1024


PAGE: Final = Bounds()
"""What is in memory at one time."""


class ContextGone(Exception):
    """The context was purged while it was read."""


class HistoryBroken(Exception):
    """The store lacks something that it must have; the message says what."""


class Page(NamedTuple):
    """What the versions of a context behind *after*, up to *through*, have brought."""

    after: int
    through: int

    messages: list[MessageRow]
    synthetics: list[SyntheticRow]
    compactions: list[CompactionRow]

    def up_to(self, version: int) -> Page:
        """Give what of it is not behind *version*."""
        return self._chosen(self.after, min(self.through, version))

    def behind(self, version: int) -> Page:
        """Give what of it is behind *version*."""
        return self._chosen(max(self.after, version), self.through)

    def _chosen(self, after: int, through: int) -> Page:
        if (after, through) == (self.after, self.through):
            return self
        return Page(
            after,
            through,
            [row for row in self.messages if after < row.version <= through],
            [row for row in self.synthetics if after < row.version <= through],
            [row for row in self.compactions if after < row.version <= through],
        )


async def pages(
    store: Store, context_id: str, after: int, through: int, bounds: Bounds = PAGE
) -> AsyncIterator[Page]:
    """
    Read what happened to a context behind the version *after*, up to *through*.

    Raises:
        ContextGone: It was purged meanwhile.
        HistoryBroken: Something is missing.
        ReadFailed: The store cannot be read.
    """
    while after < through:
        found = await store.changes(context_id, after, through, *bounds)
        versions = {message.version for message in found.messages}
        versions |= {compaction.version for compaction in found.compactions}
        if found.through <= after or len(versions) < found.through - after:
            await _explain(store, context_id, versions, after)
        synthetics: list[SyntheticRow] = []
        for compaction in found.compactions:
            synthetics += await _replacement(store, context_id, compaction)
        yield Page(after, found.through, found.messages, synthetics, found.compactions)
        after = found.through


def joined(pages: Iterable[Page]) -> Page:
    """Make one page of several that follow each other, at least one."""
    first, *others = pages
    for page in others:
        first.messages.extend(page.messages)
        first.synthetics.extend(page.synthetics)
        first.compactions.extend(page.compactions)
        first = first._replace(through=page.through)
    return first


async def _explain(store: Store, context_id: str, versions: set[int], after: int) -> None:
    """Say why there is not what there should be; what is purged is missing with good reason."""
    if await row_of(store, context_id) is None:
        raise ContextGone
    missing = after + 1
    while missing in versions:
        missing += 1
    raise HistoryBroken(f"the store has lost version {missing} of the context {context_id!r}")


async def _replacement(
    store: Store, context_id: str, compaction: CompactionRow
) -> list[SyntheticRow]:
    """Read the messages that came with *compaction*: all of them stand in the window it left."""
    runs = Persisted.decode(compaction.window).runs
    if not any(run.replacement == compaction.version for run in runs):
        return []
    then = await store.load_at(context_id, compaction.version)
    if then is None:
        raise ContextGone
    return [row for row in then.synthetics if row.version == compaction.version]


async def row_of(store: Store, context_id: str) -> ContextRow | None:
    """
    Read the row of a context and nothing of its window; None if it does not exist or was purged.

    Raises:
        ReadFailed: The store cannot be read.
    """
    found = await store.contexts(context_id, "", 1)  # an id comes before all that begin with it
    return found[0] if found and found[0].id == context_id else None


# --- rows and lines ---


def state(row: ContextRow) -> State:
    """Write down a context."""
    return State(
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
    )


def context_row(line: State, revision: int, commit_id: bytes) -> ContextRow:
    """Make the row of a context of what was written down; the rest is its store's."""
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
    )


def lines(page: Page) -> Iterator[Past]:
    """Write down a page, version by version, in the order that `format` prescribes."""
    # Of one version, a message comes first and the compaction last.
    places = [(row.version, 0, place) for place, row in enumerate(page.messages)]
    places += [(row.version, 1, place) for place, row in enumerate(page.synthetics)]
    places += [(row.version, 2, place) for place, row in enumerate(page.compactions)]
    for _, kind, place in sorted(places):
        if kind == 0:
            yield _message(page.messages[place])
        elif kind == 1:
            yield _synthetic(page.synthetics[place])
        else:
            yield _compaction(page.compactions[place])


def _message(row: MessageRow) -> Message:
    return Message(row.seq, row.version, row.at_us, row.counts, Raw(row.body))


def _synthetic(row: SyntheticRow) -> Synthetic:
    return Synthetic(row.version, row.position, row.at_us, row.counts, Raw(row.body))


def _compaction(row: CompactionRow) -> Compaction:
    return Compaction(
        version=row.version,
        strategy=row.strategy,
        from_seq=row.from_seq,
        to_seq=row.to_seq,
        tokens_before=row.tokens_before,
        tokens_after=row.tokens_after,
        at_us=row.at_us,
        window=Raw(row.window),
    )


class Gathering:
    """Makes pages of lines: as large as those of a store, and never cut inside of a version."""

    def __init__(self, bounds: Bounds = PAGE) -> None:
        self._bounds = bounds
        self._begin(0)

    def _begin(self, version: int) -> None:
        self._page = Page(version, version, [], [], [])
        self._bytes = 0
        self._version = version

    def is_full_before(self, line: Past) -> bool:
        """Tell whether the page should end where *line* begins another version."""
        if line.version == self._version:
            return False
        taken = self._version - self._page.after
        return taken >= self._bounds.versions or (taken > 0 and self._bytes >= self._bounds.bytes)

    def add(self, line: Past) -> None:
        """Put the next line into the page."""
        page = self._page
        if isinstance(line, Message):
            page.messages.append(message_row(line))
        elif isinstance(line, Synthetic):
            page.synthetics.append(synthetic_row(line))
        else:
            page.compactions.append(_compaction_row(line))
        json = line.window if isinstance(line, Compaction) else line.body
        self._bytes += len(memoryview(json)) + ROW_BYTES
        self._version = line.version

    def taken(self) -> Page:
        """Take the page out, and begin the next one."""
        page = self._page._replace(through=self._version)
        self._begin(self._version)
        return page


def message_row(line: Message) -> MessageRow:
    """Make the row of a message of the log."""
    return MessageRow(line.seq, line.version, bytes(line.body), line.counts, line.at_us)


def synthetic_row(line: Synthetic) -> SyntheticRow:
    """Make the row of a message of a replacement."""
    return SyntheticRow(line.version, line.position, bytes(line.body), line.counts, line.at_us)


def _compaction_row(line: Compaction) -> CompactionRow:
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


def page_bytes(page: Page) -> int:
    """Give about how much of memory *page* takes."""
    rows: Iterable[bytes] = (
        *(row.body for row in page.messages),
        *(row.body for row in page.synthetics),
        *(row.window for row in page.compactions),
    )
    return sum(len(text) + ROW_BYTES for text in rows)
