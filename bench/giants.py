"""
Appends to the pure core: at the end of an agent's long log, and of a giant step, against others.

Processor time of the thread that appends, so that others on the machine count less.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterator
from typing import Any

from bench.measure import Bench, Result
from fastpaca.context import ContextState, jsontext
from fastpaca.context.context import create
from fastpaca.context.draft import parse
from fastpaca.context.ops import Append, Counted, Put
from fastpaca.tokens import CharsCounter, count_message

SAMPLE = 1000
LOG = 100_000
RESULTS = 10_000


def appends_to_giants(bench: Bench) -> Iterator[Result]:
    """What appends cost far on in an agent's log, and while and after a giant step."""
    log = [append for number in range(LOG // 2 + SAMPLE) for append in step(number)]
    ratios, figures = [], []
    for _ in range(bench.repeats):
        times = timed(log)
        early = statistics.mean(times[1000 : 1000 + SAMPLE])
        late = statistics.mean(times[LOG : LOG + SAMPLE])
        ratios.append(late / early)
        figures.append(late)
    detail = f"{1e6 * statistics.median(figures):.1f} µs each, trims included"
    yield Result("append at message 100,000 of an agent / at 1,000", "<= 1.5", ratios, detail)
    steps = [step(number) for number in range(RESULTS)]
    giant = [message("user", text("the task")), *(s[0] for s in steps), *(s[1] for s in steps)]
    ratios = []
    for _ in range(bench.repeats):
        times = timed(giant)
        usual = statistics.median(timed(log[: 2 * SAMPLE]))
        ratios.append(statistics.median(times[-SAMPLE:]) / usual)
    yield Result("10,000th result of one step / an ordinary append", "<= 1.5", ratios, "medians")


def step(number: int) -> tuple[Append, Append]:
    """A call and its result."""
    name = f"c{number}"
    call = {"type": "tool_call", "tool_call_id": name, "name": "look", "payload": {"line": 12}}
    result = {"type": "tool_result", "tool_call_id": name, "content": "line 12: return 1"}
    return message("assistant", call), message("tool", result)


def text(content: str) -> dict[str, Any]:
    """A text."""
    return {"type": "text", "text": content}


def message(role: str, part: dict[str, Any]) -> Append:
    """The op that appends a message of one part."""
    sent = json.dumps({"role": role, "parts": [part]}).encode()
    draft = parse(jsontext.minified(sent), "message")
    return Append((Counted(draft, count_message(CharsCounter(), draft)),))


def timed(ops: list[Append]) -> list[float]:
    """Append one by one under the default configuration; return the seconds of each."""
    context: ContextState
    context, _ = create("c", Put(), 1)
    seconds = []
    for op in ops:
        started = time.thread_time()
        context, _ = context.apply(op, 1)
        seconds.append(time.thread_time() - started)
    return seconds
