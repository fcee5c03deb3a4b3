"""
Clients in processes that fork: a child is never given what its parent has asked for.

The scenes are in `forking.py`, and run in a process of their own each.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from fastpaca import Fastpaca
from tests.client import work
from tests.kit.process import ROOT, Process, started

CHILDREN = 4
ROUNDS = 10
SECONDS_MAX = 200

WORKERS = [*(f"child-{number}" for number in range(CHILDREN)), *(f"parent-{n}" for n in range(3))]


@pytest.fixture(scope="module")
def rounds(request: pytest.FixtureRequest) -> int:
    """How often each process appends and reads; `--runs` asks for more."""
    return request.config.getoption("--runs") or ROUNDS


def played(scene: str, node: Process | None, directory: Path, rounds: int) -> str:
    """Run a scene to its end; what it printed."""
    address = node.address if node is not None else "none"
    arguments = [scene, address, str(directory), str(CHILDREN), str(rounds)]
    # Newer Pythons warn of a fork of a process with threads, which is what this is about.
    command = [sys.executable, "-W", "ignore", "-m", "tests.client.forking", *arguments]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, cwd=ROOT, stdout=pipe, stderr=pipe, text=True, start_new_session=True
    ) as process:
        try:
            said, errors = process.communicate(timeout=SECONDS_MAX)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)  # it, and its children
    assert (process.returncode, errors) == (0, ""), said + errors
    return said


def check(node: Process, directory: Path) -> dict[str, dict[str, int]]:
    """See that the log holds what all workers were told, and nothing else; return that."""
    told = work.reported(directory)
    with Fastpaca(node.address) as client:
        work.check_log(client, {text: seq for seqs in told.values() for text, seq in seqs.items()})
    return told


@pytest.mark.slow
@pytest.mark.parametrize(
    ("scene", "parents"),
    [
        ("threads", 4),
        ("untold", 2),
        ("loops", 2),
        ("running_loop", 3),
        ("multiprocessing_fork", 2),
        ("multiprocessing_spawn", 2),
    ],
)
def test_parent_and_children_are_given_their_own_answers(
    scene: str, parents: int, tmp_path: Path, rounds: int
) -> None:
    """
    Parent and children read and append at once with the client of the parent: each answer belongs
    to its request, and each append that was acknowledged is in the log once, where it was told.
    """
    reports = tmp_path / "reports"
    reports.mkdir()
    with started(tmp_path) as node:
        with Fastpaca(node.address) as client:
            work.prepare(client, WORKERS)
        played(scene, node, reports, rounds)
        told = check(node, reports)
    assert len(told) == CHILDREN + parents


def test_a_child_leaves_a_stream_to_its_parent(tmp_path: Path) -> None:
    """
    A stream that the parent has begun is refused in the child, by name, and closing it there is
    nothing to the parent, who is given every frame. The child may open one of its own.
    """
    with started(tmp_path) as node:
        with Fastpaca(node.address) as client:
            work.prepare(client, [])
        assert played("streams", node, tmp_path, 1) == "ForeignStream\n"
        assert check(node, tmp_path)["parent"] == {"one": 1, "two": 2}


def test_children_of_a_local_node_are_refused(tmp_path: Path, rounds: int) -> None:
    """
    A child can neither use nor open the data of its parent, and is told so. What the parent writes
    meanwhile is all there, and once it has closed the data, a child keeps no lock on it.
    """
    said = played("local", None, tmp_path, rounds).split()
    assert said == ["CannotOpen", "ForeignStream", "CannotOpen"] * (CHILDREN + 1)


@pytest.mark.slow
def test_workers_of_gunicorn_share_no_connection_of_their_master(
    tmp_path: Path, rounds: int
) -> None:
    """
    With `gunicorn --preload` the client of the module serves the master and all its workers.
    """
    reports = tmp_path / "reports"
    reports.mkdir()
    with started(tmp_path) as node, Fastpaca(node.address) as client:
        work.prepare(client, WORKERS)
        environment = {"NODE_ADDRESS": node.address, "REPORTS": str(reports), "ROUNDS": f"{rounds}"}
        with preloaded(tmp_path, environment) as address, ThreadPoolExecutor(CHILDREN) as pool:
            pids = set()
            for name, response in zip(WORKERS, pool.map(get, urls(address)), strict=False):
                assert response.status_code == 200, response.text
                pids.add(response.json()["pid"])
                work.report(reports, name, response.json()["seqs"])
            assert len(pids) > 1
            while len(work.reported(reports)) < CHILDREN + 2:
                time.sleep(0.05)  # for the master
        check(node, reports)


def urls(address: str) -> list[str]:
    return [f"{address}/{name}" for name in WORKERS[:CHILDREN]]


def get(url: str) -> httpx.Response:
    return httpx.get(url, timeout=SECONDS_MAX)


@contextmanager
def preloaded(directory: Path, environment: dict[str, str]) -> Iterator[str]:
    """
    Run the application of `preloaded.py` under gunicorn; its address.

    Its workers take one request at a time: while one waits for another process to join in, the next
    request can't go to the same worker.
    """
    log = directory / "gunicorn.log"
    options = [
        "--preload",
        "--workers=3",
        "--worker-class=sync",
        "--timeout=0",
        "--bind=127.0.0.1:0",
        "--no-control-socket",
    ]
    with (
        log.open("w") as errors,
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "gunicorn", *options, "tests.client.preloaded"],
            cwd=ROOT,
            stderr=errors,
            env=os.environ | environment,
        ) as process,
    ):
        try:
            while (found := re.search(r"Listening at: (http://\S+)", log.read_text())) is None:
                assert process.poll() is None, log.read_text()
                time.sleep(0.05)
            yield found[1]
        finally:
            process.terminate()
            process.wait(SECONDS_MAX)
    assert "Traceback" not in log.read_text(), log.read_text()
