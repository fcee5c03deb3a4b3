"""A conversation that goes on with another provider, for each of them after each other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from itertools import permutations
from typing import Any, Final

import pytest

from fastpaca import Fastpaca
from tests.kit.process import Process, started
from tests.loops.checks import faults_of
from tests.loops.programs import BUDGET, PROGRAMS, Program, Run, running
from tests.loops.provider import ScriptedProvider, served

BEFORE, AFTER = (1, 2, 3), (6, 7)
"""The turns before the switch and after it, with calls one after another and at once."""


SWITCHED: Final = [
    program for program in PROGRAMS if program.folder == "python" or program.view == "ai-sdk"
]
"""One program a provider."""


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
            for program in SWITCHED
        }


@pytest.mark.parametrize(("first", "second"), list(permutations(SWITCHED, 2)), ids=str)
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
    switched = 0
    for program, turns in ((first, BEFORE), (second, AFTER)):
        switched = len(provider.sent)
        for turn in turns:
            played = runs[program].play(name, f"This is turn {turn}.")
            assert played is not None
            assert f"Answer of turn {turn}. " in played["streamed"], played
    with Fastpaca(node.address) as client:
        read: Any = client.context(name).context
        losses = read(format=second.view).losses
    assert faults_of(provider.sent[:switched], BUDGET) == []
    assert faults_of(provider.sent[switched:], BUDGET) == []
    last = str(provider.sent[-1].body)
    for turn in BEFORE:
        assert f"Answer of turn {turn}. " in last
        assert f"Order {turn}-0-0 left" in last
    assert {loss.code for loss in losses} == lost(first, second)


def lost(first: Program, second: Program) -> set[str]:
    """Return the codes of what a switch loses."""
    if first.view == "openai-chat":  # shows no thoughts
        return set()
    if first.view == "ai-sdk":  # has them sealed, in what only its provider reads
        return {"reasoning", "keys"}
    if second.view == "ai-sdk":  # shows thoughts of any provider, without their seal
        return set() if first.view == "gemini" else {"keys"}
    return {"reasoning"}
