"""Each loop of `examples/loops`, for 60 turns and through what may happen on the way."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastpaca import Fastpaca
from tests.kit.process import Process, started
from tests.loops.checks import faults_of, tokens_of
from tests.loops.programs import BUDGET, BY_HAND, CRASHED, PROGRAMS, Program, running
from tests.loops.provider import CUT, ScriptedProvider, served
from tests.loops.script import steps_of

TURNS = 60

CRASH_AT = 22
"""A turn whose first answer makes two calls; the program dies while it runs the first."""

FAULTS = {9: 429, 31: 529, 47: CUT, 73: CUT}
"""What happens to which request."""


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """A node."""
    with started(tmp_path_factory.mktemp("node")) as process:
        yield process


def said_in(turn: int) -> str:
    return f"This is turn {turn}: where are my orders, and when will each of them arrive?"


@pytest.mark.slow
@pytest.mark.parametrize("program", PROGRAMS, ids=str)
def test_sixty_turns(program: Program, node: Process, tmp_path: Path) -> None:
    """
    A conversation goes far beyond its budget, dies between a call and its result and goes on, is
    refused and broken off: the provider is only sent what it accepts, never more than the budget,
    and the same beginning until the window is cut. All that was said is in the log.
    """
    name = f"loops/{program}"
    with Fastpaca(node.address) as client:
        chat = client.context(name, budget=BUDGET)
        provider = ScriptedProvider(FAULTS, lambda: len(list(chat.compactions())))
        with served(provider):
            play(program, node.address, provider, name, tmp_path)
        check(provider)
        told = " ".join(str(message.parts) for message in chat.messages())
        info = chat.info()
    for turn in range(1, TURNS + 1):
        assert told.count(said_in(turn)) == 1
        assert told.count(f"Answer of turn {turn}. ") == (turn != CRASH_AT)
    # The AI SDK runs tools itself: an answer whose tool has died is never there to be appended.
    unheard = 1 if program.view == "ai-sdk" else 0
    answers = sum(sent.fault is None for sent in provider.sent) - unheard
    assert info.usage.output_tokens == 20 * answers


@pytest.mark.slow
@pytest.mark.parametrize("program", BY_HAND, ids=str)
def test_sixty_turns_by_hand(program: Program, tmp_path: Path) -> None:
    """A program without fastpaca, which lines of glue are counted beside, does the same work."""

    def cuts() -> int:
        with sqlite3.connect(tmp_path / "chats.db") as database:
            found: int = database.execute("SELECT count(*) FROM cuts").fetchone()[0]
        return found

    provider = ScriptedProvider(FAULTS, cuts)
    with served(provider):
        play(program, "http://unused", provider, "support", tmp_path)
    check(provider)


def check(provider: ScriptedProvider) -> None:
    """See that nothing wrong was sent, and that all that may happen has happened."""
    assert faults_of(provider.sent, BUDGET) == []
    assert {sent.fault for sent in provider.sent} == {None, 429, 529, CUT}
    assert provider.sent[-1].cuts >= 3
    assert max(tokens_of(sent) for sent in provider.sent) > BUDGET / 3


def play(
    program: Program, node: str, provider: ScriptedProvider, name: str, directory: Path
) -> None:
    """Play all turns, and whatever fails again."""
    turn = 1
    while turn <= TURNS:
        with running(program, node, provider.address, directory) as run:
            while turn <= TURNS:
                crash = turn == CRASH_AT
                played = run.play(name, said_in(turn), crash=crash)
                streamed = played["streamed"] if played else ""
                while played is not None and "error" in played:
                    played = run.play(name, None, crash=crash)
                    streamed += played["streamed"] if played else ""
                assert (played is None) == crash, played
                turn += 1
                if played is None:
                    assert run.end() == CRASHED
                    break
                assert f"Answer of turn {turn - 1}. " in streamed
                assert streamed.count("Let me look that up.") >= len(steps_of(turn - 1))
