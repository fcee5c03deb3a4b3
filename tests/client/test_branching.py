"""Which branches the rewinds of a conversation have left."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastpaca import Compaction
from fastpaca.client.branching import branches
from tests.client.rules import rules


def rewind(version: int, to_version: int | None) -> Compaction:
    """Give an entry of the history: a rewind, or without *to_version* a trim."""
    return Compaction(
        version=version,
        strategy="last_n" if to_version is None else "rewind",
        range=None,
        used_tokens_before=1,
        used_tokens_after=1,
        segments=[],
        at=datetime(2026, 1, 1, tzinfo=UTC),
        to_version=to_version,
    )


@pytest.mark.parametrize("case", rules("branches")["cases"], ids=lambda case: case["rule"])
def test_branches_by_the_rules(case: Any) -> None:
    """
    Which versions are ends that were left.
    """
    left = branches([rewind(*pair) for pair in case["rewinds"]])
    assert [branch.version for branch in left] == case["branches"]


@given(st.data())
def test_an_end_is_what_no_state_in_use_came_from(data: st.DataObject) -> None:
    """
    Told anew: of the versions that are no rewinds, those without a successor that is none, but for
    the current one.
    """
    state, seen = 0, [0]
    parents: dict[int, int] = {}
    history: list[Compaction] = []
    for version in range(1, data.draw(st.integers(1, 25)) + 1):
        if data.draw(st.booleans()):
            to_version = data.draw(st.sampled_from(seen))
            history.append(rewind(version, to_version))
            state = to_version
        else:
            history += [rewind(version, None)] * data.draw(st.integers(0, 1))
            parents[version] = state
            state = version
            seen.append(version)
    ends = {version for version in parents if version not in parents.values()} - {state}
    assert {branch.version for branch in branches(history)} == ends
