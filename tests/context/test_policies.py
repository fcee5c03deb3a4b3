"""
Worked examples of what each policy keeps.

A message of `ten` costs 10 tokens: 6 for its text and 4 for itself. Windows are shown as the seqs
of their messages; None stands for a summary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import pytest

from fastpaca.context import Config, LastN, Manual, Policy, SkipParts
from fastpaca.context.config import WINDOW_ENTRIES_MAX
from fastpaca.context.ops import Put
from fastpaca.context.policies import compact
from tests.context.conversation import Conversation, decoded
from tests.kit.messages import Message, assistant, call, result, system, text, tokens, tool, user

TEN = "sixsix"


def ask() -> Message:
    """A question of 10 tokens."""
    return user(TEN)


def reply() -> Message:
    """An answer of 10 tokens."""
    return assistant(TEN)


def remind() -> Message:
    """An instruction of 10 tokens."""
    return system(TEN)


def calls(name: str) -> Message:
    """A call, with a text, 10 tokens by the caller's own count."""
    return assistant(TEN, call(name), token_count=10)


def gives(name: str) -> Message:
    """The result of that call, 10 tokens by the caller's own count."""
    return tool(result(name), token_count=10)


def test_the_examples_cost_what_they_say() -> None:
    """
    Each message of the examples costs 10 tokens.
    """
    assert {tokens(one) for one in (ask(), reply(), remind(), calls("a"), gives("a"))} == {10}


SAYS: Final[dict[str, Callable[[str], Message]]] = {
    "ask": lambda _: ask(),
    "reply": lambda _: reply(),
    "remind": lambda _: remind(),
    "call": lambda name: calls(name) if name else assistant({"type": "tool_call"}),
    "result": gives,
    "brings": lambda name: user(result(name)),
    "brings+says": lambda name: user(result(name), TEN),
}


def said(words: str) -> list[Message]:
    """Make a message of each word: what it is, the id of its call, and its tokens if not 10."""
    found = []
    for word in words.replace("*", "").split():
        what, _, tokens = word.partition("=")
        kind, _, name = what.partition(":")
        found.append(SAYS[kind](name) | ({"token_count": int(tokens)} if tokens else {}))
    return found


# A policy, a budget, and a window, in which a star stands before what the policy keeps.
EXAMPLES: Final[dict[str, tuple[Policy, int, str]]] = {
    "last_n keeps the newest messages": (LastN(limit=4), 1000, "ask reply *ask *reply *ask *reply"),
    "the limit does not count the pinned": (
        LastN(limit=2), 1000, "*remind *remind ask reply *ask *reply"
    ),
    "below the limit and nine tenths of the trigger (63 tokens) nothing goes": (
        LastN(), 100, "*ask *reply *ask *reply *ask *reply"
    ),
    "above that, the oldest go until half of the trigger is used": (
        LastN(), 100, "ask reply ask reply *ask *reply *ask"
    ),
    "the target is a share of the room below the trigger": (
        LastN(target_ratio=0.2), 100, "ask reply ask reply ask reply *ask"
    ),
    "a target of all the room cuts no more than it must, and moves on to a question": (
        LastN(target_ratio=1.0), 100, "ask reply *ask *reply *ask *reply *ask *reply"
    ),
    "the newest message stays, whatever its size": (LastN(), 100, "ask reply *ask=504"),
    "the pinned stay, whatever their size": (LastN(), 100, "*remind=504 *ask *reply"),
    "instructions in the middle are messages like others": (
        LastN(limit=2), 1000, "*remind ask remind *ask *reply"
    ),
    "a group that straddles the limit goes": (
        LastN(limit=2), 1000, "ask reply call:a result:a *ask"
    ),
    "a limit at the edge of a group keeps it": (
        LastN(limit=3), 1000, "ask reply *ask *call:a *result:a"
    ),
    "the newest group stays, however long it is, with the words that led to its call": (
        LastN(limit=1), 1000, "*reply *call:a *reply *reply *result:a"
    ),
    "messages between a call and its result belong to the group": (
        LastN(limit=3), 1000, "call:a remind reply result:a *reply"
    ),
    "an unanswered call spans only its own message": (LastN(limit=2), 1000, "call:a *ask *reply"),
    "calls that are being answered stay, so that results on their way find them": (
        LastN(limit=1), 1000, "*reply *call:a *call:b *result:b"
    ),
    "a result belongs to the nearest earlier unanswered call with its id": (
        LastN(limit=2), 1000, "call:a result:a *call:a *result:a"
    ),
    "calls with the same id are answered from the inside out": (
        LastN(limit=2), 1000, "*call:a *call:a *result:a *result:a"
    ),
    "a result that never had a call is a message like others": (
        LastN(limit=2), 1000, "result:x *result:y *reply"
    ),
    "a cut inside a turn with calls keeps its opening message beside the limit": (
        LastN(limit=2), 1000, "ask reply *ask call:a result:a *call:b *result:b"
    ),
    "without start_on_user, too, the newest turn keeps its question": (
        LastN(limit=2, start_on_user=False), 1000, "*ask reply *reply *reply"
    ),
    "a call without an id runs like any other": (LastN(limit=1), 1000, "*ask *call *reply"),
    "an opening message counts towards the target": (
        LastN(), 100, "*ask call:a result:a call:b result:b *call:c *result:c"
    ),
    "an opening message that leaves no room for the target stays with the newest group alone": (
        LastN(), 100, "*ask=50 call:a result:a *call:b *result:b"
    ),
    "an opening message that does not fit beside the newest group stays all the same": (
        LastN(), 100, "*ask=94 call:a result:a *call:b *result:b"
    ),
    "beside a newest group that is above the budget by itself, it stays": (
        LastN(), 100, "ask reply *ask=50 *call:a *result:a=500"
    ),
    "and if it takes more: the view cuts the group to make room for it": (
        LastN(), 100, "ask reply *ask=51 *call:a *result:a=500"
    ),
    "a user message of nothing but results opens no turn": (
        LastN(limit=2), 1000, "*ask call:a brings:a *call:b *brings:b"
    ),
    "a user message of results opens no turn, whatever text stands beside them": (
        LastN(limit=2), 1000, "*ask call:a brings+says:a *call:b *result:b"
    ),
    "a result that comes when its call no longer runs goes with that call": (
        LastN(limit=1), 1000, "ask call:a *ask result:a *reply"
    ),
    "start_on_user drops what stands before the first question": (
        LastN(limit=3, start_on_user=True), 1000, "ask reply *ask *reply"
    ),
    "a cut inside the newest turn keeps its question, though it holds no call": (
        LastN(limit=2, start_on_user=True), 1000, "*ask reply *reply *reply"
    ),
    "start_on_user has its question in an opening message": (
        LastN(limit=2, start_on_user=True), 1000, "*remind *ask call:a result:a *call:b *result:b"
    ),
    "start_on_user is content with an opening message, though later questions follow": (
        LastN(limit=4, start_on_user=True), 1000,
        "*remind *ask call:a result:a *call:b *result:b *ask *reply",
    ),
    "start_on_user drops a call that nobody answered in its turn, and its late result": (
        LastN(limit=4, start_on_user=True), 1000, "reply call:a *ask result:a *reply"
    ),
    "manual keeps everything": (Manual(), 1, "*ask *reply *ask"),
}  # fmt: skip


@pytest.mark.parametrize("example", EXAMPLES)
def test_example(example: str) -> None:
    """
    A policy keeps what the example says, and a second time changes nothing.
    """
    policy, budget, words = EXAMPLES[example]
    talk = Conversation(Manual())
    talk.say(*said(words))
    config = Config(budget, policy=policy)
    window = compact(talk.window, config)
    kept = [seq for seq, word in enumerate(words.split(), 1) if word.startswith("*")]
    assert [entry.seq for entry in window] == kept
    assert compact(window, config) is window


def test_a_trim_waits_for_the_trigger() -> None:
    """
    A window is trimmed when its tokens are strictly above the trigger, and not before.
    """
    talk = Conversation(LastN(limit=2), token_budget=100)
    talk.say_one_by_one(*[ask() for _ in range(7)])
    assert talk.seqs == [1, 2, 3, 4, 5, 6, 7]  # 70 of 70: the limit alone triggers nothing
    talk.say(ask())
    assert talk.seqs == [7, 8]


def test_a_trim_leaves_room_so_that_the_beginning_stays() -> None:
    """
    Between two trims the window only grows at its end, for many messages.
    """
    talk = Conversation(LastN(), token_budget=1000)
    starts = []
    for _ in range(500):
        talk.say(ask())
        starts.append(talk.seqs[0])
    assert len(set(starts)) == 13  # 70 messages to the trigger, then 36 more to each trim


def test_a_window_of_too_many_entries_is_trimmed() -> None:
    """
    More than 50,000 entries count as above the trigger, and half of that stays at most.
    """
    talk = Conversation(Manual())
    for _ in range(WINDOW_ENTRIES_MAX // 1000):
        talk.say(*[user(token_count=0)] * 1000)
    config = Config(policy=LastN(limit=100_000))
    assert not talk.context.view().needs_compaction
    talk.say(user(token_count=0))
    assert talk.context.view().needs_compaction
    window = compact(talk.window, config)
    assert len(window) == WINDOW_ENTRIES_MAX // 2
    assert compact(window, config) is window
    talk.apply(Put(policy=config.policy))
    talk.say(user(token_count=0))
    assert len(talk.window) == WINDOW_ENTRIES_MAX // 2


# Pinned


# What is said, what replaces the window, what is said then, and what a limit of one message keeps.
PINNED: Final[dict[str, tuple[str, Sequence[int | Message], str, list[int | None]]]] = {
    "one synthetic message right behind the leading instructions survives every policy": (
        "remind ask reply ask reply", (1, assistant("so far"), 4, 5), "", [1, None, 4, 5]
    ),
    "one synthetic message at the very beginning is pinned, with the instructions behind it": (
        "remind ask reply ask reply", (assistant("so far"), 1, 4, 5), "", [None, 1, 4, 5]
    ),
    "after a replacement the instructions that it begins with are the pinned ones": (
        "remind ask reply remind ask reply", (4, 5, 6), "", [4, 5, 6]
    ),
    "an empty window begins anew: instructions that come first are pinned again": (
        "remind ask", (), "remind remind ask reply", [3, 4, 5, 6]
    ),
    "a window that is a summary and nothing else takes instructions behind it": (
        "ask reply", (user("so far"),), "remind ask reply", [None, 3, 4, 5]
    ),
    "in a replacement, too, the summary ends the instructions before it": (
        "remind ask remind ask reply", (1, user("so far"), 3, 4, 5), "", [1, None, 4, 5]
    ),
    "behind instructions and their summary the conversation begins": (
        "remind ask reply", (1, user("so far")), "remind ask reply", [1, None, 5, 6]
    ),
    "the result of a pinned call stays: the pinned are never dropped and groups never parted": (
        "ask", (assistant("so far", call("a")),), "result:a ask reply ask reply", [None, 2, 5, 6]
    ),
}  # fmt: skip


@pytest.mark.parametrize("example", PINNED)
def test_pinned_stay(example: str) -> None:
    """
    What a window begins with stays as the example says, whatever the limit.
    """
    before, replacement, after, kept = PINNED[example]
    talk = Conversation(Manual())
    talk.say(*said(before))
    talk.compact(*replacement)
    talk.say(*said(after))
    config = Config(1000, policy=LastN(limit=1))
    window = compact(talk.window, config)
    assert [entry.seq for entry in window] == kept
    assert compact(window, config) is window


def test_only_one_summary_is_pinned() -> None:
    """
    Of several synthetic messages only the first is pinned; the others are messages like others.
    """
    talk = Conversation(Manual())
    talk.say(remind(), ask(), reply())
    talk.compact(1, assistant("first"), assistant("second"), 3)
    window = compact(talk.window, Config(1000, policy=LastN(limit=1)))
    assert [one["parts"][0]["text"] for one in decoded(window.entries)] == [TEN, "first", TEN]


def test_instructions_that_a_cut_brings_to_the_front_are_not_pinned() -> None:
    """
    What was no leading instruction never becomes one, or reminders would pile up for ever.
    """
    talk = Conversation(LastN(limit=3), token_budget=50)
    talk.say(remind(), ask())
    for _ in range(20):
        talk.say_one_by_one(remind(), ask(), reply())
    assert talk.seqs[0] == 1
    assert talk.window.pinned == 1
    assert len(talk.window) <= 5


def test_instructions_behind_what_vanished_are_not_pinned() -> None:
    """
    Something else has come between, even if nothing is left of it.
    """
    talk = Conversation(SkipParts(), token_budget=14)
    talk.say_one_by_one(remind(), user(thinks()), remind())
    assert talk.seqs == [1, 3]
    assert talk.window.pinned == 1


# The task of a running turn


def test_the_task_stays_for_as_long_as_the_turn_runs() -> None:
    """
    A turn of many steps is cut again and again, and its opening message is still there.
    """
    talk = Conversation(LastN(), token_budget=100)
    talk.say_one_by_one(remind(), ask(), reply(), user("the task"))
    for step in range(50):
        talk.say_one_by_one(calls(f"c{step}"), gives(f"c{step}"))
        assert 4 in talk.seqs
        assert talk.seqs[0] == 1
    assert len(talk.trims()) > 5


def test_the_task_stays_when_the_calls_of_its_turn_are_gone() -> None:
    """
    A second trim keeps the opening message that the first one kept for calls which are gone since.
    """
    talk = Conversation(LastN(limit=2), token_budget=100)
    talk.say_one_by_one(ask(), calls("a"), gives("a"), *[reply() for _ in range(5)])
    assert talk.seqs == [1, 7, 8]
    talk.say_one_by_one(*[reply() for _ in range(5)])
    assert talk.seqs == [1, 12, 13]
    talk.restart()
    talk.say_one_by_one(*[reply() for _ in range(5)])
    assert talk.seqs == [1, 17, 18]


def test_the_task_of_a_finished_turn_goes_with_it() -> None:
    """
    When the turn is over and the cut falls behind it, its opening message has no promise left.
    """
    talk = Conversation(LastN(limit=2), token_budget=100)
    talk.say_one_by_one(ask(), calls("a"), gives("a"), *[reply() for _ in range(5)])
    talk.say_one_by_one(*[ask() if n % 2 else reply() for n in range(6)])
    assert 1 not in talk.seqs


# Calls that are cut


def test_the_late_result_of_a_cut_call_stays_out_of_the_window() -> None:
    """
    A provider refuses a result without its call: the log has it, the window does not.
    """
    talk = Conversation(LastN(limit=1), token_budget=10)
    talk.say_one_by_one(calls("a"), ask(), gives("a"), reply())
    assert talk.seqs == [2, 4]
    talk.say(gives("a"))
    assert talk.context.last_seq == 5
    assert talk.seqs == [2, 4], "so does another result of that call"


def test_of_a_message_only_the_late_result_stays_out() -> None:
    """
    What else a message holds is let in.
    """
    talk = Conversation(LastN(limit=1), token_budget=10)
    talk.say_one_by_one(calls("a"), ask())
    talk.say(user(result("a"), TEN))
    assert [one["parts"] for one in decoded(talk.window.entries)] == [[text(TEN)], [text(TEN)]]
    talk.restart()
    assert [one["parts"] for one in decoded(talk.window.entries)] == [[text(TEN)], [text(TEN)]]


def test_a_late_result_finds_the_nearest_call() -> None:
    """
    Where an id is used again, a result belongs to the newer call, and is let in with it.
    """
    talk = Conversation(LastN(limit=1), token_budget=10)
    talk.say_one_by_one(calls("a"), ask(), calls("a"), gives("a"))
    assert talk.seqs == [2, 3, 4]
    talk.say(gives("a"))
    assert talk.seqs == [2, 3, 4, 5], "a second result stays for as long as its call"
    talk.say(ask())
    assert talk.seqs == [6]


def test_a_call_that_a_replacement_leaves_out_is_cut() -> None:
    """
    A result that comes after its step was replaced by a summary has no call in the window.
    """
    talk = Conversation(Manual())
    talk.say(ask(), calls("a"))
    talk.compact(user("so far"))
    talk.say(gives("a"), reply())
    assert talk.seqs == [None, 4]


def test_a_call_that_a_replacement_makes_again_is_not_cut() -> None:
    """
    A caller may shorten a call that waits for its result.
    """
    talk = Conversation(Manual())
    talk.say(ask(), calls("a"))
    talk.compact(user("so far"), assistant(call("a")))
    assert talk.window.cut_calls == ()
    talk.say(gives("a"))
    assert talk.seqs == [None, None, 3]


def test_a_call_that_a_replacement_brings_back_is_not_cut() -> None:
    """
    A call that a policy had cut may be brought back from the log; then its result is let in.
    """
    talk = Conversation(LastN(limit=1), token_budget=10)
    talk.say_one_by_one(calls("a"), ask())
    assert talk.seqs == [2]
    talk.compact(1)
    assert talk.window.cut_calls == ()
    talk.say(gives("a"))
    assert talk.seqs == [1, 3]


# skip_parts


def thinks(content: str = "hm") -> Message:
    """A part of reasoning."""
    return {"type": "reasoning", "text": content}


def test_skip_parts_removes_tools_and_reasoning_from_finished_turns() -> None:
    """
    Calls, results and reasoning go; a message left without parts goes; texts stay.
    """
    talk = Conversation(Manual())
    talk.say(
        ask(),
        assistant(thinks(), TEN, call("a")),
        tool(result("a")),
        assistant(thinks()),
        reply(),
        ask(),
        reply(),
    )
    window = compact(talk.window, Config(1000, policy=SkipParts()))
    assert [entry.seq for entry in window] == [1, 2, 5, 6, 7]
    assert decoded(window.entries)[1]["parts"] == [text(TEN)]
    assert window.entries[1].tokens == 10


def test_skip_parts_leaves_a_running_turn_with_calls_alone() -> None:
    """
    The last turn is not stripped if it holds a call with an id.
    """
    talk = Conversation(Manual())
    talk.say(ask(), calls("a"), gives("a"), ask(), assistant(thinks(), call("b")), gives("b"))
    window = compact(talk.window, Config(1000, policy=SkipParts()))
    assert [entry.seq for entry in window] == [1, 2, 4, 5, 6]
    assert window.entries[3].body == talk.logged(5).body


def test_skip_parts_strips_a_last_turn_without_calls() -> None:
    """
    Reasoning alone is no working state.
    """
    talk = Conversation(Manual())
    talk.say(ask(), assistant(thinks(), TEN))
    window = compact(talk.window, Config(1000, policy=SkipParts()))
    assert decoded(window.entries)[1]["parts"] == [text(TEN)]


def test_skip_parts_never_strips_the_pinned() -> None:
    """
    Instructions and the summary beside them stay as they are.
    """
    talk = Conversation(Manual())
    talk.say(system(thinks(), TEN), ask(), assistant(thinks(), TEN), ask())
    talk.compact(1, assistant(thinks("a summary")), 3, 4)
    window = compact(talk.window, Config(1000, policy=SkipParts()))
    assert [entry.body for entry in window][:2] == [entry.body for entry in talk.window][:2]
    assert decoded(window.entries)[2]["parts"] == [text(TEN)]


def test_skip_parts_then_does_as_last_n() -> None:
    """
    What is stripped is counted and cut like any other window.
    """
    talk = Conversation(Manual())
    talk.say(*[message for _ in range(10) for message in (ask(), assistant(thinks(), TEN))])
    window = compact(talk.window, Config(1000, policy=SkipParts(limit=3)))
    assert [entry.seq for entry in window] == [19, 20]
    window = compact(talk.window, Config(100, policy=SkipParts()))
    assert window.tokens == 20


def test_skip_parts_takes_a_late_result_with_its_call() -> None:
    """
    A call of a finished turn goes, and so does its result that came in the running one.
    """
    talk = Conversation(Manual())
    between = assistant(thinks(), TEN)
    talk.say(ask(), calls("late"), between, ask(), calls("a"), gives("late"), gives("a"))
    window = compact(talk.window, Config(1000, policy=SkipParts()))
    assert [entry.seq for entry in window] == [1, 2, 3, 4, 5, 7]
    assert [one["parts"] for one in decoded(window.entries)[1:3]] == [[text(TEN)], [text(TEN)]]


@pytest.mark.parametrize(
    ("kinds", "made", "given"),
    [
        (("tool",), {"type": "function_call", "call_id": "a"}, result("a")),
        (("function",), {"type": "function_call", "call_id": "a"}, result("a")),
        (("tool_res",), {"type": "function_call", "call_id": "a"}, result("a")),
        (
            ("web_search",),
            {"type": "server_tool_use", "id": "a"},
            {"type": "web_search_tool_result", "tool_use_id": "a"},
        ),
        (
            ("server",),
            {"type": "server_tool_use", "id": "a"},
            {"type": "web_search_tool_result", "tool_use_id": "a"},
        ),
        (
            ("tool",),
            {"type": "functionCall", "functionCall": {"name": "f"}},
            {"type": "functionResponse", "functionResponse": {"name": "f"}},
        ),
    ],
)
def test_skip_parts_never_takes_one_side(
    kinds: tuple[str, ...], made: Message, given: Message
) -> None:
    """
    Whatever kind takes a call or its result, the other goes too, and the reasoning that led there.
    """
    talk = Conversation(Manual())
    talk.say(ask(), assistant(thinks(), made), tool(given), ask(), reply())
    window = compact(talk.window, Config(1000, policy=SkipParts(kinds)))
    assert [entry.seq for entry in window] == [1, 4, 5]


def asks_about(name: str) -> Message:
    """A question whether that call may be made, with a text."""
    asking = {"type": "tool-approval-request", "approvalId": "r", "toolCallId": name}
    return assistant(asking, TEN)


def test_skip_parts_takes_what_is_left_of_a_cut_call() -> None:
    """
    Its result and what asks about it go, also where a caller has put them into the window again.
    """
    talk = Conversation(Manual())
    talk.say(ask(), calls("a"))
    talk.compact(ask(), tool(result("a"), TEN), asks_about("a"), ask())
    window = compact(talk.window, Config(1000, policy=SkipParts()))
    assert [one["parts"] for one in decoded(window.entries)] == [[text(TEN)]] * 4


def test_skip_parts_leaves_what_asks_about_an_earlier_turn() -> None:
    """
    It is a part of its own turn, and goes when that turn has ended.
    """
    talk = Conversation(Manual())
    talk.say(ask(), calls("a"), gives("a"), ask(), asks_about("a"))
    window = compact(talk.window, Config(1000, policy=SkipParts()))
    assert [entry.seq for entry in window] == [1, 2, 4, 5]
    assert window.entries[3].body == talk.logged(5).body


def test_skip_parts_takes_chains_of_calls() -> None:
    """
    Messages that answer a call and make the next go as a whole, whatever providers they are of.
    """
    talk = Conversation(Manual())
    talk.say(
        ask(),
        assistant({"type": "function_call", "call_id": "a"}),
        assistant(result("a"), call("b")),
        assistant(result("b"), call("c")),
        tool(result("c")),
        ask(),
        reply(),
    )
    window = compact(talk.window, Config(1000, policy=SkipParts()))
    assert [entry.seq for entry in window] == [1, 6, 7]


def test_items_of_reasoning_stay_with_what_they_led_to() -> None:
    """
    The Responses API refuses an item without its reasoning: it stays with a text, goes with a call.
    """
    item = {"type": "reasoning", "id": "rs_1", "summary": []}
    made = {"type": "function_call", "call_id": "a"}
    given = {"type": "function_call_output", "call_id": "a", "output": "r"}
    talk = Conversation(Manual())
    talk.say(ask(), assistant(item), assistant(TEN), assistant(item, made), tool(given), ask())
    window = compact(talk.window, Config(1000, policy=SkipParts()))
    assert [entry.seq for entry in window] == [1, 2, 3, 6]


def test_a_message_left_with_blank_text_goes() -> None:
    """
    Providers refuse blank texts: what stripping leaves with nothing else goes.
    """
    made = [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    talk = Conversation(Manual())
    talk.say(ask(), assistant(" ", tool_calls=made), tool("r", tool_call_id="a"), ask())
    window = compact(talk.window, Config(1000, policy=SkipParts()))
    assert [entry.seq for entry in window] == [1, 4]


def test_skip_parts_remembers_the_open_calls_that_it_strips() -> None:
    """
    The late result of a stripped call stays out of the window.
    """
    talk = Conversation(SkipParts(), token_budget=50)
    talk.say_one_by_one(ask(), calls("a"), ask(), reply())
    talk.say_one_by_one(gives("a"), reply())
    assert 5 not in talk.seqs


def test_skip_parts_with_other_kinds_later() -> None:
    """
    A change of the configuration acts on what is in the window; what was stripped stays stripped.
    """
    talk = Conversation(Manual())
    turn = [ask(), assistant(thinks(), TEN, call("a")), gives("a"), ask()]
    talk.say(*turn)
    once = compact(talk.window, Config(1000, policy=SkipParts(("reasoning",))))
    assert [part["type"] for part in decoded(once.entries)[1]["parts"]] == ["text", "tool_call"]
    twice = compact(once, Config(1000, policy=SkipParts(("tool",))))
    at_once = compact(talk.window, Config(1000, policy=SkipParts(("tool", "reasoning"))))
    assert twice.entries == at_once.entries


@pytest.mark.parametrize("silent", [False, True])
def test_the_stored_form_of_a_stripped_window_is_tiny(silent: bool) -> None:
    """
    However often a long conversation is stripped, a handful of segments says what its window is.
    """
    talk = Conversation(SkipParts(), token_budget=4000)
    talk.say(remind())
    longest = 0
    for turn in range(150):
        talk.say(ask())
        for step in range(3):
            name = f"{turn}.{step}"
            talk.say_one_by_one(assistant(thinks(), call(name)), tool(result(name, "x" * 50)))
        if not silent:
            talk.say(reply())
        if talk.trims():
            longest = max(longest, len(talk.trims()[-1].window.runs))
    assert len(talk.trims()) > 40
    assert longest <= 4
