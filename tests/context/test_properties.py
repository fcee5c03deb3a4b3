"""
What must hold whatever is sent: random stories, and after every op of each a look at one rule.

The stories are in `story.py`, the rules in `telling.py`, and what they are checked against, worked
out from the messages alone, in `promises.py`. The simulation tells longer stories and checks all
rules.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from random import Random

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from fastpaca.context import Config, ContextState, LastN, SkipParts
from fastpaca.context.events import Event
from fastpaca.context.ops import Append
from fastpaca.context.persisted import Persisted, persisted
from fastpaca.context.policies import compact
from fastpaca.errors import InvalidRequest
from tests.context.conversation import Conversation, image
from tests.context.promises import check_sums
from tests.context.story import BUDGETS, Talk, drawn_policy, drawn_put
from tests.context.strategies import messages, seeds, sources, the_same_every_time
from tests.context.telling import (
    Told,
    cold_equals_hot,
    log_is_untouched,
    policies_keep_promises,
    refusals_leave_no_trace,
    tell,
    trims_keep_promises,
    views_fit,
    windows_hold_together,
)
from tests.kit.messages import Message, counted, encoded, system, user

OPS = 15


def after_every_op(rng: Random, check: Callable[[Told], None]) -> None:
    """Tell a story and *check* after each op."""
    for told in tell(rng, OPS):
        check(told)


@given(sources)
@the_same_every_time
def test_a_view_never_exceeds_its_budget(rng: Random) -> None:
    """
    `used_tokens` is the sum of what is given, in entries and in JSON, and never above the budget.
    """
    after_every_op(rng, views_fit)


@given(sources)
@the_same_every_time
def test_the_log_is_never_touched(rng: Random) -> None:
    """
    Whatever the window goes through, the log holds what was sent: all of it, once, in order.
    """
    after_every_op(rng, log_is_untouched)


@given(sources)
@the_same_every_time
def test_a_cold_window_equals_the_hot_one(rng: Random) -> None:
    """
    The window rebuilt from its stored form and the log equals the one in memory, byte for byte.

    Stories restart now and then and go on with what was rebuilt, so that also holds.
    """
    after_every_op(rng, cold_equals_hot)


@given(sources)
@the_same_every_time
def test_calls_and_results_are_never_parted(rng: Random) -> None:
    """
    In every window: no result without its call, no answered call without its result, nothing empty.
    """
    after_every_op(rng, windows_hold_together)


@given(sources)
@the_same_every_time
def test_trims_keep_their_promises(rng: Random) -> None:
    """
    A trim keeps the pinned entries, the newest group, the task of the running turn, and what fits.
    """
    after_every_op(rng, trims_keep_promises)


@given(sources)
@the_same_every_time
def test_a_policy_applied_twice_changes_nothing(rng: Random) -> None:
    """
    Any policy can be applied to any window, keeps its promises, and finds nothing more to do.
    """
    after_every_op(rng, policies_keep_promises)


@given(sources)
@the_same_every_time
def test_refused_means_untouched(rng: Random) -> None:
    """
    An op that is refused, or decided and never committed, leaves the context as it was.
    """
    after_every_op(rng, refusals_leave_no_trace)


@given(seeds)
@the_same_every_time
def test_a_restart_changes_nothing_that_follows(rng: Random) -> None:
    """
    A context that was restarted and one that was not have the same future.
    """
    put, talk = drawn_put(rng), Talk(rng)
    hot = Conversation(put.policy, put.token_budget, put.trigger_ratio)
    cold = Conversation(put.policy, put.token_budget, put.trigger_ratio)
    for _ in range(40):
        message = talk.next()
        hot.say(message)
        cold.say(message)
        if rng.random() < 0.5:
            cold.restart()
        assert image(hot.window) == image(cold.window)
    assert hot.events == cold.events


@given(seeds)
@the_same_every_time
def test_a_batch_equals_single_appends(rng: Random) -> None:
    """
    However messages are batched, the state, the events, and every trim among them are the same.
    """
    put, talk = drawn_put(rng), Talk(rng)
    first = Conversation(put.policy, put.token_budget, put.trigger_ratio).context
    made = [counted(talk.next()) for _ in range(40)]
    singles = batches = first
    single_events: list[Event] = []
    batch_events: list[Event] = []
    for one in made:
        singles, events = singles.apply(Append((one,)), 1)
        single_events += events
    while made:
        size = rng.randint(1, 12)
        batch, made = made[:size], made[size:]
        batches, events = batches.apply(Append(tuple(batch)), 1)
        batch_events += events
    assert single_events == batch_events
    assert same(singles, batches)


def same(left: ContextState, right: ContextState) -> bool:
    """Tell whether two contexts are the same in all but who made them."""
    empty = Conversation().window
    return image(left.window) == image(right.window) and msgspec.structs.replace(
        left, window=empty
    ) == msgspec.structs.replace(right, window=empty)


@given(seeds)
@the_same_every_time
def test_versions_and_seqs_count(rng: Random) -> None:
    """
    Each message and each compact call has a version of its own; each message the next seq.
    """
    for told in tell(rng, 30):
        appended = [row.version for row in told.conversation.log]
        replaced = told.replacements()
        assert told.context.last_seq == len(told.source.sent) == len(appended)
        assert told.context.version == len(appended) + len(replaced)
        assert sorted(appended + replaced) == list(range(1, told.context.version + 1))
        assert appended == sorted(appended)


@given(seeds)
@the_same_every_time
def test_the_stored_form_survives_encoding(rng: Random) -> None:
    """
    What a store keeps of a window reads back as it was written.
    """
    for told in tell(rng, 30):
        stored = persisted(told.conversation.window, told.context.last_seq)
        assert Persisted.decode(stored.encode()) == stored


@given(seeds)
@the_same_every_time
def test_a_window_stored_at_any_moment_rebuilds(rng: Random) -> None:
    """
    A stored form can be written after any op, not only after a compaction.
    """
    for told in tell(rng, 30):
        told.conversation.stored = persisted(
            told.conversation.window, told.context.last_seq
        ).encode()
        cold_equals_hot(told)


@given(seeds)
@the_same_every_time
def test_a_window_knows_how_far_it_was_rewritten(rng: Random) -> None:
    """
    A window that grew and one that was rebuilt know the same last seq of their last rewrite; a
    revision of a message before others counts as one, up to the end of the path.
    """
    for told in tell(rng, 30):
        talk = told.conversation
        stored = Persisted() if talk.stored is None else Persisted.decode(talk.stored)
        through = talk.window.through
        assert through == talk.cold().window.through
        later = [row for row in talk.log[stored.through :] if row.revises is not None]
        assert stored.through <= through <= max(stored.through, talk.window.end)
        assert later or through == stored.through


@given(seeds)
@the_same_every_time
def test_policies_may_follow_each_other(rng: Random) -> None:
    """
    Policies of every kind, one after the other on the same window, still part nothing.
    """
    for told in tell(rng, 12):
        window = told.conversation.window
        for _ in range(3):
            window = compact(window, Config(rng.choice(BUDGETS), 0.7, drawn_policy(rng)))
        told.conversation.context = msgspec.structs.replace(told.context, window=window)
        windows_hold_together(told)
        told.conversation.stored = persisted(window, told.context.last_seq).encode()
        cold_equals_hot(told)


@given(
    st.lists(messages, max_size=8),
    st.sampled_from(BUDGETS),
    st.sampled_from([LastN(2), SkipParts(), SkipParts(("tool_", "server"), 2)]),
)
@the_same_every_time
def test_messages_of_any_shape_go_through_every_policy(
    sent: list[Message], budget: int, policy: LastN | SkipParts
) -> None:
    """
    Nothing that is taken as a message makes a policy, a view or a restart fail.
    """
    talk = Conversation(policy, budget)
    for message in sent:
        try:
            content = encoded(message)
        except (UnicodeEncodeError, InvalidRequest):
            continue  # not JSON: lone surrogates, infinities
        talk.say(json.loads(content))
        assert image(talk.cold().window) == image(talk.window)
        for asked in (None, 1, 100, 600):
            check_sums(talk.context.view(asked), budget if asked is None else asked)
    if talk.log:
        talk.compact(user("so far"), talk.context.last_seq)
        assert image(talk.cold().window) == image(talk.window)


@given(st.integers(1, 400), st.sampled_from([LastN(), LastN(3), SkipParts(), LastN(200, 1.0)]))
@the_same_every_time
def test_pinned_instructions_outlive_everything(budget: int, policy: LastN | SkipParts) -> None:
    """
    However long a conversation goes on, its instructions stand first in the window.
    """
    talk = Conversation(policy, token_budget=budget)
    talk.say(system("be kind"), system("be brief"))
    for number in range(60):
        talk.say(user(f"question {number}"), system(f"it is {number} o'clock"))
        assert talk.seqs[:2] == [1, 2]
        assert talk.window.pinned == 2
