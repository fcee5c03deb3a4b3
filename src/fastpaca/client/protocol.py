"""
The wire, as a client sees it: calls become requests, responses become values or errors.

Pure: nothing here sends, waits or reads a clock. Only this module of the client knows paths,
headers and the names of JSON fields. All of an id is percent-encoded. Arguments of None are not
sent; a zero is.

Numbers keep their value: integers of any size are exact, and floats are written as Python writes
them, which reads back as the same float. A number in a response that no float can hold (`1e400`),
or an integer of more digits than Python reads (4300), becomes a `decimal.Decimal` and is sent back
unchanged. Values that JSON can't represent are refused before anything is sent.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from email.utils import parsedate_to_datetime
from typing import Any, Final, Generic, NamedTuple, TypeVar
from urllib.parse import quote

import msgspec

from fastpaca.client.errors import UnexpectedResponse, error_of_code
from fastpaca.client.values import (
    AppendResult,
    Compaction,
    CompactResult,
    ContextInfo,
    Frame,
    Message,
    Policy,
    View,
)
from fastpaca.errors import FastpacaError, InvalidRequest

T = TypeVar("T")

JSON_TYPE: Final = "application/json"
EVENTS_TYPE: Final = "text/event-stream"

_HEADER_VALUE: Final = re.compile(r"[!-~](?:[ -~]*[!-~])?")
"""What any HTTP software passes on unchanged: printable ASCII without spaces around it."""

_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")

OWN_HEADERS: Final = frozenset(
    {"accept", "content-length", "content-type", "idempotency-key", "transfer-encoding"}
)
"""The headers that a client sets itself; with an API key, `Authorization` too."""

_API_KEY: Final = re.compile(r"[!-+\--~]+")
"""What a node accepts as a key: printable ASCII without spaces; commas separate several keys."""

_SECONDS: Final = re.compile(r"[0-9]+")
_HTTP_DATE: Final = re.compile(r"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT")

ID_BYTES_MAX: Final = 512
"""Every node refuses longer ids."""

KEY_CHARS_MAX: Final = 255

QUOTED_CHARS_MAX: Final = 200
"""How much of an unreadable response an error quotes."""


class ClientRequest(NamedTuple):
    """
    A request to a node.

    Attributes:
        method: `GET`, `POST` …
        target: Path and query, percent-encoded.
        body: JSON, if there is any.
        key: The Idempotency-Key, if there is one.
        accept: The content type to ask for.
    """

    method: str
    target: str
    body: bytes | None = None
    key: str | None = None
    accept: str = JSON_TYPE

    @property
    def headers(self) -> dict[str, str]:
        """The headers of this request alone."""
        headers = {"Accept": self.accept}
        if self.body is not None:
            headers["Content-Type"] = JSON_TYPE
        if self.key is not None:
            headers["Idempotency-Key"] = self.key
        if self.accept == EVENTS_TYPE:
            headers |= {"Accept-Encoding": "identity", "Cache-Control": "no-store"}
        return headers


class ClientResponse(NamedTuple):
    """
    A response of a node, or of a proxy in front of it.

    Attributes:
        status: The HTTP status.
        headers: The headers; lookups ignore the case of names.
        body: The body; empty while the response is still open.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def is_success(self) -> bool:
        """Whether the status is one of success."""
        return 200 <= self.status < 300


# --- requests ---------------------------------------------------------------------------------


def path_of(context_id: str, *rest: str) -> str:
    """
    Return the path of a context, or of a resource below it.

    Raises:
        InvalidRequest: The id can't be one of a context.
    """
    return "/".join(("/v1/contexts", quote(_checked_id(context_id), safe=""), *rest))


def _checked_id(context_id: object) -> bytes:
    # HTTP software resolves "." and ".." in a path, encoded or not.
    if not isinstance(context_id, str) or context_id in {"", ".", ".."} or "\0" in context_id:
        raise InvalidRequest(
            f"A context id is a string of 1 to {ID_BYTES_MAX} bytes without NUL,"
            " other than '.' and '..'.",
            "id",
        )
    try:
        encoded = context_id.encode()
    except UnicodeEncodeError:
        raise InvalidRequest("A context id cannot contain lone surrogates.", "id") from None
    if len(encoded) > ID_BYTES_MAX:
        raise InvalidRequest(f"A context id has at most {ID_BYTES_MAX} bytes of UTF-8.", "id")
    return encoded


def get(path: str, **query: str | int | bool | None) -> ClientRequest:
    """Read the resource at *path*."""
    return ClientRequest("GET", path + _query(query))


def follow(context_id: str, cursor: int, *, include_messages: bool) -> ClientRequest:
    """Ask for the frames after *cursor*."""
    query = _query({"cursor": cursor, "include_messages": None if include_messages else False})
    return ClientRequest("GET", path_of(context_id, "events") + query, accept=EVENTS_TYPE)


def put(
    context_id: str,
    budget: int | None,
    trigger: float | None,
    policy: Policy | Mapping[str, Any] | str | None,
    metadata: Mapping[str, Any] | None,
) -> ClientRequest:
    """Create or configure a context."""
    if isinstance(policy, str):
        policy = {"strategy": policy}
    fields = {
        "token_budget": budget,
        "trigger_ratio": trigger,
        "policy": policy,
        "metadata": metadata,
    }
    return ClientRequest("PUT", path_of(context_id), encode(_present(fields)))


def patch_metadata(context_id: str, changes: Mapping[str, Any]) -> ClientRequest:
    """Merge *changes* into the metadata of a context."""
    return ClientRequest("PATCH", path_of(context_id, "metadata"), encode({"metadata": changes}))


def delete(context_id: str, *, purge: bool) -> ClientRequest:
    """Make a context read-only, or erase it permanently."""
    return ClientRequest("DELETE", path_of(context_id) + _query({"purge": True if purge else None}))


def append(
    context_id: str,
    messages: Mapping[str, Any] | Sequence[Mapping[str, Any]],
    if_version: int | None,
    token_count: int | None,
    key: str,
) -> ClientRequest:
    """
    Append one message or several, all or none.

    Raises:
        InvalidRequest: There is one *token_count* for several messages.
    """
    fields: dict[str, Any]
    if isinstance(messages, Mapping):
        counted = {} if token_count is None else {"token_count": token_count}
        fields = {"message": {**messages, **counted}}
    elif token_count is not None:
        raise InvalidRequest("Set token_count in each of several messages.", "token_count")
    else:
        fields = {"messages": list(messages)}
    body = encode(fields | _present({"if_version": if_version}))
    return ClientRequest("POST", path_of(context_id, "messages"), body, key)


def compact(
    context_id: str, replacement: Sequence[Mapping[str, Any]], if_version: int | None, key: str
) -> ClientRequest:
    """Replace the window."""
    fields = {"replacement": list(replacement), **_present({"if_version": if_version})}
    return ClientRequest("POST", path_of(context_id, "compact"), encode(fields), key)


def checked_key(key: str) -> str:
    """
    Return *key* if it can be an Idempotency-Key.

    Raises:
        InvalidRequest: Every node would refuse it.
    """
    if not is_header_value(key) or len(key) > KEY_CHARS_MAX:
        raise InvalidRequest(
            f"A key is 1 to {KEY_CHARS_MAX} printable ASCII characters, without spaces around it.",
            "idempotency_key",
        )
    return key


def is_header_value(text: object) -> bool:
    """Return whether *text* can be the value of a header."""
    return isinstance(text, str) and _HEADER_VALUE.fullmatch(text) is not None


def checked_headers(headers: Mapping[str, str], *, has_key: bool) -> dict[str, str]:
    """
    Return the *headers* that a caller wants to send with every request.

    Raises:
        InvalidRequest: One can't be sent, or is one that the client sets.
    """
    own = OWN_HEADERS | {"authorization"} if has_key else OWN_HEADERS
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name):
            raise InvalidRequest(f"{name!r} cannot be the name of a header.", "headers")
        if name.lower() in own:
            raise InvalidRequest(f"The client sets {name} itself.", "headers")
        if not is_header_value(value):
            # The value may be a secret, so the message leaves it out.
            raise InvalidRequest(
                f"{name} is not printable ASCII without spaces around it.", "headers"
            )
    return dict(headers)


def is_api_key(text: object) -> bool:
    """Return whether *text* can be an API key of a node."""
    return isinstance(text, str) and _API_KEY.fullmatch(text) is not None


def encode(value: object) -> bytes:
    """
    Write *value* as JSON.

    Raises:
        InvalidRequest: JSON can't represent it: NaN, a lone surrogate, an object of another type.
    """
    has_decimals = False

    def plain(item: object) -> object:
        nonlocal has_decimals
        if isinstance(item, Decimal) and item.is_finite():
            has_decimals = True
            return 0
        if isinstance(item, msgspec.Struct):
            return msgspec.to_builtins(item)
        if isinstance(item, Mapping):
            return dict(item)
        raise TypeError(f"{type(item).__name__} is not a JSON type")

    try:
        text = json.dumps(
            value, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=plain
        )
        return _DECIMAL_ENCODER.encode(value) if has_decimals else text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidRequest(f"This cannot be sent as JSON: {error}.") from error


# Two encoders are faster than a check of each value: `json` refuses what `msgspec` would change
# (NaN becomes null), and `msgspec` writes the decimals that `json` can't.
_DECIMAL_ENCODER: Final = msgspec.json.Encoder(decimal_format="number")


def _present(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _query(parameters: Mapping[str, str | int | bool | None]) -> str:
    pairs = [
        f"{name}={quote(_text(value), safe='')}"
        for name, value in parameters.items()
        if value is not None
    ]
    return "?" + "&".join(pairs) if pairs else ""


def _text(value: str | int | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


# --- responses ----------------------------------------------------------------------------------


class MessagesPage(msgspec.Struct):
    """A page of the log."""

    messages: list[Message]
    version: int = 0


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
compacted: Final[BodyReader[CompactResult]] = BodyReader(CompactResult)
messages_page: Final[BodyReader[MessagesPage]] = BodyReader(MessagesPage)
compactions_page: Final[BodyReader[CompactionsPage]] = BodyReader(CompactionsPage)
view: Final[BodyReader[View]] = BodyReader(View)


class LaterFrame(msgspec.Struct, frozen=True):
    """A frame of a type that this release doesn't know; only its cursor matters."""

    type: str
    cursor: int


_frame: Final[BodyReader[Frame]] = BodyReader(Frame)
_later_frame: Final[BodyReader[LaterFrame]] = BodyReader(LaterFrame)
_FRAME_TYPES: Final = frozenset(
    {"message", "compaction", "context", "tombstoned", "gap", "reset"},
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
