"""What calls cost, as it is reported: the sums, and how far counted tokens are from it."""

from __future__ import annotations

from collections.abc import Collection
from itertools import pairwise
from random import Random
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastpaca.context import LastN, Manual, jsontext
from fastpaca.context.events import Appended, Compacted
from fastpaca.context.ops import Append, Purge, Put, PutMessage
from fastpaca.context.usage import PAIRS_MIN, Usage, UsageTotals, parse_usage
from fastpaca.errors import InvalidRequest
from tests.context.conversation import Conversation
from tests.kit.messages import (
    Message,
    assistant,
    call,
    counted,
    encoded,
    message,
    result,
    tool,
    user,
)

ROOMY = 10**6

# --- parsing ---


@pytest.mark.parametrize(
    "report",
    [
        {"input_tokens": 0, "output_tokens": 0},
        {"input_tokens": 9, "cached_input_tokens": 0, "output_tokens": 1, "model": "m"},
        {
            "input_tokens": 9,
            "cached_input_tokens": 5,
            "cache_write_tokens": 4,
            "output_tokens": jsontext.INTEGER_MAX,
            "model": "é" * 512,
        },
    ],
)
def test_a_report_is_stored_as_it_was_sent(report: Message) -> None:
    """
    What is absent stays absent, and zero stays zero.
    """
    usage = parse_usage(encoded(report), "usage")
    assert {key: getattr(usage, key) for key in report} == report
    assert Usage.decode(usage.encode()) == usage
    assert len(jsontext.members(usage.encode(), None, None)) == len(report)


@pytest.mark.parametrize(
    ("report", "field", "said"),
    [
        (5, "usage", "an object"),
        ({"output_tokens": 1}, "usage.input_tokens", "missing"),
        ({"input_tokens": 1}, "usage.output_tokens", "missing"),
        ({"input_tokens": -1, "output_tokens": 1}, "usage.input_tokens", "from 0"),
        ({"input_tokens": 1.5, "output_tokens": 1}, "usage.input_tokens", "fraction"),
        ({"input_tokens": True, "output_tokens": 1}, "usage.input_tokens", "an integer"),
        ({"input_tokens": 1, "output_tokens": "1"}, "usage.output_tokens", "a string"),
        ({"input_tokens": 1, "output_tokens": None}, "usage.output_tokens", "null"),
        ({"input_tokens": 2**53, "output_tokens": 1}, "usage.input_tokens", "9007199254740991"),
        ({"input_tokens": 1, "output_token": 1}, "usage.output_token", "'output_tokens'"),
        ({"input_tokens": 1, "output_tokens": 1, "model": ""}, "usage.model", "1 to 512"),
        ({"input_tokens": 1, "output_tokens": 1, "model": "é" * 513}, "usage.model", "512"),
        ({"input_tokens": 1, "output_tokens": 1, "model": 4}, "usage.model", "a string"),
    ],
)
def test_bad_reports_are_refused(report: Any, field: str, said: str) -> None:
    """
    The error names the field, and what would be right.
    """
    with pytest.raises(InvalidRequest, match=said) as caught:
        parse_usage(encoded(report), "usage")
    assert caught.value.field == field


# --- sums ---


def test_sums_add_up_and_end_at_the_largest_integer() -> None:
    """
    Every kind has its own sum, and none outgrows what a JSON reader keeps exact.
    """
    talk = Conversation(Manual())
    report(talk, user("Hi"), usage=Usage(10, 3, 4, 5))
    report(talk, user("Hi"), usage=Usage(20, 1))
    totals = talk.context.usage
    assert totals.input_tokens == 30
    assert totals.cached_input_tokens == 4
    assert totals.cache_write_tokens == 5
    assert totals.output_tokens == 4
    report(talk, user("Hi"), usage=Usage(jsontext.INTEGER_MAX, jsontext.INTEGER_MAX))
    totals = talk.context.usage
    assert (totals.input_tokens, totals.output_tokens) == (jsontext.INTEGER_MAX,) * 2
    assert UsageTotals.decode(totals.encode()) == totals


def test_no_pair_is_added_that_a_store_could_not_hold() -> None:
    """
    A pair whose growth would take its sum above the largest integer is left out.
    """
    talk = Conversation(Manual())
    for tokens in (0, jsontext.INTEGER_MAX, 0, 2):
        turn(talk, tokens)
    totals = talk.context.usage
    assert (totals.pairs, totals.growth) == (1, jsontext.INTEGER_MAX)


def test_the_report_belongs_to_the_last_message_of_a_batch() -> None:
    """
    Only that message is stored with it.
    """
    talk = Conversation()
    usage = Usage(5, 1)
    events = report(talk, user("Hi"), assistant("Hello"), usage=usage)
    assert [event.usage for event in events if isinstance(event, Appended)] == [None, usage]


def test_an_append_without_a_report_changes_no_totals() -> None:
    """
    Then the same value goes on, so that nothing has to be encoded for it but what was there.
    """
    talk = Conversation()
    report(talk, user("Hi"), usage=Usage(5, 1))
    before = talk.context.usage
    talk.say(user("One"), assistant("Two"))
    assert talk.context.usage is before


def test_a_purge_erases_the_sums() -> None:
    """
    Nothing that was reported outlives the content.
    """
    talk = Conversation()
    report(talk, user("Hi"), usage=Usage(5, 1, model="m"))
    talk.apply(Purge())
    assert talk.context.usage == UsageTotals()
    assert talk.context.usage.encode() == b"[]"


# --- pairs ---


def turn(
    talk: Conversation,
    input_tokens: int,
    question: str = "12",
    answer: str = "123",
    model: str = "",
) -> None:
    """A question and its answer; they cost 6 and 7 tokens."""
    talk.say(user(question))
    report(talk, assistant(answer), usage=Usage(input_tokens, 5, model=model or None))


def report(talk: Conversation, *messages: Message, usage: Usage) -> tuple[Any, ...]:
    """Append *messages* with a report."""
    return talk.apply(Append(tuple(counted(one) for one in messages), None, usage))


def test_what_lies_between_two_reports_is_the_answer_and_what_was_asked_next() -> None:
    """
    The prompt grew by the answer to the first call and by all up to the answer to the second.
    """
    talk = Conversation(Manual())
    turn(talk, 100, question="x" * 50)
    turn(talk, 126)
    totals = talk.context.usage
    assert (totals.pairs, totals.counted, totals.growth) == (1, 7 + 6, 26)


def test_the_ratio_comes_with_twenty_pairs() -> None:
    """
    Before that it is null; from then on it is the sum of the counted over that of the growth.
    """
    talk = Conversation(Manual())
    for number in range(PAIRS_MIN):
        turn(talk, 100 + 26 * number)
        assert talk.context.usage.counted_ratio is None
    turn(talk, 100 + 26 * PAIRS_MIN)
    assert talk.context.usage.counted_ratio == 0.5
    turn(talk, 100 + 26 * PAIRS_MIN + 40)
    assert talk.context.usage.counted_ratio == float(f"{13 * 21 / (26 * 20 + 40):.4g}")


def test_an_answer_may_be_several_messages() -> None:
    """
    The items of one answer are those of one role, appended together or one by one.
    """
    items = [assistant("think"), assistant(call("c"))]
    at_once, one_by_one = Conversation(Manual()), Conversation(Manual())
    for talk in (at_once, one_by_one):
        turn(talk, 100)
        talk.say(user("12"))
    report(at_once, *items, usage=Usage(126, 5))
    one_by_one.say(items[0])
    report(one_by_one, items[1], usage=Usage(126, 5))
    for talk in (at_once, one_by_one):
        report(talk, tool(result("c")), assistant("123"), usage=Usage(200, 5))
    assert at_once.context.usage == one_by_one.context.usage
    totals = at_once.context.usage
    tokens = sum(counted(one).counts.total for one in (*items, tool(result("c"))))
    assert (totals.pairs, totals.counted, totals.growth) == (2, 13 + tokens, 100)


def test_an_answer_ends_where_the_report_before_it_stands() -> None:
    """
    Two answers in a row, without a question, are two answers.
    """
    talk = Conversation(Manual())
    turn(talk, 100)
    report(talk, assistant("123"), usage=Usage(114, 5))
    totals = talk.context.usage
    assert (totals.pairs, totals.counted, totals.growth) == (1, 7, 14)


@pytest.mark.parametrize("tokens", [100, 99, 0])
def test_a_prompt_that_did_not_grow_is_no_pair(tokens: int) -> None:
    """
    The application has sent something else; the next report is compared with this one.
    """
    talk = Conversation(Manual())
    turn(talk, 100)
    turn(talk, tokens)
    assert talk.context.usage.pairs == 0
    turn(talk, tokens + 26)
    assert talk.context.usage.pairs == 1


def test_another_model_is_no_pair() -> None:
    """
    Each model counts otherwise, so only reports of one model are compared.
    """
    talk = Conversation(Manual())
    for number, model in enumerate(("a", "b", "b", "", "", "b")):
        turn(talk, 100 + 26 * number, model=model)
    assert talk.context.usage.pairs == 2


def test_the_callers_own_count_is_not_compared() -> None:
    """
    `token_factor` doesn't act on it, so it is what the node counts that the ratio is about.
    """
    talk = Conversation(Manual())
    talk.say(user("12"))
    report(talk, assistant("123", token_count=5000), usage=Usage(100, 5))
    turn(talk, 126)
    assert talk.context.usage.counted == 13


def test_a_rewrite_in_between_is_no_pair() -> None:
    """
    Neither if a call replaces the window, nor if a policy trims it.
    """
    talk = Conversation(Manual())
    turn(talk, 100)
    talk.compact(user("All"))
    turn(talk, 126)
    assert talk.context.usage.pairs == 0
    turn(talk, 152)
    assert talk.context.usage.pairs == 1
    trimmed = Conversation(LastN(limit=4), 60, 1.0)
    for number in range(8):
        turn(trimmed, 100 + 26 * number)
    trims = trimmed.trims()
    assert trims
    assert 0 < trimmed.context.usage.pairs < 7


def test_a_rewrite_by_the_answer_itself_breaks_the_next_pair_only() -> None:
    """
    The prompt of the answer was the window before it; that of the next call is another.
    """
    talk = Conversation(LastN(), 100, 1.0)
    turn(talk, 100, question="x" * 30)
    talk.say(user("12"))
    report(talk, assistant("x" * 60), usage=Usage(126, 5))
    assert len(talk.trims()) == 1
    assert talk.context.usage.pairs == 1
    turn(talk, 160)
    assert talk.context.usage.pairs == 1


def test_a_rewrite_in_the_middle_of_an_answer_breaks_the_pair() -> None:
    """
    The call has seen the window before it, and the next one another, whatever was reported.
    """
    talk = Conversation(Manual())
    turn(talk, 100)
    talk.say(user("12"), assistant("12"))
    talk.compact(user("All"), 3, 4)
    report(talk, assistant("123"), usage=Usage(126, 5))
    turn(talk, 200)
    assert talk.context.usage.pairs == 0
    turn(talk, 226)
    assert talk.context.usage.pairs == 1


def test_an_answer_whose_beginning_was_dropped_is_no_pair() -> None:
    """
    The message that a rewrite has dropped right before it may be its beginning.
    """
    talk = Conversation(Manual())
    talk.say(user("12"), assistant("12"))
    talk.compact(user("All"))
    report(talk, assistant("123"), usage=Usage(100, 5))
    turn(talk, 126)
    assert talk.context.usage.pairs == 0


def test_a_window_above_its_budget_is_no_pair() -> None:
    """
    A read has cut it, so the model has not seen it as it is. A manual window is read whole.
    """
    talks = [Conversation(policy, ROOMY) for policy in (LastN(), LastN(), Manual())]
    for talk, budget in zip(talks, (20, ROOMY - 1, 20), strict=True):
        turn(talk, 100, question="x" * 20)
        talk.say(user("12"))
        talk.apply(Put(token_budget=budget))
        report(talk, assistant("123"), usage=Usage(126, 5))
    assert [talk.context.usage.pairs for talk in talks] == [0, 1, 1]


def test_too_many_messages_in_between_are_no_pair() -> None:
    """
    Then adding them up would cost more than an append may.
    """
    talk = Conversation(Manual())
    turn(talk, 100)
    talk.say(*[user("1")] * 1000)
    report(talk, assistant("123"), usage=Usage(9000, 5))
    assert talk.context.usage.pairs == 0
    turn(talk, 9026)
    assert talk.context.usage.pairs == 1


def test_another_token_factor_begins_anew() -> None:
    """
    The ratio is that of the present factor, so that factor / ratio is the right one.
    """
    talk = Conversation(Manual())
    for number in range(PAIRS_MIN + 1):
        turn(talk, 100 + 26 * number)
    ratio = talk.context.usage.counted_ratio
    assert ratio == 0.5
    tokens = talk.context.usage.input_tokens
    talk.apply(Put(token_factor=talk.config.token_factor / ratio))
    begun = talk.context.usage
    assert begun.counted_ratio is None
    assert begun.input_tokens == tokens
    for number in range(PAIRS_MIN + 1):
        turn(talk, 1000 + 26 * number)
    assert talk.context.usage.counted_ratio == 1.0
    talk.apply(Put(token_factor=2.0, token_budget=5))
    assert talk.context.usage.counted_ratio == 1.0


def test_a_result_that_is_left_out_is_not_counted() -> None:
    """
    What never reaches the window never reaches the model.
    """
    talk = Conversation(Manual())
    talk.say(user("12"), assistant(call("c")))
    talk.compact(user("All"))
    turn(talk, 100)
    talk.say(tool(result("c")))
    turn(talk, 126)
    assert talk.context.usage.counted == 13
    report(talk, tool(result("c")), usage=Usage(200, 5))
    assert talk.context.usage.pairs == 1


# --- whatever happens ---


class Logged(NamedTuple):
    """A message of a ledger."""

    role: str
    counted: int
    usage: Usage | None


class Ledger:
    """
    Everything that was appended, revised and rewritten, from which all pairs are found by looking.

    Attributes:
        log: The messages as they were appended, by place.
        revisions: The seq of each revision, its place, and what it cost.
        rewrites: Where the log ended when the window was rewritten, or its middle revised.
        drops: Where it ended when a rewrite dropped the newest message and none brought it back, or
            with a revision, which can't be told from that.
        changes: The same of changes of the factor.
        breaks: The same of reports that came with a revision.
    """

    def __init__(self) -> None:
        self.log: dict[int, Logged] = {}
        self.revisions: list[tuple[int, int, int]] = []
        self.rewrites: list[int] = []
        self.drops: set[int] = set()
        self.changes: list[int] = []
        self.breaks: list[int] = []

    def pairs(self) -> tuple[int, int, int]:
        """Return how many pairs there are, what was counted for them, and the growth."""
        reports = {place: row.usage for place, row in self.log.items() if row.usage is not None}
        found = []
        for (first, left), (second, right) in pairwise(reports.items()):
            before, after = self._begin(first, reports), self._begin(second, reports)
            grown = right.input_tokens - left.input_tokens
            cut = max([at for at in self.rewrites if at < second], default=0)
            is_one_rule = first > max(self.changes, default=0)
            is_told = before - 1 not in self.drops
            is_chain = not any(first <= at < second for at in self.breaks)
            is_pair = is_one_rule and is_told and is_chain and cut < before
            if is_pair and left.model == right.model and grown > 0:
                between = [place for place in self.log if before <= place < after]
                found.append((sum(self._counted(place, second) for place in between), grown))
        return len(found), sum(c for c, _ in found), sum(g for _, g in found)

    def _counted(self, place: int, before: int) -> int:
        """Return what the message at *place* cost *before* a seq, when that was reported."""
        revised = [counted for seq, at, counted in self.revisions if at == place and seq < before]
        return revised[-1] if revised else self.log[place].counted

    def _begin(self, place: int, reports: Collection[int]) -> int:
        places = list(self.log)
        at = places.index(place)
        role = self.log[place].role
        while at and self.log[places[at - 1]].role == role and places[at - 1] not in reports:
            at -= 1
        return places[at]


@given(st.randoms(use_true_random=False), st.booleans())
def test_whatever_happens_the_pairs_are_those_of_the_whole_history(
    rng: Random, is_manual: bool
) -> None:
    """
    Appends, batches, revisions, rewrites, restarts and changes of the factor: all pairs are found,
    and only those, by a context that looks at nothing but its window.
    """
    talk = Conversation(Manual() if is_manual else LastN(limit=6), ROOMY if is_manual else 300, 0.9)
    ledger = Ledger()
    tokens = 100
    for _ in range(30):
        draw = rng.random()
        if draw < 0.08:
            before = talk.context
            talk.apply(Put(token_factor=rng.choice((0.5, 1.0, 2.0))))
            if talk.context is not before:
                ledger.changes.append(talk.context.last_seq)
        elif draw < 0.16 and talk.context.last_seq:
            last = talk.context.last_seq
            is_dropped = rng.random() < 0.3
            talk.compact(*([] if is_dropped else [last]))
            ledger.rewrites.append(last)
            is_untold = is_dropped or talk.log[last - 1].revises is not None
            (ledger.drops.add if is_untold else ledger.drops.discard)(last)
        elif draw < 0.24:
            talk.restart()
        elif draw < 0.32 and talk.context.last_seq:
            _revise(talk, ledger, rng)
        else:
            tokens += rng.choice((-20, 0, 7, 30, 90))
            usage = Usage(max(tokens, 0), 1, model=rng.choice(("a", "a", "a", "b")))
            _append(talk, ledger, rng, usage if rng.random() < 0.6 else None)
    totals = talk.context.usage
    assert (totals.pairs, totals.counted, totals.growth) == ledger.pairs()


def _append(talk: Conversation, ledger: Ledger, rng: Random, usage: Usage | None) -> None:
    size = rng.choice((1, 1, 1, 2, 3))
    made = [
        (user if rng.random() < 0.5 else assistant)("x" * rng.choice((1, 5, 20, 60)))
        for _ in range(size)
    ]
    events = talk.apply(Append(tuple(map(counted, made)), None, usage))
    last = talk.context.last_seq
    for event in events:
        if isinstance(event, Compacted):
            ledger.rewrites.append(event.window.through)
        else:
            assert isinstance(event, Appended)
            entry = event.entry
            given = usage if entry.seq == last else None
            ledger.log[entry.place] = Logged(entry.role, entry.counts.counted, given)


def _revise(talk: Conversation, ledger: Ledger, rng: Random) -> None:
    """Revise the newest message of the window, or any in it; now and then with a report."""
    there = [entry.place for entry in talk.window if entry.seq is not None]
    if not there:
        return
    place = rng.choice(rng.choice((there[-1:], there)))
    current = talk.at(place)
    made = counted(message(current.role, "y" * rng.choice((1, 5, 20, 60)) + str(talk.now_us)))
    usage = Usage(50, 1, model="a") if rng.random() < 0.2 else None
    end = talk.window.end
    for event in talk.apply(PutMessage(made, current, None, usage)):
        if isinstance(event, Compacted):
            ledger.rewrites.append(event.window.through)
            ledger.drops.add(event.window.through)
        else:
            assert isinstance(event, Appended)
            counted_now = event.entry.counts.counted
            ledger.revisions.append((talk.context.last_seq, place, counted_now))
    if place in there[:-1]:
        ledger.rewrites.append(end)
    if usage is not None:
        ledger.breaks.append(talk.context.last_seq)
