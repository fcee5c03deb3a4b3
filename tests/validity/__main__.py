"""
Replay the real conversations and print what providers refuse: `python -m tests.validity`.

It ends with what the cuts cost, and exits with 1 if a goal of validity is missed.
With `--cost` it prints the cost alone, and with `--against DIR` the same for another checkout of
fastpaca, and the one divided by the other.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from tests.acceptance.data import DATA, SHAPES, available
from tests.validity.judged import PROVIDERS
from tests.validity.measured import CUTS, FASTPACA, Cell, Key, Plan, measured, plans
from tests.validity.replay import BUDGETS
from tests.validity.tables import (
    cost_table,
    kept_table,
    missed_goals,
    ratio_table,
    refused_table,
    rules_of,
    summary_table,
)

Cells = dict[Key, Cell]


def main() -> int:
    """Run what the command line asks for."""
    arguments = _parser().parse_args()
    if not available():
        print(f"There are no conversations in {DATA}.", file=sys.stderr)
        return 2
    if arguments.pickle:
        sys.stdout.buffer.write(pickle.dumps(_replayed(_planned(arguments))))
        return 0
    return _print_cost(arguments) if arguments.cost else _print_validity(arguments)


def _print_validity(arguments: argparse.Namespace) -> int:
    cells = _replayed(_planned(arguments))
    print(summary_table(cells), end="\n\n")
    for provider in PROVIDERS:
        print(refused_table(cells, provider), end="\n\n")
    print(kept_table(cells), end="\n\n")
    print(cost_table(cells), end="\n\n")
    for cut in (FASTPACA, *arguments.cut):
        print(f"{cut} breaks:", dict(rules_of(cells, cut)))
    for key, cell in sorted(cells.items()):
        if key[0] == FASTPACA and cell.examples:
            print(f"{key}:", *cell.examples, sep="\n  ")
    missed = missed_goals(cells)
    print("\n".join(["", *missed, f"{len(missed)} goals missed"]))
    return 1 if missed else 0


def _print_cost(arguments: argparse.Namespace) -> int:
    after = _replayed(_planned(arguments))
    print(cost_table(after))
    if arguments.against is not None:
        before = _elsewhere(arguments)
        print("\nbefore:\n" + cost_table(before), end="\n\n")
        print(ratio_table(before, after))
    return 0


def _elsewhere(arguments: argparse.Namespace) -> Cells:
    """Replay the same with the fastpaca of another checkout, in its own environment if it has."""
    directory = Path(arguments.against).resolve()
    python = directory / ".venv" / "bin" / "python"
    command = [str(python if python.exists() else sys.executable), "-m", "tests.validity"]
    options = ["--cost", "--pickle", "--policy", arguments.policy]
    options += [f"--source={source}" for source in arguments.source]
    options += [f"--budget={budget}" for budget in arguments.budget]
    options += ["--instructions"] if arguments.instructions else []
    path = os.pathsep.join([str(directory / "src"), str(Path.cwd())])
    done = subprocess.run(
        [*command, *options],
        check=True,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path},
    )
    cells: Cells = pickle.loads(done.stdout)  # our own child wrote it
    return cells


def _planned(arguments: argparse.Namespace) -> list[Plan]:
    return plans(
        arguments.source,
        budgets=tuple(arguments.budget or BUDGETS),
        policy=json.loads(arguments.policy),
        cuts=tuple(arguments.cut),
        has_instructions=arguments.instructions,
        judges=not arguments.cost,
    )


def _replayed(planned: Sequence[Plan]) -> Cells:
    """Replay each plan in a process of its own, as many at once as there are cores."""
    cells: Cells = {}
    with ProcessPoolExecutor() as pool:
        for found in pool.map(_measured, planned):
            cells |= found
    return cells


def _measured(plan: Plan) -> dict[Key, Cell]:
    return asyncio.run(measured(plan))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.validity", description=__doc__)
    many: dict[str, Any] = {"action": "append", "default": []}
    parser.add_argument("--source", choices=SHAPES, help="only this one; repeatable", **many)
    parser.add_argument("--budget", type=int, help="only this one; repeatable", **many)
    parser.add_argument("--policy", default="{}", help="added to each context's configuration")
    parser.add_argument("--cut", choices=CUTS, help="judge this too; repeatable", **many)
    parser.add_argument(
        "--instructions", action="store_true", help="3,000 tokens of system before each one"
    )
    parser.add_argument("--cost", action="store_true", help="print cost, not validity")
    parser.add_argument("--against", help="another checkout to compare the cost with")
    parser.add_argument("--pickle", action="store_true", help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
