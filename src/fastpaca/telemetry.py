"""
What operators see: metrics and log lines.

No label carries a context id, since there are as many contexts as there are conversations. Log
lines are one JSON object each, on stderr.
"""

from __future__ import annotations

import logging
import sys
import time
from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate
from typing import Final

import msgspec
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

ROLES: Final = frozenset({"system", "developer", "user", "assistant", "tool"})
"""Roles that have a label of their own; all others fold into `other`."""

TOKEN_BUCKETS: Final = (10, 30, 100, 300, 1000, 3000, 10000)

_FIELDS: Final = ("type", "context_id", "seq", "request_id")

logger = logging.getLogger("fastpaca")


class Appends(Collector):
    """
    The series of appended messages, noted on the event loop alone.

    Instruments of the library take a lock each time, which for these two would be a thirtieth of
    what an append costs.
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
        """Note one message."""
        source = "client" if counted_by_client else "server"
        self._messages[role if role in ROLES else "other", source] += 1
        self._buckets[bisect_left(TOKEN_BUCKETS, tokens)] += 1
        self._tokens += tokens

    def collect(self) -> Iterator[Metric]:
        """Give the series as they are."""
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


class Metrics:
    """The series of one node, in a registry of their own."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        self.appends = Appends()
        registry.register(self.appends)
        self.http_request_seconds = Histogram(
            "fastpaca_http_request_seconds",
            "Time from the first byte of a request to the end of its answer.",
            ["route", "method", "status"],
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5),
            registry=registry,
        )
        self.commit_seconds = Histogram(
            "fastpaca_commit_seconds",
            "Time of one commit in the store, its fsync included.",
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
            "Rewrites of a window, by strategy; calls of the compact endpoint count as manual.",
            ["strategy"],
            registry=registry,
        )
        self.compaction_tokens_removed = Counter(
            "fastpaca_compaction_tokens_removed_total",
            "Tokens that left a window in compactions.",
            registry=registry,
        )
        self.hot_contexts = Gauge(
            "fastpaca_hot_contexts", "Contexts whose state is in memory.", registry=registry
        )
        self.hot_bytes = Gauge(
            "fastpaca_hot_bytes", "Estimated bytes of the contexts in memory.", registry=registry
        )
        self.write_queue_ops = Gauge(
            "fastpaca_write_queue_ops", "Operations that wait for a commit.", registry=registry
        )
        self.stream_connections = Gauge(
            "fastpaca_stream_connections",
            "Open streams: WebSockets and server-sent events.",
            registry=registry,
        )


class JsonLines(logging.Formatter):
    """Writes a log record as one JSON object; times are UTC."""

    converter = staticmethod(time.gmtime)

    def format(self, record: logging.LogRecord) -> str:
        """Write *record*; fields that do not apply are left out."""
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
    """Send the log lines of this process to stderr, from *level* (such as `info`) on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
