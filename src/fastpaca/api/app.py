"""
The map of the service, and the application that every request goes through.

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
from functools import partial
from time import perf_counter
from typing import Final

from fastpaca.api import errors
from fastpaca.api.admission import Admission
from fastpaca.api.contexts import Contexts
from fastpaca.api.limits import SHORT_BYTES, BodyMemory, BodyPace, RequestBodies
from fastpaca.api.messages import Messages
from fastpaca.api.operations import Backup, Operations, docs, openapi
from fastpaca.api.request import Request, Response
from fastpaca.api.request_ids import request_id
from fastpaca.api.routes import (
    CONTEXT,
    MESSAGE,
    Route,
    Routes,
    Target,
    decode_id,
    decode_message_id,
    no_route,
)
from fastpaca.api.stream import Streams
from fastpaca.api.windows import Windows
from fastpaca.engine import Engine
from fastpaca.errors import FastpacaError, MethodNotAllowed, Unavailable
from fastpaca.http import messages as http
from fastpaca.service import Service
from fastpaca.settings import Settings
from fastpaca.telemetry import Metrics

logger = logging.getLogger(__name__)

WARNING_INTERVAL_SECONDS: Final = 60.0

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
    give_back: Callable[[], None] | None = None,
) -> App:
    """
    Return the application that serves *service*.

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
        Route(f"{CONTEXT}/fork", {"POST": contexts.fork}),
        Route(f"{CONTEXT}/messages", {"GET": messages.read, "POST": messages.append}),
        Route(MESSAGE, {"GET": messages.get, "PUT": messages.put}),
        Route(f"{CONTEXT}/tail", {"GET": messages.tail}),
        Route(f"{CONTEXT}/context", {"GET": windows.read}),
        Route(f"{CONTEXT}/compact", {"POST": windows.compact}),
        Route(f"{CONTEXT}/rewind", {"POST": windows.rewind}),
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
    """The application; see `http.Application`."""

    def __init__(
        self, routes: Routes, admission: Admission, metrics: Metrics, memory: BodyMemory
    ) -> None:
        self._memory = memory
        self._routes = routes
        self._admission = admission
        self._times = metrics.request_times
        self._warned_at = -WARNING_INTERVAL_SECONDS

    async def respond(self, incoming: http.HttpRequest) -> http.HttpResponse:
        """
        Return the response to a request.

        Raises:
            Disconnected: The client left before its request was complete.
        """
        started = perf_counter()
        request = Request(incoming)
        target = self._routes.find(request.path)
        route = target.route
        try:
            response = await self._response(request, target)
            self._hold(request, response)
        except FastpacaError as error:
            response = errors.response(error)
        except Exception as error:
            if isinstance(error, http.ClientGone):
                self._memory.release(request)
                raise
            logger.exception("a request failed", extra={"request_id": request.id.decode()})
            response = errors.defect(request.id)
        except BaseException:
            self._memory.release(request)
            raise
        return self._complete(request, route, response, started)

    def _complete(
        self, request: Request, route: Route | None, response: Response, started: float
    ) -> http.HttpResponse:
        body = response.body
        headers = (*response.headers, (b"x-request-id", request.id), *request.cors)
        after: Callable[[], None]
        if isinstance(body, bytes) or body.size is not None:
            after = partial(self._end, request, route, response.status, started)
        else:  # it has no end: what counts is how soon it began
            self._note(route, request.method, response.status, perf_counter() - started)
            after = partial(self._memory.release, request)
        return http.HttpResponse(response.status, body, headers, after)

    def _end(self, request: Request, route: Route | None, status: int, started: float) -> None:
        self._memory.release(request)
        self._note(route, request.method, status, perf_counter() - started)

    def refuse(
        self, error: FastpacaError, sent_id: bytes | None, seconds: float
    ) -> http.HttpResponse:
        """
        Return the response to what is not a request, and count it.

        It is logged if an operator can do something about it, but not each time.
        """
        response = errors.response(error)
        name = request_id(sent_id)
        self._note(None, "other", response.status, seconds)
        level = logging.DEBUG
        now = perf_counter()
        if isinstance(error, Unavailable) and now - self._warned_at >= WARNING_INTERVAL_SECONDS:
            self._warned_at = now
            level = logging.WARNING
        fields = {"type": error.code, "request_id": name.decode()}
        logger.log(level, "a request was refused: %s", error.message, extra=fields)
        headers = (*response.headers, (b"x-request-id", name))
        return http.HttpResponse(response.status, response.body, headers)

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

    async def _response(self, request: Request, target: Target) -> Response:
        route = target.route
        request.check_headers()
        preflight = self._admission.admit(request, route)
        if preflight is not None:
            return preflight
        if route is None:
            raise no_route(request.path)
        handler = route.handlers.get("GET" if request.method == "HEAD" else request.method)
        if handler is None:
            if request.method == "OPTIONS":
                allow = ", ".join(route.methods).encode()
                return Response(204, headers=((b"allow", allow),))
            raise MethodNotAllowed(
                f"This path does not accept {request.method}; use {' or '.join(route.methods)}.",
                route.methods,
            )
        if target.raw_id is not None:
            request.context_id = decode_id(target.raw_id)
        if target.raw_message_id is not None:
            request.message_id = decode_message_id(target.raw_message_id)
        return await handler(request)

    def _note(self, route: Route | None, method: str, status: int, seconds: float) -> None:
        path = route.path if route is not None else "other"
        self._times.note(path, method if method in METHODS else "other", status, seconds)
