"""The live stream: how fast and how soon followers are told, and what one costs that waits."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from bench.following import Followed, Following
from bench.measure import Bench, Result, create
from bench.memory import resident_bytes
from bench.processes import LOAD_CORE, Process, node_process, serving

FOLLOWERS: Final = 1000
PLACES: Final = ("--stream-max-connections", str(2 * FOLLOWERS))
BUDGET: Final = 8000


def stream(bench: Bench) -> Iterator[Result]:
    """Followers of one context and of many: deliveries, latency, memory."""
    yield from one_context(bench)
    yield from many_contexts(bench)
    yield idle_followers(bench)


def one_context(bench: Bench) -> Iterator[Result]:
    """Frames to followers of one context against a loop that sends frames of that size."""
    with followed(1) as (port, _):
        plan = Following(port, FOLLOWERS, writers=4, seconds=bench.seconds)
        size = follow(plan).frame_bytes
        appends: list[float] = []

        def deliver() -> float:
            found = follow(plan)
            appends.append(found.appends)
            return found.frames

        with serving(["-m", "bench.broadcast", str(round(size))]) as bare:
            loop = Following(bare, FOLLOWERS, seconds=bench.seconds)
            ratios, words = bench.turns(deliver, lambda: follow(loop).frames)
        yield Result(
            f"frames to {FOLLOWERS:,} followers of a context / bare loop",
            ">= 0.5",
            ratios,
            f"{words} a second, {size:.0f} bytes each; {_median(appends):,.0f} appends a second",
        )


def many_contexts(bench: Bench) -> Iterator[Result]:
    """Appends to contexts that have a follower each against such that have none; the latency."""
    with followed(FOLLOWERS) as (port, _):
        found: list[Followed] = []

        def write(followers: int) -> Callable[[], float]:
            plan = Following(port, followers, contexts=FOLLOWERS, writers=64, seconds=bench.seconds)

            def run() -> float:
                figures = follow(plan)
                if followers:
                    found.append(figures)
                return figures.appends

            return run

        ratios, words = bench.turns(write(FOLLOWERS), write(0))
        frames = _median([figures.frames for figures in found])
        yield Result(
            f"appends to {FOLLOWERS:,} followed contexts / to others",
            ">= 0.5",
            ratios,
            f"{words} a second; {frames:,.0f} frames a second",
        )
        calm = Following(port, 100, contexts=100, writers=2, seconds=bench.seconds, pause_ms=10)
        calm_runs = [follow(calm) for _ in range(bench.repeats)]
        yield _latency("calm", calm_runs)
        yield _latency("under full load", found)


def _latency(name: str, found: list[Followed]) -> Result:
    """Hold the time from an answered append to its delivery against that of the append itself."""
    middle = sorted(found, key=lambda figures: figures.delivery_ms[1])[len(found) // 2]
    return Result(
        f"delivery behind the answer, p99 / append p99, {name}",
        "<= 1",
        [figures.delivery_ms[1] / figures.append_ms[1] for figures in found],
        "p50 {:.2f} ms, p99 {:.2f} ms; append {:.2f} ms, {:.2f} ms".format(
            *middle.delivery_ms, *middle.append_ms
        ),
    )


def idle_followers(bench: Bench) -> Result:
    """Memory of a follower to whom nothing happens."""
    sizes = []
    for _ in range(bench.repeats):
        with followed(1) as (port, process):
            follow(Following(port, 50, seconds=0.5))
            before = resident_bytes(process)
            with following(Following(port, FOLLOWERS, seconds=3600)):
                sizes.append((_settled(process) - before) / FOLLOWERS / 1000)
    return Result("kB of a follower that waits", "<= 20", sizes, "resident memory of the node")


def _settled(process: Process) -> int:
    """Wait until a node takes no more memory."""
    before = 0
    while (taken := resident_bytes(process)) > before:
        before = taken
        time.sleep(2)
    return taken


@contextmanager
def followed(contexts: int) -> Iterator[tuple[int, Process]]:
    """Run a node with so many contexts, and room for followers."""
    with (
        tempfile.TemporaryDirectory(prefix="fastpaca-bench-") as name,
        node_process(Path(name), *PLACES) as (port, process),
    ):
        create(port, contexts, token_budget=BUDGET)
        yield port, process


def follow(plan: Following) -> Followed:
    """Carry out *plan* in a process of its own on the load's core."""
    with following(plan) as process:
        told, _ = process.communicate()
    if process.returncode:
        raise RuntimeError("the followers failed")
    return msgspec.json.decode(told, type=Followed)


@contextmanager
def following(plan: Following) -> Iterator[subprocess.Popen[bytes]]:
    """Have *plan* under way until the end of the block."""
    plan.core = LOAD_CORE if (os.cpu_count() or 1) > LOAD_CORE else None
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.following"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None
    try:
        process.stdin.write(msgspec.json.encode(plan))
        process.stdin.close()
        process.stdin = None
        yield process
    finally:
        process.kill()
        process.wait()


def _median(figures: list[float]) -> float:
    return sorted(figures)[len(figures) // 2]
