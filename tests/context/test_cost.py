"""
What work costs: counted in steps of the interpreter, so that no clock is asked.

Work that grows with the square of a size shows when the size is doubled: it is then four times as
much, and twice as much if all is well.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Any

import pytest

from fastpaca.context import ContextState, LastN, Manual, Policy, SkipParts
from fastpaca.context.ops import Append, Counted, PutMessage
from fastpaca.context.policies import compact
from tests.context.conversation import Conversation
from tests.kit.messages import assistant, call, counted, result, system, tool, user


def steps(work: Callable[[], object]) -> int:
    """Count the bytecodes that *work* executes in Python."""
    executed = 0

    def trace(frame: FrameType, event: str, arg: Any) -> Any:
        nonlocal executed
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        executed += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return executed


def appended(context: ContextState, messages: Iterable[Counted]) -> ContextState:
    """Append *messages* one by one."""
    for one in messages:
        context, _ = context.apply(Append((one,)), 1)
    return context


def context_of(policy: Policy, token_budget: int = 1000) -> ContextState:
    """Make an empty context."""
    return Conversation(policy, token_budget=token_budget).context


def one_message_of_calls(count: int) -> list[Counted]:
    """A running step: a message that calls *count* tools, and the results, one by one."""
    names = [f"c{number}" for number in range(count)]
    made = [user("the task"), assistant(*[call(name) for name in names])]
    return [counted(one) for one in [*made, *[tool(result(name)) for name in names]]]


def many_messages_of_calls(count: int) -> list[Counted]:
    """A running step: *count* messages with a call each, and the results, one by one."""
    names = [f"c{number}" for number in range(count // 2)]
    made = [user("the task"), *[assistant(call(name)) for name in names]]
    return [counted(one) for one in [*made, *[tool(result(name)) for name in names]]]


def chain_of_calls(count: int) -> list[Counted]:
    """Messages that answer a call and make the next, so that no cut is possible."""
    links = [assistant(result(f"c{n}"), call(f"c{n + 1}")) for n in range(count)]
    return [counted(one) for one in [user("the task"), assistant(call("c0")), *links]]


def results_with_words(count: int) -> list[Counted]:
    """A running step whose results come from the user, with words beside them."""
    names = [f"c{number}" for number in range(count)]
    given = [user(result(name), "by the way") for name in names]
    return [counted(one) for one in [assistant(*[call(name) for name in names]), *given]]


def long_opener(count: int) -> list[Counted]:
    """A question between a call and its result, which many steps stand between, and many more."""
    steps_of = [assistant("hm") for _ in range(count)]
    made = [assistant(call("a")), user("the task"), *steps_of, tool(result("a")), *steps_of]
    return [counted(one) for one in made]


def leading_instructions(count: int) -> list[Counted]:
    """Nothing but instructions, all pinned."""
    return [counted(system("be kind"))] * count


def after_long_instructions(count: int) -> list[Counted]:
    """Instructions that are above the trigger alone, and a conversation."""
    return [counted(system("x" * 5000)), *[counted(user("hi")), counted(assistant("ho"))] * count]


STORIES = [
    one_message_of_calls,
    many_messages_of_calls,
    chain_of_calls,
    results_with_words,
    leading_instructions,
    after_long_instructions,
]


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
@pytest.mark.parametrize("policy", [LastN(), SkipParts()], ids=lambda policy: type(policy).__name__)
def test_a_window_that_cannot_become_smaller_is_not_tried_again_and_again(
    policy: Policy, story: Callable[[int], list[Counted]]
) -> None:
    """
    Appends above the trigger cost the same each, however long the newest group is by now.
    """

    def cost(count: int) -> int:
        messages = story(count)
        return steps(lambda: appended(context_of(policy), messages))

    assert cost(100) < 3 * cost(50)


@pytest.mark.parametrize("policy", [LastN(), LastN(target_ratio=1.0), SkipParts()])
def test_appends_cost_the_same_at_any_length_of_the_log(policy: Policy) -> None:
    """
    A long conversation costs what its messages cost, trims included.
    """
    messages = [counted(user("sixsix")), counted(assistant("sixsix"))]

    def cost(count: int) -> int:
        return steps(lambda: appended(context_of(policy, 300), messages * count))

    assert cost(150) < 2.5 * cost(75)


VIEWED = [*STORIES[:-1], long_opener, lambda count: [counted(user("sixsix"))] * count]


@pytest.mark.parametrize("story", VIEWED)
@pytest.mark.parametrize("budget", [1, 50, 500])
def test_a_view_costs_a_walk_over_the_window(
    story: Callable[[int], list[Counted]], budget: int
) -> None:
    """
    Replaying the trims of a budget is linear, also where no cut is possible.
    """

    def cost(count: int) -> int:
        context = appended(context_of(Manual()), story(count))
        return steps(lambda: context.view(budget))

    assert cost(200) < 3 * cost(100)


def test_a_trim_costs_a_walk_over_the_window() -> None:
    """
    Also where stripping must look at many calls, and at many of them in one message.
    """

    def cost(count: int) -> int:
        made = [
            *one_message_of_calls(count),
            *chain_of_calls(count),
            *[counted(user("hi")), counted(assistant("ho"))] * count,
        ]
        window = appended(context_of(Manual()), made).window
        policies = [SkipParts(), SkipParts(("tool_result", "function")), LastN(5)]
        talk = Conversation(token_budget=5000)
        return sum(
            steps(lambda p=policy: compact(window, talk.config._replace(policy=p)))  # type: ignore[misc]
            for policy in policies
        )

    assert cost(100) < 3 * cost(50)


def test_reading_goes_on_where_many_messages_are_pinned() -> None:
    """
    A window of instructions is cut in its texts, or left out, in one walk.
    """

    def cost(count: int) -> int:
        context = appended(context_of(Manual()), leading_instructions(count))
        return steps(lambda: context.view(50))

    assert cost(200) < 3 * cost(100)


def test_a_message_that_grows_costs_the_same_however_often_it_has_grown() -> None:
    """
    A revision is a row more in the log, and no work more in a window of the same size.
    """

    def grown(times: int) -> int:
        talk = Conversation(Manual(), 100_000)
        talk.say(*[user("hi")] * 40)
        for size in range(times):
            talk.put(assistant("x" * (size % 7 + 1), id="m"))
        op = PutMessage(counted(assistant("last", id="m")), talk.current("m"))
        return steps(lambda: talk.context.apply(op, talk.now_us))

    assert abs(grown(400) - grown(100)) <= 0.02 * grown(100)


def test_a_revision_costs_little_beside_a_view() -> None:
    """
    Text in the middle of a window is put in its place without a look at the other entries.
    """
    talk = Conversation(Manual(), 100_000)
    talk.say(*[user("hi")] * 2_000)
    op = PutMessage(counted(user("edited")), talk.at(1_000))
    assert steps(lambda: talk.context.apply(op, talk.now_us)) < 3_000
