"""
What the scripted model answers, whatever protocol it is asked in.

A turn begins with what the user said, which has the turn's number in it. Each answer depends on
that number and on how many answers of the turn came before, so that a conversation can be told in
any protocol, broken off anywhere and gone on with.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

Json = dict[str, Any]

TOOL: Final = "order_status"

_TURN: Final = re.compile(r"turn (\d+)")

_WORDS: Final = "The parcel has left the warehouse and is on its way to you, and it is not late."


@dataclass(frozen=True)
class ToolCall:
    """A call of the only tool."""

    id: str
    order_id: str

    @property
    def arguments(self) -> Json:
        """The arguments."""
        return {"order_id": self.order_id}


@dataclass(frozen=True)
class Reply:
    """What is answered: what was thought, what is said, and which tools are called at once."""

    thought: str
    text: str
    calls: tuple[ToolCall, ...] = ()

    @property
    def words(self) -> list[str]:
        """The text in the pieces that it is streamed in."""
        return re.findall(r"\S+\s*", self.text)


@dataclass(frozen=True)
class Asked:
    """
    What a request asks for.

    Attributes:
        said: What the user said last.
        steps: How many answers with calls the model has given since.
    """

    said: str
    steps: int


def steps_of(turn: int) -> tuple[int, ...]:
    """Return how many calls each answer of *turn* makes before its last one, which makes none."""
    return ((), (1,), (2,), (1, 3))[turn % 4]


def reply(asked: Asked, number: int) -> Reply:
    """
    Answer request *number* of this model, which makes the ids of calls.

    Raises:
        AssertionError: The user's message has no number.
    """
    numbers = _TURN.findall(asked.said)
    assert numbers, f"no number in {asked.said!r}"
    turn = int(numbers[-1])  # what was left unanswered may stand before it in the same message
    steps = steps_of(turn)
    if asked.steps >= len(steps):
        return Reply(f"Turn {turn} can be answered.", f"Answer of turn {turn}. {_WORDS}")
    calls = tuple(
        ToolCall(f"call_{number}_{at}", f"{turn}-{asked.steps}-{at}")
        for at in range(steps[asked.steps])
    )
    return Reply(f"Turn {turn} needs {len(calls)} of my tools.", "Let me look that up.", calls)
