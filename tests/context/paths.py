"""
The path and the window of a conversation that is edited, told slowly from the rules alone.

`Story` draws ops and applies them. `Expected` keeps every row and says after each op what the path
is and what of the window the rules decide, without the structures that the core uses: it looks at
all rows again each time, and reads calls and results from the JSON of messages.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from random import Random
from typing import Any, NamedTuple

from fastpaca.context.context import ContextState
from fastpaca.context.events import Appended, Compacted, Event
from fastpaca.context.message import Entry
from fastpaca.context.ops import Append
from tests.context.conversation import Conversation
from tests.context.story import drawn_put
from tests.kit.messages import Message, assistant, call, counted, result, text, tokens, tool, user

INSTRUCTIONS = ("system", "developer")


class Row(NamedTuple):
    """A message of the log: its seq, the place where it stands on the path, and what was sent."""

    seq: int
    place: int
    message: Message


def calls_of(message: Mapping[str, Any]) -> set[str]:
    """Return the ids of the calls that *message* makes, in any form that these stories use."""
    made = {call["id"] for call in message.get("tool_calls", ())}
    for part in message["parts"]:
        if part["type"] in ("tool_call", "tool_use", "function_call", "tool-ui"):
            made.add(part[_ID_KEYS[part["type"]]])
    return made


def result_of(part: Mapping[str, Any]) -> str | None:
    """Return the id of the call that *part* answers; None if it is no result."""
    is_result = part["type"] in ("tool_result", "function_call_output")
    return part[_ID_KEYS[part["type"]]] if is_result else None


_ID_KEYS = {
    "tool_call": "tool_call_id",
    "tool_result": "tool_call_id",
    "tool_use": "id",
    "function_call": "call_id",
    "function_call_output": "call_id",
    "tool-ui": "toolCallId",
}


def left_of(message: Message, lost: set[str]) -> Message | None:
    """
    Return *message* without the results of calls that have left the window.

    None if that leaves nothing of it.
    """
    lost = lost - calls_of(message)  # it answers its own calls
    if message.get("tool_call_id") in lost:
        return None
    parts = [part for part in message["parts"] if result_of(part) not in lost]
    if len(parts) == len(message["parts"]):
        return message
    says = [part for part in parts if part["type"] != "text" or part["text"].strip()]
    return {**message, "parts": parts} if says or message.get("tool_calls") else None


class Expected:
    """
    What the rules say of a conversation.

    Attributes:
        rows: Every row of the log.
        there: The rows that no rewind has taken off the path.
        lost: The ids of calls that have left the window.
    """

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.there: list[Row] = []
        self.lost: set[str] = set()

    def path(self) -> list[Row]:
        """Return the path: of each place the newest row, in the order of places."""
        newest = {row.place: row for row in self.there}  # later rows come later
        return sorted(newest.values(), key=lambda row: row.place)

    def add(self, message: Message, place: int | None = None) -> Row:
        """Note a row, which revises what is at *place* or comes last."""
        seq = len(self.rows) + 1
        row = Row(seq, seq if place is None else place, message)
        self.rows.append(row)
        self.there.append(row)
        return row

    def placed(self, message: Message) -> int | None:
        """Return the place that a message with this id takes; None if it is new."""
        same = [row.place for row in self.path() if row.message.get("id") == message["id"]]
        return max(same, default=None)

    def changed(self, had: set[str], after: Sequence[Entry]) -> None:
        """Note which of the calls that the window *had* have left it, and which have come back."""
        self.lost = (self.lost | had) - _calls_in(after)


def _calls_in(entries: Iterable[Entry]) -> set[str]:
    return {made for entry in entries for made in calls_of(json.loads(entry.body))}


class Moment(NamedTuple):
    """What a version was: the context, and what the rules say of it."""

    context: ContextState
    there: list[Row]
    lost: set[str]


class Story:
    """
    A conversation whose messages grow, are edited, trimmed, replaced and referred to, or go back.

    Attributes:
        talk: The conversation.
        expected: What the rules say of it.
        op: What was done last, in a word.
        moments: What each version was, apart from those in the middle of a batch.
    """

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        first = drawn_put(rng)
        self.talk = Conversation(first.policy, first.token_budget or 600, first.trigger_ratio)
        self.expected = Expected()
        self.op = ""
        self.moments: dict[int, Moment] = {}
        self._note()
        self._ids = 0
        self._open: list[tuple[str, str]] = []

    # --- ops ---

    def go_on(self) -> None:
        """Let something happen, and hold it against the rules."""
        draw = self._rng.random()
        if draw < 0.42 or not self.expected.rows:
            self._append()
        elif draw < 0.5:
            self._batch()
        elif draw < 0.78:
            self._put()
        elif draw < 0.82:
            self._rewind()
        elif draw < 0.9:
            self._compact()
        elif draw < 0.95:
            self._configure()
        else:
            self.op = "restart"
            self.talk.restart()
        self._note()

    def _note(self) -> None:
        context, expected = self.talk.context, self.expected
        moment = Moment(context, list(expected.there), set(expected.lost))
        self.moments[context.version] = moment

    def _rewind(self) -> None:
        self.op = "rewind"
        version = self._rng.choice(sorted(self.moments)[:-1] or [None])
        if version is None or version == self.talk.context.version:
            return
        past = self.moments[version]
        event = self.talk.rewind(past.context)
        assert event.to_version == version
        assert event.version == self.talk.context.version
        assert list(self.talk.window) == list(past.context.window)
        self.expected.there, self.expected.lost = list(past.there), set(past.lost)

    def _append(self) -> None:
        self.op = "append"
        message = self._message()
        window = list(self.talk.window)
        events = self.talk.say(message)
        self._check_added(window, self.expected.add(message), events)

    def _batch(self) -> None:
        """Append some at once, which is as one after the other."""
        self.op = "batch"
        made = [self._message() for _ in range(self._rng.randint(2, 4))]
        before = self.talk.context
        singles, single_events = before, list[Event]()
        self.talk.apply(Append(tuple(map(counted, made))))
        at_us = self.talk.now_us
        for message in made:
            window = list(singles.window)
            singles, events = singles.apply(Append((counted(message),)), at_us)
            single_events += events
            self._check_added(window, self.expected.add(message), events, singles.window.entries)
        assert tuple(single_events) == tuple(self.talk.events[-len(single_events) :])
        assert singles.window.entries == self.talk.window.entries

    def _put(self) -> None:
        self.op = "put"
        old = self._chosen()
        if old is None:
            return self._append()
        message = self._edited(old.message)
        place = self.expected.placed(message)
        window = list(self.talk.window)
        context = self.talk.context
        events = self.talk.put(message)
        if place is not None and message == self._at(place).message:
            assert (events, self.talk.context) == ((), context), "what is equal changes nothing"
            return None
        self._check_added(window, self.expected.add(message, place), events)
        return None

    def _at(self, place: int) -> Row:
        return next(row for row in self.expected.path() if row.place == place)

    def _chosen(self) -> Row | None:
        """Choose a message to revise: the newest, one in the window, one that left it, any."""
        rng = self._rng
        newest = {row.message["id"]: row for row in self.expected.path() if "id" in row.message}
        path = list(newest.values())
        there = {entry.place for entry in self.talk.window if entry.seq is not None}
        pools = (
            path[-1:],
            path[-4:],
            [row for row in path if row.place in there],
            [row for row in path if row.place not in there],
            path[:2],
            path,
        )
        pool = rng.choice(pools) or path
        return rng.choice(pool) if pool else None

    def _compact(self) -> None:
        self.op = "compact"
        rng, path = self._rng, self.expected.path()
        chosen = rng.sample(path, rng.randint(0, min(len(path), 6)))
        kept: list[int | Message] = [row.seq for row in sorted(chosen, key=lambda row: row.place)]
        if rng.random() < 0.6:
            kept.insert(rng.randint(0, len(kept)), user("so far " + "s" * rng.randint(0, 40)))
        before = list(self.talk.window)
        event = self.talk.compact(*kept)
        after = list(self.talk.window)
        assert len(after) == len(kept)
        for entry, item in zip(after, kept, strict=True):
            assert entry == self.talk.logged(item) if isinstance(item, int) else entry.seq is None
        self.expected.changed(_calls_in(before), after)
        assert event.version == self.talk.context.version

    def _configure(self) -> None:
        self.op = "configure"
        put = drawn_put(self._rng)
        before = list(self.talk.window)
        self.talk.apply(put)
        assert list(self.talk.window) == before

    # --- what the rules say of one new row ---

    def _check_added(
        self,
        before: Sequence[Entry],
        row: Row,
        events: Sequence[Event],
        after: Sequence[Entry] | None = None,
    ) -> None:
        after = list(self.talk.window) if after is None else after
        appended, *trims = events
        assert isinstance(appended, Appended)
        assert (appended.entry.seq, appended.entry.place) == (row.seq, row.place)
        predicted = self._predicted(before, row)
        if not trims:
            assert [_told(entry) for entry in after] == predicted
        else:
            (trim,) = trims
            assert isinstance(trim, Compacted)
            assert trim.version == appended.entry.version
            assert trim.tokens_before == sum(told.tokens for told in predicted)
            assert trim.tokens_after == sum(entry.tokens for entry in after)
            seqs = [told.seq for told in predicted]
            left = iter(seqs)
            assert all(entry.seq in left for entry in after), "a trim only takes away"
        # What a caller takes out of a message has not left the window: it was never said.
        had = {made for told in predicted for made in calls_of(told.message)}
        self.expected.changed(had, after)

    def _predicted(self, before: Sequence[Entry], row: Row) -> list[Told]:
        """Say what the window is with the new *row*, before any trim."""
        left = left_of(row.message, self.expected.lost)
        new = [] if left is None else [_told_row(row, left)]
        told = [_told(entry) for entry in before]
        if row.place == row.seq:
            return told + new
        at = [index for index, entry in enumerate(before) if _is_at(entry, row.place)]
        if not at:
            return told  # it has left the window: only the path changes
        return told[: at[0]] + new + told[at[0] + 1 :]

    # --- messages ---

    def _message(self) -> Message:
        """Draw a new message; most have an id, a few one that was used before."""
        rng = self._rng
        message = self._drawn()
        draw = rng.random()
        if draw < 0.85:
            message["id"] = self._new_id("m")
        elif draw < 0.9 and self.expected.rows:
            used = {
                row.message["id"]
                for row in self.expected.rows
                if row.message.get("id") and row.message["role"] == message["role"]
            }
            if used:
                message["id"] = rng.choice(sorted(used))
        return message

    def _new_id(self, kind: str) -> str:
        self._ids += 1
        return f"{kind}{self._ids}"

    def _words(self) -> str:
        return "x" * self._rng.choice((1, 5, 20, 60, 200))

    def _drawn(self) -> Message:
        rng = self._rng
        if not self.expected.rows and rng.random() < 0.5:
            return {"role": "system", "parts": [text(self._words())]}
        draw = rng.random()
        if self._open and draw < 0.4:
            return self._result()
        if draw < 0.6:
            return self._calls()
        if draw < 0.7:
            return assistant(text(self._words()))
        if draw < 0.75:
            return {"role": rng.choice(INSTRUCTIONS), "parts": [text(self._words())]}
        return user(self._words())

    def _calls(self) -> Message:
        rng = self._rng
        form = rng.choice(("fastpaca", "anthropic", "responses", "chat", "ui"))
        made = self._new_id("c")
        if form != "ui":
            self._open.append((form, made))
        if form == "fastpaca":
            return assistant(text(self._words()), call(made))
        if form == "anthropic":
            return assistant({"type": "tool_use", "id": made, "name": "f", "input": {}})
        if form == "responses":
            part = {"type": "function_call", "call_id": made, "name": "f", "arguments": "{}"}
            return assistant(part)
        if form == "chat":
            listed = {"id": made, "type": "function", "function": {"name": "f", "arguments": "{}"}}
            return assistant(tool_calls=[listed])
        return assistant(self._ui(made, "input-available"))

    def _ui(self, made: str, state: str) -> Message:
        part = {"type": "tool-ui", "toolCallId": made, "state": state, "input": {}}
        return {**part, "output": self._words()} if state == "output-available" else part

    def _result(self) -> Message:
        form, made = self._open.pop(self._rng.choice((0, -1)))
        if form == "chat":
            return {"role": "tool", "parts": [text(self._words())], "tool_call_id": made}
        if form == "responses":
            part = {"type": "function_call_output", "call_id": made, "output": self._words()}
            return tool(part)
        parts: list[Message] = [result(made, self._words())]
        if self._rng.random() < 0.3:
            parts.append(text(self._words()))
        return user(*parts) if form == "anthropic" else tool(*parts)

    def _edited(self, old: Message) -> Message:
        """Draw what becomes of a message: the same, more, less, or something else."""
        rng = self._rng
        message: Message = json.loads(json.dumps(old))
        parts = message["parts"]
        draw = rng.random()
        if draw < 0.1:
            return dict(reversed(message.items()))  # equal
        if message["role"] == "assistant":
            waiting = [part for part in parts if part.get("state") == "input-available"]
            if waiting and draw < 0.6:
                waiting[0] |= {"state": "output-available", "output": self._words()}
            elif draw < 0.4:
                parts.append(self._ui(self._new_id("c"), "input-available"))
            elif draw < 0.5:
                made = self._new_id("c")
                self._open.append(("fastpaca", made))
                parts.append(call(made))
            elif draw < 0.6:
                message.pop("tool_calls", None)
                message["parts"] = [text(self._words())]
            else:
                parts.append(text(self._words()))
        elif "tool_call_id" in message or draw < 0.5:
            parts.append(text(self._words()))
        elif draw < 0.7 and message["role"] == "user":
            message["parts"] = [text(self._words())]
        else:
            said = [part for part in parts if part["type"] == "text"]
            if said:
                said[0]["text"] = self._words() + "!"
            else:
                parts[0] = {**parts[0], "note": self._words()}
        return message


class Told(NamedTuple):
    """An entry of a window, as the rules tell it: the message without what a log adds."""

    seq: int | None
    place: tuple[int, int]
    message: Message
    tokens: int


_ADDED = ("seq", "version", "token_count", "inserted_at", "revises", "metadata")


def _told(entry: Entry) -> Told:
    body = json.loads(entry.body)
    assert body["seq"] == entry.seq
    assert body.get("revises") == entry.revises
    assert body["token_count"] == entry.tokens
    message = {key: value for key, value in body.items() if key not in _ADDED}
    return Told(entry.seq, (entry.covers_from, entry.covers_to), message, entry.tokens)


def _told_row(row: Row, left: Message) -> Told:
    return Told(row.seq, (row.place, row.place), left, tokens(left))


def _is_at(entry: Entry, place: int) -> bool:
    return entry.seq is not None and entry.place == place


def tell(rng: Random, ops: int) -> Iterator[Story]:
    """Tell a story of *ops* ops, and stop after each to look."""
    story = Story(rng)
    yield story
    for _ in range(ops):
        story.go_on()
        yield story
