"""
Several nodes on one PostgreSQL: what a commit of many requests saves, what a second and a third
node bring, what it costs to be sure that nothing is old, and how soon other nodes know of a write.

The server is a real one that syncs to disk. It shares the cores with all others: where nothing else
is said, the node is on one core, the load on the other, and the database wherever there is room.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from statistics import median
from typing import Final

import msgspec

from bench.doorbells import Figures as Rung
from bench.following import Following
from bench.load import Figures
from bench.measure import APPEND, VIEW, Bench, Result, create, fill
from bench.memory import read_all
from bench.processes import SERVER_CORE, serving_process
from bench.sizes import measure
from bench.stream import follow
from fastpaca.engine.doorbell import QUERY_CONTEXTS_MAX
from fastpaca.store.postgres.store import PostgresStore
from tests.kit.postgres import Server, running_server

SETTINGS: Final = {
    "autovacuum": "on",
    "shared_buffers": "256MB",
    "max_wal_size": "2GB",
    "max_connections": "200",
}
"""Beside these the server is as it comes: `fsync`, `synchronous_commit`, `full_page_writes` on."""

WRITERS: Final = 64
CONNECTIONS: Final = 10
"""As many as a node has when nobody says otherwise."""

NODES: Final = 3
CONTEXTS: Final = 999
"""As many for each of the nodes."""

LOOKS: Final = 300
"""How often revisions are asked for in a turn."""

COLD_CONTEXTS: Final = 3000
COLD_MESSAGES: Final = 20
COLD_TEXT_BYTES: Final = 200


@contextmanager
def database() -> Iterator[str]:
    """Run a server with an empty database; gives its address."""
    with running_server(None, **SETTINGS) as server:
        yield server.dsn(server.create_database())


@contextmanager
def node_on(place: str, *arguments: str, core: int | None = SERVER_CORE) -> Iterator[int]:
    """Run a node on a database or on a directory; gives its port."""
    with tempfile.TemporaryDirectory(prefix="fastpaca-bench-") as name:
        store = ("--store", place) if "://" in place else ()
        folder = name if store else place
        serve = ["-m", "fastpaca", "serve", "--port", "0", "--data-dir", folder]
        with serving_process([*serve, *store, *arguments], core) as (port, _):
            yield port


class Committing:
    """One way to commit; what it took of the database's processor, in µs for an append."""

    def __init__(self, server: Server, way: str, connections: int, seconds: float) -> None:
        self.server_us: list[float] = []
        self._server = server
        self._dsn = server.dsn(server.create_database())
        self._way = way
        self._rest = [str(WRITERS), str(connections), str(seconds)]

    def rate(self) -> float:
        before = server_seconds(self._server)
        prefix = f"run-{len(self.server_us)}"
        told = _told("bench.commits", self._way, self._dsn, prefix, *self._rest)
        rate, done = map(float, told.split())
        self.server_us.append((server_seconds(self._server) - before) / done * 1e6)
        return rate


def commits(bench: Bench) -> Iterator[Result]:
    """Appends, all that wait in one transaction, against a transaction for each."""
    with running_server(None, **SETTINGS) as server:
        grouped = Committing(server, "grouped", CONNECTIONS, bench.seconds)
        for connections in (CONNECTIONS, WRITERS):
            single = Committing(server, "single", connections, bench.seconds)
            ratios, words = bench.turns(grouped.rate, single.rate)
            yield Result(
                f"appends: group commit / a transaction each, on {connections} connections",
                ">= 4",
                ratios,
                f"{words} a second, {WRITERS} writers; {median(grouped.server_us):.0f} against "
                f"{median(single.server_us):.0f} µs of the database's processor for each",
            )


def server_seconds(server: Server) -> float:
    """Give how long a server has kept cores busy, processes that have ended included."""
    first = (server.directory / "data/postmaster.pid").read_text().split()[0]
    total = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = path.read_text().rpartition(")")[2].split()
            if path.parent.name == first:
                total += sum(map(int, fields[11:15]))  # and that of its children that have ended
            elif fields[1] == first:
                total += sum(map(int, fields[11:13]))
    return total / os.sysconf("SC_CLK_TCK")


def nodes(bench: Bench) -> Iterator[Result]:
    """Appends through three nodes against one, all on the same cores as the database."""
    with database() as dsn, ExitStack() as stack:
        ports = [stack.enter_context(node_on(dsn, core=None)) for _ in range(NODES)]
        create(ports[0], CONTEXTS)

        def run(count: int, *, is_sticky: bool, found: list[Figures]) -> Callable[[], float]:
            def append() -> float:
                others = ports[1:count] or [ports[0]]  # the same way of loading for both
                figures = bench.run(
                    ports[0], APPEND, contexts=CONTEXTS, nodes=others, is_sticky=is_sticky
                )
                found.append(figures)
                return figures.per_second

            return append

        for word, is_sticky, goal in (
            ("each context at one of them", True, ">= 0.7"),
            ("any context at any", False, ">= 0.3"),
        ):
            many: list[Figures] = []
            one: list[Figures] = []
            ratios, words = bench.turns(
                run(NODES, is_sticky=is_sticky, found=many), run(1, is_sticky=False, found=one)
            )
            yield Result(
                f"appends: {NODES} nodes / 1, {word}",
                goal,
                ratios,
                f"{words} a second; p50 and p99 {_middle(many)} against {_middle(one)}",
            )


def cold(bench: Bench) -> Iterator[Result]:
    """Reads of contexts that are in memory against such that are not, on both kinds of store."""
    with database() as dsn, tempfile.TemporaryDirectory(prefix="fastpaca-bench-") as folder:
        rates: dict[str, list[tuple[float, float]]] = {dsn: [], folder: []}
        sizes = [str(COLD_CONTEXTS), str(COLD_MESSAGES), str(COLD_TEXT_BYTES)]
        for place in rates:
            _told("bench.populate", place, *sizes)
        for _ in range(bench.repeats):
            for place, found in rates.items():
                with node_on(place) as port:
                    first, second = (
                        COLD_CONTEXTS / read_all(port, COLD_CONTEXTS).seconds for _ in range(2)
                    )
                    found.append((first, second))
        for name, place in (("PostgreSQL", dsn), ("SQLite", folder)):
            colds, hots = zip(*rates[place], strict=True)
            yield Result(
                f"hot reads / cold reads, {name}",
                ">= 1",
                [hot / first for first, hot in rates[place]],
                f"{median(hots):,.0f} against {median(colds):,.0f} a second",
            )
        pairs = zip(rates[dsn], rates[folder], strict=True)
        yield Result(
            "cold reads: PostgreSQL / SQLite", ">= 0.3", [a[0] / b[0] for a, b in pairs], ""
        )


def freshness(bench: Bench) -> Iterator[Result]:
    """Hot reads where other nodes may write, against such where none can."""
    with (
        database() as dsn,
        tempfile.TemporaryDirectory(prefix="fastpaca-bench-") as folder,
        node_on(dsn) as shared,
        node_on(folder) as alone,
    ):
        for port in (shared, alone):
            create(port, WRITERS, token_budget=1_000_000)
            fill(port, WRITERS, 20, text_bytes=250)
        for connections in (WRITERS, 4):
            found: dict[int, list[Figures]] = {shared: [], alone: []}

            def read(
                port: int,
                found: dict[int, list[Figures]] = found,
                connections: int = connections,
            ) -> float:
                figures = bench.run(port, VIEW, connections=connections, contexts=WRITERS)
                found[port].append(figures)
                return figures.per_second

            ratios, words = bench.turns(lambda: read(shared), lambda: read(alone))
            yield Result(
                f"hot reads: asked whether new / not, {connections} connections",
                ">= 0.3",
                ratios,
                f"{words} a second; p50 and p99 {_middle(found[shared])} against "
                f"{_middle(found[alone])}",
            )


class Rings:
    """Both kinds of doorbell, and what came of each turn."""

    def __init__(self, dsn: str, seconds: float, writers: int, pause_ms: float = 0) -> None:
        self.polled: list[Rung] = []
        self.notified: list[Rung] = []
        self._arguments = (dsn, str(writers), str(pause_ms), str(seconds))

    def poll(self) -> float:
        return self._rate("poll", self.polled)

    def notify(self) -> float:
        return self._rate("notify", self.notified)

    def _rate(self, kind: str, found: list[Rung]) -> float:
        told = _told("bench.doorbells", kind, *self._arguments)
        found.append(msgspec.json.decode(told, type=Rung))
        return found[-1].per_second

    @property
    def words(self) -> str:
        """Say how soon it was known of commits."""
        return f"known after {_known(self.polled)} against {_known(self.notified)}"


def doorbell(bench: Bench) -> Iterator[Result]:
    """Commits and deliveries where others ask every 25 ms, against such where they are told."""
    with database() as dsn:
        for writers in (NODES, 16):
            rings = Rings(dsn, bench.seconds, writers)
            ratios, words = bench.turns(rings.poll, rings.notify)
            yield Result(
                f"commits: found by asking / told by NOTIFY, {writers} connections",
                ">= 1",
                ratios,
                f"{words} a second; {rings.words}",
            )
        rings = Rings(dsn, bench.seconds, 1, pause_ms=10)
        bench.turns(rings.poll, rings.notify)
        yield Result(
            "ms from a commit until it is found by asking, p99, calm",
            "<= 100",
            [figures.p99_ms for figures in rings.polled],
            rings.words,
        )


def looking(bench: Bench) -> Iterator[Result]:
    """What it takes of a node's processor, and of the database's, to ask for many revisions."""
    names = [f"c{number}" for number in range(QUERY_CONTEXTS_MAX)]

    async def look(dsn: str, times: int) -> float:
        store = PostgresStore(dsn)
        await store.open()
        await store.revisions(names)
        before = time.process_time()
        for _ in range(times):
            await store.revisions(names)
        busy = time.process_time() - before
        await store.close()
        return busy / times / QUERY_CONTEXTS_MAX * 1e6

    with running_server(None, **SETTINGS) as server:
        dsn = server.dsn(server.create_database())
        _told("bench.populate", dsn, str(QUERY_CONTEXTS_MAX), "1", "100")
        mine, its = [], []
        for _ in range(bench.repeats):
            before = server_seconds(server)
            mine.append(asyncio.run(look(dsn, LOOKS)))
            its.append((server_seconds(server) - before) / LOOKS / QUERY_CONTEXTS_MAX * 1e6)
    yield Result(
        "µs of a node for each followed context, each time it asks",
        "<= 5",
        mine,
        f"{median(its):.1f} µs of the database",
    )


def _known(found: list[Rung]) -> str:
    middle = sorted(found, key=lambda one: one.p99_ms)[len(found) // 2]
    return f"p50 {middle.p50_ms:.1f}, p99 {middle.p99_ms:.1f} ms"


def across(bench: Bench) -> Iterator[Result]:
    """How long after the answer to an append at one node a follower at another has the message."""
    with (
        database() as dsn,
        node_on(dsn, core=None) as left,
        node_on(dsn, core=None) as right,
    ):
        create(left, 100)
        for name, writers, pause_ms, goal in (
            ("calm", 2, 10.0, "<= 100"),
            ("under full load", 8, 0.0, "<= 500"),
        ):
            plan = Following(
                right,
                100,
                contexts=100,
                writers=writers,
                seconds=bench.seconds,
                pause_ms=pause_ms,
                writers_port=left,
            )
            found = [follow(plan) for _ in range(bench.repeats)]
            middle = sorted(found, key=lambda figures: figures.delivery_ms[1])[len(found) // 2]
            yield Result(
                f"ms from an append until a follower at another node has it, p99, {name}",
                goal,
                [figures.delivery_ms[1] for figures in found],
                f"p50 {middle.delivery_ms[0]:.1f} ms; {middle.appends:,.0f} appends a second, "
                f"p50 {middle.append_ms[0]:.1f}, p99 {middle.append_ms[1]:.1f} ms",
            )


def sizes(bench: Bench) -> Iterator[Result]:
    """What contexts and messages take, and what an append writes."""
    del bench
    with database() as dsn:
        found = asyncio.run(measure(dsn))
    yield Result(
        "bytes that a message takes beside its JSON text",
        "<= 250",
        [found.message + found.message_index - found.body],
        f"text {found.body:.0f}, table {found.message:.0f}, index {found.message_index:.0f}",
    )
    yield Result(
        "bytes that a context takes beside its messages",
        "<= 1000",
        [found.context + found.context_index],
        f"table {found.context:.0f}, indexes {found.context_index:.0f}",
    )
    yield Result(
        "bytes to the write-ahead log for an append / bytes of its JSON text",
        "<= 4",
        [found.append / found.body],
        f"{found.append:,.0f} bytes, {found.first_append:,.0f} where pages are written whole",
    )


def _middle(found: list[Figures]) -> str:
    """Say what the median of the turns had."""
    middle = sorted(found, key=lambda figures: figures.p99_ms)[len(found) // 2]
    return f"{middle.p50_ms:.1f}, {middle.p99_ms:.1f} ms"


def _told(module: str, *arguments: str) -> str:
    """Run a module of the bench and give what it prints."""
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


SECTIONS: Final = {
    "commits": commits,
    "nodes": nodes,
    "cold": cold,
    "freshness": freshness,
    "doorbell": doorbell,
    "looking": looking,
    "across": across,
    "sizes": sizes,
}
