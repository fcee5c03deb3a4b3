"""Appends while forks of 10,000 messages are made, one after the other, against those without."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Iterator
from typing import Final

from bench.measure import APPEND, MESSAGE, Bench, Result, create
from bench.processes import node
from bench.stalls import client, repeated

CONTEXTS: Final = 64
CONNECTIONS: Final = 16

MESSAGES: Final = 10_000


def appends_beside_forks(bench: Bench) -> Iterator[Result]:
    """The p99 of appends while forks are made, against the same without."""
    numbers = itertools.count(1)
    seconds: list[float] = []
    with node() as port, client(port) as http:
        create(port, CONTEXTS)
        http.put("/source", json={}).raise_for_status()
        for _ in range(MESSAGES // 1000):
            body = {"messages": [MESSAGE] * 1000}
            http.post("/source/messages", json=body).raise_for_status()

        def fork() -> None:
            started = time.perf_counter()
            http.post("/source/fork", json={"id": f"fork{next(numbers)}"}).raise_for_status()
            seconds.append(time.perf_counter() - started)

        def p99_ms() -> float:
            return bench.run(port, APPEND, connections=CONNECTIONS, contexts=CONTEXTS).p99_ms

        def p99_ms_beside() -> float:
            with repeated(fork):
                return p99_ms()

        pairs = [(p99_ms_beside(), p99_ms()) for _ in range(bench.repeats)]
    left, right = (statistics.median(side) for side in zip(*pairs, strict=True))
    yield Result(
        "append p99 beside forks of 10,000 messages / without",
        "<= 3",
        [beside / alone for beside, alone in pairs],
        f"{left:.1f} against {right:.1f} ms; a fork took {statistics.median(seconds):.1f} s",
    )
