"""
Fitting a window to the budget of one read: what is dropped, what is cut, and how.

A text costs a token a character here, and a message 4 more; the marker in a cut text counts as 16.
"""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastpaca.context import LastN, Manual, SkipParts
from fastpaca.context.context import WindowView
from fastpaca.context.shortening import FLOOR_TOKENS, MARKER_TOKENS, cut_middle
from fastpaca.errors import InvalidRequest
from tests.context.conversation import Conversation, seqs_of
from tests.context.strategies import long_messages, the_same_every_time
from tests.kit.messages import Message, assistant, call, encoded, result, system, tool, user

LONG = "".join(f"word{number:04} " for number in range(500))[:4000]
NOTE = LONG[:330]


def manual(*messages: Message, **config: Any) -> Conversation:
    """Make a conversation whose window is what was said."""
    talk = Conversation(Manual(), **config)
    talk.say(*messages)
    return talk


def shown(view: WindowView) -> list[Message]:
    """Read the messages of *view*."""
    return [json.loads(entry.body) for entry in view.entries]


def texts(view: WindowView) -> list[str]:
    """Give the text of the first part of each message of *view*."""
    return [one["parts"][0]["text"] for one in shown(view)]


# Whole, and dropped


def test_a_window_that_fits_is_given_whole() -> None:
    """
    A window at or below the budget is not touched, whatever its trigger.
    """
    talk = manual(*[user("sixsix")] * 10)
    view = talk.context.view(100)
    assert view.fit == "whole"
    assert view.used_tokens == view.window_tokens == 100
    assert view.needs_compaction


def test_manual_without_a_budget_is_given_whole() -> None:
    """
    The owner of a manual window summarises from it, so it comes whole, above its budget too.
    """
    talk = manual(*[user("sixsix")] * 10, token_budget=20)
    view = talk.context.view()
    assert (view.fit, view.used_tokens, view.token_budget) == ("whole", 100, 20)


@pytest.mark.parametrize("policy", [LastN(), SkipParts()])
def test_other_policies_are_fitted_to_their_own_budget(policy: LastN | SkipParts) -> None:
    """
    Without a budget in the call, the context's own is kept, also when the newest message is above.
    """
    talk = Conversation(policy, token_budget=500)
    talk.say(user("sixsix"), user(LONG))
    view = talk.context.view()
    assert view.fit == "cut"
    assert view.used_tokens == 500


def test_the_oldest_groups_are_dropped_as_trims_would_have() -> None:
    """
    At 80 tokens a trim under this budget leaves 40, so at 210 there have been four, and 50 are
    left.
    """
    talk = manual(system("sixsix"), *[user("sixsix")] * 20)
    view = talk.context.view(100)
    assert view.fit == "dropped"
    assert seqs_of(view) == [1, 18, 19, 20, 21]
    assert seqs_of(view)[1:] == trimmed_at(100, system("sixsix"), *[user("sixsix")] * 20)


def trimmed_at(budget: int, *messages: Message) -> list[int | None]:
    """Give what a context of that budget would have in its window, the pinned aside."""
    talk = Conversation(LastN(), token_budget=budget)
    talk.say_one_by_one(*messages)
    return talk.seqs[1:]


def test_fitting_stores_nothing() -> None:
    """
    A read changes neither the window nor what the next read gives.
    """
    talk = manual(*[user("sixsix")] * 20)
    before = talk.window.entries
    first = talk.context.view(50)
    assert talk.window.entries == before
    assert talk.context.view(50) == first


def test_a_view_keeps_the_task_of_the_turn_it_cuts_into() -> None:
    """
    An opening message stays beside the newest steps.
    """
    steps = [
        one
        for number in range(10)
        for one in (
            assistant(call(f"c{number}"), token_count=10),
            tool(result(f"c{number}"), token_count=10),
        )
    ]
    talk = manual(user("sixsix"), user("the task"), *steps)
    view = talk.context.view(100)
    assert seqs_of(view)[:2] == [1, 2], "with the message right before it, as both are short"
    assert seqs_of(view)[2] > 3  # type: ignore[operator]  # no summaries here
    assert view.used_tokens <= 100


def test_repeated_reads_begin_at_the_same_message_for_many_turns() -> None:
    """
    The cut is found by replaying the trigger from the start: it moves seldom, and then far.
    """
    talk = manual()
    starts: list[int | None] = []
    for _ in range(1000):
        talk.say(user("sixsix"))
        starts.append(seqs_of(talk.context.view(1000))[0])
    moved = sum(left != right for left, right in pairwise(starts))
    assert moved == 26  # once in 36 messages


def test_an_agent_reads_the_same_beginning_for_many_steps() -> None:
    """
    The same with tool calls, parallel ones answered one by one, and an opening message kept.
    """
    talk = manual(system("sixsix"), user("the task"))
    starts: list[list[int | None]] = []
    for number in range(200):
        names = [f"{number}a", f"{number}b"]
        talk.say(assistant(*[call(name) for name in names], token_count=10))
        starts.append(seqs_of(talk.context.view(1000))[:3])
        for name in names:
            talk.say(tool(result(name), token_count=10))
            starts.append(seqs_of(talk.context.view(1000))[:3])
    assert all(start[:2] == [1, 2] for start in starts)
    moved = sum(left != right for left, right in pairwise(starts))
    assert moved <= 30  # of 600


def test_start_on_user_holds_for_views_too() -> None:
    """
    A view of a policy that starts on the user's words begins with them.
    """
    talk = Conversation(LastN(start_on_user=True), token_budget=1000)
    talk.say(*[one for _ in range(10) for one in (user("sixsix"), assistant("sixsix"))])
    for budget in range(20, 200, 7):
        roles = [one["role"] for one in shown(talk.context.view(budget))]
        assert roles == ["assistant"] or roles[0] == "user"


# Cut


def test_the_newest_text_is_cut_in_the_middle() -> None:
    """
    If the newest message alone does not fit, its text keeps beginning and end around a marker.
    """
    talk = manual(user("old"), user(LONG))
    view = talk.context.view(1004)
    assert view.fit == "cut"
    assert view.used_tokens == 1004
    (given,) = shown(view)
    head, _, tail = given["parts"][0]["text"].partition("\n[... 3016 tokens left out ...]\n")
    assert len(head) == len(tail) == 492
    assert LONG.startswith(head)
    assert LONG.endswith(tail)
    assert given["token_count"] == 4 + 984 + MARKER_TOKENS


@pytest.mark.parametrize("budget", [1004, 700, 400, 276, 275, 100, 1])
def test_a_cut_text_never_falls_below_the_floor(budget: int) -> None:
    """
    A text keeps 256 tokens, its marker aside; what does not fit then is left out.
    """
    view = manual(user(LONG)).context.view(budget)
    if budget < 4 + FLOOR_TOKENS + MARKER_TOKENS:
        assert (view.fit, view.used_tokens, list(view.entries)) == ("empty", 0, [])
    else:
        assert (view.fit, view.used_tokens) == ("cut", budget)


def test_the_longest_texts_are_cut_first() -> None:
    """
    All texts that are longer than some level are cut to it; shorter ones stay as they are.
    """
    parts = ["a" * 300, "b" * 1000, "c" * 3000, "d" * 500]
    view = manual(user(*parts)).context.view(2000)
    cut = [part["text"] for part in shown(view)[0]["parts"]]
    assert [len(one) < len(part) for one, part in zip(cut, parts, strict=True)] == [
        False,
        True,
        True,
        False,
    ]
    assert [one.count("tokens left out") for one in cut] == [0, 1, 1, 0]
    assert 1990 < view.used_tokens <= 2000


def test_cut_across_a_group() -> None:
    """
    A newest group of several messages is cut as one: the longest texts of any of them first.
    """
    talk = manual(
        assistant("short", call("a"), call("b")),
        tool(result("a", "x" * 3000)),
        tool(result("b", "y" * 500)),
    )
    view = talk.context.view(1500)
    assert view.fit == "cut"
    assert seqs_of(view) == [1, 2, 3]
    contents = [one["parts"][0].get("content") for one in shown(view)]
    assert "left out" in contents[1]
    assert contents[2] == "y" * 500


@pytest.mark.parametrize(
    "part",
    [
        {"type": "tool_result", "tool_call_id": "a", "content": LONG},
        {"type": "tool_result", "tool_use_id": "a", "content": [{"type": "text", "text": LONG}]},
        {"type": "function_call_output", "call_id": "a", "output": LONG},
        {"type": "tool-result", "toolCallId": "a", "output": {"type": "text", "value": LONG}},
        {"type": "tool-x", "toolCallId": "a", "state": "output-available", "output": LONG},
        {"type": "web_search_tool_result", "tool_use_id": "a", "content": LONG},
        {"type": "custom_tool_result", "id": "a", "result": LONG},
        {"type": "text", "text": LONG, "cache_control": {"type": "ephemeral"}},
        {"type": "message", "content": [{"type": "output_text", "text": LONG, "note": NOTE}]},
        {"type": "document", "title": "t", "source": {"text": LONG, "more": "data:" + NOTE}},
    ],
    ids=lambda part: part["type"],
)
def test_texts_and_string_results_are_cut(part: Message) -> None:
    """
    In every shape the strings of a result are cut, and nothing else of the part changes.
    """
    view = manual(tool(part)).context.view(1000)
    assert view.fit == "cut"
    (given,) = shown(view)
    before, marker, behind = json.dumps(given["parts"][0]).partition("tokens left out")
    assert marker
    assert json.dumps(part).startswith(before[:200])
    assert json.dumps(part).endswith(behind[-100:])
    assert list(given["parts"][0]) == list(part)


@pytest.mark.parametrize(
    "part",
    [
        {"type": "thinking", "thinking": LONG, "signature": LONG},
        {"type": "reasoning", "text": LONG},
        {"type": "image", "source": {"type": "base64", "data": LONG}},
        {"type": "tool_result", "tool_call_id": LONG, "content": "short"},
        {"type": "web_search_tool_result", "content": [{"url": LONG}, {"type": "x", "data": LONG}]},
        {"type": "custom", "text": LONG},
        {"type": "text", "text": [LONG]},
    ],
    ids=lambda part: part["type"],
)
def test_ids_signatures_and_data_are_never_cut(part: Message) -> None:
    """
    What can't be cut without breaking it is left out with its whole group.
    """
    view = manual(user("before"), assistant(part)).context.view(1000)
    assert (view.fit, seqs_of(view)) == ("dropped", [1])


def test_a_message_that_can_be_cut_but_not_enough_is_left_out() -> None:
    """
    Whole groups at a time: a result never loses its call.
    """
    huge = {"type": "thinking", "thinking": LONG, "signature": "s"}
    made = assistant(huge, call("a"))
    view = manual(system("be kind"), made, tool(result("a", LONG))).context.view(1000)
    assert view.fit == "dropped"
    assert seqs_of(view) == [1]


@pytest.mark.parametrize(
    "part",
    [
        {"type": "tool_call", "tool_call_id": "a", "payload": {"arguments": LONG}},
        {"type": "tool_use", "id": "a", "input": {"content": LONG}},
        {"type": "function_call", "call_id": "a", "arguments": json.dumps({"content": LONG})},
        {"type": "custom_tool_call", "call_id": "a", "input": "{" + LONG},
        {"type": "custom_tool_call", "call_id": "a", "input": LONG},
        {"type": "functionCall", "functionCall": {"name": "f", "args": {"content": LONG}}},
        {"type": "toolUse", "toolUse": {"toolUseId": "a", "input": {"content": LONG}}},
        {"type": "tool-x", "toolCallId": "a", "state": "input-available", "input": {"c": LONG}},
    ],
    ids=lambda part: part["type"],
)
def test_long_arguments_are_cut_and_stay_json(part: Message) -> None:
    """
    Of what a call was given its long strings are cut, also where that is JSON in a string.
    """
    view = manual(user("before"), assistant(part)).context.view(1000)
    assert (view.fit, seqs_of(view)) == ("cut", [1, 2])
    (given,) = shown(view)[1]["parts"]
    assert "tokens left out" in json.dumps(given)
    assert list(given) == list(part)
    if part["type"] == "function_call":
        assert list(json.loads(given["arguments"])) == ["content"]


def test_long_arguments_in_a_key_are_cut_and_all_else_in_it_stays() -> None:
    """
    Among the calls of a key only long strings are cut: not short ones, nor what is no call.
    """
    given = ["{}", json.dumps({"a": LONG}), json.dumps({"a": NOTE})]
    calls = [5, *[{"id": "a", "function": {"name": "f", "arguments": one}} for one in given]]
    view = manual(assistant("so", tool_calls=calls, token_count=2200)).context.view(1000)
    cut = shown(view)[0]["tool_calls"]
    assert [*cut[:2], cut[3]] == [*calls[:2], calls[3]]
    assert "tokens left out" in json.loads(cut[2]["function"]["arguments"])["a"]


ROWS_OF_DATA = [{"name": "row", "value": number} for number in range(300)]


@pytest.mark.parametrize(
    ("made", "given", "left"),
    [
        (call("a"), result("a", ROWS_OF_DATA), "content"),
        (
            {"type": "tool-call", "toolCallId": "a"},
            {
                "type": "tool-result",
                "toolCallId": "a",
                "output": {"type": "json", "value": ROWS_OF_DATA},
            },
            "output",
        ),
        (
            {"type": "functionCall", "functionCall": {"name": "f"}},
            {
                "type": "functionResponse",
                "functionResponse": {"name": "f", "response": {"rows": ROWS_OF_DATA}},
            },
            "functionResponse",
        ),
        (
            {"type": "toolUse", "toolUse": {"toolUseId": "a"}},
            {"type": "toolResult", "toolResult": {"toolUseId": "a", "content": ROWS_OF_DATA}},
            "toolResult",
        ),
        (
            {"type": "shell_call", "call_id": "a"},
            {"type": "shell_call_output", "call_id": "a", "output": ROWS_OF_DATA},
            "output",
        ),
    ],
    ids=lambda value: value["type"] if isinstance(value, dict) else value,
)
def test_a_marker_stands_in_place_of_a_result(made: Message, given: Message, left: str) -> None:
    """
    A result without any string to cut gives way to a marker in its own shape.
    """
    view = manual(user("before"), assistant(made), tool(given)).context.view(1000)
    assert (view.fit, seqs_of(view)) == ("cut", [1, 2, 3])
    (part,) = shown(view)[2]["parts"]
    assert list(part) == list(given)
    assert "tokens left out ...]" in json.dumps(part[left])
    assert view.used_tokens <= 1000


def test_typed_results_are_left_out_with_their_calls() -> None:
    """
    What a provider's own tool gave back has no free form: the oldest pairs go, and others stay.
    """
    found = [{"type": "web_search_result", "url": f"https://example.com/{n}"} for n in range(40)]
    served = [
        part
        for name in "abc"
        for part in (
            {"type": "server_tool_use", "id": name},
            {"type": "web_search_tool_result", "tool_use_id": name, "content": found},
        )
    ]
    talk = manual(user("before"), assistant(*served, "so much"))
    view = talk.context.view(4000)
    assert (view.fit, seqs_of(view)) == ("dropped", [1, 2])
    assert [part.get("id") for part in shown(view)[1]["parts"]][::2] == ["c", None]


def test_the_pinned_are_cut_when_the_newest_is_down_to_its_floor() -> None:
    """
    First the newest group is cut, then the pinned, so that something of both is there.
    """
    view = manual(system(LONG), user(LONG)).context.view(1000)
    assert view.fit == "cut"
    assert seqs_of(view) == [1, 2]
    assert [one["token_count"] for one in shown(view)] == [724, 276]


def test_the_pinned_stay_whole_as_long_as_the_newest_can_make_room() -> None:
    """
    A long question is cut before the instructions are.
    """
    view = manual(system("x" * 400), user(LONG)).context.view(1000)
    assert [one["token_count"] for one in shown(view)] == [404, 596]


def test_pinned_that_cannot_be_cut_enough_are_left_out() -> None:
    """
    Then the others are cut no more than they must be.
    """
    data = {"type": "image", "data": LONG}
    view = manual(system(LONG), system(data), user("hello")).context.view(1000)
    assert seqs_of(view) == [1, 3]
    assert view.used_tokens == 1000


def test_pinned_groups_are_left_out_as_groups() -> None:
    """
    A call among the instructions never stands there without its result.
    """
    huge = {"type": "image", "data": LONG}
    view = manual(system(call("a")), system(result("a"), huge), user("hi")).context.view(1000)
    assert seqs_of(view) == [3]


def test_a_pinned_result_of_a_call_that_went_is_left_out_alone() -> None:
    """
    Its call has gone before, so that the instructions in front of it may stay.
    """
    talk = manual(assistant(call("a")))
    talk.compact(system("be kind"), system(result("a"), {"type": "image", "data": LONG}))
    talk.say(user("hi"))
    assert texts(talk.context.view(1000)) == ["be kind", "hi"]


def test_the_task_stays_whole_beside_a_result_that_is_cut() -> None:
    """
    A newest group that is cut anyway makes room for the message that opened its turn.
    """
    talk = manual(user("old"), user("x" * 300), assistant(call("a")), tool(result("a", LONG)))
    view = talk.context.view(1000)
    assert (view.fit, view.used_tokens) == ("cut", 1000)
    assert seqs_of(view) == [2, 3, 4]
    assert shown(view)[0]["parts"] == [{"type": "text", "text": "x" * 300}]
    assert seqs_of(talk.context.view(500)) == [2, 3, 4], "a marker stands in place of the result"
    assert seqs_of(talk.context.view(310)) == [2], "and then the call goes with it"


def test_pinned_are_given_when_the_newest_is_left_out() -> None:
    """
    A newest group that cannot be made to fit makes room for the whole of the pinned.
    """
    view = manual(system("x" * 900), user({"type": "image", "data": LONG})).context.view(1000)
    assert (view.fit, seqs_of(view), view.used_tokens) == ("dropped", [1], 904)


def test_nothing_fits() -> None:
    """
    An empty view says so.
    """
    view = manual(system("be kind"), user("hello")).context.view(1)
    assert (view.fit, view.used_tokens, view.window_tokens, view.segments) == ("empty", 0, 20, [])


def test_messages_that_cost_nothing_always_fit() -> None:
    """
    A caller's own count of 0 is taken at its word.
    """
    view = manual(user(LONG), user(LONG, token_count=0)).context.view(1)
    assert (view.fit, seqs_of(view)) == ("dropped", [2])


# Counts


def test_the_callers_own_count_is_cut_in_proportion() -> None:
    """
    A caller's count stands for the whole message; its text has its share, and keeps a part of that.
    """
    view = manual(user(LONG, token_count=10_000)).context.view(1000)
    (given,) = shown(view)
    assert view.used_tokens == given["token_count"] == 1000
    head, _, tail = given["parts"][0]["text"].partition("\n[... ")
    assert 370 < len(head + tail) < 440  # a tenth of 4000, and the marker


def test_a_text_counted_above_its_bytes_keeps_some_of_them() -> None:
    """
    No token is less than a byte, whatever a caller counts; below a floor of bytes nothing is cut.
    """
    view = manual(user(LONG, token_count=1_000_000)).context.view(5000)
    assert FLOOR_TOKENS < len(texts(view)[0]) < FLOOR_TOKENS + 64
    view = manual(user("tiny", token_count=1_000_000)).context.view(1000)
    assert view.fit == "empty"


def test_what_is_counted_is_what_the_body_says() -> None:
    """
    `token_count` in each body is what the message counts in the view.
    """
    talk = manual(system(LONG), assistant(call("a")), tool(result("a", LONG), result("b", LONG)))
    for budget in range(1, 4000, 97):
        view = talk.context.view(budget)
        counted = [one["token_count"] for one in shown(view)]
        assert counted == [entry.tokens for entry in view.entries]
        assert sum(counted) == view.used_tokens <= budget


@pytest.mark.parametrize(
    "character", ["a", "é", "漢", "😀", "\u0000", '"', "\\", "\u200f", "e\u0301"]
)
def test_texts_are_cut_on_character_boundaries(character: str) -> None:
    """
    A cut never splits a character, in any script.
    """
    whole = character * 2000
    for level in range(300, 320):
        cut = cut_middle(whole, 2000, level)
        head, _, rest = cut.partition("\n[... ")
        _, _, tail = rest.partition(" tokens left out ...]\n")
        assert whole.startswith(head)
        assert whole.endswith(tail)
        cut.encode()


@given(st.lists(long_messages, min_size=1, max_size=3), st.integers(1, 5000))
@settings(the_same_every_time, max_examples=100)
def test_messages_of_any_shape_can_be_cut(sent: list[Message], budget: int) -> None:
    """
    Whatever the shape of a message: never a failure, never above the budget, only texts shorter.
    """
    talk = Conversation(Manual())
    for one in sent:
        try:
            talk.say(json.loads(encoded(one)))
        except (UnicodeEncodeError, InvalidRequest):
            continue  # not JSON: lone surrogates, infinities
    view = talk.context.view(budget)
    assert view.used_tokens <= budget
    assert view.used_tokens == sum(one["token_count"] for one in shown(view))
    for given_back in shown(view):
        original = json.loads(talk.logged(given_back["seq"]).body)
        assert set(given_back) <= set(original)
        forms = [list(part) for part in original["parts"]]
        assert all(list(part) in forms for part in given_back["parts"])
