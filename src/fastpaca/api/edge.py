"""
The edge that every request passes: in ASGI, out ASGI, and between them one `Request`, one `Answer`.

In order: a request id, the origin of a browser's page, the host, the API key, the rate limit, the
route, its handler. Whatever goes wrong is answered in the same shape, and everything is timed.
"""

from __future__ import annotations

import logging
from time import perf_counter
from typing import TYPE_CHECKING, Final, NamedTuple

from starlette.types import Receive, Scope, Send

from fastpaca.api import auth, errors, sending
from fastpaca.api.auth import Keys, Origins
from fastpaca.api.limits import SHORT_BYTES, BodyMemory, RateLimit
from fastpaca.api.request import Answer, ClientGone, Request
from fastpaca.api.routes import Route, Routes, decode_id, no_route
from fastpaca.errors import FastpacaError, MethodNotAllowed
from fastpaca.telemetry import Metrics

if TYPE_CHECKING:
    from prometheus_client import Histogram

logger = logging.getLogger(__name__)

METHODS: Final = frozenset({"GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "OPTIONS"})
"""Methods that have a label of their own in metrics; all others fold into `other`."""


class Door(NamedTuple):
    """
    Who may come in, and how often.

    Attributes:
        keys: The API keys; None lets everybody in.
        origins: The origins whose pages may call.
        checks_host: Whether only requests that name this machine are answered.
        rate: The rate limit, if there is one.
    """

    keys: Keys | None
    origins: Origins
    checks_host: bool
    rate: RateLimit | None


class Edge:
    """The ASGI application."""

    def __init__(self, routes: Routes, door: Door, metrics: Metrics, memory: BodyMemory) -> None:
        self._memory = memory
        self._routes = routes
        self._door = door
        self._metrics = metrics
        self._timers: dict[tuple[str, str, int], Histogram] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] not in ("http", "websocket"):
            raise NotImplementedError(f"This application does not speak {scope['type']!r}.")
        started = perf_counter()
        request = Request(scope, receive)
        route, raw_id = self._routes.find(scope["raw_path"])
        try:
            try:
                answer = await self._answer(request, route, raw_id)
                self._hold(request, answer)
            except FastpacaError as error:
                answer = errors.answer(error)
            except ClientGone:
                return
            except Exception:
                logger.exception("a request failed", extra={"request_id": request.id.decode()})
                answer = errors.defect(request.id)
            await self._send(request, route, answer, send, started)
        finally:
            if request.held_bytes:
                self._memory.set(request, 0)

    def _hold(self, request: Request, answer: Answer) -> None:
        """
        Let *answer* be there until it is sent, in place of the body of its request.

        Raises:
            RateLimited: There is no room for what was read. What was written is always answered.
        """
        size = len(answer.body) if isinstance(answer.body, bytes) else 0
        if size <= SHORT_BYTES and not request.held_bytes:
            return
        if request.method == "GET" and request.context_id:
            self._memory.hold_response(request, size)
        else:
            self._memory.set(request, size if size > SHORT_BYTES else 0)

    async def _send(
        self, request: Request, route: Route | None, answer: Answer, send: Send, started: float
    ) -> None:
        if not isinstance(answer.body, bytes) and answer.body.size is None:
            # It has no end that could be waited for: what counts is how soon it began.
            self._note(route, request.method, answer.status, perf_counter() - started)
            await sending.send(request, answer, send)
            return
        await sending.send(request, answer, send)
        self._note(route, request.method, answer.status, perf_counter() - started)

    async def _answer(self, request: Request, route: Route | None, raw_id: bytes | None) -> Answer:
        request.merge_headers()
        preflight = self._admit(request, route)
        if preflight is not None:
            return preflight
        if route is None:
            raise no_route(request.scope["raw_path"])
        handler = route.handlers.get("GET" if request.method == "HEAD" else request.method)
        if handler is None:
            if request.method == "OPTIONS":
                allow = ", ".join(route.methods).encode()
                return Answer(204, headers=((b"allow", allow),))
            raise MethodNotAllowed(
                f"{request.method} is not answered here; use {' or '.join(route.methods)}.",
                route.methods,
            )
        if raw_id is not None:
            request.context_id = decode_id(raw_id)
        return await handler(request)

    def _admit(self, request: Request, route: Route | None) -> Answer | None:
        """Let *request* in, or answer it at the door if it is a browser's preflight."""
        door = self._door
        origin = request.headers.get(b"origin")
        request.cors = door.origins.without if origin is None else door.origins.headers(origin)
        if door.checks_host:
            auth.check_host(request)
        caller = None if door.keys is None else door.keys.caller(request)
        if door.rate is not None and not (route and route.is_exempt):
            door.rate.take(request.address if caller is None else caller)
        if origin is not None and auth.is_preflight(request):
            return auth.preflight()
        if caller is None and door.keys is not None and not (route and route.is_open):
            raise auth.refuse(request)
        return None

    def _note(self, route: Route | None, method: str, status: int, seconds: float) -> None:
        path = route.path if route is not None else "other"
        key = (path, method if method in METHODS else "other", status)
        timer = self._timers.get(key)
        if timer is None:
            timer = self._metrics.http_request_seconds.labels(path, key[1], str(status))
            self._timers[key] = timer
        timer.observe(seconds)
