"""
A node in the process of its client, against a session of the OpenAI Agents SDK on SQLite.

Measured in a process of its own (`python -m bench.local`, which reads a `Plan` and writes pairs):
the packages of that SDK stand apart, since they exclude newer ones of ours.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from bench.measure import TEXT, Bench, Result
from fastpaca import AsyncFastpaca

PACKAGES: Final = Path(sys.prefix, "agents")
"""Where `make bench` installs requirements/bench.txt."""

HISTORIES: Final = (100, 10_000)

AT_ONCE: Final = {1: ">= 0.8", 16: ">= 1.5"}
"""How many conversations take turns at once, and the goal."""

BUDGET: Final = 8000

ITEMS: Final = 30
"""What a session is asked for: about as many messages as a window of the budget holds."""

USER: Final = {"role": "user", "content": TEXT[:200]}
ASSISTANT: Final = {"role": "assistant", "content": TEXT[:200]}

Turn = Callable[[], Awaitable[object]]


class Plan(msgspec.Struct):
    """What to measure: so many turns of so many seconds."""

    history: int
    at_once: int
    seconds: float
    repeats: int


def turns_against_a_session(bench: Bench) -> Iterator[Result]:
    """Turns of a conversation: append the question, read what the model gets, append its answer."""
    path = os.pathsep.join([str(PACKAGES), *filter(None, [os.environ.get("PYTHONPATH")])])
    for history in HISTORIES:
        for at_once, goal in AT_ONCE.items():
            plan = Plan(history, at_once, bench.seconds, bench.repeats)
            done = subprocess.run(
                [sys.executable, "-m", "bench.local"],
                input=msgspec.json.encode(plan),
                stdout=subprocess.PIPE,
                env=os.environ | {"PYTHONPATH": path},
                check=True,
            )
            pairs = msgspec.json.decode(done.stdout, type=list[tuple[float, float]])
            left, right = (statistics.median(side) for side in zip(*pairs, strict=True))
            yield Result(
                f"local turns at {history:,} messages, {at_once} at once / session",
                goal,
                [ours / theirs for ours, theirs in pairs],
                f"{left:,.0f} against {right:,.0f} a second",
            )


async def _measured(plan: Plan, directory: Path) -> list[tuple[float, float]]:
    """Measure both sides in turns; return the pairs, turns per second."""
    async with AsyncFastpaca.local(directory / "node", token_estimator="chars") as client:
        ours = [await _conversation(client, f"c{n}", plan.history) for n in range(plan.at_once)]
        theirs = [await _session(directory, f"s{n}", plan.history) for n in range(plan.at_once)]
        pairs = []
        for turn in range(plan.repeats):
            sides = (ours, theirs) if turn % 2 == 0 else (theirs, ours)
            first, second = [await _per_second(plan.seconds, side) for side in sides]
            pairs.append((first, second) if turn % 2 == 0 else (second, first))
    return pairs


async def _conversation(client: AsyncFastpaca, name: str, history: int) -> Turn:
    context = await client.context(name, budget=BUDGET)
    messages = [_message(USER), _message(ASSISTANT)] * (history // 2)
    for start in range(0, history, 1000):
        await context.append(messages[start : start + 1000])

    async def turn() -> None:
        await context.append(_message(USER))
        await context.context()
        await context.append(_message(ASSISTANT))

    return turn


def _message(item: dict[str, str]) -> dict[str, Any]:
    return {"role": item["role"], "parts": [{"type": "text", "text": item["content"]}]}


async def _session(directory: Path, name: str, history: int) -> Turn:
    # `make bench` installs it apart from everything else.
    from agents import SQLiteSession  # noqa: PLC0415

    session = SQLiteSession(name, directory / "sessions.db")
    for _ in range(history // 1000 or 1):
        await session.add_items([USER, ASSISTANT] * (min(history, 1000) // 2))

    async def turn() -> None:
        await session.add_items([USER])
        await session.get_items(limit=ITEMS)
        await session.add_items([ASSISTANT])

    return turn


async def _per_second(seconds: float, turns: list[Turn]) -> float:
    """Take *turns* at once, over and over, for as long as a measurement lasts."""
    ends = time.perf_counter() + seconds
    count = 0

    async def repeat(turn: Turn) -> None:
        nonlocal count
        while time.perf_counter() < ends:
            await turn()
            count += 1

    started = time.perf_counter()
    await asyncio.gather(*map(repeat, turns))
    return count / (time.perf_counter() - started)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="fastpaca-bench-") as name:
        wanted = msgspec.json.decode(sys.stdin.buffer.read(), type=Plan)
        sys.stdout.buffer.write(msgspec.json.encode(asyncio.run(_measured(wanted, Path(name)))))
