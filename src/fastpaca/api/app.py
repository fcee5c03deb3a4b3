"""
The map of the service: what is answered where.

What every request passes on its way there is in `edge.py`: a request id, the origin of a page, the
host, the API key, the rate limit, and behind the handler the one shape of errors and the metrics.
Handlers read bodies through `limits.py` and make values of them in `bodies.py`.

`create_app` puts the ASGI application together. It neither starts nor stops anything: the engine
behind it belongs to whoever made it.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from starlette.types import ASGIApp

from fastpaca.api.auth import Keys, Origins
from fastpaca.api.contexts import Contexts
from fastpaca.api.edge import Door, Edge
from fastpaca.api.limits import Bodies, BodyMemory, Pace, RateLimit
from fastpaca.api.messages import Messages
from fastpaca.api.operations import Backup, Operations, docs, openapi
from fastpaca.api.routes import CONTEXT, Route, Routes
from fastpaca.api.stream import Streams
from fastpaca.api.window import Window
from fastpaca.engine import Engine
from fastpaca.service import Service
from fastpaca.settings import Settings
from fastpaca.telemetry import Metrics


def create_app(
    service: Service,
    engine: Engine,
    settings: Settings,
    metrics: Metrics,
    *,
    backup: Backup,
    pace: Pace | None = None,
    monotonic: Callable[[], float] = time.monotonic,
    give_back: Callable[[], None] = lambda: None,
) -> ASGIApp:
    """
    Make the ASGI application that answers for *service*.

    Args:
        service: Does what is asked.
        engine: Says how it is.
        settings: Keys, origins and limits.
        metrics: Where requests are counted, and what `/metrics` shows.
        backup: Writes a copy of all data to a new file.
        pace: How slowly a body may come in.
        monotonic: The clock of the rate limit, in seconds.
        give_back: Returns free memory to the system, see `fastpaca.allocator`.
    """
    memory = BodyMemory(settings.body_memory_bytes, settings.max_body_bytes, give_back)
    bodies = Bodies(settings.max_body_bytes, pace or Pace(), memory)
    contexts = Contexts(service, bodies)
    messages = Messages(service, bodies)
    window = Window(service, bodies)
    streams = Streams(service, metrics, settings.stream_max_connections)
    operations = Operations(engine, metrics, backup, settings.data_dir)
    routes = (
        Route("/v1/contexts", {"GET": contexts.listing}),
        Route(CONTEXT, {"GET": contexts.get, "PUT": contexts.put, "DELETE": contexts.delete}),
        Route(f"{CONTEXT}/metadata", {"PATCH": contexts.patch_metadata}),
        Route(f"{CONTEXT}/messages", {"GET": messages.read, "POST": messages.append}),
        Route(f"{CONTEXT}/tail", {"GET": messages.tail}),
        Route(f"{CONTEXT}/context", {"GET": window.read}),
        Route(f"{CONTEXT}/compact", {"POST": window.compact}),
        Route(f"{CONTEXT}/compactions", {"GET": window.compactions}),
        Route(f"{CONTEXT}/stream", {"GET": streams.stream}),
        Route(f"{CONTEXT}/events", {"GET": streams.events}),
        Route("/health/live", {"GET": operations.live}, is_open=True, is_exempt=True),
        Route("/health/ready", {"GET": operations.ready}, is_open=True, is_exempt=True),
        Route("/metrics", {"GET": operations.metrics}, is_open=settings.metrics_public),
        Route("/backup", {"POST": operations.backup}),
        Route("/openapi.json", {"GET": openapi}),
        Route("/docs", {"GET": docs}),
    )
    return Edge(Routes(routes), _door(settings, monotonic), metrics, memory)


def _door(settings: Settings, monotonic: Callable[[], float]) -> Door:
    rate = settings.rate_limit
    return Door(
        keys=Keys(settings.api_keys) if settings.api_keys else None,
        origins=Origins(settings.cors_origins),
        checks_host=settings.checks_host,
        rate=RateLimit(rate.count, rate.period_seconds, monotonic) if rate else None,
    )
