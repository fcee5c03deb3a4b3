"""
The path: conversations whose messages are edited, held after every op against the rules, told anew.

What the rules say is in `paths.py`, which shares nothing with the core.
"""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given

from fastpaca.context import Manual
from fastpaca.context.events import Compacted
from fastpaca.context.persisted import Persisted, persisted
from fastpaca.context.policies import compact, is_due
from fastpaca.context.window import segments
from fastpaca.ranges import runs
from tests.context.conversation import image
from tests.context.paths import INSTRUCTIONS, Story, tell
from tests.context.story import BUDGETS
from tests.context.strategies import seeds, the_same_every_time
from tests.kit.messages import encoded

OPS = 60


@pytest.fixture
def sim_runs() -> int:
    """How many stories are told when nothing else is asked for."""
    return 40


@pytest.mark.timeout(0)
def test_whatever_is_revised_the_path_is_that_of_the_rules(sim_seeds: range) -> None:
    """
    Messages that are appended, grown, edited, trimmed, stripped, summarised, referred to and left.

    After every op the path, the window, what is stored, and every count are what the rules say.
    """
    for seed in sim_seeds:
        run(seed)


@given(seeds)
@the_same_every_time
def test_short_stories_of_revisions_keep_the_rules(rng: Random) -> None:
    """
    The same for short stories, of which Hypothesis finds the shortest that breaks a rule.
    """
    for story in tell(rng, 12):
        check(story)


def run(seed: int) -> None:
    """Tell the story of *seed*, and name the seed if a rule is broken in it."""
    step = 0
    try:
        for story in tell(Random(seed), OPS):
            step += 1
            check(story)
    except BaseException as error:
        error.add_note(f"The story of seed {seed} broke a rule at op {step}: make sim SEED={seed}")
        raise


def check(story: Story) -> None:
    """Hold everything against the rules."""
    path_is_what_was_said(story)
    log_is_never_touched(story)
    window_is_in_order_of_the_path(story)
    stored_forms_rebuild(story)
    policies_find_nothing_more(story)
    budgets_hold(story)


def path_is_what_was_said(story: Story) -> None:
    """The path is of each place the newest row, and the context knows where it ends."""
    talk, path = story.talk, story.expected.path()
    assert [(place, talk.at(place).seq) for place in talk.places] == [
        (row.place, row.seq) for row in path
    ]
    window = talk.window
    assert window.end == (path[-1].place if path else 0)
    there = sorted(row.seq for row in story.expected.there)
    assert window.path.ranges(len(talk.log)) == runs(there)
    assert [seq for seq in range(1, len(talk.log) + 1) if window.path.holds(seq)] == there


def log_is_never_touched(story: Story) -> None:
    """The log holds every row as it was sent, and each has a version of its own."""
    talk, rows = story.talk, story.expected.rows
    assert talk.context.last_seq == len(talk.log) == len(rows)
    for stored, row in zip(talk.log, rows, strict=True):
        assert stored.body == encoded({**row.message, "metadata": {}})
        assert stored.revises == (None if row.place == row.seq else row.place)
    versions = [row.version for row in talk.log]
    assert versions == sorted(versions)
    made = [event for event in talk.events if isinstance(event, Compacted)]
    versions += [event.version for event in made if event.strategy in ("manual", "rewind")]
    assert sorted(versions) == list(range(1, talk.context.version + 1))


def window_is_in_order_of_the_path(story: Story) -> None:
    """Each entry of the log is the newest row of its place; the counts are those of the entries."""
    window = story.talk.window
    newest = {row.place: row.seq for row in story.expected.path()}
    logged = [entry for entry in window if entry.seq is not None]
    places = [entry.place for entry in logged]
    assert places == sorted(set(places))
    assert [entry.seq for entry in logged] == [newest[place] for place in places]
    assert window.tokens == sum(entry.tokens for entry in window)
    assert 0 <= window.pinned <= len(window)
    pinned = window.entries[: window.pinned]
    assert all(entry.seq is None or entry.role in INSTRUCTIONS for entry in pinned)
    assert sum(entry.seq is None for entry in pinned) <= 1
    tasks = [at for at, entry in enumerate(window) if entry.is_task]
    assert tasks == list(range(tasks[0], tasks[-1] + 1)) if tasks else True


def stored_forms_rebuild(story: Story) -> None:
    """What a store holds makes the same window, whenever it was written."""
    talk, kept = story.talk, story.talk.stored
    window = talk.window
    assert image(talk.cold().window) == image(window)
    stored = persisted(window, talk.context.last_seq)
    assert Persisted.decode(stored.encode()) == stored
    assert stored.segments == segments(window)
    talk.stored = stored.encode()
    assert image(talk.cold().window) == image(window)
    talk.stored = kept


def policies_find_nothing_more(story: Story) -> None:
    """A policy that is applied a second time changes nothing."""
    window, config = story.talk.window, story.talk.config
    if isinstance(config.policy, Manual):
        return
    once = compact(window, config)
    if is_due(once, config):
        assert compact(once, config) is once
    left = iter([entry.covers_to for entry in window])
    assert all(entry.covers_to in left for entry in once)


def sampled(budgets: tuple[int, ...], start: int) -> list[int]:
    """Take three of *budgets*, others each time."""
    return [budgets[(start + 4 * step) % len(budgets)] for step in range(3)]


def budgets_hold(story: Story) -> None:
    """No view is above its budget."""
    for budget in sampled(BUDGETS, len(story.expected.rows)):
        view = story.talk.context.view(budget)
        entries = list(view.entries)
        assert view.used_tokens == sum(entry.tokens for entry in entries) <= budget
        assert view.segments == segments(entries)
        places = [entry.place for entry in entries if entry.seq is not None]
        assert places == sorted(set(places))
