"""
The map of the service, and the ASGI application that every request goes through.

In order, a request gets an id, passes `admission.py` (origin, host, API key, rate limit), and finds
its route. The handler reads a body through `limits.py`, parses it with `bodies.py`, and responds
with a struct of `responses.py`. Every error gets the one shape of `errors.py`, and every request is
timed.

`create_app` puts the application together. It starts and stops nothing: that is up to the caller,
who owns the engine.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from time import perf_counter
from typing import TYPE_CHECKING, Final

from starlette.types import ASGIApp, Receive, Scope, Send

from fastpaca.api import errors, sending
from fastpaca.api.admission import Admission
from fastpaca.api.contexts import Contexts
from fastpaca.api.limits import SHORT_BYTES, BodyMemory, BodyPace, RequestBodies
from fastpaca.api.messages import Messages
from fastpaca.api.operations import Backup, Operations, docs, openapi
from fastpaca.api.request import ClientGone, Request, Response
from fastpaca.api.routes import CONTEXT, Route, Routes, decode_id, no_route
from fastpaca.api.stream import Streams
from fastpaca.api.windows import Windows
from fastpaca.engine import Engine
from fastpaca.errors import FastpacaError, MethodNotAllowed
from fastpaca.service import Service
from fastpaca.settings import Settings
from fastpaca.telemetry import Metrics

if TYPE_CHECKING:
    from prometheus_client import Histogram

logger = logging.getLogger(__name__)

METHODS: Final = frozenset({"GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "OPTIONS"})
"""Methods with a label of their own in metrics; all others count as `other`."""


def create_app(
    service: Service,
    engine: Engine,
    settings: Settings,
    metrics: Metrics,
    *,
    backup: Backup,
    pace: BodyPace | None = None,
    monotonic: Callable[[], float] = time.monotonic,
    give_back: Callable[[], None] = lambda: None,
) -> ASGIApp:
    """
    Return the ASGI application that serves *service*.

    Args:
        service: Does what requests ask for.
        engine: Knows the health of the node.
        settings: Keys, origins and limits.
        metrics: Where requests are counted, and what `/metrics` shows.
        backup: Writes a copy of all data to a new file.
        pace: How slowly a body may arrive.
        monotonic: The clock of the rate limit, in seconds.
        give_back: Returns free memory to the system, see `fastpaca.allocator`.
    """
    memory = BodyMemory(settings.body_memory_bytes, settings.body_bytes_max, give_back)
    request_bodies = RequestBodies(settings.body_bytes_max, pace or BodyPace(), memory)
    contexts = Contexts(service, request_bodies)
    messages = Messages(service, request_bodies)
    windows = Windows(service, request_bodies)
    streams = Streams(service, metrics, settings.stream_connections_max)
    operations = Operations(engine, metrics, backup, settings.data_dir)
    routes = (
        Route("/v1/contexts", {"GET": contexts.listing}),
        Route(CONTEXT, {"GET": contexts.get, "PUT": contexts.put, "DELETE": contexts.delete}),
        Route(f"{CONTEXT}/metadata", {"PATCH": contexts.patch_metadata}),
        Route(f"{CONTEXT}/messages", {"GET": messages.read, "POST": messages.append}),
        Route(f"{CONTEXT}/tail", {"GET": messages.tail}),
        Route(f"{CONTEXT}/context", {"GET": windows.read}),
        Route(f"{CONTEXT}/compact", {"POST": windows.compact}),
        Route(f"{CONTEXT}/compactions", {"GET": windows.compactions}),
        Route(f"{CONTEXT}/stream", {"GET": streams.stream}),
        Route(f"{CONTEXT}/events", {"GET": streams.events}),
        Route("/health/live", {"GET": operations.live}, is_open=True, is_exempt=True),
        Route("/health/ready", {"GET": operations.ready}, is_open=True, is_exempt=True),
        Route("/metrics", {"GET": operations.metrics}, is_open=settings.metrics_public),
        Route("/backup", {"POST": operations.backup}),
        Route("/openapi.json", {"GET": openapi}),
        Route("/docs", {"GET": docs}),
    )
    return App(Routes(routes), Admission.of(settings, monotonic), metrics, memory)


class App:
    """The ASGI application."""

    def __init__(
        self, routes: Routes, admission: Admission, metrics: Metrics, memory: BodyMemory
    ) -> None:
        self._memory = memory
        self._routes = routes
        self._admission = admission
        self._metrics = metrics
        self._timers: dict[tuple[str, str, int], Histogram] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond to one request."""
        if scope["type"] not in ("http", "websocket"):
            raise NotImplementedError(f"This application does not speak {scope['type']!r}.")
        started = perf_counter()
        request = Request(scope, receive)
        route, raw_id = self._routes.find(scope["raw_path"])
        try:
            try:
                response = await self._response(request, route, raw_id)
                self._hold(request, response)
            except FastpacaError as error:
                response = errors.response(error)
            except ClientGone:
                return
            except Exception:
                logger.exception("a request failed", extra={"request_id": request.id.decode()})
                response = errors.defect(request.id)
            await self._send(request, route, response, send, started)
        finally:
            if request.held_bytes:
                self._memory.set(request, 0)

    def _hold(self, request: Request, response: Response) -> None:
        """
        Count *response* in the shared memory until it is sent, instead of the body of its request.

        Raises:
            RateLimited: There is no room for what was read. The response to a write is always sent.
        """
        size = len(response.body) if isinstance(response.body, bytes) else 0
        if size <= SHORT_BYTES and not request.held_bytes:
            return
        if request.method == "GET" and request.context_id:
            self._memory.hold_response(request, size)
        else:
            self._memory.set(request, size if size > SHORT_BYTES else 0)

    async def _send(
        self, request: Request, route: Route | None, response: Response, send: Send, started: float
    ) -> None:
        is_endless = not isinstance(response.body, bytes) and response.body.size is None
        if is_endless:  # what counts is how soon it began
            self._note(route, request.method, response.status, perf_counter() - started)
        await sending.send(request, response, send)
        if not is_endless:
            self._note(route, request.method, response.status, perf_counter() - started)

    async def _response(
        self, request: Request, route: Route | None, raw_id: bytes | None
    ) -> Response:
        request.merge_headers()
        preflight = self._admission.admit(request, route)
        if preflight is not None:
            return preflight
        if route is None:
            raise no_route(request.scope["raw_path"])
        handler = route.handlers.get("GET" if request.method == "HEAD" else request.method)
        if handler is None:
            if request.method == "OPTIONS":
                allow = ", ".join(route.methods).encode()
                return Response(204, headers=((b"allow", allow),))
            raise MethodNotAllowed(
                f"This path does not accept {request.method}; use {' or '.join(route.methods)}.",
                route.methods,
            )
        if raw_id is not None:
            request.context_id = decode_id(raw_id)
        return await handler(request)

    def _note(self, route: Route | None, method: str, status: int, seconds: float) -> None:
        path = route.path if route is not None else "other"
        key = (path, method if method in METHODS else "other", status)
        timer = self._timers.get(key)
        if timer is None:
            timer = self._metrics.http_request_seconds.labels(path, key[1], str(status))
            self._timers[key] = timer
        timer.observe(seconds)
