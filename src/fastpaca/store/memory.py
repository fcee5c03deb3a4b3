"""A store in memory, which is lost at the end of the process: for tests and experiments."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator, Sequence
from itertools import islice, takewhile
from operator import attrgetter
from pathlib import Path
from typing import Final

from fastpaca.ranges import Range, contains
from fastpaca.store.base import (
    Change,
    ChangesPage,
    CommitFailed,
    CommitStale,
    CompactionRow,
    Condition,
    ContextRow,
    Diff,
    Have,
    IdempotencyRecord,
    MessageRow,
    PageBounds,
    Snapshot,
    SyntheticRow,
)
from fastpaca.store.pages import VERSION, bounded, changes_page
from fastpaca.store.snapshots import (
    Needs,
    dated,
    needs_besides,
    needs_of,
    purged_diff,
    purged_row,
    row_at,
    seq_at,
)

_SEQ: Final = attrgetter("seq")


class _Rows:
    """All rows of one context."""

    def __init__(self, row: ContextRow) -> None:
        self.row = row
        self.messages: list[MessageRow] = []
        self.ids: dict[bytes, list[int]] = {}  # places by hash, ascending
        self.revisions: dict[int, list[int]] = {}  # seqs by place, ascending
        self.synthetics: dict[tuple[int, int], SyntheticRow] = {}
        self.compactions: list[CompactionRow] = []

    def apply(self, change: Change) -> None:
        self.row = change.row
        assert not change.restored, "nothing is ever trimmed here"
        self.messages += change.messages
        for id_hash, place in change.ids:
            self.ids.setdefault(id_hash, []).append(place)
        for row in change.messages:
            if row.revises is not None:
                self.revisions.setdefault(row.revises, []).append(row.seq)
        self.synthetics |= {(row.version, row.position): row for row in change.synthetics}
        self.compactions += change.compactions

    def snapshot(self) -> Snapshot:
        return self._snapshot(self.row, self._compaction_at(self.row.version))

    def snapshot_at(self, version: int) -> Snapshot | None:
        if not 0 <= version <= self.row.version:
            return None
        compaction = self._compaction_at(version)
        return dated(self._snapshot(row_at(self.row, version, compaction), compaction), compaction)

    def _snapshot(self, row: ContextRow, compaction: CompactionRow | None) -> Snapshot:
        window = None if compaction is None else compaction.window
        return Snapshot(row, window, *self._needed(needs_of(row, window)))

    def since(self, have: Have) -> Diff:
        compaction = self._compaction_at(self.row.version)
        is_new = compaction is not None and compaction.version > have.version
        window = compaction.window if compaction is not None and is_new else None
        needed = needs_besides(have, window, self.row.last_seq)
        return Diff(self.row, window, *self._needed(needed))

    def _needed(self, needed: Needs) -> tuple[list[MessageRow], list[SyntheticRow]]:
        messages = [row for first, last in needed.log for row in self.log(first, last)]
        synthetics = [
            self.synthetics[version, position]
            for version, first, last in needed.replacements
            for position in range(first, last + 1)
        ]
        return messages, synthetics

    def log(self, from_seq: int, to_seq: int) -> list[MessageRow]:
        start = bisect_left(self.messages, from_seq, key=_SEQ)
        return self.messages[start : bisect_right(self.messages, to_seq, key=_SEQ)]

    def path(self, ranges: Sequence[Range], places: range) -> Iterator[MessageRow]:
        for place in places:
            row = self.messages[place - 1]
            if row.revises is None and contains(ranges, place):
                seqs = [seq for seq in self.revisions.get(place, ()) if contains(ranges, seq)]
                yield self.messages[seqs[-1] - 1] if seqs else row

    def rewrites(self, after_version: int, to_version: int) -> list[CompactionRow]:
        start = bisect_right(self.compactions, after_version, key=VERSION)
        return self.compactions[start : bisect_right(self.compactions, to_version, key=VERSION)]

    def rewrites_before(self, version: int, limit: int) -> list[CompactionRow]:
        end = bisect_left(self.compactions, version, key=VERSION)
        return self.compactions[max(end - limit, 0) : end]

    def seq_at(self, version: int) -> int:
        return seq_at(version, self._compaction_at(version))

    def _compaction_at(self, version: int) -> CompactionRow | None:
        """Return the newest compaction up to *version*."""
        index = bisect_right(self.compactions, version, key=VERSION)
        return self.compactions[index - 1] if index else None


class MemoryStore:
    """Keeps rows in dictionaries. It is not durable; it keeps all other promises of the port."""

    name = "memory"
    is_shared = False
    clock = None

    def __init__(self) -> None:
        self._contexts: dict[str, _Rows] = {}
        self._ids: list[bytes] = []  # of `_contexts`, in order
        self._purged: set[str] = set()
        self._records: dict[str, tuple[str, IdempotencyRecord]] = {}  # with the id of their context

    @property
    def condition(self) -> Condition:
        """Return that it can be used: it never fails as a whole."""
        return Condition()

    async def open(self) -> None:
        """Do nothing."""

    async def close(self) -> None:
        """Do nothing."""

    async def revisions(self, context_ids: Sequence[str]) -> dict[str, int]:
        """Return the revisions of contexts."""
        purged = {name: 1 for name in context_ids if name in self._purged}
        existing = {name for name in context_ids if name in self._contexts}
        return {name: self._contexts[name].row.revision for name in existing} | purged

    async def load(self, context_id: str) -> Snapshot | None:
        """Read the rows of a context."""
        if context_id in self._purged:
            return Snapshot(purged_row(context_id), None, [], [])
        context = self._contexts.get(context_id)
        return None if context is None else context.snapshot()

    async def load_since(self, context_id: str, have: Have) -> Diff | None:
        """Read what changed in a context since *have*."""
        if context_id in self._purged:
            return purged_diff(context_id)
        context = self._contexts.get(context_id)
        return None if context is None else context.since(have)

    async def load_at(self, context_id: str, version: int) -> Snapshot | None:
        """Read the rows of a window as it was after a version."""
        context = self._contexts.get(context_id)
        return None if context is None else context.snapshot_at(version)

    async def commit(self, changes: Sequence[Change]) -> None:
        """
        Apply *changes*, all or none.

        Raises:
            CommitFailed: One of them doesn't fit the current rows.
        """
        self._check(changes)
        for change in changes:  # purges first: they free the keys of their records
            if change.purges:
                self._purge(change.row.id)
        for change in changes:
            if not change.purges:
                self._apply(change)

    def _check(self, changes: Sequence[Change]) -> None:
        for change in changes:
            context_id = change.row.id
            context = self._contexts.get(context_id)
            revision = context.row.revision if context else 0
            is_later = context is not None and change.is_before(context.row.created_at_us)
            if context_id in self._purged or revision != change.expected_revision or is_later:
                raise CommitStale("a revision is not the expected one, or an id is taken")
        self._check_keys(changes)

    def _check_keys(self, changes: Sequence[Change]) -> None:
        purged = {change.row.id for change in changes if change.purges}
        seen: set[str] = set()
        for change in changes:
            if change.purges:
                continue
            if len(change.records) > len(change.messages) + len(change.compactions):
                raise CommitFailed("there are more records than messages and compactions")
            for record in change.records:
                owner_id, _ = self._records.get(record.key, (None, None))
                if record.key in seen or (owner_id is not None and owner_id not in purged):
                    raise CommitStale("a key is taken")
                seen.add(record.key)

    def _apply(self, change: Change) -> None:
        context = self._contexts.get(change.row.id)
        if context is None:
            context = self._contexts[change.row.id] = _Rows(change.row)
            insort(self._ids, change.row.id.encode())
        context.apply(change)
        self._records |= {record.key: (change.row.id, record) for record in change.records}

    def _purge(self, context_id: str) -> None:
        self._purged.add(context_id)
        if self._contexts.pop(context_id, None) is not None:
            del self._ids[bisect_left(self._ids, context_id.encode())]
            self._records = {k: v for k, v in self._records.items() if v[0] != context_id}

    async def messages(
        self, context_id: str, from_seq: int, to_seq: int, bounds: PageBounds
    ) -> list[MessageRow]:
        """Read the log forward."""
        context = self._contexts.get(context_id)
        rows = context.log(from_seq, to_seq) if context else []
        return bounded(rows[: bounds.rows], bounds.bytes)

    async def messages_before(
        self, context_id: str, before_seq: int, bounds: PageBounds
    ) -> list[MessageRow]:
        """Read the newest messages below a seq."""
        context = self._contexts.get(context_id)
        end = bisect_left(context.messages, before_seq, key=_SEQ) if context else 0
        rows = context.messages[max(end - bounds.rows, 0) : end] if context else []
        return bounded(reversed(rows), bounds.bytes)[::-1]

    async def path(
        self,
        context_id: str,
        ranges: Sequence[Range],
        from_place: int,
        to_place: int,
        bounds: PageBounds,
        *,
        skip: int = 0,
        newest_first: bool = False,
    ) -> list[MessageRow]:
        """Read the messages on the path."""
        context = self._contexts.get(context_id)
        if context is None:
            return []
        places = range(max(from_place, 1), min(to_place, len(context.messages)) + 1)
        rows = context.path(ranges, places[::-1] if newest_first else places)
        return bounded(islice(rows, skip, skip + bounds.rows), bounds.bytes)

    async def places_of_id(
        self, context_id: str, id_hash: bytes, ranges: Sequence[Range], limit: int
    ) -> list[int]:
        """Return the places of an id."""
        context = self._contexts.get(context_id)
        places = reversed(context.ids.get(id_hash, ())) if context else ()
        return list(islice((place for place in places if contains(ranges, place)), limit))

    async def revisions_of(self, context_id: str, places: Sequence[Range]) -> list[tuple[int, int]]:
        """Return which rows revise messages."""
        context = self._contexts.get(context_id)
        revised = sorted(context.revisions.items()) if context else ()
        return [(place, seq) for place, seqs in revised if contains(places, place) for seq in seqs]

    async def changes(
        self,
        context_id: str,
        after_version: int,
        to_version: int,
        bounds: PageBounds,
        *,
        with_bodies: bool = True,
    ) -> ChangesPage:
        """Read the changes between two versions."""
        context = self._contexts.get(context_id)
        through = min(to_version, context.row.version) if context else 0
        if context is None or through <= after_version:
            return ChangesPage([], [], after_version)
        messages = context.log(context.seq_at(after_version) + 1, context.seq_at(through))
        if not with_bodies:
            messages = [row._replace(body=b"", counts=b"") for row in messages]
        rewrites = context.rewrites(after_version, through)
        return changes_page(messages, rewrites, through, bounds)

    async def compactions(
        self, context_id: str, after_version: int, to_version: int, bounds: PageBounds
    ) -> list[CompactionRow]:
        """Read compactions."""
        context = self._contexts.get(context_id)
        rows = context.rewrites(after_version, to_version) if context else []
        return bounded(rows[: bounds.rows], bounds.bytes)

    async def compactions_before(
        self, context_id: str, before_version: int, bounds: PageBounds
    ) -> list[CompactionRow]:
        """Read compactions, newest first."""
        context = self._contexts.get(context_id)
        rows = context.rewrites_before(before_version, bounds.rows) if context else []
        return bounded(reversed(rows), bounds.bytes)

    async def contexts(self, prefix: str, after: str, limit: int) -> list[ContextRow]:
        """Read rows in byte order of their ids."""
        first = prefix.encode()
        start = max(bisect_left(self._ids, first), bisect_right(self._ids, after.encode()))
        ids = takewhile(lambda name: name.startswith(first), islice(self._ids, start, None))
        rows = (self._contexts[name.decode()].row for name in ids)
        return list(islice((row for row in rows if row.status != "forming"), limit))

    async def drop(self, context_id: str, revision: int) -> None:
        """Erase a forming context."""
        context = self._contexts.get(context_id)
        if context and (context.row.status, context.row.revision) == ("forming", revision):
            del self._contexts[context_id]
            del self._ids[bisect_left(self._ids, context_id.encode())]

    async def abandoned(self, before_us: int) -> list[str]:
        """Return forming contexts that no node has touched."""
        rows = [context.row for context in self._contexts.values()]
        return [row.id for row in rows if row.status == "forming" and row.updated_at_us < before_us]

    async def idempotency_records(self, keys: Sequence[str]) -> dict[str, IdempotencyRecord]:
        """Return the records of some keys."""
        return {key: self._records[key][1] for key in keys if key in self._records}

    async def forget_idempotency_records(self, before_us: int) -> None:
        """Delete old records."""
        self._records = {k: v for k, v in self._records.items() if v[1].at_us >= before_us}

    async def backup(self, path: Path) -> None:  # noqa: ARG002  # the port has it
        """
        Refuse: there are no files to copy.

        Raises:
            CommitFailed: Always.
        """
        raise CommitFailed("the memory store keeps nothing on a disk that could be copied")
