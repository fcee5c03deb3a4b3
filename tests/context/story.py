"""
Random conversations: such as models, tools and applications have, and such as no provider would
take.

Everything is drawn from one `random.Random`, so that a story can be told again from its seed, and
so that Hypothesis can hand in a source of its own and make a failing story shorter.

Every part and every listed call carries a number of its own, `n`. A check can tell by it what
became of each, without knowing how the core goes about it.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from random import Random
from typing import Any

from fastpaca.context import LastN, Manual, Policy, SkipParts
from fastpaca.context.ops import Put

Message = dict[str, Any]

SIZES = (0, 1, 3, 10, 40, 40, 90, 200, 700, 3000)
BUDGETS = (1, 2, 5, 10, 40, 100, 300, 600, 1000, 2000, 5000)
RATIOS = (0.01, 0.3, 0.5, 0.7, 0.7, 0.9, 1.0)
KINDS = (
    ("tool", "reasoning"),
    ("tool",),
    ("reasoning",),
    ("tool_",),
    ("tool-", "thinking"),
    ("tool_result",),
    ("function_call",),
    ("server",),
    ("web_search",),
    ("text",),
    (),
)
ALPHABETS = ("abc", "漢字😀", "ключ", 'a\u0000\u001f\\"/', "é\u0301\ufffe\u200f")


class Talk:
    """Draws the messages of one conversation from *rng*."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._numbers = count(1)
        self._pending: list[tuple[str, str]] = []  # (shape, id) of calls that wait for a result
        self._shapes = rng.sample(sorted(_CALLS), rng.randint(1, 3))
        self._repeats_ids = rng.random() < 0.3
        self._moves: list[Callable[[], Message]] = self._drawn_moves()

    def next(self) -> Message:
        """Draw the next message."""
        rng = self._rng
        if self._pending and rng.random() < 0.6:
            message = self._answer()
        else:
            message = rng.choice(self._moves)()
        if rng.random() < 0.06:
            message["token_count"] = rng.choice((0, 1, 7, 300, 20_000))
        if rng.random() < 0.05:
            message["metadata"] = {"k": rng.choice((1, 1.5, None, [], "é"))}
        return message

    def summary(self) -> Message:
        """Draw a message for a replacement."""
        role = self._rng.choice(("user", "assistant", "system", "user"))
        return self._message(role, self._text())

    def _drawn_moves(self) -> list[Callable[[], Message]]:
        common = [self._question, self._remark, self._calling, self._calling]
        rare = [
            self._reminder,
            self._thought,
            self._both_in_one,
            self._served,
            self._half_served,
            self._orphan,
            self._mixed,
            self._without_parts,
            self._odd_keys,
            self._odd_parts,
            self._call_of_an_instruction,
        ]
        drawn = self._rng.sample(rare, self._rng.randint(0, 5))
        return common * (1 + len(drawn) // 2) + drawn

    def _question(self) -> Message:
        parts = [self._text()]
        if self._rng.random() < 0.1:
            parts.append({"type": "reasoning", "text": "hm", "n": next(self._numbers)})
        return self._message("user", *parts)

    def _remark(self) -> Message:
        return self._message("assistant", self._text())

    def _reminder(self) -> Message:
        return self._message(self._rng.choice(("system", "developer")), self._text())

    def _thought(self) -> Message:
        kind = self._rng.choice(("reasoning", "thinking", "redacted_thinking"))
        thought = {"type": kind, "text": self._words(), "n": next(self._numbers)}
        return self._message("assistant", thought, *self._sometimes(self._text()))

    def _calling(self) -> Message:
        rng = self._rng
        shape = rng.choice(self._shapes)
        names = [self._name() for _ in range(rng.choice((1, 1, 1, 2, 3)))]
        message = self._message("assistant", *self._sometimes(self._text()))
        for name in names:
            self._pending.append((shape, name))
            _CALLS[shape](message, name, next(self._numbers))
        return message

    def _answer(self) -> Message:
        rng = self._rng
        latest = rng.random() < 0.7
        shape, name = self._pending.pop(-1 if latest else rng.randrange(len(self._pending)))
        if rng.random() < 0.1:  # nobody ever answers this one
            return self._remark()
        if rng.random() < 0.05:
            shape = rng.choice(sorted(_RESULTS))
        role = "user" if shape == "anthropic" else "tool"
        message = self._message(role)
        _RESULTS[shape](message, name, self._words(), next(self._numbers))
        while shape == "anthropic" and self._pending and rng.random() < 0.3:
            _, other = self._pending.pop()
            _RESULTS[shape](message, other, self._words(), next(self._numbers))
        if shape == "anthropic" and rng.random() < 0.2:
            message["parts"].append(self._text())
        return message

    def _orphan(self) -> Message:
        message = self._message("tool")
        shape = self._rng.choice(sorted(_RESULTS))
        _RESULTS[shape](message, self._name(), self._words(), next(self._numbers))
        return message

    def _mixed(self) -> Message:
        """A message that answers a call and makes another."""
        message = self._message("assistant", *self._sometimes(self._text()))
        if self._pending:
            shape, name = self._pending.pop()
            _RESULTS[shape](message, name, self._words(), next(self._numbers))
        shape, name = self._rng.choice(self._shapes), self._name()
        self._pending.append((shape, name))
        _CALLS[shape](message, name, next(self._numbers))
        return message

    def _call_of_an_instruction(self) -> Message:
        message = self._message("system", self._text())
        name = self._name()
        self._pending.append(("fastpaca", name))
        _CALLS["fastpaca"](message, name, next(self._numbers))
        return message

    def _both_in_one(self) -> Message:
        kind = self._rng.choice(("tool-search", "dynamic-tool"))
        part = {
            "type": kind,
            "toolCallId": self._name(),
            "state": "output-available",
            "input": {"q": self._words()},
            "output": self._words(),
            "n": next(self._numbers),
        }
        return self._message("assistant", part, *self._sometimes(self._text()))

    def _served(self) -> Message:
        """A tool that the provider runs itself: call and result stand side by side."""
        call, result = self._server_halves()
        return self._message("assistant", call, result, *self._sometimes(self._text()))

    def _half_served(self) -> Message:
        call, result = self._server_halves()
        if self._rng.random() < 0.5:
            self._pending.append(("server", call["id"]))
            return self._message("assistant", call)
        return self._message("assistant", result)

    def _server_halves(self) -> tuple[Message, Message]:
        name, kind = self._name(), self._rng.choice(("web_search", "bash_code_execution"))
        call = {"type": "server_tool_use", "id": name, "n": next(self._numbers)}
        result = {
            "type": f"{kind}_tool_result",
            "tool_use_id": name,
            "content": [{"type": "text", "text": self._words()}],
            "n": next(self._numbers),
        }
        return call, result

    def _without_parts(self) -> Message:
        return self._message(self._rng.choice(("user", "assistant", "tool")))

    def _odd_keys(self) -> Message:
        rng = self._rng
        message = self._message(rng.choice(("user", "assistant")), self._text())
        message["tool_calls"] = rng.choice((None, [], {}, [{}], [1], [{"id": 5}], "x", [[]]))
        message["tool_call_id"] = rng.choice((None, 5, "", [], {}))
        return message

    def _odd_parts(self) -> Message:
        kind = self._rng.choice(("text", "tool_call", "tool_result", "tool-x", "custom", ""))
        odd: Message = {"type": kind, "text": self._rng.choice((None, 1, [], {"a": 1})), "id": 7}
        role = self._rng.choice(("user", "assistant"))
        return self._message(role, {**odd, "tool_call_id": None, "n": next(self._numbers)})

    def _message(self, role: str, *parts: Message) -> Message:
        return {"role": role, "parts": list(parts), "id": next(self._numbers)}

    def _text(self) -> Message:
        return {"type": "text", "text": self._words(), "n": next(self._numbers)}

    def _words(self) -> str:
        return self._rng.choice(ALPHABETS)[:1] * self._rng.choice(SIZES)

    def _sometimes(self, part: Message) -> list[Message]:
        return [part] if self._rng.random() < 0.5 else []

    def _name(self) -> str:
        if self._repeats_ids:
            return self._rng.choice("abc")
        return f"t{next(self._numbers)}"


def _calls_in_keys(message: Message, name: str, number: int) -> None:
    made = {"id": name, "type": "function", "function": {"name": "f"}, "n": number}
    message.setdefault("tool_calls", []).append(made)


def _result_in_keys(message: Message, name: str, words: str, number: int) -> None:
    message["tool_call_id"] = name
    message["parts"].append({"type": "text", "text": words, "n": number})


def _twice(message: Message, name: str, number: int) -> None:
    message["parts"].append({"type": "tool_use", "id": name, "n": number})
    _calls_in_keys(message, name, number)


def _calls_as(kind: str, key: str) -> Callable[[Message, str, int], None]:
    def add(message: Message, name: str, number: int) -> None:
        message["parts"].append({"type": kind, key: name, "n": number})

    return add


def _results_as(kind: str, key: str, field: str) -> Callable[[Message, str, str, int], None]:
    def add(message: Message, name: str, words: str, number: int) -> None:
        message["parts"].append({"type": kind, key: name, field: words, "n": number})

    return add


_CALLS = {
    "fastpaca": _calls_as("tool_call", "tool_call_id"),
    "short": _calls_as("tool_call", "call_id"),
    "anthropic": _calls_as("tool_use", "id"),
    "openai": _calls_in_keys,
    "twice": _twice,
    "responses": _calls_as("function_call", "call_id"),
    "aisdk": _calls_as("tool-call", "toolCallId"),
}
_RESULTS = {
    "fastpaca": _results_as("tool_result", "tool_call_id", "content"),
    "short": _results_as("tool_result", "call_id", "content"),
    "anthropic": _results_as("tool_result", "tool_use_id", "content"),
    "openai": _result_in_keys,
    "twice": _result_in_keys,
    "responses": _results_as("function_call_output", "call_id", "output"),
    "aisdk": _results_as("tool-result", "toolCallId", "output"),
    "server": _results_as("web_search_tool_result", "tool_use_id", "content"),
}


def drawn_put(rng: Random) -> Put:
    """Draw a configuration, or a change of some of it."""
    return Put(
        token_budget=rng.choice((None, *BUDGETS)),
        trigger_ratio=rng.choice((None, *RATIOS)),
        policy=rng.choice((None, drawn_policy(rng))),
    )


def drawn_policy(rng: Random) -> Policy:
    """Draw a policy."""
    limit = rng.choice((1, 2, 3, 5, 10, 200))
    target_ratio = rng.choice((0.01, 0.3, 0.5, 0.5, 0.9, 1.0))
    start_on_user = rng.random() < 0.3
    draw = rng.random()
    if draw < 0.45:
        return LastN(limit, target_ratio, start_on_user)
    if draw < 0.9:
        return SkipParts(rng.choice(KINDS), limit, target_ratio, start_on_user)
    return Manual()
