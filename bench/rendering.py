"""What rendering a window for a provider costs, against decoding and encoding the same JSON."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec

from bench.measure import Bench, Result
from fastpaca.formats import FORMATS, Options, decoded, rendered

MESSAGES: Final = 100
TEXT: Final = "The quick brown fox jumps over the lazy dog and runs on to the river. " * 3


def conversation() -> list[bytes]:
    """Write 100 messages of about 400 bytes: of ten, two call a tool and two bring its result."""
    bodies = []
    for seq in range(1, MESSAGES + 1):
        step, call_id = seq % 5, f"call_{seq // 5:020d}"
        role = "user" if step % 2 else "assistant"
        part: dict[str, Any] = {"type": "text", "text": TEXT}
        if step == 2:
            given = {"query": TEXT[:100], "limit": 10}
            part = {"type": "tool_use", "id": call_id, "name": "look_up", "input": given}
        elif step == 3:
            part = {"type": "tool_result", "tool_use_id": call_id, "content": TEXT}
        body: dict[str, Any] = {"seq": seq, "version": seq, "role": role, "parts": [part]}
        body |= {"metadata": {}, "token_count": 60, "inserted_at": "2026-01-01T00:00:00.000000Z"}
        bodies.append(msgspec.json.encode(body))
    return bodies


def rendering_against_json(bench: Bench) -> Iterator[Result]:
    """Compare each format with the JSON alone."""
    bodies = conversation()
    text = b"[" + b",".join(bodies) + b"]"
    for name in FORMATS:
        ratios, times = [], []
        for _ in range(max(bench.repeats, 3)):
            json_s = _best(lambda: msgspec.json.encode(msgspec.json.decode(text)))
            times.append(
                _best(lambda: msgspec.json.encode(rendered(decoded(bodies), name, Options())))  # noqa: B023 - called at once
            )
            ratios.append(times[-1] / json_s)
        detail = f"{min(times) * 1e6:.0f} us for {len(text) // 1000} kB"
        yield Result(
            f"a rendering for {name} / its JSON, decoded and encoded", "<= 4", ratios, detail
        )


def _best(work: Callable[[], object], times: int = 50) -> float:
    """Return the shortest of many times, in seconds: others may use the machine, too."""
    best = float("inf")
    for _ in range(times):
        started = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - started)
    return best
