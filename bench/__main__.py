"""
`make bench`: measure the ratios of `docs/benchmarks.md` in one run and print them.

The server runs on one core, the load on the other. Every pair is measured in turns, at least three
times; what is printed is the median of the ratios of the turns, and their spread.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx

from bench import (
    against,
    bodies,
    client,
    failover,
    foreign,
    forks,
    giants,
    local,
    memory,
    postgres,
    rendering,
    stalls,
    stream,
    typescript,
)
from bench.load import Figures
from bench.measure import (
    APPEND,
    APPEND_KEYED,
    APPEND_WITH_ID,
    MESSAGE,
    VIEW,
    Bench,
    Result,
    create,
    fill,
)
from bench.processes import node, serving

TAIL = ("GET /v1/contexts/c{c}/tail HTTP/1.1", "")
CONTEXTS = 1000

FRAME_BYTES = 4096 + 24
"""A page and its header, as the write-ahead log holds it."""


def append_against_nothing(bench: Bench) -> Iterator[Result]:
    """Durable appends, with and without a key, against the same POST that bare uvicorn answers."""
    with node() as port, serving(["-m", "bench.baseline", "40000"]) as nothing:
        create(port, CONTEXTS)
        figures: list[Figures] = []

        def append() -> float:
            figures.append(bench.run(port, APPEND))
            return figures[-1].per_second

        ratios, words = bench.turns(append, lambda: bench.run(nothing, APPEND).per_second)
        yield Result(
            "durable append / same POST, bare uvicorn doing nothing",
            ">= 0.58",
            ratios,
            f"{words} a second",
        )
        ratios, words = bench.turns(lambda: bench.run(port, APPEND_KEYED).per_second, append)
        yield Result("append with Idempotency-Key / without", ">= 0.8", ratios, f"{words} a second")
        ratios, words = bench.turns(append, syncs_per_second)
        yield Result(
            "durable append / one fdatasync per record", ">= 3", ratios, f"{words} a second"
        )
        tails = [found.p99_ms / found.p50_ms for found in figures]
        middle = sorted(figures, key=lambda found: found.p99_ms)[len(figures) // 2]
        yield Result(
            "append p99 / p50 at 64 connections",
            "<= 4",
            tails,
            f"{middle.p99_ms:.1f} ms against {middle.p50_ms:.1f} ms",
        )


def append_with_ids(bench: Bench) -> Iterator[Result]:
    """Durable appends of messages that have an id of their own, against the same without."""
    with node() as port:
        create(port, CONTEXTS)
        ratios, words = bench.turns(
            lambda: bench.run(port, APPEND_WITH_ID).per_second,
            lambda: bench.run(port, APPEND).per_second,
        )
        yield Result("append with ids / without", ">= 0.85", ratios, f"{words} a second")


def syncs_per_second() -> float:
    """Append records of 600 bytes to a file, each with an fdatasync of its own."""
    record, count = b"x" * 600, 0
    sync = getattr(os, "fdatasync", os.fsync)
    with tempfile.NamedTemporaryFile(prefix="fastpaca-bench-") as file:
        started = time.perf_counter()
        while time.perf_counter() - started < 1.0:
            file.write(record)
            file.flush()
            sync(file.fileno())
            count += 1
        return count / (time.perf_counter() - started)


def view_against_nothing(bench: Bench) -> Iterator[Result]:
    """Reads of a hot context of 100 messages against as many constant bytes of bare uvicorn."""
    with node() as port:
        create(port, 64, token_budget=1_000_000)
        fill(port, 64, 100, text_bytes=250)
        size = len(httpx.get(f"http://127.0.0.1:{port}/v1/contexts/c0/context").content)
        with serving(["-m", "bench.baseline", str(size)]) as nothing:
            ratios, words = bench.turns(
                lambda: bench.run(port, VIEW, contexts=64).per_second,
                lambda: bench.run(nothing, VIEW, contexts=64).per_second,
            )
        yield Result(
            f"context read of {size:,} bytes / constants of bare uvicorn",
            ">= 0.85",
            ratios,
            f"{words} a second",
        )
        put = ("PUT /v1/contexts/same{c} HTTP/1.1", '{"token_budget":8000}')
        empty = ("GET /v1/contexts/same{c}/context HTTP/1.1", "")
        for number in range(64):
            httpx.put(
                f"http://127.0.0.1:{port}/v1/contexts/same{number}", json={"token_budget": 8000}
            )
        ratios, words = bench.turns(
            lambda: bench.run(port, put, contexts=64).per_second,
            lambda: bench.run(port, empty, contexts=64).per_second,
        )
        yield Result(
            "identical PUT / read of an empty window", ">= 0.7", ratios, f"{words} a second"
        )


def history_against_none(bench: Bench) -> Iterator[Result]:
    """Time of an append, a view and a tail on a log of many messages against one of a thousand."""
    with node() as port:
        for name, messages in (("c0", bench.history), ("c1", 1000)):
            httpx.put(f"http://127.0.0.1:{port}/v1/contexts/{name}", json={"token_budget": 4000})
            append_many(port, name, messages)

        def time_of(request: tuple[str, str], context: str) -> Callable[[], float]:
            one = (request[0].replace("c{c}", context), request[1])
            return lambda: 1e6 / bench.run(port, one, connections=8, contexts=1).per_second

        for word, request in (("append", APPEND), ("context read", VIEW), ("tail", TAIL)):
            ratios, words = bench.turns(time_of(request, "c0"), time_of(request, "c1"))
            yield Result(
                f"{word} at {bench.history:,} messages / at 1,000",
                "<= 1.2",
                ratios,
                f"{words} µs each",
            )


def wal_after_a_large_compact(bench: Bench) -> Iterator[Result]:
    """Bytes that an append writes to the write-ahead log, after a compact of 8 MiB and before."""
    del bench
    with tempfile.TemporaryDirectory(prefix="fastpaca-bench-") as name, node(Path(name)) as port:
        url = f"http://127.0.0.1:{port}/v1/contexts/c0"
        httpx.put(url, json={"policy": {"strategy": "manual"}, "token_budget": 10**9})
        ratios = []
        details = []
        for _ in range(3):
            before = written_per_append(port, Path(name))
            part = {"type": "text", "text": "x" * (8 * 1024 * 1024)}
            httpx.post(
                f"{url}/compact",
                json={"replacement": [{"role": "system", "parts": [part]}]},
                timeout=60,
            ).raise_for_status()
            after = written_per_append(port, Path(name))
            ratios.append(after / before)
            details.append(f"{after:,.0f} against {before:,.0f} bytes")
        yield Result(
            "WAL bytes per append after an 8 MiB compact / before", "<= 1.1", ratios, details[1]
        )


def written_per_append(port: int, folder: Path, appends: int = 300) -> float:
    """Append one by one and see how many pages the write-ahead log has more, in bytes."""
    index = next(folder.glob("*-shm"))
    grown = count = 0
    with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
        for _ in range(appends):
            before = frames_in_log(index)
            client.post("/v1/contexts/c0/messages", json={"message": MESSAGE}).raise_for_status()
            after = frames_in_log(index)
            if after >= before:  # else it began anew in between
                grown, count = grown + after - before, count + 1
    return FRAME_BYTES * grown / max(count, 1)


def frames_in_log(index: Path) -> int:
    """Read from the head of its index how many frames a log has; the file itself keeps its size."""
    with index.open("rb") as file:
        head = file.read(20)
    return int.from_bytes(head[16:20], sys.byteorder)


def append_many(port: int, context: str, messages: int) -> None:
    """Append so many short messages to one context."""
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
        for start in range(0, messages, 1000):
            batch = [
                {"role": "user", "parts": [{"type": "text", "text": f"message {n}"}]}
                for n in range(start, min(start + 1000, messages))
            ]
            client.post(
                f"/v1/contexts/{context}/messages", json={"messages": batch}
            ).raise_for_status()


SECTIONS = {
    "append": append_against_nothing,
    "ids": append_with_ids,
    "view": view_against_nothing,
    "history": history_against_none,
    "wal": wal_after_a_large_compact,
    "giants": giants.appends_to_giants,
    "foreign": foreign.appends_beside_a_reader,
    "forks": forks.appends_beside_forks,
    "memory": memory.memory_of_many_contexts,
    "rendering": rendering.rendering_against_json,
    "rendered": rendering.cached_rendering_against_window,
    "bodies": bodies.memory_after_large_bodies,
    "stalls": stalls.stalls_of_requests,
    "neighbours": stalls.neighbours_of_requests,
    "stream": stream.stream,
    "typescript": typescript.overhead_of_calls,
    "client": client.overhead_of_calls,
    "local": local.turns_against_a_session,
    **{f"postgres-{name}": section for name, section in postgres.SECTIONS.items()},
    "postgres-failover": failover.failovers,
    "against": against.other_tree,
}


def named(name: str) -> str:
    """Check that *name* is that of a section, or of several that begin with it and a hyphen."""
    if name not in SECTIONS and not any(known.startswith(f"{name}-") for known in SECTIONS):
        raise argparse.ArgumentTypeError(f"{name} is none of {', '.join(SECTIONS)}")
    return name


def wanted(names: list[str] | None) -> list[str]:
    """List the sections that are to be measured: all on this tree if none are named."""
    if names is None:
        return [name for name in SECTIONS if name != "against"]
    return [known for known in SECTIONS if known in names or known.partition("-")[0] in names]


def main() -> int:
    """Measure and print; 0 if every goal is met."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument(
        "--only",
        action="append",
        type=named,
        metavar="SECTION",
        help=f"measure only this: {', '.join(SECTIONS)}; postgres stands for all of PostgreSQL",
    )
    parser.add_argument("--seconds", type=float, default=3.0, help="of one measurement")
    parser.add_argument("--repeats", type=int, default=5, help="turns of each pair (at least 3)")
    parser.add_argument("--history", type=int, default=1_000_000, help="messages of a long log")
    parser.add_argument("--contexts", type=int, default=100_000, help="of a large database")
    parser.add_argument(
        "--json", type=Path, default=Path("bench-results.json"), help="where to write"
    )
    parser.add_argument(
        "--against", type=Path, metavar="TREE", help="measure this tree against another, in turns"
    )
    arguments = parser.parse_args()
    bench = Bench(
        arguments.seconds,
        max(arguments.repeats, 3),
        arguments.history,
        arguments.contexts,
        arguments.against,
    )
    if arguments.against is not None and arguments.only is None:
        arguments.only = ["against"]
    print(f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    print(f"load average before: {' '.join(f'{load:.1f}' for load in os.getloadavg())}\n")
    print(f"{'ratio':<58} {'goal':>8} {'median':>7}  {'spread':>13}  figures")
    results = []
    for name in wanted(arguments.only):
        for result in SECTIONS[name](bench):
            results.append(result)
            spread = f"{min(result.ratios):.2f} … {max(result.ratios):.2f}"
            mark = " " if result.is_met else "!"
            median = f"{result.median:.2f}{mark}"
            print(
                f"{result.name:<58} {result.goal:>8} {median:>8} {spread:>13}  {result.detail}",
                flush=True,
            )
    arguments.json.write_text(
        json.dumps(
            [{**r._asdict(), "median": r.median, "met": r.is_met} for r in results], indent=2
        )
    )
    return 0 if all(result.is_met for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
