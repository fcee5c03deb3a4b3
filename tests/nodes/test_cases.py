"""
The cases of `../shared/cases`, put to real nodes on SQLite and on PostgreSQL.

Each case is a small conversation of a kind that has once cost a user a window: its script makes a
context of each, and holds what is read against what the case expects.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.kit.process import Process, started

CASES = Path(__file__).resolve().parents[3] / "shared/cases"

NO_ROOM = ("--hot-bytes", "1000")
"""Less than one context takes, so that each leaves memory when the next is used."""

ROOM = ("--hot-bytes", "64MiB")


@pytest.fixture
def script() -> Path:
    """The script of the cases; skip where it is missing, and fail under CI, where it must be."""
    found = CASES / "check.py"
    if not found.exists():
        if os.environ.get("CI") == "true":
            pytest.fail(f"there are no cases in {CASES}")
        pytest.skip(f"the cases are not in {CASES}")
    return found


def told(script: Path, node: Process, *arguments: str) -> str:
    """Run the *script* against a node, and return what it says once all holds."""
    command = [sys.executable, str(script), node.address, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def contexts_in_memory(node: Process) -> int:
    """Read how many contexts the node has in memory."""
    found = re.search(
        r"^fastpaca_hot_contexts (\d+)", httpx.get(f"{node.address}/metrics").text, re.MULTILINE
    )
    assert found is not None
    return int(found[1])


@pytest.mark.parametrize("store", ["sqlite", "postgres"])
def test_every_case_holds_and_its_window_stays_to_the_byte(
    store: str, script: Path, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """
    All windows are as the cases expect, and the same bytes after an eviction and after a restart.
    """
    flags = ("--token-estimator", "tiktoken:gpt-4o")  # that of a node which is told nothing
    if store == "postgres":
        flags = ("--store", request.getfixturevalue("dsn"))
    count = len(json.loads((CASES / "windows.json").read_text()))
    views = str(tmp_path / "views.json")
    with started(tmp_path, *flags, *NO_ROOM) as node:
        assert told(script, node, "--save", views) == f"{count} of {count} cases hold\n"
        assert contexts_in_memory(node) <= 1
        assert told(script, node, "--again", views) == f"{count} of {count} views are the same\n"
        assert node.stop() == 0
    with started(tmp_path, *flags, *ROOM) as node:
        for _ in ("cold", "hot"):
            again = told(script, node, "--again", views)
            assert again == f"{count} of {count} views are the same\n"
        assert contexts_in_memory(node) == count
        assert node.stop() == 0
