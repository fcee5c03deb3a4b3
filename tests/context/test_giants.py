"""
Giant groups: thousands of results of one step, a result that comes late or never, many small calls.

Work is counted in steps of the interpreter, append by append, against an ordinary conversation of
as many messages under the same configuration. What one message brings is its own affair: a message
of many calls is compared with the same message in the ordinary conversation.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import NamedTuple

import pytest

from fastpaca.context import ContextState, LastN, Policy, SkipParts
from fastpaca.context.events import Compacted
from fastpaca.context.ops import Append, Counted
from tests.context.test_cost import context_of, steps
from tests.kit.messages import Message, assistant, call, counted, result, tool, user

BUDGET = 8000
FACTOR = 1.5
POLICIES = [LastN(), SkipParts()]


def ordinary(count: int) -> list[Message]:
    """So many messages of turns with a few steps each."""
    told: list[Message] = []
    while len(told) < count:
        told.append(user("go on with it"))
        for step in range(8):
            name = f"o{len(told)}-{step}"
            told += [assistant(call(name)), tool(result(name))]
        told.append(assistant("this is done"))
    return told[:count]


def surrounded(*giant: Message) -> list[Message]:
    """A giant turn between ordinary ones."""
    return [*ordinary(300), user("the task"), *giant, assistant("done"), *ordinary(100)]


def results_of_one_step(count: int) -> list[Message]:
    """As many messages that call a tool, and then the results."""
    names = [f"c{number}" for number in range(count)]
    return surrounded(
        *[assistant(call(name)) for name in names], *[tool(result(name)) for name in names]
    )


def calls_in_one_message(count: int) -> list[Message]:
    """A message of so many calls, and the results, a message each."""
    names = [f"c{number}" for number in range(count)]
    calls = assistant(*[call(name) for name in names])
    return surrounded(calls, *[tool(result(name)) for name in names])


def late_result(count: int) -> list[Message]:
    """A result that comes after so many messages."""
    return surrounded(assistant(call("x")), *[assistant("wait")] * count, tool(result("x")))


def call_without_result(count: int) -> list[Message]:
    """A call that is never answered, in a turn of so many steps."""
    told = [assistant(call("x"), call("c0")), tool(result("c0"))]
    for number in range(1, count):
        told += [assistant(call(f"c{number}")), tool(result(f"c{number}"))]
    return surrounded(*told)


GIANTS: dict[str, list[Message]] = {
    "10,000 results of one step": results_of_one_step(10_000),
    "10,000 calls in one message": calls_in_one_message(10_000),
    "a result after 1,000 messages": late_result(1_000),
    "a call that is never answered": call_without_result(2_000),
    "300 small calls in one message": calls_in_one_message(300),
}


class Cost(NamedTuple):
    """
    What an append took.

    Attributes:
        steps: Of the interpreter.
        is_trimmed: Whether the window was trimmed.
        entries: Of the window before.
        kept: Of the window after.
    """

    steps: int
    is_trimmed: bool
    entries: int
    kept: int


def counted_ops(told: Iterable[Message]) -> list[Append]:
    """Make the op that appends each of the messages; equal ones are counted once."""
    known: dict[int, Counted] = {}
    return [Append((known.setdefault(id(one), counted(one)),)) for one in told]


def counted_append(context: ContextState, op: Append) -> tuple[int, ContextState]:
    """Append, and count the steps that it takes."""
    after: list[ContextState] = []
    took = steps(lambda: after.append(context.apply(op, 1)[0]))
    return took, after[0]


def costs(
    policy: Policy,
    told: list[Message],
    wanted: Callable[[int], bool],
    heavy: Collection[int] = (),
) -> list[Cost]:
    """
    Append one by one; return what the *wanted* appends cost, and all that trim, but for *heavy*
    messages.
    """
    ops = counted_ops(told)
    trims = set()
    context = context_of(policy, BUDGET)
    for number, op in enumerate(ops):
        context, events = context.apply(op, 1)
        if number % (len(ops) // 6) == 0 or number == len(ops) - 101:
            assert list(context.view().entries), f"message {number} empties the view"
        if any(isinstance(event, Compacted) for event in events):
            trims.add(number)
    found = []
    context = context_of(policy, BUDGET)
    for number, op in enumerate(ops):
        if number not in heavy and (number in trims or wanted(number)):
            entries = len(context.window)
            took, context = counted_append(context, op)
            found.append(Cost(took, number in trims, entries, len(context.window)))
        else:
            context, _ = context.apply(op, 1)
    return found


def dearest(found: Iterable[Cost], *, is_trimmed: bool) -> int:
    """Return the most steps that an append took which trimmed, or did not."""
    return max(cost.steps for cost in found if cost.is_trimmed is is_trimmed)


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: type(policy).__name__)
@pytest.mark.parametrize("giant", GIANTS)
def test_no_append_to_a_giant_step_costs_more_than_others(giant: str, policy: Policy) -> None:
    """
    Neither while the step runs, nor when it ends, nor when what is left of it goes.
    """
    told = GIANTS[giant]
    heavy = {number for number, one in enumerate(told) if len(one["parts"]) > 100}
    sample = len(told) // 300 + 1

    def is_wanted(number: int) -> bool:
        near = 295 < number < 310 or len(told) - number < 110
        return near or number % sample == 0

    found = costs(policy, told, is_wanted, heavy)
    usual = costs(policy, ordinary(900), lambda number: True)
    assert dearest(found, is_trimmed=False) <= FACTOR * dearest(usual, is_trimmed=False)
    trims = [cost for cost in usual if cost.is_trimmed]
    per_entry = max(cost.steps / cost.entries for cost in trims)
    per_kept = max(cost.steps / cost.kept for cost in trims)
    for cost in found:
        if cost.is_trimmed:
            # A trim is as dear as what it keeps; to strip is to look at all that there is.
            of_size = per_kept * cost.kept
            if isinstance(policy, SkipParts):
                of_size = max(of_size, per_entry * cost.entries)
            assert cost.steps <= FACTOR * max(dearest(usual, is_trimmed=True), of_size)
