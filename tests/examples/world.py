"""The world of an example: a node, the scripted model, and the example as a process of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx

from fastpaca import Context, Fastpaca
from tests.examples.browser import eventually
from tests.kit.messages import user
from tests.kit.process import Process
from tests.sdk.npm import NODE

EXAMPLES: Final = Path(__file__).parents[2] / "examples"

_ADDRESS: Final = re.compile(r"http://127\.0\.0\.1:\d+")


class Example:
    """
    A process that logs to a file.

    Args:
        command: What to run.
        log: The file.
        environment: What it is told beside the command.
    """

    def __init__(self, command: list[str], log: Path, environment: dict[str, str]) -> None:
        self._log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=os.environ | environment,
            )

    @property
    def log(self) -> str:
        """What it has said."""
        return self._log.read_text()

    def address(self) -> str:
        """Wait until it says where it listens, and give that."""

        def found() -> re.Match[str] | None:
            assert self._process.poll() is None, self.log
            return _ADDRESS.search(self.log)

        return eventually(found, "an example that listens")[0]

    def stop(self) -> int:
        """Interrupt it as a user does, and give its exit code."""
        self._process.send_signal(signal.SIGINT)
        return self._process.wait(timeout=30)

    def end(self) -> None:
        """Leave nothing behind."""
        self._process.kill()
        self._process.wait()


class ScriptedModel:
    """What tests ask of the model that the examples talk to."""

    def __init__(self, address: str, http: httpx.Client) -> None:
        self.base_url = f"{address}/v1"
        self._address = address
        self._http = http

    @property
    def requests(self) -> list[dict[str, Any]]:
        """Every request that it was sent, in order."""
        found: list[dict[str, Any]] = self._http.get(f"{self._address}/requests").json()["requests"]
        return found

    @property
    def prompts(self) -> list[list[tuple[str, str]]]:
        """The messages of every request, as role and text."""
        return [
            [(message["role"], text_of(message["content"])) for message in request["messages"]]
            for request in self.requests
        ]

    def let_out(self, words: int | None) -> None:
        """Let so many words out, or all from now on."""
        self._steer("/words", count=words)

    def fail(self, **how: int) -> None:
        """Fail from now on, or answer again as usual."""
        self._steer("/fault", **how)

    def _steer(self, path: str, **what: int | None) -> None:
        self._http.post(self._address + path, json=what).raise_for_status()

    def reset(self) -> None:
        """Hold every word back, and forget what was before."""
        self.fail()
        self.let_out(None)
        self.let_out(0)
        self._http.delete(f"{self._address}/requests").raise_for_status()


class World:
    """
    Where an example lives.

    Attributes:
        node: Where conversations are kept.
        model: The model, which waits for its words to be let out.
    """

    def __init__(self, directory: Path, node: Process, http: httpx.Client) -> None:
        self.node = node
        self._directory = directory
        self._processes: list[Example] = []
        script = str(EXAMPLES / "model/scripted_model.py")
        model = self._run([sys.executable, script, "--port", "0", "--pause-ms", "0"], "model.log")
        self.model = ScriptedModel(model.address(), http)

    def _run(self, command: list[str], log: str, **environment: str) -> Example:
        process = Example(command, self._directory / log, environment)
        self._processes.append(process)
        return process

    def start(self, script: str, *arguments: str) -> Example:
        """Start an example, with the model that it is to talk to."""
        path = EXAMPLES / script
        program = sys.executable if path.suffix == ".py" else str(NODE)
        return self._run(
            [program, str(path), "--fastpaca", self.node.address, *arguments],
            f"{path.name}-{len(self._processes)}.log",
            OPENAI_BASE_URL=self.model.base_url,
            OPENAI_API_KEY="none",
        )

    def end(self) -> None:
        """Leave nothing behind."""
        for process in self._processes:
            process.end()


@contextmanager
def a_world(directory: Path, node: Process) -> Iterator[World]:
    """Have a world until it is no longer needed."""
    with httpx.Client() as http:
        world = World(directory, node, http)
        try:
            yield world
        finally:
            world.end()


def grown(fastpaca: Fastpaca, context_id: str, budget: int) -> list[str]:
    """Let a conversation be long, and nothing trim its window; give what was said."""
    context = fastpaca.context(context_id, budget=budget, policy="manual")
    texts = [f"Message {number}" for number in range(1, 121)]
    context.append([user(text) for text in texts])
    return texts


def log_of(context: Context) -> list[tuple[str, str]]:
    """Give the whole log of a conversation, as role and text."""
    return [(message.role, text_of(message.parts)) for message in context.messages()]


def text_of(content: str | list[dict[str, str]]) -> str:
    """Give what is said: a text, or the text of parts."""
    if isinstance(content, str):
        return content
    return "".join(part["text"] for part in content if part["type"] == "text")
