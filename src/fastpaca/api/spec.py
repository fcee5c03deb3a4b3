"""
The pieces that the OpenAPI document is put together from: operations, their answers and errors.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from fastpaca.api.errors import STATUS
from fastpaca.api.query import PAGE_DEFAULT, PAGE_MAX
from fastpaca.api.schemas import CONTEXT_ID, integer, ref
from fastpaca.errors import (
    ContextNotFound,
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

Spec = dict[str, Any]
Kinds = tuple[type[FastpacaError], ...]

ANYWHERE: Final[Kinds] = (
    InvalidRequest,
    Forbidden,
    RequestTimeout,
    HeadersTooLarge,
    InternalError,
    Unavailable,
)
GUARDED: Final[Kinds] = (Unauthorized, RateLimited)
WITH_BODY: Final[Kinds] = (PayloadTooLarge, UnsupportedMediaType)
OF_WRITES: Final[Kinds] = (OutcomeUnknown, Tombstoned, Purged)
OF_APPENDS: Final[Kinds] = (ContextNotFound, VersionConflict, IdempotencyConflict)

_MEANINGS: Final[dict[type[FastpacaError], str]] = {
    InvalidRequest: "Not JSON, not UTF-8, a wrong shape or value, an unusable query or header.",
    Unauthorized: "The node has an API key, and the request none or a wrong one.",
    Forbidden: "A browser's origin that is not listed, or a host that is not this machine.",
    NotFound: "No such route.",
    ContextNotFound: "No context with this id.",
    MethodNotAllowed: "This path answers other methods only; see `Allow`.",
    RequestTimeout: "Headers or a body that do not arrive in time.",
    VersionConflict: "`if_version` is not the current version.",
    Tombstoned: "The context was deleted: it is read, but never written again.",
    Purged: "The context was purged: its id is never used again.",
    IdempotencyConflict: "The `Idempotency-Key` was used with another method, path or body.",
    PayloadTooLarge: "The body is above the limit.",
    UnsupportedMediaType: "The body is not JSON, or is compressed.",
    RateLimited: "Above the rate limit, or too many writes are waiting.",
    HeadersTooLarge: "Request line and headers above 64 KiB, or more than 100 headers.",
    InternalError: "A defect of the node; the message names the request id.",
    Unavailable: "The store cannot be used now, or the node starts or stops; nothing was changed.",
    OutcomeUnknown: "The write may or may not have happened; retry only with the same key.",
}


def operation(
    name: str,
    tag: str,
    summary: str,
    *,
    answers: dict[int, Spec | None],
    errors: Iterable[type[FastpacaError]],
    parameters: tuple[Spec, ...] = (),
    body: Spec | None = None,
    told: dict[int, str] | None = None,
    headers: tuple[str, ...] = (),
    leads_to: tuple[str, ...] = (),
    is_open: bool = False,
) -> Spec:
    """
    Describe what one method of a path does.

    Args:
        name: What generated clients call it.
        tag: The group it belongs to.
        summary: What it does.
        answers: What it answers in case of success, by status; None for no body.
        errors: Errors of its own.
        parameters: In the query and in headers.
        body: Its body, if it has one.
        told: What each status means.
        headers: Headers of its successful answers.
        leads_to: Operations that can be called with the same id once this one has succeeded.
        is_open: Whether it needs no key.
    """
    same_id = {"parameters": {"id": "$request.path.id"}}
    links = {"links": {other: {"operationId": other, **same_id} for other in leads_to}}
    successes = {
        str(status): _response((told or {}).get(status, "Done."), content, headers)
        | (links if leads_to else {})
        for status, content in answers.items()
    }
    return {
        "operationId": name,
        "tags": [tag],
        "summary": summary,
        "parameters": [*parameters, parameter("requestId")],
        **({"requestBody": body} if body else {}),
        "responses": {**successes, **_errors((*ANYWHERE, *errors))},
        **({"security": []} if is_open else {}),
    }


def with_shared_errors(paths: Spec) -> tuple[Spec, Spec]:
    """Give *paths* with references in place of errors that stand there often, and those errors."""
    shared: Spec = {}
    for path in paths.values():
        for method in path.keys() - {"parameters"}:
            responses = path[method]["responses"]
            for status in [status for status in responses if status >= "400"]:
                codes = responses[status]["content"]["application/json"]["examples"]
                name = "_".join((status, *codes))
                if shared.setdefault(name, responses[status]) == responses[status]:
                    responses[status] = {"$ref": f"#/components/responses/{name}"}
    return paths, shared


def _response(description: str, content: Spec | None, headers: tuple[str, ...] = ()) -> Spec:
    return {
        "description": description,
        "headers": {
            name: {"$ref": f"#/components/headers/{name}"} for name in (*headers, "X-Request-Id")
        },
        **({"content": content} if content else {}),
    }


def _errors(kinds: Iterable[type[FastpacaError]]) -> Spec:
    by_status: dict[int, list[type[FastpacaError]]] = {}
    for kind in kinds:
        by_status.setdefault(_status(kind), []).append(kind)
    return {str(status): _error(status, by_status[status]) for status in sorted(by_status)}


def _error(status: int, kinds: list[type[FastpacaError]]) -> Spec:
    examples = {kind.code: {"value": _example(kind)} for kind in kinds}
    own = {name: schema for kind in kinds for name, schema in _FIELDS.get(kind, {}).items()}
    schema = {
        **ref("Error"),
        "properties": {"error": {"type": "string", "enum": [kind.code for kind in kinds]}, **own},
    }
    content = {"application/json": {"schema": schema, "examples": examples}}
    description = " ".join(f"`{kind.code}`: {_MEANINGS[kind]}" for kind in kinds)
    return _response(description, content, _ERROR_HEADERS.get(status, ()))


def _example(kind: type[FastpacaError]) -> Spec:
    if kind is InvalidRequest:
        error: FastpacaError = InvalidRequest(
            "A part needs a type, such as 'text'.", "message.parts[2].type"
        )
    elif kind is VersionConflict:
        error = VersionConflict(expected=83, found=84)
    elif kind is InternalError:
        error = InternalError("The server failed on this request; it was logged as 4f1c-2a.")
    else:
        error = kind()
    return {"error": error.code, "message": error.message, **error.fields}


def _status(kind: type[FastpacaError]) -> int:
    return next(STATUS[base] for base in kind.__mro__ if base in STATUS)


def all_errors() -> list[Spec]:
    """List every error that there is, by status."""
    errors = (
        {"status": _status(kind), "error": kind.code, "description": meaning}
        for kind, meaning in _MEANINGS.items()
    )
    return sorted(errors, key=lambda error: int(error["status"]))


def json_of(schema: str, example: Spec) -> Spec:
    """Describe a JSON value of a named schema."""
    return {"application/json": {"schema": ref(schema), "example": example}}


def content_of(schema: Spec, examples: dict[str, Spec]) -> Spec:
    """Describe a JSON value, with examples by name."""
    named = {name: {"value": value} for name, value in examples.items()}
    return {"application/json": {"schema": schema, "examples": named}}


def body_of(schema: str, examples: dict[str, Spec], *, is_required: bool = True) -> Spec:
    """Describe a body."""
    return {"required": is_required, "content": content_of(ref(schema), examples)}


def parameter(name: str) -> Spec:
    """Refer to one of the shared parameters."""
    return {"$ref": f"#/components/parameters/{name}"}


def query(name: str, schema: Spec) -> Spec:
    """Describe a parameter of the query."""
    own = {key: value for key, value in schema.items() if key != "description"}
    return {"name": name, "in": "query", "description": schema["description"], "schema": own}


def limit(what: str) -> Spec:
    """Describe how many *what* a page holds."""
    schema = integer(f"The most {what} in a page.", 1, default=PAGE_DEFAULT)
    return query("limit", {**schema, "maximum": PAGE_MAX})


def id_part(description: str) -> Spec:
    """Describe a context id or the beginning of one."""
    schema = {"type": "string", "maxLength": CONTEXT_ID["maxLength"], "pattern": "^[^\\u0000]*$"}
    return {"description": description, **schema}


def _header_parameter(name: str, description: str, pattern: str | None = None) -> Spec:
    schema = {"type": "string"} | ({"pattern": pattern} if pattern else {})
    return {"name": name, "in": "header", "description": description, "schema": schema}


_FIELDS: Final[dict[type[FastpacaError], Spec]] = {
    InvalidRequest: {
        "field": {"type": "string", "description": "What is wrong, as a path."},
    },
    VersionConflict: {
        "expected": integer("The version that was named."),
        "found": integer("The current version."),
    },
}

_ERROR_HEADERS: Final[dict[int, tuple[str, ...]]] = {
    401: ("WWW-Authenticate",),
    429: ("Retry-After",),
    503: ("Retry-After",),
}

PARAMETERS: Final[Spec] = {
    "contextId": {
        "name": "id",
        "in": "path",
        "required": True,
        "description": (
            "The id of the context, percent-encoded: 1 to 512 bytes of UTF-8 without NUL, other"
            " than `.` and `..`. Upper and lower case differ."
        ),
        "schema": CONTEXT_ID,
        "example": "chat-42",
    },
    "idempotencyKey": _header_parameter(
        "Idempotency-Key",
        "Sent again with the same key, the request is not done again, and answered as before; for"
        " at least 7 days. 1 to 255 printable ASCII characters.",
        "^[!-~]([ -~]{0,253}[!-~])?$",
    ),
    "ifNoneMatch": _header_parameter("If-None-Match", "The `ETag` of an earlier answer."),
    "lastEventId": _header_parameter(
        "Last-Event-ID",
        "The cursor, as event sources send it; wins over the parameter.",
        "^[0-9]*$",
    ),
    "requestId": _header_parameter(
        "X-Request-Id",
        "What the request is called in logs. One that is not 1 to 128 letters, digits or `.`, `_`,"
        " `:`, `-` is replaced.",
    ),
}

HEADERS: Final[Spec] = {
    "X-Request-Id": {
        "description": "What the request is called in logs.",
        "required": True,
        "schema": {"type": "string"},
    },
    "ETag": {
        "description": "Changes whenever the answer would.",
        "required": True,
        "schema": {"type": "string"},
    },
    "Idempotent-Replayed": {
        "description": "The answer is that of an earlier request with the same key.",
        "schema": {"const": "true"},
    },
    "Retry-After": {
        "description": "When to try again, in seconds.",
        "schema": {"type": "integer", "minimum": 0},
    },
    "WWW-Authenticate": {
        "description": "How to send the key.",
        "schema": {"const": "Bearer"},
    },
}
