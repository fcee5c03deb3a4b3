"""
A whole run: many replays at once over one server, the restarts afterwards, and the table.

A restarted server must answer with the same bytes: a window that was just rebuilt from the store
equals the hot one.
So must one that counts tokens in another way, since counts are stored; only a text that is cut for
a read is counted anew, so cut views are then held to their budget alone.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from tests.acceptance.connection import Connection
from tests.acceptance.outcome import Finding, Outcome
from tests.acceptance.plan import Run
from tests.acceptance.replay import Replay
from tests.acceptance.server import running
from tests.acceptance.traffic import Broken, Traffic, Violation

AT_ONCE = 16

Progress = Callable[[str], None]
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Campaign:
    """What to replay, and the seed of everything that is drawn."""

    runs: Sequence[Run]
    seed: int
    prefix: str = "acceptance"
    progress: Progress = lambda line: None
    environment: Mapping[str, str] = field(default_factory=dict)
    """What the server is told while the replays run; not after the restarts."""

    def over_own_server(self, directory: Path) -> list[Outcome]:
        """
        Replay everything over a server with its data in *directory*, and ask it again after
        restarts.

        Raises:
            ServerFailed: It did not start, or did not end as it should.
        """
        with running(directory, **self.environment) as url:
            outcomes = asyncio.run(self._replay_all(url))
        for label, environment in (
            ("restart", {}),
            ("restart with another token estimator", {"FASTPACA_TOKEN_ESTIMATOR": "chars"}),
        ):
            self.progress(f"{label}: comparing {sum(len(one.views) for one in outcomes)} views")
            with running(directory, **environment) as url:
                outcomes = asyncio.run(self._compare_all(url, outcomes, label, not environment))
        return outcomes

    def over_server_at(self, url: str) -> list[Outcome]:
        """Replay everything over the server at *url*, which is not restarted."""
        return asyncio.run(self._replay_all(url))

    async def _replay_all(self, url: str) -> list[Outcome]:
        started, done = time.monotonic(), 0
        total = sum(run.weight for run in self.runs)

        async def replay(http: Connection, run: Run) -> Outcome:
            nonlocal done
            outcome = await Replay(http, run, self.seed, self.prefix).run()
            before, done = done, done + run.weight
            if before * 20 // total < done * 20 // total:
                seconds = time.monotonic() - started
                self.progress(f"{done:,} of {total:,} messages after {seconds:.0f} s")
            for finding in outcome.findings:
                self.progress(str(finding))
            return outcome

        return await _at_once(url, replay, self.runs)

    async def _compare_all(
        self, url: str, outcomes: Sequence[Outcome], label: str, is_same_estimator: bool
    ) -> list[Outcome]:
        async def compare(http: Connection, outcome: Outcome) -> Outcome:
            violations = await _compare(http, outcome, label, is_same_estimator)
            last = len(outcome.run.conversation.messages) - 1
            found = [Finding(outcome.run, last, self.seed, one) for one in violations]
            return outcome.with_findings(found)

        return await _at_once(url, compare, outcomes)


async def _at_once(
    url: str,
    work: Callable[[Connection, Item], Awaitable[Result]],
    items: Sequence[Item],
) -> list[Result]:
    """Do *work* on all *items*, a few at a time, each worker over a connection of its own."""
    results: dict[int, Result] = {}
    waiting = iter(enumerate(items))

    async def worker() -> None:
        async with Connection(url) as http:
            for index, item in waiting:
                results[index] = await work(http, item)

    async with asyncio.TaskGroup() as workers:
        for _ in range(AT_ONCE):
            workers.create_task(worker())
    return [results[index] for index in range(len(items))]


async def _compare(
    http: Connection, outcome: Outcome, label: str, is_same_estimator: bool
) -> list[Violation]:
    traffic = Traffic(http, outcome.context_id)
    violations: list[Violation] = []
    for budget, before in outcome.views.items():
        try:
            after = (await traffic.context(budget)).content
        except Broken as error:
            violations += error.violations
            continue
        if after != before and (is_same_estimator or not _is_cut_within_budget(after)):
            detail = f"the view with budget_tokens={budget} differs after a {label}"
            violations.append(Violation("restart", detail))
    return violations


def _is_cut_within_budget(content: bytes) -> bool:
    view = json.loads(content)
    return bool(view["fit"] == "cut" and view["used_tokens"] <= view["token_budget"])


def findings(outcomes: Iterable[Outcome]) -> list[Finding]:
    """Return all that was broken."""
    return [finding for one in outcomes for finding in one.findings]


HEADINGS = (
    *("source", "policy", "conversations", "replays", "messages", "compactions"),
    *("window starts", "tokens kept", "of history", "share"),
)


def table(outcomes: Sequence[Outcome]) -> str:
    """Write what was seen, per source and policy."""
    keys = dict.fromkeys(
        (one.run.conversation.source, one.run.configuration.strategy)
        for one in sorted(outcomes, key=_source_and_policy)
    )
    rows = [HEADINGS, *(_row(source, policy, outcomes) for source, policy in keys)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def _source_and_policy(outcome: Outcome) -> tuple[str, str]:
    return outcome.run.conversation.source, outcome.run.configuration.strategy


def _row(source: str, policy: str, outcomes: Sequence[Outcome]) -> tuple[str, ...]:
    own = [one for one in outcomes if _source_and_policy(one) == (source, policy)]
    tallies = [one.tally for one in own]
    kept = sum(one.kept_tokens for one in tallies)
    history = sum(one.history_tokens for one in tallies)
    numbers = (
        len({one.run.conversation.id for one in own}),
        len(own),
        sum(one.messages for one in tallies),
        sum(one.compactions for one in tallies),
        sum(one.window_starts for one in tallies),
        kept,
        history,
    )
    share = f"{kept / history:.0%}" if history else "-"
    return (source, policy, *(f"{number:,}" for number in numbers), share)
