"""Revisions, case by case: messages that take the place of earlier ones."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fastpaca import errors
from fastpaca.context import LastN, Manual, SkipParts
from fastpaca.context.events import Appended, Compacted
from fastpaca.context.message import Entry
from fastpaca.context.ops import Put
from fastpaca.context.usage import Usage
from fastpaca.context.window import WindowSegment
from tests.context.conversation import Conversation, image
from tests.kit.messages import Message, assistant, call, result, system, text, tokens, tool, user


def said(entry: Entry) -> Any:
    """Return the parts of *entry*."""
    return json.loads(entry.body)["parts"]


def places(talk: Conversation) -> list[int | None]:
    """Return the places of the window; None for what is synthetic."""
    return [None if entry.seq is None else entry.place for entry in talk.window]


def steps(count: int, *, size: int = 40) -> list[Message]:
    """Make calls with their results, with ids."""
    return [
        one
        for at in range(count)
        for one in (
            assistant(call(f"c{at}"), id=f"call{at}"),
            tool(result(f"c{at}", "x" * size), id=f"result{at}"),
        )
    ]


# --- in the window ---


def test_a_message_that_grows_is_one_entry() -> None:
    """
    However often it grows, it is one live entry, whole, at its place, and the log has every row.
    """
    talk = Conversation(Manual(), 10_000)
    talk.say(user("a"))
    for size in range(1, 11):
        talk.put(assistant(*["step"] * size, id="m"))
    talk.say(user("b"))
    assert talk.context.last_seq == talk.context.version == 12
    assert places(talk) == [1, 2, 12]
    assert talk.seqs == [1, 11, 12]
    grown = talk.window.entries[1]
    assert (grown.place, grown.revises, grown.without) == (2, 2, ())
    assert said(grown) == [text("step")] * 10
    assert json.loads(grown.body)["revises"] == 2
    assert "revises" not in json.loads(talk.logged(2).body)
    assert talk.context.view().segments == [WindowSegment("live", 1, 12)]
    assert image(talk.cold().window) == image(talk.window)


def test_put_appends_what_has_no_place_yet() -> None:
    """
    A message whose id is not on the path is appended, and so is one of another id.
    """
    talk = Conversation(Manual())
    (first,) = talk.put(user("a", id="1"))
    (second,) = talk.put(user("a", id="2"))
    assert isinstance(first, Appended)
    assert isinstance(second, Appended)
    assert [first.entry.revises, second.entry.revises] == [None, None]
    assert places(talk) == [1, 2]


def test_the_newest_of_several_messages_of_an_id_is_meant() -> None:
    """
    Appends may repeat an id; a put then revises the one that stands last on the path.
    """
    talk = Conversation(Manual())
    talk.say(user("a", id="1"), user("b", id="1"), user("c"))
    talk.put(user("d", id="1"))
    assert [said(entry) for entry in talk.window] == [[text("a")], [text("d")], [text("c")]]


def test_equal_content_changes_nothing() -> None:
    """
    The order of keys and the way a number is written are no difference.
    """
    talk = Conversation(Manual())
    talk.put({"role": "user", "id": "1", "parts": [{"type": "data-x", "a": 1.0, "b": [1, {}]}]})
    before = talk.context
    again = {"parts": [{"b": [1, {}], "type": "data-x", "a": 1}], "id": "1", "role": "user"}
    assert talk.put(again) == ()
    assert talk.context is before
    for other in (again | {"metadata": {"k": 1}}, again | {"x": None}, again | {"token_count": 9}):
        assert len(talk.put(other)) == 1
    assert talk.put(again | {"token_count": 9}) == ()
    assert talk.context.version == 4


def test_a_revision_keeps_its_role() -> None:
    """
    Another role is refused, and names the field.
    """
    talk = Conversation(Manual())
    talk.say(user("a", id="1"))
    before = talk.context
    with pytest.raises(errors.InvalidRequest, match="user") as refused:
        talk.put(assistant("a", id="1"))
    assert refused.value.field == "message.role"
    assert talk.context is before


def test_a_put_is_guarded_by_the_version() -> None:
    """
    Appended, revised or equal: the version is checked first.
    """
    talk = Conversation(Manual())
    talk.put(user("a", id="1"), if_version=0)
    for message in (user("a", id="1"), user("b", id="1"), user("a", id="2")):
        with pytest.raises(errors.VersionConflict):
            talk.put(message, if_version=0)
    talk.put(user("b", id="1"), if_version=1)
    assert talk.context.version == 2


def test_an_edited_message_in_the_middle_stays_where_it_is() -> None:
    """
    What comes before and after it stays the same entries.
    """
    talk = Conversation(Manual())
    talk.say(user("a"), user("b", id="1"), user("c"))
    before = talk.window.entries
    talk.put(user("edited", id="1"))
    after = talk.window.entries
    assert (after[0], after[2]) == (before[0], before[2])
    assert talk.window.tokens == sum(map(tokens, (user("a"), user("edited"), user("c"))))
    assert talk.window.end == 3
    talk.say(user("d"))
    assert places(talk) == [1, 2, 3, 5]


# --- outside the window ---


@pytest.mark.parametrize("policy", [LastN(limit=2), Manual()])
def test_a_message_that_has_left_the_window_changes_the_path_alone(
    policy: LastN | Manual,
) -> None:
    """
    The window stays byte for byte; a reference brings the newest row back.
    """
    talk = Conversation(policy, 80, 0.5)
    talk.say_one_by_one(user("a" * 20, id="1"), user("b" * 20), user("c" * 20))
    if isinstance(policy, Manual):
        talk.compact(2, 3)
    assert 1 not in places(talk)
    before = image(talk.window)
    (event,) = talk.put(user("z" * 200, id="1"))
    assert isinstance(event, Appended)
    assert (event.entry.seq, event.entry.revises) == (4, 1)
    assert image(talk.window) == before
    assert image(talk.cold().window) == before
    talk.compact(4, 3)
    assert places(talk) == [1, 3]
    assert talk.seqs == [4, 3]
    assert image(talk.cold().window) == image(talk.window)


def test_what_a_summary_stands_for_can_be_edited() -> None:
    """
    The summary stays as it is: its caller wrote it of what there was.
    """
    talk = Conversation(Manual())
    talk.say(user("a", id="1"), user("b"))
    talk.compact(user("so far"), 2)
    before = image(talk.window)
    talk.put(user("edited", id="1"))
    assert image(talk.window) == before
    assert talk.context.view().segments[0] == WindowSegment("summary", 1, 1)


def test_references_stand_in_the_order_of_the_path() -> None:
    """
    A revised message stands at its place, however late its seq is; a summary covers places.
    """
    talk = Conversation(Manual())
    talk.say(user("a", id="1"), user("b"), user("c"))
    talk.put(user("edited", id="1"))
    talk.compact(4, user("so far"), 3)
    assert talk.seqs == [4, None, 3]
    assert [(e.covers_from, e.covers_to) for e in talk.window] == [(1, 1), (2, 2), (3, 3)]
    with pytest.raises(errors.InvalidRequest):
        talk.compact(3, 4)
    assert image(talk.cold().window) == image(talk.window)


# --- trims ---


def test_a_revision_above_the_trigger_trims_within_its_version() -> None:
    """
    Triggers and counts follow a message that grows, and the trim belongs to its version.
    """
    talk = Conversation(LastN(), 200, 0.5)
    talk.say_one_by_one(user("a" * 30), assistant("b" * 30), user("c"), assistant("d", id="1"))
    assert not talk.context.needs_compaction
    appended, trim = talk.put(assistant("d" * 60, id="1"))
    assert isinstance(appended, Appended)
    assert isinstance(trim, Compacted)
    assert trim.version == appended.entry.version == talk.context.version == 5
    assert (trim.from_seq, trim.to_seq) == (1, 2)
    assert places(talk) == [3, 4]
    assert (
        talk.window.tokens == trim.tokens_after == tokens(user("c")) + tokens(assistant("d" * 60))
    )
    assert image(talk.cold().window) == image(talk.window)


def test_a_revision_enters_whole_and_goes_as_its_message_would() -> None:
    """
    A stripped message is whole again once it is revised; what was taken out of others stays out.
    """
    talk = Conversation(SkipParts(skip_kinds=("reasoning",)), 300, 0.5)
    thought = {"type": "thinking", "thinking": "x" * 40}
    talk.say_one_by_one(
        user("a"), assistant(thought, "b", id="1"), assistant(thought, "b"), user("c")
    )
    assert [entry.without for entry in talk.window] == [(), (0,), (0,), ()]
    talk.put(assistant(thought, "more", id="1"))
    assert [entry.without for entry in talk.window] == [(), (), (0,), ()]
    assert said(talk.window.entries[1]) == [thought, text("more")]
    assert image(talk.cold().window) == image(talk.window)


def test_the_task_stays_marked() -> None:
    """
    What a cut kept as the task is the task after it was edited, also after a restart.
    """
    talk = Conversation(LastN(limit=4), 800, 0.5)
    talk.say_one_by_one(user("why?", id="task"), *steps(6))
    assert talk.window.entries[0].is_task
    talk.put(user("why not?", id="task"))
    assert talk.window.entries[0].is_task
    assert said(talk.window.entries[0]) == [text("why not?")]
    assert image(talk.cold().window) == image(talk.window)
    talk.restart()
    talk.say_one_by_one(*steps(8)[12:])
    assert places(talk)[0] == 1


def test_pinned_instructions_stay_pinned() -> None:
    """
    Edited instructions are pinned as they were, and no others become so.
    """
    talk = Conversation(LastN(), 200, 0.5)
    talk.say_one_by_one(system("be kind", id="s"), system("be brief"), user("a" * 20, id="u"))
    talk.put(system("be short", id="s"))
    talk.put(user("b" * 20, id="u"))
    assert talk.window.pinned == 2
    talk.say_one_by_one(*[user("c" * 20) for _ in range(9)])
    assert places(talk)[:2] == [1, 2]
    assert talk.trims()
    assert said(talk.window.entries[0]) == [text("be short")]


def test_instructions_that_follow_edited_ones_are_pinned_as_well() -> None:
    """
    They follow in the order of the path, whatever row comes between them in the log.
    """
    talk = Conversation(Manual())
    talk.say(system("a", id="s"))
    talk.put(system("b", id="s"))
    talk.say(system("c"))
    assert talk.window.pinned == 2
    assert image(talk.cold().window) == image(talk.window)


# --- calls and results ---


def ui(state: str, **keys: Any) -> Message:
    """Make a tool part of a UI message."""
    return {"type": "tool-weather", "toolCallId": "c", "state": state, **keys}


def test_a_ui_message_closes_its_call_when_its_output_comes() -> None:
    """
    Open, its call runs and nothing before it may be cut; with its output it is a pair.
    """
    talk = Conversation(Manual(), 10_000)
    talk.say(user("a"))
    talk.put(assistant("let me see", ui("input-available", input={}), id="m"))
    assert talk.window.grouped().pairing.running_at == 1
    talk.put(assistant("let me see", ui("output-available", input={}, output="sun"), id="m"))
    assert talk.window.grouped().pairing.running_at is None
    assert len(talk.window) == 2
    talk.put(assistant("let me see", ui("output-available", output="sun"), "Sunny", id="m"))
    assert said(talk.window.entries[1])[-1] == text("Sunny")


def test_a_result_whose_call_has_gone_stays_out_of_a_revision() -> None:
    """
    Whether it was there before or comes with the revision; nothing is left of a message of these.
    """
    talk = Conversation(Manual(), 10_000)
    talk.say(user("a"), assistant(call("c")), user("b", id="m"), tool("x", result("c"), id="t"))
    talk.compact(user("so far"), 3, 4)
    assert places(talk) == [None, 3, 4]
    talk.put(tool(result("c", "more"), "y", id="t"))
    entry = talk.window.entries[2]
    assert (said(entry), entry.without) == ([text("y")], (0,))
    assert image(talk.cold().window) == image(talk.window)
    talk.put(tool(result("c", "only this"), id="t"))
    assert places(talk) == [None, 3]
    assert image(talk.cold().window) == image(talk.window)


def test_a_call_that_is_made_again_takes_its_result() -> None:
    """
    A revision may bring back a call that was stripped: a result that comes later is let in.
    """
    talk = Conversation(SkipParts(), 220, 0.5)
    talk.say_one_by_one(user("a"), assistant("b", call("c"), id="m"), user("c" * 60))
    assert [entry.without for entry in talk.window] == [(), (1,), ()]
    assert [one.id for one in talk.window.cut_calls] == ["c"]
    talk.apply(Put(token_budget=10_000))
    talk.put(assistant("b again", call("c"), id="m"))
    assert talk.window.cut_calls == ()
    talk.say(tool(result("c")))
    assert places(talk)[-1] == talk.context.last_seq
    assert image(talk.cold().window) == image(talk.window)


def test_the_result_of_a_call_that_was_cut_and_then_taken_back_stays_out() -> None:
    """
    A message that was cut with its call comes back without it: the late result has no call.
    """
    talk = Conversation(Manual())
    talk.say(user("a"), assistant(call("c"), id="m"))
    talk.compact(1)
    talk.put(assistant("never mind", id="m"))
    talk.compact(1, 3)
    talk.say(tool(result("c")))
    assert places(talk) == [1, 2]
    assert image(talk.cold().window) == image(talk.window)


def test_a_result_without_a_call_is_warned_of() -> None:
    """
    A revision says what is odd about it, as an append does.
    """
    talk = Conversation(Manual())
    talk.say(user("a"), assistant(call("c")), tool(result("c"), id="t"))
    (event,) = talk.put(tool(result("c", "again"), id="t"))
    assert isinstance(event, Appended)
    assert event.oddities == ()
    (event,) = talk.put(tool(result("c"), result("nobody"), id="t"))
    assert isinstance(event, Appended)
    assert [(one.code, one.path) for one in event.oddities] == [("unpaired_result", ".parts[1]")]


def test_the_task_of_a_turn_may_be_given_up() -> None:
    """
    A user message that answers something from now on opens no turn, so calls before it run again.
    """
    talk = Conversation(Manual())
    talk.say(user("a"), assistant(call("c"), call("d")), user("b", id="m"))
    assert talk.window.grouped().pairing.running_at is None
    talk.put(user(result("c"), id="m"))
    assert talk.window.grouped().pairing.running_at == 1
    assert image(talk.cold().window) == image(talk.window)


def test_a_turn_that_was_given_up_is_forgotten_after_a_rewrite_too() -> None:
    """
    A window that was rewritten knows the tasks in it as they are: once one is none any more, the
    one before it counts again.
    """
    talk = Conversation(Manual())
    talk.say(user("a"), assistant(call("c"), call("d")), user("b", id="m"))
    talk.compact(1, 2, 3)
    assert talk.window.grouped().pairing.running_at is None
    talk.put(user(result("c"), id="m"))
    assert talk.window.grouped().pairing.running_at == 1
    assert image(talk.cold().window) == image(talk.window)


# --- usage ---


def report(talk: Conversation, message: Message, prompt: int) -> None:
    """Append an answer with what its call has cost."""
    talk.put(message, usage=Usage(prompt, 5))


def test_a_revision_of_the_newest_message_keeps_the_chain_of_reports() -> None:
    """
    The next prompt holds the answer as it is now, and that is what is compared.
    """
    talk = Conversation(Manual())
    talk.say(user("1234"))
    report(talk, assistant("12", id="m"), 100)
    talk.put(assistant("1234567", id="m"))
    talk.say(user("1"))
    report(talk, assistant("1"), 130)
    usage = talk.context.usage
    between = tokens(assistant("1234567")) + tokens(user("1"))
    assert (usage.pairs, usage.counted, usage.growth) == (1, between, 30)


def test_a_revision_of_a_message_before_others_ends_the_chain() -> None:
    """
    Its prompt held another message, so the next report begins anew.
    """
    talk = Conversation(Manual())
    talk.say(user("1234", id="m"))
    report(talk, assistant("12"), 100)
    talk.put(user("12345678", id="m"))
    talk.say(user("1"))
    report(talk, assistant("1"), 130)
    assert talk.context.usage.pairs == 0
    talk.say(user("2"))
    report(talk, assistant("2"), 160)
    usage = talk.context.usage
    assert (usage.pairs, usage.growth) == (1, 30)


def test_a_report_that_comes_with_a_revision_is_summed_and_never_paired() -> None:
    """
    Each step of a growing message may report; the sums have all, the pairs none of them.
    """
    talk = Conversation(Manual())
    talk.say(user("1"))
    for step in range(1, 4):
        report(talk, assistant(*["s"] * step, id="m"), 100 * step)
    usage = talk.context.usage
    assert (usage.input_tokens, usage.output_tokens) == (600, 15)
    talk.say(user("2"))
    report(talk, assistant("2", id="n"), 400)
    assert talk.context.usage.pairs == 0
    talk.say(user("3"))
    report(talk, assistant("3", id="o"), 430)
    assert talk.context.usage.pairs == 1


def test_an_equal_put_reports_nothing() -> None:
    """
    Nothing is written, and so nothing is summed.
    """
    talk = Conversation(Manual())
    report(talk, assistant("a", id="m"), 100)
    report(talk, assistant("a", id="m"), 100)
    assert talk.context.usage.input_tokens == 100
