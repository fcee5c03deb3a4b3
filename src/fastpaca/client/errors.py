"""
Errors that a caller of a client meets.

What a node answers becomes an error of `fastpaca.errors`, the class with its code; a code that this
release does not know becomes the base class. What happens without an answer has its class here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from fastpaca.errors import (
    ContextNotFound,
    FastpacaError,
    Forbidden,
    HeadersTooLarge,
    IdempotencyConflict,
    InternalError,
    InvalidRequest,
    MethodNotAllowed,
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

KINDS: Final[Mapping[str, type[FastpacaError]]] = {
    kind.code: kind
    for kind in (
        ContextNotFound,
        Forbidden,
        HeadersTooLarge,
        IdempotencyConflict,
        InternalError,
        InvalidRequest,
        MethodNotAllowed,
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
}


class ConnectionFailed(FastpacaError):
    """No answer came from the node; a write may or may not have happened."""

    code = "connection_failed"


class TimedOut(ConnectionFailed):
    """No answer came from the node in time; a write may or may not have happened."""

    code = "timed_out"


class UnexpectedAnswer(FastpacaError):
    """What came is not an answer of a fastpaca node; is the address right?"""

    code = "unexpected_answer"


class ClientClosed(FastpacaError):
    """The client was closed; calls are no longer possible."""

    code = "client_closed"


class ForeignStream(FastpacaError):
    """A stream is read in the process, and on the event loop, that began to read it."""

    code = "foreign_stream"


class CannotCompact(FastpacaError):
    """What a compaction has to keep is above the trigger of the window by itself."""

    code = "cannot_compact"

    def __init__(self, trigger_tokens: int, kept_tokens: int) -> None:
        self.trigger_tokens = trigger_tokens
        self.kept_tokens = kept_tokens
        super().__init__(
            f"No summary brings the window to its trigger of {trigger_tokens} tokens: the "
            f"instructions and the newest messages that belong together take {kept_tokens}. "
            "Raise the budget of the context, or append smaller messages.",
            trigger_tokens=trigger_tokens,
            kept_tokens=kept_tokens,
        )


class CannotOpen(FastpacaError):
    """The data of a local client cannot be opened."""

    code = "cannot_open"


def refusal(code: str, message: str, fields: Mapping[str, Any]) -> FastpacaError:
    """Make the error with this *code* as a node has answered it, all of its *fields* included."""
    error = _typed(code, message, fields)
    error.code = code
    error.message = message
    error.args = (message,)
    error.fields = dict(fields)
    return error


def _typed(code: str, message: str, fields: Mapping[str, Any]) -> FastpacaError:
    kind = KINDS.get(code, FastpacaError)
    if kind is VersionConflict:
        expected, found = fields.get("expected"), fields.get("found")
        if type(expected) is not int or type(found) is not int:
            return FastpacaError(message)
        return VersionConflict(expected, found)
    if kind is InvalidRequest:
        field = fields.get("field")
        return InvalidRequest(message, field if isinstance(field, str) else None)
    return kind(message)
