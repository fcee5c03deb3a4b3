"""
What must hold of every single read of the LLM context.

The checkers know the contract and nothing of the server: each is a function of a `Case`, which is
the log as it was appended, the configuration, and one answer. Each yields sentences; no sentence
means nothing is wrong.
What must hold from one read to the next is in `steps.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby, pairwise
from typing import Any, NamedTuple

from tests.acceptance.case import MANUAL, SKIP_PARTS, Case
from tests.acceptance.difference import compare, fingerprint
from tests.acceptance.log import Slot
from tests.acceptance.pairing import TOOL_CALL_ID, Place, is_provider_run, is_skipped, opens_turn
from tests.acceptance.view import Segment


class Violation(NamedTuple):
    """One broken rule and how it was broken."""

    rule: str
    detail: str


def check(case: Case) -> list[Violation]:
    """Hold the answer against everything that one read must satisfy."""
    return [
        Violation(rule, detail) for rule, checker in CHECKERS.items() for detail in checker(case)
    ]


def check_version(case: Case) -> Iterator[str]:
    """The version is the number of appended messages and compact calls."""
    if case.view.version != case.expected.version:
        yield f"version is {case.view.version}, not {case.expected.version}"


def check_budget(case: Case) -> Iterator[str]:
    """The budget that was applied is named, and kept where that is promised."""
    view, budget = case.view, case.expected.token_budget
    if view.token_budget != budget:
        yield f"token_budget is {view.token_budget}, not {budget}"
    if case.expected.is_budget_promised and view.used_tokens > budget:
        yield f"used_tokens is {view.used_tokens}, above the budget {budget}"


def check_sum(case: Case) -> Iterator[str]:
    """`used_tokens` is the sum over what is returned, and no message costs more than it did."""
    total = sum(one["token_count"] for one in case.view.messages)
    if total != case.view.used_tokens:
        yield f"the token counts add up to {total}, used_tokens is {case.view.used_tokens}"
    for returned in case.view.messages:
        difference = case.differences.get(returned["seq"])
        if difference is None:
            continue
        counted, logged = returned["token_count"], case.log[returned["seq"]].token_count
        wrong = counted != logged if difference.is_whole else not 0 <= counted <= logged
        if wrong:
            yield f"seq {returned['seq']} counts {counted} tokens here and {logged} in the log"


def check_order(case: Case) -> Iterator[str]:
    """Seqs ascend strictly and exist; summaries appear only where a compaction put them."""
    seqs = case.view.seqs
    if any(later <= earlier for earlier, later in pairwise(seqs)):
        yield f"seqs do not ascend: {seqs}"
    if any(not 1 <= seq <= case.log.last_seq for seq in seqs):
        yield f"seqs beyond 1 to {case.log.last_seq}: {seqs}"
    if case.expected.strategy != MANUAL and len(seqs) != len(case.view.messages):
        yield "a message has no seq, and nobody replaced anything"


def check_flag(case: Case) -> Iterator[str]:
    """`needs_compaction` is `window_tokens > floor(token_budget * trigger_ratio)`."""
    view, expected = case.view, case.expected
    allowed = {view.window_tokens > trigger for trigger in expected.triggers}
    if view.needs_compaction not in allowed:
        yield (
            f"needs_compaction is {view.needs_compaction} with window_tokens {view.window_tokens}, "
            f"budget {expected.token_budget} and ratio {expected.trigger_ratio}"
        )


def check_fit(case: Case) -> Iterator[str]:
    """`fit` says what happened, and nothing happens to a window that fits."""
    view = case.view
    if not view.window_tokens:
        return
    fits = view.window_tokens <= view.token_budget or not case.expected.is_budget_promised
    if fits and view.fit != "whole":
        yield f"fit is {view.fit} though the window of {view.window_tokens} needed no fitting"
    if view.fit == "whole" and view.used_tokens != view.window_tokens:
        yield f"fit is whole, used_tokens {view.used_tokens}, window_tokens {view.window_tokens}"
    if view.fit != "whole" and view.used_tokens >= view.window_tokens:
        yield f"fit is {view.fit}, and used_tokens is not below window_tokens"
    if (view.fit == "empty") != (not view.messages):
        yield f"fit is {view.fit} with {len(view.messages)} messages"
    pinned, newest = case.material.pinned, case.material.newest
    if view.fit == "empty" and any(case.fit_alone(group) for group in (pinned, newest) if group):
        yield "fit is empty though the pinned or the newest group would have fitted alone"


def check_values(case: Case) -> Iterator[str]:
    """
    What is returned of the log equals what was appended, value for value, and nothing is emptied.
    """
    for returned in case.view.messages:
        seq = returned["seq"]
        difference = case.differences.get(seq)
        if difference is None:
            continue
        for fault in difference.faults:
            yield f"seq {seq}: {fault}"
        if returned.get("version") != case.log[seq].version:
            yield f"seq {seq} has version {returned.get('version')}, not {case.log[seq].version}"
        if case.log[seq].message["parts"] and not returned["parts"]:
            yield f"seq {seq} was emptied and kept"


def check_stripping(case: Case) -> Iterator[str]:
    """Only `skip_parts` strips: only the kinds it names, never the pinned, and oldest first."""
    stripped = [
        seq
        for seq, one in case.differences.items()
        if one.is_stripped and not _are_calls_left_out(case, seq)
    ]
    for seq in stripped:
        if case.expected.strategy != SKIP_PARTS:
            yield f"seq {seq} was stripped by {case.expected.strategy}"
        elif seq <= case.log.pinned:
            yield f"seq {seq} is pinned and was stripped"
        else:
            yield from _check_stripped(case, seq)
    if stripped:
        yield from _check_passed_over(case, stripped[-1])


def _are_calls_left_out(case: Case, seq: int) -> bool:
    """
    Tell whether fitting alone may have left calls out of a message, with results and reasoning.

    It does so where the newest block is too large, so that nothing older is left but the task.
    """
    source, difference = case.log[seq].message, case.differences[seq]
    kinds = ("tool", "reasoning")
    return case.view.fit in ("cut", "dropped") and all(
        is_provider_run(source["parts"][index]) or is_skipped(source["parts"][index], kinds)
        for index in difference.left_out
    )


def _check_stripped(case: Case, seq: int) -> Iterator[str]:
    source, difference = case.log[seq].message, case.differences[seq]
    for index in difference.left_out:
        part = source["parts"][index]
        # The reasoning that led to a call goes with it.
        led = is_skipped(part, ("reasoning",)) and any(
            case.expected.skips(source["parts"][other])
            for other in difference.left_out
            if other != index
        )
        if not led and not case.expected.skips(part):
            yield f"seq {seq} lost parts[{index}] of type {source['parts'][index]['type']}"
    if difference.keys_left_out and "tool" not in case.expected.skip_kinds:
        yield f"seq {seq} lost its keys {difference.keys_left_out}"
    if TOOL_CALL_ID in difference.keys_left_out:
        yield f"seq {seq} is a tool result that lost its {TOOL_CALL_ID} and stayed"


def _check_passed_over(case: Case, until: int) -> Iterator[str]:
    """
    What is older than a stripped message has nothing left to strip but pairs that reach beyond it.
    """
    held = {
        place
        for pair in case.log.pairs
        if pair.call.seq <= until < pair.result.seq
        for place in pair
    }
    for seq, difference in case.differences.items():
        if not case.log.pinned < seq < until:
            continue
        parts = case.log[seq].message["parts"]
        for index in difference.kept:
            skipped = is_skipped(parts[index], case.expected.skip_kinds)
            # An item of the Responses API stays with what it led to.
            is_item = parts[index]["type"] == "reasoning" and "id" in parts[index]
            if skipped and not is_item and Place(seq, index) not in held:
                yield f"seq {seq} kept parts[{index}] though the later seq {until} was stripped"


def check_cutting(case: Case) -> Iterator[str]:
    """Only when `fit` says so, and only the newest group, the pinned and the task are cut."""
    cut = [seq for seq, one in case.differences.items() if one.cut]
    if cut and case.view.fit != "cut":
        yield f"fit is {case.view.fit}, and seqs {cut} were cut"
    allowed = {slot.seq for slot in (*case.material.pinned, *case.material.newest)}
    allowed.update(case.also_leading)
    allowed.update(task_of(case, case.log.last_seq))
    if case.expected.window is None and case.expected.strategy == SKIP_PARTS:
        # The newest group of a stripped window is not known from outside; it is at least the last
        # message shown.
        allowed.update(case.view.seqs[-1:])
    for seq in cut:
        if seq not in allowed:
            yield f"seq {seq} was cut and is neither pinned nor in the newest group"


def check_pairing(case: Case) -> Iterator[str]:
    """No result without the call it answers, no answered call without its result."""
    for call, result in case.log.pairs:
        has_call, has_result = case.keeps(call), case.keeps(result)
        if has_result and not has_call:
            yield f"the result at seq {result.seq} ({result.slot}) lost its call at seq {call.seq}"
        if has_call and not has_result:
            yield f"the call at seq {call.seq} ({call.slot}) lost its result at seq {result.seq}"


def check_pinned(case: Case) -> Iterator[str]:
    """
    The pinned entries are there whenever they fit beside the newest group.

    Where they do not, the contract does not say which of the two goes when cutting does not help.
    """
    view, material = case.view, case.material
    if case.expected.is_budget_promised and not case.fits(material.newest):
        return
    for slot in material.pinned:
        if slot.seq is not None and slot.seq not in case.returned:
            yield f"seq {slot.seq} is pinned and missing"
    summaries = sum(slot.seq is None for slot in material.pinned)
    if summaries > len(view.messages) - len(view.seqs):
        yield "the summary is pinned and missing"


def check_newest(case: Case) -> Iterator[str]:
    """The newest group is there, untouched, whenever it fits beside the pinned and the task."""
    task = [case.log.slots[seq - 1] for seq in task_of(case, case.log.last_seq)]
    if case.expected.is_budget_promised and not case.fits(case.material.newest, task):
        return
    for slot in case.material.surely_newest:
        difference = case.differences.get(slot.seq or 0)
        if difference is None:
            if not case.expected.may_vanish(slot.message):
                yield f"seq {slot.seq} is in the newest group, fits, and is missing"
        elif difference.cut:
            yield f"seq {slot.seq} is in the newest group, fits, and was cut"


def check_contiguous(case: Case) -> Iterator[str]:
    """
    What is dropped is the oldest: behind the pinned comes one unbroken run to the newest message.

    Before it may stand the user message that opens the turn in which the run begins.
    """
    if case.view.fit in ("cut", "empty"):
        return
    if case.view.fit == "dropped" and any(one.is_stripped for one in case.differences.values()):
        return  # of the newest block, calls may have been left out with their results
    start = case.run_start
    before = [seq for seq in case.rest if seq < start]
    if not before:
        return
    if start > case.log.last_seq:
        if set(before) <= set(task_of(case, start)) or _is_of_calls(case.log[start - 1].message):
            return  # the task goes last, and of a block that is too large its calls go first
        yield f"seqs {before} were kept and the newest messages were not"
    # The cut may have been at a message that was stripped away since.
    elif not any(set(before) <= set(task_of(case, seq)) for seq in case.run if seq <= start):
        yield f"seqs {before} are left before a cut at seq {start}"


def _is_of_calls(message: Mapping[str, Any]) -> bool:
    kinds = ("tool", "reasoning")
    is_result = TOOL_CALL_ID in message
    return is_result or all(
        is_provider_run(part) or is_skipped(part, kinds) for part in message["parts"]
    )


def task_of(case: Case, seq: int) -> list[int]:
    """Return the opener of the turn of *seq*, and the user messages right before it."""
    opener = case.log.opener_of(min(seq, case.log.last_seq))
    if opener is None:
        return []
    first = opener
    while first > 1 and opens_turn(case.log[first - 1].message):
        first -= 1
    return list(range(first, opener + 1))


def check_segments(case: Case) -> Iterator[str]:
    """The segments cover exactly what is returned, run by run, in order."""
    segments = list(case.view.segments)
    for is_summary, run in groupby(case.view.messages, key=lambda one: one["seq"] is None):
        seqs = [one["seq"] for one in run]
        problem = _take_summary(segments) if is_summary else _take_live(segments, seqs)
        if problem:
            yield f"{problem}; segments {_shown(case.view.segments)}"
            return
    if segments:
        yield f"segments beyond what is returned: {_shown(segments)}"
    if any(later.from_seq <= earlier.to_seq for earlier, later in pairwise(case.view.segments)):
        yield f"segments overlap or do not ascend: {_shown(case.view.segments)}"


def _take_live(segments: list[Segment], seqs: list[int]) -> str | None:
    """
    Take the segments of one live run off the list, and return what is wrong with them.

    A run with a gap in it (the pinned, then the rest) may be one segment or one on each side of the
    gap.
    """
    while seqs:
        if not segments or segments[0].type != "live" or segments[0].from_seq != seqs[0]:
            return f"no live segment begins at seq {seqs[0]}"
        last = segments.pop(0).to_seq
        if last not in seqs:
            return f"a live segment ends at seq {last}, which is not in its run"
        seqs = seqs[seqs.index(last) + 1 :]
        if seqs and seqs[0] == last + 1:
            return f"two segments for one run, divided after seq {last}"
    return None


def _take_summary(segments: list[Segment]) -> str | None:
    if not segments or segments[0].type != "summary":
        return "no summary segment for a run of summaries"
    taken = segments.pop(0)
    return None if 1 <= taken.from_seq <= taken.to_seq else f"{taken} stands for nothing"


def _shown(segments: Sequence[Segment]) -> str:
    return ", ".join(f"{one.type} {one.from_seq}-{one.to_seq}" for one in segments) or "none"


def check_window(case: Case) -> Iterator[str]:
    """
    Of a window that is known, what is returned are its entries as they are; unfitted, all of them.
    """
    window = case.expected.window
    if window is None:
        return
    waiting = iter(window)
    for position, returned in enumerate(case.view.messages):
        slot = next((one for one in waiting if one.seq == returned["seq"]), None)
        if slot is None:
            yield f"messages[{position}] (seq {returned['seq']}) is not an entry of the window"
            return
        yield from _check_entry(case, slot, returned, position)
    if case.view.fit == "whole" and len(case.view.messages) != len(window):
        yield f"{len(case.view.messages)} of {len(window)} entries came back, and fit is whole"
    yield from _check_summary_segment(case, window)


def _check_entry(
    case: Case, slot: Slot, returned: Mapping[str, Any], position: int
) -> Iterator[str]:
    where = f"messages[{position}]"
    may_be_cut = case.view.fit == "cut"
    counted = returned["token_count"]
    known = counted if slot.token_count is None else slot.token_count
    is_fitted = case.view.fit != "whole"
    if counted > known or (counted < known and not is_fitted):
        yield f"{where} counts {counted} tokens, not {known}"
    if slot.seq is not None:
        kept = case.differences[slot.seq].kept
        if kept != slot.kept and not (is_fitted and set(kept) <= set(slot.kept)):
            yield f"{where} (seq {slot.seq}) has other parts than the window"
    elif fingerprint(slot.message) != fingerprint(returned):
        difference = compare(slot.message, returned)
        if difference.faults or difference.is_stripped or not may_be_cut:
            yield f"{where} is not the summary that was given"


def _check_summary_segment(case: Case, window: Sequence[Slot]) -> Iterator[str]:
    summaries = [slot for slot in window if slot.seq is None]
    returned = [one for one in case.view.segments if one.type == "summary"]
    if len(returned) != 1 or not summaries:
        return
    (low, high), last = summaries[0].first, summaries[-1].last
    if not low <= returned[0].from_seq <= high or returned[0].to_seq != last:
        yield f"{_shown(returned)} should stand for the seqs {low} to {last}"


CHECKERS = {
    "version": check_version,
    "budget": check_budget,
    "sum": check_sum,
    "order": check_order,
    "flag": check_flag,
    "fit": check_fit,
    "values": check_values,
    "stripping": check_stripping,
    "cutting": check_cutting,
    "pairing": check_pairing,
    "pinned": check_pinned,
    "newest": check_newest,
    "contiguous": check_contiguous,
    "segments": check_segments,
    "window": check_window,
}
