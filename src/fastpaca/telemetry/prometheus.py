"""
What metrics are made of: the classes of prometheus-client, or stand-ins that do nothing.

A node in the process of its client shows no metrics, so it does not need that package.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from prometheus_client import (
        CollectorRegistry,
        Counter,
        Gauge,
        Histogram,
        Info,
        ProcessCollector,
    )
    from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
    from prometheus_client.registry import Collector
    from prometheus_client.utils import floatToGoString
else:
    try:
        from prometheus_client import (
            CollectorRegistry,
            Counter,
            Gauge,
            Histogram,
            Info,
            ProcessCollector,
        )
        from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
        from prometheus_client.registry import Collector
        from prometheus_client.utils import floatToGoString
    except ImportError:

        class Silent:
            """Takes every call of a metric, a registry or a collector, and does nothing."""

            def __init__(self, *_: Any, **__: Any) -> None:
                """Take the arguments of any metric."""

            def __getattr__(self, name: str) -> Callable[..., Self]:
                """Return a method that does nothing, and returns this object."""
                if name.startswith("__"):
                    raise AttributeError(name)
                return lambda *_, **__: self

        class Collector:
            """What a registry would collect from."""

        class Counter(Silent):
            """Counts nothing."""

        class Gauge(Silent):
            """Shows nothing."""

        class Histogram(Silent):
            """Measures nothing."""

        CollectorRegistry = Info = ProcessCollector = Silent
        CounterMetricFamily = HistogramMetricFamily = Metric = Silent
        floatToGoString = str  # noqa: N816 - the name is the library's

__all__ = [
    "Collector",
    "CollectorRegistry",
    "Counter",
    "CounterMetricFamily",
    "Gauge",
    "Histogram",
    "HistogramMetricFamily",
    "Info",
    "Metric",
    "ProcessCollector",
    "floatToGoString",
]
