"""How the command begins, as the first process of a container."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fastpaca.cli.start import ENDED
from fastpaca.settings import SETTINGS
from tests.kit.process import ROOT

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="others have no PID namespaces")

ALONE = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child"]
"""Runs a command as process 1 of a namespace of its own."""

END_SECONDS_MAX = 30


@contextmanager
def running_alone(directory: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Run a node as process 1; give the process that waits for it, and its id out here."""
    if subprocess.run([*ALONE, "true"], check=False, capture_output=True).returncode:
        reason = "this machine lets nobody make a PID namespace"
        assert not os.environ.get("CI"), reason
        pytest.skip(reason)
    ours = {setting.variable for setting in SETTINGS}
    environment = {name: value for name, value in os.environ.items() if name not in ours}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    command = [*ALONE, sys.executable, "-m", "fastpaca", "serve", "--port", "0"]
    with subprocess.Popen(
        [*command, "--data-dir", str(directory / "data")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
    ) as process:
        try:
            yield process, child_of(process)
        finally:
            process.kill()


def child_of(process: subprocess.Popen[bytes]) -> int:
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    while not (found := children.read_text().split()):
        assert process.poll() is None
    return int(found[0])


def handles(pid: int, number: signal.Signals) -> bool:
    """Whether a process has a handler for a signal."""
    caught = re.search(
        r"^SigCgt:\t([0-9a-f]+)$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE
    )
    assert caught is not None
    return bool(int(caught[1], 16) >> (number - 1) & 1)


def has_loaded(pid: int, library: str) -> bool:
    return library in Path(f"/proc/{pid}/maps").read_text()


def test_first_process_is_ended_while_it_starts(tmp_path: Path) -> None:
    """
    SIGTERM is handled before the packages of the server are loaded, and ends what has not begun.
    """
    with running_alone(tmp_path) as (process, pid):
        while not handles(pid, signal.SIGTERM):
            assert not has_loaded(pid, "msgspec"), "SIGTERM would be lost until all is loaded"
            assert process.poll() is None
        os.kill(pid, signal.SIGTERM)
        assert process.wait(END_SECONDS_MAX) == ENDED
        assert process.stdout is not None
        assert process.stdout.read() == b""


def test_first_process_ends_well_when_it_serves(tmp_path: Path) -> None:
    """
    From then on SIGTERM ends a node as it does everywhere.
    """
    with running_alone(tmp_path) as (process, pid):
        assert process.stdout is not None
        assert process.stdout.readline().startswith(b"fastpaca ")
        os.kill(pid, signal.SIGTERM)
        assert process.wait(END_SECONDS_MAX) == 0
