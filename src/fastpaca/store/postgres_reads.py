"""
What reads from PostgreSQL. Each statement sees one moment; no transaction holds several of them.

None has to: the row of a context says how far its log goes, and what it says is there is never
changed. Only a purge takes something away; when rows are missing, the context is looked at again.

Each statement also asks whether the server takes writes, see `postgres_primary`: one that was
replaced has an old state.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple, TypeVar

from fastpaca.store.base import (
    AnswerRow,
    ChangesPage,
    CompactionRow,
    ContextRow,
    Delta,
    Known,
    MessageRow,
    Snapshot,
    SyntheticRow,
)
from fastpaca.store.pages import changes_page
from fastpaca.store.postgres_primary import TAKES_WRITES, fetched
from fastpaca.store.postgres_rows import COMMIT_ID_BYTES, hashed
from fastpaca.store.snapshots import (
    Needs,
    dated,
    needs,
    news,
    purged_delta,
    purged_row,
    row_at,
    seq_at,
)

T = TypeVar("T")

ROWS_AT_ONCE: Final = 2000
"""How many rows are made before the event loop has its turn."""

# As the fields of ContextRow.
_ROW: Final = f"""
c.id, c.status, c.token_budget, c.trigger_ratio, c.policy, c.metadata, c.version, c.last_seq,
c.revision, substring(c.commit_ids FROM 1 FOR {COMMIT_ID_BYTES}), c.created_at_us,
c.updated_at_us, c.spoken_at_us
"""

# As the fields of CompactionRow.
_COMPACTION: Final = """
k.version, k.strategy, k.from_seq, k.to_seq, k.tokens_before, k.tokens_after, k."window", k.at_us
"""

# The row, and the newest compaction up to a version.
_STATE: Final = f"""
SELECT {_ROW}, {_COMPACTION}
FROM fastpaca.contexts AS c LEFT JOIN LATERAL (
    SELECT * FROM fastpaca.compactions AS found
    WHERE found.context_id = c.context_id AND found.version <= coalesce($2, c.version)
    ORDER BY found.version DESC LIMIT 1
) AS k ON true
WHERE c.context_id = $1 AND {TAKES_WRITES}
"""

_ROW_FIELDS: Final = len(ContextRow.__struct_fields__)

# The row, the newest window behind a version, and the fields of MessageRow: all this once for each
# new message, but for metadata, which may be large. If the window was rewritten, there are none: it
# must be read first which messages it needs.
_NEWS: Final = f"""
SELECT {_ROW.replace("c.metadata", "CASE WHEN coalesce(m.number, 1) = 1 THEN c.metadata END")},
    k."window", m.seq, m.version, m.body, m.counts, m.at_us
FROM fastpaca.contexts AS c LEFT JOIN LATERAL (
    SELECT found."window" FROM fastpaca.compactions AS found
    WHERE found.context_id = c.context_id AND found.version > $2
    ORDER BY found.version DESC LIMIT 1
) AS k ON true LEFT JOIN LATERAL (
    SELECT *, row_number() OVER (ORDER BY seq) AS number FROM fastpaca.messages AS found
    WHERE found.context_id = c.context_id AND found.seq > $3 AND k."window" IS NULL
) AS m ON true
WHERE c.context_id = $1 AND {TAKES_WRITES} ORDER BY m.seq
"""

# As the fields of MessageRow.
_LOG: Final = f"""
SELECT m.seq, m.version, m.body, m.counts, m.at_us
FROM unnest($2::bigint[], $3::bigint[]) AS between_them (first, last)
JOIN fastpaca.messages AS m ON m.context_id = $1
    AND m.seq >= between_them.first AND m.seq <= between_them.last
WHERE {TAKES_WRITES}
ORDER BY m.seq
"""

# As the fields of SyntheticRow.
_REPLACEMENTS: Final = f"""
SELECT s.version, s.position, s.body, s.counts, s.at_us
FROM unnest($2::bigint[], $3::bigint[], $4::bigint[]) AS between_them (version, first, last)
JOIN fastpaca.synthetics AS s ON s.context_id = $1 AND s.version = between_them.version
    AND s.position >= between_them.first AND s.position <= between_them.last
WHERE {TAKES_WRITES}
ORDER BY s.version, s.position
"""

# The sum of the sizes decides in the database where a page ends: what is not wanted never travels.
_PAGE: Final = f"""
SELECT seq, version, body, counts, at_us FROM (
    SELECT *,
        row_number() OVER (ORDER BY seq) AS number,
        sum(octet_length(body)) OVER (ORDER BY seq) AS total
    FROM (
        SELECT * FROM fastpaca.messages
        WHERE context_id = $1 AND seq >= $2 AND seq <= $3
        ORDER BY seq LIMIT $4
    ) AS page
) AS counted
WHERE (total <= $5 OR number = 1) AND {TAKES_WRITES}
ORDER BY seq
"""

_PAGE_BEFORE: Final = f"""
SELECT seq, version, body, counts, at_us FROM (
    SELECT *,
        row_number() OVER (ORDER BY seq DESC) AS number,
        sum(octet_length(body)) OVER (ORDER BY seq DESC) AS total
    FROM (
        SELECT * FROM fastpaca.messages
        WHERE context_id = $1 AND seq < $2
        ORDER BY seq DESC LIMIT $3
    ) AS page
) AS counted
WHERE (total <= $4 OR number = 1) AND {TAKES_WRITES}
ORDER BY seq
"""

_COMPACTIONS: Final = f"""
SELECT {_COMPACTION} FROM (
    SELECT *,
        row_number() OVER (ORDER BY version) AS number,
        sum(octet_length("window")) OVER (ORDER BY version) AS total
    FROM (
        SELECT * FROM fastpaca.compactions
        WHERE context_id = $1 AND version > $2 AND version <= $3
        ORDER BY version LIMIT $4
    ) AS page
) AS k
WHERE (total <= $5 OR number = 1) AND {TAKES_WRITES}
ORDER BY version
"""

# Up to the first row with which the sum is above, and at least two: the row that is not wanted any
# more tells where the page ends.
_LOG_UP_TO_SIZE: Final = f"""
SELECT seq, version, body, counts, at_us FROM (
    SELECT *,
        row_number() OVER (ORDER BY seq) AS number,
        sum(octet_length(body)) OVER (ORDER BY seq) - octet_length(body) AS before
    FROM (
        SELECT * FROM fastpaca.messages
        WHERE context_id = $1 AND version > $2 AND version <= $3 AND seq >= $6 AND seq <= $7
        ORDER BY seq LIMIT $4
    ) AS page
) AS counted
WHERE (before <= $5 OR number <= 2) AND {TAKES_WRITES}
ORDER BY seq
"""

# As _LOG_UP_TO_SIZE, where nothing has a size: bodies are not read.
_HEADS: Final = """
SELECT seq, version, ''::bytea, ''::bytea, at_us FROM fastpaca.messages
WHERE context_id = $1 AND version > $2 AND version <= $3 AND seq >= $5 AND seq <= $6
ORDER BY seq LIMIT $4
"""

_COMPACTIONS_UP_TO_SIZE: Final = f"""
SELECT {_COMPACTION} FROM (
    SELECT *,
        row_number() OVER (ORDER BY version) AS number,
        sum(octet_length("window")) OVER (ORDER BY version) - octet_length("window") AS before
    FROM (
        SELECT * FROM fastpaca.compactions
        WHERE context_id = $1 AND version > $2 AND version <= $3
        ORDER BY version LIMIT $4
    ) AS page
) AS k
WHERE (before <= $5 OR number <= 2) AND {TAKES_WRITES}
ORDER BY version
"""

_STATES: Final = f"""
SELECT {_ROW} FROM fastpaca.contexts AS c
WHERE c.id > $1 AND c.id >= $2 AND ($3::text IS NULL OR c.id < $3) AND {TAKES_WRITES}
ORDER BY c.id LIMIT $4
"""

# Two nodes that are given the same key for different contexts at the same moment both keep an
# answer. The older one counts, and comes last.
_ANSWERS: Final = f"""
SELECT key_hash, fingerprint, answer, at_us FROM fastpaca.answers
WHERE key_hash = ANY($1::bytea[]) AND {TAKES_WRITES}
ORDER BY at_us DESC, context_id DESC
"""

_REVISIONS: Final = f"""
SELECT context_id, revision FROM fastpaca.contexts
WHERE context_id = ANY($1::bytea[]) AND {TAKES_WRITES}
"""


class Bounds(NamedTuple):
    """Where a page ends: after so many rows (or versions), or at what makes it too big."""

    rows: int
    bytes: int


class _State(NamedTuple):
    row: ContextRow
    compaction: CompactionRow | None


class Reader:
    """Reads over one connection; *timeout* is that of a statement, in seconds."""

    def __init__(self, connection: Any, timeout: float) -> None:
        self._connection = connection
        self._timeout = timeout

    async def _rows(self, make: Callable[[Iterable[Any]], T], sql: str, *values: object) -> list[T]:
        return await _made(make, await self._fetched(sql, *values))

    async def _fetched(self, sql: str, *values: object) -> list[Any]:
        return await fetched(self._connection, sql, *values, timeout=self._timeout)

    async def load(self, context_id: str) -> Snapshot | None:
        """Read what rebuilding the state of a context needs."""
        state = await self._state(context_id, None)
        if state is None:
            return None
        snapshot = None if _is_purged(state) else await self._whole(context_id, *state)
        return snapshot or Snapshot(purged_row(context_id), None, [], [])

    async def load_since(self, context_id: str, known: Known) -> Delta | None:
        """Read what is new for one who has what *known* says."""
        key = hashed(context_id)
        found = await self._fetched(_NEWS, key, known.version, known.last_seq)
        if not found:
            return None
        _, *state = found[0][:_ROW_FIELDS]
        row = ContextRow(context_id, *state)
        window, first_seq = found[0][_ROW_FIELDS : _ROW_FIELDS + 2]
        if row.status == "purged":
            return purged_delta(context_id)
        if window is None:
            logged = [] if first_seq is None else found
            messages = await _made(lambda one: MessageRow._make(one[_ROW_FIELDS + 1 :]), logged)
            return Delta(row, None, messages, [])
        rows = await self._needed(context_id, news(window, row.last_seq, known))
        return purged_delta(context_id) if rows is None else Delta(row, window, *rows)

    async def load_at(self, context_id: str, version: int) -> Snapshot | None:
        """Read what rebuilding the window takes as it was after a version."""
        state = await self._state(context_id, version)
        if state is None or _is_purged(state) or not 0 <= version <= state.row.version:
            return None
        past = row_at(state.row, version, state.compaction)
        snapshot = await self._whole(context_id, past, state.compaction)
        return None if snapshot is None else dated(snapshot, state.compaction)

    async def _state(self, context_id: str, version: int | None) -> _State | None:
        found = await self._fetched(_STATE, hashed(context_id), version)
        if not found:
            return None
        _, *state = found[0][:_ROW_FIELDS]
        compaction = found[0][_ROW_FIELDS:]
        return _State(
            ContextRow(context_id, *state),
            None if compaction[0] is None else CompactionRow._make(compaction),
        )

    async def _whole(
        self, context_id: str, row: ContextRow, compaction: CompactionRow | None
    ) -> Snapshot | None:
        """Read what *row* and *compaction* need; None if that was purged meanwhile."""
        window = None if compaction is None else compaction.window
        rows = await self._needed(context_id, needs(window, row.last_seq))
        return None if rows is None else Snapshot(row, window, *rows)

    async def _needed(
        self, context_id: str, needed: Needs
    ) -> tuple[list[MessageRow], list[SyntheticRow]] | None:
        """Read what is *needed*; None if that was purged meanwhile."""
        key = hashed(context_id)
        messages: list[MessageRow] = []
        synthetics: list[SyntheticRow] = []
        if needed.log:
            messages = await self._rows(MessageRow._make, _LOG, key, *zip(*needed.log, strict=True))
        if needed.replacements:
            between = zip(*needed.replacements, strict=True)
            synthetics = await self._rows(SyntheticRow._make, _REPLACEMENTS, key, *between)
        wanted = sum(last - first + 1 for *_, first, last in (*needed.log, *needed.replacements))
        if len(messages) + len(synthetics) < wanted and await self._is_gone(context_id):
            return None
        return messages, synthetics

    async def _is_gone(self, context_id: str) -> bool:
        """Tell whether rows are missing because they were purged meanwhile."""
        state = await self._state(context_id, None)
        return state is None or _is_purged(state)

    async def page(
        self, context_id: str, from_seq: int, to_seq: int, bounds: Bounds
    ) -> list[MessageRow]:
        """Read the log forward."""
        return await self._rows(
            MessageRow._make, _PAGE, hashed(context_id), from_seq, to_seq, *bounds
        )

    async def page_before(
        self, context_id: str, before_seq: int, bounds: Bounds
    ) -> list[MessageRow]:
        """Read the newest messages below a seq, ascending."""
        return await self._rows(
            MessageRow._make, _PAGE_BEFORE, hashed(context_id), before_seq, *bounds
        )

    async def changes(
        self,
        context_id: str,
        after_version: int,
        to_version: int,
        bounds: Bounds,
        *,
        with_bodies: bool,
    ) -> ChangesPage:
        """Read what happened between two versions."""
        begin = await self._state(context_id, after_version)
        through = min(to_version, begin.row.version) if begin else 0
        if begin is None or _is_purged(begin) or through <= after_version:
            return ChangesPage([], [], after_version)
        # A row more than is wanted tells where the page ends, if rows are missing.
        between = (hashed(context_id), after_version, through)
        limits = (max(bounds.rows, 1) + 1, bounds.bytes)
        compactions = await self._rows(
            CompactionRow._make, _COMPACTIONS_UP_TO_SIZE, *between, *limits
        )
        # Of the seqs that these versions may have, the last ones are of later versions if there are
        # compactions in between.
        first_seq = seq_at(after_version, begin.compaction) + 1
        seqs = (first_seq, first_seq + through - after_version - 1)
        log = (_LOG_UP_TO_SIZE, *between, *limits) if with_bodies else (_HEADS, *between, limits[0])
        messages = await self._rows(MessageRow._make, *log, *seqs)
        page = changes_page(messages, compactions, through, bounds.rows, bounds.bytes)
        versions = {row.version for row in page.messages}
        versions |= {row.version for row in page.compactions}
        if len(versions) < page.through - after_version and await self._is_gone(context_id):
            return ChangesPage([], [], after_version)
        return page

    async def compactions(
        self, context_id: str, after_version: int, to_version: int, bounds: Bounds
    ) -> list[CompactionRow]:
        """Read rewrites of the window."""
        return await self._rows(
            CompactionRow._make,
            _COMPACTIONS,
            hashed(context_id),
            after_version,
            to_version,
            *bounds,
        )

    async def contexts(self, prefix: str, after: str, limit: int) -> list[ContextRow]:
        """Read rows in byte order of their ids."""
        # No id holds a NUL, and no text of PostgreSQL can.
        if "\0" in prefix:
            return []
        after = after.partition("\0")[0]
        return await self._rows(
            lambda found: ContextRow(*found), _STATES, after, prefix, behind(prefix), limit
        )

    async def answers(self, keys: Sequence[str]) -> dict[str, AnswerRow]:
        """Look up stored answers."""
        by_hash = {hashed(key): key for key in keys}
        found = await self._fetched(_ANSWERS, list(by_hash))
        return {
            by_hash[key_hash]: AnswerRow(by_hash[key_hash], *answer) for key_hash, *answer in found
        }

    async def revisions(self, context_ids: Sequence[str]) -> dict[str, int]:
        """Look up the revisions of contexts."""
        by_hash = {hashed(context_id): context_id for context_id in context_ids}
        found = await self._fetched(_REVISIONS, list(by_hash))
        return {by_hash[context_id]: revision for context_id, revision in found}


async def _made(make: Callable[[Any], T], found: Sequence[Any]) -> list[T]:
    """Make a row of each that was *found*, and let others have their turn in between."""
    rows = list(map(make, found[:ROWS_AT_ONCE]))
    for start in range(ROWS_AT_ONCE, len(found), ROWS_AT_ONCE):
        await asyncio.sleep(0)
        rows += map(make, found[start : start + ROWS_AT_ONCE])
    return rows


def _is_purged(state: _State) -> bool:
    return state.row.status == "purged"


def behind(prefix: str) -> str | None:
    """Give the smallest string above all that begins with *prefix*; None if there is none."""
    begin = prefix.rstrip("\U0010ffff")
    if not begin:
        return None
    next_code = ord(begin[-1]) + 1
    # Surrogates are no characters of a text, so the next one is behind them.
    return begin[:-1] + chr(0xE000 if next_code == 0xD800 else next_code)
