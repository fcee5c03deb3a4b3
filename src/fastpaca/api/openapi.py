"""
The OpenAPI document: every route, parameter, body, answer and error of this release.

It is written down here once more, by hand, since it is a promise and no by-product: tests hold the
routes of the application and real answers against it.
"""

from __future__ import annotations

import re
from base64 import b64encode
from functools import lru_cache
from hashlib import sha256
from importlib import resources
from typing import Final

import msgspec

from fastpaca import __version__
from fastpaca.api.openapi_stream import STREAM_SCHEMAS, stream_paths
from fastpaca.api.request import Headers
from fastpaca.api.schemas import CONTEXT, HELLO, HELLO_LOGGED, SCHEMAS, integer, ref
from fastpaca.api.spec import (
    GUARDED,
    HEADERS,
    OF_APPENDS,
    OF_WRITES,
    PARAMETERS,
    WITH_BODY,
    Spec,
    all_errors,
    body_of,
    content_of,
    id_part,
    json_of,
    limit,
    operation,
    parameter,
    query,
    with_shared_errors,
)
from fastpaca.context import jsontext
from fastpaca.errors import ContextNotFound, OutcomeUnknown, VersionConflict

_POLICY: Final = (
    "default-src 'none'; script-src '{script}'; style-src '{style}'; connect-src 'self';"
    " img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


_OF_A_CONTEXT: Final = (
    *("getContext", "putContext", "patchMetadata", "deleteContext"),
    *("appendMessages", "readMessages", "readTail", "readWindow", "compactWindow"),
    "listCompactions",
)


@lru_cache(maxsize=1)
def openapi_bytes() -> bytes:
    """Give the document as JSON."""
    return msgspec.json.encode(document())


@lru_cache(maxsize=1)
def docs_page() -> tuple[bytes, Headers]:
    """Give the page that shows the document, and its headers: no script runs but its own."""
    page = resources.files("fastpaca.api").joinpath("docs.html").read_bytes()
    policy = _POLICY.format(script=_hash_of(b"script", page), style=_hash_of(b"style", page))
    return page, (
        (b"content-type", b"text/html; charset=utf-8"),
        (b"content-security-policy", policy.encode()),
        (b"x-content-type-options", b"nosniff"),
        (b"referrer-policy", b"no-referrer"),
        (b"cache-control", b"no-cache"),
    )


def _hash_of(tag: bytes, page: bytes) -> str:
    """Name the content of the one *tag* in *page* as a Content-Security-Policy does."""
    (content,) = re.findall(b"<%b>(.*?)</%b>" % (tag, tag), page, re.DOTALL)
    return "sha256-" + b64encode(sha256(content).digest()).decode()


def document() -> Spec:
    """Make the document."""
    paths = {
        **_context_paths(),
        **_message_paths(),
        **_window_paths(),
        **stream_paths(),
        **_operation_paths(),
    }
    paths, shared_errors = with_shared_errors(paths)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "fastpaca",
            "version": __version__,
            "summary": "Keeps the conversations of language-model applications.",
            "description": (
                "A *context* is one conversation: a message log that nothing rewrites, and an LLM"
                " context that stays within a token budget. Unknown keys and parameters are refused"
                " with the nearest known name. The API's own integers end at 2^53 - 1 and are"
                " written without fraction or exponent. HEAD is answered where GET is, and OPTIONS"
                " everywhere."
            ),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}, {}],
        "tags": [
            {"name": "Contexts", "description": "Create, read, list, change and delete."},
            {"name": "Messages", "description": "The message log: append to it and read it."},
            {"name": "LLM context", "description": "What is sent to a model."},
            {"name": "Stream", "description": "Every change, from any cursor and then live."},
            {"name": "Operations", "description": "For who runs the node."},
        ],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "Needed if the node has an API key.",
                }
            },
            "parameters": PARAMETERS,
            "headers": HEADERS,
            "responses": shared_errors,
            "schemas": SCHEMAS | STREAM_SCHEMAS,
        },
        "x-errors": all_errors(),
    }


# --- paths ------------------------------------------------------------------------------------


def _context_paths() -> Spec:
    representation = json_of("Context", CONTEXT)
    written = (*GUARDED, *OF_WRITES)
    return {
        "/v1/contexts": {
            "get": operation(
                "listContexts",
                "Contexts",
                "List contexts in byte order of their ids, tombstoned ones included.",
                parameters=(
                    query("prefix", id_part("Only ids that begin with it.")),
                    query("after", id_part("Only ids above it: the `next` of the page before.")),
                    limit("contexts"),
                ),
                answers={200: json_of("ContextPage", {"contexts": [CONTEXT], "next": None})},
                errors=GUARDED,
            )
        },
        "/v1/contexts/{id}": {
            "parameters": [parameter("contextId")],
            "get": operation(
                "getContext",
                "Contexts",
                "Read a context, tombstoned ones too.",
                answers={200: representation},
                errors=(*GUARDED, ContextNotFound),
            ),
            "put": operation(
                "putContext",
                "Contexts",
                "Create a context, or change its configuration. Sent again, it changes nothing.",
                body=body_of(
                    "ContextChanges",
                    {"update": {"token_budget": 8000, "policy": {"strategy": "last_n"}}},
                    is_required=False,
                ),
                answers={201: representation, 200: representation},
                told={201: "Created.", 200: "There already; changed if need be."},
                leads_to=_OF_A_CONTEXT,
                errors=(*written, *WITH_BODY),
            ),
            "delete": operation(
                "deleteContext",
                "Contexts",
                "Tombstone a context: it can be read, but not written. Or erase it for good.",
                parameters=(
                    query(
                        "purge",
                        {
                            "type": "boolean",
                            "default": False,
                            "description": "Erase messages, metadata and summaries for good.",
                        },
                    ),
                ),
                answers={204: None},
                told={204: "Deleted, now or before."},
                errors=(*GUARDED, ContextNotFound, OutcomeUnknown),
            ),
        },
        "/v1/contexts/{id}/metadata": {
            "parameters": [parameter("contextId")],
            "patch": operation(
                "patchMetadata",
                "Contexts",
                "Merge into the metadata: a key that is given is replaced, a null removes it.",
                body=body_of(
                    "MetadataChanges", {"merge": {"metadata": {"channel": "mail", "draft": None}}}
                ),
                answers={200: representation},
                errors=(*written, *WITH_BODY, ContextNotFound),
            ),
        },
    }


def _message_paths() -> Spec:
    one = {"seq": 84, "version": 84, "token_estimate": 5}
    many = {"results": [one, {"seq": 85, "version": 85, "token_estimate": 6}]}
    answer = {"role": "assistant", "parts": [{"type": "text", "text": "Hi!"}]}
    return {
        "/v1/contexts/{id}/messages": {
            "parameters": [parameter("contextId")],
            "post": operation(
                "appendMessages",
                "Messages",
                "Append a message, or up to 1000, all or none. Answered once they are durable.",
                parameters=(parameter("idempotencyKey"),),
                body=body_of(
                    "Append",
                    {"one": {"message": HELLO}, "many": {"messages": [HELLO, answer]}},
                ),
                answers={
                    201: content_of(
                        {"oneOf": [ref("Appended"), ref("AppendedBatch")]},
                        {"one": one, "many": many},
                    )
                },
                told={201: "Appended, now or before under the same key."},
                leads_to=("readMessages", "readTail", "readWindow", "compactWindow"),
                headers=("Idempotent-Replayed",),
                errors=(*GUARDED, *WITH_BODY, *OF_WRITES, *OF_APPENDS),
            ),
            "get": operation(
                "readMessages",
                "Messages",
                "Read the log forward. A page ends early at 16 MiB.",
                parameters=(
                    query(
                        "from_seq",
                        integer(
                            "Where to begin; negative for the newest so many.",
                            -jsontext.INTEGER_MAX,
                        ),
                    ),
                    query("to_seq", integer("Where to end, inclusive; not below `from_seq`.")),
                    limit("messages"),
                ),
                answers={
                    200: json_of("MessagePage", {"messages": [HELLO_LOGGED], "version": 84}),
                },
                errors=(*GUARDED, ContextNotFound),
            ),
        },
        "/v1/contexts/{id}/tail": {
            "parameters": [parameter("contextId")],
            "get": operation(
                "readTail",
                "Messages",
                "Read the newest messages, oldest first.",
                parameters=(
                    query("offset", integer("How many of the newest to skip.", default=0)),
                    limit("messages"),
                ),
                answers={200: json_of("Tail", {"messages": [HELLO_LOGGED]})},
                errors=(*GUARDED, ContextNotFound),
            ),
        },
    }


def _window_paths() -> Spec:
    view = {
        "version": 84,
        "messages": [HELLO_LOGGED],
        "used_tokens": 5,
        "needs_compaction": False,
        "segments": [{"type": "live", "from_seq": 84, "to_seq": 84}],
        "token_budget": 8000,
        "window_tokens": 5,
        "fit": "whole",
    }
    summary = {"role": "user", "parts": [{"type": "text", "text": "Summary: …"}]}
    compaction = {
        "version": 85,
        "strategy": "manual",
        "range": {"from_seq": 1, "to_seq": 84},
        "used_tokens_before": 5100,
        "used_tokens_after": 120,
        "segments": [{"type": "summary", "from_seq": 1, "to_seq": 84}],
        "at": "2026-01-05T09:31:00.000000Z",
    }
    return {
        "/v1/contexts/{id}/context": {
            "parameters": [parameter("contextId")],
            "get": operation(
                "readWindow",
                "LLM context",
                "Read the LLM context: what is sent to a model, fitted to the budget.",
                parameters=(
                    query(
                        "budget_tokens",
                        integer("Fit under this budget instead of the context's own.", 1),
                    ),
                    query("if_version", integer("Answer only if this is the current version.")),
                    query(
                        "at_version",
                        integer(
                            "Read the window as it was after this version, not above the current"
                            " one; fitted under the configuration of now."
                        ),
                    ),
                    query(
                        "explain",
                        {
                            "type": "boolean",
                            "default": False,
                            "description": "Tell what became of each message of the log.",
                        },
                    ),
                    parameter("ifNoneMatch"),
                ),
                answers={200: json_of("View", view), 304: None},
                told={304: "As it was when the `ETag` was answered."},
                headers=("ETag",),
                errors=(*GUARDED, ContextNotFound, VersionConflict),
            ),
        },
        "/v1/contexts/{id}/compact": {
            "parameters": [parameter("contextId")],
            "post": operation(
                "compactWindow",
                "LLM context",
                "Make the window exactly the replacement; the log is untouched.",
                parameters=(parameter("idempotencyKey"),),
                body=body_of("Compact", {"summary": {"replacement": [summary], "if_version": 84}}),
                answers={200: json_of("Compacted", {"version": 85})},
                told={200: "Compacted, now or before under the same key."},
                leads_to=("readWindow",),
                headers=("Idempotent-Replayed",),
                errors=(*GUARDED, *WITH_BODY, *OF_WRITES, *OF_APPENDS),
            ),
        },
        "/v1/contexts/{id}/compactions": {
            "parameters": [parameter("contextId")],
            "get": operation(
                "listCompactions",
                "LLM context",
                "List what has rewritten the window, oldest first. A page ends early at 16 MiB of"
                " stored windows; an empty one is the end.",
                parameters=(
                    query(
                        "after",
                        integer(
                            "Only those of versions above it: the `version` of the last one of the"
                            " page before.",
                            default=0,
                        ),
                    ),
                    limit("compactions"),
                ),
                answers={200: json_of("CompactionPage", {"compactions": [compaction]})},
                errors=(*GUARDED, ContextNotFound),
            ),
        },
    }


def _operation_paths() -> Spec:
    healthy = json_of("Healthy", {"status": "ok"})
    ready = json_of("Ready", {"status": "ok"})
    text = {"text/plain": {"schema": {"type": "string"}}}
    page = {"text/html": {"schema": {"type": "string"}}}
    file = {"application/vnd.sqlite3": {"schema": {"type": "string", "format": "binary"}}}
    spec = {"application/json": {"schema": {"type": "object"}}}
    return {
        "/health/live": {"get": _health("live", "Tell whether the process is of use.", healthy)},
        "/health/ready": {
            "get": _health("ready", "Tell whether requests should be sent here.", ready)
        },
        "/metrics": {
            "get": operation(
                "metrics",
                "Operations",
                "Give all series in the text format of Prometheus.",
                answers={200: text},
                errors=GUARDED,
            )
        },
        "/backup": {
            "post": operation(
                "backup",
                "Operations",
                "Give a consistent copy of all data, made while the node goes on serving.",
                answers={200: file},
                told={200: "An SQLite file."},
                errors=GUARDED,
            )
        },
        "/openapi.json": {
            "get": operation(
                "openapi",
                "Operations",
                "Give this document.",
                answers={200: spec},
                errors=GUARDED,
            )
        },
        "/docs": {
            "get": operation(
                "docs",
                "Operations",
                "Give a page that shows this document and needs no network.",
                answers={200: page},
                errors=GUARDED,
            )
        },
    }


def _health(name: str, summary: str, healthy: Spec) -> Spec:
    found = operation(
        f"health{name.title()}",
        "Operations",
        summary,
        answers={200: healthy},
        errors=(),
        is_open=True,
    )
    unavailable = found["responses"]["503"]
    unavailable["description"] = "It is not, or there are too many connections."
    content = unavailable["content"]["application/json"]
    content["schema"] = {"oneOf": [ref("Unhealthy"), content["schema"]]}
    return found
