"""
What a window in the form of a provider costs: rendering it, against decoding and encoding the same
JSON, and reading it again, against reading the window as it is stored.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, Final

import httpx
import msgspec

from bench.measure import VIEW, Bench, Result, create
from bench.processes import node
from fastpaca.formats import FORMATS, Options, decoded, rendered

MESSAGES: Final = 100
CONTEXTS: Final = 64
TEXT: Final = "The quick brown fox jumps over the lazy dog and runs on to the river. " * 3

Message = dict[str, Any]


def texts() -> list[Message]:
    """Return 100 messages of the user and the assistant in turn, of one text each."""
    return [_said("user" if seq % 2 else "assistant") for seq in range(MESSAGES)]


def tools() -> list[Message]:
    """Return 100 messages of an agent: of five, one calls a tool and one brings its result."""
    messages = []
    for seq in range(1, MESSAGES + 1):
        step, call_id = seq % 5, f"call_{seq // 5:020d}"
        part: dict[str, Any] = {"type": "text", "text": TEXT}
        if step == 2:
            given = {"query": TEXT[:100], "limit": 10}
            part = {"type": "tool_use", "id": call_id, "name": "look_up", "input": given}
        elif step == 3:
            part = {"type": "tool_result", "tool_use_id": call_id, "content": TEXT}
        messages.append({"role": "user" if step % 2 else "assistant", "parts": [part]})
    return messages


def _said(role: str) -> Message:
    return {"role": role, "parts": [{"type": "text", "text": TEXT}]}


def rendering_against_json(bench: Bench) -> Iterator[Result]:
    """Compare each format with the JSON alone: for texts, and for an agent's calls and results."""
    for words, messages in (("texts", texts()), ("calls and results", tools())):
        bodies = [_stored(seq, message) for seq, message in enumerate(messages, 1)]
        for name in FORMATS:
            yield _rendering(bench, name, words, bodies)


def _stored(seq: int, message: Message) -> bytes:
    """Write a message as a window holds it, about 400 bytes."""
    added = {"metadata": {}, "token_count": 60, "inserted_at": "2026-01-01T00:00:00.000000Z"}
    return msgspec.json.encode({"seq": seq, "version": seq, **message, **added})


def _rendering(bench: Bench, name: str, words: str, bodies: list[bytes]) -> Result:
    text = b"[" + b",".join(bodies) + b"]"
    ratios, times = [], []
    for _ in range(max(bench.repeats, 3)):
        json_s = _best(lambda: msgspec.json.encode(msgspec.json.decode(text)))
        times.append(_best(lambda: msgspec.json.encode(rendered(decoded(bodies), name, Options()))))
        ratios.append(times[-1] / json_s)
    detail = f"{min(times) * 1e6:.0f} us for {len(text) // 1000} kB"
    return Result(f"{words} as {name} / their JSON, both ways", "<= 4", ratios, detail)


def _best(work: Callable[[], object], times: int = 50) -> float:
    """Return the shortest of many times, in seconds: others may use the machine, too."""
    best = float("inf")
    for _ in range(times):
        started = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - started)
    return best


def cached_rendering_against_window(bench: Bench) -> Iterator[Result]:
    """Reads of a hot context of 100 messages in a format, against reads of it as it is stored."""
    with node() as port:
        create(port, CONTEXTS, token_budget=1_000_000)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
            for number in range(CONTEXTS):
                batch = {"messages": tools()}
                client.post(f"/v1/contexts/c{number}/messages", json=batch).raise_for_status()
        for name in FORMATS:
            asked = (VIEW[0].replace("/context ", f"/context?format={name} "), VIEW[1])

            def us(request: tuple[str, str]) -> float:
                figures = bench.run(port, request, contexts=CONTEXTS)
                return 1e6 / figures.per_second

            ratios, words = bench.turns(lambda: us(asked), lambda: us(VIEW))  # noqa: B023 - called at once
            yield Result(
                f"cached read as {name} / as it is stored",
                "<= 1.1",
                ratios,
                f"{words} us each",
            )
