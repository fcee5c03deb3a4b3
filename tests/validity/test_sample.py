"""
A sample of the real conversations, judged as `python -m tests.validity` judges all of them.
"""

from __future__ import annotations

import pytest

from tests.acceptance.data import NORMALISED
from tests.validity.measured import FASTPACA, Plan, measured


@pytest.mark.usefixtures("real_conversations")
async def test_naive_cut_is_refused() -> None:
    """
    The same judgement refuses most windows that are cut without a look at turns and calls.
    """
    plan = Plan("swe-agent", NORMALISED, (8_000,), cuts=("newest that fit",), first=6)
    cells = await measured(plan)
    naive = [cell for key, cell in cells.items() if key[0] != FASTPACA]
    refused = sum(cell.refused.get("anthropic", 0) for cell in naive)
    assert refused > sum(cell.trimmed for cell in naive) / 4
