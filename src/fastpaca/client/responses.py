"""
Responses of a node, as a client reads them: values or errors. Pure.

A number that no float can hold (`1e400`), or an integer of more digits than Python reads (4300),
becomes a `decimal.Decimal` and is sent back unchanged.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from email.utils import parsedate_to_datetime
from typing import Any, Final, Generic, NamedTuple, TypeVar

import msgspec

from fastpaca.client.errors import UnexpectedResponse, error_of_code
from fastpaca.client.values import (
    AppendResult,
    Compaction,
    CompactResult,
    ContextInfo,
    Frame,
    Message,
    ProviderView,
    RewindResult,
    View,
)
from fastpaca.errors import FastpacaError

T = TypeVar("T")

QUOTED_CHARS_MAX: Final = 200
"""How much of an unreadable response an error quotes."""

_SECONDS: Final = re.compile(r"[0-9]+")
_HTTP_DATE: Final = re.compile(r"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT")


class ClientResponse(NamedTuple):
    """
    A response of a node, or of a proxy in front of it.

    Attributes:
        status: The HTTP status.
        headers: The headers; look them up in lower case.
        body: The body; empty while the response is still open.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def is_success(self) -> bool:
        """Whether the status is one of success."""
        return 200 <= self.status < 300


class MessagesPage(msgspec.Struct):
    """A page of the log, or of the path, which says where it goes on."""

    messages: list[Message]
    version: int = 0
    next: int | None = None


class CompactionsPage(msgspec.Struct):
    """A page of compactions."""

    compactions: list[Compaction]


class ContextsPage(msgspec.Struct):
    """A page of contexts."""

    contexts: list[ContextInfo]
    next: str | None


class AppendResults(msgspec.Struct):
    """The results of appending several messages."""

    results: list[AppendResult]


def _hook(type_: type, value: Any) -> Any:
    return Message(value) if type_ is Message else value


def _number(text: str) -> float | Decimal:
    number = float(text)
    return number if math.isfinite(number) else Decimal(text)


def _integer(text: str) -> int | Decimal:
    try:
        return int(text)
    except ValueError:  # more digits than this Python reads
        return Decimal(text)


class BodyReader(Generic[T]):
    """Decodes bodies of one type from JSON."""

    def __init__(self, type_: Any) -> None:
        self._type = type_
        self._decoder: msgspec.json.Decoder[T] = msgspec.json.Decoder(type_, dec_hook=_hook)

    def __call__(self, body: bytes) -> T:
        """
        Decode *body*.

        Raises:
            UnexpectedResponse: It is not JSON of this type.
        """
        try:
            return self._decoder.decode(body)
        except msgspec.ValidationError:
            # Perhaps because of a number that is too large for a float or an int. Reading these
            # takes longer, so it is tried only now.
            return self._decode_exactly(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise UnexpectedResponse(_not_understood(body)) from error

    def _decode_exactly(self, body: bytes) -> T:
        try:
            value = json.loads(body, parse_float=_number, parse_int=_integer)
            converted: T = msgspec.convert(value, self._type, dec_hook=_hook)
        except (ValueError, msgspec.ValidationError, RecursionError) as error:
            raise UnexpectedResponse(_not_understood(body)) from error
        return converted


context_info: Final[BodyReader[ContextInfo]] = BodyReader(ContextInfo)
contexts_page: Final[BodyReader[ContextsPage]] = BodyReader(ContextsPage)
appended: Final[BodyReader[AppendResult]] = BodyReader(AppendResult)
batch: Final[BodyReader[AppendResults]] = BodyReader(AppendResults)
rewound: Final[BodyReader[RewindResult]] = BodyReader(RewindResult)
compacted: Final[BodyReader[CompactResult]] = BodyReader(CompactResult)
message: Final[BodyReader[Message]] = BodyReader(Message)
messages_page: Final[BodyReader[MessagesPage]] = BodyReader(MessagesPage)
compactions_page: Final[BodyReader[CompactionsPage]] = BodyReader(CompactionsPage)
view: Final[BodyReader[View]] = BodyReader(View)
provider_view: Final[BodyReader[ProviderView[Any, Any]]] = BodyReader(ProviderView[Any, Any])


class LaterFrame(msgspec.Struct, frozen=True):
    """A frame of a type that this release doesn't know; only its cursor matters."""

    type: str
    cursor: int


_frame: Final[BodyReader[Frame]] = BodyReader(Frame)
_later_frame: Final[BodyReader[LaterFrame]] = BodyReader(LaterFrame)
_FRAME_TYPES: Final = frozenset(
    {"message", "compaction", "rewind", "context", "tombstoned", "gap", "reset"},
)


def frame(data: bytes) -> Frame | LaterFrame:
    """
    Decode the *data* of an event.

    Raises:
        UnexpectedResponse: It is not a frame.
    """
    try:
        return _frame(data)
    except UnexpectedResponse:
        later = _later_frame(data)
        if later.type in _FRAME_TYPES:
            raise
        return later


def error_of(response: ClientResponse) -> FastpacaError:
    """Return the error in a *response*, whether it comes from a node or from a proxy."""
    fields = _error_fields(response.body)
    if fields is None:
        error: FastpacaError = UnexpectedResponse(
            f"Status {response.status}: {_not_understood(response.body)}"
        )
    else:
        error = error_of_code(fields.pop("error"), fields.pop("message"), fields)
    note_response(error, response)
    return error


def note_response(error: FastpacaError, response: ClientResponse) -> None:
    """Record the status and the headers of *response* in *error*."""
    error.status = response.status
    error.request_id = response.headers.get("x-request-id")
    error.retry_after_seconds = retry_after_seconds(response.headers)


def _error_fields(body: bytes) -> dict[str, Any] | None:
    try:
        fields = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if not isinstance(fields, dict):
        return None
    is_error = isinstance(fields.get("error"), str) and isinstance(fields.get("message"), str)
    return fields if is_error else None


def _not_understood(body: bytes) -> str:
    quoted = body[: QUOTED_CHARS_MAX + 1].decode(errors="replace")
    if len(quoted) > QUOTED_CHARS_MAX:
        quoted = quoted[:QUOTED_CHARS_MAX] + " …"
    return f"This is not the response of a fastpaca node: {quoted!r}"


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """Return how long the sender of a response asks to wait; None if it doesn't say."""
    text = headers.get("retry-after", "").strip()
    if _SECONDS.fullmatch(text):
        return float(text)
    # Compare the date with the sender's own clock, since ours may differ.
    until, now = _http_date(text), _http_date(headers.get("date", ""))
    if until is None or now is None:
        return None
    return max(0.0, (until - now).total_seconds())


def _http_date(text: str) -> datetime | None:
    """Parse a date in the only form that HTTP senders may write (RFC 9110, 5.6.7)."""
    try:
        return parsedate_to_datetime(text) if _HTTP_DATE.fullmatch(text) else None
    except ValueError:  # no such day
        return None
