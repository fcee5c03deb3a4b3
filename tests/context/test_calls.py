"""How calls and results are recognised and paired, and where a list of messages may be cut."""

from __future__ import annotations

from typing import Any

import pytest

from fastpaca.context.calls import KEYS, Mark, Side, joints, pair
from tests.context.conversation import (
    Message,
    assistant,
    call,
    counted,
    message,
    result,
    tool,
    user,
)

CALL, RESULT, BOTH = Side.CALL, Side.RESULT, Side.BOTH

SHAPES: list[tuple[Message, Side | None]] = [
    ({"type": "tool_call", "tool_call_id": "a"}, CALL),
    ({"type": "tool_call", "call_id": "a"}, CALL),
    ({"type": "tool_call", "id": "a"}, CALL),
    ({"type": "tool_call", "tool_call_id": "a", "id": "b"}, CALL),
    ({"type": "tool_result", "tool_call_id": "a"}, RESULT),
    ({"type": "tool_result", "call_id": "a"}, RESULT),
    ({"type": "tool_use", "id": "a"}, CALL),
    ({"type": "tool_use", "id": "a", "call_id": "b"}, CALL),
    ({"type": "tool_result", "tool_use_id": "a"}, RESULT),
    ({"type": "server_tool_use", "id": "a"}, CALL),
    ({"type": "mcp_tool_use", "id": "a"}, CALL),
    ({"type": "web_search_tool_result", "tool_use_id": "a"}, RESULT),
    ({"type": "mcp_tool_result", "tool_use_id": "a"}, RESULT),
    ({"type": "function_call", "call_id": "a", "id": "fc_1"}, CALL),
    ({"type": "function_call_output", "call_id": "a", "id": "fc_1"}, RESULT),
    ({"type": "tool-call", "toolCallId": "a"}, CALL),
    ({"type": "tool-result", "toolCallId": "a"}, RESULT),
    ({"type": "tool-call", "toolCallId": "a", "state": "output-available"}, BOTH),
    ({"type": "tool-result", "toolCallId": "a", "state": "input-streaming"}, BOTH),
    ({"type": "tool-getWeather", "toolCallId": "a"}, BOTH),
    ({"type": "dynamic-tool", "toolCallId": "a"}, BOTH),
    ({"type": "tool_result", "id": "a"}, None),
    ({"type": "tool_result", "tool_call_id": ""}, None),
    ({"type": "tool_call", "tool_call_id": 5}, None),
    ({"type": "tool_call"}, None),
    ({"type": "tool-invocation", "toolInvocation": {"toolCallId": "a"}}, None),
    ({"type": "text", "tool_call_id": "a"}, None),
    ({"type": "custom_tool_call", "id": "a"}, None),
]


@pytest.mark.parametrize(("part", "side"), SHAPES, ids=str)
def test_shapes_of_parts(part: Message, side: Side | None) -> None:
    """
    Calls and results are recognised in the parts of all shapes, by their own id.
    """
    marks = counted(assistant("x", part)).draft.marks
    assert marks == (() if side is None else (Mark(1, "a", side),))


KEYED: list[tuple[dict[str, Any], list[tuple[str, Side]]]] = [
    ({"tool_calls": [{"id": "a"}, {"id": "b"}]}, [("a", CALL), ("b", CALL)]),
    ({"tool_call_id": "a"}, [("a", RESULT)]),
    ({"tool_calls": [{"id": "b"}], "tool_call_id": "a"}, [("b", CALL), ("a", RESULT)]),
    ({"tool_calls": [{"id": "a"}, {}, 5, None, {"id": 7}]}, [("a", CALL)]),
    ({"tool_calls": None, "tool_call_id": None}, []),
    ({"tool_calls": {"id": "a"}, "tool_call_id": ["a"]}, []),
]


@pytest.mark.parametrize(("keys", "expected"), KEYED, ids=str)
def test_shapes_of_keys(keys: dict[str, Any], expected: list[tuple[str, Side]]) -> None:
    """
    Calls and results are recognised in message keys; keys of another shape are none.
    """
    marks = counted(assistant("x", **keys)).draft.marks
    assert marks == tuple(Mark(KEYS, name, side) for name, side in expected)


def test_what_is_said_twice_is_one() -> None:
    """
    A call in a part and in a key is one call, that of the key; so with results.
    """
    twice = assistant({"type": "tool_use", "id": "a"}, tool_calls=[{"id": "a"}])
    assert counted(twice).draft.marks == (Mark(KEYS, "a", CALL),)
    twice = tool(result("a"), tool_call_id="a")
    assert counted(twice).draft.marks == (Mark(KEYS, "a", RESULT),)


def found(*messages: Message) -> tuple[list[tuple[int, int]], list[int]]:
    """Give the pairs of *messages*, by index, and the messages of open calls."""
    pairing = pair([counted(one).draft for one in messages])
    pairs = [(call.at, result.at) for call, result in pairing.answers]
    return sorted(pairs), [spot.at for spot in pairing.open_calls]


def test_a_result_belongs_to_the_nearest_unanswered_call() -> None:
    """
    Where ids repeat, each result takes the nearest earlier call that nobody answered yet.
    """
    a, b = assistant(call("a")), assistant(call("b"))
    to_a, to_b = tool(result("a")), tool(result("b"))
    assert found(a, to_a, a, to_a) == ([(0, 1), (2, 3)], [])
    assert found(a, a, to_a, to_a) == ([(0, 3), (1, 2)], [])
    assert found(a, a, to_a) == ([(1, 2)], [0])
    assert found(to_a, a) == ([], [1])
    assert found(a, b, to_b, to_a) == ([(0, 3), (1, 2)], [])
    assert found(a, to_a, to_a) == ([(0, 1)], [])
    assert found(a, b) == ([], [0, 1])


def test_shapes_answer_each_other() -> None:
    """
    The id decides, whatever shape it comes in: applications translate between providers.
    """
    made = assistant(tool_calls=[{"id": "a"}])
    given = user({"type": "tool_result", "tool_use_id": "a"})
    assert found(made, given) == ([(0, 1)], [])


def test_call_and_result_in_one_message() -> None:
    """
    Tools that a provider runs itself are called and answered in one message.
    """
    served = assistant(
        {"type": "server_tool_use", "id": "a"},
        {"type": "web_search_tool_result", "tool_use_id": "a"},
    )
    assert found(served) == ([(0, 0)], [])
    assert cuts(served, served, served) == [0, 1, 2]


def test_a_part_that_is_both_needs_no_partner() -> None:
    """
    Parts of the AI SDK that hold call and result bind nothing together.
    """
    both = assistant({"type": "tool-x", "toolCallId": "a"})
    assert found(both, tool(result("a"))) == ([], [])
    assert cuts(both, tool(result("a")), both) == [0, 1, 2]


def cuts(*messages: Message) -> list[int]:
    """Give the indexes before which *messages* may be cut."""
    flags, _ = joints([counted(one).draft for one in messages])
    return [index for index, is_joint in enumerate(flags) if is_joint]


def test_no_cut_falls_inside_a_group() -> None:
    """
    A group spans from a call to its result, with all that stands between.
    """
    a, to_a, word = assistant(call("a")), tool(result("a")), user("x")
    assert cuts(word, a, to_a, word) == [0, 1, 3]
    assert cuts(word, a, word, word, to_a, word) == [0, 1, 5]


def test_groups_that_overlap_are_one() -> None:
    """
    Parallel calls answered crosswise can be cut nowhere between.
    """
    a, b = assistant(call("a")), assistant(call("b"))
    assert cuts(a, b, tool(result("a")), tool(result("b")), user("x")) == [0, 4]
    assert cuts(a, tool(result("a")), b, tool(result("b"))) == [0, 2]


def test_an_unanswered_call_binds_nothing() -> None:
    """
    A call that nobody answers spans only its own message.
    """
    assert cuts(assistant(call("a")), user("x"), user("y")) == [0, 1, 2]


def test_a_step_that_is_being_answered_holds_together() -> None:
    """
    At the very end, calls and the results that came so far are one, until other words come.
    """
    both = assistant(call("a"), call("b"))
    a, b, to_a = assistant(call("a")), assistant(call("b")), tool(result("a"))
    assert cuts(user("x"), both, to_a) == [0, 1]
    assert cuts(user("x"), a, b) == [0, 1]
    assert cuts(user("x"), b, a, to_a) == [0, 1]
    assert cuts(user("x"), both, to_a, user("y")) == [0, 1, 3]
    assert cuts(user("x"), b, a, to_a, user("y")) == [0, 1, 2, 4]


def test_an_empty_list_has_no_cuts() -> None:
    """
    Nothing can be cut of nothing.
    """
    assert cuts() == []
    assert found() == ([], [])


def test_a_message_between_keeps_no_step_open() -> None:
    """
    Only calls and then results are a step; a message that is both ends it.
    """
    mixed = message("assistant", result("a"), call("b"))
    assert cuts(assistant(call("a")), assistant(call("c")), mixed) == [0]
    assert cuts(assistant(call("c")), assistant(call("a")), mixed) == [0, 1]
