"""Where a window is cut for a summary, and how the summary is committed while others append."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st

from fastpaca import CannotCompact, FastpacaError, InvalidRequest, Message, Retries, Timeouts
from fastpaca.client.calls import CONFLICTS_MAX, Calls
from fastpaca.client.compacting import KEEP_LAST, cut_points, plan, summary_of
from fastpaca.client.responses import ClientResponse
from fastpaca.client.values import CompactResult, View
from tests.client import cuts
from tests.client.driven import Hand, answer
from tests.client.rules import NO_USAGE, rules
from tests.context import strategies
from tests.kit.messages import assistant, call, result, system, tool, user
from tests.rules.judge import pairing_of
from tests.rules.reading import read

# --- where it is cut ---

SYSTEM = system("system")
USER = user("user")
REPLY = assistant("assistant")
SUMMARY = user("user", seq=None)


def window(*messages: dict[str, Any], version: int = 0, **fields: Any) -> View:
    return cuts.view_of(messages, version, **fields)


def spoken(line: str, tokens: list[int]) -> list[dict[str, Any]]:
    """Make messages of a line: s, u and a are roles, c1 and r1 a call and its result."""
    made = {"s": SYSTEM, "u": USER, "a": REPLY, "z": SUMMARY}
    for name in "123":
        made |= {f"c{name}": assistant(call(name)), f"r{name}": tool(result(name))}
    costs = zip(line.split(), tokens, strict=True)
    return [{**made[word], "token_count": cost} for word, cost in costs]


@pytest.mark.parametrize("case", rules("compaction")["cases"], ids=lambda case: case["rule"])
def test_what_is_summarised_by_the_rules(case: Any) -> None:
    """
    Which part of a window goes, for so many messages to keep and such a trigger, or why none can.
    """
    seen = window(*spoken(case["line"], case["tokens"]))
    if case["cut"] is not None:
        found = plan(seen, case["keep_last"], case["trigger"])
        assert (found and [len(found.pinned), found.cut]) == (
            None if case["cut"] == "nothing" else case["cut"]
        )
        return
    with pytest.raises(CannotCompact) as raised:
        plan(seen, case["keep_last"], case["trigger"])
    assert raised.value.trigger_tokens == case["trigger"]
    assert raised.value.kept_tokens == case["kept_tokens"]


def test_conversations_of_all_shapes_are_cut_where_the_rules_let_them() -> None:
    """
    The file holds the places that the rules name; the core of a node and a client find the same.
    """
    told = {name: cuts.case(name, said) for name, said in cuts.told().items()}
    cases = cuts.cases()
    assert [case["name"] for case in cases] == list(told)
    for case in cases:
        assert case == told[case["name"]], "run python -m tests.client.cuts"
        expected = (case["cut_points"], case["task_messages"])
        assert cuts.points_of(case["messages"]) == expected, case["name"]
        assert cut_points(window(*case["messages"]).messages) == expected, case["name"]


def test_summaries_of_all_shapes_part_nothing() -> None:
    """
    What is summarised ends at one of these places, and what stays leaves room for the summary.
    """
    cases = cuts.cases()
    assert sum(case["cut"] is not None for case in cases) > len(cases) / 2
    for case in cases:
        size, found = len(case["messages"]), case["cut"]
        assert found == cuts.cut_of(case["messages"], case["keep_last"], case["trigger"])
        if found is not None:
            start, end = found
            assert start < end
            assert {start, end} <= set(case["cut_points"])
            assert start + size - end < case["trigger"]


def _is_json(messages: list[dict[str, Any]]) -> bool:
    try:
        json.dumps(messages, allow_nan=False, ensure_ascii=False).encode()
    except ValueError:
        return False
    return True


@settings(max_examples=40)
@given(
    st.lists(strategies.messages, min_size=1, max_size=12).filter(_is_json),
    st.integers(0, 12),
    st.integers(1, 12),
)
def test_no_cut_parts_a_call_from_its_result(
    messages: list[dict[str, Any]], keep_last: int, trigger: int
) -> None:
    """
    In conversations of any shape pairs stay whole, and what stays leaves room for a summary.
    """
    messages = [{**message, "token_count": 1} for message in messages]
    seen = window(*messages)
    assume(len(messages) > trigger)
    try:
        found = plan(seen, keep_last, trigger)
    except CannotCompact as error:
        kept = error.kept_tokens
        event("cannot compact")
        assert kept >= trigger  # of many tries, some end so
        return
    assert found
    assert found.old
    kept = len(messages) - len(found.old)
    assert kept < trigger or not seen.messages[found.cut :]
    for made in pairing_of([read(message) for message in messages]).calls:
        for spot in made.answers:
            assert (made.spot.number < found.cut) == (spot.number < found.cut)


def test_a_summary_is_a_text_a_message_or_several() -> None:
    """
    A text becomes a message of the user's role; anything else is refused.
    """
    assert summary_of("S") == [user("S")]
    assert summary_of(USER) == [USER]
    assert summary_of([USER, REPLY]) == [USER, REPLY]
    with pytest.raises(InvalidRequest):
        summary_of(None)  # type: ignore[arg-type]  # what a function without a return gives


# --- how it is committed ---

CALLS = Calls(Timeouts(), Retries())


def answered(view: View) -> ClientResponse:
    return answer(200, msgspec.json.encode(view))


def conflict(expected: int, found: int) -> ClientResponse:
    fields = {"error": "conflict", "message": "m", "expected": expected, "found": found}
    return answer(409, json.dumps(fields).encode())


COMPACTED = answer(200, b'{"version":9}')


def configured(budget: int = 10) -> ClientResponse:
    """What a node answers of a context whose trigger is half of *budget*."""
    policy = {"strategy": "manual", "config": {}}
    moment = "2026-01-05T09:30:00.000000Z"
    info = {
        "id": "c",
        "status": "active",
        "token_budget": budget,
        "trigger_ratio": 0.5,
        "token_factor": 1.0,
        "policy": policy,
        "metadata": {},
        "version": 5,
        "last_seq": 5,
        "usage": NO_USAGE,
        "created_at": moment,
        "updated_at": moment,
    }
    return answer(200, json.dumps(info).encode())


class Summariser:
    """Makes summaries, and remembers of what."""

    def __init__(self) -> None:
        self.asked: list[list[int | None]] = []

    def __call__(self, old: list[Message]) -> str:
        self.asked.append([message.seq for message in old])
        return f"summary {len(self.asked)}"


def run(hand: Hand, summarise: Summariser, keep_last: int = 2) -> CompactResult | None:
    return hand.run(CALLS.compact_if_needed("c", summarise, keep_last))


def committed(hand: Hand) -> list[tuple[int, list[Any]]]:
    """What was sent to be committed: versions, and seqs or texts."""
    bodies = [json.loads(request.body) for request in hand.sent if request.body is not None]
    return [
        (
            body["if_version"],
            [one.get("seq") or one["parts"][0]["text"] for one in body["replacement"]],
        )
        for body in bodies
    ]


TALK = (SYSTEM, USER, REPLY, USER, REPLY)


def test_nothing_is_done_below_the_trigger() -> None:
    """
    A window that needs no compaction costs one read.
    """
    hand, summarise = Hand([answered(window(*TALK, needs_compaction=False))]), Summariser()
    assert run(hand, summarise) is None
    assert len(hand.sent) == 1
    assert summarise.asked == []


def test_what_no_summary_can_help_is_an_error() -> None:
    """
    It says how many tokens stay and how many may; nothing is summarised and nothing written.
    """
    hand, summarise = Hand([answered(window(*TALK)), configured(4)]), Summariser()
    with pytest.raises(CannotCompact) as raised:
        run(hand, summarise)
    assert raised.value.code == "cannot_compact"
    assert str(raised.value) == (
        "No summary can bring the window down to its trigger of 2 tokens: the instructions and the "
        "newest messages that belong together take 2. "
        "Raise the context's budget, or append smaller messages."
    )
    assert len(hand.sent) == 2
    assert summarise.asked == []


def test_old_messages_become_a_summary() -> None:
    """
    The pinned stay, then the summary, then the newest turn as it was read, at the version read.
    """
    hand, summarise = Hand([answered(window(*TALK)), configured(), COMPACTED]), Summariser()
    assert run(hand, summarise) == CompactResult(version=9)
    assert summarise.asked == [[2, 3]]
    assert committed(hand) == [(5, [1, "summary 1", 4, 5])]


def test_what_is_appended_meanwhile_stays() -> None:
    """
    The conversation went on while the summary was made: it is committed with all that came.
    """
    more = window(*TALK, USER, REPLY)
    hand = Hand([answered(window(*TALK)), configured(), conflict(5, 7), answered(more), COMPACTED])
    summarise = Summariser()
    assert run(hand, summarise) == CompactResult(version=9)
    assert summarise.asked == [[2, 3]]
    assert committed(hand)[-1] == (7, [1, "summary 1", 4, 5, 6, 7])


def test_another_key_is_sent_for_another_replacement() -> None:
    """
    A commit after a conflict is another request, not a repetition of the first.
    """
    more = window(*TALK, USER, REPLY)
    hand = Hand([answered(window(*TALK)), configured(), conflict(5, 7), answered(more), COMPACTED])
    hand.draws_another = True
    run(hand, Summariser())
    first, second = (request.key for request in hand.sent if request.key)
    assert first != second


def test_a_window_that_somebody_else_rewrote_is_summarised_anew() -> None:
    """
    A summary of messages that are no longer there is thrown away.
    """
    other = window(SYSTEM, SUMMARY, USER, REPLY, USER, REPLY, version=8)
    first, second = answered(window(*TALK)), answered(other)
    hand = Hand([first, configured(), conflict(5, 8), second, configured(), COMPACTED])
    summarise = Summariser()
    run(hand, summarise)
    assert summarise.asked == [[2, 3], [None, 3, 4]]
    assert committed(hand)[-1] == (8, [1, "summary 2", 5, 6])


def test_a_result_that_comes_late_stays_with_its_call() -> None:
    """
    A call nobody answered was summarised; its result came meanwhile, so the cut is another.
    """
    asked = (USER, assistant(call("a")), USER, REPLY, USER, REPLY)
    first, second = answered(window(*asked)), answered(window(*asked, tool(result("a"))))
    hand = Hand([first, configured(40), conflict(6, 7), second, configured(40), COMPACTED])
    summarise = Summariser()
    run(hand, summarise)
    assert summarise.asked == [[1, 2, 3, 4], [1]]
    assert committed(hand)[-1] == (7, ["summary 2", 2, 3, 4, 5, 6, 7])


def test_a_window_that_somebody_else_compacted_is_left_alone() -> None:
    """
    If it needs no compaction any more, nothing is left to do.
    """
    other = window(SYSTEM, SUMMARY, USER, version=8, needs_compaction=False)
    hand = Hand([answered(window(*TALK)), configured(), conflict(5, 8), answered(other)])
    assert run(hand, Summariser()) is None


@pytest.mark.parametrize("case", rules("conflicts")["cases"], ids=lambda case: case["rule"])
def test_conflicts_by_the_rules(case: Any) -> None:
    """
    Which requests are sent while others write, how often is summarised, and how the call ends.
    """
    told = {
        "window": answered(window(*TALK)),
        "small window": answered(window(*TALK, needs_compaction=False)),
        "shortened window": answered(window(SYSTEM, USER, REPLY, fit="dropped", version=5)),
        "whole window": answered(window(*TALK)),
        "configuration": configured(),
        "conflict": conflict(5, 6),
        "tombstoned": answer(409, b'{"error":"tombstoned","message":"m"}'),
        "compacted": COMPACTED,
    }
    hand, summarise = Hand([told[name] for name in case["answers"]]), Summariser()
    try:
        outcome = "nothing" if run(hand, summarise) is None else "compacted"
    except FastpacaError as error:
        outcome = error.code
    assert outcome == case["outcome"]
    assert len(hand.sent) == len(case["answers"])
    assert len(summarise.asked) == case["summaries"]


def test_the_limit_of_conflicts_is_that_of_all_clients() -> None:
    """
    So are the messages that are kept.
    """
    assert rules("conflicts")["conflicts_max"] == CONFLICTS_MAX
    assert rules("options")["keep_last"] == KEEP_LAST


def test_a_fitted_window_is_read_whole() -> None:
    """
    What a read leaves out to fit the budget would be in no summary: the window is read again.
    """
    fitted = window(SYSTEM, USER, REPLY, fit="dropped", version=5)
    whole = window(*TALK, needs_compaction=False)
    hand, summarise = (
        Hand([answered(fitted), answered(whole), configured(), COMPACTED]),
        Summariser(),
    )
    assert run(hand, summarise) == CompactResult(version=9)
    assert hand.sent[1].target == "/v1/contexts/c/context?budget_tokens=3&if_version=5"
    assert summarise.asked == [[2, 3]]
