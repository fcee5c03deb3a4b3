"""
The judges judged: for each rule a view that keeps it and a view, made by hand, that breaks it.

No server is needed. Each test begins with an answer that is right, breaks one thing, and names the
rule that must see it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance import oracle, steps
from tests.acceptance.case import LAST_N, MANUAL, SKIP_PARTS, Case, Expected
from tests.acceptance.difference import compare, is_cut_text
from tests.acceptance.log import Log, Slot
from tests.acceptance.opener import is_opener_promised, missing_opener, was_opener_always_promised
from tests.acceptance.pairing import (
    Message,
    Pair,
    Place,
    blocks,
    newest_block,
    opens_turn,
    pairs_of,
)
from tests.acceptance.steps import Step, check_step
from tests.acceptance.view import Malformed, Segment, View, ViewReader, parse_view

LONG = "".join(f"sentence {number} of many. " for number in range(200))
CUT = LONG[:900] + "\n[… 712 tokens left out …]\n" + LONG[-900:]


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def said(role: str, *parts: Mapping[str, Any], **fields: Any) -> Message:
    return {"role": role, "parts": list(parts), "metadata": {}, **fields}


def call(call_id: str) -> dict[str, Any]:
    return {"type": "tool_call", "tool_call_id": call_id, "name": "look", "payload": {"n": 1}}


def result(call_id: str, content: object = "found") -> dict[str, Any]:
    return {"type": "tool_result", "tool_call_id": call_id, "name": "look", "content": content}


TALK = (
    said("system", text("be brief")),
    said("user", text("look it up")),
    said("assistant", {"type": "reasoning", "text": "hm"}, text("I look"), call("a")),
    said("tool", result("a", LONG)),
    said("assistant", text("it is there")),
    said("user", text("and now?")),
    said("assistant", text("so it is")),
)
"""One instruction and two turns, the first with a call; each message counts 10 tokens."""


def log_of(messages: Sequence[Message] = TALK, tokens: int = 10) -> Log:
    log = Log()
    for version, message in enumerate(messages, start=1):
        log.append(message, tokens, version)
    return log


def returned(log: Log, seq: int, /, **changes: Any) -> dict[str, Any]:
    entry = log[seq]
    own = {"seq": seq, "version": entry.version, "token_count": entry.token_count}
    return {**own, **entry.message, "inserted_at": "2026-01-01T00:00:00Z", **changes}


def view_of(
    log: Log, messages: Sequence[int | Mapping[str, Any]], budget: int = 100, **changes: Any
) -> View:
    """
    Make an honest answer out of *messages*: of sequence numbers, or of messages as they stand.
    """
    shown = [returned(log, one) if isinstance(one, int) else dict(one) for one in messages]
    used = sum(one["token_count"] for one in shown)
    view = View(
        version=log.last_seq,
        messages=tuple(shown),
        used_tokens=used,
        needs_compaction=used > budget * 7 // 10,
        segments=segments_of([one["seq"] for one in shown]),
        token_budget=budget,
        window_tokens=used,
        fit="whole",
    )
    return replace(view, **changes)


def segments_of(seqs: Sequence[int | None]) -> tuple[Segment, ...]:
    runs: list[Segment] = []
    for seq in seqs:
        if seq is None:
            runs.append(Segment("summary", 2, 4))
        elif runs and runs[-1].to_seq == seq - 1 and runs[-1].type == "live":
            runs[-1] = runs[-1]._replace(to_seq=seq)
        else:
            runs.append(Segment("live", seq, seq))
    return tuple(runs)


def expect(log: Log, strategy: str = LAST_N, budget: int = 100, **changes: Any) -> Expected:
    return replace(Expected(strategy, log.last_seq, budget), **changes)


def rules(case: Case) -> set[str]:
    return {violation.rule for violation in oracle.check(case)}


def judged(view: View, log: Log | None = None, expected: Expected | None = None) -> set[str]:
    known = log or log_of()
    return rules(Case(known, view, expected or expect(known, budget=view.token_budget)))


# What is right is found right


@pytest.mark.parametrize(
    "seqs",
    [[1, 2, 3, 4, 5, 6, 7], [1, 5, 6, 7], [1, 6, 7], [1, 7], [1, 3, 4, 5, 6, 7]],
)
def test_window_cut_between_groups_is_right(seqs: list[int]) -> None:
    """A window of the pinned and the newest groups breaks no rule."""
    log = log_of()
    assert judged(view_of(log, seqs, budget=100)) == set()


def test_empty_context_is_right() -> None:
    """A context without messages has an empty window without segments."""
    log = log_of(())
    assert judged(view_of(log, []), log) == set()
    assert judged(view_of(log, [], fit="empty"), log) == set()


def test_stripped_window_is_right() -> None:
    """`skip_parts` may take the calls, results and reasoning of a finished turn."""
    log = log_of()
    bare = returned(log, 3, parts=[text("I look")], token_count=5)
    view = view_of(log, [1, 2, bare, 5, 6, 7])
    assert judged(view, log, expect(log, SKIP_PARTS)) == set()


def test_cut_view_is_right() -> None:
    """When the newest group does not fit, its texts may be cut in the middle."""
    messages = [*TALK[:3], said("tool", result("a", LONG))]
    log = log_of(messages, tokens=40)
    cut = returned(log, 4, parts=[result("a", CUT)], token_count=20)
    view = view_of(log, [1, 3, cut], fit="cut", window_tokens=160, needs_compaction=True)
    assert judged(view, log) == set()


def test_summarised_window_is_right() -> None:
    """A window of `manual` is what its owner made it: instruction, summary, tail."""
    log, summary, window = summarised()
    view = view_of(log, [1, summary, 5, 6, 7])
    assert judged(view, log, expect(log, MANUAL, window=window)) == set()


def summarised() -> tuple[Log, dict[str, Any], tuple[Slot, ...]]:
    log = log_of()
    given = said("assistant", text("they looked"))
    summary = {"seq": None, "token_count": 9, **given}
    middle = Slot(None, given, None, (0,), (2, 2), 4)
    window = (log.slots[0], middle, *log.slots[4:])
    return log, summary, window


# Sums


def test_view_above_its_budget_is_seen() -> None:
    """A view that costs more than its budget breaks the first promise of all."""
    log = log_of()
    view = view_of(log, [1, 2, 3, 4, 5, 6, 7], budget=60, fit="whole")
    assert "budget" in judged(view, log)


def test_manual_may_exceed_its_budget_unless_one_is_asked_for() -> None:
    """`manual` returns its window whole; only with `budget_tokens` must it fit."""
    log = log_of()
    window = tuple(log.slots)
    view = view_of(log, [1, 2, 3, 4, 5, 6, 7], budget=60)
    own = expect(log, MANUAL, 60, window=window)
    assert judged(view, log, own) == set()
    assert "budget" in judged(view, log, replace(own, overridden=True))


def test_wrong_budget_is_seen() -> None:
    """The answer names the budget that was asked for."""
    assert "budget" in judged(
        view_of(log_of(), [1, 6, 7], token_budget=101), None, expect(log_of())
    )


def test_wrong_sum_is_seen() -> None:
    """`used_tokens` is the sum over the messages returned."""
    assert "sum" in judged(view_of(log_of(), [1, 6, 7], used_tokens=29, window_tokens=29))


def test_cheapened_message_is_seen() -> None:
    """A message that came whole costs what it cost when it was appended."""
    log = log_of()
    cheap = returned(log, 7, token_count=3)
    assert "sum" in judged(view_of(log, [1, 6, cheap]))


def test_stripped_message_that_costs_more_is_seen() -> None:
    """A stripped message never costs more than it did whole."""
    log = log_of()
    dear = returned(log, 3, parts=[text("I look")], token_count=11)
    view = view_of(log, [1, 2, dear, 5, 6, 7])
    assert "sum" in judged(view, log, expect(log, SKIP_PARTS))


@pytest.mark.parametrize(("tokens", "flag"), [(70, True), (71, False)])
def test_wrong_flag_is_seen(tokens: int, flag: bool) -> None:
    """`needs_compaction` is true strictly above the trigger."""
    log = log_of([said("user", text("hi"))], tokens=tokens)
    assert "flag" in judged(view_of(log, [1], needs_compaction=flag), log)
    assert judged(view_of(log, [1], needs_compaction=not flag), log) == set()


def test_trigger_may_be_read_as_binary_or_as_decimal() -> None:
    """90 * 0.7 is 62 in binary fractions and 63 in decimals; both are a fair reading."""
    assert Expected(LAST_N, 0, 90, 0.7).triggers == (62, 63)
    assert Expected(LAST_N, 0, 100, 0.7).triggers == (70, 70)


# Order, version, values


def test_wrong_version_is_seen() -> None:
    """The version counts appends and compact calls."""
    assert "version" in judged(view_of(log_of(), [1, 6, 7], version=8))


@pytest.mark.parametrize("seqs", [[1, 7, 6], [1, 6, 6, 7]])
def test_wrong_order_is_seen(seqs: list[int]) -> None:
    """Seqs ascend strictly."""
    assert "order" in judged(view_of(log_of(), seqs))


def test_unknown_seq_is_seen() -> None:
    """A view cannot hold what was never appended."""
    log = log_of()
    assert "order" in judged(view_of(log, [1, 6, 7, returned(log, 7, seq=8)]))


def test_invented_summary_is_seen() -> None:
    """Without a replacement there are no messages without a seq."""
    log = log_of()
    assert "order" in judged(view_of(log, [1, returned(log, 2, seq=None), 6, 7]))


@pytest.mark.parametrize(
    ("sent", "came"),
    [(1, True), (1, 1.0), (1.0, 1), ("é", "e\u0301"), ({"a": 1, "b": 2}, {"b": 2, "a": 1})],
)
def test_altered_value_is_seen(sent: Any, came: Any) -> None:
    """Values come back as they were sent: type, composition and key order."""
    log = log_of([said("user", {**text("hi"), "x": sent})])
    altered = returned(log, 1, parts=[{**text("hi"), "x": came}])
    assert judged(view_of(log, [1]), log) == set()
    assert "values" in judged(view_of(log, [altered]), log)


@pytest.mark.parametrize(
    "changes",
    [{"role": "user"}, {"metadata": {"a": 1}}, {"extra": 1}, {"version": 6}],
)
def test_altered_field_is_seen(changes: dict[str, Any]) -> None:
    """Role, metadata, version and unknown keys are those of the log."""
    log = log_of()
    assert "values" in judged(view_of(log, [1, 6, returned(log, 7, **changes)]))


def test_lost_field_is_seen() -> None:
    """What was sent beside role and parts comes back too."""
    log = log_of([said("user", text("hi"), id="m1", flavour=None)])
    poor = {key: value for key, value in returned(log, 1).items() if key != "flavour"}
    assert "values" in judged(view_of(log, [poor]), log)


def test_emptied_message_is_seen() -> None:
    """A message that had parts is never kept without any."""
    log = log_of()
    hollow = returned(log, 3, parts=[], token_count=4)
    view = view_of(log, [1, 2, hollow, 5, 6, 7])
    assert "values" in judged(view, log, expect(log, SKIP_PARTS))


def test_message_without_parts_stays_as_it_was() -> None:
    """Recorded conversations hold messages that never had parts."""
    log = log_of([said("user", text("hi")), said("assistant")])
    assert judged(view_of(log, [1, 2]), log) == set()


# Stripping


def test_stripping_by_another_policy_is_seen() -> None:
    """Only `skip_parts` strips."""
    log = log_of()
    bare = returned(log, 3, parts=[text("I look"), call("a")], token_count=8)
    assert "stripping" in judged(view_of(log, [1, 2, bare, 4, 5, 6, 7]))


def test_stripping_of_a_kind_that_was_not_named_is_seen() -> None:
    """`skip_parts` takes only the kinds that it was told."""
    log = log_of()
    bare = returned(log, 3, parts=[text("I look"), call("a")], token_count=8)
    view = view_of(log, [1, 2, bare, 4, 5, 6, 7])
    tools = expect(log, SKIP_PARTS, config={"skip_kinds": ["tool"]})
    thoughts = expect(log, SKIP_PARTS, config={"skip_kinds": ["reasoning"]})
    assert "stripping" in judged(view, log, tools)
    assert judged(view, log, thoughts) == set()


def test_stripped_instruction_is_seen() -> None:
    """The pinned are never stripped."""
    pinned = said("system", {"type": "reasoning", "text": "x"}, text("be brief"))
    log = log_of([pinned, *TALK[1:]])
    bare = returned(log, 1, parts=[text("be brief")], token_count=8)
    view = view_of(log, [bare, 2, 5, 6, 7])
    assert "stripping" in judged(view, log, expect(log, SKIP_PARTS))


def test_stripping_of_the_later_alone_is_seen() -> None:
    """What is stripped is stripped from the oldest on."""
    thoughtful = said("assistant", {"type": "reasoning", "text": "x"}, text("yes"))
    log = log_of([said("user", text("a")), thoughtful, said("user", text("b")), thoughtful])
    bare = returned(log, 4, parts=[text("yes")], token_count=8)
    view = view_of(log, [1, 2, 3, bare])
    assert "stripping" in judged(view, log, expect(log, SKIP_PARTS))


def test_result_without_its_key_is_seen() -> None:
    """An OpenAI tool message that lost its `tool_call_id` is no longer a result, and must go."""
    log = log_of(openai_talk())
    asked = {key: one for key, one in returned(log, 2).items() if key != "tool_calls"}
    answered = {key: one for key, one in returned(log, 3).items() if key != "tool_call_id"}
    seen = expect(log, SKIP_PARTS)
    assert judged(view_of(log, [1, {**asked, "token_count": 6}, 4, 5]), log, seen) == set()
    view = view_of(log, [1, {**asked, "token_count": 6}, {**answered, "token_count": 9}, 4, 5])
    assert "stripping" in judged(view, log, seen)


def openai_talk() -> list[Message]:
    calls = [{"id": "a", "type": "function", "function": {"name": "look", "arguments": "{}"}}]
    return [
        said("user", text("look")),
        said("assistant", text("I look"), tool_calls=calls),
        said("tool", text("found"), tool_call_id="a"),
        said("assistant", text("there")),
        said("user", text("thanks")),
    ]


# Cutting


def test_cut_without_saying_so_is_seen() -> None:
    """Where a text was cut, `fit` says `cut`."""
    log = log_of([said("user", text(LONG))], tokens=200)
    cut = returned(log, 1, parts=[text(CUT)], token_count=90)
    told = view_of(log, [cut], fit="cut", window_tokens=200)
    assert judged(told, log) == set()
    assert "cutting" in judged(replace(told, fit="dropped"), log)


def test_cut_of_an_older_group_is_seen() -> None:
    """Only the newest group, the pinned and the task are cut; what is older is dropped."""
    old = [said("user", text(LONG)), said("assistant", text("so"))]
    log = log_of([*old, said("user", text("hi"))], tokens=60)
    cut = returned(log, 1, parts=[text(CUT)], token_count=30)
    view = view_of(log, [cut, 2, 3], fit="cut", window_tokens=180, needs_compaction=True)
    assert "cutting" in judged(view, log)


@pytest.mark.parametrize(
    "cut",
    [
        LONG[:1800],
        LONG[:900] + LONG[-900:],
        "[… 712 tokens left out …]" + LONG[-900:],
        LONG[:900] + "[… 712 tokens left out …]",
        LONG[:20] + "[… 712 tokens left out …]" + LONG[-20:],
        LONG[:900] + "[… some tokens left out …]" + LONG[-900:],
        LONG[:900] + "9" * 300 + LONG[-900:],
        LONG + "[… 1 token left out …]",
    ],
    ids=["end", "no marker", "head", "tail", "too much", "no number", "padded", "longer"],
)
def test_wrong_cut_is_seen(cut: str) -> None:
    """A cut keeps the beginning and the end, with a marker that counts what is missing."""
    assert is_cut_text(LONG, CUT)
    assert not is_cut_text(LONG, cut)


@pytest.mark.parametrize(
    ("sent", "came"),
    [
        ({"type": "reasoning", "text": LONG}, {"type": "reasoning", "text": CUT}),
        ({**text(LONG), "signature": LONG}, {**text(LONG), "signature": CUT}),
        ({**text(LONG), "id": "m"}, {**text(CUT), "id": "n"}),
    ],
    ids=["reasoning", "signature", "id"],
)
def test_cut_of_what_is_never_cut_is_seen(sent: Any, came: Any) -> None:
    """Reasoning, signatures and ids come whole or not at all."""
    assert compare(said("assistant", sent), said("assistant", came)).faults


@pytest.mark.parametrize(
    ("sent", "came"),
    [
        (text(LONG), text(CUT)),
        (result("a", LONG), result("a", CUT)),
        (
            {"type": "tool_result", "tool_use_id": "a", "content": LONG},
            {"type": "tool_result", "tool_use_id": "a", "content": CUT},
        ),
        (
            {"type": "tool-look", "toolCallId": "a", "input": {}, "output": LONG},
            {"type": "tool-look", "toolCallId": "a", "input": {}, "output": CUT},
        ),
        (
            {**call("a"), "payload": {"code": LONG}},
            {**call("a"), "payload": {"code": CUT}},
        ),
        (result("a", {"rows": [1, LONG]}), result("a", {"rows": [1, CUT]})),
        (result("a", {"rows": [1, 2]}), result("a", "[... 300 tokens left out ...]")),
    ],
    ids=["text", "result", "anthropic", "ai sdk", "arguments", "object", "marker"],
)
def test_cut_of_texts_results_and_arguments_is_right(sent: Any, came: Any) -> None:
    """Texts, results and arguments may be cut, in every shape."""
    difference = compare(said("assistant", sent), said("assistant", came))
    assert difference.cut == (0,)
    assert not difference.faults


# Pairs


SHAPES = {
    "normalised": ([call("a")], [result("a")], {}, {}),
    "anthropic": (
        [{"type": "tool_use", "id": "a", "name": "look", "input": {}}],
        [{"type": "tool_result", "tool_use_id": "a", "content": "found"}],
        {},
        {},
    ),
    "openai": ([], [text("found")], {"tool_calls": [{"id": "a"}]}, {"tool_call_id": "a"}),
    "call_id": (
        [{"type": "tool_call", "call_id": "a"}],
        [{"type": "tool_result", "call_id": "a"}],
        {},
        {},
    ),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("gone", [2, 3])
def test_parted_pair_is_seen(shape: str, gone: int) -> None:
    """A result without its call, and a call without its result, are seen in every shape."""
    calls, results, call_keys, result_keys = SHAPES[shape]
    log = log_of(
        [
            said("user", text("look")),
            said("assistant", *calls, **call_keys),
            said("tool", *results, **result_keys),
            said("assistant", text("there")),
        ]
    )
    assert judged(view_of(log, [1, 2, 3, 4]), log) == set()
    assert "pairing" in judged(view_of(log, [seq for seq in (1, 2, 3, 4) if seq != gone]), log)


def test_pair_parted_by_stripping_is_seen() -> None:
    """Stripping takes a call and its result together."""
    log = log_of()
    bare = returned(log, 3, parts=[text("I look")], token_count=5)
    view = view_of(log, [1, 2, bare, 4, 5, 6, 7])
    assert "pairing" in judged(view, log, expect(log, SKIP_PARTS))


def test_repeated_id_answers_the_nearest_unanswered_call() -> None:
    """Where an id repeats, a result belongs to the nearest earlier call that has no result yet."""
    log = [
        said("assistant", call("a")),
        said("tool", result("a")),
        said("assistant", call("a")),
        said("assistant", call("a")),
        said("tool", result("a")),
        said("tool", result("a")),
        said("tool", result("a")),
    ]
    assert pairs_of(log) == [
        Pair(Place(1, 0), Place(2, 0)),
        Pair(Place(4, 0), Place(5, 0)),
        Pair(Place(3, 0), Place(6, 0)),
    ]


def test_orphans_of_the_source_are_no_fault() -> None:
    """What was appended broken may be shown broken."""
    messages = [said("user", text("hi")), said("tool", result("x")), said("assistant", call("y"))]
    log = log_of([*messages, said("user", text("stop")), said("assistant", text("yes"))])
    assert judged(view_of(log, [1, 2, 3, 4, 5]), log) == set()


def test_part_that_is_call_and_result_needs_no_partner() -> None:
    """An AI SDK part holds both sides, and so has no pair to be parted from."""
    part = {"type": "tool-look", "toolCallId": "a", "input": {}, "output": "found"}
    assert pairs_of([said("assistant", part)]) == []


def test_blocks_divide_between_spans_only() -> None:
    """Interleaved groups hold together, and everything else stands for itself."""
    assert blocks([1, 2, 3, 4, 5, 6, 7], [(2, 4), (3, 5)]) == [[1], [2, 3, 4, 5], [6], [7]]


@pytest.mark.parametrize("spans", [[], [(2, 4)], [(5, 6)], [(1, 2), (2, 4), (3, 6)], [(4, 6)]])
def test_newest_block_is_the_last_of_the_blocks(spans: list[tuple[int, int]]) -> None:
    """Found from the end, the newest group is the same."""
    for last in range(1, 7):
        seqs = list(range(1, last + 1))
        within = [span for span in spans if span[1] <= last]
        assert newest_block(seqs, within) == blocks(seqs, within)[-1]


def test_user_message_of_results_opens_no_turn() -> None:
    """Anthropic's results come from the user, and begin no turn, whatever stands beside them."""
    brought = {"type": "tool_result", "tool_use_id": "a", "content": "found"}
    assert not opens_turn(said("user", brought))
    assert not opens_turn(said("user", brought, text("and this")))


# What must be there


def test_lost_instruction_is_seen() -> None:
    """The leading instructions survive every cut."""
    assert "pinned" in judged(view_of(log_of(), [5, 6, 7]))


def test_instruction_that_cannot_fit_may_go() -> None:
    """Pinned entries that are above the budget by themselves are not promised."""
    log = log_of([said("system", text("x")), said("user", text("hi"))], tokens=30)
    view = view_of(log, [2], budget=29, fit="dropped", window_tokens=60, needs_compaction=True)
    empty = view_of(log, [], 29, fit="empty", window_tokens=60, needs_compaction=True)
    assert "pinned" not in judged(view, log)
    assert judged(empty, log) == set()


def test_lost_newest_group_is_seen() -> None:
    """The newest group stays whenever it fits."""
    assert "newest" in judged(view_of(log_of(), [1, 2, 3, 4, 5, 6]))
    assert "newest" in judged(view_of(log_of(), [1]))


def test_needless_empty_answer_is_seen() -> None:
    """An empty answer is right only where nothing fits."""
    log = log_of()
    view = view_of(log, [], fit="empty", window_tokens=70)
    assert {"pinned", "newest"} <= judged(view, log)


def test_empty_answer_where_something_fits_is_seen() -> None:
    """Where the pinned and the newest group do not fit together, one of them still comes."""
    log = log_of([said("system", text("x")), said("user", text("hi"))], tokens=30)
    empty = view_of(log, [], 40, fit="empty", window_tokens=60, needs_compaction=True)
    assert judged(empty, log) == {"fit"}


def test_hole_is_seen() -> None:
    """What is dropped is the oldest, never something in between."""
    assert "contiguous" in judged(view_of(log_of(), [1, 2, 5, 7]))
    assert "contiguous" in judged(view_of(log_of(), [1, 3, 4, 6, 7]))


def test_opener_of_the_turn_that_was_cut_may_stand_before_the_cut() -> None:
    """A user message may be kept for the turn that it opens, and for no other."""
    assert judged(view_of(log_of(), [1, 2, 5, 6, 7])) == set()
    assert "contiguous" in judged(view_of(log_of(), [1, 2, 7]))


def test_instruction_in_the_middle_may_come_to_lead_the_window() -> None:
    """When all before it is gone, an instruction from the middle joins the leading run."""
    middle = said("system", text("new tools"))
    log = log_of([*TALK[:2], middle, *TALK[5:]])
    assert judged(view_of(log, [1, 3, 5]), log) == set()
    assert "contiguous" in judged(view_of(log, [1, 2, 5]), log)


def test_wrong_fit_is_seen() -> None:
    """`fit` says what was done to the window."""
    log = log_of()
    assert "fit" in judged(view_of(log, [1, 6, 7], fit="dropped"))
    assert "fit" in judged(view_of(log, [1, 6, 7], window_tokens=70))
    assert "fit" in judged(view_of(log, [1, 6, 7], fit="empty"))
    assert "fit" in judged(view_of(log, [], fit="dropped", window_tokens=200), log)


# Segments


@pytest.mark.parametrize(
    "segments",
    [
        [("live", 1, 1), ("live", 6, 7)],
        [("live", 1, 7)],
    ],
    ids=["by gap", "by run"],
)
def test_run_with_a_gap_may_be_one_segment_or_two(segments: list[tuple[str, int, int]]) -> None:
    """
    The pinned and the rest may be told apart or not; the ends must be messages that are there.
    """
    view = view_of(log_of(), [1, 6, 7], segments=tuple(Segment(*one) for one in segments))
    assert judged(view) == set()


@pytest.mark.parametrize(
    "segments",
    [
        [],
        [("live", 1, 1)],
        [("live", 1, 1), ("live", 5, 7)],
        [("live", 1, 1), ("live", 6, 8)],
        [("live", 1, 1), ("live", 6, 6), ("live", 7, 7)],
        [("live", 6, 7), ("live", 1, 1)],
        [("live", 1, 1), ("summary", 2, 5), ("live", 6, 7)],
        [("live", 1, 1), ("live", 6, 7), ("live", 8, 8)],
        [("summary", 1, 7)],
    ],
)
def test_wrong_segments_are_seen(segments: list[tuple[str, int, int]]) -> None:
    """Segments cover what is returned, exactly and in order."""
    view = view_of(log_of(), [1, 6, 7], segments=tuple(Segment(*one) for one in segments))
    assert "segments" in judged(view)


def test_summary_segment_stands_for_what_was_replaced() -> None:
    """The segment of a summary reaches up to the first message that was kept."""
    log, summary, window = summarised()
    right = view_of(log, [1, summary, 5, 6, 7])
    known = expect(log, MANUAL, window=window)
    for ends in ((2, 5), (1, 4), (2, 3), (3, 4)):
        wrong = (Segment("live", 1, 1), Segment("summary", *ends), Segment("live", 5, 7))
        assert judged(replace(right, segments=wrong), log, known) & {"segments", "window"}


# Windows that are known


@pytest.mark.parametrize("gone", range(5))
def test_missing_entry_of_a_known_window_is_seen(gone: int) -> None:
    """`manual` returns every entry of its window."""
    log, summary, window = summarised()
    entries: list[int | dict[str, Any]] = [1, summary, 5, 6, 7]
    del entries[gone]
    view = view_of(log, entries)
    assert "window" in judged(view, log, expect(log, MANUAL, window=window))


def test_foreign_entry_of_a_known_window_is_seen() -> None:
    """What the owner replaced does not come back."""
    log, summary, window = summarised()
    view = view_of(log, [1, summary, 4, 5, 6, 7])
    assert "window" in judged(view, log, expect(log, MANUAL, window=window))


def test_altered_summary_is_seen() -> None:
    """A summary is stored as it was given."""
    log, summary, window = summarised()
    view = view_of(log, [1, {**summary, "role": "user"}, 5, 6, 7])
    assert "window" in judged(view, log, expect(log, MANUAL, window=window))


def test_recounted_summary_is_seen() -> None:
    """A token count that was given with a summary stands."""
    log, summary, window = summarised()
    counted = (window[0], window[1]._replace(token_count=8), *window[2:])
    view = view_of(log, [1, summary, 5, 6, 7])
    assert "window" in judged(view, log, expect(log, MANUAL, window=counted))


def test_summary_that_leaves_before_the_oldest_message_is_seen() -> None:
    """The summary of a replacement is pinned: a smaller budget drops messages before it."""
    log, _, window = summarised()
    view = view_of(log, [1, 6, 7], 45, fit="dropped", window_tokens=49, needs_compaction=True)
    assert view.used_tokens == 30
    known = expect(log, MANUAL, 45, window=window, overridden=True)
    assert "pinned" in judged(view, log, known)


# The opening message of a turn


def agent_messages() -> list[Message]:
    talk: list[Message] = [said("system", text("be brief")), said("user", text("fix it"))]
    for step in "abc":
        talk += [said("assistant", call(step)), said("tool", result(step))]
    return talk


def agent_log() -> Log:
    return log_of(agent_messages())


def test_lost_opener_is_seen() -> None:
    """A cut inside a turn with calls keeps the user message that opened it, when it fits."""
    log = agent_log()
    case = Case(log, view_of(log, [1, 5, 6, 7, 8]), expect(log))
    assert missing_opener(case) == 2
    assert is_opener_promised(case, 2)
    assert was_opener_always_promised(case, 2)
    assert missing_opener(Case(log, view_of(log, [1, 2, 5, 6, 7, 8]), expect(log))) is None


def test_opener_that_does_not_fit_is_not_promised() -> None:
    """Beside the pinned there may be no room for it."""
    log = agent_log()
    view = view_of(log, [1], 15, fit="dropped", window_tokens=80, needs_compaction=True)
    case = Case(log, view, expect(log, budget=15))
    assert missing_opener(case) == 2
    assert not is_opener_promised(case, 2)


def test_turn_without_calls_does_not_promise_its_opener() -> None:
    """Only turns that hold calls with ids keep their opening message."""
    log = log_of([said("user", text("tell")), said("assistant", text("a")), said("assistant")])
    case = Case(log, view_of(log, [2, 3]), expect(log))
    assert missing_opener(case) == 1
    assert not is_opener_promised(case, 1)


# From one read to the next


def step_rules(
    before: Sequence[int | Mapping[str, Any]],
    after: Sequence[int | Mapping[str, Any]],
    strategy: str = LAST_N,
    messages: Sequence[Message] = TALK,
    **changes: Any,
) -> set[str]:
    """
    Judge the step in which the last of *messages* was appended, with a budget of 60, trigger 42.
    """
    log = log_of(messages[:-1])
    expected = expect(log, strategy, 60, **changes)
    earlier = Case(log, view_of(log, before, 60), expected)
    assert not {one.rule for one in oracle.check(earlier)} - {"budget"}
    log.append(messages[-1], 10, len(messages))
    later = Case(log, view_of(log, after, 60), replace(expected, version=len(messages)))
    oracle.check(later)
    return {one.rule for one in check_step(Step(earlier, log.last_seq - 1, later))}


def test_quiet_append_is_right() -> None:
    """Below the trigger a window grows by what was appended."""
    assert step_rules([1, 5, 6], [1, 5, 6, 7]) == set()


def test_trim_below_the_trigger_is_seen() -> None:
    """Nothing is dropped before the trigger is passed."""
    assert {"arithmetic", "nothing returns"} <= step_rules([1, 5, 6], [1, 6, 7])


def test_trim_above_the_trigger_is_right() -> None:
    """Above the trigger the oldest go until the target, half the budget, is met."""
    assert step_rules([1, 3, 4, 5, 6], [1, 6, 7]) == set()


def test_trim_that_stops_early_is_seen() -> None:
    """A trim goes down to its target."""
    assert {"depth", "flag up"} & step_rules([1, 2, 3, 4, 5, 6], [1, 3, 4, 5, 6, 7])


def test_missing_trim_is_seen() -> None:
    """Above the trigger something goes."""
    assert "flag up" in step_rules([1, 3, 4, 5, 6], [1, 3, 4, 5, 6, 7])


def test_greedy_trim_is_seen() -> None:
    """A group that fits under the target stays."""
    config = {"start_on_user": False, "target_ratio": 0.7}
    assert "greed" in step_rules([1, 3, 4, 5, 6], [1, 7], config=config)


def test_group_that_would_need_the_task_beside_it_may_go() -> None:
    """A cut inside a turn with calls keeps the opener, and so needs room for two."""
    talk = [*agent_messages(), said("assistant", text("done")), said("user", text("thanks"))]
    changes: dict[str, Any] = {
        "messages": talk,
        "config": {"target_ratio": 0.5, "start_on_user": False},
    }
    assert step_rules([1, 2, 7, 8, 9], [1, 10], **changes) == set()
    changes["config"] = {"target_ratio": 1.0, "start_on_user": False}
    assert "greed" in step_rules([1, 2, 7, 8, 9], [1, 10], **changes)


def test_greedy_trim_of_a_stripped_window_is_seen() -> None:
    """`skip_parts` too keeps what fits; what it stripped away altogether was not dropped."""
    talk = [*TALK[:3], said("tool", result("a")), said("assistant", text("yes")), *TALK[5:]]
    log = log_of(talk)
    bare = returned(log, 3, parts=[text("I look")], token_count=5)
    before = [1, 3, 4, 5, 6]
    config = {"target_ratio": 1.0, "start_on_user": False}
    changes: dict[str, Any] = {"config": config, "messages": talk}
    assert step_rules(before, [1, bare, 5, 6, 7], SKIP_PARTS, **changes) == {"depth", "flag up"}
    assert step_rules(before, [1, 5, 6, 7], SKIP_PARTS, **changes) == set()
    assert "greed" in step_rules(before, [1, 6, 7], SKIP_PARTS, **changes)


def test_limit_that_is_not_kept_is_seen() -> None:
    """A trim leaves no more messages than the limit."""
    changes: dict[str, Any] = {"config": {"limit": 2, "target_ratio": 1.0}}
    assert step_rules([1, 3, 4, 5, 6], [1, 6, 7], **changes) == set()
    assert "depth" in step_rules([1, 3, 4, 5, 6], [1, 5, 6, 7], **changes)


def test_message_that_returns_is_seen() -> None:
    """What left the window does not come back."""
    assert "nothing returns" in step_rules([1, 6], [1, 5, 6, 7])


def test_part_that_returns_is_seen() -> None:
    """What was stripped stays stripped."""
    log = log_of()
    bare = returned(log, 3, parts=[text("I look")], token_count=10)
    whole: list[int | Mapping[str, Any]] = [1, 3, 4, 5, 6, 7]
    assert "nothing returns" in step_rules([1, bare, 5, 6], whole, SKIP_PARTS)


def test_stripped_running_turn_is_seen() -> None:
    """A running agent keeps its working state: a last turn with a call id is not stripped."""
    talk = [
        said("user", text("hi")),
        said("assistant", text("yes")),
        said("user", text("fix it")),
        said("assistant", {"type": "reasoning", "text": "hm"}, text("I look"), call("a")),
        said("tool", result("a")),
    ]
    log = log_of(talk)
    bare = returned(log, 4, parts=[text("I look"), call("a")], token_count=8)
    config = {"skip_kinds": ["reasoning"]}
    before = [1, 2, 3, 4]
    assert "running turn" in step_rules(before, [3, bare, 5], SKIP_PARTS, talk, config=config)
    assert step_rules(before, [3, 4, 5], SKIP_PARTS, talk, config=config) == set()


def test_window_that_does_not_start_on_user_is_seen() -> None:
    """With `start_on_user` a trim also drops what stands before the first user message."""
    changes: dict[str, Any] = {"config": {"start_on_user": True}}
    assert step_rules([1, 2, 3, 4, 5], [1, 6], messages=TALK[:6], **changes) == set()
    assert "start on user" in step_rules([1, 2, 3, 4, 5], [1, 5, 6], messages=TALK[:6], **changes)


def test_manual_window_only_grows() -> None:
    """`manual` never drops anything by itself."""
    assert step_rules([1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 6, 7], MANUAL) == set()
    assert "arithmetic" in step_rules([1, 2, 3, 4, 5, 6], [1, 6, 7], MANUAL)


# The shape of an answer


def body_of(view: View) -> dict[str, Any]:
    body = {name: getattr(view, name) for name in View.__dataclass_fields__}
    segments = [one._asdict() for one in view.segments]
    return {**body, "messages": list(view.messages), "segments": segments}


def test_answer_is_read_as_the_view_it_was() -> None:
    """A well-formed answer is read without loss."""
    view = view_of(log_of(), [1, 6, 7])
    assert parse_view(body_of(view)) == view


def test_answers_are_read_alike_one_by_one_and_in_a_row() -> None:
    """What is taken over from the answer before is what stands in this one."""
    log, reader = log_of(), ViewReader()
    altered = returned(log, 6, parts=[text("]")], metadata={"messages": []})
    views: list[list[int | Mapping[str, Any]]] = [[1, 5, 6], [1, 5, 6, 7], [1, 6, 7]]
    views += [[1, altered, 7], [], [2, 3], [1, 2, 3, 7]]
    for shown in views:
        body = body_of(view_of(log, shown))
        for separators in ((",", ":"), (", ", ": ")):
            content = json.dumps(body, separators=separators).encode()
            assert reader.read(content) == parse_view(body)


@pytest.mark.parametrize("content", [b"", b"{", b'{"version":1,"messages":[', b"\xff"])
def test_answer_that_is_no_json_is_seen(content: bytes) -> None:
    """Half an answer is no answer."""
    with pytest.raises(Malformed):
        ViewReader().read(content)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("used_tokens", 30.0),
        ("used_tokens", True),
        ("needs_compaction", 1),
        ("version", "7"),
        ("fit", "partly"),
        ("messages", None),
        ("segments", [{"type": "live"}]),
        ("messages", [{"role": "user"}]),
        ("token_budget", None),
    ],
)
def test_malformed_answer_is_seen(field: str, value: Any) -> None:
    """A field of the wrong type is no answer."""
    body = body_of(view_of(log_of(), [1, 6, 7]))
    with pytest.raises(Malformed):
        parse_view({**body, field: value})


def test_every_checker_is_tested() -> None:
    """Each rule appears in these tests by its name."""
    written = Path(__file__).read_text(encoding="utf-8")
    missing = [rule for rule in (*oracle.CHECKERS, *steps.CHECKERS) if f'"{rule}"' not in written]
    assert missing == []
