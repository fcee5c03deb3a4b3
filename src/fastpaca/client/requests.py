"""
Requests of a client, as they go over the wire. Pure.

All of an id is percent-encoded. Arguments of None are not sent; a zero is. Numbers keep their
value: integers of any size are exact, and floats are written as Python writes them, which reads
back as the same float. Values that JSON can't represent are refused before anything is sent.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, NamedTuple
from urllib.parse import quote

import msgspec

from fastpaca.client.appending import Appending
from fastpaca.client.provider_objects import as_json
from fastpaca.client.values import Policy
from fastpaca.errors import InvalidRequest
from fastpaca.ids import KEY_CHARS_MAX, id_fault, is_header_value, is_idempotency_key

JSON_TYPE: Final = "application/json"
EVENTS_TYPE: Final = "text/event-stream"

_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")

OWN_HEADERS: Final = frozenset(
    {"accept", "content-length", "content-type", "idempotency-key", "transfer-encoding"}
)
"""The headers that a client sets itself; with an API key, `Authorization` too."""

_API_KEY: Final = re.compile(r"[!-+\--~]+")
"""What a node accepts as a key: printable ASCII without spaces; commas separate several keys."""


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


def path_of(context_id: str, *rest: str) -> str:
    """
    Return the path of a context, or of a resource below it.

    Raises:
        InvalidRequest: The id can't be one of a context.
    """
    return "/".join(("/v1/contexts", quote(_checked_id(context_id), safe=""), *rest))


def message_path(context_id: str, message_id: object) -> str:
    """
    Return the path of the message that has an id of the caller's.

    Raises:
        InvalidRequest: The id can't be in a path.
    """
    return path_of(context_id, "messages", quote(_checked_id(message_id, "message"), safe=""))


def _checked_id(id_: object, of: str = "context") -> bytes:
    if not isinstance(id_, str):
        raise InvalidRequest(f"A {of} id is a string.", "id")
    if (fault := id_fault(id_)) is not None:
        raise InvalidRequest(f"The {of} id {fault}.", "id")
    return id_.encode()


def get(path: str, /, **query: str | int | bool | None) -> ClientRequest:
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


def fork(
    context_id: str,
    fork_id: str,
    at_version: int | None,
    metadata: Mapping[str, Any] | None,
    key: str,
) -> ClientRequest:
    """Make a new context from another."""
    _checked_id(fork_id)
    fields = {"id": fork_id, **_present({"at_version": at_version, "metadata": metadata})}
    return ClientRequest("POST", path_of(context_id, "fork"), encode(fields), key)


def delete(context_id: str, *, purge: bool) -> ClientRequest:
    """Make a context read-only, or erase it permanently."""
    return ClientRequest("DELETE", path_of(context_id) + _query({"purge": True if purge else None}))


def append(
    context_id: str,
    appending: Appending,
    if_version: int | None,
    token_count: int | None,
    key: str,
) -> ClientRequest:
    """
    Append one message or several, all or none.

    Raises:
        InvalidRequest: There is one *token_count* for several messages.
    """
    if token_count is not None and appending.is_batch:
        raise InvalidRequest("Set token_count in each of several messages.", "token_count")
    fields: dict[str, Any]
    if appending.is_batch:
        fields = {"messages": appending.messages}
    else:
        (message,) = appending.messages
        fields = {"message": {**message, **_present({"token_count": token_count})}}
    path = path_of(context_id, "messages") + _query({"format": appending.format})
    return ClientRequest("POST", path, _sent(fields, appending, if_version), key)


def put_message(
    context_id: str,
    message_id: object,
    appending: Appending,
    if_version: int | None,
    token_count: int | None,
    key: str,
) -> ClientRequest:
    """
    Put one message under an id; None is the message's own.

    Raises:
        InvalidRequest: There are several messages, or no id.
    """
    if appending.is_batch:
        raise InvalidRequest("Put one message at a time.", "message")
    (message,) = appending.messages
    if message_id is None:
        message_id = message.get("id")
    if message_id is None:
        raise InvalidRequest("Give the message an id, or name one.", "id")
    path = message_path(context_id, message_id) + _query({"format": appending.format})
    fields = {"message": {**message, **_present({"token_count": token_count})}}
    return ClientRequest("PUT", path, _sent(fields, appending, if_version), key)


def _sent(fields: dict[str, Any], appending: Appending, if_version: int | None) -> bytes:
    others = {"usage": appending.usage, "if_version": if_version}
    return encode(fields | _present(others), as_json)


def rewind(
    context_id: str, to_version: int | None, to_seq: int | None, if_version: int | None, key: str
) -> ClientRequest:
    """
    Let the path become what it was.

    Raises:
        InvalidRequest: There is no place to go back to, or there are two.
    """
    if (to_version is None) == (to_seq is None):
        raise InvalidRequest("Name either to_version or to_seq.", "to_version")
    fields = {"to_version": to_version, "to_seq": to_seq, "if_version": if_version}
    return ClientRequest("POST", path_of(context_id, "rewind"), encode(_present(fields)), key)


def compact(
    context_id: str,
    replacement: Sequence[Mapping[str, Any]],
    if_version: int | None,
    key: str,
    format_: str | None = None,
) -> ClientRequest:
    """Replace the window."""
    fields = {"replacement": replacement, **_present({"if_version": if_version})}
    path = path_of(context_id, "compact") + _query({"format": format_})
    return ClientRequest("POST", path, encode(fields, as_json), key)


def checked_key(key: str) -> str:
    """
    Return *key* if it can be an Idempotency-Key.

    Raises:
        InvalidRequest: Every node would refuse it.
    """
    if not is_idempotency_key(key) or not is_header_value(key):
        raise InvalidRequest(
            f"A key is 1 to {KEY_CHARS_MAX} printable ASCII characters, without spaces around it.",
            "idempotency_key",
        )
    return key


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


def _strictly(item: object) -> object:
    if isinstance(item, Mapping):
        return dict(item)
    raise TypeError(f"{type(item).__name__} is not a JSON type")


def encode(value: object, as_json: Callable[[object], object] = _strictly) -> bytes:
    """
    Write *value* as JSON; *as_json* says what to write in place of an object of another type.

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
        return as_json(item)

    try:
        text = json.dumps(
            value, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=plain
        )
        if not has_decimals:
            return text.encode()
        # Two encoders are faster than a check of each value: `json` refuses what `msgspec` would
        # change (NaN becomes null), and `msgspec` writes the decimals that `json` can't.
        return msgspec.json.Encoder(enc_hook=as_json, decimal_format="number").encode(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidRequest(f"This cannot be sent as JSON: {error}.") from error


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
