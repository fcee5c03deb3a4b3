"""
Render the real conversations in every format and print what providers refuse.

`python -m tests.formats` exits with 1 if there is anything.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from concurrent.futures import ProcessPoolExecutor

from tests.acceptance.data import DATA, SHAPES, available
from tests.formats.ai_sdk import verdicts
from tests.formats.judged import BUDGETS, LISTS, PLAIN, Plan, Verdict, judged, plans
from tests.formats.samples import NAMES
from tests.validity.tables import aligned


def main() -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m tests.formats", description=__doc__)
    parser.add_argument("--source", choices=SHAPES, action="append", default=[])
    arguments = parser.parse_args()
    if not available():
        print(f"There are no conversations in {DATA}.", file=sys.stderr)
        return 2
    wanted = [plan for plan in plans() if not arguments.source or plan.source in arguments.source]
    found = Verdict()
    with ProcessPoolExecutor() as pool:
        for verdict in pool.map(_judged, wanted):
            found.merge(verdict)
    refused = [text for text in verdicts(found.ui_messages) if text != "ok"]
    found.violations["ai-sdk", "package"] += len(refused)
    _print(found)
    print("\n" + _table(found), end="\n\n")
    print(*refused[:3], sep="\n")
    return 1 if found.violations.total() else 0


def _judged(plan: Plan) -> Verdict:
    return asyncio.run(judged(plan))


def _table(found: Verdict) -> str:
    """Write the share of lists that each provider refuses, at each budget."""
    budgets = (0, *BUDGETS)
    rows = [("provider", "list", "whole history", *(f"{budget:,}" for budget in BUDGETS))]
    for name in PLAIN:
        for kind in LISTS:
            shares = [_share(found, (name, kind, budget)) for budget in budgets]
            rows.append((name, kind, *shares))
    lists = [f"{found.judged['anthropic', LISTS[0], budget]:,}" for budget in budgets]
    return aligned([*rows, ("lists", "", *lists)])


def _share(found: Verdict, key: tuple[str, str, int]) -> str:
    lists = found.judged[key]
    return f"{found.refused[key] / lists:.1%}" if lists else "-"


def _print(found: Verdict) -> None:
    print(f"{'format':<18}{'renderings':>12}{'violations':>12}  repairs and losses")
    for name in NAMES:
        violations = sum(n for (one, _), n in found.violations.items() if one == name)
        notes = [
            f"{code} {count}"
            for counts in (found.repairs, found.losses)
            for (one, code), count in sorted(counts.items())
            if one == name
        ]
        print(f"{name:<18}{found.renderings[name]:>12}{violations:>12}  {', '.join(notes)}")
    for (name, rule), count in sorted(found.violations.items()):
        if count:
            print(f"{name} refuses: {rule} ({count})")
    print(*found.examples, sep="\n")


if __name__ == "__main__":
    sys.exit(main())
