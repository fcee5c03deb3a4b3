"""
What holds of every window and every view of a random story.

The model of the rules says exactly what an append leaves (`tests/rules/model.py`), until the story
replaces its window. It may do so by anything, parts of pairs among it, which the rules leave open.
From then on the model reads along: it knows what every message means and which result answers which
call, is shown each window, and what became of that is judged by what it must never lose. So are
views, cuts of any policy, and every window besides.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from copy import copy
from itertools import groupby
from math import floor

from fastpaca.context import Config, LastN, Manual
from fastpaca.context.context import WindowView
from fastpaca.context.message import Entry
from tests.kit.messages import Message, counted
from tests.rules.groups import holds_summary
from tests.rules.judge import Shown, faults, items_left, parted
from tests.rules.meaning import ANSWERS, ASKS, ASSISTANTS, INSTRUCTIONS, Said
from tests.rules.model import Model, Settings
from tests.rules.pairing import Call, Spot
from tests.rules.reading import read
from tests.rules.stripping import Kept
from tests.rules.told import cost, settings_of


class Source(Model):
    """
    The messages as they were sent, and what the caller's own replacements have done to them.

    Attributes:
        excused: Which messages a replacement may have parted: those with a lower number.
        is_loose: Whether there was one, or others than the assistant make calls: which of these
            takes a result without an id depends on what was cut since.
        predicted: What the append that was noted last leaves; None if nobody can tell.
        sent: The messages of the log as they were sent.
    """

    def __init__(self) -> None:
        super().__init__(Settings(0), cost)
        self.excused = 0
        self.is_loose = False
        self.predicted: list[Kept] | None = None
        self.sent: list[Message] = []
        self._numbers: dict[object, int] = {}
        self._items: dict[tuple[int, bytes], frozenset[int]] = {}

    def see(self, window: Sequence[Entry]) -> None:
        """Take what has become of the window for what is there."""
        self.predicted = None
        pinned = self._pinned_numbers()
        self._set(self.kept(window))
        self.pinned = sum(kept.number in pinned for kept in self.window)

    def send(self, message: Message, config: Config) -> None:
        """Note a message that is about to be appended under *config*."""
        said = _said(message)
        self._note(said)
        self.admit(said)
        self._predict(config)

    def edit(self, seq: int, message: Message, config: Config) -> None:
        """Note that *message* takes the place of the one in the row *seq* under *config*."""
        said, number = _said(message), self.log[seq - 1]
        self._note(said)
        # Without ids, which call takes a result depends on steps that a revision may change.
        items = [item for one in (said, *self.said) for item in one.items]
        self.is_loose |= any(item.kind in (*ASKS, *ANSWERS) and not item.id for item in items)
        made = [item.id for item in items if item.kind in ASKS]
        self.is_loose |= len(made) > len(set(made))
        self.renew(number, said)
        self._predict(config)

    def _note(self, said: Said) -> None:
        calls = any(item.kind in ASKS for item in said.items)
        self.is_loose |= calls and said.role not in ASSISTANTS
        self.sent.append(said.message)

    def _predict(self, config: Config) -> None:
        if self.is_loose:
            return
        after, settings = copy(self), settings_of(config)
        if settings is not None:
            after._settings = settings
            after.trim()
            self._task = after._task
        self.predicted = after.window

    def swap(self, version: int, replacement: Sequence[int | Message]) -> None:
        """Note that *replacement* stands in place of the window: seqs, and messages of its own."""
        self.excused = len(self.said)
        self.is_loose = True
        self.replace(
            [one if isinstance(one, int) else _said(one).as_synthetic() for one in replacement]
        )
        for position, kept in enumerate(self.window):
            if self.said[kept.number].is_synthetic:
                self._numbers[version, position] = kept.number

    def number(self, entry: Entry) -> int:
        """Return which message *entry* is."""
        if entry.seq is not None:
            return self.log[entry.seq - 1]
        return self._numbers[entry.version, entry.position]

    def meant(self, entry: Entry) -> Said:
        """Return what the message of *entry* meant as it was sent."""
        return self.said[self.number(entry)]

    def left(self, entry: Entry) -> frozenset[int]:
        """Return which items of its message are left in *entry*."""
        key = (self.number(entry), entry.body)
        if key not in self._items:
            self._items[key] = items_left(self.meant(entry), json.loads(entry.body))
        return self._items[key]

    def binds(self, call: Call, spot: Spot) -> bool:
        """Return whether what stands at *spot* belongs to *call*, whatever was replaced since."""
        if call.spot.number < self.excused:
            return False
        has_id = spot in call.strays or self.said[spot.number].items[spot.at].id
        return bool(call.item.id and has_id) or not self.is_loose

    def holds_summary(self, window: Sequence[Entry]) -> bool:
        """Return whether a provider's own summary stands in *window*, after the pinned."""
        pinned = self.pinned_in(window)
        return any(entry not in pinned and holds_summary(self.meant(entry)) for entry in window)

    def pinned_in(self, window: Sequence[Entry]) -> list[Entry]:
        """List the pinned entries of *window*."""
        pinned = self._pinned_numbers()
        return [entry for entry in window if self.number(entry) in pinned]

    def _pinned_numbers(self) -> set[int]:
        return {kept.number for kept in self.window[: self.pinned]}

    def kept(self, window: Sequence[Entry]) -> list[Kept]:
        """Return what *window* keeps, as the model says it."""
        return [
            Kept(
                self.number(entry),
                frozenset(range(len(self.meant(entry).items))) - self.left(entry),
                entry.tokens,
            )
            for entry in window
        ]


def _said(message: Message) -> Said:
    return read(message, counted(message).counts.total)


def check_values(source: Source, entries: Sequence[Entry], *, may_be_cut: bool) -> None:
    """
    What is returned is what was sent, but for parts and keys that were left out, and cut texts.
    """
    for entry in entries:
        said, returned = source.meant(entry), json.loads(entry.body)
        assert returned["seq"] == entry.seq
        assert returned["version"] == entry.version
        assert returned["token_count"] == entry.tokens >= 0
        assert returned["metadata"] == said.message.get("metadata", {})
        one = Shown(source.number(entry), returned, source.left(entry))
        found = list(faults(said, one, may_be_cut=may_be_cut))
        assert not found, found


def check_pairs(source: Source, entries: Sequence[Entry]) -> None:
    """No result without the call it answers, no answered call without its result."""
    logged = [entry for entry in entries if entry.seq is not None]
    there = {Spot(source.number(entry), at) for entry in logged for at in source.left(entry)}

    def binds(call: Call, spot: Spot) -> bool:
        # A part that holds its result needs no earlier one.
        return source.binds(call, spot) and (call.item.kind != "both" or call.spot in there)

    found = list(parted(source.pairing, there, binds))
    assert not found, found


def check_order(entries: Sequence[Entry]) -> None:
    """Places ascend."""
    places = [entry.place for entry in entries if entry.seq is not None]
    assert places == sorted(set(places))


def check_sums(view: WindowView, budget: int | None) -> None:
    """The sums are the sums, in the entries and in their JSON, and the budget is kept."""
    entries = list(view.entries)
    assert view.used_tokens == sum(entry.tokens for entry in entries)
    assert view.used_tokens == sum(json.loads(entry.body)["token_count"] for entry in entries)
    if budget is not None:
        assert view.used_tokens <= budget


def check_segments(view: WindowView) -> None:
    """The segments are the runs of what is given."""
    expected = []
    for is_summary, group in groupby(view.entries, key=lambda entry: entry.seq is None):
        run = list(group)
        if is_summary:
            expected.append(("summary", run[0].covers_from, run[-1].covers_to))
        else:
            expected.append(("live", run[0].place, run[-1].place))
    assert view.segments == expected


def check_view(source: Source, window: Sequence[Entry], config: Config, view: WindowView) -> None:
    """All that must hold of one view of *window*."""
    entries = list(view.entries)
    check_values(source, entries, may_be_cut=view.fit == "cut")
    check_pairs(source, entries)
    check_order(entries)
    check_segments(view)
    total = sum(entry.tokens for entry in window)
    assert view.window_tokens == total
    assert view.needs_compaction == (total > floor(view.token_budget * config.trigger_ratio))
    _check_fit(window, entries, view)
    task = newest_task(source, window)
    asks = task is not None and any(item.kind in ASKS for item in source.meant(task).items)
    if task is not None and not asks and task.tokens <= view.token_budget:
        assert source.number(task) in map(source.number, entries), "the task is there"


def newest_task(source: Source, window: Sequence[Entry]) -> Entry | None:
    """Find the message that opened the newest turn, apart from the pinned."""
    for entry in reversed(window[len(source.pinned_in(window)) :]):
        if source.meant(entry).opens_turn:
            return entry
    return None


def _check_fit(window: Sequence[Entry], entries: Sequence[Entry], view: WindowView) -> None:
    originals = {id(entry) for entry in window}
    if view.fit == "whole":
        assert entries == list(window)
    else:
        assert view.window_tokens > view.token_budget
        assert (view.fit == "empty") == (not entries)
        if view.fit == "cut":
            assert any(id(entry) not in originals for entry in entries)


def check_trim(source: Source, config: Config, before: Sequence[Entry], after: list[Entry]) -> None:
    """A compaction by a policy has kept what it promises to keep."""
    policy = config.policy
    assert not isinstance(policy, Manual)
    left = [source.number(entry) for entry in after]
    pinned = source.pinned_in(before)
    if source.holds_summary(before) and after[: len(pinned)] != pinned:
        pinned = [entry for entry in pinned if entry.role in INSTRUCTIONS]
    assert left[: len(pinned)] == list(map(source.number, pinned)), "pinned entries stay"
    assert [e.body for e in after[: len(pinned)]] == [e.body for e in pinned], "as they are"
    assert set(left) <= set(map(source.number, before))
    task = newest_task(source, before)
    turn = [] if task is None else before[list(before).index(task) :]
    holds_calls = any(source.meant(e).items[at].kind in ASKS for e in turn for at in source.left(e))
    if task is not None and (isinstance(policy, LastN) or holds_calls):
        assert source.number(task) in left, "the task stays"
    if isinstance(policy, LastN):
        _check_last_n(source, config, policy, before, after)
    elif holds_calls:
        _check_running_turn(source, turn, after)


def _check_last_n(
    source: Source, config: Config, policy: LastN, before: Sequence[Entry], after: Sequence[Entry]
) -> None:
    pinned = len(source.pinned_in(before))
    if len(before) == pinned:
        return
    newest = before[-1]
    kinds = {item.kind for item in source.meant(newest).items}
    if not kinds & ANSWERS or kinds & ASKS:
        assert source.number(after[-1]) == source.number(newest), "the newest stays"
    rest_size = len(before) - pinned
    trigger = floor(config.token_budget * config.trigger_ratio)
    has_summary = source.holds_summary(before)
    fits = 10 * sum(e.tokens for e in before) <= 9 * trigger and rest_size <= policy.limit
    if fits and not has_summary:
        assert list(map(source.number, after)) == list(map(source.number, before)), "what fits"
    rest = after[pinned:]
    if has_summary or not policy.start_on_user:
        return
    if source.number(rest[0]) == source.number(before[pinned]):
        return
    tasks = [source.meant(entry).opens_turn for entry in rest]
    assert tasks[0] or rest[0].role == "user" or not any(tasks), "begins with a user message"


def _check_running_turn(source: Source, turn: Sequence[Entry], after: Iterable[Entry]) -> None:
    bodies = {source.number(entry): entry.body for entry in turn}
    for entry in after:
        if not entry.without:
            body = bodies.get(source.number(entry), entry.body)
            assert body == entry.body, "a running turn stays whole"
