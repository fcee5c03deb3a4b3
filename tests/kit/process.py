"""The real server as a process of its own: started on a free port, found by its banner."""

from __future__ import annotations

import os
import re
import resource
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from fastpaca.settings import Settings

START_SECONDS_MAX: Final = 30
STOP_SECONDS_MAX: Final = 10

ROOT: Final = Path(__file__).parents[2]

_ADDRESS: Final = re.compile(r"(?:http://[^\s/]+:(\d+)|unix:/\S+)")


class DidNotStart(Exception):
    """The process ended, or said nothing for too long; with its exit code and what it said."""

    def __init__(self, code: int | None, said: str) -> None:
        self.code = code
        super().__init__(f"exit code {code}\n{said}")


class Process:
    """
    A process that prints a start banner and then serves.

    Attributes:
        banner: What it printed when it was ready.
        port: Where it listens; 0 on a Unix socket.
    """

    def __init__(self, command: list[str], directory: Path, environment: dict[str, str]) -> None:
        self._errors = directory / "stderr.log"
        with self._errors.open("ab") as errors:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=directory,
                env=_inherited() | environment,
            )
        self.banner = self._read_banner()
        found = _ADDRESS.search(self.banner)
        if found is None:
            self.end()
            raise DidNotStart(self.code, self.banner + self.errors)
        self.port = int(found[1] or 0)

    def _read_banner(self) -> str:
        """Read up to the line about the key, which is the last, or to the end."""
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        deadline = time.monotonic() + START_SECONDS_MAX
        text = b""
        while b"API key" not in text or not text.endswith(b"\n"):
            readable, _, _ = select.select([descriptor], [], [], deadline - time.monotonic())
            piece = os.read(descriptor, 4096) if readable else b""
            if not piece:
                break
            text += piece
        return text.decode()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def code(self) -> int | None:
        """The exit code, None while it runs."""
        return self._process.poll()

    @property
    def errors(self) -> str:
        """What it wrote to stderr, and processes before it in the same directory."""
        return self._errors.read_text()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def resident_bytes(self) -> int:
        """How much memory it has at the moment."""
        pages = Path(f"/proc/{self._process.pid}/statm")
        if pages.exists():
            return int(pages.read_text().split()[1]) * resource.getpagesize()
        command = ["ps", "-o", "rss=", "-p", str(self._process.pid)]
        return int(subprocess.run(command, capture_output=True, check=True).stdout) * 1024

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def wait(self) -> int:
        """Wait until it has ended, and give its exit code."""
        return self._process.wait(STOP_SECONDS_MAX)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to end, and give its exit code."""
        self.send(number)
        return self.wait()

    def kill(self) -> None:
        """End it between two instructions."""
        self._process.kill()
        self._process.wait()

    def end(self) -> None:
        """Leave nothing behind."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()


@contextmanager
def started(directory: Path, *flags: str, **environment: str) -> Iterator[Process]:
    """
    Run `fastpaca serve` on the data in *directory*, counting tokens the quick way.

    Raises:
        DidNotStart: It refused.
    """
    with running(serving(directory, *flags), directory, environment) as process:
        yield process


def serving(directory: Path, *flags: str, program: Sequence[str] = ("fastpaca",)) -> list[str]:
    """Give the command for that, or for a *program* of these tests that ends as it does."""
    quick = ("--token-estimator", "chars") if "--token-estimator" not in flags else ()
    data = ("--data-dir", str(directory / "data"))
    return [sys.executable, "-m", *program, "serve", "--port", "0", *quick, *data, *flags]


@contextmanager
def started_as_installed(directory: Path) -> Iterator[Process]:
    """
    Run `fastpaca serve` on the data in *directory*, with every other setting at its default.

    Raises:
        DidNotStart: It refused.
    """
    default = Settings().token_estimator
    with started(directory, "--token-estimator", default) as process:
        yield process
        assert process.stop() == 0


def module(name: str, *arguments: str) -> list[str]:
    """Give the command that runs a module of these tests."""
    return [sys.executable, "-m", name, *arguments]


@contextmanager
def running(
    command: list[str], directory: Path, environment: dict[str, str] | None = None
) -> Iterator[Process]:
    """
    Run *command* in *directory* until it is no longer needed.

    Raises:
        DidNotStart: It printed no banner.
    """
    process = Process(command, directory, environment or {})
    try:
        yield process
    finally:
        process.end()


def _inherited() -> dict[str, str]:
    """
    Pass on the caller's environment without what would configure the server, and let modules of
    these tests be found.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("FASTPACA_") and name != "PORT"
    }
    return kept | {"PYTHONPATH": os.pathsep.join([str(ROOT), kept.get("PYTHONPATH", "")])}
