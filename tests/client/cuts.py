"""
Random conversations of all shapes, and where a node may cut them: `tests/wire/cuts.json`.

    python -m tests.client.cuts

Draws the conversations and asks the core of a node about each. The tests of the core and of every
SDK read the file, so that all of them cut at the same places.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any, Final

from fastpaca import shapes
from fastpaca.context.groups import Groups
from fastpaca.context.message import Entry, log_entry, synthetic_entry
from fastpaca.shapes import By, Row, Side
from tests.kit.messages import counted
from tests.kit.messages import message as say

FILE: Final = Path(__file__).parents[1] / "wire" / "cuts.json"

OF_ROW: Final = 2
"""How many conversations are drawn about each row of the table."""

OF_ALL: Final = 120
"""How many are drawn from all rows."""

IDS: Final = ("a", "b", "c", "")
NAMES: Final = ("f", "g", "")
STATES: Final = ("input-available", "approval-requested", "output-available", "output-error")

Message = dict[str, Any]


class Talk:
    """
    Draws the messages of one conversation from *rng*.

    Args:
        rng: Where everything is drawn from.
        rows: The shapes that are spoken.
    """

    def __init__(self, rng: Random, rows: Sequence[Row]) -> None:
        self._rng = rng
        self._asking = [row for row in rows if row.side in (Side.CALL, Side.BOTH, Side.REQUEST)]
        self._answering = [row for row in rows if row.side in (Side.RESULT, Side.RESPONSE)]
        self._ids = rng.choice((IDS, IDS[:2], IDS[:3], ("a", ""), ("",)))
        self._open: list[str] = []

    def next(self) -> Message:
        """Draw the next message."""
        rng = self._rng
        draw = rng.random()
        if self._open and draw < 0.45:
            return self._answer()
        moves: tuple[tuple[float, Callable[[], Message]], ...] = (
            (0.62, lambda: say("user", text())),
            (0.70, lambda: say("assistant", text())),
            (0.74, lambda: say(rng.choice(("system", "developer")), text())),
            (0.80, lambda: say("assistant", *self._thoughts())),
            (0.83, self._odd),
        )
        for share, move in moves:
            if draw < share:
                return move()
        return self._call() if draw < 0.97 else self._answer()

    def _call(self) -> Message:
        rng = self._rng
        message = say(rng.choice(("assistant", "assistant", "assistant", "model")))
        if rng.random() < 0.3:
            message["parts"] += self._thoughts()
        if rng.random() < 0.2:
            message["parts"].append(text())
        calls = []
        for _ in range(rng.choice((1, 1, 1, 2))):
            name, id_ = rng.choice(NAMES), rng.choice(self._ids)
            self._open.append(id_)
            if not self._asking or rng.random() < 0.15:
                calls.append({"id": id_, "function": {"name": name}})
            else:
                message["parts"].append(self._part(rng.choice(self._asking), id_, name))
        if calls:
            message["tool_calls"] = calls
        elif rng.random() < 0.05:
            message["function_call"] = {"name": "f", "arguments": "{}"}
            self._open.append("")
        if rng.random() < 0.1 and self._answering:
            message["parts"].insert(0, self._result())
        return message

    def _answer(self) -> Message:
        rng = self._rng
        if not self._answering or rng.random() < 0.15:
            message = say(rng.choice(("tool", "function")), text())
            id_ = self._answered()
            return message | ({"tool_call_id": id_} if id_ else {"name": rng.choice(NAMES)})
        message = say(rng.choice(("tool", "tool", "user", "assistant")), self._result())
        while rng.random() < 0.25:
            message["parts"].append(self._result())
        if rng.random() < 0.15:
            message["parts"].append(text())
        return message

    def _result(self) -> Message:
        row = self._rng.choice(self._answering)
        return self._part(row, self._answered(), self._rng.choice(NAMES))

    def _answered(self) -> str:
        if self._open and self._rng.random() < 0.9:
            return self._open.pop(self._rng.randrange(len(self._open)))
        return self._rng.choice(self._ids)

    def _part(self, row: Row, id_: str, name: str) -> Message:
        rng = self._rng
        tool = name or "f"
        types = {By.KEY: row.word, By.SUFFIX: f"custom{row.word}"}
        part: Message = {"type": types.get(row.by, row.word.replace("*", tool))}
        held: Message = {}
        if id_:
            held[rng.choice(row.ids)] = id_
        if row.names and name:
            held[rng.choice(row.names)] = name
        if row.by is By.KEY:
            return part | {row.word: held}
        if row.by is By.TOOL_CALL_ID:
            part["toolCallId"] = held.get("toolCallId", rng.choice(self._ids))
        part |= held
        part |= {key: id_ or "a" for key in row.needs if key not in part}
        if row.has_state:
            part["state"] = rng.choice(STATES)
        if row.alias and rng.random() < 0.5:
            part[row.alias] = rng.choice(IDS[:3])
        if row.grants:
            part[row.grants] = rng.random() < 0.5
        return part

    def _thoughts(self) -> list[Message]:
        rng = self._rng
        kinds: tuple[Message, ...] = (
            {"type": "reasoning", "text": "hm"},
            {"type": "reasoning", "id": "rs", "summary": []},
            {"type": "thinking", "thinking": "hm", "signature": "s"},
            {"type": "text", "text": "hm", "thought": True},
            {"type": "thought", "reasoningContent": {"text": "hm"}},
        )
        return [dict(rng.choice(kinds)) for _ in range(rng.choice((1, 1, 2)))]

    def _odd(self) -> Message:
        odd: tuple[Message, ...] = (
            say("assistant", {"type": "step-start"}),
            say("user", {"type": "data-weather", "data": {}}),
            say("assistant", {"type": "compaction", "content": "so far"}),
            say("assistant", {"type": "compaction", "content": None}),
            say("user", text(" \u2003\n")),
            say("assistant", reasoning_content="hm"),
            say("assistant", text(), reasoning=[], annotations=[1]),
            say("assistant", {"type": "message", "content": []}),
            say("critic", text(), audio={"id": "x"}),
            say("assistant", {"type": "image", "source": {}}, text("\ufeff")),
            say("user"),
        )
        return json.loads(json.dumps(self._rng.choice(odd)))  # type: ignore[no-any-return]  # a copy


def text(said: str = "so") -> Message:
    """A text part."""
    return {"type": "text", "text": said}


def drawn() -> dict[str, list[Message]]:
    """Draw all conversations, by name."""
    found: dict[str, list[Message]] = {}
    for row in shapes.ROWS:
        kin = [one for one in shapes.ROWS if one.provider == row.provider]
        for seed in range(OF_ROW):
            name = f"{row.provider} {row.side} {row.word} {seed}"
            found[name] = _conversation(Random(name), [row, row, row, *kin])
    for seed in range(OF_ALL):
        rng = Random(seed)
        found[f"all {seed}"] = _conversation(rng, rng.sample(shapes.ROWS, 8))
    return found


def _conversation(rng: Random, rows: Sequence[Row]) -> list[Message]:
    talk = Talk(rng, rows)
    messages = [talk.next() for _ in range(rng.randint(5, 12))]
    if rng.random() < 0.2:
        messages[rng.choice((0, 1))]["seq"] = None
    return messages


def entries_of(messages: Sequence[Message]) -> list[Entry]:
    """Make entries of *messages*; one whose `seq` is null is synthetic."""
    entries = []
    for seq, message in enumerate(messages, 1):
        one = counted({key: value for key, value in message.items() if key != "seq"})
        if message.get("seq", seq) is None:
            entries.append(synthetic_entry(one.draft, one.counts, seq, 0, (seq, seq), 0))
        else:
            entries.append(log_entry(one.draft, one.counts, seq, seq, 0))
    return entries


def case(name: str, messages: Sequence[Message]) -> dict[str, Any]:
    """Ask the core where *messages* may be cut."""
    entries = entries_of(messages)
    return {
        "name": name,
        "messages": messages,
        "cut_points": Groups(entries).read(len(entries)).whole_cuts(),
        "task_messages": [i for i, entry in enumerate(entries) if entry.opens_turn],
    }


def cases() -> list[dict[str, Any]]:
    """Read the file."""
    return json.loads(FILE.read_text())  # type: ignore[no-any-return]  # as it was written


if __name__ == "__main__":
    lines = [
        json.dumps(case(name, messages), separators=(",", ":"))
        for name, messages in drawn().items()
    ]
    FILE.write_text("[\n" + ",\n".join(lines) + "\n]\n")
