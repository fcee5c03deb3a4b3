"""
What reads from PostgreSQL. Each statement sees one moment, and several need no transaction: the row
of a context says how long its log is, and these messages never change. Only a purge removes any;
when rows are missing, the context is read again.

Each statement also checks that the server accepts writes (`primary`), since one that was replaced
has an old state.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple, TypeVar

from fastpaca.ranges import Range, divide
from fastpaca.store.base import (
    ChangesPage,
    CompactionRow,
    ContextRow,
    Diff,
    Have,
    IdempotencyRecord,
    MessageRow,
    PageBounds,
    Snapshot,
    SyntheticRow,
)
from fastpaca.store.pages import changes_page
from fastpaca.store.postgres import statements as sql
from fastpaca.store.postgres.primary import fetched
from fastpaca.store.postgres.rows import hashed
from fastpaca.store.postgres.statements import Statement
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

T = TypeVar("T")

ROWS_AT_ONCE: Final = 2000
"""How many rows to build before yielding to the event loop."""

_ROW_FIELDS: Final = len(ContextRow.__struct_fields__)


class _State(NamedTuple):
    row: ContextRow
    compaction: CompactionRow | None


class Reader:
    """Reads over one connection; *timeout* is that of a statement, in seconds."""

    def __init__(self, connection: Any, timeout: float) -> None:
        self._connection = connection
        self._timeout = timeout

    async def _rows(
        self, make: Callable[[Iterable[Any]], T], statement: Statement, *values: object
    ) -> list[T]:
        return await _made(make, await self._fetched(statement, *values))

    async def _fetched(self, statement: Statement, *values: object) -> list[Any]:
        return await fetched(self._connection, statement.sql, *values, timeout=self._timeout)

    async def load(self, context_id: str) -> Snapshot | None:
        """Read what rebuilding the state of a context needs."""
        state = await self._state(context_id, None)
        if state is None:
            return None
        snapshot = None if _is_purged(state) else await self._whole(context_id, *state)
        return snapshot or Snapshot(purged_row(context_id), None, [], [])

    async def load_since(self, context_id: str, have: Have) -> Diff | None:
        """Read what changed in a context since *have*."""
        key = hashed(context_id)
        news = await self._fetched(sql.NEWS, key, have.version, have.last_seq)
        if not news:
            return None
        _, *state = news[0][:_ROW_FIELDS]
        row = ContextRow(context_id, *state)
        window, first_seq = news[0][_ROW_FIELDS : _ROW_FIELDS + 2]
        if row.status == "purged":
            return purged_diff(context_id)
        if window is None:
            logged = [] if first_seq is None else news
            messages = await _made(lambda one: MessageRow._make(one[_ROW_FIELDS + 1 :]), logged)
            return Diff(row, None, messages, [])
        rows = await self._needed(context_id, needs_besides(have, window, row.last_seq))
        return purged_diff(context_id) if rows is None else Diff(row, window, *rows)

    async def load_at(self, context_id: str, version: int) -> Snapshot | None:
        """Read what rebuilding the window as it was after a version needs."""
        state = await self._state(context_id, version)
        if state is None or _is_purged(state) or not 0 <= version <= state.row.version:
            return None
        past = row_at(state.row, version, state.compaction)
        snapshot = await self._whole(context_id, past, state.compaction)
        return None if snapshot is None else dated(snapshot, state.compaction)

    async def _state(self, context_id: str, version: int | None) -> _State | None:
        states = await self._fetched(sql.STATE, hashed(context_id), version)
        if not states:
            return None
        _, *state = states[0][:_ROW_FIELDS]
        compaction = states[0][_ROW_FIELDS:]
        return _State(
            ContextRow(context_id, *state),
            None if compaction[0] is None else CompactionRow._make(compaction),
        )

    async def _whole(
        self, context_id: str, row: ContextRow, compaction: CompactionRow | None
    ) -> Snapshot | None:
        """Read what *row* and *compaction* need; None if that was purged meanwhile."""
        window = None if compaction is None else compaction.window
        rows = await self._needed(context_id, needs_of(row, window))
        return None if rows is None else Snapshot(row, window, *rows)

    async def _needed(
        self, context_id: str, needed: Needs
    ) -> tuple[list[MessageRow], list[SyntheticRow]] | None:
        """Read what is *needed*; None if that was purged meanwhile."""
        key = hashed(context_id)
        messages: list[MessageRow] = []
        synthetics: list[SyntheticRow] = []
        if needed.log:
            messages = await self._rows(
                MessageRow._make, sql.LOG, key, *zip(*needed.log, strict=True)
            )
        if needed.replacements:
            between = zip(*needed.replacements, strict=True)
            synthetics = await self._rows(SyntheticRow._make, sql.REPLACEMENTS, key, *between)
        wanted = sum(last - first + 1 for *_, first, last in (*needed.log, *needed.replacements))
        if len(messages) + len(synthetics) < wanted and await self._is_gone(context_id):
            return None
        return messages, synthetics

    async def _is_gone(self, context_id: str) -> bool:
        """Return whether rows are missing because they were purged meanwhile."""
        state = await self._state(context_id, None)
        return state is None or _is_purged(state)

    async def messages(
        self, context_id: str, from_seq: int, to_seq: int, bounds: PageBounds
    ) -> list[MessageRow]:
        """Read the log forward."""
        return await self._rows(
            MessageRow._make, sql.PAGE, hashed(context_id), from_seq, to_seq, *bounds
        )

    async def messages_before(
        self, context_id: str, before_seq: int, bounds: PageBounds
    ) -> list[MessageRow]:
        """Read the newest messages below a seq, ascending."""
        return await self._rows(
            MessageRow._make, sql.PAGE_BEFORE, hashed(context_id), before_seq, *bounds
        )

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
        places, _ = divide([(from_place, to_place)], ranges)
        if not places:
            return []
        return await self._rows(
            MessageRow._make,
            sql.PATH_BACKWARDS if newest_first else sql.PATH,
            hashed(context_id),
            *_columns(places),
            *_columns(ranges),
            *bounds,
            skip,
        )

    async def places_of_id(
        self, context_id: str, id_hash: bytes, ranges: Sequence[Range], limit: int
    ) -> list[int]:
        """Return the places of messages with an id, newest first."""
        key = hashed(context_id)
        rows = await self._fetched(sql.PLACES_OF_ID, key, id_hash, *_columns(ranges), limit)
        return [place for (place,) in rows]

    async def revisions_of(self, context_id: str, places: Sequence[Range]) -> list[tuple[int, int]]:
        """Return which rows revise messages."""
        rows = await self._fetched(sql.REVISIONS_OF, hashed(context_id), *_columns(places))
        return [(place, seq) for place, seq in rows]

    async def changes(
        self,
        context_id: str,
        after_version: int,
        to_version: int,
        bounds: PageBounds,
        *,
        with_bodies: bool = True,
    ) -> ChangesPage:
        """Read what happened between two versions."""
        begin = await self._state(context_id, after_version)
        through = min(to_version, begin.row.version) if begin else 0
        if begin is None or _is_purged(begin) or through <= after_version:
            return ChangesPage([], [], after_version)
        # One more row than wanted shows where the page ends if rows are missing.
        between = (hashed(context_id), after_version, through)
        limits = (max(bounds.rows, 1) + 1, bounds.bytes)
        compactions = await self._rows(CompactionRow._make, sql.CHANGED_WINDOWS, *between, *limits)
        # If there are compactions among these versions, the last of the possible seqs belong to
        # later versions.
        first_seq = seq_at(after_version, begin.compaction) + 1
        seqs = (first_seq, first_seq + through - after_version - 1)
        log = (
            (sql.CHANGED_MESSAGES, *between, *limits)
            if with_bodies
            else (sql.CHANGED_HEADS, *between, limits[0])
        )
        messages = await self._rows(MessageRow._make, *log, *seqs)
        page = changes_page(messages, compactions, through, bounds)
        versions = {row.version for row in page.messages}
        versions |= {row.version for row in page.compactions}
        if len(versions) < page.through - after_version and await self._is_gone(context_id):
            return ChangesPage([], [], after_version)
        return page

    async def compactions(
        self, context_id: str, after_version: int, to_version: int, bounds: PageBounds
    ) -> list[CompactionRow]:
        """Read rewrites of the window."""
        return await self._rows(
            CompactionRow._make,
            sql.COMPACTIONS,
            hashed(context_id),
            after_version,
            to_version,
            *bounds,
        )

    async def compactions_before(
        self, context_id: str, before_version: int, bounds: PageBounds
    ) -> list[CompactionRow]:
        """Read rewrites of the window, newest first."""
        return await self._rows(
            CompactionRow._make, sql.COMPACTIONS_BEFORE, hashed(context_id), before_version, *bounds
        )

    async def contexts(self, prefix: str, after: str, limit: int) -> list[ContextRow]:
        """Read rows in byte order of their ids."""
        # No id holds a NUL, and no text of PostgreSQL can.
        if "\0" in prefix:
            return []
        after = after.partition("\0")[0]
        return await self._rows(
            lambda row: ContextRow(*row), sql.CONTEXTS, after, prefix, after_prefix(prefix), limit
        )

    async def abandoned(self, before_us: int) -> list[str]:
        """Return some forming contexts that were last changed before a time."""
        return [name for (name,) in await self._fetched(sql.ABANDONED, before_us)]

    async def idempotency_records(self, keys: Sequence[str]) -> dict[str, IdempotencyRecord]:
        """Return the idempotency records of keys."""
        by_hash = {hashed(key): key for key in keys}
        records = await self._fetched(sql.ANSWERS, list(by_hash))
        return {
            by_hash[key_hash]: IdempotencyRecord(by_hash[key_hash], *fields)
            for key_hash, *fields in records
        }

    async def revisions(self, context_ids: Sequence[str]) -> dict[str, int]:
        """Return the revisions of the contexts that exist."""
        by_hash = {hashed(context_id): context_id for context_id in context_ids}
        rows = await self._fetched(sql.REVISIONS, list(by_hash))
        return {by_hash[context_id]: revision for context_id, revision in rows}


async def _made(make: Callable[[Any], T], records: Sequence[Any]) -> list[T]:
    """Convert *records* to rows, and yield to the event loop in between."""
    rows = list(map(make, records[:ROWS_AT_ONCE]))
    for start in range(ROWS_AT_ONCE, len(records), ROWS_AT_ONCE):
        await asyncio.sleep(0)
        rows += map(make, records[start : start + ROWS_AT_ONCE])
    return rows


def _columns(ranges: Sequence[Range]) -> tuple[list[int], list[int]]:
    """Return the first and the last of each range."""
    return [first for first, _ in ranges], [last for _, last in ranges]


def _is_purged(state: _State) -> bool:
    return state.row.status == "purged"


def after_prefix(prefix: str) -> str | None:
    """Return the smallest string greater than all that begin with *prefix*, or None."""
    begin = prefix.rstrip("\U0010ffff")
    if not begin:
        return None
    next_code = ord(begin[-1]) + 1
    # Surrogates are not characters of a text, so the next one is after them.
    return begin[:-1] + chr(0xE000 if next_code == 0xD800 else next_code)
