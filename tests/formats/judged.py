"""
Renderings of real conversations, judged as their providers would.

The window before each reply is read at several budgets, and the whole history besides; each is
rendered in every format and given to that provider's validator and to the types of its package.
The same validators are given the window without repairs, and the newest messages that fit, so that
it can be seen what a rendering is for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from fastpaca.formats import render
from fastpaca.formats.rendering import Rendering
from fastpaca.testing import running_app
from fastpaca.tokens import counter_for
from tests.acceptance.data import COUNTED, SHAPES, conversations
from tests.formats.official import problem
from tests.formats.samples import NAMES, VALIDATORS, Json
from tests.formats.test_official import OFFICIAL
from tests.validity import plain
from tests.validity.cuts import newest_that_fit
from tests.validity.judged import PROVIDERS, turns_of
from tests.validity.replay import Replayed, View, counted, views

BUDGETS: Final = (4_000, 8_000, 32_000)
"""The budgets at which windows are rendered, besides the whole history."""

COUNTER: Final = "tiktoken:gpt-4o"

WINDOW, RENDERING, NAIVE = "window", "rendering", "newest that fit"

LISTS: Final = (WINDOW, RENDERING, NAIVE)
"""What providers are sent: the window without repairs, its rendering, and a naive cut."""

PLAIN: Final = {name: provider.render for name, provider in PROVIDERS.items()} | {
    "bedrock": plain.for_bedrock
}
"""How messages become a list without any repair."""


@dataclass
class Verdict:
    """
    What was found.

    Attributes:
        renderings: How many lists were judged, by format.
        violations: What providers refuse, by format and rule.
        repairs: What was repaired, by format and code.
        losses: What was lost, by format and code.
        examples: The first violations.
        ui_messages: Lists of UI messages, for the AI SDK to judge.
        judged: How many lists a validator was given, by provider, kind of list and budget.
        refused: How many of them had a violation.
    """

    renderings: Counter[str] = field(default_factory=Counter)
    violations: Counter[tuple[str, str]] = field(default_factory=Counter)
    repairs: Counter[tuple[str, str]] = field(default_factory=Counter)
    losses: Counter[tuple[str, str]] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)
    ui_messages: list[list[Json]] = field(default_factory=list)
    judged: Counter[tuple[str, str, int]] = field(default_factory=Counter)
    refused: Counter[tuple[str, str, int]] = field(default_factory=Counter)

    def add(self, budget: int, place: str, view: View, *, is_last: bool) -> None:
        """Render *view* in every format, and judge each list."""
        messages = _messages(view)
        for name in NAMES:
            rendering = render(messages, name)
            self.renderings[name] += 1
            self.repairs.update((name, repair.code) for repair in rendering.repairs)
            self.losses.update((name, loss.code) for loss in rendering.losses)
            broken = _broken(name, rendering, is_last=is_last)
            self.judged[name, RENDERING, budget] += 1
            self.refused[name, RENDERING, budget] += bool(broken)
            for rule in broken:
                self.violations[name, rule] += 1
                if len(self.examples) < 5:
                    self.examples.append(f"{place}: {name} {rule}")
            if name == "ai-sdk" and is_last:
                self.ui_messages.append(rendering.messages)

    def compare(self, budget: int, kind: str, view: View) -> None:
        """Judge *view* as it is: arranged for each provider, and not repaired."""
        turns = turns_of(view)
        for name, render_plainly in PLAIN.items():
            self.judged[name, kind, budget] += 1
            self.refused[name, kind, budget] += bool(
                VALIDATORS[name](render_plainly(turns).messages)
            )

    def merge(self, other: Verdict) -> None:
        """Add what *other* has found."""
        for name in ("renderings", "violations", "repairs", "losses", "judged", "refused"):
            getattr(self, name).update(getattr(other, name))
        self.examples = [*self.examples, *other.examples][:5]
        self.ui_messages += other.ui_messages


def _broken(name: str, rendering: Rendering, *, is_last: bool) -> list[str]:
    violations = VALIDATORS.get(name)
    broken = [found.rule for found in violations(rendering.messages)] if violations else []
    if is_last and name in OFFICIAL:
        text = problem(rendering.messages, OFFICIAL[name])
        broken += [f"types: {text}"] if text else []
    return broken


@dataclass(frozen=True)
class Plan:
    """Which conversations are judged: of a source, in a shape, so many; the last calls of each."""

    source: str
    shape: str
    budgets: tuple[int, ...] = BUDGETS
    first: int | None = None
    calls: int | None = None


def plans() -> list[Plan]:
    """Plan all sources in all their shapes."""
    return [
        Plan(source, shape)
        for source, shapes in SHAPES.items()
        for shape in shapes
        if shape != COUNTED
    ]


async def judged(plan: Plan) -> Verdict:
    """Render and judge what *plan* names."""
    verdict = Verdict()
    async with running_app(counter=counter_for(COUNTER)) as client:
        for conversation in conversations(plan.source, plan.shape)[: plan.first]:
            replayed = await counted(client, conversation)
            last = replayed.calls[-1] if replayed.calls else 0
            first = replayed.calls[-plan.calls] if plan.calls and plan.calls < last else 0
            async for budget, call, view in _views(client, replayed, plan):
                if call >= first:
                    place = f"{conversation.id} after {call} messages at {budget}"
                    verdict.add(budget, place, view, is_last=call == last)
                    verdict.compare(budget, WINDOW, view)
                    naive = newest_that_fit(replayed, call, budget) if budget else view
                    verdict.compare(budget, NAIVE, naive)
    return verdict


async def _views(
    client: Any, replayed: Replayed, plan: Plan
) -> AsyncIterator[tuple[int, int, View]]:
    for call in replayed.calls:
        yield 0, call, replayed.history(call)
    for budget in plan.budgets:
        if replayed.total_tokens > budget:
            async for call, view in views(client, replayed, budget, {}):
                yield budget, call, view


def _messages(view: View) -> list[Mapping[str, Any]]:
    return [
        {**message, "seq": seq or None}
        for seq, message in zip(view.seqs, view.messages, strict=True)
    ]
