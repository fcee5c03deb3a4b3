"""The window: how it grows, what it looks like to a reader, and how it is stored and made again."""

from __future__ import annotations

import json

import pytest

from fastpaca.context import LastN, Manual, SkipParts, shortening
from fastpaca.context.cut_calls import CUT_CALLS_MAX, CutCall
from fastpaca.context.groups import Groups
from fastpaca.context.ops import Put
from fastpaca.context.persisted import Persisted, Run, persisted, ranges
from fastpaca.context.window import TOOL_REFERENCE_BYTES, Window, WindowSegment, segments, weight_of
from tests.context.conversation import Conversation, image
from tests.kit.messages import Message, assistant, call, result, system, tool, user


def live(from_seq: int, to_seq: int) -> WindowSegment:
    """A run of messages of the log."""
    return WindowSegment("live", from_seq, to_seq)


def summary(from_seq: int, to_seq: int) -> WindowSegment:
    """A run of synthetic messages."""
    return WindowSegment("summary", from_seq, to_seq)


def talk_of(count: int) -> Conversation:
    """Make a conversation of so many messages, which nobody trims."""
    talk = Conversation(Manual())
    talk.say(*[user("hi") for _ in range(count)])
    return talk


# Growing


def test_windows_grown_from_one_are_independent() -> None:
    """
    A window is a value: what is admitted to one is not in another.
    """
    talk = talk_of(3)
    entries = talk.between(1, 3)
    base = Window.of(entries[:1])
    left, right = base.admit(entries[1]), base.admit(entries[2])
    further = left.admit(entries[2])
    assert [[entry.seq for entry in one] for one in (base, left, right, further)] == [
        [1],
        [1, 2],
        [1, 3],
        [1, 2, 3],
    ]
    assert [one.tokens for one in (base, left, right, further)] == [6, 12, 12, 18]
    assert [len(one) for one in (base, left, right, further)] == [1, 2, 2, 3]


def test_a_window_weighs_what_its_entries_weigh() -> None:
    """
    A cache is told what a window takes, also of one that grew by and by.
    """
    talk = talk_of(5)
    talk.say(assistant(call("a")), tool(result("a")))
    assert talk.window.weight == sum(map(weight_of, talk.window))
    assert talk.window.weight == Window.of(talk.window).weight


def test_all_that_an_entry_holds_has_weight() -> None:
    """
    Text, parts and calls count, so that no kind of conversation takes memory for nothing.
    """
    talk = Conversation(Manual())
    talk.say(user("hi"), user("hi" + 1000 * "x"), user("hi", "hi"))
    talk.say(assistant(call("a")), assistant(call("a" * 1000)))
    short, long, two, brief, named = map(weight_of, talk.window)
    assert long >= short + 1000
    assert two > short + len(talk.window.entries[2].body) - len(talk.window.entries[0].body)
    assert brief > len(talk.window.entries[3].body) + TOOL_REFERENCE_BYTES
    assert named >= brief + 2 * 999  # in the text, and as the id


def test_the_list_of_entries_is_the_callers_own() -> None:
    """
    Who changes the list that is given changes no window.
    """
    window = talk_of(3).window
    window.entries.clear()
    assert len(window.entries) == len(window) == 3


def test_groups_are_kept_once_for_the_next_read() -> None:
    """
    Two reads at once have groups of their own, of which one stays for the next.
    """
    window = talk_of(3).window
    first, second = window.take_groups(), window.take_groups()
    window.give_groups(second)
    window.give_groups(first)
    assert window.take_groups() is second is not first
    assert window.take_groups() is not first


def test_only_so_many_cut_calls_are_remembered() -> None:
    """
    Calls that nobody ever answers do not pile up; the newest are remembered.
    """
    talk = Conversation(LastN(limit=1), token_budget=1)
    talk.say_one_by_one(*[one for n in range(300) for one in (assistant(call(f"{n}")), user("x"))])
    assert len(talk.window.cut_calls) == CUT_CALLS_MAX
    assert talk.window.cut_calls[-1] == CutCall(599, "299", "", "stopped")


# Segments


@pytest.mark.parametrize(
    ("replacement", "expected"),
    [
        ([], []),
        ([1, 2, 3, 4, 5], [live(1, 5)]),
        ([2, 4], [live(2, 4)]),
        (["s"], [summary(1, 5)]),
        (["s", 4, 5], [summary(1, 3), live(4, 5)]),
        ([1, "s", 4, 5], [live(1, 1), summary(2, 3), live(4, 5)]),
        ([1, "s", "s", 4], [live(1, 1), summary(2, 3), live(4, 4)]),
        ([1, "s", 3, "s", 5], [live(1, 1), summary(2, 2), live(3, 3), summary(4, 4), live(5, 5)]),
        ([1, 2, "s"], [live(1, 2), summary(3, 5)]),
        ([5, "s"], [live(5, 5), summary(6, 5)]),
        (["s", 1], [summary(1, 0), live(1, 1)]),
    ],
    ids=str,
)
def test_segments(replacement: list[int | str], expected: list[WindowSegment]) -> None:
    """
    Runs of the log reach from their first to their last seq, summaries over what they stand for.

    A summary that stands for nothing has an empty range.
    """
    talk = talk_of(5)
    talk.compact(*[one if isinstance(one, int) else assistant(one) for one in replacement])
    assert segments(talk.window) == talk.context.view().segments == expected


def test_segments_grow_with_the_window() -> None:
    """
    What is appended behind a summary is live.
    """
    talk = talk_of(3)
    talk.compact(user("so far"))
    talk.say(user("hi"), user("hi"))
    assert segments(talk.window) == [summary(1, 3), live(4, 5)]


def test_a_trim_shows_as_a_gap_in_no_segment() -> None:
    """
    The pinned and the rest are one run of the log, from the first to the last seq.
    """
    talk = Conversation(LastN(limit=2), token_budget=10)
    talk.say_one_by_one(system("be kind"), *[user("hi")] * 5)
    assert talk.seqs == [1, 6]
    assert segments(talk.window) == [live(1, 6)]


# The stored form


def test_a_window_that_was_never_rewritten_is_not_stored() -> None:
    """
    Without a stored form the window is the whole log.
    """
    assert ranges(Persisted(), 5) == [(1, 5)]
    talk = talk_of(5)
    assert talk.stored is None
    assert image(talk.cold().window) == image(talk.window)


def test_the_stored_form_of_a_trim() -> None:
    """
    A trimmed window is a few ranges of seqs, and the seq that the log ended at.
    """
    talk = Conversation(LastN(limit=2), token_budget=10)
    talk.say_one_by_one(system("be kind"), *[user("hi")] * 5)
    stored = persisted(talk.window, 6)
    assert stored == Persisted(6, (Run(1, 6, gone=(2, 5)),), (), 1, opened_at=5)
    assert ranges(stored, 6) == [(1, 6)]
    assert ranges(stored, 9) == [(1, 9)]


def test_the_stored_form_of_a_replacement() -> None:
    """
    Synthetic messages are rows of their own; the stored form names their version and positions.
    """
    talk = talk_of(5)
    talk.compact(user("a"), user("b"), 4, 5)
    assert talk.stored is not None
    stored = Persisted.decode(talk.stored)
    assert stored.runs == (Run(1, 3, replacement=6, first=0, last=1), Run(4, 5))
    assert ranges(stored, 5) == [(4, 5)]


def test_the_stored_form_of_a_stripped_window() -> None:
    """
    It says which messages vanished, and what was taken out of the others.
    """
    thought = {"type": "reasoning", "text": "hm"}
    talk = Conversation(Manual())
    talk.say(user("hi"), assistant(thought), assistant(thought), assistant("ok", thought))
    talk.apply(Put(token_budget=40, policy=SkipParts()))
    talk.say(user("hi"))
    assert talk.stored is not None
    stored = Persisted.decode(talk.stored)
    assert stored.runs == (Run(1, 5, gone=(2, 3), without=((4, 1, 1),)),)
    assert talk.seqs == [1, 4, 5]
    assert image(talk.cold().window) == image(talk.window)


def test_what_vanishes_makes_no_segment_of_its_own() -> None:
    """
    Turns that end with nothing but results leave gaps, and no segment each.
    """
    talk = Conversation(SkipParts(), token_budget=600)
    for turn in range(1, 6):
        name = f"c{turn}"
        talk.say_one_by_one(user("hi"), assistant("a", call(name)), tool(result(name, "x" * 200)))
        assert image(talk.cold().window) == image(talk.window)
    assert talk.stored is not None
    stored = Persisted.decode(talk.stored)
    assert stored.runs == (
        Run(
            1, 15, gone=(3, 3, 6, 6, 9, 9, 12, 12), without=tuple((n, 1, 1) for n in (2, 5, 8, 11))
        ),
    )
    assert segments(talk.window) == [live(1, 15)]


def test_the_stored_form_tells_its_segments() -> None:
    """
    They begin and end with messages that are there, whatever vanished at their ends.
    """
    thought = {"type": "reasoning", "text": "hm"}
    talk = Conversation(Manual())
    talk.say(*[user("hi")] * 2)
    talk.compact(user("so far"))
    talk.say(assistant(thought), user("hi"), assistant(thought))
    talk.apply(Put(token_budget=40, policy=SkipParts()))
    talk.say(user("hi"))
    assert stored_segments(talk) == segments(talk.window) == [summary(1, 2), live(4, 6)]
    talk.compact(user("a"), 4, user("b"), user("c"))
    assert stored_segments(talk) == [summary(1, 3), live(4, 4), summary(5, 6)]
    assert segments(talk.window) == stored_segments(talk)
    talk.compact()
    assert stored_segments(talk) == segments(talk.window) == []


def stored_segments(talk: Conversation) -> list[WindowSegment]:
    """The segments that the newest stored form tells."""
    assert talk.stored is not None
    return Persisted.decode(talk.stored).segments


def test_stored_forms_are_small_json() -> None:
    """
    What a compaction writes is a line of JSON.
    """
    talk = Conversation(LastN(limit=2), token_budget=10)
    talk.say_one_by_one(*[user("hi")] * 50)
    assert talk.stored is not None
    assert len(talk.stored) < 100
    assert json.loads(talk.stored)["runs"] == [{"from_seq": 50, "to_seq": 50}]


@pytest.mark.parametrize("policy", [LastN(limit=3), SkipParts(limit=3)])
def test_a_restart_in_the_middle_of_everything(policy: LastN | SkipParts) -> None:
    """
    A window with a summary, a kept task, cut calls and stripped messages is made again as it was.
    """
    talk = Conversation(policy, token_budget=80)
    thought = {"type": "reasoning", "text": "hm"}
    turn: list[Message] = [
        user("hi"),
        assistant(thought, "a", call("lost")),
        user(result("a"), "x"),
        assistant(call("b")),
        tool(result("b")),
        user(result("lost"), "x"),
    ]
    talk.say(system("be kind"))
    talk.compact(1, user("so far"))
    for _ in range(10):
        for one in turn:
            talk.say(one)
            assert image(talk.cold().window) == image(talk.window)
            if talk.context.last_seq % 5 == 0:
                talk.restart()
    assert len(talk.trims()) > 8


def test_nothing_is_newest_without_entries() -> None:
    """
    The newest block of no entries begins at the start.
    """
    assert Groups(()).newest() == 0


def test_short_arguments_are_not_cut() -> None:
    """
    Of the arguments of a call in a key, only strings that a marker makes shorter are offered.
    """
    texts = {"escaped": "\x01" * 30, "long": "x" * 500}
    call = {"function": {"name": "f", "arguments": json.dumps(texts)}}
    plain = {"function": {"name": "g", "arguments": "short"}}
    offered = shortening._arguments_in_key("tool_calls", json.dumps([plain, call]).encode())
    assert [path[-1] for path, _ in offered] == ["long"]
