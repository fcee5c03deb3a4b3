"""
Runs one of the programs for Python, turn by turn, as a process that can be killed.

    python -m tests.loops.drive PROGRAM NODE

Each line of its input is a turn: `{"context": …, "say": …, "crash": …}`. What it says is appended,
unless it is null, and the program answers. Printed is what the program streamed, or the error that
ended it. With `crash`, the process dies when a tool is run: the call is in the log, its result not.
"""

from __future__ import annotations

import io
import json
import os
import sys
from contextlib import redirect_stdout
from importlib import import_module
from pathlib import Path
from typing import Any, Final, NoReturn

from fastpaca import Fastpaca

PROGRAMS: Final = Path(__file__).parents[2] / "examples" / "loops" / "python"

CRASHED: Final = 70
"""The exit code of a process that was told to die."""

BUDGET: Final = 4_000


def main(name: str, node: str) -> None:
    """Answer each turn of the input."""
    sys.path.insert(0, str(PROGRAMS))
    program = import_module(name)
    client = Fastpaca(node)
    for line in sys.stdin:
        sys.stdout.write(json.dumps(played(program, client, json.loads(line))) + "\n")
        sys.stdout.flush()


def played(program: Any, client: Fastpaca, turn: dict[str, Any]) -> dict[str, str]:
    """Play one turn."""
    if turn.get("crash"):
        tools: Any = import_module("tools")
        tools.order_status = crash
    name, said = turn["context"], turn["say"]
    chat: Any = name
    if not hasattr(program, "window"):
        chat = client.context(name, budget=BUDGET)
        if said is not None:
            chat.append(said)
    elif said is not None:
        program.append(name, program.question(said))
    streamed = io.StringIO()
    try:
        with redirect_stdout(streamed):
            program.answer(chat)
    except Exception as error:  # noqa: BLE001 - whatever a provider's package raises
        return {"streamed": streamed.getvalue(), "error": f"{type(error).__name__}: {error}"}
    return {"streamed": streamed.getvalue()}


def crash(_: object) -> NoReturn:
    """Die as a process does that is killed."""
    os._exit(CRASHED)


if __name__ == "__main__":
    main(*sys.argv[1:])
