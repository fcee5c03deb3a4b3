"""
Two other ways to make a history fit, to compare with: the newest messages that fit, and LangChain.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from tests.validity.plain import INSTRUCTIONS, Message, Piece, arranged
from tests.validity.replay import Replayed, View

Cut = Callable[[Replayed, int, int], View]
"""Makes the history before a call fit into a budget in tokens: (conversation, call, budget)."""


def newest_that_fit(replayed: Replayed, call: int, budget: int) -> View:
    """Keep the leading instructions and the newest messages that fit: what most programs do."""
    leading = _leading(replayed.messages[:call])
    start, used = call, sum(replayed.tokens[:leading])
    while start > leading and used + replayed.tokens[start - 1] <= budget:
        start -= 1
        used += replayed.tokens[start]
    return _kept(replayed, [*range(leading), *range(start, call)])


def langchain_trim(replayed: Replayed, call: int, budget: int) -> View:
    """
    Do what LangChain's page on trimming recommends for chat models, with an exact counter.

    Needs langchain-core, which only the acceptance run installs.
    """
    from langchain_core.messages import trim_messages  # not there in `make test`

    trimmed = trim_messages(
        _langchain_messages(replayed)[:call],
        max_tokens=budget,
        strategy="last",
        token_counter=lambda some: sum(replayed.tokens[int(one.id or 0)] for one in some),
        start_on="human",
        end_on=("human", "tool"),
        include_system=True,
    )
    return _kept(replayed, [int(one.id or 0) for one in trimmed])


@lru_cache(maxsize=1)
def _langchain_messages(replayed: Replayed) -> list[Any]:
    """Build the messages of one conversation once for all of its calls and budgets."""
    return [_langchain_message(i, m) for i, m in enumerate(replayed.messages)]


def _langchain_message(index: int, message: Message) -> Any:
    from langchain_core.messages import (  # not there in `make test`
        AIMessage,
        HumanMessage,
        SystemMessage,
        ToolMessage,
    )

    pieces = [piece for turn in arranged([(index, message)]) for piece in turn.pieces]
    results = [piece for piece in pieces if piece.kind == "result"]
    if message["role"] in INSTRUCTIONS:
        return SystemMessage("", id=str(index))
    if message["role"] == "assistant":
        return AIMessage("", id=str(index), tool_calls=_langchain_calls(pieces))
    if results:
        return ToolMessage("", id=str(index), tool_call_id=results[0].id or "unknown")
    return HumanMessage("", id=str(index))


def _langchain_calls(pieces: Sequence[Piece]) -> list[dict[str, Any]]:
    return [{"name": p.name, "args": {}, "id": p.id} for p in pieces if p.kind == "call"]


def _leading(messages: Sequence[Message]) -> int:
    count = 0
    while count < len(messages) and messages[count]["role"] in INSTRUCTIONS:
        count += 1
    return count


def _kept(replayed: Replayed, indices: Sequence[int]) -> View:
    return View(
        [index + 1 for index in indices],
        [replayed.messages[index] for index in indices],
        [replayed.tokens[index] for index in indices],
        "whole" if indices else "empty",
    )
