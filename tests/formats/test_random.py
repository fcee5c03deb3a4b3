"""Random conversations, broken in every way, in every format."""

from __future__ import annotations

from itertools import pairwise

import msgspec
import pytest

from fastpaca.formats import REPAIRS, render
from fastpaca.formats.rendering import Rendering
from fastpaca.formats.report import LOSSES
from tests.formats.histories import history
from tests.formats.samples import NAMES, VALIDATORS


@pytest.fixture
def sim_runs() -> int:
    """How many conversations are rendered when nothing else is asked for."""
    return 150


@pytest.mark.timeout(0)
def test_renderings_of_random_conversations_are_accepted(sim_seeds: range) -> None:
    """
    Every provider accepts every rendering, whatever forms are mixed and whatever is broken.
    """
    for seed in sim_seeds:
        messages = history(seed)
        for name, violations in VALIDATORS.items():
            assert violations(render(messages, name).messages) == [], (seed, name)


@pytest.mark.timeout(0)
def test_stable_messages_stay(sim_seeds: range) -> None:
    """
    What a rendering calls stable stands at the front of the next one, byte for byte.
    """
    for seed in sim_seeds[::6]:
        messages = history(seed)
        for name in NAMES:
            grown = [_written(render(messages[:end], name)) for end in range(1, len(messages) + 1)]
            for at, (before, after) in enumerate(pairwise(grown), 1):
                stable = before[1]
                assert before[0][:stable] == after[0][:stable], (seed, name, at)


def _written(rendering: Rendering) -> tuple[list[bytes], int]:
    messages = [msgspec.json.encode(message) for message in rendering.messages]
    assert 0 <= rendering.stable_messages <= len(messages)
    return messages, rendering.stable_messages


@pytest.mark.timeout(0)
def test_codes_are_documented(sim_seeds: range) -> None:
    """
    Every repair and every loss has a code of its table.
    """
    for seed in sim_seeds[::5]:
        for name in NAMES:
            rendering = render(history(seed), name)
            assert {repair.code for repair in rendering.repairs} <= REPAIRS.keys()
            assert {loss.code for loss in rendering.losses} <= LOSSES.keys()
