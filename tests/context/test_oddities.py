"""What the answer to an append warns of: results without calls, empty ids, shapes nobody knows."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import given

from fastpaca import shapes
from fastpaca.context import LastN, Manual
from fastpaca.context.events import Appended
from fastpaca.context.oddities import EMPTY_CALL_ID, UNKNOWN_SHAPE, UNPAIRED_RESULT, unpaired
from fastpaca.shapes import By, Side
from tests.context.conversation import Conversation
from tests.context.story import Talk
from tests.context.strategies import seeds, the_same_every_time
from tests.kit.messages import Message, assistant, call, counted, result, system, tool, user
from tests.rules.judge import pairing_of
from tests.rules.meaning import WHOLE
from tests.rules.reading import read


def warned(talk: Conversation, *messages: Message) -> list[list[tuple[str, str]]]:
    """Append *messages* in one op, and list what is odd about each."""
    events = talk.say(*messages)
    return [list(map(tuple, e.oddities)) for e in events if isinstance(e, Appended)]  # type: ignore[arg-type]  # an oddity is two strings


def talk_of(*messages: Message) -> Conversation:
    """Make a conversation that nobody trims."""
    talk = Conversation(Manual(), 100_000)
    talk.say(*messages)
    return talk


def test_what_is_in_order_is_not_warned_of() -> None:
    """
    Calls with their results, in one message or several, and what is no call, are taken silently.
    """
    talk = Conversation(Manual(), 100_000)
    assert (
        warned(
            talk,
            system("rules"),
            user("a", {"type": "image_url", "image_url": {"url": "x"}}, {"type": "x"}),
            assistant(call("c"), call("d")),
            tool(result("d"), result("c")),
            assistant(call("e"), result("e")),
            {
                "role": "assistant",
                "parts": [],
                "tool_calls": [{"id": "f", "function": {"name": "n"}}],
            },
            {"role": "tool", "parts": [], "tool_call_id": "f"},
            assistant({"type": "function_call", "name": "n"}),
            user({"type": "function_call_output", "output": "o"}),
        )
        == [[]] * 9
    )


def test_a_result_without_a_call_is_warned_of() -> None:
    """
    A result that has no call says where it stands, be it a part or the message as a whole.
    """
    talk = talk_of(user("a"), assistant(call("c")))
    assert warned(
        talk,
        tool("text", result("nobody"), result("c")),
        {"role": "tool", "parts": [], "tool_call_id": "x"},
        {"role": "function", "parts": [], "name": "n"},
    ) == [
        [(UNPAIRED_RESULT, ".parts[1]")],
        [(UNPAIRED_RESULT, ".tool_call_id")],
        [(UNPAIRED_RESULT, "")],
    ]


def test_second_and_late_results_are_warned_of() -> None:
    """
    A result binds nothing if its call has one already, or no longer runs.
    """
    talk = talk_of(user("a"), assistant(call("c")), tool(result("c")), assistant(call("d")))
    assert warned(talk, tool(result("c"))) == [[(UNPAIRED_RESULT, ".parts[0]")]]
    assert warned(talk, user("b"), tool(result("d"))) == [[], [(UNPAIRED_RESULT, ".parts[0]")]]


def test_the_result_of_a_call_that_was_cut_is_in_order_once() -> None:
    """
    A call that left the window still takes its result; the second one is odd, though both stay out.
    """
    talk = talk_of(user("a"), assistant(call("c")))
    talk.compact()
    assert warned(talk, tool(result("c"))) == [[]]
    assert warned(talk, tool(result("c"), "text")) == [[(UNPAIRED_RESULT, ".parts[0]")]]
    assert talk.seqs == [4]


def test_a_restart_changes_no_warning() -> None:
    """
    What is odd follows from what is stored.
    """
    talk = talk_of(user("a"), assistant(call("c"), call("d")), tool(result("c")))
    talk.restart()
    assert warned(talk, tool(result("c"), result("d"))) == [[(UNPAIRED_RESULT, ".parts[0]")]]


_PLAIN = [row for row in shapes.ROWS if row.by is not By.KEY and not row.needs]


@pytest.mark.parametrize("row", _PLAIN, ids=lambda row: f"{row.provider} {row.word}")
def test_an_empty_id_is_warned_of_in_every_shape(row: shapes.Row) -> None:
    """
    An id that is there and empty is odd, in calls and results of every provider.
    """
    kind = {By.SUFFIX: f"x{row.word}"}.get(row.by, row.word.replace("*", "x"))
    part: dict[str, Any] = {"type": kind, row.ids[0]: ""}
    if row.has_state:
        part["state"] = "output-available"
    talk = talk_of(user("a"))
    (odd,) = warned(talk, assistant(part))
    assert odd[0] == (EMPTY_CALL_ID, ".parts[0]")
    answers = row.side in (Side.RESULT, Side.RESPONSE)
    assert odd[1:] == ([(UNPAIRED_RESULT, ".parts[0]")] if answers else [])


@pytest.mark.parametrize(
    ("message", "path"),
    [
        ({"tool_calls": [{"id": "a"}, {"id": ""}]}, ".tool_calls[1]"),
        ({"role": "tool", "tool_call_id": ""}, ".tool_call_id"),
        ({"parts": [{"type": "x", "functionCall": {"id": "", "name": "n"}}]}, ".parts[0]"),
        ({"parts": [{"type": "x", "toolUse": {"toolUseId": "", "name": "n"}}]}, ".parts[0]"),
        ({"parts": [{"type": "custom_tool_call", "call_id": ""}]}, ".parts[0]"),
        ({"parts": [{"type": "tool_result", "tool_use_id": ""}]}, ".parts[0]"),
    ],
)
def test_an_empty_id_is_found_where_it_stands(message: Message, path: str) -> None:
    """
    In keys of the message, in nested objects and in types that are known by their end alike.
    """
    (odd,) = warned(talk_of(user("a")), {"role": "assistant", "parts": [], **message})
    assert odd[0] == (EMPTY_CALL_ID, path)


@pytest.mark.parametrize("part", [{}, {"id": None}, {"id": "", "tool_call_id": "c"}])
def test_an_id_that_is_not_there_is_not_empty(part: Message) -> None:
    """
    Calls may have no id at all, and one id that is not empty is enough.
    """
    assert warned(talk_of(), assistant({"type": "tool_call", **part})) == [[]]


@pytest.mark.parametrize(
    "kind", ["x_call", "my-call", "toolCall", "x_output", "my-result", "toolResult", "toolUse"]
)
def test_a_type_that_only_looks_like_a_call_is_warned_of(kind: str) -> None:
    """
    A part that ends like a call or a result and is none that is known has an unknown shape.
    """
    talk = talk_of()
    assert warned(talk, assistant("a", {"type": kind, "id": "c"})) == [
        [(UNKNOWN_SHAPE, ".parts[1]")]
    ]


def test_what_a_trim_cuts_at_once_is_still_warned_of() -> None:
    """
    Pairs are looked at before the trim that the same append causes.
    """
    talk = Conversation(LastN(limit=1), 100, 0.5)
    talk.say(user("a"), assistant(call("c")))
    assert warned(talk, tool(result("c", "x" * 200), result("d"))) == [
        [(UNPAIRED_RESULT, ".parts[1]")]
    ]


@given(seeds)
@the_same_every_time
def test_results_are_warned_of_exactly_if_they_bind_nothing(rng: Random) -> None:
    """
    What is warned of are the results that bind no call by the rules of pairing, worked out from the
    whole log as slowly and plainly as can be; a restart in between changes nothing.
    """
    drawn, talk = Talk(rng), Conversation(Manual(), 10_000_000)
    log = [drawn.next() for _ in range(25)]
    said = [read(message) for message in log]
    answers = [spot for call in pairing_of(said).calls for spot in call.answers]
    bound = {(spot.number + 1, said[spot.number].items[spot.at].places[0]) for spot in answers}
    for seq, message in enumerate(log, start=1):
        (odd,) = warned(talk, message)
        expected = {
            unpaired(reference).path
            for reference in counted(message).draft.reading.tool_references
            if reference.answers
            and (seq, reference.place if reference.place >= 0 else WHOLE) not in bound
        }
        assert {path for code, path in odd if code == UNPAIRED_RESULT} == expected
        if rng.random() < 0.2:
            talk.restart()
