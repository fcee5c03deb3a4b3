"""
Between the core and a store: events become the rows of a change, and rows become a context again.

A stale context is updated from its old state and the new rows. The result equals, byte for byte,
the context built from all of its rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from sys import intern

import msgspec

from fastpaca import ranges
from fastpaca.context.config import Config, parse_policy, policy_text
from fastpaca.context.context import ContextState, Status
from fastpaca.context.draft import parse
from fastpaca.context.events import (
    Activated,
    Appended,
    Compacted,
    Configured,
    CopiedMessage,
    Created,
    Event,
    MetadataChanged,
)
from fastpaca.context.message import (
    Entry,
    as_appended,
    decode_counts,
    encode_counts,
    log_entry,
    synthetic_entry,
)
from fastpaca.context.persisted import Persisted, grown, rebuild
from fastpaca.context.usage import UsageTotals
from fastpaca.context.window import Window
from fastpaca.store.base import (
    Change,
    CompactionRow,
    ContextRow,
    Diff,
    Have,
    IdempotencyRecord,
    IdRow,
    MessageRow,
    Snapshot,
    SyntheticRow,
    message_id_hash,
)


def change(
    context: ContextState,
    events: Iterable[Event],
    records: Sequence[IdempotencyRecord],
    commit_id: bytes,
) -> Change:
    """
    Return the rows of *events*; *context* is the state after them, with the revision to commit.
    """
    config_changed = metadata_changed = activates = False
    messages: list[MessageRow] = []
    ids: list[IdRow] = []
    synthetics: list[SyntheticRow] = []
    compactions: list[CompactionRow] = []
    for event in events:
        if isinstance(event, Appended):
            row = _message_row(event)
            messages.append(row)
            if event.draft.message_id and row.revises is None:
                ids.append(IdRow(message_id_hash(event.draft.message_id), row.seq))
        elif isinstance(event, CopiedMessage):
            seq, message = event.seq, event.message
            messages.append(
                MessageRow(seq, seq, message.body, message.counts, event.at_us, message.origin)
            )
            if message.message_id:
                ids.append(IdRow(message_id_hash(message.message_id), seq))
        elif isinstance(event, Compacted):
            compactions.append(_compaction_row(event))
            synthetics += _synthetic_rows(event)
        elif isinstance(event, Created):
            config_changed = metadata_changed = True
        elif isinstance(event, Configured):
            config_changed = True
        elif isinstance(event, Activated):
            activates = True
        elif isinstance(event, MetadataChanged):
            metadata_changed = True
    return Change(
        row=context_row(context, commit_id),
        expected_revision=context.revision - 1,
        config_changed=config_changed,
        metadata_changed=metadata_changed,
        activates=activates,
        messages=messages,
        ids=ids,
        synthetics=synthetics,
        compactions=compactions,
        records=records,
    )


def context_row(context: ContextState, commit_id: bytes) -> ContextRow:
    """Return the row of *context*."""
    config, source = context.config, context.forked_from
    return ContextRow(
        id=context.id,
        status=context.status.value,
        token_budget=config.token_budget,
        trigger_ratio=config.trigger_ratio,
        token_factor=config.token_factor,
        policy=policy_text(config.policy),
        metadata=context.metadata,
        version=context.version,
        last_seq=context.last_seq,
        revision=context.revision,
        commit_id=commit_id,
        created_at_us=context.created_at_us,
        updated_at_us=context.updated_at_us,
        spoken_at_us=context.spoken_at_us,
        usage=context.usage.encode(),
        forked_from=b"" if source is None else msgspec.json.encode(source),
    )


def _message_row(event: Appended) -> MessageRow:
    entry = event.entry
    assert entry.seq is not None
    return MessageRow(
        entry.seq,
        entry.version,
        event.draft.body,
        encode_counts(entry.counts),
        event.at_us,
        event.draft.origin,
        b"" if event.usage is None else event.usage.encode(),
        None if entry.seq == entry.covers_to else entry.covers_to,
    )


def _synthetic_rows(event: Compacted) -> list[SyntheticRow]:
    return [
        SyntheticRow(
            event.version,
            stored.position,
            stored.draft.body,
            encode_counts(stored.counts),
            event.at_us,
            stored.draft.origin,
        )
        for stored in event.replacement
    ]


def _compaction_row(event: Compacted) -> CompactionRow:
    return CompactionRow(
        version=event.version,
        strategy=event.strategy,
        from_seq=event.from_seq,
        to_seq=event.to_seq,
        tokens_before=event.tokens_before,
        tokens_after=event.tokens_after,
        window=event.window.encode(),
        at_us=event.at_us,
    )


def state(row: ContextRow, window: Window) -> ContextState:
    """Return the context with this *row* and *window*."""
    if row.status == Status.PURGED:
        return _purged(row)
    return ContextState(
        id=row.id,
        status=Status(row.status),
        config=Config(
            row.token_budget, row.trigger_ratio, parse_policy(row.policy), row.token_factor
        ),
        metadata=row.metadata,
        version=row.version,
        last_seq=row.last_seq,
        revision=row.revision,
        created_at_us=row.created_at_us,
        updated_at_us=row.updated_at_us,
        spoken_at_us=row.spoken_at_us,
        window=window,
        usage=UsageTotals.decode(row.usage),
        forked_from=forked_from(row),
    )


def forked_from(row: ContextRow) -> tuple[str, int] | None:
    """Return what the context of *row* is a fork of: the id of its source, and a version."""
    return _source_decoder.decode(row.forked_from) if row.forked_from else None


_source_decoder = msgspec.json.Decoder(tuple[str, int])


def _purged(row: ContextRow) -> ContextState:
    return ContextState(
        id=row.id,
        status=Status.PURGED,
        config=Config(),
        metadata=b"{}",
        version=0,
        last_seq=0,
        revision=row.revision,
        created_at_us=0,
        updated_at_us=0,
        spoken_at_us=0,
        window=Window(),
    )


def rebuilt(snapshot: Snapshot) -> ContextState:
    """Return the context of *snapshot*, including its window."""
    row = snapshot.row
    if row.status == Status.PURGED:
        return _purged(row)
    log = map(log_entry_of, snapshot.messages)
    return state(row, _window(snapshot.window, log, map(_synthetic, snapshot.synthetics)))


def have(context: ContextState) -> Have:
    """Return which rows of *context* need not be read again."""
    seqs: list[int] = []
    synthetics: set[tuple[int, int]] = set()
    for entry in _unchanged(context.window):
        if entry.seq is None:
            synthetics.add((entry.version, entry.position))
        else:
            seqs.append(entry.seq)
    return Have(context.version, context.last_seq, ranges.runs(sorted(seqs)), synthetics)


def updated(context: ContextState, diff: Diff) -> ContextState:
    """Return the current state of *context*, of which *diff* holds everything new."""
    row = diff.row
    if row.status == Status.PURGED:
        return _purged(row)
    log = map(log_entry_of, diff.messages)
    if diff.window is None:
        return state(row, grown(context.window.apart(), log))
    unchanged = _unchanged(context.window)
    logged = [as_appended(entry) for entry in unchanged if entry.seq is not None]
    synthetics = [entry for entry in unchanged if entry.seq is None]
    synthetics += map(_synthetic, diff.synthetics)
    # New rows may come before old entries: messages that were cut and are in the window again.
    return state(row, _window(diff.window, chain(logged, log), synthetics))


def _unchanged(window: Window) -> list[Entry]:
    """Return the entries from which nothing was removed."""
    return [entry for entry in window if not entry.without]


def _window(text: bytes | None, log: Iterable[Entry], synthetics: Iterable[Entry]) -> Window:
    """Build a window from its stored form; *log* and *synthetics* hold at least its entries."""
    stored = Persisted.decode(text) if text else Persisted()
    placed = {(entry.version, entry.position): entry for entry in synthetics}

    def replacement(version: int, first: int, last: int) -> list[Entry]:
        return [placed[version, position] for position in range(first, last + 1)]

    return rebuild(stored, log, replacement)


def log_entry_of(row: MessageRow) -> Entry:
    """Return the entry of a message of the log, as it was appended."""
    return log_entry(
        parse(row.body, "message"),
        decode_counts(row.counts),
        row.seq,
        row.version,
        row.at_us,
        intern(row.origin),  # there are few different ones
        row.revises,
    )


def _synthetic(row: SyntheticRow) -> Entry:
    return synthetic_entry(
        parse(row.body, "message"),
        decode_counts(row.counts),
        row.version,
        row.position,
        (0, 0),  # `rebuild` fills in what it covers
        row.at_us,
        intern(row.origin),
    )


def with_revision(context: ContextState, revision: int) -> ContextState:
    """Return *context* with the revision of its commit."""
    return msgspec.structs.replace(context, revision=revision)
