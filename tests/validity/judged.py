"""
Judging a view: what a provider refuses in it that it would not refuse in the whole history.

Some rules are not counted, since no window can keep or break them: an id that the log uses twice,
the pairing of item ids that the log does not have, whether thinking is bound to its prefix, and
images in results. The last two no validator reports.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from typing import Any, Final, NamedTuple

from tests.providers import anthropic, gemini, openai_chat, openai_responses
from tests.providers.violation import Violation
from tests.validity import plain
from tests.validity.plain import Rendered, Turn
from tests.validity.replay import Replayed, View

NOT_COUNTED: Final = frozenset({anthropic.REPEATED_ID, openai_responses.PAIRED_BY_ITEM_ID})


class Provider(NamedTuple):
    """How a list is made for a provider, and what it refuses."""

    render: Callable[[Sequence[Turn]], Rendered]
    violations: Callable[[Sequence[dict[str, Any]]], list[Violation]]


PROVIDERS: Final = {
    "anthropic": Provider(plain.for_anthropic, anthropic.violations),
    "openai-chat": Provider(plain.for_openai_chat, openai_chat.violations),
    "openai-responses": Provider(plain.for_openai_responses, openai_responses.violations),
    "gemini": Provider(plain.for_gemini, gemini.violations),
}


class Complaint(NamedTuple):
    """A rule that is broken, and the seqs of the message in which it is."""

    rule: str
    seqs: frozenset[int]


def complaints(provider: Provider, turns: Sequence[Turn]) -> list[Complaint]:
    """Return what *provider* refuses in *turns*, by rule and message."""
    rendered = provider.render(turns)
    return [
        Complaint(found.rule, rendered.seqs(found.message, found.block))
        for found in provider.violations(rendered.messages)
        if found.rule not in NOT_COUNTED
    ]


def turns_of(view: View) -> list[Turn]:
    """Arrange the messages of *view* as any renderer does."""
    return plain.arranged(zip(view.seqs, view.messages, strict=True))


class Judge:
    """Tells what is wrong with the views of one conversation."""

    def __init__(self, replayed: Replayed) -> None:
        self._replayed = replayed
        self._of_history = cache(self._complaints_of_history)
        self._turns_of_history = lru_cache(maxsize=1)(
            lambda call: turns_of(self._replayed.history(call))
        )

    def new_complaints(self, call: int, view: View) -> dict[str, list[Complaint]]:
        """Return, by provider, what it refuses in *view* and would not refuse in the history."""
        turns = turns_of(view)
        found: dict[str, list[Complaint]] = {}
        for name, provider in PROVIDERS.items():
            in_view = complaints(provider, turns)
            if in_view:
                old = self._of_history(name, call)
                found[name] = [one for one in in_view if not _stands_in(one, old)]
        return {name: listed for name, listed in found.items() if listed}

    def has_task(self, call: int, view: View) -> bool:
        """Tell whether the user message that opened the running turn is in *view*."""
        task = self.task(call)
        return task is None or task in view.seqs

    def task(self, call: int) -> int | None:
        """Return the seq of the newest message before *call* that asks for something."""
        for index in range(call - 1, -1, -1):
            if _opens_turn(self._replayed.messages[index]):
                return index + 1
        return None

    def _complaints_of_history(self, name: str, call: int) -> list[Complaint]:
        return complaints(PROVIDERS[name], self._turns_of_history(call))


def _stands_in(complaint: Complaint, others: Sequence[Complaint]) -> bool:
    return any(
        complaint.rule == other.rule and (complaint.seqs & other.seqs or not complaint.seqs)
        for other in others
    )


def _opens_turn(message: plain.Message) -> bool:
    if message["role"] != "user":
        return False
    kinds = {part["type"] for part in message["parts"]}
    return bool(kinds) and not any(kind.endswith(("_result", "-result")) for kind in kinds)
