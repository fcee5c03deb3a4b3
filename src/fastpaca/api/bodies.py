"""
Parse the bodies of requests into values that cannot be wrong.

Bodies are read strictly. An unknown key is refused with the nearest known one, so that a misspelt
option never goes unnoticed. Fields that only the server decides may be sent back, as when you read
a context, change it and send it again; they are ignored.

What the server sends back is written by `responses.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, TypeVar

import msgspec

from fastpaca.context import jsontext, message
from fastpaca.context.config import parse_factor, parse_policy, parse_ratio
from fastpaca.context.context import METADATA_BYTES_MAX
from fastpaca.context.message import Draft
from fastpaca.context.ops import PatchMetadata, Put
from fastpaca.errors import InvalidRequest

BATCH_MAX: Final = 1000
"""The most messages of one append."""

REPLACEMENT_MAX: Final = 10_000
"""The most messages of one replacement: as many as one page of the log has."""

ECHOED_KEYS: Final = frozenset(
    {
        *("id", "status", "version", "last_seq", "created_at", "updated_at"),
        *("seq", "token_estimate", "inserted_at"),
    }
)
"""Fields that only the server decides; ignored in a body."""

_MESSAGE: Final = b'{"message":'
"""How the body of an append of one message begins."""

_PUT_KEYS: Final = ("token_budget", "trigger_ratio", "token_factor", "policy", "metadata")
_PATCH_KEYS: Final = ("metadata",)
_APPEND_KEYS: Final = ("message", "messages", "if_version")
_COMPACT_KEYS: Final = ("replacement", "if_version")

T = TypeVar("T")


class Drafts(msgspec.Struct, frozen=True, gc=False):
    """
    The messages of a body, checked.

    Attributes:
        drafts: The messages.
        if_version: The version that they rely on, or None.
        is_batch: Whether they came as a list.
    """

    drafts: list[Draft]
    if_version: int | None
    is_batch: bool


def parse_put(body: bytes) -> Put:
    """
    Read the body of `PUT /v1/contexts/{id}`; empty means no field.

    Raises:
        InvalidRequest: It cannot be used; the error names the field.
    """
    found = _members(jsontext.minified(body or b"{}"), _PUT_KEYS)
    return Put(
        token_budget=_read(found, "token_budget", _positive),
        trigger_ratio=_read(found, "trigger_ratio", parse_ratio),
        token_factor=_read(found, "token_factor", parse_factor),
        policy=_read(found, "policy", parse_policy),
        metadata=_read(found, "metadata", _metadata),
    )


def parse_patch_metadata(body: bytes) -> PatchMetadata:
    """
    Read the body of `PATCH /v1/contexts/{id}/metadata`.

    Raises:
        InvalidRequest: It cannot be used; the error names the field.
    """
    found = _members(jsontext.minified(body), _PATCH_KEYS)
    metadata = _metadata(_required(found, "metadata", 'Give the changes: {"metadata": {…}}.'))
    # Here every key is read, so that none may stand twice.
    changes = jsontext.members(metadata, None, "metadata")
    return PatchMetadata({k: None if v == b"null" else v for k, v in changes.items()})


def parse_append(body: bytes) -> Drafts:
    """
    Read the body of `POST /v1/contexts/{id}/messages`.

    Raises:
        InvalidRequest: It cannot be used; the error names the field.
    """
    text = jsontext.minified(body)
    if text.startswith(_MESSAGE):
        # Read in one go if it is a plain message and nothing else: else it does not end here.
        draft = message.plain(text[len(_MESSAGE) : -1])
        if draft is not None:
            return Drafts([draft], None, is_batch=False)
    found = _members(text, _APPEND_KEYS)
    if_version = _if_version(found)
    if "messages" not in found:
        one = _required(found, "message", "Give a message, or a list of messages.")
        return Drafts([message.parse(one, "message")], if_version, is_batch=False)
    if "message" in found:
        raise InvalidRequest("Give either message or messages, not both.", "messages")
    texts = jsontext.items(found["messages"], "messages")
    if not 1 <= len(texts) <= BATCH_MAX:
        raise InvalidRequest(f"Give 1 to {BATCH_MAX} messages, not {len(texts)}.", "messages")
    return Drafts(_drafts(texts, "messages"), if_version, is_batch=True)


def parse_compact(body: bytes) -> Drafts:
    """
    Read the body of `POST /v1/contexts/{id}/compact`.

    Raises:
        InvalidRequest: It cannot be used; the error names the field.
    """
    found = _members(jsontext.minified(body), _COMPACT_KEYS)
    hint = "Give the messages that the window shall become; [] empties it."
    texts = jsontext.items(_required(found, "replacement", hint), "replacement")
    if len(texts) > REPLACEMENT_MAX:
        raise InvalidRequest(
            f"Give at most {REPLACEMENT_MAX} messages, not {len(texts)}.", "replacement"
        )
    return Drafts(_drafts(texts, "replacement"), _if_version(found), is_batch=True)


def _members(text: bytes, known: tuple[str, ...]) -> jsontext.Members:
    if text[:1] != b"{":
        raise InvalidRequest(f"The body must be an object, not {jsontext.kind_of(text)}.")
    found = jsontext.members(text, known, None)
    for key in found:
        if key not in known and key not in ECHOED_KEYS:
            raise InvalidRequest(jsontext.unknown_key_message(key, known), key)
    return found


def _required(found: jsontext.Members, key: str, hint: str) -> bytes:
    if key not in found:
        raise InvalidRequest(f"This field is missing. {hint}", key)
    return found[key]


def _read(found: jsontext.Members, key: str, reader: Callable[[bytes, str], T]) -> T | None:
    return reader(found[key], key) if key in found else None


def _positive(text: bytes, field: str) -> int:
    return jsontext.integer(text, field, 1)


def _metadata(text: bytes, field: str = "metadata") -> bytes:
    jsontext.check_depth(text, field)
    if text[:1] != b"{":
        raise InvalidRequest(f"Must be an object, not {jsontext.kind_of(text)}.", field)
    if len(text) > METADATA_BYTES_MAX:
        raise InvalidRequest(
            f"The metadata are {len(text)} bytes of JSON; they may be {METADATA_BYTES_MAX}.", field
        )
    return text


def _if_version(found: jsontext.Members) -> int | None:
    text = found.get("if_version", b"null")
    return None if text == b"null" else jsontext.integer(text, "if_version", 0)


def _drafts(texts: Iterable[bytes], field: str) -> list[Draft]:
    return [message.parse(text, f"{field}[{place}]") for place, text in enumerate(texts)]
