"""
What must hold of every window and of every view, worked out from the messages as they were sent.

Nothing here looks at how the core does it: calls and results are found and paired by the second
telling of the rules, and what became of each part is told by its place, `n`, that stories give it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from itertools import groupby
from math import floor
from typing import NamedTuple

from fastpaca import shapes
from fastpaca.context import Config, LastN, Manual
from fastpaca.context.context import WindowView
from fastpaca.context.message import Entry
from tests.kit.messages import Message
from tests.rules.groups import holds_summary
from tests.rules.judge import differences
from tests.rules.meaning import ANSWERS, ASKS, ASSISTANTS, INSTRUCTIONS, Place, Said
from tests.rules.pairing import Call, Pairing
from tests.rules.reading import read


class Spot(NamedTuple):
    """A call or a result of the log: its seq, and its place in the message as it was sent."""

    seq: int
    place: Place


def pairs(log: Sequence[Message]) -> list[tuple[Spot, Spot]]:
    """List the results of *log*, each with the call that it binds."""
    source = Source()
    for message in log:
        source.pair(message, ())
    return source.pairs()


@lru_cache(maxsize=4096)
def places_left(body: bytes) -> list[Place]:
    """List the places, as it was sent, of all that a message that came back still says."""
    message = json.loads(body)
    found: list[Place] = []
    for item in read(message).items:
        place = item.places[0]
        if isinstance(place, int):
            place = message["parts"][place]["n"]
        elif place.startswith("tool_calls."):
            index = int(place.removeprefix("tool_calls."))
            place = f"tool_calls.{message['tool_calls'][index]['n']}"
        found.append(place)
    return found


class Source:
    """
    The messages as they were sent, and what the caller's own replacements have done to them.

    Attributes:
        log: All messages, the first has seq 1.
        pinned: The entries that no policy may touch, as seqs or (version, position).
        said: What the messages mean.
        pairing: Which results answer which calls.
        excused: Through which seq a replacement may have parted calls from results.
        is_loose: Whether there was one, or others than the assistant make calls: which of these
            takes a result without an id depends on what was cut since.
    """

    def __init__(self) -> None:
        self.log: list[Message] = []
        self.pinned: list[object] = []
        self.excused = 0
        self.is_loose = False
        self.said: list[Said] = []
        self.pairing = Pairing()
        self._replaced: dict[object, Message] = {}

    def pairs(self) -> list[tuple[Spot, Spot]]:
        """List the calls that have their results, with these."""
        return [
            (self.spot(call.spot), self.spot(answer))
            for call in self.pairing.calls
            for answer in call.answers
        ]

    def spot(self, spot: tuple[int, int]) -> Spot:
        """Return where the item at *spot* of the pairing stands."""
        number, at = spot
        return Spot(number + 1, self.said[number].items[at].places[0])

    def pair(self, message: Message, window: Sequence[Entry]) -> None:
        """Note which calls of *window* a message that is about to be appended answers."""
        self.log.append(message)
        self.said.append(read(message))
        number = len(self.said) - 1
        is_gone = self._gone_from(window)
        holding = (e.seq for e in window if e.seq and holds_summary(self.said[e.seq - 1]))
        summary = number if holds_summary(self.said[number]) else max(holding, default=0) - 1
        self.pairing.add(
            number,
            self.said[number],
            lambda call: call.spot.number != number and is_gone(call),
            lambda call: call.spot.number < summary,
        )
        calls = any(item.kind in ASKS for item in self.said[number].items)
        self.is_loose |= calls and message["role"] not in ASSISTANTS

    def _gone_from(self, window: Sequence[Entry]) -> Callable[[Call], bool]:
        there = {entry.seq: entry.without for entry in window}

        def is_gone(call: Call) -> bool:
            seq, place = self.spot(call.spot)
            return bool(window) and (seq not in there or _code(place) in there[seq])

        return is_gone

    def append(self, message: Message, window: Sequence[Entry]) -> None:
        """Note a message that is about to be appended to *window*."""
        self.pair(message, window)
        every = [key_of(entry) for entry in window]
        joins = not every or (
            (window[-1].role in ("system", "developer") or every == self.pinned[:1])
            and (window[-1].seq is None or window[-1].seq == len(self.log) - 1)
            and self._reaches_the_end(window[-1])
        )
        if every == self.pinned and joins and message["role"] in ("system", "developer"):
            self.pinned.append(len(self.log))

    def _reaches_the_end(self, last: Entry) -> bool:
        return last.covers_to == len(self.log) - 1

    def holds_summary(self, window: Sequence[Entry]) -> bool:
        """Tell whether a provider's own summary stands in *window*, after the pinned."""
        return any(
            item.kind == "compaction"
            for entry in window
            if key_of(entry) not in self.pinned
            for item in self.meant(entry).items
        )

    def note(self, window: Sequence[Entry]) -> None:
        """Note what of the pinned a provider's summary has replaced in *window*."""
        there = {key_of(entry) for entry in window}
        self.pinned = [key for key in self.pinned if key in there]

    def pinned_in(self, window: Sequence[Entry]) -> list[Entry]:
        """List the pinned entries of *window*."""
        return [entry for entry in window if key_of(entry) in self.pinned]

    def replace(self, version: int, replacement: Sequence[int | Message]) -> None:
        """Note a replacement of the window: seqs of the log and synthetic messages."""
        self.excused = len(self.log)
        self.is_loose = True
        self._replaced = {
            (version, place): item
            for place, item in enumerate(replacement)
            if not isinstance(item, int)
        }
        self.pinned = self._leading(version, replacement)

    def _leading(self, version: int, replacement: Sequence[int | Message]) -> list[object]:
        found: list[object] = []
        may_take_summary = True
        for place, item in enumerate(replacement):
            role = self.log[item - 1]["role"] if isinstance(item, int) else item["role"]
            if role not in ("system", "developer"):
                if isinstance(item, int) or not may_take_summary:
                    break
                may_take_summary = False
                found.append((version, place))
                if place:
                    break
                continue
            found.append(item if isinstance(item, int) else (version, place))
        return found

    def meant(self, entry: Entry) -> Said:
        """Return what the message of *entry* meant as it was sent."""
        return self.said[entry.seq - 1] if entry.seq is not None else read(self.sent(entry))

    def sent(self, entry: Entry) -> Message:
        """Give the message of *entry* as it was sent."""
        if entry.seq is not None:
            return self.log[entry.seq - 1]
        return self._replaced[entry.version, entry.position]


def _code(place: Place) -> int:
    """Return how an entry writes down that what stands at *place* was taken out of it."""
    if isinstance(place, int):
        return place
    if place.startswith("tool_calls."):
        return shapes.CALLS_PLACE - int(place.removeprefix("tool_calls."))
    return shapes.CALL_KEY_PLACE


def key_of(entry: Entry) -> object:
    """Name *entry* so that it can be found again."""
    return (entry.version, entry.position) if entry.seq is None else entry.seq


def check_values(source: Source, entries: Sequence[Entry], *, may_be_cut: bool) -> None:
    """
    What is returned is what was sent, but for parts and keys that were left out, and cut texts.
    """
    for entry in entries:
        returned, sent = json.loads(entry.body), source.sent(entry)
        assert returned["seq"] == entry.seq
        assert returned["version"] == entry.version
        assert returned["token_count"] == entry.tokens >= 0
        assert returned["metadata"] == sent.get("metadata", {})
        left = {key: sent[key] for key in sent if key in returned}
        places = [part["n"] for part in returned["parts"]]
        assert places == sorted(set(places))
        left["parts"] = [sent["parts"][place] for place in places]
        if isinstance(returned.get("tool_calls"), list):
            there = [call["n"] for call in returned["tool_calls"] if isinstance(call, dict)]
            left["tool_calls"] = [
                call
                for call in sent["tool_calls"]
                if not isinstance(call, dict) or call["n"] in there
            ]
        if sent["parts"] and not returned["parts"]:
            said = read(returned)
            assert said.has_other_keys or not all(item.is_in_parts for item in said.items), (
                f"{key_of(entry)} was emptied and kept"
            )
        assert list(differences(left, returned)) == []
        if not may_be_cut:
            assert left["parts"] == returned["parts"]


def check_pairs(source: Source, entries: Sequence[Entry]) -> None:
    """No result without the call it answers, no answered call without its result."""
    kept = {
        Spot(entry.seq, place)
        for entry in entries
        if entry.seq is not None
        for place in places_left(entry.body)
    }
    for call in source.pairing.calls:
        # Of what step a call is that stays before a cut is forgotten, so it may take such results.
        if call.spot.number < source.excused or (source.is_loose and not call.item.id):
            continue
        asked = source.spot(call.spot)
        for spot in call.answers:
            answer = source.spot(spot)
            if source.is_loose and not source.said[spot.number].items[spot.at].id:
                continue
            # A part that holds its result needs no earlier one.
            holds_both = call.item.kind == "both" and asked not in kept
            assert holds_both or (asked in kept) == (answer in kept), f"{asked}, {answer}: parted"
        for stray in map(source.spot, call.strays):
            assert asked in kept or stray not in kept, f"{stray} has lost its call {asked}"


def check_order(entries: Sequence[Entry]) -> None:
    """Seqs ascend."""
    seqs = [entry.seq for entry in entries if entry.seq is not None]
    assert seqs == sorted(set(seqs))


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
            expected.append(("live", run[0].seq or 0, run[-1].seq or 0))
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
    task = newest_opener(source, window)
    asks = task is not None and any(item.kind in ASKS for item in source.meant(task).items)
    if task is not None and not asks and task.tokens <= view.token_budget:
        assert key_of(task) in [key_of(entry) for entry in entries], "the task is there"


def newest_opener(source: Source, window: Sequence[Entry]) -> Entry | None:
    """Find the message that opened the newest turn, apart from the pinned."""
    for place in range(len(window) - 1, len(source.pinned_in(window)) - 1, -1):
        if source.meant(window[place]).opens_turn:
            return window[place]
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
    left = [key_of(entry) for entry in after]
    pinned = source.pinned_in(before)
    if source.holds_summary(before) and after[: len(pinned)] != pinned:
        pinned = [entry for entry in pinned if entry.role in INSTRUCTIONS]
    assert left[: len(pinned)] == [key_of(entry) for entry in pinned], "pinned entries stay"
    assert [e.body for e in after[: len(pinned)]] == [e.body for e in pinned], "as they are"
    assert set(left) <= {key_of(entry) for entry in before}
    task = newest_opener(source, before)
    holds_calls = task is not None and any(
        _holds_call(entry) for entry in before[list(before).index(task) :]
    )
    if task is not None and (isinstance(policy, LastN) or holds_calls):
        assert key_of(task) in left, "the task stays"
    if isinstance(policy, LastN):
        _check_last_n(source, config, policy, before, after)
    elif task is not None and holds_calls:
        _check_running_turn(before[list(before).index(task) :], after)


def _check_last_n(
    source: Source, config: Config, policy: LastN, before: Sequence[Entry], after: Sequence[Entry]
) -> None:
    pinned = len(source.pinned_in(before))
    if len(before) == pinned:
        return
    newest = before[-1]
    kinds = {item.kind for item in source.meant(newest).items}
    if not kinds & ANSWERS or kinds & ASKS:
        assert key_of(after[-1]) == key_of(newest), "the newest stays"
    rest_size = len(before) - pinned
    trigger = floor(config.token_budget * config.trigger_ratio)
    has_summary = source.holds_summary(before)
    fits = 10 * sum(e.tokens for e in before) <= 9 * trigger and rest_size <= policy.limit
    if fits and not has_summary:
        assert [key_of(e) for e in after] == [key_of(e) for e in before], "what fits stays"
    rest = after[pinned:]
    if has_summary or not policy.start_on_user or key_of(rest[0]) == key_of(before[pinned]):
        return
    openers = [source.meant(entry).opens_turn for entry in rest]
    assert openers[0] or rest[0].role == "user" or not any(openers), "begins with a user message"


def _check_running_turn(turn: Sequence[Entry], after: Iterable[Entry]) -> None:
    bodies = {key_of(entry): entry.body for entry in turn}
    for entry in after:
        if not entry.without:
            assert bodies.get(key_of(entry), entry.body) == entry.body, "a running turn stays whole"


def _holds_call(entry: Entry) -> bool:
    return any(item.kind in ASKS for item in read(json.loads(entry.body)).items)
