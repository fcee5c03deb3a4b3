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

from fastpaca.context import jsontext
from fastpaca.context.config import parse_factor, parse_policy, parse_ratio
from fastpaca.context.context import METADATA_BYTES_MAX
from fastpaca.context.draft import Draft, parse, plain, with_id
from fastpaca.context.ops import PatchMetadata, Put, Rewind
from fastpaca.context.usage import Usage, parse_usage
from fastpaca.errors import InvalidRequest
from fastpaca.formats import parse_message
from fastpaca.ids import id_fault

BATCH_MAX: Final = 1000
"""The most messages of one append."""

REPLACEMENT_MAX: Final = 10_000
"""The most messages of one replacement: as many as a page of the log has."""

ECHOED_KEYS: Final = frozenset(
    {
        *("id", "status", "version", "last_seq", "created_at", "updated_at"),
        *("seq", "token_estimate", "inserted_at", "revises"),
    }
)
"""Fields that only the server decides; ignored in a body."""

ECHOED_CONTEXT_KEYS: Final = ECHOED_KEYS | {"usage", "path", "forked_from"}
"""The same in the body of a context; other bodies have a `usage` of their own, or none."""

_MESSAGE: Final = b'{"message":'
"""How the body of an append of one message begins."""

_PUT_KEYS: Final = ("token_budget", "trigger_ratio", "token_factor", "policy", "metadata")
_PATCH_KEYS: Final = ("metadata",)
_PUT_MESSAGE_KEYS: Final = ("message", "usage", "if_version")
_REWIND_KEYS: Final = ("to_version", "to_seq", "if_version")
_FORK_KEYS: Final = ("id", "at_version", "metadata")
_APPEND_KEYS: Final = ("message", "messages", "usage", "if_version")
_COMPACT_KEYS: Final = ("replacement", "if_version")

T = TypeVar("T")


class Drafts(msgspec.Struct, frozen=True, gc=False):
    """
    The messages of a body.

    Attributes:
        drafts: The messages.
        if_version: The version that they rely on, or None.
        is_batch: Whether they were sent as a list.
        usage: What the call cost that gave the last of them, or None.
    """

    drafts: list[Draft]
    if_version: int | None
    is_batch: bool
    usage: Usage | None = None


def parse_put(body: bytes) -> Put:
    """
    Parse the body of `PUT /v1/contexts/{id}`; an empty one has no fields.

    Raises:
        InvalidRequest: It cannot be used; the error names the field.
    """
    members = _members(jsontext.minified(body or b"{}"), _PUT_KEYS, ECHOED_CONTEXT_KEYS)
    return Put(
        token_budget=_parsed(members, "token_budget", _positive),
        trigger_ratio=_parsed(members, "trigger_ratio", parse_ratio),
        token_factor=_parsed(members, "token_factor", parse_factor),
        policy=_parsed(members, "policy", parse_policy),
        metadata=_parsed(members, "metadata", _metadata),
    )


def parse_patch_metadata(body: bytes) -> PatchMetadata:
    """
    Parse the body of `PATCH /v1/contexts/{id}/metadata`.

    Raises:
        InvalidRequest: It cannot be used; the error names the field.
    """
    members = _members(jsontext.minified(body), _PATCH_KEYS, ECHOED_CONTEXT_KEYS)
    metadata = _metadata(_required(members, "metadata", 'Send the changes: {"metadata": {…}}.'))
    # Every key means something here, so none may be sent twice.
    changes = jsontext.members(metadata, None, "metadata")
    return PatchMetadata({k: None if v == b"null" else v for k, v in changes.items()})


def parse_append(body: bytes, format_: str | None = None) -> Drafts:
    """
    Parse the body of `POST /v1/contexts/{id}/messages`, with messages in a format, if it is named.

    Raises:
        InvalidRequest: It cannot be used; the error names the field.
    """
    text = jsontext.minified(body)
    if format_ is None and text.startswith(_MESSAGE):
        # The fast path: a plain message and nothing else.
        draft = plain(text[len(_MESSAGE) : -1])
        if draft is not None:
            return Drafts([draft], None, is_batch=False)
    members = _members(text, _APPEND_KEYS)
    if_version, usage = _if_version(members), _parsed(members, "usage", parse_usage)
    if "messages" not in members:
        one = _required(members, "message", "Send a message, or a list of messages.")
        return Drafts([_draft(one, "message", format_)], if_version, is_batch=False, usage=usage)
    if "message" in members:
        raise InvalidRequest("Send either message or messages, not both.", "messages")
    texts = jsontext.items(members["messages"], "messages")
    if not 1 <= len(texts) <= BATCH_MAX:
        raise InvalidRequest(f"Send 1 to {BATCH_MAX} messages, not {len(texts)}.", "messages")
    drafts = _drafts(texts, "messages", format_)
    return Drafts(drafts, if_version, is_batch=True, usage=usage)


def parse_put_message(body: bytes, message_id: str, format_: str | None = None) -> Drafts:
    """
    Parse the body of `PUT /v1/contexts/{id}/messages/{message_id}`, like that of an append.

    The message has the id in the path, even if the body leaves it out.

    Raises:
        InvalidRequest: It cannot be used; the error names the field.
    """
    members = _members(jsontext.minified(body), _PUT_MESSAGE_KEYS)
    if_version, usage = _if_version(members), _parsed(members, "usage", parse_usage)
    one = _required(members, "message", "Send the message as it is now.")
    draft = with_id(_draft(one, "message", format_), message_id, "message")
    return Drafts([draft], if_version, is_batch=False, usage=usage)


def parse_rewind(body: bytes) -> Rewind:
    """
    Parse the body of `POST /v1/contexts/{id}/rewind`.

    Raises:
        InvalidRequest: It cannot be used; the error names the field.
    """
    members = _members(jsontext.minified(body), _REWIND_KEYS)
    if_version = _if_version(members)
    if "to_seq" in members:
        if "to_version" in members:
            raise InvalidRequest("Send either to_version or to_seq, not both.", "to_seq")
        place = jsontext.integer(members["to_seq"], "to_seq", 0)
        return Rewind(place, is_place=True, if_version=if_version)
    hint = "Send the version to go back to, or to_seq, the last place to keep."
    version = jsontext.integer(_required(members, "to_version", hint), "to_version", 0)
    return Rewind(version, if_version=if_version)


class Fork(msgspec.Struct, frozen=True, gc=False):
    """
    The body of a fork.

    Attributes:
        fork_id: The id of the new context.
        at_version: The version whose path it begins with; None for the current one.
        metadata: Its metadata; None for that of the source.
    """

    fork_id: str
    at_version: int | None
    metadata: bytes | None


def parse_fork(body: bytes) -> Fork:
    """
    Parse the body of `POST /v1/contexts/{id}/fork`.

    Raises:
        InvalidRequest: It cannot be used; the error names the field.
    """
    members = _members(jsontext.minified(body), _FORK_KEYS)
    hint = "Send the id of the new context."
    fork_id = jsontext.string(_required(members, "id", hint), "id")
    if (fault := id_fault(fork_id)) is not None:
        raise InvalidRequest(f"The context id {fault}.", "id")
    return Fork(
        fork_id,
        _parsed(members, "at_version", lambda text, field: jsontext.integer(text, field, 0)),
        _parsed(members, "metadata", _metadata),
    )


def parse_compact(body: bytes, format_: str | None = None) -> Drafts:
    """
    Parse the body of `POST /v1/contexts/{id}/compact`, with messages in a format, if it is named.

    Raises:
        InvalidRequest: It cannot be used; the error names the field.
    """
    members = _members(jsontext.minified(body), _COMPACT_KEYS)
    hint = "Send the messages of the new window; [] empties it."
    texts = jsontext.items(_required(members, "replacement", hint), "replacement")
    if len(texts) > REPLACEMENT_MAX:
        raise InvalidRequest(
            f"Send at most {REPLACEMENT_MAX} messages, not {len(texts)}.", "replacement"
        )
    drafts = _drafts(texts, "replacement", format_)
    return Drafts(drafts, _if_version(members), is_batch=True)


def _members(
    text: bytes, known: tuple[str, ...], echoed: frozenset[str] = ECHOED_KEYS
) -> jsontext.Members:
    if text[:1] != b"{":
        raise InvalidRequest(f"The body must be an object, not {jsontext.kind_of(text)}.")
    members = jsontext.members(text, known, None)
    for key in members:
        if key not in known and key not in echoed:
            raise InvalidRequest(jsontext.unknown_key_message(key, known), key)
    return members


def _required(members: jsontext.Members, key: str, hint: str) -> bytes:
    if key not in members:
        raise InvalidRequest(f"This field is missing. {hint}", key)
    return members[key]


def _parsed(members: jsontext.Members, key: str, parse: Callable[[bytes, str], T]) -> T | None:
    return parse(members[key], key) if key in members else None


def _positive(text: bytes, field: str) -> int:
    return jsontext.integer(text, field, 1)


def _metadata(text: bytes, field: str = "metadata") -> bytes:
    jsontext.check_depth(text, field)
    if text[:1] != b"{":
        raise InvalidRequest(f"Must be an object, not {jsontext.kind_of(text)}.", field)
    if len(text) > METADATA_BYTES_MAX:
        raise InvalidRequest(
            f"The metadata has {len(text)} bytes of JSON; {METADATA_BYTES_MAX} are allowed.",
            field,
        )
    return text


def _if_version(members: jsontext.Members) -> int | None:
    text = members.get("if_version", b"null")
    return None if text == b"null" else jsontext.integer(text, "if_version", 0)


def _drafts(texts: Iterable[bytes], field: str, format_: str | None) -> list[Draft]:
    return [_draft(text, f"{field}[{place}]", format_) for place, text in enumerate(texts)]


def _draft(text: bytes, field: str, format_: str | None) -> Draft:
    if format_ is None:
        return parse(text, field, parse_message)
    return parse_message(text, field, format_)
