"""
The smallest world that a context can live in: a value, and what its events have written.

`Conversation` plays the engine and the store: it applies ops, keeps the rows that the events bring,
and can make the context of these rows again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from fastpaca.context import Config, ContextState, Policy
from fastpaca.context.context import WindowView, create
from fastpaca.context.draft import parse
from fastpaca.context.events import Appended, Compacted, Event
from fastpaca.context.message import Entry, decode_counts, encode_counts, log_entry, synthetic_entry
from fastpaca.context.ops import Append, Compact, Op, Past, Put, PutMessage, Rewind
from fastpaca.context.persisted import Persisted, ranges, rebuild
from fastpaca.context.usage import Usage
from fastpaca.context.window import Window
from tests.kit.messages import Message, counted


class Row(NamedTuple):
    """A message as a store keeps it."""

    body: bytes
    counts: bytes
    version: int
    at_us: int
    origin: str
    revises: int | None = None


class Conversation:
    """
    A context, and what a store holds of it.

    Attributes:
        context: The hot context.
        log: The rows of the log, from seq 1 on.
        synthetics: The rows of replacements, by version and position.
        stored: The stored form of the window, as JSON; None if it was never rewritten.
        events: All that has happened.
        now_us: The moment of the next op.
    """

    def __init__(
        self,
        policy: Policy | None = None,
        token_budget: int | None = None,
        trigger_ratio: float | None = None,
    ) -> None:
        self.now_us = 1_700_000_000_000_000
        self.log: list[Row] = []
        self.synthetics: dict[tuple[int, int], Row] = {}
        self.stored: bytes | None = None
        op = Put(token_budget, trigger_ratio, policy)
        self.context, events = create("talk", op, self.now_us)
        self.events: list[Event] = list(events)

    def apply(self, op: Op) -> tuple[Event, ...]:
        """Apply *op* and write down what its events say."""
        self.now_us += 1000
        self.context, events = self.context.apply(op, self.now_us)
        self.events += events
        for event in events:
            if isinstance(event, Appended):
                self._write(event)
            elif isinstance(event, Compacted):
                self._rewrite(event)
        return events

    def _write(self, event: Appended) -> None:
        entry = event.entry
        assert entry.seq == len(self.log) + 1, "the log has no holes"
        draft, counts = event.draft, encode_counts(entry.counts)
        row = Row(
            draft.body, counts, entry.version, event.at_us, draft.origin, revises=entry.revises
        )
        self.log.append(row)

    def _rewrite(self, event: Compacted) -> None:
        self.stored = event.window.encode()
        for one in event.replacement:
            draft, counts = one.draft, encode_counts(one.counts)
            row = Row(draft.body, counts, event.version, event.at_us, draft.origin)
            self.synthetics[event.version, one.position] = row

    def say(self, *messages: Mapping[str, Any]) -> tuple[Event, ...]:
        """Append *messages* in one op."""
        return self.apply(Append(tuple(counted(one) for one in messages)))

    def say_one_by_one(self, *messages: Mapping[str, Any]) -> None:
        """Append *messages* in an op each."""
        for one in messages:
            self.say(one)

    def put(
        self,
        message: Mapping[str, Any],
        *,
        if_version: int | None = None,
        usage: Usage | None = None,
    ) -> tuple[Event, ...]:
        """Append *message*, or let it revise the newest one on the path that has its id."""
        made = counted(message)
        current = self.current(made.draft.message_id)
        return self.apply(PutMessage(made, current, if_version, usage))

    def revise(self, place: int, message: Mapping[str, Any]) -> tuple[Event, ...]:
        """Let *message* take the place of the one at *place*, whatever their ids."""
        return self.apply(PutMessage(counted(message), self.at(place)))

    def current(self, message_id: str) -> Entry | None:
        """Give the newest message on the path with that id, as it was appended."""
        for place in reversed(self.places):
            if parse(self.log[place - 1].body, "message").message_id == message_id != "":
                return self.at(place)
        return None

    @property
    def places(self) -> list[int]:
        """The places of the path."""
        path = self.window.path
        rows = enumerate(self.log, 1)
        return [seq for seq, row in rows if row.revises is None and path.holds(seq)]

    def at(self, place: int) -> Entry:
        """Give the newest message at *place* on the path, as it was appended."""
        path = self.window.path
        rows = enumerate(self.log, 1)
        seqs = [seq for seq, row in rows if row.revises == place and path.holds(seq)]
        return self.logged(max(seqs, default=place))

    def rewind(self, past: ContextState) -> Compacted:
        """Let path and window become what they were in the *past*."""
        was = Past(past.version, past.last_seq, past.window)
        (event,) = self.apply(Rewind(past.version, past=was))
        assert isinstance(event, Compacted)
        return event

    def compact(self, *replacement: int | Mapping[str, Any]) -> Compacted:
        """Replace the window; a number is the seq of a message of the log."""
        items = [self.logged(one) if isinstance(one, int) else counted(one) for one in replacement]
        (event,) = self.apply(Compact(tuple(items)))
        assert isinstance(event, Compacted)
        return event

    def logged(self, seq: int) -> Entry:
        """Give the entry of the log at *seq*, as it was appended."""
        row = self.log[seq - 1]
        draft = parse(row.body, "message")
        counts = decode_counts(row.counts)
        return log_entry(draft, counts, seq, row.version, row.at_us, row.origin, row.revises)

    def between(self, from_seq: int, to_seq: int) -> list[Entry]:
        """Give the entries of the log between two seqs, inclusive."""
        return [self.logged(seq) for seq in range(from_seq, to_seq + 1)]

    def replacement(self, version: int, first: int, last: int) -> list[Entry]:
        """Give the synthetic entries of a replacement between two positions, inclusive."""
        return [self._synthetic(version, position) for position in range(first, last + 1)]

    def _synthetic(self, version: int, position: int) -> Entry:
        row = self.synthetics[version, position]
        draft = parse(row.body, "message")
        counts = decode_counts(row.counts)
        return synthetic_entry(draft, counts, version, position, (0, 0), row.at_us, row.origin)

    def cold(self) -> ContextState:
        """Make the context again of what the store holds, as after a restart."""
        stored = Persisted() if self.stored is None else Persisted.decode(self.stored)
        log = [
            self.logged(seq)
            for first, last in ranges(stored, len(self.log))
            for seq in range(first, last + 1)
        ]
        window = rebuild(stored, log, self.replacement)
        return msgspec.structs.replace(self.context, window=window)

    def restart(self) -> None:
        """Forget what is in memory, and go on with what the store holds."""
        self.context = self.cold()

    @property
    def window(self) -> Window:
        """The window of the context."""
        return self.context.window

    @property
    def config(self) -> Config:
        """The configuration of the context."""
        return self.context.config

    @property
    def seqs(self) -> list[int | None]:
        """The seqs of the window; None for what is synthetic."""
        return [entry.seq for entry in self.window]

    def seen(self, budget_tokens: int | None = None) -> list[int | None]:
        """Give the seqs of a view."""
        return seqs_of(self.context.view(budget_tokens))

    def trims(self) -> list[Compacted]:
        """List what policies have done."""
        found = [event for event in self.events if isinstance(event, Compacted)]
        return [event for event in found if event.strategy != "manual"]


def seqs_of(view: WindowView) -> list[int | None]:
    """Give the seqs of *view*."""
    return [entry.seq for entry in view.entries]


def image(window: Window) -> tuple[Any, ...]:
    """All that there is to know of a window, to compare."""
    return (
        tuple(window),
        window.tokens,
        window.weight,
        window.cut_calls,
        window.pinned,
        window.opened_at,
        window.path,
        window.end,
    )


def decoded(entries: Sequence[Entry]) -> list[Message]:
    """Read the JSON of *entries*."""
    return [json.loads(entry.body) for entry in entries]
