"""
What must hold of every window and of every view, worked out from the messages as they were sent.

Nothing here looks at how the core does it: calls and results are found in decoded JSON by a table
of their own, and what became of each part is told by the number `n` that stories give it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from itertools import groupby
from math import floor
from typing import Any, NamedTuple

from fastpaca import shapes
from fastpaca.context import Config, LastN, Manual
from fastpaca.context.context import View
from fastpaca.context.message import Entry
from fastpaca.shapes import Mark, Reading, Side
from tests.kit.messages import Message

_ANSWERED = ("seq", "version", "token_count", "inserted_at")
KEY = "as a whole"
_NOTHING: tuple[Any, ...] = (None, "", [], {})


class Half(NamedTuple):
    """A call or a result: the number of what it stands in, and its mark."""

    slot: object
    mark: Mark


def read(message: Message) -> Reading:
    """Read *message* by the table."""
    keys = {
        key: value
        for key, value in message.items()
        if key not in shapes.STRUCTURAL_KEYS and value not in _NOTHING
    }
    return shapes.read(message["role"], message["parts"], keys)


def halves(message: Message) -> list[Half]:
    """Find the calls and results of *message*."""
    return [Half(_slot(message, mark.place), mark) for mark in read(message).marks]


def _slot(message: Message, place: int) -> object:
    if place >= 0:
        return message["parts"][place].get("n")
    if place <= shapes.CALLS_PLACE:
        return ("key", message["tool_calls"][shapes.CALLS_PLACE - place].get("n"))
    return KEY


class Spot(NamedTuple):
    """A call or a result of the log."""

    seq: int
    slot: object


class _Call:
    """A call of the log, as the rules of pairing see it."""

    def __init__(self, seq: int, half: Half, step: int) -> None:
        self.spot = Spot(seq, half.slot)
        self.mark = half.mark
        self.step = step
        self.state = "runs"


def pairs(log: Sequence[Message]) -> list[tuple[Spot, Spot]]:
    """Give each result of *log* with the call that it binds, as slowly and plainly as can be."""
    found: list[tuple[Spot, Spot]] = []
    calls: list[_Call] = []
    step, has_result = 0, False
    for seq, message in enumerate(log, start=1):
        if read(message).opens_turn:
            for call in calls:
                call.state = call.state.replace("runs", "stopped")
            has_result = False
        for half in halves(message):
            mark = half.mark
            answered = None
            if mark.side is not Side.CALL and mark.side is not Side.REQUEST:
                answered = _answered(calls, mark)
            if answered is not None:
                answered.state = "answered"
                found.append((answered.spot, Spot(seq, half.slot)))
                has_result = True
                for call in calls:
                    if call.step < answered.step:
                        call.state = call.state.replace("runs", "stopped")
            if mark.side in (Side.CALL, Side.REQUEST) or mark.is_open:
                step += has_result
                has_result = False
                calls.append(_Call(seq, half, step))
            elif mark.side is Side.BOTH:
                calls.append(_Call(seq, half, step))
                calls[-1].state = "answered"
    return found


def _answered(calls: list[_Call], mark: Mark) -> _Call | None:
    approval = mark.side is Side.RESPONSE
    alike = [call for call in calls if (call.mark.side is Side.REQUEST) == approval]
    same = [call for call in alike if mark.id and mark.id in (call.mark.id, call.mark.alias)]
    if mark.side is Side.BOTH or same:
        unanswered = [call for call in same if call.state != "answered"]
        if mark.side is Side.BOTH and unanswered and unanswered[-1].mark.side is not Side.BOTH:
            return None
        return unanswered[-1] if unanswered and unanswered[-1].state == "runs" else None
    open_ = [
        call
        for call in alike
        if call.state == "runs"
        and (not mark.name or call.mark.name == mark.name)
        and not (mark.id and call.mark.id)
    ]
    newest = [call for call in open_ if call.step == open_[-1].step]
    return newest[0] if newest else None


class Source:
    """
    The messages as they were sent, and what the caller's own replacements have done to them.

    Attributes:
        log: All messages, the first has seq 1.
        pinned: The entries that no policy may touch, as seqs or (version, position).
        excused: Through which seq a replacement may have parted calls from results.
    """

    def __init__(self) -> None:
        self.log: list[Message] = []
        self.pinned: list[object] = []
        self.excused = 0
        self._pairs: tuple[int, list[tuple[Spot, Spot]]] | None = None
        self._replaced: dict[object, Message] = {}

    def pairs(self) -> list[tuple[Spot, Spot]]:
        """Give the pairs of the log, worked out once for each of its lengths."""
        if self._pairs is None or self._pairs[0] != len(self.log):
            self._pairs = (len(self.log), pairs(self.log))
        return self._pairs[1]

    def append(self, message: Message, window: Sequence[Entry]) -> None:
        """Note a message that is about to be appended to *window*."""
        self.log.append(message)
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

    def replace(self, version: int, replacement: Sequence[int | Message]) -> None:
        """Note a replacement of the window: seqs of the log and synthetic messages."""
        self.excused = len(self.log)
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

    def sent(self, entry: Entry) -> Message:
        """Give the message of *entry* as it was sent."""
        if entry.seq is not None:
            return self.log[entry.seq - 1]
        return self._replaced[entry.version, entry.position]


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
        assert {"metadata": {}, **_own(sent)}.keys() >= _own(returned).keys()
        for key, value in _own(returned).items():
            if key == "tool_calls" and isinstance(value, list):
                assert value == [one for one in sent[key] if one in value]
            elif key != "parts":
                assert value == sent.get(key, {}), key
        if sent["parts"] and not returned["parts"]:
            assert halves(returned) or read(_own(returned)).has_other_keys, (
                f"{key_of(entry)} was emptied and kept"
            )
        _check_parts(sent["parts"], returned["parts"], may_be_cut=may_be_cut)


def _own(message: Message) -> Message:
    return {key: value for key, value in message.items() if key not in _ANSWERED}


def _check_parts(sent: Sequence[Message], got: Sequence[Message], *, may_be_cut: bool) -> None:
    by_number = {part["n"]: part for part in sent}
    order = [part["n"] for part in sent]
    places = [order.index(part["n"]) for part in got]
    assert places == sorted(places)
    for part in got:
        original = by_number[part["n"]]
        if part != original:
            assert may_be_cut
            _check_cut(original, part)


def _check_cut(sent: Any, got: Any) -> None:
    """Only strings differ, and these keep beginning and end around a marker."""
    if isinstance(sent, str) and isinstance(got, str):
        if sent != got and not got.startswith("[... "):
            head, _, rest = got.partition("\n[... ")
            count, _, tail = rest.partition(" tokens left out ...]\n")
            assert int(count) > 0
            assert sent.startswith(head)
            assert sent.endswith(tail)
            assert len((head + tail).encode()) >= 250, "never below the floor"
            assert len((head + tail).encode()) < len(sent.encode())
    elif isinstance(sent, dict) and isinstance(got, dict) and list(sent) == list(got):
        for key in sent:
            _check_cut(sent[key], got[key])
            if sent[key] != got[key]:
                assert key not in ("id", "type", "tool_call_id", "n"), f"{key} was cut"
    elif isinstance(sent, list) and isinstance(got, list) and len(sent) == len(got):
        for one, other in zip(sent, got, strict=True):
            _check_cut(one, other)
    else:
        assert sent == got or "tokens left out ...]" in json.dumps(got)


def check_pairs(source: Source, entries: Sequence[Entry]) -> None:
    """No result without the call it answers, no answered call without its result."""
    kept = {
        Spot(entry.seq, half.slot)
        for entry in entries
        if entry.seq is not None
        for half in halves(json.loads(entry.body))
    }
    for call, result in source.pairs():
        if call.seq > source.excused:
            assert (call in kept) == (result in kept), f"{call} and {result} were parted"


def check_order(entries: Sequence[Entry]) -> None:
    """Seqs ascend."""
    seqs = [entry.seq for entry in entries if entry.seq is not None]
    assert seqs == sorted(set(seqs))


def check_sums(view: View, budget: int | None) -> None:
    """The sums are the sums, in the entries and in their JSON, and the budget is kept."""
    entries = list(view.entries)
    assert view.used_tokens == sum(entry.tokens for entry in entries)
    assert view.used_tokens == sum(json.loads(entry.body)["token_count"] for entry in entries)
    if budget is not None:
        assert view.used_tokens <= budget


def check_segments(view: View) -> None:
    """The segments are the runs of what is given."""
    expected = []
    for is_summary, group in groupby(view.entries, key=lambda entry: entry.seq is None):
        run = list(group)
        if is_summary:
            expected.append(("summary", run[0].covers_from, run[-1].covers_to))
        else:
            expected.append(("live", run[0].seq or 0, run[-1].seq or 0))
    assert view.segments == expected


def check_view(source: Source, window: Sequence[Entry], config: Config, view: View) -> None:
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
    if task is not None and not task.marks and task.tokens <= view.token_budget:
        assert key_of(task) in [key_of(entry) for entry in entries], "the task is there"


def newest_opener(source: Source, window: Sequence[Entry]) -> Entry | None:
    """Find the message that opened the newest turn, apart from the pinned."""
    for place in range(len(window) - 1, len(source.pinned) - 1, -1):
        if read(source.sent(window[place])).opens_turn:
            return window[place]
    return None


def _check_fit(window: Sequence[Entry], entries: Sequence[Entry], view: View) -> None:
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
    assert left[: len(source.pinned)] == source.pinned, "pinned entries stay, as they are"
    assert [e.body for e in after[: len(source.pinned)]] == [
        e.body for e in before[: len(source.pinned)]
    ]
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
    if len(before) == len(source.pinned):
        return
    newest = before[-1]
    if not newest.marks or not all(mark.answers for mark in newest.marks):
        assert key_of(after[-1]) == key_of(newest), "the newest stays"
    rest_size = len(before) - len(source.pinned)
    trigger = floor(config.token_budget * config.trigger_ratio)
    if 10 * sum(e.tokens for e in before) <= 9 * trigger and rest_size <= policy.limit:
        assert [key_of(e) for e in after] == [key_of(e) for e in before], "what fits stays"
    rest = after[len(source.pinned) :]
    if not policy.start_on_user or key_of(rest[0]) == key_of(before[len(source.pinned)]):
        return
    openers = [read(source.sent(entry)).opens_turn for entry in rest]
    assert openers[0] or rest[0].role == "user" or not any(openers), "begins with a user message"


def _check_running_turn(turn: Sequence[Entry], after: Iterable[Entry]) -> None:
    bodies = {key_of(entry): entry.body for entry in turn}
    for entry in after:
        if not entry.without:
            assert bodies.get(key_of(entry), entry.body) == entry.body, "a running turn stays whole"


def _holds_call(entry: Entry) -> bool:
    return any(half.mark.side is not Side.RESULT for half in halves(json.loads(entry.body)))
