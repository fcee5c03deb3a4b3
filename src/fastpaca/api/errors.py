"""
Errors as answers: the one place that knows which HTTP status an error has.

Every error has the same body: `{"error": code, "message": sentence}` and the error's own fields.
"""

from __future__ import annotations

from typing import Any, Final

from fastpaca.api.request import JSON, Answer, Headers
from fastpaca.api.responses import ErrorJSON, encode
from fastpaca.errors import (
    FastpacaError,
    Forbidden,
    HeadersTooLarge,
    IdempotencyConflict,
    InternalError,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    OutcomeUnknown,
    PayloadTooLarge,
    Purged,
    RateLimited,
    RequestTimeout,
    Tombstoned,
    Unauthorized,
    Unavailable,
    UnsupportedMediaType,
    VersionConflict,
)

STATUS: Final[dict[type[FastpacaError], int]] = {
    InvalidRequest: 400,
    Unauthorized: 401,
    Forbidden: 403,
    NotFound: 404,
    MethodNotAllowed: 405,
    RequestTimeout: 408,
    VersionConflict: 409,
    Tombstoned: 409,
    Purged: 409,
    IdempotencyConflict: 409,
    PayloadTooLarge: 413,
    UnsupportedMediaType: 415,
    RateLimited: 429,
    HeadersTooLarge: 431,
    InternalError: 500,
    Unavailable: 503,
    OutcomeUnknown: 503,
}

SHOWN_CHARS_MAX: Final = 500
"""A message or field that quotes more of the request than this is cut."""


def status_of(error: FastpacaError) -> int:
    """Give the HTTP status of *error*."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def answer(error: FastpacaError) -> Answer:
    """Write *error* as an answer."""
    return Answer(status_of(error), body(error), JSON + _headers(error))


def body(error: FastpacaError) -> bytes:
    """Write the body that says what went wrong."""
    fields: dict[str, Any] = {
        name: _shown(value) if isinstance(value, str) else value
        for name, value in error.fields.items()
    }
    return encode(ErrorJSON(error.code, _shown(error.message), **fields))


def defect(request_id: bytes) -> Answer:
    """Answer to a request that met a defect; names nothing but the request."""
    request = request_id.decode()
    return answer(InternalError(f"The server failed on this request; it was logged as {request}."))


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
