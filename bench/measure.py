"""What all sections of the bench share: the load they put on, and how a ratio is told."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import httpx

from bench.load import Figures, Plan
from bench.processes import load

TEXT = "The quick brown fox jumps over the lazy dog and runs on to the river, again and again. " * 5
MESSAGE = {"role": "user", "parts": [{"type": "text", "text": TEXT}]}
BODY = json.dumps({"message": MESSAGE}, separators=(",", ":"))
APPEND = ("POST /v1/contexts/c{c}/messages HTTP/1.1", BODY)
APPEND_KEYED = ("POST /v1/contexts/c{c}/messages HTTP/1.1\r\nIdempotency-Key: k-{n}", BODY)
APPEND_WITH_ID = (
    APPEND[0],
    json.dumps({"message": {"id": "{id}", **MESSAGE}}, separators=(",", ":")),
)
VIEW = ("GET /v1/contexts/c{c}/context HTTP/1.1", "")


class Result(NamedTuple):
    """
    One ratio, as it was measured.

    Attributes:
        name: What is compared.
        goal: What it is held to, such as ">= 0.5".
        ratios: One per turn.
        detail: The absolute figures behind it, of this machine and this day.
    """

    name: str
    goal: str
    ratios: list[float]
    detail: str

    @property
    def median(self) -> float:
        return statistics.median(self.ratios)

    @property
    def is_met(self) -> bool:
        sign, value = self.goal.split()
        return self.median >= float(value) if sign == ">=" else self.median <= float(value)


class Bench:
    """What all measurements share: how long, how often, and the tree to compare with, if any."""

    def __init__(
        self,
        seconds: float,
        repeats: int,
        history: int,
        contexts: int,
        against: Path | None = None,
    ) -> None:
        self.against = against
        self.seconds = seconds
        self.repeats = repeats
        self.history = history
        self.contexts = contexts
        self._runs = 0

    def run(
        self,
        port: int,
        *requests: tuple[str, str],
        connections: int = 64,
        contexts: int = 1000,
        nodes: Sequence[int] = (),
        is_sticky: bool = False,
    ) -> Figures:
        """Put load on a server."""
        self._runs += 1
        return load(
            Plan(
                port=port,
                requests=list(requests),
                connections=connections,
                seconds=self.seconds,
                contexts=contexts,
                run=str(self._runs),
                nodes=list(nodes),
                is_sticky=is_sticky,
            )
        )

    def turns(
        self, left: Callable[[], float], right: Callable[[], float]
    ) -> tuple[list[float], str]:
        """Measure both in turns; the ratios, and the medians of both sides in words."""
        pairs = []
        for turn in range(self.repeats):
            first, second = (left, right) if turn % 2 == 0 else (right, left)
            a, b = first(), second()
            pairs.append((a, b) if turn % 2 == 0 else (b, a))
        lefts, rights = zip(*pairs, strict=True)
        words = f"{statistics.median(lefts):,.0f} against {statistics.median(rights):,.0f}"
        return [a / b for a, b in pairs], words


def create(port: int, contexts: int, token_budget: int = 8000) -> None:
    """Create contexts `c0`, `c1` …"""
    with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
        for number in range(contexts):
            client.put(
                f"/v1/contexts/c{number}", json={"token_budget": token_budget}
            ).raise_for_status()


def fill(port: int, contexts: int, messages: int, text_bytes: int) -> None:
    """Append *messages* to each context."""
    text = (TEXT * (1 + text_bytes // len(TEXT)))[:text_bytes]
    batch = [{"role": "user", "parts": [{"type": "text", "text": text}]}] * messages
    with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
        for number in range(contexts):
            client.post(
                f"/v1/contexts/c{number}/messages", json={"messages": batch}
            ).raise_for_status()
