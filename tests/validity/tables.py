"""Writing cells as tables, and holding them to the goals."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from tests.validity.judged import PROVIDERS
from tests.validity.measured import FASTPACA, Cell, Key

POOLED_FROM: Final = 8_000
"""Budgets from which a goal holds: at 4,000 tokens single messages are larger than the budget."""

ANTHROPIC_POOLED: Final = 0.025
ANTHROPIC_CELL: Final = 0.05
WITHOUT_TASK: Final = 0.005

Cells = Mapping[Key, Cell]

Lane = tuple[str, str, str]
"""A key without its budget."""


def summary_table(cells: Cells) -> str:
    """Write what each cut is refused and what it keeps, pooled over the budgets with goals."""
    rows: list[Sequence[str]] = [
        (f"from {POOLED_FROM // 1000}k", "trimmed", *PROVIDERS, "empty", "task present")
    ]
    for lane in _trimmed_lanes(cells):
        pooled = _pooled(cells, lane)
        if pooled.trimmed:
            refused = [_percent(pooled.refused.get(name, 0), pooled.trimmed) for name in PROVIDERS]
            kept = _percent(pooled.trimmed - pooled.without_task, pooled.trimmed)
            row = (f"{pooled.trimmed:,}", *refused, f"{pooled.empty:,}", kept)
            rows.append((_label((*lane, 0)), *row))
    return aligned(rows)


def refused_table(cells: Cells, provider: str) -> str:
    """Write, for each source and cut, how many trimmed calls *provider* refuses."""

    def write(cell: Cell) -> str:
        share = _percent(cell.refused.get(provider, 0), cell.trimmed)
        return f"{share} of {cell.trimmed:,}"

    return _by_budget(cells, f"{provider} refuses", write)


def kept_table(cells: Cells) -> str:
    """Write how often the task of the running turn was there."""

    def write(cell: Cell) -> str:
        return _percent(cell.trimmed - cell.without_task, cell.trimmed)

    return _by_budget(cells, "task present", write)


def cost_table(cells: Cells) -> str:
    """Write cuts per 1,000 calls, the mean share of the budget, and tokens sent anew a call."""
    rows: list[Sequence[str]] = [
        ("source", "budget", "calls", "cuts a 1,000", "tokens / budget", "rewritten a call")
    ]
    totals: dict[str, tuple[Cell, float]] = {}
    for key in _sorted(cells):
        cell = cells[key]
        if not cell.calls:
            continue
        used = cell.used_tokens / key[3]
        rows.append(_cost_row(_label(key), f"{key[3]:,}", cell, used))
        if key[3] >= POOLED_FROM:
            total, shares = totals.get(key[0], (Cell(), 0.0))
            total.add(cell)
            totals[key[0]] = total, shares + used
    for cut, (total, shares) in totals.items():
        rows.append(_cost_row(f"all, {cut}", f"from {POOLED_FROM:,}", total, shares))
    return aligned(rows)


def _cost_row(label: str, budget: str, cell: Cell, budgets_used: float) -> Sequence[str]:
    """Write one row; *budgets_used* is the sum over the calls of the share of the budget."""
    return (
        label,
        budget,
        f"{cell.calls:,}",
        f"{1000 * cell.cuts / cell.calls:.0f}",
        f"{budgets_used / cell.calls:.2f}",
        f"{cell.rewritten_tokens / cell.calls:,.0f}",
    )


def ratio_table(before: Cells, after: Cells) -> str:
    """Write the cost of *after* divided by that of *before*, cell by cell and pooled."""
    rows: list[Sequence[str]] = [("after / before", "budget", "cuts", "rewritten tokens")]
    pooled = Cell(), Cell()
    for key in _sorted(before):
        old, new = before[key], after.get(key, Cell())
        if not old.calls or not new.calls:
            continue
        if key[3] >= POOLED_FROM:
            pooled[0].add(old)
            pooled[1].add(new)
        rows.append((_label(key), f"{key[3]:,}", *_ratios(old, new)))
    rows.append(("all", f"from {POOLED_FROM:,}", *_ratios(*pooled)))
    return aligned(rows)


def _ratios(before: Cell, after: Cell) -> tuple[str, str]:
    def divided(above: int, below: int) -> str:
        return f"{above / below:.2f}" if below else "-" if not above else f"{above:,} / 0"

    return (
        divided(after.cuts, before.cuts),
        divided(after.rewritten_tokens, before.rewritten_tokens),
    )


def rules_of(cells: Cells, cut: str) -> Mapping[str, int]:
    """Count by provider and rule what the views of *cut* break, the most frequent first."""
    total = _sum(cell for key, cell in cells.items() if key[0] == cut)
    return dict(sorted(total.rules.items(), key=lambda item: -item[1]))


def missed_goals(cells: Cells) -> list[str]:
    """Return a sentence for each goal of validity that the views of fastpaca miss."""
    own = {key: cell for key, cell in cells.items() if key[0] == FASTPACA}
    missed = [
        f"{_label(key)} at {key[3]:,}: {cell.empty} empty views"
        for key, cell in own.items()
        if cell.empty
    ]
    for label, pooled, single in _sources(own):
        for provider in PROVIDERS:
            bound = ANTHROPIC_POOLED if provider == "anthropic" else 0.0
            share = _share(pooled.refused.get(provider, 0), pooled.trimmed)
            if share > bound:
                missed.append(f"{label}: {provider} refuses {share:.1%}, at most {bound:.1%}")
        worst = max((_share(c.refused.get("anthropic", 0), c.trimmed) for c in single), default=0)
        if worst > ANTHROPIC_CELL:
            missed.append(f"{label}: a cell in which anthropic refuses {worst:.1%}")
        lost = _share(pooled.without_task, pooled.trimmed)
        if lost > WITHOUT_TASK:
            missed.append(f"{label}: the task is missing in {lost:.1%}")
    return missed


def _sources(cells: Cells) -> Iterable[tuple[str, Cell, list[Cell]]]:
    """Return, per source and shape, the sum and the cells of the budgets that have goals."""
    grouped: dict[str, list[Cell]] = {}
    for key in _sorted(cells):
        if key[3] >= POOLED_FROM:
            grouped.setdefault(_label(key), []).append(cells[key])
    for label, single in grouped.items():
        yield label, _sum(single), single


def _by_budget(cells: Cells, title: str, write: Callable[[Cell], str]) -> str:
    """Write a row for each lane, with a column for each budget; "-" where nothing was trimmed."""
    budgets = sorted({key[3] for key in cells})
    heads = [f"{budget // 1000}k" for budget in budgets]
    rows: list[Sequence[str]] = [(title, *heads, f"from {POOLED_FROM // 1000}k")]
    for lane in _trimmed_lanes(cells):
        single = [cells.get((*lane, budget), Cell()) for budget in budgets]
        columns = (*single, _pooled(cells, lane))
        label = _label((*lane, 0))
        rows.append((label, *(write(cell) if cell.trimmed else "-" for cell in columns)))
    return aligned(rows)


def _trimmed_lanes(cells: Cells) -> list[Lane]:
    """Return the lanes at which something was taken out at any budget."""
    return list(dict.fromkeys(key[:3] for key in _sorted(cells) if cells[key].trimmed))


def _pooled(cells: Cells, lane: Lane) -> Cell:
    return _sum(c for key, c in cells.items() if key[:3] == lane and key[3] >= POOLED_FROM)


def _percent(part: int, whole: int) -> str:
    return f"{_share(part, whole):.1%}"


def _label(key: Key) -> str:
    cut, source, shape, _ = key
    return f"{source} ({shape})" + ("" if cut == FASTPACA else f", {cut}")


def _sorted(cells: Cells) -> list[Key]:
    return sorted(cells, key=lambda key: (key[1], key[2], key[0] != FASTPACA, key[0], key[3]))


def _sum(cells: Iterable[Cell]) -> Cell:
    total = Cell()
    for cell in cells:
        total.add(cell)
    return total


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Write *rows* as a Markdown table."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for number, row in enumerate(rows):
        cells = [
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append(f"| {' | '.join(cells)} |")
        if number == 0:
            rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
            lines.append(f"| {' | '.join(rule)} |")
    return "\n".join(lines)
