"""Where a window is cut for a summary, and how the summary is committed while others append."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastpaca import FastpacaError, InvalidRequest, Message, Retries, Timeouts
from fastpaca.client.calls import CONFLICTS_MAX, Calls
from fastpaca.client.compacting import KEEP_LAST, marks, plan, summary_of
from fastpaca.client.protocol import Answer
from fastpaca.client.values import Compacted, Segment, View
from tests.client.driven import Hand, answer
from tests.client.rules import rules
from tests.context import strategies

# --- where it is cut ---


def say(role: str, *parts: dict[str, Any]) -> dict[str, Any]:
    return {"role": role, "parts": list(parts) or [{"type": "text", "text": role}]}


SYSTEM = say("system")
USER = say("user")
REPLY = say("assistant")


def call(name: str) -> dict[str, Any]:
    return say("assistant", {"type": "tool_call", "tool_call_id": name})


def result(name: str) -> dict[str, Any]:
    return say("tool", {"type": "tool_result", "tool_call_id": name})


SUMMARY = {**say("user"), "seq": None}


def window(*messages: dict[str, Any], version: int = 0, **fields: Any) -> View:
    found = [
        Message({"seq": at, "version": at, "token_count": 1, "metadata": {}, **message})
        for at, message in enumerate(messages, 1)
    ]
    return View(
        version=version or len(found),
        messages=found,
        used_tokens=len(found),
        needs_compaction=fields.pop("needs_compaction", True),
        segments=[Segment(type="live", from_seq=1, to_seq=len(found))],
        token_budget=10,
        window_tokens=len(found),
        fit=fields.pop("fit", "whole"),
    )


CUTS: list[tuple[list[dict[str, Any]], int, tuple[int, int] | None]] = [
    ([SYSTEM, USER, REPLY, USER, REPLY], 2, (1, 3)),
    ([SYSTEM, USER, REPLY, USER, REPLY], 1, (1, 3)),  # the newest turn is not parted
    ([SYSTEM, USER, REPLY, USER, REPLY], 3, (1, 2)),  # no turn is as old: between messages
    ([SYSTEM, USER, REPLY, USER, REPLY], 4, None),
    ([SYSTEM, USER, REPLY, USER, REPLY], 99, None),
    ([SYSTEM, USER, REPLY, USER, REPLY], 0, (1, 5)),
    ([USER, REPLY], 1, (0, 1)),
    ([SYSTEM, SYSTEM], 0, None),
    ([], 0, None),
    # one long turn of an agent: between its steps, never inside of one
    ([USER, call("a"), result("a"), call("b"), result("b"), REPLY], 2, (0, 3)),
    ([USER, call("a"), call("b"), result("a"), result("b"), REPLY], 2, (0, 1)),
    # a call that waits for its result stays
    ([USER, REPLY, call("a")], 0, (0, 2)),
    ([USER, REPLY, call("a"), call("b"), result("a")], 1, (0, 2)),
    # a call is answered in a later turn
    ([USER, call("a"), USER, result("a"), REPLY], 2, (0, 1)),
    # a summary of a summary would gain nothing
    ([SYSTEM, SUMMARY, USER, REPLY, USER, REPLY], 4, None),
    ([SYSTEM, SUMMARY, USER, REPLY, USER, REPLY], 2, (1, 4)),
]


@pytest.mark.parametrize(("messages", "keep_last", "expected"), CUTS)
def test_the_cut_is_at_a_turn_and_never_in_a_group(
    messages: list[dict[str, Any]], keep_last: int, expected: tuple[int, int] | None
) -> None:
    """
    What is pinned and how far the old part goes, for each number of messages to keep.
    """
    found = plan(window(*messages), keep_last)
    assert (found and (len(found.pinned), found.cut)) == expected


def pairs(messages: list[dict[str, Any]]) -> list[tuple[int, int]]:
    """Find the nearest unanswered call of each result, by id, as the client reads them."""
    waiting: dict[str, list[int]] = {}
    found = []
    for index, message in enumerate(messages):
        for is_call, name in marks(message):
            if is_call:
                waiting.setdefault(name, []).append(index)
            elif waiting.get(name):
                found.append((waiting[name].pop(), index))
    return found


@given(st.lists(strategies.messages, max_size=12), st.integers(0, 12))
def test_no_cut_parts_a_call_from_its_result(
    messages: list[dict[str, Any]], keep_last: int
) -> None:
    """
    In conversations of any shape, at least as many messages stay as asked for, and pairs whole.
    """
    found = plan(window(*messages), keep_last)
    if found is None:
        return
    assert len(messages) - found.cut >= keep_last
    assert found.old
    for first, second in pairs(messages):
        assert (first < found.cut) == (second < found.cut)


def test_a_summary_is_a_text_a_message_or_several() -> None:
    """
    A text becomes a message of the user's role; anything else is refused.
    """
    assert summary_of("S") == [{"role": "user", "parts": [{"type": "text", "text": "S"}]}]
    assert summary_of(USER) == [USER]
    assert summary_of([USER, REPLY]) == [USER, REPLY]
    with pytest.raises(InvalidRequest):
        summary_of(None)  # type: ignore[arg-type]  # what a function without a return gives


# --- how it is committed ---

CALLS = Calls(Timeouts(), Retries())


def answered(view: View) -> Answer:
    return answer(200, msgspec.json.encode(view))


def conflict(expected: int, found: int) -> Answer:
    fields = {"error": "conflict", "message": "m", "expected": expected, "found": found}
    return answer(409, json.dumps(fields).encode())


COMPACTED = answer(200, b'{"version":9}')


class Summariser:
    """Makes summaries, and remembers of what."""

    def __init__(self) -> None:
        self.asked: list[list[int | None]] = []

    def __call__(self, old: list[Message]) -> str:
        self.asked.append([message.seq for message in old])
        return f"summary {len(self.asked)}"


def run(hand: Hand, summarise: Summariser, keep_last: int = 2) -> Compacted | None:
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
    A window that needs no compaction costs one read, and so does one without anything old.
    """
    for seen in (window(*TALK, needs_compaction=False), window(USER, REPLY)):
        hand, summarise = Hand([answered(seen)]), Summariser()
        assert run(hand, summarise) is None
        assert len(hand.sent) == 1
        assert summarise.asked == []


def test_old_messages_become_a_summary() -> None:
    """
    The pinned stay, then the summary, then the newest turn as it was read, at the version read.
    """
    hand, summarise = Hand([answered(window(*TALK)), COMPACTED]), Summariser()
    assert run(hand, summarise) == Compacted(version=9)
    assert summarise.asked == [[2, 3]]
    assert committed(hand) == [(5, [1, "summary 1", 4, 5])]


def test_what_is_appended_meanwhile_stays() -> None:
    """
    The conversation went on while the summary was made: it is committed with all that came.
    """
    more = window(*TALK, USER, REPLY)
    hand = Hand([answered(window(*TALK)), conflict(5, 7), answered(more), COMPACTED])
    summarise = Summariser()
    assert run(hand, summarise) == Compacted(version=9)
    assert summarise.asked == [[2, 3]]
    assert committed(hand)[-1] == (7, [1, "summary 1", 4, 5, 6, 7])


def test_another_key_is_sent_for_another_replacement() -> None:
    """
    A commit after a conflict is another request, not a repetition of the first.
    """
    more = window(*TALK, USER, REPLY)
    hand = Hand([answered(window(*TALK)), conflict(5, 7), answered(more), COMPACTED])
    hand.draws_another = True
    run(hand, Summariser())
    first, second = (request.key for request in hand.sent if request.key)
    assert first != second


def test_a_window_that_somebody_else_rewrote_is_summarised_anew() -> None:
    """
    A summary of messages that are no longer there is thrown away.
    """
    other = window(SYSTEM, SUMMARY, USER, REPLY, USER, REPLY, version=8)
    hand = Hand([answered(window(*TALK)), conflict(5, 8), answered(other), COMPACTED])
    summarise = Summariser()
    run(hand, summarise)
    assert summarise.asked == [[2, 3], [None, 3, 4]]
    assert committed(hand)[-1] == (8, [1, "summary 2", 5, 6])


def test_a_result_that_comes_late_stays_with_its_call() -> None:
    """
    A call nobody answered was summarised; its result came meanwhile, so the cut is another.
    """
    asked = (USER, call("a"), USER, REPLY, USER, REPLY)
    hand = Hand(
        [answered(window(*asked)), conflict(6, 7), answered(window(*asked, result("a"))), COMPACTED]
    )
    summarise = Summariser()
    run(hand, summarise)
    assert summarise.asked == [[1, 2, 3, 4], [1]]
    assert committed(hand)[-1] == (7, ["summary 2", 2, 3, 4, 5, 6, 7])


def test_a_window_that_somebody_else_compacted_is_left_alone() -> None:
    """
    If it needs no compaction any more, nothing is left to do.
    """
    other = window(SYSTEM, SUMMARY, USER, version=8, needs_compaction=False)
    hand = Hand([answered(window(*TALK)), conflict(5, 8), answered(other)])
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
    hand, summarise = Hand([answered(fitted), answered(whole), COMPACTED]), Summariser()
    assert run(hand, summarise) == Compacted(version=9)
    assert hand.sent[1].target == "/v1/contexts/c/context?budget_tokens=3&if_version=5"
    assert summarise.asked == [[2, 3]]
