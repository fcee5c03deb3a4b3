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
from fastpaca.context.draft import MESSAGE_ID_BYTES_MAX
from fastpaca.errors import FastpacaError, InvalidRequest, NotFound
from fastpaca.ids import ID_BYTES_MAX, id_fault

CONTEXT: Final = "/v1/contexts/{id}"
"""How the paths of a context begin; `{id}` is percent-encoded."""

MESSAGE: Final = f"{CONTEXT}/messages/{{message_id}}"
"""The path of a message; `{message_id}` is percent-encoded."""

_BEFORE_ID: Final = CONTEXT.removesuffix("{id}").encode()
_BEFORE_MESSAGE_ID: Final = b"/messages/"
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


class Target(NamedTuple):
    """
    What a path leads to.

    Attributes:
        route: The route; None if there is none.
        raw_id: The context id in the path, as it was sent; None if it has none.
        raw_message_id: The message id in it, likewise.
    """

    route: Route | None
    raw_id: bytes | None = None
    raw_message_id: bytes | None = None


class Routes:
    """All routes, by path."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._fixed: dict[bytes, Route] = {}
        self._of_context: dict[bytes, Route] = {}
        self._of_message: Route | None = None
        for route in routes:
            if route.path == MESSAGE:
                self._of_message = route
            elif route.path.startswith(CONTEXT):
                self._of_context[route.path.removeprefix(CONTEXT).encode()] = route
            else:
                self._fixed[route.path.encode()] = route

    def find(self, raw_path: bytes) -> Target:
        """Return the route of a path, and the ids in it."""
        if not raw_path.startswith(_BEFORE_ID):
            return Target(self._fixed.get(raw_path))
        raw_id, slash, rest = raw_path[len(_BEFORE_ID) :].partition(b"/")
        below = slash + rest
        route = self._of_context.get(below)
        if route is None and below.startswith(_BEFORE_MESSAGE_ID):
            raw_message_id = below[len(_BEFORE_MESSAGE_ID) :]
            if raw_message_id and b"/" not in raw_message_id:
                return Target(self._of_message, raw_id, raw_message_id)
        return Target(route, raw_id)


def no_route(raw_path: bytes) -> FastpacaError:
    """
    Return the error for a path without a route.

    A step such as `..` has an error of its own. The client meant another path, or an id whose `%2F`
    a proxy has decoded, so the path that the steps lead to must not be served.
    """
    if _DOT_SEGMENT.search(raw_path):
        return InvalidRequest(
            "A path must not have '.' or '..' between its slashes. Encode '/' in an id as '%2F',"
            " and let proxies pass the path on unchanged."
        )
    if raw_path.startswith(_BEFORE_ID):
        return NotFound(
            "There is no route at this path; see /docs. Encode '/' in an id as '%2F', and"
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
    data = _unquoted(raw, "id")
    if not data:
        raise _unusable("is empty; name a context, or list them at /v1/contexts", "id")
    context_id = _text(data, "id")
    if (fault := id_fault(context_id)) is not None:
        raise _unusable(fault, "id")
    return context_id


def decode_message_id(raw: bytes) -> str:
    """
    Return the message id that is *raw* in a path, percent-decoded once.

    Raises:
        InvalidRequest: No message can be found by it.
    """
    data = _unquoted(raw, "message_id")
    if not 1 <= len(data) <= MESSAGE_ID_BYTES_MAX:
        raise _unusable(
            f"has {len(data)} bytes; it must have 1 to {MESSAGE_ID_BYTES_MAX}", "message_id"
        )
    if data in (b".", b".."):
        raise _unusable("is a step of a path, which clients and proxies take out", "message_id")
    return _text(data, "message_id")


def _unquoted(raw: bytes, field: str) -> bytes:
    if b"%" not in raw:
        return raw
    if _BROKEN_PERCENT.search(raw):
        raise _unusable(
            "has a % that does not start a percent-encoded byte; encode % as %25", field
        )
    return unquote_to_bytes(raw)


def _text(data: bytes, field: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise _unusable("is not UTF-8; percent-encode the bytes of its UTF-8 form", field) from None


def _unusable(why: str, field: str) -> InvalidRequest:
    what = "context" if field == "id" else "message"
    return InvalidRequest(f"The {what} id {why}.", field)
