"""
Replaying whole sources: what providers refuse, what was kept, and what the cuts cost.

A cell is one source in one shape at one budget, for the views of fastpaca or for another cut.
Only calls at which something had been taken out are judged: where a view is the whole history
there is nothing that a cut could have broken.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import httpx

from fastpaca.testing import running_app
from fastpaca.tokens import counter_for
from tests.acceptance.data import COUNTED, SHAPES, conversations
from tests.validity.cuts import Cut, langchain_trim, newest_that_fit
from tests.validity.judged import Judge
from tests.validity.replay import BUDGETS, Replayed, View, counted, views

COUNTER: Final = "tiktoken:gpt-4o"

FASTPACA: Final = "fastpaca"

CUTS: Final[Mapping[str, Cut]] = {
    "newest that fit": newest_that_fit,
    "LangChain": langchain_trim,
}
"""What fastpaca is compared with, by name."""

INSTRUCTIONS_WORDS: Final = 2_990
"""Words of the system message that a conversation may be given in front: 3,000 tokens."""


class Plan(NamedTuple):
    """
    What to replay.

    Attributes:
        source: The source of the conversations.
        shape: How they are sent.
        budgets: Token budgets.
        policy: What is added to the configuration of each context.
        cuts: Names of other cuts to judge as well.
        has_instructions: Whether a system message of 3,000 tokens stands before each conversation.
        judges: Whether to ask the validators, or to measure cost alone.
        first: So many conversations at most.
    """

    source: str
    shape: str
    budgets: Sequence[int] = BUDGETS
    policy: Mapping[str, Any] = {}
    cuts: Sequence[str] = ()
    has_instructions: bool = False
    judges: bool = True
    first: int | None = None


@dataclass
class Cell:
    """
    The sums of one cell.

    Attributes:
        calls: Calls of the model.
        trimmed: Those at which something had been taken out.
        refused: By provider, the trimmed calls that it refuses.
        rules: By provider and rule, how often.
        without_task: Trimmed calls whose task had gone.
        empty: Views without a message.
        cuts: Calls whose view does not begin with the view before.
        used_tokens: Sum over all calls.
        rewritten_tokens: Tokens of messages that were sent before, after the first change.
        examples: Up to three places to look at.
    """

    calls: int = 0
    trimmed: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    rules: dict[str, int] = field(default_factory=dict)
    without_task: int = 0
    empty: int = 0
    cuts: int = 0
    used_tokens: int = 0
    rewritten_tokens: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, other: Cell) -> None:
        """Add the sums of *other*."""
        for name in ("calls", "trimmed", "without_task", "empty", "cuts"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.used_tokens += other.used_tokens
        self.rewritten_tokens += other.rewritten_tokens
        for mine, others in ((self.refused, other.refused), (self.rules, other.rules)):
            for key, count in others.items():
                mine[key] = mine.get(key, 0) + count
        self.examples = [*self.examples, *other.examples][:3]


Key = tuple[str, str, str, int]
"""Of a cell: who cut, source, shape, budget in tokens."""


def plans(sources: Iterable[str] = (), **options: Any) -> list[Plan]:
    """Plan all *sources* in all their shapes, those with counts of their own aside."""
    return [
        Plan(source, shape, **options)
        for source in (tuple(sources) or SHAPES)
        for shape in SHAPES[source]
        if shape != COUNTED
    ]


async def measured(plan: Plan) -> dict[Key, Cell]:
    """Replay what *plan* names and return the cells."""
    cells: dict[Key, Cell] = {}
    instructions = " word" * INSTRUCTIONS_WORDS if plan.has_instructions else ""
    async with running_app(counter=counter_for(COUNTER)) as client:
        for conversation in conversations(plan.source, plan.shape)[: plan.first]:
            replayed = await counted(client, conversation, instructions)
            judge = Judge(replayed)
            for name, budget, seen in _all_views(client, replayed, plan):
                tally = Tally(judge if plan.judges else None, replayed)
                async for call, view in seen:
                    tally.add(call, view)
                key = (name, plan.source, plan.shape, budget)
                cells.setdefault(key, Cell()).add(tally.cell)
    return cells


def _all_views(
    client: httpx.AsyncClient, replayed: Replayed, plan: Plan
) -> Iterator[tuple[str, int, AsyncIterator[tuple[int, View]]]]:
    for budget in plan.budgets:
        if replayed.total_tokens > budget:
            yield FASTPACA, budget, views(client, replayed, budget, plan.policy)
            for name in plan.cuts:
                yield name, budget, _cut_views(CUTS[name], replayed, budget)


async def _cut_views(cut: Cut, replayed: Replayed, budget: int) -> AsyncIterator[tuple[int, View]]:
    for call in replayed.calls:
        yield call, cut(replayed, call, budget)


class Tally:
    """Adds up the views of one conversation at one budget."""

    def __init__(self, judge: Judge | None, replayed: Replayed) -> None:
        self.cell = Cell()
        self._judge = judge
        self._replayed = replayed
        self._sent: list[tuple[int, int]] = []

    def add(self, call: int, view: View) -> None:
        """Add the *view* of the call at which *call* messages stood."""
        cell = self.cell
        cell.calls += 1
        cell.used_tokens += view.used_tokens
        cell.empty += not view.seqs
        self._add_cost(view)
        if self._judge is not None and _is_trimmed(call, view):
            self._add_verdict(self._judge, call, view)

    def _add_cost(self, view: View) -> None:
        now = list(zip(view.seqs, view.tokens, strict=True))
        same = _common(self._sent, now)
        if same < len(self._sent):
            self.cell.cuts += 1
            newest = max((seq for seq, _ in self._sent), default=0)
            self.cell.rewritten_tokens += sum(n for seq, n in now[same:] if seq <= newest)
        self._sent = now

    def _add_verdict(self, judge: Judge, call: int, view: View) -> None:
        cell = self.cell
        cell.trimmed += 1
        cell.without_task += not judge.has_task(call, view)
        for provider, found in judge.new_complaints(call, view).items():
            cell.refused[provider] = cell.refused.get(provider, 0) + 1
            for rule in {f"{provider}: {one.rule}" for one in found}:
                cell.rules[rule] = cell.rules.get(rule, 0) + 1
            if len(cell.examples) < 3:
                first = found[0]
                place = f"{self._replayed.conversation.id} after {call} messages"
                cell.examples.append(f"{place}: {provider} {first.rule} {sorted(first.seqs)}")


def _is_trimmed(call: int, view: View) -> bool:
    return view.fit != "whole" or list(view.seqs) != list(range(1, call + 1))


def _common(before: Sequence[tuple[int, int]], now: Sequence[tuple[int, int]]) -> int:
    """Count the messages at the front that both have, by seq and tokens."""
    same = 0
    while same < min(len(before), len(now)) and before[same] == now[same]:
        same += 1
    return same
