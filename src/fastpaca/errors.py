"""
Every error that a client can meet, one class each.

A class has a stable `code`, typed fields, and a docstring that is its default message.
Callers match on the class or the code, never on the text.
Nothing here knows an HTTP status: the only translation is the table in `api/errors.py`.
"""

from __future__ import annotations


class FastpacaError(Exception):
    """Something went wrong."""

    code: str = ""

    retry_after_seconds: float | None = None
    """How long a node asks to wait before the next attempt."""

    # What a client knows of its request and the answer; a node leaves it out.
    status: int | None = None
    request_id: str | None = None
    idempotency_key: str | None = None

    def __init__(self, message: str | None = None, **fields: object) -> None:
        self.message = message or (type(self).__doc__ or "").strip()
        self.fields = {name: value for name, value in fields.items() if value is not None}
        super().__init__(self.message)

    def __str__(self) -> str:
        """What a traceback shows: the message, after the path of what was wrong."""
        return f"{self.field}: {self.message}" if self.field else self.message

    @property
    def field(self) -> str | None:
        """The path of what was wrong in the request, if one can be named."""
        field = self.fields.get("field")
        return field if isinstance(field, str) else None


class InvalidRequest(FastpacaError):
    """The request is invalid."""

    code = "invalid_request"

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message, field=field)


class Unauthorized(FastpacaError):
    """Send the API key as `Authorization: Bearer <key>`."""

    code = "unauthorized"


class Forbidden(FastpacaError):
    """This request is not allowed here."""

    code = "forbidden"


class NotFound(FastpacaError):
    """There is nothing at this path."""

    code = "not_found"


class ContextNotFound(NotFound):
    """There is no context with this id; create it with PUT first."""


class MessageNotFound(NotFound):
    """There is no message with this id in this context."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message, field="message_id")  # so that clients know it from a context


class MethodNotAllowed(FastpacaError):
    """This path does not accept this method; see the Allow header."""

    code = "method_not_allowed"

    def __init__(self, message: str | None = None, allowed: tuple[str, ...] = ()) -> None:
        self.allowed = allowed
        super().__init__(message)


class VersionConflict(FastpacaError):
    """The op's *if_version* is not the current version of the context."""

    code = "conflict"

    def __init__(self, expected: int, found: int) -> None:
        self.expected = expected
        self.found = found
        super().__init__(
            f"Context version changed (expected {expected}, found {found})",
            expected=expected,
            found=found,
        )


class Tombstoned(FastpacaError):
    """This context was deleted: it can still be read, but never written again."""

    code = "tombstoned"


class Purged(FastpacaError):
    """This context was purged; its id can never be used again."""

    code = "purged"


class AlreadyExists(FastpacaError):
    """There is a context with this id already; choose another id."""

    code = "already_exists"


class IdempotencyConflict(FastpacaError):
    """This Idempotency-Key was used with another method, path or body; use a new key."""

    code = "idempotency_conflict"


class RequestTimeout(FastpacaError):
    """The request did not arrive in time; send headers and body without pauses."""

    code = "request_timeout"


class UnsupportedMediaType(FastpacaError):
    """Send the body as JSON, with `Content-Type: application/json`."""

    code = "unsupported_media_type"


class HeadersTooLarge(FastpacaError):
    """The request line and headers are too large; together they may have 64 KiB."""

    code = "headers_too_large"


class PayloadTooLarge(FastpacaError):
    """The body is too large."""

    code = "payload_too_large"


class RateLimited(FastpacaError):
    """Too many requests; try again after the time in Retry-After."""

    code = "rate_limited"

    def __init__(self, message: str | None = None, retry_after_seconds: int = 1) -> None:
        self.retry_after_seconds = retry_after_seconds
        super().__init__(message)


class InternalError(FastpacaError):
    """The node failed on this request because of a defect."""

    code = "internal_error"


class Unavailable(FastpacaError):
    """The store cannot commit right now; nothing was changed. Try again."""

    code = "unavailable"
    retry_after_seconds = 1.0


class OutcomeUnknown(FastpacaError):
    """The commit may or may not have happened; retry only with the same Idempotency-Key."""

    code = "outcome_unknown"
    retry_after_seconds = 1.0
