"""
A seeded sample of all sources and shapes, replayed against the real server under every policy.

`python -m tests.acceptance` replays everything.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.acceptance.campaign import Campaign, findings, table
from tests.acceptance.data import LAST_N, MANUAL, SKIP_PARTS
from tests.acceptance.plan import sample_plan

SEED = 20261122
HOT_BYTES = 2**18


@pytest.mark.slow
@pytest.mark.usefixtures("real_conversations")
@pytest.mark.parametrize("strategy", [LAST_N, SKIP_PARTS, MANUAL])
def test_real_conversations_keep_every_rule(strategy: str, tmp_path: Path) -> None:
    """
    No answer of a running server, hot or restarted, breaks a rule in any source or shape.

    It has room for a few contexts only, so that most reads come after an eviction.
    """
    runs = sample_plan(strategy, SEED)
    campaign = Campaign(runs, SEED, environment={"FASTPACA_HOT_BYTES": str(HOT_BYTES)})
    outcomes = campaign.over_own_server(tmp_path)
    print(table(outcomes))
    broken = findings(outcomes)
    assert not broken, "\n\n".join(str(one) for one in broken[:10])
    assert sum(one.tally.compactions for one in outcomes) > len(outcomes)
