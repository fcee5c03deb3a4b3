"""Starting what is measured: a node, the baseline, a load, each on a core of its own."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from bench.load import Figures, Plan

SERVER_CORE, LOAD_CORE = 0, 1


def _on_core(core: int | None) -> None:
    if core is not None and hasattr(os, "sched_setaffinity") and (os.cpu_count() or 1) > core:
        os.sched_setaffinity(0, {core})


Process = subprocess.Popen[str]


@contextlib.contextmanager
def serving(arguments: Sequence[str]) -> Iterator[int]:
    """Run `python arguments…` on the server's core until the end of the block; gives its port."""
    with serving_process(arguments) as (port, _):
        yield port


@contextlib.contextmanager
def serving_process(
    arguments: Sequence[str], core: int | None = SERVER_CORE, tree: Path | None = None
) -> Iterator[tuple[int, Process]]:
    """Run `python arguments…` on a core, or on any; of another *tree*, with its environment."""
    process = subprocess.Popen(
        [sys.executable if tree is None else tree / ".venv" / "bin" / "python", *arguments],
        env=os.environ | ({} if tree is None else {"PYTHONPATH": str(tree / "src")}),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        preexec_fn=lambda: _on_core(core),  # noqa: PLW1509  # nothing here has threads
    )
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if found := re.search(r"http://127\.0\.0\.1:(\d+)", line):
                yield int(found[1]), process
                return
        raise RuntimeError(f"{' '.join(arguments)} did not start")
    finally:
        process.terminate()
        process.wait(20)
        process.stdout.close()


@contextlib.contextmanager
def node(folder: Path | None = None, *arguments: str) -> Iterator[int]:
    """Run a node on a data directory of its own, or on *folder*; gives its port."""
    with contextlib.ExitStack() as stack:
        if folder is None:
            folder = Path(
                stack.enter_context(tempfile.TemporaryDirectory(prefix="fastpaca-bench-"))
            )
        serve = ["-m", "fastpaca", "serve", "--port", "0", "--data-dir", str(folder), *arguments]
        yield stack.enter_context(serving(serve))


@contextlib.contextmanager
def node_process(folder: Path, *arguments: str) -> Iterator[tuple[int, Process]]:
    """Run a node on *folder*; gives its port and the process."""
    serve = ["-m", "fastpaca", "serve", "--port", "0", "--data-dir", str(folder), *arguments]
    with serving_process(serve) as (port, process):
        yield port, process


def load(plan: Plan) -> Figures:
    """Carry out *plan* in a process of its own on the load's core; on any beside several nodes."""
    has_core = not plan.nodes and (os.cpu_count() or 1) > LOAD_CORE
    plan.core = LOAD_CORE if has_core else None
    done = subprocess.run(
        [sys.executable, "-m", "bench.load"],
        input=msgspec.json.encode(plan),
        stdout=subprocess.PIPE,
        check=True,
    )
    figures = msgspec.json.decode(done.stdout, type=Figures)
    if figures.failures:
        raise RuntimeError(f"{figures.failures} answers failed: {figures.first_failure}")
    return figures
