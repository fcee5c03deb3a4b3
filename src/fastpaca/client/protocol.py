"""
The wire, as a client sees it: calls become requests, answers become values or errors.

Pure: nothing here sends, waits or looks at a clock. It is the one place of the client that knows
paths, headers and the names of JSON fields. Ids are percent-encoded whole. Only what was given is
sent: a zero is, a default is not.

Numbers keep their value: integers of any size are exact, and floats are written as Python writes
them, which reads back as the same float. A number in an answer that no float can hold (`1e400`), or
an integer of more digits than Python reads (4300), is read as a `decimal.Decimal`, and is sent as
it was. What is no JSON is refused before it is sent.
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

from fastpaca.client.errors import UnexpectedAnswer, refusal
from fastpaca.client.values import (
    Appended,
    Compacted,
    Compaction,
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
"""What goes through any HTTP as it is: printable ASCII without spaces around it."""

_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")

OWN_HEADERS: Final = frozenset(
    {"accept", "content-length", "content-type", "idempotency-key", "transfer-encoding"}
)
"""What a client sets itself; with an API key, `Authorization` too."""

_API_KEY: Final = re.compile(r"[!-+\--~]+")
"""What a node takes for a key: printable ASCII without spaces; commas stand between several."""

_SECONDS: Final = re.compile(r"[0-9]+")
_HTTP_DATE: Final = re.compile(r"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT")

ID_BYTES_MAX: Final = 512
"""Longer ids are refused by every node."""

KEY_CHARS_MAX: Final = 255

SHOWN_CHARS_MAX: Final = 200
"""How much is quoted of an answer that nobody understands."""


class Request(NamedTuple):
    """
    What is sent.

    Attributes:
        method: `GET`, `POST` …
        target: Path and query, percent-encoded.
        body: JSON, if there is any.
        key: The Idempotency-Key, if there is one.
        accept: The type of the answer.
    """

    method: str
    target: str
    body: bytes | None = None
    key: str | None = None
    accept: str = JSON_TYPE

    @property
    def headers(self) -> dict[str, str]:
        """What it says beside the usual."""
        headers = {"Accept": self.accept}
        if self.body is not None:
            headers["Content-Type"] = JSON_TYPE
        if self.key is not None:
            headers["Idempotency-Key"] = self.key
        if self.accept == EVENTS_TYPE:
            headers |= {"Accept-Encoding": "identity", "Cache-Control": "no-store"}
        return headers


class Answer(NamedTuple):
    """What came back; the names of *headers* are looked up in any case. An open one has no body."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def is_success(self) -> bool:
        """Whether the node has done what was asked."""
        return 200 <= self.status < 300


# --- requests ---------------------------------------------------------------------------------


def path_of(context_id: str, *rest: str) -> str:
    """
    Give the path of a context, or of what is below it.

    Raises:
        InvalidRequest: No path can name this id.
    """
    return "/".join(("/v1/contexts", quote(_checked_id(context_id), safe=""), *rest))


def _checked_id(context_id: object) -> bytes:
    # Dots alone would be taken for steps in the path, encoded or not, and nothing for no id.
    if not isinstance(context_id, str) or context_id in {"", ".", ".."} or "\0" in context_id:
        raise InvalidRequest(
            f"A context id is a string of 1 to {ID_BYTES_MAX} bytes without NUL,"
            " other than '.' and '..'.",
            "id",
        )
    try:
        encoded = context_id.encode()
    except UnicodeEncodeError:
        raise InvalidRequest("A context id holds no lone surrogates.", "id") from None
    if len(encoded) > ID_BYTES_MAX:
        raise InvalidRequest(f"A context id has at most {ID_BYTES_MAX} bytes of UTF-8.", "id")
    return encoded


def get(path: str, **query: str | int | bool | None) -> Request:
    """Ask for what is at *path*."""
    return Request("GET", path + _query(query))


def follow(context_id: str, cursor: int, *, include_messages: bool) -> Request:
    """Ask for the frames behind *cursor*."""
    query = _query({"cursor": cursor, "include_messages": None if include_messages else False})
    return Request("GET", path_of(context_id, "events") + query, accept=EVENTS_TYPE)


def put(
    context_id: str,
    budget: int | None,
    trigger: float | None,
    policy: Policy | Mapping[str, Any] | str | None,
    metadata: Mapping[str, Any] | None,
) -> Request:
    """Create or configure a context."""
    if isinstance(policy, str):
        policy = {"strategy": policy}
    fields = {
        "token_budget": budget,
        "trigger_ratio": trigger,
        "policy": policy,
        "metadata": metadata,
    }
    return Request("PUT", path_of(context_id), encode(_given(fields)))


def patch_metadata(context_id: str, changes: Mapping[str, Any]) -> Request:
    """Merge *changes* into the metadata of a context."""
    return Request("PATCH", path_of(context_id, "metadata"), encode({"metadata": changes}))


def delete(context_id: str, *, purge: bool) -> Request:
    """Delete a context for writing, or for good."""
    return Request("DELETE", path_of(context_id) + _query({"purge": True if purge else None}))


def append(
    context_id: str,
    messages: Mapping[str, Any] | Sequence[Mapping[str, Any]],
    if_version: int | None,
    token_count: int | None,
    key: str,
) -> Request:
    """
    Append a message, or several, all or none.

    Raises:
        InvalidRequest: A *token_count* is given for several messages.
    """
    fields: dict[str, Any]
    if isinstance(messages, Mapping):
        counted = {} if token_count is None else {"token_count": token_count}
        fields = {"message": {**messages, **counted}}
    elif token_count is not None:
        raise InvalidRequest("A count of several messages stands in each of them.", "token_count")
    else:
        fields = {"messages": list(messages)}
    body = encode(fields | _given({"if_version": if_version}))
    return Request("POST", path_of(context_id, "messages"), body, key)


def compact(
    context_id: str, replacement: Sequence[Mapping[str, Any]], if_version: int | None, key: str
) -> Request:
    """Replace the window."""
    fields = {"replacement": list(replacement), **_given({"if_version": if_version})}
    return Request("POST", path_of(context_id, "compact"), encode(fields), key)


def checked_key(key: str) -> str:
    """
    Give the Idempotency-Key *key*.

    Raises:
        InvalidRequest: No node takes it.
    """
    if not is_header_value(key) or len(key) > KEY_CHARS_MAX:
        raise InvalidRequest(
            f"A key is 1 to {KEY_CHARS_MAX} printable ASCII characters, without spaces around it.",
            "idempotency_key",
        )
    return key


def is_header_value(text: object) -> bool:
    """Tell whether a header can hold *text*."""
    return isinstance(text, str) and _HEADER_VALUE.fullmatch(text) is not None


def checked_headers(given: Mapping[str, str], *, has_key: bool) -> dict[str, str]:
    """
    Give the headers that a caller wants to send with every request.

    Raises:
        InvalidRequest: One cannot be sent, or is the client's own.
    """
    own = OWN_HEADERS | {"authorization"} if has_key else OWN_HEADERS
    for name, value in given.items():
        if not _HEADER_NAME.fullmatch(name):
            raise InvalidRequest(f"{name!r} is no name of a header.", "headers")
        if name.lower() in own:
            raise InvalidRequest(f"The client sets {name} itself.", "headers")
        if not is_header_value(value):
            # It may be a secret, and is not told.
            raise InvalidRequest(
                f"{name} is not printable ASCII without spaces around it.", "headers"
            )
    return dict(given)


def is_api_key(text: object) -> bool:
    """Tell whether a node can have *text* for one of its keys."""
    return isinstance(text, str) and _API_KEY.fullmatch(text) is not None


def encode(value: object) -> bytes:
    """
    Write *value* as JSON.

    Raises:
        InvalidRequest: It is no JSON: NaN, a lone surrogate, an object of another kind.
    """
    huge: list[Decimal] = []

    def plain(item: object) -> object:
        if isinstance(item, Decimal) and item.is_finite():
            huge.append(item)
            return 0
        if isinstance(item, msgspec.Struct):
            return msgspec.to_builtins(item)
        if isinstance(item, Mapping):
            return dict(item)
        raise TypeError(f"{type(item).__name__} is not JSON")

    try:
        text = json.dumps(
            value, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=plain
        )
        return _HUGE.encode(value) if huge else text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidRequest(f"This cannot be sent as JSON: {error}.") from error


# Quicker to read a request by than a check of each value: `json` refuses what `msgspec` would
# change (NaN becomes null), and `msgspec` writes what `json` cannot.
_HUGE: Final = msgspec.json.Encoder(decimal_format="number")


def _given(fields: dict[str, Any]) -> dict[str, Any]:
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


# --- answers ----------------------------------------------------------------------------------


class MessagesPage(msgspec.Struct):
    """A page of the log."""

    messages: list[Message]
    version: int = 0


class CompactionsPage(msgspec.Struct):
    """A page of the history of the window."""

    compactions: list[Compaction]


class ContextsPage(msgspec.Struct):
    """A page of contexts."""

    contexts: list[ContextInfo]
    next: str | None


class Batch(msgspec.Struct):
    """What was answered for each of several messages."""

    results: list[Appended]


def _hook(kind: type, value: Any) -> Any:
    return Message(value) if kind is Message else value


def _number(text: str) -> float | Decimal:
    number = float(text)
    return number if math.isfinite(number) else Decimal(text)


def _integer(text: str) -> int | Decimal:
    try:
        return int(text)
    except ValueError:  # more digits than this Python reads
        return Decimal(text)


class Reader(Generic[T]):
    """Reads values of one type out of JSON."""

    def __init__(self, kind: Any) -> None:
        self._kind = kind
        self._decoder: msgspec.json.Decoder[T] = msgspec.json.Decoder(kind, dec_hook=_hook)

    def __call__(self, body: bytes) -> T:
        """
        Read *body*.

        Raises:
            UnexpectedAnswer: It is something else.
        """
        try:
            return self._decoder.decode(body)
        except msgspec.ValidationError:
            # Perhaps for a number that is too large for a float or an int; that costs more to read.
            return self._read_exactly(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise UnexpectedAnswer(_not_understood(body)) from error

    def _read_exactly(self, body: bytes) -> T:
        try:
            value = json.loads(body, parse_float=_number, parse_int=_integer)
            found: T = msgspec.convert(value, self._kind, dec_hook=_hook)
        except (ValueError, msgspec.ValidationError, RecursionError) as error:
            raise UnexpectedAnswer(_not_understood(body)) from error
        return found


context_info: Final[Reader[ContextInfo]] = Reader(ContextInfo)
contexts_page: Final[Reader[ContextsPage]] = Reader(ContextsPage)
appended: Final[Reader[Appended]] = Reader(Appended)
batch: Final[Reader[Batch]] = Reader(Batch)
compacted: Final[Reader[Compacted]] = Reader(Compacted)
messages_page: Final[Reader[MessagesPage]] = Reader(MessagesPage)
compactions_page: Final[Reader[CompactionsPage]] = Reader(CompactionsPage)
view: Final[Reader[View]] = Reader(View)


class LaterFrame(msgspec.Struct, frozen=True):
    """A frame of a type that this release does not know: all that counts is its cursor."""

    type: str
    cursor: int


_frame: Final[Reader[Frame]] = Reader(Frame)
_later_frame: Final[Reader[LaterFrame]] = Reader(LaterFrame)
_FRAME_TYPES: Final = frozenset(
    {"message", "compaction", "context", "tombstoned", "gap", "reset"},
)


def frame(data: bytes) -> Frame | LaterFrame:
    """
    Read the *data* of an event.

    Raises:
        UnexpectedAnswer: It is no frame.
    """
    try:
        return _frame(data)
    except UnexpectedAnswer:
        later = _later_frame(data)
        if later.type in _FRAME_TYPES:
            raise
        return later


def error_of(answer: Answer) -> FastpacaError:
    """Make an error of an *answer* that is no success, whoever has sent it."""
    fields = _error_fields(answer.body)
    if fields is None:
        error: FastpacaError = UnexpectedAnswer(
            f"Status {answer.status}: {_not_understood(answer.body)}"
        )
    else:
        error = refusal(fields.pop("error"), fields.pop("message"), fields)
    note_answer(error, answer)
    return error


def note_answer(error: FastpacaError, answer: Answer) -> None:
    """Note in *error* what the *answer* says beside its body."""
    error.status = answer.status
    error.request_id = answer.headers.get("x-request-id")
    error.retry_after_seconds = retry_after_seconds(answer.headers)


def _error_fields(body: bytes) -> dict[str, Any] | None:
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    named = isinstance(found.get("error"), str) and isinstance(found.get("message"), str)
    return found if named else None


def _not_understood(body: bytes) -> str:
    shown = body[: SHOWN_CHARS_MAX + 1].decode(errors="replace")
    if len(shown) > SHOWN_CHARS_MAX:
        shown = shown[:SHOWN_CHARS_MAX] + " …"
    return f"This is not an answer of a fastpaca node: {shown!r}"


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """Read how long the sender of an answer wants to be left alone; None if it does not say."""
    text = headers.get("retry-after", "").strip()
    if _SECONDS.fullmatch(text):
        return float(text)
    # A date is told against the sender's own clock: ours may be another.
    until, now = _http_date(text), _http_date(headers.get("date", ""))
    if until is None or now is None:
        return None
    return max(0.0, (until - now).total_seconds())


def _http_date(text: str) -> datetime | None:
    """Read a date in the one form that senders of HTTP may write (RFC 9110, 5.6.7)."""
    try:
        return parsedate_to_datetime(text) if _HTTP_DATE.fullmatch(text) else None
    except ValueError:  # no such day
        return None
