"""
Replay the real conversations and print what providers refuse: `python -m tests.validity`.

Exits with 1 if a goal is missed.
With `--cost` it prints what the cuts cost instead, and with `--against DIR` the same for another
checkout of fastpaca, in turns of one run.
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
from tests.validity.measured import CUTS, Cell, Key, Plan, measured, plans
from tests.validity.replay import BUDGETS
from tests.validity.tables import (
    POOLED_FROM,
    aligned,
    cost_table,
    kept_table,
    missed_goals,
    refused_table,
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
    for provider in PROVIDERS:
        print(refused_table(cells, provider), end="\n\n")
    print(kept_table(cells))
    for key, cell in sorted(cells.items()):
        if cell.rules:
            print(f"\n{key}: {cell.rules}")
            print("\n".join(f"  {example}" for example in cell.examples))
    missed = missed_goals(cells)
    print("\n".join(["", *missed, f"{len(missed)} goals missed"]))
    return 1 if missed else 0


def _print_cost(arguments: argparse.Namespace) -> int:
    now = _replayed(_planned(arguments))
    print(cost_table(now))
    if arguments.against is None:
        return 0
    before = _elsewhere(arguments)
    print("\nbefore:\n" + cost_table(before), end="\n\n")
    print(_ratios(before, now))
    return 0


def _ratios(before: Cells, now: Cells) -> str:
    rows: list[Sequence[str]] = [("after / before", "budget", "cuts", "rewritten tokens")]
    pooled = Cell(), Cell()
    for key in sorted(before.keys() & now.keys()):
        old, new = before[key], now[key]
        if key[3] >= POOLED_FROM:
            pooled[0].add(old)
            pooled[1].add(new)
        rows.append((f"{key[1]} ({key[2]})", f"{key[3]:,}", *_ratio(old, new)))
    rows.append(("all", f"from {POOLED_FROM:,}", *_ratio(*pooled)))
    return aligned(rows)


def _ratio(old: Cell, new: Cell) -> tuple[str, str]:
    def divided(above: int, below: int) -> str:
        return f"{above / below:.2f}" if below else "-" if not above else f"{above} / 0"

    return divided(new.cuts, old.cuts), divided(new.rewritten_tokens, old.rewritten_tokens)


def _elsewhere(arguments: argparse.Namespace) -> Cells:
    """Replay the same with the fastpaca of another checkout, in its own environment if it has."""
    directory = Path(arguments.against).resolve()
    python = directory / ".venv" / "bin" / "python"
    command = [str(python if python.exists() else sys.executable), "-m", "tests.validity"]
    options = [word for word in sys.argv[1:] if word != "--cost"]
    at = options.index("--against") if "--against" in options else None
    options = options[:at] + options[at + 2 :] if at is not None else options
    path = os.pathsep.join([str(directory / "src"), str(Path.cwd())])
    done = subprocess.run(
        [*command, *options, "--cost", "--pickle"],
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
