"""
The real server as a process of its own: started on a free port, found by its banner, ended by
SIGTERM.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx

START_SECONDS_MAX = 30
STOP_SECONDS_MAX = 10
ADDRESS = re.compile(r"http://[^\s/]+:\d+")


class ServerFailed(Exception):
    """The server did not start, did not stop in time, or did not exit with 0."""


@contextmanager
def running(directory: Path, **environment: str) -> Iterator[str]:
    """
    Run a server on the data in *directory* and yield its address.

    Raises:
        ServerFailed: It did not become ready, or its end was not clean.
    """
    log = directory / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "fastpaca", "serve", "--host", "127.0.0.1", "--port", "0"),
                *("--data-dir", str(directory / "data")),
            ],
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=directory,
            env=_environment(environment),
        )
    try:
        yield _await_ready(process, log)
        _stop(process, log)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def _environment(extra: Mapping[str, str]) -> dict[str, str]:
    """Pass on the caller's environment without what would configure the server."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("FASTPACA_") and name not in ("PORT", "DATABASE_URL")
    }
    return {**inherited, "PYTHONUNBUFFERED": "1", **extra}


def _await_ready(process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < deadline:
        found = ADDRESS.search(_text(log))
        if found and _is_ready(found.group()):
            return found.group()
        if process.poll() is not None:
            raise ServerFailed(f"the server exited with {process.returncode}\n{_tail(log)}")
        time.sleep(0.05)
    raise ServerFailed(f"the server was not ready in {START_SECONDS_MAX} s\n{_tail(log)}")


def _is_ready(address: str) -> bool:
    try:
        return httpx.get(f"{address}/health/ready", trust_env=False).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


def _stop(process: subprocess.Popen[bytes], log: Path) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        code = process.wait(STOP_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        raise ServerFailed(
            f"the server ran on for {STOP_SECONDS_MAX} s after SIGTERM\n{_tail(log)}"
        ) from None
    if code != 0:
        raise ServerFailed(f"the server exited with {code} after SIGTERM\n{_tail(log)}")


def _text(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")


def _tail(log: Path) -> str:
    return "\n".join(_text(log).splitlines()[-30:])
