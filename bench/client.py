"""What a call of the Python client costs beside the same request made with httpx alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import httpx

from bench.measure import MESSAGE, Bench, Result, create, fill
from bench.processes import node
from fastpaca import Fastpaca

MESSAGES = 20

CLOCKS = {"time": time.perf_counter, "processor time": time.process_time}


def overhead_of_calls(bench: Bench) -> Iterator[Result]:
    """One call after the other, on one connection, to a node that keeps everything in memory."""
    with node(None, "--store", "memory") as port:
        create(port, 3, token_budget=1_000_000)
        fill(port, 1, MESSAGES, text_bytes=250)
        url = f"http://127.0.0.1:{port}"
        with httpx.Client() as bare, Fastpaca(url) as client:
            filled, appended = client.context("c0"), client.context("c1")

            def append_alone() -> None:
                answer = bare.post(f"{url}/v1/contexts/c2/messages", json={"message": MESSAGE})
                answer.raise_for_status().json()

            def read_alone() -> None:
                bare.get(f"{url}/v1/contexts/c0/context").raise_for_status().json()

            calls: list[tuple[str, Callable[[], object], Callable[[], object]]] = [
                ("append", lambda: appended.append(MESSAGE), append_alone),
                ("context read", filled.context, read_alone),
            ]
            for name, call, alone in calls:
                for words, clock in CLOCKS.items():
                    yield _compared(bench, f"{name} / by httpx, {words}", clock, call, alone)


def _compared(
    bench: Bench,
    name: str,
    clock: Callable[[], float],
    call: Callable[[], object],
    alone: Callable[[], object],
) -> Result:
    ratios, words = bench.turns(
        lambda: _microseconds(bench, clock, call), lambda: _microseconds(bench, clock, alone)
    )
    return Result(f"Python SDK: {name}", "<= 1.3", ratios, f"{words} µs")


def _microseconds(bench: Bench, clock: Callable[[], float], call: Callable[[], object]) -> float:
    """Measure one *call*, over as many as there is time for."""
    call()
    count, started, ends = 0, clock(), time.perf_counter() + bench.seconds
    while time.perf_counter() < ends:
        call()
        count += 1
    return 1e6 * (clock() - started) / max(count, 1)
