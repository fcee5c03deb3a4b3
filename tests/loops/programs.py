"""The programs of `examples/loops`, run turn by turn as processes of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from tests.kit.process import ROOT
from tests.loops.script import Json
from tests.sdk.npm import NODE

BUDGET: Final = 4_000
"""The budget of each conversation, in tokens."""

CRASHED: Final = 70
"""The exit code of a program that was told to die."""


@dataclass(frozen=True)
class Program:
    """
    A program.

    Attributes:
        name: The name of its file, without the ending.
        folder: Its folder.
        view: The format of the views that it reads.
        wire: The format that it sends to its provider.
    """

    name: str
    folder: str
    view: str
    wire: str

    def __str__(self) -> str:
        return f"{self.folder}-{self.name}"

    def command(self, node: str) -> list[str]:
        """Return what runs it, turn by turn."""
        if self.folder == "node":
            return [str(NODE), str(ROOT / "tests" / "loops" / "drive.mjs"), self.name, node]
        return [sys.executable, "-m", "tests.loops.drive", self.name, node]


PROGRAMS: Final = (
    Program("openai_chat", "python", "openai-chat", "openai-chat"),
    Program("openai_responses", "python", "openai-responses", "openai-responses"),
    Program("anthropic_messages", "python", "anthropic", "anthropic"),
    Program("gemini", "python", "gemini", "gemini"),
    Program("openai-chat", "node", "openai-chat", "openai-chat"),
    Program("openai-responses", "node", "openai-responses", "openai-responses"),
    Program("anthropic", "node", "anthropic", "anthropic"),
    Program("gemini", "node", "gemini", "gemini"),
    Program("ai-sdk", "node", "ai-sdk", "openai-responses"),
)

BY_HAND: Final = tuple(
    replace(program, name=f"{program.name}_by_hand")
    for program in PROGRAMS
    if program.folder == "python"
)
"""The same programs without fastpaca."""


class Run:
    """
    A program that runs.

    Args:
        program: Which.
        node: The address of fastpaca.
        model: The address of the scripted model.
        directory: Where it runs.
    """

    def __init__(self, program: Program, node: str, model: str, directory: Path) -> None:
        keys = ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY")
        addresses = {
            "OPENAI_BASE_URL": f"{model}/v1",
            "ANTHROPIC_BASE_URL": model,
            "GOOGLE_GEMINI_BASE_URL": model,
        }
        paths = {"PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
        self._process = subprocess.Popen(
            program.command(node),
            cwd=directory,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | paths | addresses | dict.fromkeys(keys, "key"),
        )

    def play(self, context: str, say: str | None, *, crash: bool = False) -> Json | None:
        """Play a turn; what was streamed or why it failed, or nothing if the program died."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        turn = {"context": context, "say": say, "crash": crash}
        self._process.stdin.write(json.dumps(turn).encode() + b"\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            return None
        played: Json = json.loads(line)
        return played

    def end(self) -> int:
        """Let the program end; its exit code."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        code = self._process.wait(30)
        self._process.stdout.close()
        return code


@contextmanager
def running(program: Program, node: str, model: str, directory: Path) -> Iterator[Run]:
    """Run *program*, and leave nothing behind."""
    run = Run(program, node, model, directory)
    try:
        yield run
    finally:
        run.end()
