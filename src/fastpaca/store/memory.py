"""A store that keeps everything in memory and nothing after the process: for tests and try-outs."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Sequence
from itertools import islice
from operator import attrgetter
from pathlib import Path
from typing import Final

from fastpaca.store.base import (
    AnswerRow,
    Change,
    ChangesPage,
    CommitFailed,
    CommitOvertaken,
    CompactionRow,
    Condition,
    ContextRow,
    Delta,
    Known,
    MessageRow,
    Snapshot,
    SyntheticRow,
)
from fastpaca.store.pages import VERSION, bounded, changes_page
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

_SEQ: Final = attrgetter("seq")


class _Held:
    """All rows of one context."""

    def __init__(self, row: ContextRow) -> None:
        self.row = row
        self.messages: list[MessageRow] = []
        self.synthetics: dict[tuple[int, int], SyntheticRow] = {}
        self.compactions: list[CompactionRow] = []

    def take(self, change: Change) -> None:
        self.row = change.row
        self.messages += change.messages
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
        return Snapshot(row, window, *self._needed(needs(window, row.last_seq)))

    def since(self, known: Known) -> Delta:
        compaction = self._compaction_at(self.row.version)
        is_new = compaction is not None and compaction.version > known.version
        window = compaction.window if compaction is not None and is_new else None
        needed = news(window, self.row.last_seq, known)
        return Delta(self.row, window, *self._needed(needed))

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

    def rewrites(self, after_version: int, to_version: int) -> list[CompactionRow]:
        start = bisect_right(self.compactions, after_version, key=VERSION)
        return self.compactions[start : bisect_right(self.compactions, to_version, key=VERSION)]

    def rewrites_before(self, version: int, limit: int) -> list[CompactionRow]:
        end = bisect_left(self.compactions, version, key=VERSION)
        return self.compactions[max(end - limit, 0) : end]

    def seq_at(self, version: int) -> int:
        return seq_at(version, self._compaction_at(version))

    def _compaction_at(self, version: int) -> CompactionRow | None:
        """Give the newest compaction up to *version*."""
        index = bisect_right(self.compactions, version, key=VERSION)
        return self.compactions[index - 1] if index else None


class MemoryStore:
    """Keeps rows in dictionaries. Not durable; all else is as the port promises."""

    def __init__(self) -> None:
        self._held: dict[str, _Held] = {}
        self._ids: list[bytes] = []  # of those in _held, in order
        self._purged: set[str] = set()
        self._answers: dict[str, tuple[str, AnswerRow]] = {}  # with the id of their context

    @property
    def name(self) -> str:
        """What the start banner calls it."""
        return "memory"

    @property
    def is_shared(self) -> bool:
        """Nobody else writes to it."""
        return False

    @property
    def clock(self) -> None:
        """This machine's will do."""

    @property
    def condition(self) -> Condition:
        """What fails here fails in a call, and no other node could do better."""
        return Condition()

    async def open(self) -> None:
        """Get ready: there is nothing to do."""

    async def close(self) -> None:
        """Let go: there is nothing to do."""

    async def revisions(self, context_ids: Sequence[str]) -> dict[str, int]:
        """Look up the revisions of contexts."""
        found = {name: self._held[name].row.revision for name in context_ids if name in self._held}
        return found | {name: 1 for name in context_ids if name in self._purged}

    async def load(self, context_id: str) -> Snapshot | None:
        """Read what rebuilding the state of a context needs."""
        if context_id in self._purged:
            return Snapshot(purged_row(context_id), None, [], [])
        held = self._held.get(context_id)
        return None if held is None else held.snapshot()

    async def load_since(self, context_id: str, known: Known) -> Delta | None:
        """Read what is new for one who has what *known* says."""
        if context_id in self._purged:
            return purged_delta(context_id)
        held = self._held.get(context_id)
        return None if held is None else held.since(known)

    async def load_at(self, context_id: str, version: int) -> Snapshot | None:
        """Read what rebuilding the window takes as it was after a version."""
        held = self._held.get(context_id)
        return None if held is None else held.snapshot_at(version)

    async def commit(self, changes: Sequence[Change]) -> None:
        """
        Take *changes* over, all or none.

        Raises:
            CommitFailed: One of them does not fit what is here.
        """
        self._check(changes)
        for change in changes:  # purges first: the keys that they used are free again
            if change.purges:
                self._purge(change.row.id)
        for change in changes:
            if not change.purges:
                self._take(change)

    def _check(self, changes: Sequence[Change]) -> None:
        for change in changes:
            context_id = change.row.id
            held = self._held.get(context_id)
            revision = held.row.revision if held else 0
            if context_id in self._purged or revision != change.expected_revision:
                raise CommitOvertaken("a revision is not the expected one, or an id is taken")
        self._check_keys(changes)

    def _check_keys(self, changes: Sequence[Change]) -> None:
        purged = {change.row.id for change in changes if change.purges}
        seen: set[str] = set()
        for change in changes:
            if change.purges:
                continue
            if len(change.answers) > len(change.messages) + len(change.compactions):
                raise CommitFailed("there are more answers than messages and compactions")
            for answer in change.answers:
                holder = self._answers.get(answer.key)
                if answer.key in seen or (holder is not None and holder[0] not in purged):
                    raise CommitOvertaken("a key is taken")
                seen.add(answer.key)

    def _take(self, change: Change) -> None:
        held = self._held.get(change.row.id)
        if held is None:
            held = self._held[change.row.id] = _Held(change.row)
            insort(self._ids, change.row.id.encode())
        held.take(change)
        self._answers |= {answer.key: (change.row.id, answer) for answer in change.answers}

    def _purge(self, context_id: str) -> None:
        self._purged.add(context_id)
        if self._held.pop(context_id, None) is not None:
            del self._ids[bisect_left(self._ids, context_id.encode())]
            self._answers = {k: v for k, v in self._answers.items() if v[0] != context_id}

    async def messages(
        self, context_id: str, from_seq: int, to_seq: int, limit: int, bytes_max: int
    ) -> list[MessageRow]:
        """Read the log forward."""
        held = self._held.get(context_id)
        rows = held.log(from_seq, to_seq) if held else []
        return bounded(rows[:limit], bytes_max)

    async def messages_before(
        self, context_id: str, before_seq: int, limit: int, bytes_max: int
    ) -> list[MessageRow]:
        """Read the newest messages below a seq."""
        held = self._held.get(context_id)
        end = bisect_left(held.messages, before_seq, key=_SEQ) if held else 0
        rows = held.messages[max(end - limit, 0) : end] if held else []
        return bounded(reversed(rows), bytes_max)[::-1]

    async def changes(
        self,
        context_id: str,
        after_version: int,
        to_version: int,
        limit: int,
        bytes_max: int,
        *,
        with_bodies: bool = True,
    ) -> ChangesPage:
        """Read what happened between two versions."""
        held = self._held.get(context_id)
        through = min(to_version, held.row.version) if held else 0
        if held is None or through <= after_version:
            return ChangesPage([], [], after_version)
        messages = held.log(held.seq_at(after_version) + 1, held.seq_at(through))
        if not with_bodies:
            messages = [row._replace(body=b"", counts=b"") for row in messages]
        rewrites = held.rewrites(after_version, through)
        return changes_page(messages, rewrites, through, limit, bytes_max)

    async def compactions(
        self, context_id: str, after_version: int, to_version: int, limit: int, bytes_max: int
    ) -> list[CompactionRow]:
        """Read rewrites of the window."""
        held = self._held.get(context_id)
        rows = held.rewrites(after_version, to_version) if held else []
        return bounded(rows[:limit], bytes_max)

    async def compactions_before(
        self, context_id: str, before_version: int, limit: int, bytes_max: int
    ) -> list[CompactionRow]:
        """Read rewrites of the window, newest first."""
        held = self._held.get(context_id)
        rows = held.rewrites_before(before_version, limit) if held else []
        return bounded(reversed(rows), bytes_max)

    async def contexts(self, prefix: str, after: str, limit: int) -> list[ContextRow]:
        """Read rows in byte order of their ids."""
        first = prefix.encode()
        start = max(bisect_left(self._ids, first), bisect_right(self._ids, after.encode()))
        found: list[ContextRow] = []
        for name in islice(self._ids, start, start + limit):
            if not name.startswith(first):
                break
            found.append(self._held[name.decode()].row)
        return found

    async def answers(self, keys: Sequence[str]) -> dict[str, AnswerRow]:
        """Look up stored answers."""
        return {key: self._answers[key][1] for key in keys if key in self._answers}

    async def forget_answers(self, before_us: int) -> None:
        """Delete old answers."""
        self._answers = {k: v for k, v in self._answers.items() if v[1].at_us >= before_us}

    async def backup(self, path: Path) -> None:  # noqa: ARG002  # the port has it
        """
        Refuse: there is nothing on disk.

        Raises:
            CommitFailed: Always.
        """
        raise CommitFailed("the memory store keeps nothing on a disk that could be copied")
