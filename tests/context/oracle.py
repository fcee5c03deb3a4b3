"""
What must hold of every window and of every view, worked out from the messages as they were sent.

Nothing here looks at how the core does it: calls and results are found in decoded JSON by a table
of their own, and what became of each part is told by the number `n` that stories give it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from math import floor
from typing import Any, NamedTuple

from fastpaca.context import Config, LastN, Manual, SkipParts
from fastpaca.context.context import View
from fastpaca.context.message import Entry
from tests.context.conversation import Message

_CALL_IDS = {
    "tool_call": ("tool_call_id", "call_id"),
    "tool_use": ("id",),
    "server_tool_use": ("id",),
    "function_call": ("call_id",),
    "tool-call": ("toolCallId",),
}
_RESULT_IDS = {
    "tool_result": ("tool_use_id", "tool_call_id", "call_id"),
    "web_search_tool_result": ("tool_use_id",),
    "bash_code_execution_tool_result": ("tool_use_id",),
    "function_call_output": ("call_id",),
    "tool-result": ("toolCallId",),
}
_RESULT_KINDS = frozenset(_RESULT_IDS)
_ANSWERED = ("seq", "version", "token_count", "inserted_at")
KEY = "tool_call_id"


class Half(NamedTuple):
    """A call or a result: the number of what it stands in, its id, and which of both it is."""

    slot: object
    id: str
    is_call: bool


def halves(message: Message) -> list[Half]:
    """Find the calls and results of *message*; what part and key both say counts as the key's."""
    in_keys = list(_in_keys(message))
    said = {(half.id, half.is_call) for half in in_keys}
    in_parts = [half for half in _in_parts(message) if (half.id, half.is_call) not in said]
    return in_parts + in_keys


def _in_keys(message: Message) -> Iterator[Half]:
    listed = message.get("tool_calls")
    for one in listed if isinstance(listed, list) else ():
        if isinstance(one, dict) and isinstance(one.get("id"), str) and one["id"]:
            yield Half(("key", one.get("n")), one["id"], True)
    answered = message.get(KEY)
    if isinstance(answered, str) and answered:
        yield Half(KEY, answered, False)


def _in_parts(message: Message) -> Iterator[Half]:
    for part in message["parts"]:
        for table, is_call in ((_CALL_IDS, True), (_RESULT_IDS, False)):
            names = [part.get(key) for key in table.get(part["type"], ())]
            found = next((name for name in names if isinstance(name, str) and name), None)
            if found is not None:
                yield Half(part.get("n"), found, is_call)


class Spot(NamedTuple):
    """A call or a result of the log."""

    seq: int
    half: Half


def pairs(log: Sequence[Message]) -> list[tuple[Spot, Spot]]:
    """Give each result of *log* with the nearest earlier call that it answers."""
    found = []
    waiting: dict[str, list[Spot]] = {}
    for seq, message in enumerate(log, start=1):
        for half in halves(message):
            calls = waiting.setdefault(half.id, [])
            if half.is_call:
                calls.append(Spot(seq, half))
            elif calls:
                found.append((calls.pop(), Spot(seq, half)))
    return found


def opens_turn(message: Message) -> bool:
    """Tell whether *message* is a user's that holds more than tool results."""
    is_result = message.get(KEY) and isinstance(message[KEY], str)
    kinds = [part["type"] for part in message["parts"]]
    return message["role"] == "user" and not is_result and bool(set(kinds) - _RESULT_KINDS)


class Source:
    """
    The messages as they were sent, and what the caller's own replacements have done to them.

    Attributes:
        log: All messages, the first has seq 1.
        pinned: The entries that no policy may touch, as seqs or (version, position).
        excused: Ids of calls and results that a replacement itself has parted, or says again.
    """

    def __init__(self) -> None:
        self.log: list[Message] = []
        self.pinned: list[object] = []
        self.excused: set[str] = set()
        self._replaced: dict[object, Message] = {}

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
        referred = {item for item in replacement if isinstance(item, int)}
        synthetic = [item for item in replacement if not isinstance(item, int)]
        self.excused |= {half.id for message in synthetic for half in halves(message)}
        answered = pairs(self.log)
        for call, result in answered:
            if (call.seq in referred) != (result.seq in referred):
                self.excused.add(call.half.id)
        paired = {spot for pair in answered for spot in pair}
        for seq in referred:
            for half in halves(self.log[seq - 1]):
                if not half.is_call and Spot(seq, half) not in paired:
                    self.excused.add(half.id)
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
            if key != "parts":
                assert value == sent.get(key, {}), key
        if sent["parts"]:
            assert returned["parts"], f"{key_of(entry)} was emptied and kept"
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
    if isinstance(sent, str):
        if sent != got:
            head, _, rest = got.partition("\n[... ")
            count, _, tail = rest.partition(" tokens left out ...]\n")
            assert int(count) > 0
            assert sent.startswith(head)
            assert sent.endswith(tail)
            assert len((head + tail).encode()) >= 250, "never below the floor"
            assert len((head + tail).encode()) < len(sent.encode())
    elif isinstance(sent, dict):
        assert list(sent) == list(got)
        for key in sent:
            _check_cut(sent[key], got[key])
            if sent[key] != got[key]:
                assert key in ("text", "content", "output", "value"), f"{key} was cut"
    elif isinstance(sent, list):
        assert len(sent) == len(got)
        for one, other in zip(sent, got, strict=True):
            _check_cut(one, other)
    else:
        assert sent == got


def check_pairs(source: Source, entries: Sequence[Entry]) -> None:
    """No result without the call it answers, no answered call without its result."""
    kept = {
        Spot(entry.seq, half)
        for entry in entries
        if entry.seq is not None
        for half in halves(json.loads(entry.body))
    }
    for call, result in pairs(source.log):
        if call.half.id not in source.excused:
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
    groups = Groups(source, window)
    if window and not source.excused:
        must = [*window[: groups.pinned_end], *window[max(groups.newest, groups.pinned_end) :]]
        if sum(entry.tokens for entry in must) <= view.token_budget:
            assert view.fit in ("whole", "dropped")
            left = {id(entry) for entry in entries}
            assert left.issuperset(map(id, must)), "the pinned and the newest group stay"


def _check_fit(window: Sequence[Entry], entries: Sequence[Entry], view: View) -> None:
    originals = {id(entry) for entry in window}
    if view.fit == "whole":
        assert entries == list(window)
    else:
        assert view.window_tokens > view.token_budget
        assert (view.fit == "empty") == (not entries)
        assert (view.fit == "cut") == any(id(entry) not in originals for entry in entries)


class Groups:
    """
    The groups of a window: which entries may only go together, told from the log alone.

    Attributes:
        newest: The place at which the newest group begins.
        pinned_end: The end of the pinned entries, and of the groups that reach out of them.
    """

    def __init__(self, source: Source, window: Sequence[Entry]) -> None:
        found = [halves(json.loads(entry.body)) for entry in window]
        places = {
            Spot(entry.seq or 0, half): place
            for place, entry in enumerate(window)
            for half in found[place]
        }
        answered = pairs(source.log)
        self._spans = [
            (places[call], places[result])
            for call, result in answered
            if call in places and result in places
        ]
        paired = {call for call, _ in answered}
        end = len(window)
        while end and found[end - 1] and not any(half.is_call for half in found[end - 1]):
            end -= 1
        while end and found[end - 1] and all(half.is_call for half in found[end - 1]):
            end -= 1
            if any(Spot(window[end].seq or 0, half) not in paired for half in found[end]):
                self._spans.append((end, len(window) - 1))
        self.newest = len(window) - 1
        while self._is_inside(self.newest):
            self.newest -= 1
        self.pinned_end = len(source.pinned)
        while 0 < self.pinned_end < len(window) and self._is_inside(self.pinned_end):
            self.pinned_end += 1

    def _is_inside(self, place: int) -> bool:
        return any(first < place <= last for first, last in self._spans)


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
    _check_opener(source, config, before, after)
    if isinstance(policy, LastN):
        _check_last_n(source, config, policy, before, left)
    else:
        _check_running_turn(source, policy, before, after)


def _check_last_n(
    source: Source, config: Config, policy: LastN, before: Sequence[Entry], left: list[object]
) -> None:
    rest = list(before[len(source.pinned) :])
    if not rest or source.excused:
        return
    newest = Groups(source, before).newest
    must = [key_of(entry) for entry in before[max(newest, len(source.pinned)) :]]
    assert left[-len(must) :] == must, "the newest group stays"
    trigger = floor(config.token_budget * config.trigger_ratio)
    total = sum(entry.tokens for entry in before)
    if 10 * total <= 9 * trigger and len(rest) <= policy.limit and not policy.start_on_user:
        assert left == [key_of(entry) for entry in before], "what fits stays"


def _turn(source: Source, before: Sequence[Entry]) -> int | None:
    """Give the place of the message that opened the last turn, pinned entries aside."""
    for place in range(len(before) - 1, len(source.pinned) - 1, -1):
        if opens_turn(json.loads(before[place].body)):
            return place
    return None


def _check_opener(
    source: Source, config: Config, before: Sequence[Entry], after: Sequence[Entry]
) -> None:
    place = _turn(source, before)
    if place is None or not any(halves(json.loads(entry.body)) for entry in before[place:]):
        return
    opener, groups = before[place], Groups(source, before)
    if source.excused or _is_bound(before, place):
        return
    beside = [*before[: groups.pinned_end], *before[max(groups.newest, place + 1) :]]
    if opener.tokens + sum(entry.tokens for entry in beside) <= config.token_budget:
        assert key_of(opener) in [key_of(entry) for entry in after], "the task stays"


def _is_bound(before: Sequence[Entry], place: int) -> bool:
    """Tell whether the message at *place* is part of a larger group, which may be too large."""
    return bool(halves(json.loads(before[place].body))) or any(
        half.is_call for entry in before[:place] for half in halves(json.loads(entry.body))
    )


def _check_running_turn(
    source: Source, policy: SkipParts, before: Sequence[Entry], after: Iterable[Entry]
) -> None:
    place = _turn(source, before)
    if place is None or not any(_holds_call(entry) for entry in before[place:]):
        return
    bodies = {key_of(entry): entry.body for entry in before[place:]}
    for entry in after:
        assert bodies.get(key_of(entry), entry.body) == entry.body, "a running turn stays whole"


def _holds_call(entry: Entry) -> bool:
    message = json.loads(entry.body)
    both = (p for p in message["parts"] if p["type"] in ("tool-search", "dynamic-tool"))
    return any(half.is_call for half in halves(message)) or any(both)
