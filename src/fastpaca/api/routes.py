"""
Find the route of a request by its path.

Paths are split before they are decoded, since `%2F` in a context id is no slash of the path.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple
from urllib.parse import unquote_to_bytes

from fastpaca.api.request import Handler
from fastpaca.errors import FastpacaError, InvalidRequest, NotFound
from fastpaca.ids import ID_BYTES_MAX, id_fault

CONTEXT: Final = "/v1/contexts/{id}"
"""How the paths of a context begin; `{id}` is percent-encoded."""

_BEFORE_ID: Final = CONTEXT.removesuffix("{id}").encode()
_DOT_SEGMENT: Final = re.compile(rb"/(?:\.|%2[Ee]){1,2}(?=/|$)")
_BROKEN_PERCENT: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})")


class Route(NamedTuple):
    """
    A path and its handlers.

    Attributes:
        path: The path, as in the documentation; also its label in metrics.
        handlers: By method. HEAD is answered where GET is, and OPTIONS everywhere.
        is_open: Whether it needs no API key.
        is_exempt: Whether the rate limit does not apply.
    """

    path: str
    handlers: Mapping[str, Handler]
    is_open: bool = False
    is_exempt: bool = False

    @property
    def methods(self) -> tuple[str, ...]:
        """Its methods, as in the `Allow` header."""
        head = ("HEAD",) if "GET" in self.handlers else ()
        return (*self.handlers, *head, "OPTIONS")


class Routes:
    """All routes, by path."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._fixed: dict[bytes, Route] = {}
        self._of_context: dict[bytes, Route] = {}
        for route in routes:
            if route.path.startswith(CONTEXT):
                self._of_context[route.path.removeprefix(CONTEXT).encode()] = route
            else:
                self._fixed[route.path.encode()] = route

    def find(self, raw_path: bytes) -> tuple[Route | None, bytes | None]:
        """Return the route of a path and, if it has one, the context id as it was sent."""
        if raw_path.startswith(_BEFORE_ID):
            raw_id, slash, rest = raw_path[len(_BEFORE_ID) :].partition(b"/")
            return self._of_context.get(slash + rest), raw_id
        return self._fixed.get(raw_path), None


def no_route(raw_path: bytes) -> FastpacaError:
    """
    Return the error for a path without a route.

    A step such as `..` has an error of its own. The client meant another path, or an id whose `%2F`
    a proxy has decoded, so the path that the steps lead to must not be served.
    """
    if _DOT_SEGMENT.search(raw_path):
        return InvalidRequest(
            "A path must not have '.' or '..' between its slashes. Encode '/' in a context id as"
            " '%2F', and let proxies pass the path on unchanged."
        )
    if raw_path.startswith(_BEFORE_ID):
        return NotFound(
            "There is no route at this path; see /docs. Encode '/' in a context id as '%2F', and"
            " let proxies pass the path on unchanged."
        )
    return NotFound("There is no route at this path; see /docs.")


def decode_id(raw: bytes) -> str:
    """
    Return the context id that is *raw* in a path, percent-decoded once.

    Raises:
        InvalidRequest: It is no context id.
    """
    if 2 < len(raw) <= ID_BYTES_MAX and raw.isascii() and b"%" not in raw and b"\0" not in raw:
        return raw.decode()  # most ids are plain
    data = raw
    if b"%" in raw:
        if _BROKEN_PERCENT.search(raw):
            raise _unusable("has a % that does not start a percent-encoded byte; encode % as %25")
        data = unquote_to_bytes(raw)
    if not data:
        raise _unusable("is empty; name a context, or list them at /v1/contexts")
    try:
        context_id = data.decode()
    except UnicodeDecodeError:
        raise _unusable("is not UTF-8; percent-encode the bytes of its UTF-8 form") from None
    if (fault := id_fault(context_id)) is not None:
        raise _unusable(fault)
    return context_id


def _unusable(why: str) -> InvalidRequest:
    return InvalidRequest(f"The context id {why}.", "id")
