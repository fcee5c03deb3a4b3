"""
Metrics and log lines, for operators.

No label carries a context id, because that would make a series for every conversation. Log lines
are one JSON object each, on stderr.
"""

from __future__ import annotations

import logging
import platform
import sys
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Final

import msgspec

from fastpaca.telemetry.prometheus import (
    Collector,
    CollectorRegistry,
    Counter,
    CounterMetricFamily,
    Gauge,
    Histogram,
    HistogramMetricFamily,
    Info,
    Metric,
    ProcessCollector,
    floatToGoString,
)

ROLES: Final = frozenset({"system", "developer", "user", "assistant", "tool"})
"""Roles with a label of their own; all others count as `other`."""

REPORTED_KINDS: Final = ("input", "cached_input", "cache_write", "output")
"""The kinds of tokens that callers report; the first includes the next two."""

SECONDS_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5)

TOKEN_BUCKETS: Final = (10, 30, 100, 300, 1000, 3000, 10000)

_FIELDS: Final = ("type", "context_id", "seq", "request_id")

logger = logging.getLogger("fastpaca")


class Appends(Collector):
    """
    The metrics of appended messages, updated on the event loop only.

    The library's own metrics take a lock for each update. For these two that would be a thirtieth
    of the cost of an append.
    """

    def __init__(self) -> None:
        self._messages = {
            (role, source): 0
            for role in (*sorted(ROLES), "other")
            for source in ("client", "server")
        }
        self._buckets = [0] * (len(TOKEN_BUCKETS) + 1)
        self._tokens = 0

    def note(self, role: str, tokens: int, *, counted_by_client: bool) -> None:
        """Record a message."""
        source = "client" if counted_by_client else "server"
        self._messages[role if role in ROLES else "other", source] += 1
        self._buckets[bisect_left(TOKEN_BUCKETS, tokens)] += 1
        self._tokens += tokens

    def collect(self) -> Iterator[Metric]:
        """Return the current values."""
        messages = CounterMetricFamily(
            "fastpaca_messages_append",
            "Messages appended, by role and by who counted their tokens (client or server).",
            labels=("role", "source"),
        )
        for labels, count in self._messages.items():
            messages.add_metric(labels, count)
        yield messages
        names = (*map(floatToGoString, TOKEN_BUCKETS), "+Inf")
        yield HistogramMetricFamily(
            "fastpaca_messages_token_count",
            "Tokens of appended messages.",
            buckets=list(zip(names, accumulate(self._buckets), strict=True)),
            sum_value=self._tokens,
        )


class RequestTimes(Collector):
    """
    How long requests took, by route, method and status; updated on the event loop only.

    The library's own histogram takes a lock twice for each request.
    """

    def __init__(self) -> None:
        self._rows: dict[tuple[str, str, int], list[float]] = {}

    def note(self, route: str, method: str, status: int, seconds: float) -> None:
        """Record a request."""
        row = self._rows.get((route, method, status))
        if row is None:
            row = self._rows[route, method, status] = [0] * (len(SECONDS_BUCKETS) + 2)
        row[bisect_left(SECONDS_BUCKETS, seconds)] += 1
        row[-1] += seconds

    def collect(self) -> Iterator[Metric]:
        """Return the current values."""
        times = HistogramMetricFamily(
            "fastpaca_http_request_seconds",
            "Time from the first byte of a request to the end of its response.",
            labels=("route", "method", "status"),
        )
        names = (*map(floatToGoString, SECONDS_BUCKETS), "+Inf")
        for (route, method, status), (*counts, total) in self._rows.items():
            buckets = list(zip(names, accumulate(counts), strict=True))
            times.add_metric((route, method, str(status)), buckets, total)
        yield times


class Metrics:
    """The metrics of one node, in a registry of their own."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        # Reads /proc, so these metrics exist on Linux only.
        self.process = ProcessCollector(registry=registry)
        self.appends = Appends()
        registry.register(self.appends)
        self.request_times = RequestTimes()
        registry.register(self.request_times)
        self.commit_seconds = Histogram(
            "fastpaca_commit_seconds",
            "Time of one commit in the store, including its fsync.",
            buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2),
            registry=registry,
        )
        self.commit_ops = Histogram(
            "fastpaca_commit_ops",
            "Operations in one commit.",
            buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 1024),
            registry=registry,
        )
        self.compactions = Counter(
            "fastpaca_compactions_total",
            "Rewrites of a window, by strategy; compact calls count as manual.",
            ["strategy"],
            registry=registry,
        )
        self.compaction_tokens_removed = Counter(
            "fastpaca_compaction_tokens_removed_total",
            "Tokens that compactions removed from windows.",
            registry=registry,
        )
        self.reported_tokens = Counter(
            "fastpaca_reported_tokens_total",
            "Tokens that callers reported as billed; input includes cached_input and cache_write.",
            ["kind"],
            registry=registry,
        )
        for kind in REPORTED_KINDS:
            self.reported_tokens.labels(kind)  # so that each is there from the start
        self.ready = Gauge(
            "fastpaca_ready",
            "1 while the node serves requests, 0 while /health/ready returns 503.",
            registry=registry,
        )
        self.hot_contexts = Gauge(
            "fastpaca_hot_contexts", "Contexts whose state is in memory.", registry=registry
        )
        self.hot_bytes = Gauge(
            "fastpaca_hot_bytes", "Estimated bytes of the contexts in memory.", registry=registry
        )
        self.write_queue_ops = Gauge(
            "fastpaca_write_queue_ops", "Operations waiting for a commit.", registry=registry
        )
        self.stream_connections = Gauge(
            "fastpaca_stream_connections",
            "Open streams: WebSockets and server-sent events.",
            registry=registry,
        )

    def note_reported(self, tokens: Mapping[str, int]) -> None:
        """Record the *tokens* that a caller reported of a model call, by their kind."""
        for kind, count in tokens.items():
            self.reported_tokens.labels(kind).inc(count)

    def note_build(self, release: str) -> None:
        """Record which *release* this is."""
        build = Info(
            "fastpaca_build",
            "The release, and the version of Python.",
            registry=self.registry,
        )
        build.info({"version": release, "python": platform.python_version()})


class DatabaseMetrics(Collector):
    """The current sizes of the SQLite database at *path* and of its write-ahead log."""

    def __init__(self, path: Path) -> None:
        self.database_bytes = Gauge(
            "fastpaca_store_database_bytes", "Size of the database file.", registry=None
        )
        self.wal_bytes = Gauge(
            "fastpaca_store_wal_bytes",
            "Size of the write-ahead log file, which is reused from its beginning.",
            registry=None,
        )
        self.database_bytes.set_function(lambda: _size(path))
        self.wal_bytes.set_function(lambda: _size(path.with_name(path.name + "-wal")))

    def collect(self) -> Iterator[Metric]:
        """Return the current values."""
        yield from self.database_bytes.collect()
        yield from self.wal_bytes.collect()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # the log was never written, or has just been removed
        return 0


class ArchiveMetrics(Collector):
    """The metrics of a node with an archive; *clock* returns the time in microseconds."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self.pending_rows = _gauge("pending_rows", "Messages waiting for the archive.")
        self.pending_contexts = _gauge(
            "pending_contexts", "Contexts with messages waiting for the archive."
        )
        self.flush_duration_ms = Histogram(
            "fastpaca_archive_flush_duration_ms",
            "Time of one insert into the archive, in milliseconds.",
            buckets=(1, 3, 10, 30, 100, 300, 1000, 3000, 10_000, 30_000),
            registry=None,
        )
        self.attempted = _counter("attempted", "Messages sent to the archive.")
        self.inserted = _counter("inserted", "Messages that were new to the archive.")
        self.bytes_attempted = _counter("bytes_attempted", "Bytes of messages sent to the archive.")
        self.bytes_inserted = _counter(
            "bytes_inserted", "Bytes of messages that were new to the archive."
        )
        self.lag = _gauge(
            "lag", "Messages waiting for the archive in the context that has the most."
        )
        self.oldest_age_seconds = _gauge(
            "oldest_age_seconds", "Age of the oldest message waiting for the archive."
        )
        self.trimmed = _counter("trimmed", "Archived messages trimmed from the store.")
        self.tail_size = _gauge("tail_size", "Messages in the store, in all contexts.")
        self.llm_token_count = _gauge("llm_token_count", "Tokens of the windows in memory.")
        self.halted_contexts = _gauge(
            "halted_contexts",
            "Contexts that are no longer archived, because the archive has different content.",
        )
        self._clock = clock
        self._pending_rows = 0
        self._oldest_us: int | None = None
        self.oldest_age_seconds.set_function(self._age)
        self.pending_rows.set_function(lambda: self._pending_rows)

    def collect(self) -> Iterator[Metric]:
        """Return the current values."""
        for series in vars(self).values():
            if isinstance(series, Gauge | Counter | Histogram):
                yield from series.collect()

    def _age(self) -> float:
        if not self._pending_rows or self._oldest_us is None:
            return 0.0
        return max(self._clock() - self._oldest_us, 0) / 1_000_000

    def note_log(self, rows: int, pending_rows: int) -> None:
        """Record the rows in the store at the start, and those not archived yet."""
        self.tail_size.inc(rows)
        self._pending_rows += pending_rows

    def note_commit(self, times_us: Sequence[int]) -> None:
        """Record messages that were appended at these times."""
        if times_us:
            self.tail_size.inc(len(times_us))
            if not self._pending_rows:
                self._oldest_us = times_us[0]
            self._pending_rows += len(times_us)

    def note_gone(self, rows: int) -> None:
        """Record that messages were purged."""
        self.tail_size.dec(rows)

    def note_insert(
        self, seconds: float, attempted: tuple[int, int], inserted: tuple[int, int]
    ) -> None:
        """Record an insert: messages and bytes that were sent, and those that were new."""
        self.flush_duration_ms.observe(seconds * 1000)
        self.attempted.inc(attempted[0])
        self.bytes_attempted.inc(attempted[1])
        self.inserted.inc(inserted[0])
        self.bytes_inserted.inc(inserted[1])

    def note_archived(self, rows: int) -> None:
        """Record that messages were archived."""
        self._pending_rows = max(self._pending_rows - rows, 0)

    def note_trimmed(self, rows: int) -> None:
        """Record that messages were trimmed."""
        self.trimmed.inc(rows)
        self.tail_size.dec(rows)

    def note_survey(
        self, rows: int | None, contexts: int, lag: int, oldest_us: int | None, halted: int
    ) -> None:
        """Record the waiting messages; *rows* is None if there are too many to count."""
        if rows is not None:
            self._pending_rows = rows
        self.pending_contexts.set(contexts)
        self.lag.set(lag)
        self._oldest_us = oldest_us
        self.halted_contexts.set(halted)


def _gauge(name: str, meaning: str) -> Gauge:
    return Gauge(f"fastpaca_archive_{name}", meaning, registry=None)


def _counter(name: str, meaning: str) -> Counter:
    return Counter(f"fastpaca_archive_{name}_total", meaning, registry=None)


class JsonLines(logging.Formatter):
    """Formats log records as JSON objects, with times in UTC."""

    converter = staticmethod(time.gmtime)

    def format(self, record: logging.LogRecord) -> str:
        """Return *record* as JSON, without the fields that don't apply."""
        line: dict[str, object] = {
            "at": self.formatTime(record, "%Y-%m-%dT%H:%M:%S") + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {name: record.__dict__[name] for name in _FIELDS if name in record.__dict__}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line, enc_hook=str).decode()


def log_to_stderr(level: str) -> None:
    """Log to stderr, records of *level* (such as `info`) and above."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
