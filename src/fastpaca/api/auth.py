"""
Who may send requests: API keys, the origins of browser pages, and the host that a request names.

A node without a key on a loopback address is open to every program on the machine, and through a
browser to every page on the web. Two checks close that hole. The `Origin` of a page must be one
that the operator listed. The `Host` must be the machine itself, since a page can make its own name
point to 127.0.0.1 (DNS rebinding), and then has no foreign origin.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from functools import lru_cache
from hmac import compare_digest
from typing import Final

from fastpaca.api.request import Request, Response
from fastpaca.errors import Forbidden, Unauthorized
from fastpaca.http.messages import Headers

PREFLIGHT_KEPT_S: Final = 600
"""How long a browser may remember the response to a preflight."""

HOST_BYTES_MAX: Final = 255
"""No host name is longer."""

_PORT: Final = re.compile(r":[0-9]*$")
_EXPOSED: Final = b"ETag, X-Request-Id, Idempotent-Replayed, Retry-After"
_METHODS: Final = b"GET, HEAD, PUT, POST, PATCH, DELETE"
_REQUEST_HEADERS: Final = (
    b"Authorization, Content-Type, Idempotency-Key, If-None-Match, X-Request-Id"
)


class Keys:
    """The API keys of the node."""

    def __init__(self, keys: Iterable[str]) -> None:
        self._keys = tuple(key.encode() for key in keys)

    def caller(self, request: Request) -> int | None:
        """
        Return the index of the key that *request* carries; None if it has no known key.

        All keys are compared, each in constant time, so that timing reveals nothing.
        """
        scheme, _, token = request.headers.get(b"authorization", b"").partition(b" ")
        if scheme.lower() != b"bearer":
            return None
        sent = token.strip(b" ")
        caller = None
        for index, key in enumerate(self._keys):
            if compare_digest(key, sent):
                caller = index
        return caller


def refuse(request: Request) -> Unauthorized:
    """Return the error that says what is wrong with the key of *request*."""
    if b"authorization" in request.headers:
        return Unauthorized(
            "This API key is unknown; send a valid one as `Authorization: Bearer <key>`."
        )
    return Unauthorized()


class Origins:
    """The origins whose pages may read responses in a browser."""

    def __init__(self, origins: Iterable[str]) -> None:
        self._headers: dict[bytes, Headers] = {
            origin.encode(): (
                (b"access-control-allow-origin", origin.encode()),
                (b"access-control-expose-headers", _EXPOSED),
                (b"vary", b"Origin"),
            )
            for origin in origins
        }
        self.without: Headers = ((b"vary", b"Origin"),) if self._headers else ()

    def headers(self, origin: bytes) -> Headers:
        """
        Return the headers that let a page of *origin* read the response.

        Raises:
            Forbidden: The operator did not list this origin.
        """
        headers = self._headers.get(origin.lower())
        if headers is None:
            raise Forbidden(
                "This origin may not call this node; to allow it, add it to FASTPACA_CORS_ORIGINS."
            )
        return headers


def is_preflight(request: Request) -> bool:
    """Return whether a browser asks what a page may send; it sends no key with that."""
    return request.method == "OPTIONS" and b"access-control-request-method" in request.headers


def preflight() -> Response:
    """Return the response that says what a page of a listed origin may send."""
    return Response(
        204,
        headers=(
            (b"access-control-allow-methods", _METHODS),
            (b"access-control-allow-headers", _REQUEST_HEADERS),
            (b"access-control-max-age", b"%d" % PREFLIGHT_KEPT_S),
        ),
    )


def check_host(request: Request) -> None:
    """
    Check that *request* names this machine as its host.

    Raises:
        Forbidden: It names another one.
    """
    host = request.headers.get(b"host")
    if host is not None and (len(host) > HOST_BYTES_MAX or not _is_this_machine(host)):
        raise Forbidden(
            "This node only serves localhost, 127.0.0.1 and [::1]; to serve it under another"
            " name, set FASTPACA_API_KEY."
        )


@lru_cache(maxsize=256)
def _is_this_machine(host: bytes) -> bool:
    name = _PORT.sub("", host.decode("latin-1")).lower()
    if name == "localhost":
        return True
    if name.startswith("[") and name.endswith("]"):
        name = name[1:-1]
    elif ":" in name:
        return False
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
