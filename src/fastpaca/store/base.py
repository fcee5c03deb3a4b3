"""
The port of a store: what the engine asks of durable truth, and the rows that pass through it.

Rows are keyed by the id of their context first, and nothing needs a transaction, a foreign key or a
sequence across contexts, so the same port fits a database that is sharded by context.

A store moves bytes and decides nothing. Every row is ready to be written: ids, seqs, versions and
times come with it.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence, Set
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

import msgspec

from fastpaca.clock import Clock

COMMIT_ID_BYTES: Final = 16


def new_commit_id() -> bytes:
    """Return an id that no other commit has."""
    return secrets.token_bytes(COMMIT_ID_BYTES)


class ContextRow(msgspec.Struct, frozen=True, gc=False):
    """
    The state of a context, without its log and window.

    Attributes:
        id: The caller's id.
        status: `active`, `tombstoned` or `purged`; of a purged context only *id* and *status* hold.
        token_budget: In tokens.
        trigger_ratio: In (0, 1].
        token_factor: In (0, 10].
        policy: JSON text.
        metadata: JSON text of an object.
        version: See `Context.version`.
        last_seq: Seq of the newest message.
        revision: Number of commits that touched the context.
        commit_id: 16 random bytes of the commit that wrote this row last.
        created_at_us: Microseconds since 1970, UTC; so are the others.
        updated_at_us: When anything of it last changed.
        spoken_at_us: When its log or window last changed.
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


class MessageRow(NamedTuple):
    """A message of a log: JSON text as `Draft.body`, counts as `encode_counts` wrote them."""

    seq: int
    version: int
    body: bytes
    counts: bytes
    at_us: int


class SyntheticRow(NamedTuple):
    """A synthetic message: its replacement's version, its position there, and as `MessageRow`."""

    version: int
    position: int
    body: bytes
    counts: bytes
    at_us: int


class CompactionRow(NamedTuple):
    """A rewrite of the window, as `Compacted`; *window* is the stored form that resulted."""

    version: int
    strategy: str
    from_seq: int | None
    to_seq: int | None
    tokens_before: int
    tokens_after: int
    window: bytes
    at_us: int


class AnswerRow(msgspec.Struct, frozen=True, gc=False):
    """
    A stored answer to a request with an `Idempotency-Key`.

    Attributes:
        key: The caller's key; one namespace for the whole store.
        fingerprint: Hash of method, path and body.
        answer: The body that was answered.
        at_us: When.
    """

    key: str
    fingerprint: bytes
    answer: bytes
    at_us: int


class Change(msgspec.Struct, frozen=True, gc=False):
    """
    All that one commit writes for one context. All of it lands, or none.

    Attributes:
        row: The state after the commit; `row.revision` is *expected_revision* + 1.
        expected_revision: The revision it was decided on; 0 if the context is new.
        config_changed: Whether budget, trigger or policy differ (true when new).
        metadata_changed: Whether the metadata differ (true when new).
        messages: Appended messages, ascending, right behind the last ones. Before them may stand
            older ones that the store has been emptied of, to be held again.
        synthetics: Messages of new replacements.
        compactions: Rewrites of the window, in order; the last one's *window* is the current.
        answers: Answers to keep, at most one per message and compaction here; their keys were
            looked up before and are new.
    """

    row: ContextRow
    expected_revision: int
    config_changed: bool = False
    metadata_changed: bool = False
    messages: Sequence[MessageRow] = ()
    synthetics: Sequence[SyntheticRow] = ()
    compactions: Sequence[CompactionRow] = ()
    answers: Sequence[AnswerRow] = ()

    @property
    def purges(self) -> bool:
        """Whether this erases all content of the context, and leaves a hash of its id."""
        return self.row.status == "purged"


class Snapshot(NamedTuple):
    """
    What a context's state is rebuilt from, all read at one moment.

    Attributes:
        row: Its row.
        window: The stored form of its window (`Persisted`), None if it was never rewritten.
        messages: The messages of the log that the window needs (`window.ranges`), ascending.
        synthetics: The synthetic messages that the window needs, by version and position.
    """

    row: ContextRow
    window: bytes | None
    messages: Sequence[MessageRow]
    synthetics: Sequence[SyntheticRow]


class Known(NamedTuple):
    """
    What somebody has of a context, as it was after an earlier version.

    Attributes:
        version: That version.
        last_seq: Where the log ended.
        log: Which messages of the log are there as they were appended: seqs, as inclusive ranges,
            ascending.
        synthetics: Which synthetic messages are, as (version, position).
    """

    version: int
    last_seq: int
    log: Sequence[tuple[int, int]]
    synthetics: Set[tuple[int, int]]


class Delta(NamedTuple):
    """
    What is new of a context for one who knows an earlier state of it, all read at one moment.

    Attributes:
        row: Its row, as it is now.
        window: The stored form of its window, None if it was not rewritten since.
        messages: The messages of the log that the window needs and that are not known, ascending.
        synthetics: The synthetic messages of which that is true, by version and position.
    """

    row: ContextRow
    window: bytes | None
    messages: Sequence[MessageRow]
    synthetics: Sequence[SyntheticRow]


class ChangesPage(NamedTuple):
    """
    The changes of a conversation, version by version.

    Attributes:
        messages: Those that were appended, ascending.
        compactions: Rewrites of the window, ascending.
        through: The last version of which everything that there is is here.
    """

    messages: list[MessageRow]
    compactions: list[CompactionRow]
    through: int


class Condition(NamedTuple):
    """
    How a store is, as far as it is known without asking it.

    Attributes:
        reason: Why it is of no use now, as a sentence that names no address, host or user; None if
            all is well.
        is_partial: Whether some contexts can be read and written all the same.
    """

    reason: str | None = None
    is_partial: bool = False


class CommitFailed(Exception):
    """The commit certainly did not happen: nothing of it is in the store."""


class CommitBlocked(CommitFailed):
    """Another program holds the lock that every commit takes; any other would wait just as long."""


class CommitOvertaken(CommitFailed):
    """
    It rests on a state that is not the current one: a revision, an id or a key says so.

    *context_ids* names the contexts that somebody else was faster to change, where that is known.
    """

    def __init__(self, message: str, context_ids: Iterable[str] = ()) -> None:
        self.context_ids = frozenset(context_ids)
        super().__init__(message)


class CommitUnknown(Exception):
    """
    The commit may or may not have happened.

    *fatal* says that the store can't be trusted any more in this process, as after a failed fsync.
    *context_ids* names the contexts that are in doubt; all others were certainly written. If it is
    empty, all are in doubt.
    """

    def __init__(self, message: str, *, fatal: bool, context_ids: Iterable[str] = ()) -> None:
        self.fatal = fatal
        self.context_ids = frozenset(context_ids)
        super().__init__(message)


class ReadFailed(Exception):
    """
    The store could not be read; trying again may help.

    *message* is for the log and may quote what a database said. *told* is a sentence for the
    caller, where there is more to say than that the store can't be read.
    """

    def __init__(self, message: str, *, told: str = "") -> None:
        self.told = told
        super().__init__(message)


class ReadPartly(ReadFailed):
    """
    Of many that were asked for at once, some could be read and some could not.

    Attributes:
        found: What was found of those that could be read, as if they alone had been asked for.
        failed: Those that could not: of them nothing is known.
    """

    def __init__(self, message: str, found: Mapping[str, Any], failed: Iterable[str]) -> None:
        self.found = found
        self.failed = frozenset(failed)
        super().__init__(message)


class StoreRefused(Exception):
    """The store cannot be opened; the message is a sentence for the operator."""


class Store(Protocol):
    """
    Durable truth. Methods may be called concurrently, from one event loop.

    All reading methods raise `ReadFailed` when the store cannot be read.
    """

    @property
    def name(self) -> str:
        """What the start banner calls it; shows no password."""

    @property
    def is_shared(self) -> bool:
        """Whether other nodes write to it as well, so that what is in memory may be old."""

    @property
    def clock(self) -> Clock | None:
        """The clock of all who write to it; None if this machine's will do."""

    @property
    def condition(self) -> Condition:
        """Whether it can be used; never waits."""

    async def open(self) -> None:
        """
        Get ready: recover, migrate, and take what must be held exclusively.

        Raises:
            StoreRefused: In use by another process, written by a newer release, or unusable.
        """

    async def close(self) -> None:
        """Finish what is under way and let go. May be called on a store that never opened."""

    async def revisions(self, context_ids: Sequence[str]) -> dict[str, int]:
        """
        Look up the revisions of contexts, as far as they exist; purged ones have one too.

        Raises:
            ReadPartly: Some could be read, as when one server of several is away.
        """

    async def load(self, context_id: str) -> Snapshot | None:
        """Read what rebuilding the state of *context_id* needs; None if it never existed."""

    async def load_since(self, context_id: str, known: Known) -> Delta | None:
        """Read what is new for one who has what *known* says; None if there is no such context."""

    async def load_at(self, context_id: str, version: int) -> Snapshot | None:
        """
        Read what rebuilding the window takes as it was after *version*.

        In the row, *version*, `last_seq` and `spoken_at_us` are those of that moment, all else is
        of now. None if there is no such version: of a context that never existed or was purged,
        or one that is still to come.
        """

    async def commit(self, changes: Sequence[Change]) -> None:
        """
        Write *changes*, at most one per context, in one durable transaction.

        Raises:
            CommitFailed: Certainly nothing was written.
            CommitUnknown: It may have been written.
        """

    async def messages(
        self, context_id: str, from_seq: int, to_seq: int, limit: int, bytes_max: int
    ) -> list[MessageRow]:
        """
        Read the log forward from *from_seq* to *to_seq*, inclusive.

        Ends early after *limit* messages, or at the one whose body takes the sum above *bytes_max*
        (which is left out unless it is the first).
        """

    async def messages_before(
        self, context_id: str, before_seq: int, limit: int, bytes_max: int
    ) -> list[MessageRow]:
        """Read the newest *limit* messages below *before_seq*, ascending; ends as `messages`."""

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
        """
        Read what happened behind *after_version* up to *to_version*, inclusive.

        Ends early after *limit* versions, or at the one whose rows take the sum of bodies and
        windows above *bytes_max*; the first one is always there. Versions that do not exist yet
        are not read; those whose rows are missing are, and are simply not there.

        Without bodies, neither bodies nor counts of messages are read: both are empty, and count
        for nothing.
        """

    async def compactions(
        self, context_id: str, after_version: int, to_version: int, limit: int, bytes_max: int
    ) -> list[CompactionRow]:
        """
        Read rewrites of the window behind *after_version* up to *to_version*, oldest first.

        Ends early after *limit*, or at the one whose window takes the sum above *bytes_max*
        (which is left out unless it is the first).
        """

    async def compactions_before(
        self, context_id: str, before_version: int, limit: int, bytes_max: int
    ) -> list[CompactionRow]:
        """Read rewrites of the window below *before_version*, newest first; as `compactions`."""

    async def contexts(self, prefix: str, after: str, limit: int) -> list[ContextRow]:
        """
        Read rows whose id begins with *prefix* and is above *after*, in byte order of the id.

        Tombstoned ones are in, purged ones are not.
        """

    async def answers(self, keys: Sequence[str]) -> dict[str, AnswerRow]:
        """
        Look up the stored answers of these idempotency *keys*.

        Raises:
            ReadPartly: Some could be read, as when one server of several is away.
        """

    async def forget_answers(self, before_us: int) -> None:
        """Delete answers older than *before_us*, a bounded number at a time."""

    async def backup(self, path: Path) -> None:
        """
        Write a consistent copy of everything to the new file *path* while serving goes on.

        Raises:
            CommitFailed: This store has no such copy, or it could not be written.
        """
