"""A provider's own summary, a part of type `compaction`: what it replaces, and what stays of it."""

from __future__ import annotations

from fastpaca.context import LastN
from tests.context.conversation import Conversation
from tests.kit.messages import Message, assistant, call, result, system, tool, user

SUMMARY = {"type": "compaction", "content": "They met."}


def ui_part(state: str) -> Message:
    """A part of the AI SDK that is a call and, once it has ended, its result."""
    return {"type": "tool-look", "toolCallId": "a", "state": state, "input": {}}


def test_a_summary_makes_room_in_a_window_that_could_not_become_smaller() -> None:
    """
    While a call runs nothing can go; the summary that comes then replaces all before it.
    """
    talk = Conversation(LastN(), token_budget=100)
    talk.say_one_by_one(
        system("be kind"),
        user("a" * 40),
        assistant(call("a"), token_count=40),
        assistant("b" * 40),
    )
    assert talk.seqs == [1, 2, 3, 4]
    talk.say(assistant(SUMMARY, token_count=20))
    assert talk.seqs == [1, 2, 5]


def test_a_task_that_reaches_over_a_summary_stays_in_order() -> None:
    """
    The messages of a window are in the order of the log, also if a task makes calls that are
    answered after the summary.
    """
    talk = Conversation(LastN(), token_budget=100)
    talk.say_one_by_one(
        user(call("a"), token_count=10),
        assistant(SUMMARY, token_count=10),
        tool(result("a"), token_count=10),
        *[assistant("c" * 20)] * 4,
    )
    assert talk.seqs[:3] == [1, 2, 3]
    assert talk.seqs == sorted(seq for seq in talk.seqs if seq is not None)


def test_a_result_as_a_whole_holds_no_summary() -> None:
    """
    A message of the tool is a result; taking it for a summary would leave a result without a call.
    """
    talk = Conversation(LastN(), token_budget=100)
    talk.say_one_by_one(user("a" * 30), assistant("b" * 30), tool(SUMMARY, token_count=10))
    talk.say(user("c" * 30))
    assert talk.seqs == [4]


def test_a_part_that_holds_its_result_needs_no_earlier_one() -> None:
    """
    If a summary parts two states of one call, the later one says all that there is to say.
    """
    talk = Conversation(LastN(), token_budget=100)
    talk.say_one_by_one(
        user("a" * 26),
        assistant(ui_part("input-available"), token_count=10),
        assistant(SUMMARY, token_count=10),
        assistant(ui_part("output-available"), token_count=10),
    )
    assert talk.seqs == [1, 2, 3, 4]
    talk.say(assistant("b" * 8))
    assert talk.seqs == [1, 3, 4, 5]


def test_a_result_without_an_id_belongs_to_the_call_that_is_there() -> None:
    """
    A call that was never answered and has gone with a summary does not take the result of the next.
    """
    asks: Message = {"type": "functionCall", "functionCall": {"name": "look"}}
    answers: Message = {"type": "functionResponse", "functionResponse": {"name": "look"}}
    talk = Conversation(LastN(), token_budget=100)
    talk.say_one_by_one(
        user("a" * 20),
        assistant(asks, token_count=40),
        assistant(SUMMARY, token_count=20),
        assistant(asks, token_count=10),
        user(answers, token_count=10),
    )
    assert talk.seqs == [1, 3, 4, 5]


def test_a_call_that_a_summary_replaces_holds_nothing() -> None:
    """
    A call that still runs when the summary comes goes with what that replaces, and what follows the
    summary can be cut as if there had been none.
    """
    talk = Conversation(LastN(), token_budget=100)
    talk.say_one_by_one(
        user("a" * 6),
        assistant(call("a"), token_count=10),
        assistant(SUMMARY, token_count=10),
        *[assistant("b" * 20)] * 2,
    )
    assert talk.seqs == [1, 3, 5]
    talk.say(tool(result("a"), token_count=10))
    assert talk.seqs == [1, 3, 5]
