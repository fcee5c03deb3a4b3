"""What the OpenAPI document says of the live stream: its two routes, and the frames they carry."""

from __future__ import annotations

from typing import Any, Final

from fastpaca.api.schemas import integer, ref
from fastpaca.api.spec import GUARDED, Spec, operation, parameter, query
from fastpaca.errors import ContextNotFound

ENDLESS: Final = ("openStream", "readEvents")
"""Operations whose answers have no end."""

_PARAMETERS: Final = (
    query("cursor", integer("The last version that was processed; 0 for all, absent from now.")),
    query(
        "include_messages",
        {
            "type": "boolean",
            "default": True,
            "description": "Whether message frames are sent; the cursor moves all the same.",
        },
    ),
)


def stream_paths() -> Spec:
    """Describe the routes."""
    events = {"text/event-stream": {"schema": {"type": "string"}}}
    return {
        "/v1/contexts/{id}/stream": {
            "parameters": [parameter("contextId")],
            "get": operation(
                "openStream",
                "Stream",
                "Follow the context over a WebSocket; each text message is a `Frame`.",
                parameters=_PARAMETERS,
                answers={101: None},
                told={101: "The connection is a WebSocket from now on."},
                errors=(*GUARDED, ContextNotFound),
            ),
        },
        "/v1/contexts/{id}/events": {
            "parameters": [parameter("contextId")],
            "get": operation(
                "readEvents",
                "Stream",
                "Follow the context as server-sent events; the data of each is a `Frame`.",
                parameters=(*_PARAMETERS, parameter("lastEventId")),
                answers={200: events, 204: None},
                told={
                    200: "Events, without end; `id` is the cursor.",
                    204: "The context was deleted, and all of it lies before the cursor.",
                },
                errors=(*GUARDED, ContextNotFound),
            ),
        },
    }


def _frame(kind: str, description: str, properties: dict[str, Any]) -> dict[str, Any]:
    found = {
        "type": {"const": kind},
        **properties,
        "cursor": integer("What to resume from once this frame is processed."),
    }
    return {
        "type": "object",
        "description": description,
        "properties": found,
        "required": list(found),
    }


_VERSION: Final = integer("The version that this belongs to.")

STREAM_SCHEMAS: Final[dict[str, Any]] = {
    "Frame": {
        "description": "One step of a stream.",
        "oneOf": [
            _frame(
                "message",
                "A message was appended.",
                {
                    "version": _VERSION,
                    "seq": integer("Its place in the log.", 1),
                    "message": ref("Message"),
                },
            ),
            _frame(
                "compaction",
                "The window was rewritten.",
                {
                    "version": _VERSION,
                    "range": {
                        "type": ["object", "null"],
                        "description": "The seqs whose place in the window changed.",
                        "properties": {
                            "from_seq": integer("The first.", 1),
                            "to_seq": integer("The last.", 1),
                        },
                        "required": ["from_seq", "to_seq"],
                    },
                    "strategy": {
                        "type": "string",
                        "description": "The policy that did it; `manual` for a compact call.",
                    },
                    "used_tokens_before": integer("Tokens of the window before."),
                    "used_tokens_after": integer("Tokens of the window after."),
                },
            ),
            _frame(
                "context",
                "What the LLM context has come to.",
                {
                    "version": _VERSION,
                    "needs_compaction": {
                        "type": "boolean",
                        "description": "Whether the window is above its trigger.",
                    },
                    "used_tokens": integer("Tokens of a read of the LLM context."),
                    "token_budget": integer("The budget of the context.", 1),
                },
            ),
            _frame("tombstoned", "The context was deleted.", {"version": _VERSION}),
            _frame(
                "gap",
                "Versions are gone for ever.",
                {
                    "expected": integer("The first that is gone.", 1),
                    "actual": integer("The next that is not.", 1),
                },
            ),
            _frame(
                "reset",
                "The cursor was above the current version: read everything again.",
                {"version": _VERSION},
            ),
            _frame("ping", "Nothing has happened for a while.", {}),
        ],
    }
}
