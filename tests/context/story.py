"""
Random conversations: such as models, tools and applications have, and such as no provider would
take.

Everything is drawn from one `random.Random`, so that a story can be told again from its seed, and
so that Hypothesis can hand in a source of its own and make a failing story shorter.

Calls and results are drawn from all rows of the table of shapes. Every part and every listed call
carries its place in the message as it was sent, `n`. A check can tell by it what became of each,
without knowing how the core goes about it.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any, Final

from fastpaca.context import LastN, Manual, Policy, SkipParts
from fastpaca.context.ops import Put
from tests.rules.author import Author
from tests.rules.edits import edited
from tests.rules.forms import CROSSED, FORMS, SERVED_ROWS
from tests.rules.judge import with_numbers

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

OWN: Final = list(FORMS.values())
ALIEN: Final = list(CROSSED.values())


class Talk:
    """Draws the messages of one conversation from *rng*."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        forms = rng.sample(OWN, rng.randint(1, 3))
        if rng.random() < 0.2:
            forms.append(rng.choice(ALIEN))
        self._author = Author(rng, forms, SERVED_ROWS, self._words, tells_tokens=False)
        odd = (
            self._odd_keys,
            self._odd_parts,
            self._without_parts,
            lambda: self._author.calls("system").message,
            lambda: self._author.calls("user").message,
        )
        self._odd: list[Callable[[], Message]] = rng.sample(odd, rng.randint(0, 2))

    def next(self) -> Message:
        """Draw the next message."""
        rng = self._rng
        if self._odd and rng.random() < 0.1:
            message = rng.choice(self._odd)()
        else:
            message = self._author.next().message
        message = with_numbers(message)
        if rng.random() < 0.06:
            message["token_count"] = rng.choice((0, 1, 7, 300, 20_000))
        if rng.random() < 0.05:
            message["metadata"] = {"k": rng.choice((1, 1.5, None, [], "é"))}
        return message

    def edited(self, message: Message) -> Message:
        """Draw what becomes of a *message* of the log."""
        other = self._author.next().message
        left = edited(self._rng, message, other, self._words)
        return with_numbers({key: value for key, value in left.items() if key != "metadata"})

    def summary(self) -> Message:
        """Draw a message for a replacement."""
        role = self._rng.choice(("user", "assistant", "system", "user"))
        return with_numbers({"role": role, "parts": [self._text()]})

    def _without_parts(self) -> Message:
        return {"role": self._rng.choice(("user", "assistant", "tool")), "parts": []}

    def _odd_keys(self) -> Message:
        rng = self._rng
        return {
            "role": rng.choice(("user", "assistant")),
            "parts": [self._text()],
            "tool_calls": rng.choice((None, [], {}, [{}], [1], [{"id": 5}], "x", [[]])),
            "tool_call_id": rng.choice((None, 5, "", [], {})),
            "function_call": rng.choice((None, {}, "x", {"name": 5})),
        }

    def _odd_parts(self) -> Message:
        kind = self._rng.choice(("text", "tool_call", "tool_result", "tool-x", "custom", ""))
        odd: Message = {"type": kind, "text": self._rng.choice((None, 1, [], {"a": 1})), "id": 7}
        role = self._rng.choice(("user", "assistant", "tool"))
        return {"role": role, "parts": [{**odd, "tool_call_id": None}]}

    def _text(self) -> Message:
        return {"type": "text", "text": self._words()}

    def _words(self) -> str:
        return self._rng.choice(ALPHABETS)[:1] * self._rng.choice(SIZES)


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
