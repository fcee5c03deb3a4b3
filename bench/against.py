"""
This tree against another one, such as the commit before a change, in turns.

Both nodes run on the server's core for the whole measurement, and the load goes to one at a time.
The other tree needs an environment of its own: `git worktree add ../before COMMIT`, then
`make setup` there, then `make bench ARGS='--against ../before'`.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from bench.following import Following
from bench.load import Figures
from bench.measure import APPEND, VIEW, Bench, Result, create, fill
from bench.memory import resident_bytes
from bench.processes import Process, serving_process
from bench.stream import FOLLOWERS, follow

WRITTEN: Final = 1000
READ: Final = 64
MESSAGES: Final = 100
TEXT_BYTES: Final = 250
"""With what frames it, a view of 100 messages has 40 kB."""

IDLE: Final = 1000
"""Connections that have sent one request each."""

Node = tuple[int, Process]


def other_tree(bench: Bench) -> Iterator[Result]:
    """Appends, reads, the stream and idle connections: this tree / the other."""
    if bench.against is None:
        raise SystemExit("name the other tree: --against PATH")
    with ExitStack() as stack:
        ours = stack.enter_context(_node(Path.cwd()))
        theirs = stack.enter_context(_node(bench.against))
        for port, _ in (ours, theirs):
            create(port, WRITTEN, token_budget=1_000_000)
            fill(port, READ, MESSAGES, TEXT_BYTES)
        yield from _appends(bench, ours[0], theirs[0])
        yield from _reads(bench, ours[0], theirs[0])
        yield _stream(bench, ours[0], theirs[0])
    yield _idle(bench, bench.against)


def _appends(bench: Bench, ours: int, theirs: int) -> Iterator[Result]:
    runs: dict[int, list[Figures]] = {ours: [], theirs: []}

    def append(port: int) -> Callable[[], float]:
        def run() -> float:
            runs[port].append(bench.run(port, APPEND, contexts=WRITTEN))
            return runs[port][-1].per_second

        return run

    ratios, words = bench.turns(append(ours), append(theirs))
    yield Result("durable append / other tree", ">= 1", ratios, f"{words} a second")
    tails = [(a.p99_ms, b.p99_ms) for a, b in zip(runs[ours], runs[theirs], strict=True)]
    middle = sorted(tails)[len(tails) // 2]
    yield Result(
        "append p99 at 64 connections / other tree",
        "<= 1",
        [a / b for a, b in tails],
        "{:.1f} against {:.1f} ms".format(*middle),
    )


def _reads(bench: Bench, ours: int, theirs: int) -> Iterator[Result]:
    def read(port: int) -> Callable[[], float]:
        return lambda: bench.run(port, VIEW, contexts=READ).per_second

    ratios, words = bench.turns(read(ours), read(theirs))
    yield Result("context read of 40 kB / other tree", ">= 1", ratios, f"{words} a second")
    with ExitStack() as stack:
        port = stack.enter_context(_nginx(40_000))
        if port is not None:
            file = ("GET /view.json HTTP/1.1", "")
            ratios, words = bench.turns(read(ours), lambda: bench.run(port, file).per_second)
            yield Result("context read / nginx sending 40 kB", ">= 0", ratios, f"{words} a second")


def _stream(bench: Bench, ours: int, theirs: int) -> Result:
    def frames(port: int) -> Callable[[], float]:
        plan = Following(port, FOLLOWERS, writers=4, seconds=bench.seconds)
        return lambda: follow(plan).frames

    ratios, words = bench.turns(frames(ours), frames(theirs))
    name = f"frames to {FOLLOWERS:,} followers of a context / other tree"
    return Result(name, ">= 1", ratios, f"{words} a second")


def _idle(bench: Bench, other: Path) -> Result:
    pairs = []
    for _ in range(bench.repeats):
        sizes = []
        for tree in (Path.cwd(), other):
            with _node(tree) as (port, process), ExitStack() as stack:
                _ask(stack, port, 50)
                before = resident_bytes(process)
                _ask(stack, port, IDLE)
                time.sleep(1)
                sizes.append((resident_bytes(process) - before) / IDLE / 1000)
        pairs.append((sizes[0], sizes[1]))
    middle = sorted(pairs)[len(pairs) // 2]
    return Result(
        "memory of an idle connection / other tree",
        "<= 1",
        [ours / theirs for ours, theirs in pairs],
        "{:.1f} against {:.1f} kB".format(*middle),
    )


def _ask(stack: ExitStack, port: int, count: int) -> None:
    """Open connections, and have one request answered on each."""
    for _ in range(count):
        client = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        client.sendall(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
        client.recv(4096)


@contextmanager
def _node(tree: Path) -> Iterator[Node]:
    """Run a node of *tree*, in its own environment."""
    with tempfile.TemporaryDirectory(prefix="fastpaca-bench-") as name:
        serve = ["-m", "fastpaca", "serve", "--port", "0", "--data-dir", name]
        places = ["--stream-max-connections", str(2 * FOLLOWERS)]
        with serving_process([*serve, *places], tree=tree.resolve()) as node:
            yield node


@contextmanager
def _nginx(size: int) -> Iterator[int | None]:
    """Run nginx with one worker and a file of *size* bytes; gives None where it is missing."""
    program = shutil.which("nginx")
    if program is None:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="fastpaca-bench-") as name:
        Path(name).chmod(0o755)
        Path(name, "view.json").write_bytes(b"x" * size)
        with socket.create_server(("127.0.0.1", 0)) as free:
            port: int = free.getsockname()[1]
        temporary = " ".join(
            f"{kind}_temp_path {name}/{kind};"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        Path(name, "nginx.conf").write_text(
            f"daemon off; master_process off; pid {name}/pid; error_log {name}/errors;"
            f" events {{ worker_connections 1024; }} http {{ access_log off; sendfile on;"
            f" keepalive_requests 1000000000; {temporary}"
            f" server {{ listen 127.0.0.1:{port}; root {name}; }} }}"
        )
        command = [program, "-e", "stderr", "-c", f"{name}/nginx.conf"]
        with subprocess.Popen(["taskset", "-c", "0", *command]) as process:
            try:
                time.sleep(1)
                yield port
            finally:
                process.terminate()
