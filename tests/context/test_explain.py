"""What became of each message, told from windows, views and the history of rewrites."""

from __future__ import annotations

import json
from itertools import pairwise
from random import Random
from typing import Any

from hypothesis import given

from fastpaca.context import LastN, Manual, SkipParts
from fastpaca.context.events import Appended, Compacted
from fastpaca.context.explain import BY_VIEW, OLDER, RANGES_MAX, REWRITES_MAX, Explanation, Fate
from fastpaca.context.persisted import persisted
from fastpaca.ranges import runs
from tests.context import paths
from tests.context.conversation import Conversation
from tests.context.story import BUDGETS
from tests.context.strategies import seeds, the_same_every_time
from tests.context.telling import tell
from tests.kit.messages import assistant, call, result, system, tool, user


def rewrites(talk: Conversation) -> list[Compacted]:
    """List all that has rewritten the window, newest first."""
    found = [event for event in talk.events if isinstance(event, Compacted)]
    return found[::-1]


def of_this_path(talk: Conversation) -> list[Compacted]:
    """List what has rewritten the window since it was empty, newest first, without rewinds."""
    found: list[Compacted] = []
    before = talk.context.version + 1
    for event in rewrites(talk):
        if event.version < before:
            before = event.version if event.to_version is None else event.to_version + 1
            found += [event] if event.to_version is None else []
    return found


def explained(talk: Conversation, budget_tokens: int | None = None, page: int = 3) -> list[Any]:
    """Explain a view of *talk* as (from, to, state, by), reading its history in pages."""
    return list(map(tuple, explanation(talk, budget_tokens, page).ranges()))


def explanation(talk: Conversation, budget_tokens: int | None, page: int = 3) -> Explanation:
    """Look back for as long as there is something to find."""
    view = talk.context.view(budget_tokens)
    told = Explanation(talk.window, view.entries, runs(talk.places))
    history = [(event.version, event.window.encode()) for event in of_this_path(talk)]
    while not told.is_done:
        told.look_back(history[:page])
        del history[:page]
    return told


def test_a_log_without_messages_has_no_ranges() -> None:
    """
    Where nothing was said there is nothing to explain.
    """
    assert explained(Conversation(Manual())) == []


def test_what_is_in_the_window_is_kept_or_pinned() -> None:
    """
    Leading instructions are pinned, all else is kept, and nobody did anything.
    """
    talk = Conversation(Manual())
    talk.say(system("rules"), user("a"), assistant("b"))
    assert explained(talk) == [(1, 1, "pinned", None), (2, 3, "kept", None)]


def test_a_trim_is_named_by_its_version() -> None:
    """
    What a policy drops names the version of the append that it belongs to, each trim its own.
    """
    talk = Conversation(LastN(), 150, 0.5)
    talk.say_one_by_one(system("rules"), *[user("x" * 12) for _ in range(8)])
    trims = talk.trims()
    assert len(trims) > 1
    gone = [(trim.from_seq, trim.to_seq, "dropped", trim.version) for trim in trims]
    left = (gone[-1][1] or 0) + 1
    assert explained(talk) == [(1, 1, "pinned", None), *gone, (left, 9, "kept", None)]


def test_the_task_that_a_cut_leaves_says_so() -> None:
    """
    The question of a turn that was cut is the task, whether a trim or the view has cut.
    """
    steps = [
        one for i in range(6) for one in (assistant(call(f"c{i}")), tool(result(f"c{i}", "x" * 40)))
    ]
    talk = Conversation(Manual(), 10_000)
    talk.say(user("why?"), *steps)
    assert [piece[2:] for piece in explained(talk, 450)] == [
        ("task", None),
        ("dropped", BY_VIEW),
        ("kept", None),
    ]
    trimmed = Conversation(LastN(limit=4), 800, 0.5)
    trimmed.say_one_by_one(user("why?"), *steps)
    told = explained(trimmed)
    assert told[0] == (1, 1, "task", None)
    assert {state for _, _, state, _ in told} == {"task", "dropped", "kept"}


def test_stripping_names_the_version_that_did_it() -> None:
    """
    A message that lost parts says with which rewrite, one that lost them all is dropped by it.
    """
    talk = Conversation(SkipParts(skip_kinds=("reasoning",)), 300, 0.5)
    thought = {"type": "thinking", "thinking": "x" * 40}
    talk.say_one_by_one(user("a"), assistant(thought), assistant(thought, "b"), user("c"))
    (trim,) = talk.trims()
    talk.say(assistant("d"))
    assert explained(talk) == [
        (1, 1, "kept", None),
        (2, 2, "dropped", trim.version),
        (3, 3, "stripped", trim.version),
        (4, 5, "kept", None),
    ]


def test_what_a_view_shortens_is_cut() -> None:
    """
    A message that is shortened to fit says that this view did it.
    """
    talk = Conversation(Manual(), 100_000)
    talk.say(user("a"), assistant("b"), user("x" * 3_000))
    assert explained(talk, 1_000) == [(1, 2, "dropped", BY_VIEW), (3, 3, "cut", BY_VIEW)]


def test_summaries_name_the_version_that_wrote_them_first() -> None:
    """
    A message is summarised by the rewrite that put a summary in its place; what that rewrite had
    not in its window any more was dropped before.
    """
    talk = Conversation(LastN(limit=2), 100, 0.5)
    talk.say_one_by_one(*[user("x" * 12) for _ in range(4)])
    (trim,) = talk.trims()
    first_left = next(seq for seq in talk.seqs if seq is not None)
    at_first = talk.compact(assistant("s1"))
    talk.say(user("more"))
    again = talk.compact(assistant("s2"))
    talk.say(user("go on"))
    assert explained(talk) == [
        (1, first_left - 1, "dropped", trim.version),
        (first_left, 4, "summarised", at_first.version),
        (5, 5, "summarised", again.version),
        (6, 6, "kept", None),
    ]


def test_a_summary_that_goes_takes_what_it_stood_for() -> None:
    """
    Once the summary has gone too, its messages were dropped by what removed it.
    """
    talk = Conversation(Manual())
    talk.say(user("a"), assistant("b"))
    talk.compact(assistant("s"))
    emptied = talk.compact()
    talk.say(user("c"))
    assert explained(talk) == [(1, 2, "dropped", emptied.version), (3, 3, "kept", None)]


def test_a_summary_that_the_view_leaves_out_is_dropped_with_all_it_stands_for() -> None:
    """
    What is neither in the view nor in a summary of it is dropped by the view.
    """
    talk = Conversation(Manual(), 10_000)
    talk.say(user("a"), assistant("b"))
    talk.compact(assistant("s" * 30))
    talk.say(user("c"))
    assert explained(talk, 1) == [(1, 3, "dropped", BY_VIEW)]


def test_a_result_that_is_not_let_in_names_the_rewrite_before_it() -> None:
    """
    The result of a call that was cut stays out: its message is dropped by that rewrite.
    """
    talk = Conversation(Manual())
    talk.say(user("a"), assistant(call("c")))
    emptied = talk.compact()
    talk.say(tool(result("c")))
    assert explained(talk) == [(1, 3, "dropped", emptied.version)]


def test_messages_that_come_back_are_kept() -> None:
    """
    A reference brings a message back, and what became of it before counts no more.
    """
    talk = Conversation(Manual())
    talk.say(user("a"), user("b"), user("c"))
    talk.compact()
    back = talk.compact(2)
    assert explained(talk) == [
        (1, 1, "dropped", back.version - 1),
        (2, 2, "kept", None),
        (3, 3, "dropped", back.version - 1),
    ]


def test_revisions_are_no_messages_of_their_own() -> None:
    """
    Ranges go along the path: the seq of a revision neither shows nor splits a range.
    """
    talk = Conversation(Manual())
    talk.say(user("a", id="1"), user("b"))
    for word in ("c", "d", "e"):
        talk.put(user(word, id="1"))
    talk.say(user("f"))
    assert explained(talk) == [(1, 6, "kept", None)]
    emptied = talk.compact()
    talk.put(user("g", id="1"))
    talk.say(user("h"))
    assert explained(talk) == [(1, 6, "dropped", emptied.version), (8, 8, "kept", None)]


def test_what_a_rewind_leaves_is_not_explained() -> None:
    """
    Ranges are those of the path, and causes those that led to its window.
    """
    talk = Conversation(Manual())
    talk.say(user("a"), user("b"), user("c"))
    emptied = talk.compact(3)
    past = talk.context
    talk.say(user("d"), user("e"))
    talk.compact(5)
    talk.rewind(past)
    talk.say(user("f"))
    assert explained(talk) == [(1, 2, "dropped", emptied.version), (3, 6, "kept", None)]


def test_a_revision_of_what_was_summarised_changes_nothing() -> None:
    """
    A summary stands for what there was when it was written.
    """
    talk = Conversation(Manual())
    talk.say(user("a"), user("b", id="1"))
    written = talk.compact(assistant("s"))
    talk.put(user("c", id="1"))
    assert explained(talk) == [(1, 2, "summarised", written.version)]


def test_what_is_stripped_of_a_revision_was_stripped_since() -> None:
    """
    A message that was stripped, revised and stripped again names the second rewrite.
    """
    talk = Conversation(SkipParts(skip_kinds=("reasoning",)), 300, 0.5)
    thought = {"type": "thinking", "thinking": "x" * 40}
    talk.say_one_by_one(user("a"), assistant(thought, "b", id="1"), assistant(thought, "b"))
    talk.say(user("c"))
    (first,) = talk.trims()
    talk.put(assistant(thought, "b!", id="1"))
    talk.say(user("d" * 60))
    _, second = talk.trims()
    assert [piece[:4] for piece in explained(talk)] == [
        (1, 1, "kept", None),
        (2, 2, "stripped", second.version),
        (3, 3, "stripped", first.version),
        (4, 6, "kept", None),
    ]


def test_a_message_of_which_a_revision_leaves_nothing_is_dropped_by_the_rewrite_before() -> None:
    """
    It holds the result of a call that was cut and nothing else: that cut has taken it.
    """
    talk = Conversation(Manual())
    talk.say(user("a"), assistant(call("c")), user("b"), tool("x", result("c"), id="t"))
    cut = talk.compact(1, 3, 4)
    talk.put(tool(result("c"), id="t"))
    assert explained(talk) == [
        (1, 1, "kept", None),
        (2, 2, "dropped", cut.version),
        (3, 3, "kept", None),
        (4, 4, "dropped", cut.version),
    ]


def test_only_the_newest_ranges_are_told_one_by_one() -> None:
    """
    What is older than the newest 1,000 ranges is one range; unless it is one anyway, its history is
    not read.
    """
    talk = Conversation(LastN(limit=1, start_on_user=False), 40, 0.5)
    for count, oldest in ((RANGES_MAX, "dropped"), (RANGES_MAX + 200, OLDER)):
        while len(rewrites(talk)) < count:
            talk.say(user("x" * 12))
        found = explanation(talk, None, page=100).ranges()
        assert len(found) == RANGES_MAX + 1
        assert found[0][:3] == (1, found[1].from_seq - 1, oldest)
        assert found[-1].state == "kept"
        assert all(piece.state == "dropped" for piece in found[1:-1])
        assert tiled(found, talk.places) == talk.places


def test_looking_back_ends_after_so_many_rewrites() -> None:
    """
    A history in which nothing more happens is not read to its beginning.
    """
    talk = Conversation(Manual())
    talk.say(user("a"), user("b"))
    talk.compact(2)
    told = Explanation(talk.window, talk.window.entries, runs(talk.places))
    window = persisted(talk.window, talk.context.last_seq).encode()
    looks = 0
    while not told.is_done:
        looks += 1
        told.look_back([(3 + REWRITES_MAX * 9 - looks * 50 - i, window) for i in range(50)])
    assert looks == REWRITES_MAX // 50
    assert told.ranges() == [Fate(1, 1, OLDER, None), Fate(2, 2, "kept", None)]


def tiled(found: list[Fate], places: list[int]) -> list[int]:
    """Check that ranges follow each other along *places*, and return all places in them."""
    rest, tiles = places, list[int]()
    for piece in found:
        assert rest[0] == piece.from_seq <= piece.to_seq
        size = rest.index(piece.to_seq) + 1
        tiles, rest = tiles + rest[:size], rest[size:]
    return tiles


@given(seeds)
@the_same_every_time
def test_every_message_is_explained_once_and_truly(rng: Random) -> None:
    """
    The ranges are the log, what is in the view is never dropped, and each version that is named did
    what is said: the window before it had the message, as it was, and the window after it had not.
    """
    for told in tell(rng, 15):
        explained_truly(told.conversation, rng)


@given(seeds)
@the_same_every_time
def test_every_message_of_an_edited_conversation_is_explained_once_and_truly(rng: Random) -> None:
    """
    The same where messages are revised: the ranges are the path, and revisions split none of them.
    """
    for story in paths.tell(rng, 25):
        explained_truly(story.talk, rng)


def explained_truly(talk: Conversation, rng: Random) -> None:
    """Hold an explanation of *talk* against its history."""
    budget = rng.choice([None, *BUDGETS])
    view = list(talk.context.view(budget).entries)
    found = explanation(talk, budget, page=rng.randint(1, 4)).ranges()
    assert tiled(found, talk.places) == talk.places
    assert all(left[2:] != right[2:] for left, right in pairwise(found)), "no range is split"
    shown = {entry.place: entry for entry in view if entry.seq is not None}
    window = {entry.place: entry for entry in talk.window if entry.seq is not None}
    covered = {
        place
        for entry in view
        if entry.seq is None
        for place in range(entry.covers_from, entry.covers_to + 1)
    }
    marks = history_of(talk)
    for piece in found:
        assert piece.state != OLDER
        for place in talk.places:
            if not piece.from_seq <= place <= piece.to_seq:
                continue
            is_shown = piece.state in ("pinned", "task", "kept", "stripped", "cut")
            assert is_shown == (place in shown)
            if piece.state == "summarised":
                assert place in covered
            if piece.by == BY_VIEW:
                entry = window.get(place)
                assert entry is None or place not in shown or shown[place].body != entry.body
            elif piece.by is not None:
                before, after = marks[int(piece.by)]
                assert before.get(place, ()) != after.get(place)


def history_of(talk: Conversation) -> dict[int, tuple[dict[int, Any], dict[int, Any]]]:
    """
    List, by version, what each rewrite had before and after it.

    That is per place what is gone from its message; `summary` if a summary stands for it. What came
    after the rewrite before counts as there; it is not before only if it was kept out. A message
    that was revised in the window is whole.
    """
    found: dict[int, tuple[dict[int, Any], dict[int, Any]]] = {}
    before: dict[int, Any] = {}
    then: dict[int, dict[int, Any]] = {0: {}}
    for event in talk.events:
        if isinstance(event, Appended):
            place = event.entry.place
            if event.entry.revises is None or before.get(place, "summary") != "summary":
                before[place] = ()
            then[event.entry.version] = dict(before)
        elif isinstance(event, Compacted) and event.to_version is not None:
            before = dict(then[event.to_version])
            then[event.version] = dict(before)
        elif isinstance(event, Compacted):
            after: dict[int, Any] = {}
            for run in json.loads(event.window.encode())["runs"] if event.window.runs else ():
                gone = run.get("gone", [])
                out = {
                    place
                    for first, last in zip(gone[::2], gone[1::2], strict=True)
                    for place in range(first, last + 1)
                }
                without = {place: tuple(flat) for place, *flat in run.get("without", [])}
                for place in range(run["from_seq"], run["to_seq"] + 1):
                    if run.get("replacement") is not None:
                        after[place] = "summary"
                    elif place not in out:
                        after[place] = without.get(place, ())
            found[event.version] = (before, after)
            before = dict(after)
            then[event.version] = dict(after)
    return found
