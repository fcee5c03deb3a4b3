"""
Errors that the clients raise.

An error response of a node becomes the class of `fastpaca.errors` with its code, or the base class
if this release doesn't know the code. Errors of the clients' own have their classes here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from fastpaca import errors
from fastpaca.errors import (
    ContextNotFound,
    FastpacaError,
    InvalidRequest,
    MessageNotFound,
    VersionConflict,
)

CLASSES: Final[Mapping[str, type[FastpacaError]]] = {
    error_class.code: error_class
    for error_class in vars(errors).values()  # a subclass comes after its base, and has its code
    if isinstance(error_class, type) and issubclass(error_class, FastpacaError)
    if error_class not in (FastpacaError, MessageNotFound)
}


class ConnectionFailed(FastpacaError):
    """No response came from the node; a write may or may not have happened."""

    code = "connection_failed"


class TimedOut(ConnectionFailed):
    """No response came from the node in time; a write may or may not have happened."""

    code = "timed_out"


class UnexpectedResponse(FastpacaError):
    """The response is not one of a fastpaca node; is the address right?"""

    code = "unexpected_response"


class ClientClosed(FastpacaError):
    """The client was closed; it can make no more calls."""

    code = "client_closed"


class ForeignStream(FastpacaError):
    """A stream can only be read in the process, and on the event loop, that began to read it."""

    code = "foreign_stream"


class CannotCompact(FastpacaError):
    """The messages that a compaction has to keep are above the window's trigger by themselves."""

    code = "cannot_compact"

    def __init__(self, trigger_tokens: int, kept_tokens: int) -> None:
        self.trigger_tokens = trigger_tokens
        self.kept_tokens = kept_tokens
        super().__init__(
            f"No summary can bring the window down to its trigger of {trigger_tokens} tokens: the "
            f"instructions and the newest messages that belong together take {kept_tokens}. "
            "Raise the context's budget, or append smaller messages.",
            trigger_tokens=trigger_tokens,
            kept_tokens=kept_tokens,
        )


class CannotOpen(FastpacaError):
    """The data of a local client can't be opened."""

    code = "cannot_open"


def error_of_code(code: str, message: str, fields: Mapping[str, Any]) -> FastpacaError:
    """Return the error that a node has sent, with all of its *fields*."""
    error = _typed(code, message, fields)
    error.code = code
    error.message = message
    error.args = (message,)
    error.fields = dict(fields)
    return error


def _typed(code: str, message: str, fields: Mapping[str, Any]) -> FastpacaError:
    error_class = CLASSES.get(code, FastpacaError)
    if error_class is ContextNotFound and fields.get("field") == "message_id":
        return MessageNotFound(message)
    if error_class is VersionConflict:
        expected, found = fields.get("expected"), fields.get("found")
        if type(expected) is not int or type(found) is not int:
            return FastpacaError(message)
        return VersionConflict(expected, found)
    if error_class is InvalidRequest:
        field = fields.get("field")
        return InvalidRequest(message, field if isinstance(field, str) else None)
    return error_class(message)
