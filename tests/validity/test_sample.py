"""
A sample of the real conversations, judged as `python -m tests.validity` judges all of them.
"""

from __future__ import annotations

import pytest

from tests.acceptance.data import ANTHROPIC, NORMALISED, OPENAI, UI_MESSAGE
from tests.validity.measured import FASTPACA, Plan, measured
from tests.validity.tables import missed_goals

SAMPLE = [
    Plan("tau-bench-airline", OPENAI, (8_000,), first=40),
    Plan("swe-agent", NORMALISED, (8_000,)),
    Plan("claude-code-entire", ANTHROPIC, (16_000,), first=2),
    Plan("pydantic-ai-anthropic", ANTHROPIC, (8_000,)),
    Plan("aisdk-uimessages", UI_MESSAGE, (32_000,)),
    Plan("goodai-ltm", NORMALISED, (32_000,)),
]


@pytest.mark.slow
@pytest.mark.usefixtures("real_conversations")
@pytest.mark.parametrize("plan", SAMPLE, ids=[plan.source for plan in SAMPLE])
async def test_windows_of_real_conversations_are_accepted(plan: Plan) -> None:
    """
    What a provider refuses in a window it also refuses in the whole history, and the task is there.
    """
    cells = await measured(plan)
    assert missed_goals(cells) == []
    assert sum(cell.trimmed for cell in cells.values()) > 0


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
