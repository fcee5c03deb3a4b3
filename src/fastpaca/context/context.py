"""
The state machine of one conversation.

`ContextState` is a value. `apply` decides what an op does to it, and returns the next value and the
events that a store must write. A refused op raises and changes nothing.

The file is long because every op decides on the same value, and shares its last steps with others.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Final, NamedTuple, TypeVar

import msgspec
from msgspec.structs import replace

from fastpaca import errors
from fastpaca.context import jsontext
from fastpaca.context.config import FORK, MANUAL, REWIND, Config, Manual, strategy_of
from fastpaca.context.draft import Draft
from fastpaca.context.events import (
    Activated,
    Appended,
    Compacted,
    Configured,
    ContextPurged,
    ContextTombstoned,
    CopiedMessage,
    Created,
    Event,
    MetadataChanged,
    TakenOver,
)
from fastpaca.context.fit import Fitted, fit, whole
from fastpaca.context.message import (
    Counts,
    Entry,
    as_appended,
    log_entry,
    says_the_same,
    scaled,
    synthetic_entry,
)
from fastpaca.context.oddities import unpaired
from fastpaca.context.ops import (
    Append,
    BeginFork,
    Compact,
    CopyMessages,
    Counted,
    Delete,
    Op,
    PatchMetadata,
    Purge,
    Put,
    PutMessage,
    Rewind,
    TakeOver,
)
from fastpaca.context.path import RANGES_MAX
from fastpaca.context.persisted import Stored, persisted
from fastpaca.context.policies import compact, is_above_trigger, is_due
from fastpaca.context.usage import Usage, UsageTotals
from fastpaca.context.window import (
    Window,
    WindowSegment,
    changed_range,
    replaced,
    segments,
)

METADATA_BYTES_MAX: Final = 256 * 1024
"""The most bytes of a context's metadata: they are read and written as a whole."""

T = TypeVar("T")


FORMING_US: Final = 60_000_000
"""After how long a context that is forming, and that no node touches, counts as abandoned."""


class Status(StrEnum):
    """Where a context is in its life; a fork that is FORMING cannot be seen yet."""

    FORMING = "forming"
    ACTIVE = "active"
    TOMBSTONED = "tombstoned"
    PURGED = "purged"


class WindowView(NamedTuple):
    """
    What one read of the window returns.

    Attributes:
        version: The version of the context.
        entries: The entries, oldest first.
        used_tokens: The sum of their tokens; at most *token_budget*, unless the policy is `manual`.
        window_tokens: The sum of the tokens of the whole window.
        needs_compaction: Whether the window is above the trigger of *token_budget*.
        segments: The segments of *entries*.
        token_budget: The budget that was applied.
        fit: What fitting did: `whole`, `dropped`, `cut` or `empty`.
        stable_messages: How many of *entries* at the front the next view will begin with, unless
            the window is rewritten or cut again.
    """

    version: int
    entries: Iterable[Entry]
    used_tokens: int
    window_tokens: int
    needs_compaction: bool
    segments: list[WindowSegment]
    token_budget: int
    fit: str
    stable_messages: int


class ContextState(msgspec.Struct, frozen=True, gc=False):
    """
    One conversation: its configuration, the end of its log, and its window.

    Attributes:
        id: The caller's id.
        status: Whether it can be changed.
        config: Budget, trigger and policy.
        metadata: The caller's metadata, a JSON object as text.
        version: Grows by one with each appended or revised message, each compact call and each
            rewind.
        last_seq: The seq of the newest row; 0 for an empty log.
        revision: Grows by one with each commit; the engine counts it.
        created_at_us: When it was created, in microseconds since 1970, UTC.
        updated_at_us: When it was last changed in any way.
        spoken_at_us: When its log or window last changed.
        window: The LLM context, before it is fitted, and the path.
        usage: What was reported of the calls that gave its messages.
        forked_from: For a fork, the id of its source and the version whose path it began with.
    """

    id: str
    status: Status
    config: Config
    metadata: bytes
    version: int
    last_seq: int
    revision: int
    created_at_us: int
    updated_at_us: int
    spoken_at_us: int
    window: Window
    usage: UsageTotals = UsageTotals()
    forked_from: tuple[str, int] | None = None

    @property
    def needs_compaction(self) -> bool:
        """Whether the window is above its trigger."""
        return is_above_trigger(self.window, self.config, self.config.token_budget)

    def check_writable(self) -> None:
        """
        Refuse to change a context that was deleted.

        Raises:
            Tombstoned: It was deleted for writing.
            Purged: Its content was erased.
        """
        if self.status is Status.FORMING:
            raise errors.ContextNotFound
        if self.status is Status.PURGED:
            raise errors.Purged
        if self.status is Status.TOMBSTONED:
            raise errors.Tombstoned

    def apply(self, op: Op, now_us: int) -> tuple[ContextState, tuple[Event, ...]]:
        """
        Decide what *op* does to this context at *now_us* (microseconds since 1970, UTC).

        An op that changes nothing returns the same context and no events.

        Raises:
            Tombstoned: The context was deleted for writing.
            Purged: The context was purged.
            ContextNotFound: The context is forming.
            AlreadyExists: The context is forming, or a fork is to begin here.
            VersionConflict: The op's *if_version* is not the current version.
            InvalidRequest: A compaction refers to a message that is not on the path, a message has
                another role than the one that it revises, or there is nothing to go back to.
        """
        if isinstance(op, Append):  # most are
            self.check_writable()
            return self._append(op, now_us)
        if isinstance(op, (BeginFork, CopyMessages, TakeOver)):
            return self._fork(op, now_us)
        if self.status is Status.FORMING and isinstance(op, Put):
            raise errors.AlreadyExists
        if self.status is Status.FORMING:
            raise errors.ContextNotFound
        if isinstance(op, Purge):
            return self._purge(now_us)
        if isinstance(op, Delete) and self.status is not Status.ACTIVE:
            return self, ()
        self.check_writable()
        if isinstance(op, PutMessage):
            return self._put_message(op, now_us)
        if isinstance(op, Rewind):
            return self._rewind(op, now_us)
        if isinstance(op, Compact):
            return self._compact(op, now_us)
        if isinstance(op, Put):
            return self._put(op, now_us)
        if isinstance(op, PatchMetadata):
            return self._patch_metadata(op, now_us)
        return self._touched(now_us, status=Status.TOMBSTONED), (ContextTombstoned(),)

    def _fork(
        self, op: BeginFork | CopyMessages | TakeOver, now_us: int
    ) -> tuple[ContextState, tuple[Event, ...]]:
        if self.status is Status.PURGED:
            raise errors.Purged
        if self.status is not Status.FORMING or isinstance(op, BeginFork):
            raise errors.AlreadyExists
        if isinstance(op, TakeOver):
            if op.created_at_us == self.created_at_us:
                return self._touched(now_us), (TakenOver(),)
            if not self.is_abandoned(now_us):
                raise errors.AlreadyExists
            # Its old owner finds that it was created at another time, and stops.
            created_at_us = max(now_us, self.created_at_us + 1)
            return self._touched(now_us, created_at_us=created_at_us), (TakenOver(),)
        if (op.created_at_us, op.after_seq) != (self.created_at_us, self.last_seq):
            raise errors.Unavailable("The fork was taken for abandoned; try again.")
        return self._copy(op, now_us)

    def _copy(self, op: CopyMessages, now_us: int) -> tuple[ContextState, tuple[Event, ...]]:
        events: list[Event] = []
        at_us, seq = self.spoken_at_us, self.last_seq
        for message in op.messages:
            seq += 1
            at_us = max(at_us, message.at_us)
            events.append(CopiedMessage(seq, message, at_us))
        version, status = seq, Status.FORMING
        if op.ends:
            status = Status.ACTIVE
            events.append(Activated())
            if op.window is not None:
                version += 1
                event = Compacted(
                    version,
                    FORK,
                    None,
                    None,
                    op.tokens,
                    op.tokens,
                    op.window,
                    op.replacement,
                    at_us,
                )
                events.append(event)
        changed = self._touched(
            now_us, status=status, version=version, last_seq=seq, spoken_at_us=at_us
        )
        return changed, tuple(events)

    def is_abandoned(self, now_us: int) -> bool:
        """Return whether this is forming, and no node has touched it for long."""
        return self.status is Status.FORMING and now_us - self.updated_at_us >= FORMING_US

    def budget(self, budget_tokens: int | None) -> tuple[int, bool]:
        """Return the budget of a read that asks for *budget_tokens*, and whether it binds."""
        if budget_tokens is not None:
            return budget_tokens, True
        return self.config.token_budget, not isinstance(self.config.policy, Manual)

    def view(self, budget_tokens: int | None = None) -> WindowView:
        """Return the window fitted to *budget_tokens*, or to the context's own token budget."""
        budget, binds = self.budget(budget_tokens)
        fitted = fit(self.window, self.config, budget) if binds else whole(self.window)
        return self.view_of(fitted, budget)

    def view_of(self, fitted: Fitted, budget: int) -> WindowView:
        """Return the view of what was *fitted* to *budget*."""
        return WindowView(
            version=self.version,
            entries=fitted.entries,
            used_tokens=fitted.used_tokens,
            window_tokens=self.window.tokens,
            needs_compaction=is_above_trigger(self.window, self.config, budget),
            segments=segments(fitted.entries),
            token_budget=budget,
            fit=fitted.fit,
            stable_messages=fitted.stable,
        )

    def check_version(self, if_version: int | None) -> None:
        """
        Check that *if_version*, if given, is the current version.

        Raises:
            VersionConflict: It is another one.
        """
        if if_version is not None and if_version != self.version:
            raise errors.VersionConflict(expected=if_version, found=self.version)

    def _append(self, op: Append, now_us: int) -> tuple[ContextState, tuple[Event, ...]]:
        self.check_version(op.if_version)
        if not op.messages:
            return self, ()
        at_us = max(now_us, self.spoken_at_us)  # times never fall along the log
        events: list[Event] = []
        seq, version, window = self.last_seq, self.version, self.window
        factor = self.config.token_factor
        admitted, newest = window, seq + len(op.messages)
        for message in op.messages:
            seq, version = seq + 1, version + 1
            draft, counts = message.draft, message.counts
            if factor != 1:
                counts = self._scaled(draft, counts)
            entry = log_entry(draft, counts, seq, version, at_us, draft.origin)
            oddities = draft.oddities
            if draft.reading.tool_references:
                window, late = window.admission(entry)
                if late:
                    oddities += tuple(map(unpaired, late))
            else:
                window = window.grown(entry)
                if window.groups is not None:
                    window.grouped()  # message by message, so that no later one costs more
            usage = op.usage if seq == newest else None
            events.append(Appended(entry, draft, at_us, oddities, usage))
            admitted = window
            if is_due(window, self.config):
                window, trims = self._trimmed(window, version, seq, at_us)
                events += trims
        assert version - self.version == seq - self.last_seq == len(op.messages)
        changed = self._touched(
            at_us,
            version=version,
            last_seq=seq,
            window=window,
            spoken_at_us=at_us,
            usage=self._reported(op.usage, admitted, seq),
        )
        return changed, tuple(events)

    def _trimmed(
        self, window: Window, version: int, last_seq: int, at_us: int
    ) -> tuple[Window, Sequence[Compacted]]:
        """Shrink *window* if that is possible; return it, and what was done."""
        smaller = compact(window, self.config)
        if smaller is window:
            return window, ()
        smaller.through = last_seq
        return smaller, (self._compacted(window, smaller, version, last_seq, at_us),)

    def _put_message(self, op: PutMessage, now_us: int) -> tuple[ContextState, tuple[Event, ...]]:
        self.check_version(op.if_version)
        if op.current is None:
            return self._append(Append((op.message,), usage=op.usage), now_us)
        if op.message.draft.role != op.current.role:
            raise errors.InvalidRequest(
                f"A revision keeps its role: this message has the role {op.current.role!r}.",
                "message.role",
            )
        if says_the_same(op.message.draft, op.current):
            return self, ()
        return self._revise(op.current, op.message, op.usage, now_us)

    def _revise(
        self, current: Entry, message: Counted, usage: Usage | None, now_us: int
    ) -> tuple[ContextState, tuple[Event, ...]]:
        """Let *message* take the place of *current*, a message on the path."""
        assert self.window.path.holds(current.place)
        at_us = max(now_us, self.spoken_at_us)
        seq, version, draft = self.last_seq + 1, self.version + 1, message.draft
        counts = self._scaled(draft, message.counts)
        place, origin = current.place, draft.origin
        entry = log_entry(draft, counts, seq, version, at_us, origin, place)
        window, late = self.window.revision(entry)
        appended = Appended(entry, draft, at_us, (*draft.oddities, *map(unpaired, late)), usage)
        trims: Sequence[Compacted] = ()
        if is_due(window, self.config):
            window, trims = self._trimmed(window, version, seq, at_us)
        changed = self._touched(
            at_us,
            version=version,
            last_seq=seq,
            window=window,
            spoken_at_us=at_us,
            usage=self.usage if usage is None else self.usage.added(usage),
        )
        return changed, (appended, *trims)

    def _reported(self, usage: Usage | None, admitted: Window, seq: int) -> UsageTotals:
        """Return the totals with *usage*; the window *admitted* ends with its message, *seq*."""
        if usage is None:
            return self.usage
        budget, binds = self.budget(None)
        return self.usage.reported(usage, admitted, seq, budget if binds else None)

    def _rewind(self, op: Rewind, now_us: int) -> tuple[ContextState, tuple[Event, ...]]:
        self.check_version(op.if_version)
        past = op.past
        field = "to_seq" if op.is_place else "to_version"
        if past is None:
            if op.target == (self.window.end if op.is_place else self.version):
                return self, ()
            fault = op.fault or f"Must not be above the current version, {self.version}."
            raise errors.InvalidRequest(fault, field)
        window = past.window.back(past.last_seq, self.last_seq)
        if len(window.path.kept) >= RANGES_MAX:  # one more is open
            raise errors.InvalidRequest(
                f"The path would have more than {RANGES_MAX:,} ranges; fork instead.", field
            )
        at_us = max(now_us, self.spoken_at_us)
        version = self.version + 1
        from_seq, to_seq = changed_range(self.window, window, window.entries)
        event = Compacted(
            version=version,
            strategy=REWIND,
            from_seq=from_seq,
            to_seq=to_seq,
            tokens_before=self.window.tokens,
            tokens_after=window.tokens,
            window=persisted(window, self.last_seq, past.version),
            replacement=(),
            at_us=at_us,
        )
        changed = self._touched(
            at_us, version=version, window=window, spoken_at_us=at_us, usage=self.usage.ended()
        )
        return changed, (event,)

    def _compacted(
        self,
        before: Window,
        after: Window,
        version: int,
        last_seq: int,
        at_us: int,
        references: Sequence[Entry] = (),
    ) -> Compacted:
        from_seq, to_seq = changed_range(before, after, references)
        assert (from_seq is None) == (to_seq is None)
        return Compacted(
            version=version,
            strategy=strategy_of(self.config.policy),
            from_seq=from_seq,
            to_seq=to_seq,
            tokens_before=before.tokens,
            tokens_after=after.tokens,
            window=persisted(after, last_seq),
            replacement=(),
            at_us=at_us,
        )

    def _compact(self, op: Compact, now_us: int) -> tuple[ContextState, tuple[Event, ...]]:
        self.check_version(op.if_version)
        at_us = max(now_us, self.spoken_at_us)
        version = self.version + 1
        entries, stored = self._placed(op.replacement, version, at_us)
        after = replaced(self.window, entries, self.last_seq)
        references = [entry for entry in entries if entry.seq is not None]
        event = self._compacted(self.window, after, version, self.last_seq, at_us, references)
        changed = self._touched(at_us, version=version, window=after, spoken_at_us=at_us)
        return changed, (replace(event, strategy=MANUAL, replacement=tuple(stored)),)

    def _placed(
        self, replacement: tuple[Entry | Counted, ...], version: int, at_us: int
    ) -> tuple[list[Entry], list[Stored]]:
        """Return the entries of *replacement*, and the synthetic messages among them to store."""
        entries: list[Entry] = []
        stored: list[Stored] = []
        ends = _ends(replacement, self.window.end)
        covered = 0
        for position, item in enumerate(replacement):
            if isinstance(item, Entry):
                if item.seq is None or not self._may_follow(item, covered):
                    raise errors.InvalidRequest(
                        "References must name messages on the path, in its order.",
                        f"replacement[{position}].seq",
                    )
                covered = item.place
                entries.append(as_appended(item))
            else:
                covers = (covered + 1, ends[position])
                counts = self._scaled(item.draft, item.counts)
                stored.append(Stored(position, item.draft, counts))
                draft, origin = item.draft, item.draft.origin
                entries.append(
                    synthetic_entry(draft, counts, version, position, covers, at_us, origin)
                )
        return entries, stored

    def _may_follow(self, reference: Entry, place: int) -> bool:
        """Return whether *reference* may come after a reference to the message at *place*."""
        path = self.window.path
        is_there = path.holds(reference.place) and path.holds(reference.seq or 0)
        return is_there and place < reference.place <= self.window.end

    def _scaled(self, draft: Draft, counts: Counts) -> Counts:
        return scaled(counts, self.config.token_factor, draft.token_count)

    def _put(self, op: Put, now_us: int) -> tuple[ContextState, tuple[Event, ...]]:
        config = Config(
            token_budget=_or(op.token_budget, self.config.token_budget),
            trigger_ratio=_or(op.trigger_ratio, self.config.trigger_ratio),
            policy=_or(op.policy, self.config.policy),
            token_factor=_or(op.token_factor, self.config.token_factor),
        )
        events: list[Event] = []
        if not _same_config(config, self.config):
            events.append(Configured())
        metadata = self.metadata
        if op.metadata is not None and not jsontext.same_text(op.metadata, metadata):
            events.append(MetadataChanged())
            metadata = op.metadata
        if not events:
            return self, ()
        is_recounted = config.token_factor != self.config.token_factor
        usage = self.usage.recounted() if is_recounted else self.usage
        changed = self._touched(now_us, config=config, metadata=metadata, usage=usage)
        return changed, tuple(events)

    def _patch_metadata(
        self, op: PatchMetadata, now_us: int
    ) -> tuple[ContextState, tuple[Event, ...]]:
        merged = jsontext.members(self.metadata, (), None)
        changes = {
            key: value
            for key, value in op.changes.items()
            if (value is None and key in merged) or (value is not None and merged.get(key) != value)
        }
        if not changes:
            return self, ()
        for key, value in changes.items():
            if value is None:
                del merged[key]
            else:
                merged[key] = value
        metadata = jsontext.joined(merged)
        if len(metadata) > METADATA_BYTES_MAX:
            raise errors.InvalidRequest(
                f"The metadata would have {len(metadata)} bytes of JSON; the limit is"
                f" {METADATA_BYTES_MAX}.",
                "metadata",
            )
        return self._touched(now_us, metadata=metadata), (MetadataChanged(),)

    def _purge(self, now_us: int) -> tuple[ContextState, tuple[Event, ...]]:
        if self.status is Status.PURGED:
            return self, ()
        changed = self._touched(
            now_us,
            status=Status.PURGED,
            metadata=b"{}",
            window=Window(),
            config=Config(),
            usage=UsageTotals(),
            forked_from=None,
        )
        return changed, (ContextPurged(),)

    def _touched(self, now_us: int, **changes: object) -> ContextState:
        updated_at_us = max(now_us, self.updated_at_us)
        return replace(self, updated_at_us=updated_at_us, **changes)


def create(context_id: str, op: Op, now_us: int) -> tuple[ContextState, tuple[Event, ...]]:
    """
    Decide what *op* does to a context that does not exist: `Put` and `BeginFork` create it.

    Raises:
        ContextNotFound: It is another op.
    """
    if isinstance(op, BeginFork):
        forming = replace(
            _blank(context_id, now_us),
            status=Status.FORMING,
            config=op.config,
            metadata=op.metadata,
            forked_from=op.forked_from,
        )
        return forming, (Created(),)
    if not isinstance(op, Put):
        raise errors.ContextNotFound
    context, events = _blank(context_id, now_us).apply(op, now_us)
    return context, (Created(), *events)


def _blank(context_id: str, now_us: int) -> ContextState:
    return ContextState(
        id=context_id,
        status=Status.ACTIVE,
        config=Config(),
        metadata=b"{}",
        version=0,
        last_seq=0,
        revision=0,
        created_at_us=now_us,
        updated_at_us=now_us,
        spoken_at_us=0,
        window=Window(),
    )


def _or(value: T | None, default: T) -> T:
    return default if value is None else value


def _same_config(left: Config, right: Config) -> bool:
    # Policies are tuples, so two kinds with the same values are equal.
    return left == right and type(left.policy) is type(right.policy)


def _ends(replacement: tuple[Entry | Counted, ...], last_place: int) -> list[int]:
    """Return for each message the last place before the next reference after it."""
    end = last_place
    ends = [0] * len(replacement)
    for position in range(len(replacement) - 1, -1, -1):
        item = replacement[position]
        if isinstance(item, Entry) and item.seq is not None:
            end = item.place - 1
        ends[position] = end
    return ends
