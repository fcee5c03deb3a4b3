"""
Memory and start-up on a database of many contexts, and cold reads while appends go on.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from bench.measure import APPEND, Bench, Result
from bench.processes import LOAD_CORE, Process, node_process
from bench.reading import Read

MESSAGES: Final = 20
TEXT_BYTES: Final = 200
"""With what frames it, a message is about 0.3 kB."""

HOT_BYTES: Final = 64 * 1024 * 1024

MIB: Final = 1024 * 1024
CONSTANT_MIB: Final = 160
"""What a node takes beside its hot contexts: program and vocabulary, views, caches of SQLite."""


def memory_of_many_contexts(bench: Bench) -> Iterator[Result]:
    """Start on a large database, read all of it in no order, and look at the memory."""
    with tempfile.TemporaryDirectory(prefix="fastpaca-bench-") as name:
        folder = Path(name)
        populate = ["-m", "bench.populate", name, str(bench.contexts), str(MESSAGES)]
        subprocess.run([sys.executable, *populate, str(TEXT_BYTES)], check=True)
        yield from starts(bench, folder)
        with node_process(folder, "--hot-bytes", str(HOT_BYTES)) as (port, process):
            at_start = resident_bytes(process)
            seconds = read_all(port, bench.contexts).seconds
            taken = resident_bytes(process)
            yield Result(
                f"MiB beside hot bytes after reading {bench.contexts:,} contexts",
                f"<= {CONSTANT_MIB}",
                [(taken - HOT_BYTES) / MIB],
                f"{taken / MIB:.0f} MiB resident, {at_start / MIB:.0f} at the start; "
                f"{bench.contexts / seconds:,.0f} cold reads a second",
            )
            yield cold_reads_beside_appends(bench, port)


def starts(bench: Bench, folder: Path) -> Iterator[Result]:
    """Processor seconds from the start of the process until it serves, and the wall clock."""
    busy, wall = [], []
    for _ in range(bench.repeats):
        started = time.perf_counter()
        with node_process(folder) as (_, process):
            wall.append(time.perf_counter() - started)
            busy.append(processor_seconds(process))
    size = sum(path.stat().st_size for path in folder.iterdir()) / MIB
    detail = f"{min(wall):.2f} to {max(wall):.2f} s of wall clock, database of {size:,.0f} MiB"
    yield Result("processor seconds of a start", "<= 1.5", busy, detail)


def cold_reads_beside_appends(bench: Bench, port: int) -> Result:
    """Cold reads per second while appends go on, against those of other contexts without."""
    count = bench.contexts // 20
    alone = read_all(port, count, first=0)
    reading = _reader(port, count, first=count)
    figures = bench.run(port, APPEND, connections=8, contexts=64)
    beside = _read(reading)
    return Result(
        "cold reads beside appends / alone",
        ">= 0.3",
        [alone.seconds / beside.seconds],
        f"{beside.contexts / beside.seconds:,.0f} against {alone.contexts / alone.seconds:,.0f} "
        f"a second, beside {figures.per_second:,.0f} appends a second",
    )


def read_all(port: int, contexts: int, first: int = 0) -> Read:
    """Read so many contexts, in a process of its own."""
    return _read(_reader(port, contexts, first))


def _reader(port: int, contexts: int, first: int) -> Process:
    command = [sys.executable, "-m", "bench.reading", str(port), str(first), str(contexts)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    if hasattr(os, "sched_setaffinity") and (os.cpu_count() or 1) > LOAD_CORE:
        os.sched_setaffinity(process.pid, {LOAD_CORE})
    return process


def _read(process: Process) -> Read:
    told, _ = process.communicate()
    return msgspec.json.decode(told, type=Read)


def resident_bytes(process: Process) -> int:
    """Give what a process takes of the machine's memory."""
    pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def processor_seconds(process: Process) -> float:
    """Give how long a process has kept a core busy."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")
