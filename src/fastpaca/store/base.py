"""
The port of a store: what the engine needs of durable storage, and the rows that pass through it.

Rows are keyed by the id of their context first, and nothing needs a transaction, a foreign key or a
sequence across contexts. The same port therefore fits a database that is sharded by context.

A store moves bytes and decides nothing. Every row is complete: the engine sets its ids, seqs,
versions and times.

The file is long because a port is one file: each row, and each promise of a store, with its words.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable, Mapping, Sequence, Set
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

import msgspec

from fastpaca.clock import Clock
from fastpaca.ranges import Range

COMMIT_ID_BYTES: Final = 16


def new_commit_id() -> bytes:
    """Return an id that no other commit has."""
    return secrets.token_bytes(COMMIT_ID_BYTES)


def message_id_hash(message_id: str) -> bytes:
    """
    Return what stores keep to find a message by its id.

    It has one length and no text, so that nothing of an id is left after a purge. Collisions are
    practically impossible.
    """
    return hashlib.blake2b(message_id.encode(), digest_size=16).digest()


class ContextRow(msgspec.Struct, frozen=True, gc=False):
    """
    The state of a context, without its log and window.

    Attributes:
        id: The caller's id.
        status: `active`, `tombstoned`, `forming` or `purged`; of a purged row, only *id* and
            *status* count.
        token_budget: In tokens.
        trigger_ratio: In (0, 1].
        token_factor: In (0, 10].
        policy: JSON text.
        metadata: JSON text of an object.
        version: See `Context.version`.
        last_seq: Seq of the newest message.
        revision: Number of commits that touched the context.
        commit_id: The id of the commit that wrote this row last.
        created_at_us: Microseconds since 1970, UTC, as all times are.
        updated_at_us: When anything in it last changed.
        spoken_at_us: When its log or window last changed.
        usage: What was reported of model calls, as from `UsageTotals.encode`.
        forked_from: JSON text of what it is a fork of; empty if it is none. It never changes.
    """

    id: str
    status: str
    token_budget: int
    trigger_ratio: float
    token_factor: float
    policy: bytes
    metadata: bytes
    version: int
    last_seq: int
    revision: int
    commit_id: bytes
    created_at_us: int
    updated_at_us: int
    spoken_at_us: int
    usage: bytes = b"[]"
    forked_from: bytes = b""


class MessageRow(NamedTuple):
    """
    A message of a log: JSON text as in `Draft.body`, counts as from `encode_counts`, how it came
    (`Draft.origin`), what its call cost, as from `Usage.encode`, empty if not reported, and the
    place of the message that it revises, if it does.
    """

    seq: int
    version: int
    body: bytes
    counts: bytes
    at_us: int
    origin: str = ""
    usage: bytes = b""
    revises: int | None = None

    @property
    def place(self) -> int:
        """Where it stands on the path: the seq of the first row of the message."""
        return self.seq if self.revises is None else self.revises


class IdRow(NamedTuple):
    """The caller's id of a message, as from `message_id_hash`, and the place of the message."""

    id_hash: bytes
    place: int


class SyntheticRow(NamedTuple):
    """A synthetic message: like `MessageRow`, with its position in a replacement and no seq."""

    version: int
    position: int
    body: bytes
    counts: bytes
    at_us: int
    origin: str = ""


class CompactionRow(NamedTuple):
    """A rewrite of the window, as in `Compacted`; *window* is the stored form of the result."""

    version: int
    strategy: str
    from_seq: int | None
    to_seq: int | None
    tokens_before: int
    tokens_after: int
    window: bytes
    at_us: int


class IdempotencyRecord(msgspec.Struct, frozen=True, gc=False):
    """
    The stored response to a request with an `Idempotency-Key`.

    Attributes:
        key: The caller's key; one namespace for the whole store.
        fingerprint: Hash of method, path and body.
        response: The body of the response.
        at_us: The time of the request.
    """

    key: str
    fingerprint: bytes
    response: bytes
    at_us: int


class Change(msgspec.Struct, frozen=True, gc=False):
    """
    Everything that one commit writes for one context: all of it is written, or nothing.

    Attributes:
        row: The state after the commit; `row.revision` is *expected_revision* + 1.
        expected_revision: The revision before the commit; 0 if the context is new.
        config_changed: Whether budget, trigger or policy change (true for a new context).
        metadata_changed: Whether the metadata changes (true for a new context).
        messages: Appended and revised messages, ascending, directly after the last ones.
        activates: Whether the context was forming, and is active now.
        ids: The ids of appended messages that have one.
        restored: Older messages that were trimmed from the store and are needed again, ascending.
        synthetics: Messages of new replacements.
        compactions: Rewrites of the window, in order; the current window is that of the last one.
        records: Idempotency records, at most one for each message and compaction here; their keys
            were looked up before and are new.
    """

    row: ContextRow
    expected_revision: int
    config_changed: bool = False
    metadata_changed: bool = False
    activates: bool = False
    messages: Sequence[MessageRow] = ()
    ids: Sequence[IdRow] = ()
    restored: Sequence[MessageRow] = ()
    synthetics: Sequence[SyntheticRow] = ()
    compactions: Sequence[CompactionRow] = ()
    records: Sequence[IdempotencyRecord] = ()

    def is_before(self, created_at_us: int) -> bool:
        """
        Return whether this is a change of an earlier context than the one that was created then.

        After a fork that was not finished, its id is free, and revisions begin again.
        """
        return not self.purges and self.row.created_at_us < created_at_us

    @property
    def purges(self) -> bool:
        """Whether this erases all content of the context, except a hash of its id."""
        return self.row.status == "purged"


class Snapshot(NamedTuple):
    """
    The rows that a context is rebuilt from, all read at one moment.

    Attributes:
        row: Its row.
        window: The stored form of its window (`Persisted`); None if it was never rewritten.
        messages: The messages of the log that the window needs (`window.ranges`), ascending.
        synthetics: The synthetic messages that the window needs, by version and position.
    """

    row: ContextRow
    window: bytes | None
    messages: Sequence[MessageRow]
    synthetics: Sequence[SyntheticRow]


class Have(NamedTuple):
    """
    What a node already holds of a context, as it was after an earlier version.

    Attributes:
        version: That version.
        last_seq: The last seq of the log then.
        log: The seqs of unchanged messages of the log, as ranges.
        synthetics: The unchanged synthetic messages, as (version, position).
    """

    version: int
    last_seq: int
    log: Sequence[tuple[int, int]]
    synthetics: Set[tuple[int, int]]


class Diff(NamedTuple):
    """
    What changed in a context since an earlier state, all read at one moment.

    Attributes:
        row: Its current row.
        window: The stored form of its window; None if it was not rewritten since.
        messages: The messages of the log that the window needs and the node lacks, ascending.
        synthetics: The same for synthetic messages, by version and position.
    """

    row: ContextRow
    window: bytes | None
    messages: Sequence[MessageRow]
    synthetics: Sequence[SyntheticRow]


class PageBounds(NamedTuple):
    """
    Where a page ends, whichever comes first.

    Attributes:
        rows: After so many rows; of a page of changes, after so many versions.
        bytes: Before the row (or version) that takes the sum of bodies and windows above this, but
            never before the first.
    """

    rows: int
    bytes: int


class ChangesPage(NamedTuple):
    """
    Changes of a conversation, version by version.

    Attributes:
        messages: Appended messages, ascending.
        compactions: Rewrites of the window, ascending.
        through: The last version whose existing rows are all on the page.
    """

    messages: list[MessageRow]
    compactions: list[CompactionRow]
    through: int


class Condition(NamedTuple):
    """
    The condition of a store, as far as it is known without a query.

    Attributes:
        reason: Why it can't be used now, as a sentence that names no address, host or user; None if
            it can.
        is_partial: Whether some contexts can still be read and written.
    """

    reason: str | None = None
    is_partial: bool = False


class CommitFailed(Exception):
    """The commit certainly did not happen; the store has nothing of it."""


class CommitBlocked(CommitFailed):
    """Another program holds the lock that every commit needs; other commits would wait as long."""


class CommitStale(CommitFailed):
    """
    The commit is based on a stale state, by a revision, an id or an idempotency key.

    *context_ids* are the contexts that another node has changed, if that is known.
    """

    def __init__(self, message: str, context_ids: Iterable[str] = ()) -> None:
        self.context_ids = frozenset(context_ids)
        super().__init__(message)


class CommitUnknown(Exception):
    """
    The commit may or may not have happened.

    *fatal* means that this process can no longer trust the store, for example after a failed fsync.
    *context_ids* are the contexts with an unknown outcome; all others were certainly written. If it
    is empty, the outcome of all is unknown.
    """

    def __init__(self, message: str, *, fatal: bool, context_ids: Iterable[str] = ()) -> None:
        self.fatal = fatal
        self.context_ids = frozenset(context_ids)
        super().__init__(message)


class ReadFailed(Exception):
    """
    The store could not be read; a retry may help.

    *message* is for the log and may quote a database; *told* is a sentence for callers, or empty.
    """

    def __init__(self, message: str, *, told: str = "") -> None:
        self.told = told
        super().__init__(message)


class PartialRead(ReadFailed):
    """
    Some of several ids or keys could be read, and some could not.

    Attributes:
        results: The results for those that could be read, as if only they had been requested.
        failed: Those that could not be read.
    """

    def __init__(self, message: str, results: Mapping[str, Any], failed: Iterable[str]) -> None:
        self.results = results
        self.failed = frozenset(failed)
        super().__init__(message)


class StoreRefused(Exception):
    """The store can't be opened; the message is a sentence for the operator."""


class Store(Protocol):
    """
    Durable storage. Its methods may be called concurrently, from one event loop.

    All reading methods raise `ReadFailed` if the store can't be read.
    """

    @property
    def name(self) -> str:
        """The name in the start banner, without passwords."""

    @property
    def is_shared(self) -> bool:
        """Whether other nodes write to it too, so that states in memory may be stale."""

    @property
    def clock(self) -> Clock | None:
        """The clock of all its writers; None to use the clock of this machine."""

    @property
    def condition(self) -> Condition:
        """Whether it can be used; never waits."""

    async def open(self) -> None:
        """
        Open the store: recover, migrate, and take exclusive locks.

        Raises:
            StoreRefused: It is in use by another process, from a newer release, or can't be used.
        """

    async def close(self) -> None:
        """Finish running calls and close the store, which may not have been opened."""

    async def revisions(self, context_ids: Sequence[str]) -> dict[str, int]:
        """
        Return the revisions of those contexts that exist or were purged.

        Raises:
            PartialRead: Only some could be read, for example because one of several servers is
            down.
        """

    async def load(self, context_id: str, /) -> Snapshot | None:
        """Read the rows of a context; None if it never existed."""

    async def load_since(self, context_id: str, /, have: Have) -> Diff | None:
        """Read what changed in a context since *have*; None if there is no such context."""

    async def load_at(self, context_id: str, /, version: int) -> Snapshot | None:
        """
        Read the rows of a context's window as it was after *version*.

        In its row, *version*, `last_seq` and `spoken_at_us` are those of that moment; all other
        fields are current. None if there is no such version: the context never existed or was
        purged, or has not reached the version.
        """

    async def commit(self, changes: Sequence[Change]) -> None:
        """
        Write *changes*, at most one per context, in one durable transaction.

        Each needs the context to be at its expected revision, and none of them `is_before` it.

        Raises:
            CommitFailed: Certainly nothing was written.
            CommitUnknown: It may have been written.
        """

    async def messages(
        self, context_id: str, /, from_seq: int, to_seq: int, bounds: PageBounds
    ) -> list[MessageRow]:
        """Read the log forward from *from_seq* to *to_seq*, inclusive."""

    async def messages_before(
        self, context_id: str, /, before_seq: int, bounds: PageBounds
    ) -> list[MessageRow]:
        """Read the newest messages before *before_seq*, in ascending order."""

    async def path(
        self,
        context_id: str,
        /,
        ranges: Sequence[Range],
        from_place: int,
        to_place: int,
        bounds: PageBounds,
        *,
        skip: int = 0,
        newest_first: bool = False,
    ) -> list[MessageRow]:
        """
        Read the messages on the path from *from_place* to *to_place*, inclusive.

        Args:
            context_id: The id of the context.
            ranges: The seqs on the path; see `Path.ranges`. Rows outside are as if they were not.
            from_place: The first place.
            to_place: The last place.
            bounds: Where the page ends, in the order of reading.
            skip: How many messages to skip before the page.
            newest_first: Whether to read and return from the last place to the first.
        """

    async def places_of_id(
        self, context_id: str, /, id_hash: bytes, ranges: Sequence[Range], limit: int
    ) -> list[int]:
        """
        Return the places of messages that were appended with an id, newest first.

        Only those in *ranges* (ascending) count, and of these at most *limit*.
        """

    async def revisions_of(
        self, context_id: str, /, places: Sequence[Range]
    ) -> list[tuple[int, int]]:
        """
        Return which rows of the log revise a message at *places*: place and seq of each, ascending.

        *places* are ascending ranges.
        """

    async def changes(
        self,
        context_id: str,
        /,
        after_version: int,
        to_version: int,
        bounds: PageBounds,
        *,
        with_bodies: bool = True,
    ) -> ChangesPage:
        """
        Read the changes after *after_version* up to *to_version*, inclusive, at least one version.

        The page ends at the newest version that exists. Versions whose rows are missing are part of
        it, without rows.

        Without *with_bodies*, the bodies and counts of messages are not read: both are empty, and
        their size is 0.
        """

    async def compactions(
        self, context_id: str, /, after_version: int, to_version: int, bounds: PageBounds
    ) -> list[CompactionRow]:
        """Read the compactions after *after_version* up to *to_version*, oldest first."""

    async def compactions_before(
        self, context_id: str, /, before_version: int, bounds: PageBounds
    ) -> list[CompactionRow]:
        """Read the compactions before *before_version*, newest first."""

    async def contexts(self, prefix: str, after: str, limit: int) -> list[ContextRow]:
        """
        Read the rows whose ids begin with *prefix* and are above *after*, in byte order of the ids.

        They include tombstoned contexts, but neither forming nor purged ones.
        """

    async def drop(self, context_id: str, /, revision: int) -> None:
        """
        Erase a forming context that is at *revision*; then its id is free again.

        If it is at another revision, nothing happens. An interrupted call can be repeated.

        Raises:
            CommitFailed: It may be erased in part.
            CommitUnknown: It may be erased in part, or as a whole.
        """

    async def abandoned(self, before_us: int) -> list[str]:
        """Return the ids of some forming contexts that were last changed before *before_us*."""

    async def idempotency_records(self, keys: Sequence[str]) -> dict[str, IdempotencyRecord]:
        """
        Return the records of those *keys* that have one.

        Raises:
            PartialRead: Only some could be read, for example because one of several servers is
            down.
        """

    async def forget_idempotency_records(self, before_us: int) -> None:
        """Delete records older than *before_us*, a bounded number at a time."""

    async def backup(self, path: Path) -> None:
        """
        Write a consistent copy of all data to the new file *path*, without interrupting the
        service.

        Raises:
            CommitFailed: This store has no files to copy, or the copy could not be written.
        """
