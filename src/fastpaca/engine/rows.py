"""
Between the core and a store: events become the rows of a change, rows become a context again.

A context that was in memory while others wrote to it becomes what it is now of its old state and
the rows that are new; that is the same, byte for byte, as what all of its rows make.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from functools import lru_cache
from heapq import merge

import msgspec

from fastpaca.context.config import Config, parse_policy, policy_text
from fastpaca.context.context import Context, Status
from fastpaca.context.events import Appended, Compacted, Configured, Created, Event, MetadataChanged
from fastpaca.context.message import (
    Entry,
    as_appended,
    decode_counts,
    encode_counts,
    log_entry,
    parse,
    synthetic_entry,
)
from fastpaca.context.window import Persisted, Window, rebuild
from fastpaca.store.base import (
    AnswerRow,
    Change,
    CompactionRow,
    ContextRow,
    Delta,
    Known,
    MessageRow,
    Snapshot,
    SyntheticRow,
)

# Typed, since policies are tuples and two kinds of the same values would count as equal.
_policy_text = lru_cache(maxsize=1024, typed=True)(policy_text)


def change(
    context: Context,
    events: Iterable[Event],
    answers: Sequence[AnswerRow],
    commit_id: bytes,
) -> Change:
    """Write down what *events* made of a context; its revision is the one to be committed."""
    config_changed = metadata_changed = False
    messages: list[MessageRow] = []
    synthetics: list[SyntheticRow] = []
    compactions: list[CompactionRow] = []
    for event in events:
        if isinstance(event, Appended):
            messages.append(_message_row(event))
        elif isinstance(event, Compacted):
            compactions.append(_compaction_row(event))
            synthetics += _synthetic_rows(event)
        elif isinstance(event, Created):
            config_changed = metadata_changed = True
        elif isinstance(event, Configured):
            config_changed = True
        elif isinstance(event, MetadataChanged):
            metadata_changed = True
    return Change(
        row=context_row(context, commit_id),
        expected_revision=context.revision - 1,
        config_changed=config_changed,
        metadata_changed=metadata_changed,
        messages=messages,
        synthetics=synthetics,
        compactions=compactions,
        answers=answers,
    )


def context_row(context: Context, commit_id: bytes) -> ContextRow:
    """Write down the state of a *context*."""
    config = context.config
    return ContextRow(
        id=context.id,
        status=context.status.value,
        token_budget=config.token_budget,
        trigger_ratio=config.trigger_ratio,
        token_factor=config.token_factor,
        policy=_policy_text(config.policy),
        metadata=context.metadata,
        version=context.version,
        last_seq=context.last_seq,
        revision=context.revision,
        commit_id=commit_id,
        created_at_us=context.created_at_us,
        updated_at_us=context.updated_at_us,
        spoken_at_us=context.spoken_at_us,
    )


def _message_row(event: Appended) -> MessageRow:
    entry = event.entry
    assert entry.seq is not None
    return MessageRow(
        entry.seq, entry.version, event.draft.body, encode_counts(entry.counts), event.at_us
    )


def _synthetic_rows(event: Compacted) -> list[SyntheticRow]:
    return [
        SyntheticRow(
            event.version,
            stored.position,
            stored.draft.body,
            encode_counts(stored.counts),
            event.at_us,
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


def state(row: ContextRow, window: Window) -> Context:
    """Make a context of its *row* and its *window*."""
    if row.status == Status.PURGED:
        return _purged(row)
    return Context(
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
    )


def _purged(row: ContextRow) -> Context:
    return Context(
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


def rebuilt(snapshot: Snapshot) -> Context:
    """Make the context that *snapshot* holds the rows of, window included."""
    row = snapshot.row
    if row.status == Status.PURGED:
        return _purged(row)
    log = map(entry, snapshot.messages)
    window = _window(snapshot.window, log, map(_synthetic, snapshot.synthetics), row.last_seq)
    return state(row, window)


def known(context: Context) -> Known:
    """Say what of *context* need not be read again."""
    log: list[tuple[int, int]] = []
    places: set[tuple[int, int]] = set()
    for held in _unchanged(context.window):
        if held.seq is None:
            places.add((held.version, held.position))
        elif log and log[-1][1] == held.seq - 1:
            log[-1] = (log[-1][0], held.seq)
        else:
            log.append((held.seq, held.seq))
    return Known(context.version, context.last_seq, log, places)


def caught_up(context: Context, delta: Delta) -> Context:
    """Make of *context*, as it was, what it is now: *delta* holds all that is new."""
    row = delta.row
    if row.status == Status.PURGED:
        return _purged(row)
    log = map(entry, delta.messages)
    if delta.window is None:
        window = context.window.apart()
        for newer in log:
            window = window.admit(newer)
        return state(row, window)
    unchanged = _unchanged(context.window)
    held = [as_appended(one) for one in unchanged if one.seq is not None]
    synthetics = [one for one in unchanged if one.seq is None]
    synthetics += map(_synthetic, delta.synthetics)
    # What was read may lie before what is held: it was cut, and has come back.
    merged = merge(held, log, key=lambda one: one.at_seq)
    return state(row, _window(delta.window, merged, synthetics, row.last_seq))


def _unchanged(window: Window) -> list[Entry]:
    """List the entries of which nothing was taken out."""
    return [held for held in window if not held.without]


def _window(
    text: bytes | None, log: Iterable[Entry], synthetics: Iterable[Entry], last_seq: int
) -> Window:
    """Make a window of its stored form, and at least the entries that it needs."""
    stored = Persisted.decode(text) if text else Persisted()
    logged = list(log)
    seqs = [found.at_seq for found in logged]
    placed = {(found.version, found.position): found for found in synthetics}

    def between(from_seq: int, to_seq: int) -> list[Entry]:
        return logged[bisect_left(seqs, from_seq) : bisect_left(seqs, to_seq + 1)]

    def replacement(version: int, first: int, last: int) -> list[Entry]:
        return [placed[version, place] for place in range(first, last + 1)]

    return rebuild(stored, between, replacement, last_seq)


def entry(row: MessageRow) -> Entry:
    """Make the entry of a message of the log, as it was appended."""
    return log_entry(
        parse(row.body, "message"), decode_counts(row.counts), row.seq, row.version, row.at_us
    )


def _synthetic(row: SyntheticRow) -> Entry:
    return synthetic_entry(
        parse(row.body, "message"),
        decode_counts(row.counts),
        row.version,
        row.position,
        (0, 0),  # rebuilding fills in what it covers
        row.at_us,
    )


def with_revision(context: Context, revision: int) -> Context:
    """Number the commit that brings *context*."""
    return msgspec.structs.replace(context, revision=revision)
