"""
Errors as responses: the only place that knows the HTTP status of an error.

Every error has the same body: `{"error": code, "message": sentence}` and the error's own fields.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

from msgspec import UNSET, Struct, UnsetType

from fastpaca import errors
from fastpaca.api.request import JSON_TYPE, Response
from fastpaca.api.responses import Count, doc, encode
from fastpaca.errors import FastpacaError, InternalError, MethodNotAllowed, Unauthorized
from fastpaca.http.messages import Headers

STATUS: Final[dict[type[FastpacaError], int]] = {
    errors.InvalidRequest: 400,
    errors.Unauthorized: 401,
    errors.Forbidden: 403,
    errors.NotFound: 404,
    errors.MethodNotAllowed: 405,
    errors.RequestTimeout: 408,
    errors.VersionConflict: 409,
    errors.Tombstoned: 409,
    errors.Purged: 409,
    errors.AlreadyExists: 409,
    errors.IdempotencyConflict: 409,
    errors.PayloadTooLarge: 413,
    errors.UnsupportedMediaType: 415,
    errors.RateLimited: 429,
    errors.HeadersTooLarge: 431,
    errors.InternalError: 500,
    errors.Unavailable: 503,
    errors.OutcomeUnknown: 503,
}

SHOWN_CHARS_MAX: Final = 500
"""A longer message or field, which quotes the request, is cut."""


class ErrorJSON(Struct, frozen=True, gc=False):
    """The shape of every error. Some have fields of their own."""

    error: Annotated[str, doc("A stable code; match on it.")]
    message: Annotated[str, doc("A sentence for people that says what is wrong and how to fix it.")]
    field: Annotated[
        str | UnsetType, doc("The path of the wrong field in the request; with `invalid_request`.")
    ] = UNSET
    expected: Annotated[
        Count | UnsetType, doc("The version that the request named; with `conflict`.")
    ] = UNSET
    found: Annotated[Count | UnsetType, doc("The current version; with `conflict`.")] = UNSET


def status_of(error: FastpacaError) -> int:
    """Return the HTTP status of *error*."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def response(error: FastpacaError) -> Response:
    """Return *error* as a response."""
    return Response(status_of(error), body(error), JSON_TYPE + _headers(error))


def body(error: FastpacaError) -> bytes:
    """Return the JSON of *error*."""
    fields: dict[str, Any] = {
        name: _shown(value) if isinstance(value, str) else value
        for name, value in error.fields.items()
    }
    return encode(ErrorJSON(error.code, _shown(error.message), **fields))


def defect(request_id: bytes) -> Response:
    """Return the response to a request that met a defect; it reveals only the id of the request."""
    name = request_id.decode()
    return response(
        InternalError(f"The node failed on this request; find it in the log as {name}.")
    )


def _headers(error: FastpacaError) -> Headers:
    if error.retry_after_seconds is not None:
        return ((b"retry-after", b"%d" % error.retry_after_seconds),)
    if isinstance(error, Unauthorized):
        return ((b"www-authenticate", b"Bearer"),)
    if isinstance(error, MethodNotAllowed):
        return ((b"allow", ", ".join(error.allowed).encode()),)
    return ()


def _shown(text: str) -> str:
    return text if len(text) <= SHOWN_CHARS_MAX else text[:SHOWN_CHARS_MAX] + " …"
