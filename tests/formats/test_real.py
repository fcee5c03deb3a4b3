"""
A sample of the real conversations, rendered as `python -m tests.formats` renders all of them.
"""

from __future__ import annotations

import pytest

from tests.acceptance.conftest import real_conversations
from tests.acceptance.data import ANTHROPIC, NORMALISED, OPENAI, UI_MESSAGE
from tests.formats.ai_sdk import verdicts
from tests.formats.judged import Plan, judged

__all__ = ["real_conversations"]

SAMPLE = [
    Plan("tau-bench-airline", OPENAI, (4_000,), first=4),
    Plan("swe-agent", OPENAI, (8_000,), first=6),
    Plan("claude-code-entire", ANTHROPIC, (8_000,), first=2, calls=4),
    Plan("pi-coding-agent", NORMALISED, (32_000,), calls=2),
    Plan("pydantic-ai-anthropic", ANTHROPIC, (4_000,)),
    Plan("aisdk-uimessages", UI_MESSAGE, (4_000, 32_000), calls=4),
    Plan("glaive-tools", NORMALISED, (), first=30),
]


@pytest.mark.slow
@pytest.mark.usefixtures("real_conversations")
@pytest.mark.parametrize("plan", SAMPLE, ids=[plan.source for plan in SAMPLE])
async def test_renderings_of_real_conversations_are_accepted(plan: Plan) -> None:
    """
    Every provider accepts the window before each reply, and the whole history, in its format.
    """
    verdict = await judged(plan)
    assert dict(verdict.violations) == {}, verdict.examples
    assert sum(verdict.renderings.values()) > 0
    assert set(verdicts(verdict.ui_messages)) <= {"ok"}
