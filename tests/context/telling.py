"""A random story told to a context, op by op, with the source beside it to check against."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random

import pytest

from fastpaca.context import Config, Manual
from fastpaca.context.context import ContextState
from fastpaca.context.events import Compacted
from fastpaca.context.message import Entry
from fastpaca.context.ops import Append, Compact, Counted, PatchMetadata, PutMessage
from fastpaca.context.persisted import persisted
from fastpaca.context.policies import compact, is_due
from fastpaca.context.usage import Usage
from fastpaca.context.window import Window, segments
from fastpaca.errors import FastpacaError
from tests.context.conversation import Conversation, image
from tests.context.promises import (
    Source,
    check_pairs,
    check_sums,
    check_trim,
    check_values,
    check_view,
)
from tests.context.story import BUDGETS, Talk, drawn_policy, drawn_put
from tests.kit.messages import Message, counted, encoded, message, user


class Told:
    """
    A conversation in the middle of a story.

    Attributes:
        rng: Where everything is drawn from.
        conversation: The context and its store.
        source: What was sent.
        before: The window before the last append, that message admitted; None after other ops.
        windows: The window that each version has led to.
    """

    def __init__(self, rng: Random) -> None:
        self.rng = rng
        first = drawn_put(rng)
        self.conversation = Conversation(first.policy, first.token_budget, first.trigger_ratio)
        self.source = Source()
        self.before: list[Entry] | None = None
        self.windows = {0: self.conversation.window}
        self._talk = Talk(rng)

    @property
    def context(self) -> ContextState:
        """The hot context."""
        return self.conversation.context

    @property
    def window(self) -> list[Entry]:
        """The entries of the window."""
        return self.conversation.window.entries

    def replacements(self) -> list[int]:
        """List the versions that compact calls have made."""
        events = self.conversation.events
        made = [event for event in events if isinstance(event, Compacted)]
        return [event.version for event in made if event.strategy == "manual"]

    def go_on(self) -> None:
        """Let something happen."""
        draw = self.rng.random()
        self.before = None
        self.source.see(self.window)
        if draw < 0.66 or not self.source.sent:
            self._append()
        elif draw < 0.78:
            self._revise()
        elif draw < 0.84:
            self._append_many()
        elif draw < 0.9:
            self._compact()
        elif draw < 0.95:
            self.conversation.apply(drawn_put(self.rng))
        elif draw < 0.97:
            self.conversation.apply(PatchMetadata({"mood": b'"good"'}))
        else:
            self.conversation.restart()

    def _append(self) -> None:
        message = self._talk.next()
        made = counted(message)
        window = self.conversation.window
        self.source.send(message, self.context.config)
        self.conversation.apply(Append((made,), None, self._usage(made)))
        logged = self.conversation.logged(self.context.last_seq)
        self.before = window.admit(logged).entries
        self.windows[self.context.version] = self.conversation.window

    def _revise(self) -> None:
        """Revise the newest message, one in the window, or any."""
        rng, talk = self.rng, self.conversation
        there = [entry.place for entry in talk.window if entry.seq is not None]
        places = talk.places
        place = rng.choice(rng.choice((places[-1:], there, places)) or places)
        current = talk.at(place)
        assert current.seq is not None
        message = self._talk.edited(self.source.sent[current.seq - 1])
        window, made = talk.window, counted(message)
        if not talk.apply(PutMessage(made, current, None, self._usage(made))):
            return
        self.source.edit(current.seq, message, self.context.config)
        self.before = window.revised(talk.logged(self.context.last_seq)).entries
        self.windows[self.context.version] = talk.window

    def _usage(self, made: Counted) -> Usage | None:
        """Report of every answer, and draw nothing for it, so that stories stay what they were."""
        if made.draft.role != "assistant":
            return None
        return Usage(100 + 20 * self.context.last_seq, 9, model="m")

    def _append_many(self) -> None:
        for _ in range(self.rng.randint(2, 5)):
            # One by one, so that the source sees each window; batches have a test of their own.
            self.source.see(self.window)
            self._append()

    def _compact(self) -> None:
        replacement = self._replacement()
        event = self.conversation.compact(*replacement)
        self.source.swap(event.version, replacement)
        self.windows[self.context.version] = self.conversation.window

    def _replacement(self) -> list[int | Message]:
        rng = self.rng
        newest_rows = [self.conversation.at(place).seq or 0 for place in self.conversation.places]
        last = len(newest_rows)
        kept: list[int | Message] = []
        draw = rng.random()
        if draw < 0.2:
            pass
        elif draw < 0.6 and last:  # the usual: instructions, a summary, the newest messages
            kept += [seq for seq in newest_rows[:1] if rng.random() < 0.5]
            kept.append(self._talk.summary())
            newest = rng.randint(0, min(last, 6))
            kept += newest_rows[max(last - newest, 1) :]
        else:
            chosen = rng.sample(range(last), rng.randint(0, min(last, 6)))
            kept += [newest_rows[at] for at in sorted(chosen)]
            for _ in range(rng.randint(0, 3)):
                summary = self._talk.summary() if rng.random() < 0.7 else self._again()
                kept.insert(rng.randint(0, len(kept)), summary)
        return kept

    def _again(self) -> Message:
        """A message of the log as somebody else tells it."""
        if not self.source.sent:
            return self._talk.summary()
        return {**self.rng.choice(self.source.sent), "retold": True}


def tell(rng: Random, ops: int) -> Iterator[Told]:
    """Tell a story of *ops* ops, and stop after each to look."""
    told = Told(rng)
    yield told
    for _ in range(ops):
        told.go_on()
        yield told


def views_fit(told: Told) -> None:
    """Every view keeps its budget, adds up, and holds what it must."""
    config, window = told.context.config, told.window
    own = told.context.view()
    check_sums(own, None if isinstance(config.policy, Manual) else config.token_budget)
    check_view(told.source, window, config, own)
    for budget in told.rng.sample(BUDGETS, 3):
        view = told.context.view(budget)
        check_sums(view, budget)
        check_view(told.source, window, config, view)


def log_is_untouched(told: Told) -> None:
    """The log holds exactly what was sent, in order, value for value."""
    rows = told.conversation.log
    assert len(rows) == len(told.source.sent) == told.context.last_seq
    for row, sent in zip(rows, told.source.sent, strict=True):
        expected = {key: value for key, value in sent.items() if key != "token_count"}
        expected.setdefault("metadata", {})
        assert row.body == encoded(expected)


def cold_equals_hot(told: Told) -> None:
    """The window that is made again of what a store holds equals the one in memory."""
    assert image(told.conversation.cold().window) == image(told.conversation.window)


def stored_segments_are_those_of_the_window(told: Told) -> None:
    """The stored form of the window tells its segments, and no message has to be looked at."""
    window = told.conversation.window
    assert persisted(window, told.context.last_seq).segments == segments(window)


def windows_hold_together(told: Told) -> None:
    """Nothing in the window is parted, emptied, or other than it was sent."""
    check_values(told.source, told.window, may_be_cut=False)
    check_pairs(told.source, told.window)


def trims_keep_promises(told: Told) -> None:
    """What the last append has trimmed had no promise to stay; what is left above it had one."""
    config, window = told.context.config, told.conversation.window
    if told.before is None or isinstance(config.policy, Manual):
        return
    check_trim(told.source, config, told.before, told.window)
    seen_afresh = Window.of(window, window.cut_calls, window.pinned, window.opened_at)
    if is_due(seen_afresh, config):
        assert compact(seen_afresh, config) is seen_afresh


def appends_leave_what_the_rules_keep(told: Told) -> None:
    """An append leaves the messages and parts that the rules name, and no others."""
    if told.source.predicted is not None:
        assert told.source.kept(told.window) == told.source.predicted


def policies_keep_promises(told: Told) -> None:
    """Any policy may be applied to any window, and a second time changes nothing."""
    policy = drawn_policy(told.rng)
    ratio = told.rng.choice((0.3, 0.7, 1.0))
    config = Config(told.rng.choice(BUDGETS), ratio, policy)
    once = compact(told.conversation.window, config)
    if is_due(once, config):
        assert compact(once, config) is once
    check_values(told.source, once.entries, may_be_cut=False)
    check_pairs(told.source, once.entries)
    if not isinstance(policy, Manual):
        check_trim(told.source, config, told.window, once.entries)


def refusals_leave_no_trace(told: Told) -> None:
    """An op that is refused, and one that was decided but never committed, changes nothing."""
    context, before = told.context, image(told.conversation.window)
    stale = context.version + 1
    with pytest.raises(FastpacaError):
        context.apply(
            Append((counted(told.source.sent[-1]),) if told.source.sent else (), stale), 1
        )
    with pytest.raises(FastpacaError):
        context.apply(Compact((), stale), 1)
    lost = counted(user("lost"))
    if told.source.sent:
        current = told.conversation.at(told.rng.choice(told.conversation.places))
        with pytest.raises(FastpacaError):
            context.apply(PutMessage(lost, current, stale), 1)
        with pytest.raises(FastpacaError):
            context.apply(PutMessage(counted(message("nobody", "lost")), current), 1)
        same_role = counted(message(current.role, "lost"))
        context.apply(PutMessage(same_role, current), told.conversation.now_us)
    context.apply(Append((lost, lost)), told.conversation.now_us)
    context.apply(Compact((lost,)), told.conversation.now_us)
    assert image(context.window) == before
    assert told.context is context


CHECKS: tuple[Callable[[Told], None], ...] = (
    log_is_untouched,
    cold_equals_hot,
    stored_segments_are_those_of_the_window,
    windows_hold_together,
    views_fit,
    trims_keep_promises,
    appends_leave_what_the_rules_keep,
    policies_keep_promises,
    refusals_leave_no_trace,
)
"""All that must hold after every op."""
