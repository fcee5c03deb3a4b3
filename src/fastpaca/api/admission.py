"""
What a request passes before its handler: the origin of a browser page, the host, key, rate limit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from fastpaca.api import auth
from fastpaca.api.auth import Keys, Origins
from fastpaca.api.limits import RateLimiter
from fastpaca.api.request import Request, Response
from fastpaca.api.routes import Route
from fastpaca.settings import Settings


class Admission(NamedTuple):
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
    rate: RateLimiter | None

    @classmethod
    def of(cls, settings: Settings, monotonic: Callable[[], float]) -> Admission:
        """Return the admission that *settings* ask for; *monotonic* is the clock, in seconds."""
        rate = settings.rate_limit
        return cls(
            keys=Keys(settings.api_keys) if settings.api_keys else None,
            origins=Origins(settings.cors_origins),
            checks_host=settings.checks_host,
            rate=RateLimiter(rate.count, rate.period_seconds, monotonic) if rate else None,
        )

    def admit(self, request: Request, route: Route | None) -> Response | None:
        """
        Let *request* in, or return the response if it is a browser's preflight.

        Raises:
            Forbidden: Its origin or its host is not allowed.
            RateLimited: Its caller has sent too many.
            Unauthorized: It needs a key and has none that is known.
        """
        origin = request.headers.get(b"origin")
        request.cors = self.origins.without if origin is None else self.origins.headers(origin)
        if self.checks_host:
            auth.check_host(request)
        caller = None if self.keys is None else self.keys.caller(request)
        if self.rate is not None and not (route and route.is_exempt):
            self.rate.take(request.address if caller is None else caller)
        if origin is not None and auth.is_preflight(request):
            return auth.preflight()
        if caller is None and self.keys is not None and not (route and route.is_open):
            raise auth.refuse(request)
        return None
