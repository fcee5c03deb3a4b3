"""A conversation that goes on with another provider, for each of them after each other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from itertools import permutations
from typing import Any

import pytest

from fastpaca import Fastpaca
from tests.kit.process import Process, started
from tests.loops.checks import faults_of
from tests.loops.programs import BUDGET, PROGRAMS, Program, Run, running
from tests.loops.provider import ScriptedProvider, served

BEFORE, AFTER = (1, 2, 3), (6, 7)
"""The turns before the switch and after it, with calls one after another and at once."""


@pytest.fixture(scope="module")
def provider() -> Iterator[ScriptedProvider]:
    with served(ScriptedProvider()) as provider:
        yield provider


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    with started(tmp_path_factory.mktemp("node")) as process:
        yield process


@pytest.fixture(scope="module")
def runs(
    node: Process, provider: ScriptedProvider, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[Program, Run]]:
    """Run all programs, each in one process for all pairs."""
    directory = tmp_path_factory.mktemp("programs")
    with ExitStack() as stack:
        yield {
            program: stack.enter_context(
                running(program, node.address, provider.address, directory)
            )
            for program in PROGRAMS
        }


@pytest.mark.parametrize(("first", "second"), list(permutations(PROGRAMS, 2)), ids=str)
def test_switch(
    first: Program,
    second: Program,
    node: Process,
    provider: ScriptedProvider,
    runs: dict[Program, Run],
) -> None:
    """
    The second provider is only sent what it accepts, the calls and results of the first among it;
    what it can't be sent is listed.
    """
    name = f"switch/{first}/{second}"
    provider.sent.clear()
    for program, turns in ((first, BEFORE), (second, AFTER)):
        for turn in turns:
            played = runs[program].play(name, f"This is turn {turn}.")
            assert played is not None
            assert f"Answer of turn {turn}. " in played["streamed"], played
    with Fastpaca(node.address) as client:
        read: Any = client.context(name).context
        losses = read(format=second.view).losses
    assert faults_of(provider.sent, BUDGET) == []
    last = str(provider.sent[-1].body)
    for turn in BEFORE:
        assert f"Answer of turn {turn}. " in last
        assert f"Order {turn}-0-0 left" in last
    # The model of Chat shows no thoughts; those of all others are sealed.
    is_sealed = first.view != "openai-chat"
    assert {loss.code for loss in losses} == ({"reasoning"} if is_sealed else set())
