"""
Replay real conversations against the real server: `python -m tests.acceptance`.

Exits with 0 if no rule was broken, with 1 and a description of each case if one was.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.acceptance.campaign import Campaign, findings, table
from tests.acceptance.data import DATA, SHAPES, available
from tests.acceptance.outcome import Outcome
from tests.acceptance.plan import PROFILES, Run, full_plan, plan_for
from tests.acceptance.server import ServerFailed


def main() -> int:
    """Run what the command line asks for."""
    arguments = _parser().parse_args()
    if not available():
        print(f"There are no conversations in {DATA}.", file=sys.stderr)
        return 2
    runs = _runs(arguments)
    if not runs:
        print("Nothing matches what was asked for.", file=sys.stderr)
        return 2
    prefix = "acceptance" if arguments.url is None else f"acceptance {time.time_ns()}"
    campaign = Campaign(runs, arguments.seed, prefix, lambda line: print(line, file=sys.stderr))
    print(
        f"{len(runs)} replays, {sum(run.weight for run in runs):,} appends, seed {arguments.seed}"
    )
    started = time.monotonic()
    try:
        outcomes = _outcomes(campaign, arguments.url)
    except ServerFailed as error:
        print(error)
        return 1
    print(table(outcomes))
    broken = findings(outcomes)
    for finding in broken:
        print(f"\n{finding}")
    print(f"\n{len(broken)} broken rules in {time.monotonic() - started:.0f} s")
    return 1 if broken else 0


def _outcomes(campaign: Campaign, url: str | None) -> list[Outcome]:
    if url is not None:
        return campaign.over_server_at(url)
    with tempfile.TemporaryDirectory(prefix="fastpaca-acceptance-") as directory:
        return campaign.over_own_server(Path(directory))


def _runs(arguments: argparse.Namespace) -> list[Run]:
    if arguments.conversation or arguments.configuration:
        wanted = (arguments.conversation, arguments.configuration, arguments.first)
        runs = plan_for(arguments.source, *wanted)
    else:
        runs = full_plan(arguments.source)
    runs = [run for run in runs if arguments.shape in (None, run.conversation.shape)]
    return runs[: arguments.limit]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.acceptance", description=__doc__)
    parser.add_argument(
        "--source", action="append", default=[], choices=SHAPES, help="only this one; repeatable"
    )
    parser.add_argument("--shape", help="only conversations in this shape")
    parser.add_argument("--conversation", help="only the conversation with this id")
    parser.add_argument(
        "--configuration",
        choices=[profile.name for profile in PROFILES],
        help="only this configuration",
    )
    parser.add_argument("--first", type=int, help="only so many messages of the conversation")
    parser.add_argument("--seed", type=int, default=1, help="of what is drawn (default 1)")
    parser.add_argument("--limit", type=int, help="at most so many replays, the longest first")
    parser.add_argument("--url", help="use a running server, and do not restart it")
    return parser


if __name__ == "__main__":
    sys.exit(main())
