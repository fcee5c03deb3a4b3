"""
The JSON of contexts, messages and windows: bodies become values, values become answers.

Errors are written in `errors.py`, frames of the stream in `frames.py`.

Bodies are read strictly. A key that is not known is refused with the nearest one that is, so that a
misspelt option is never silently without effect. The fields that this API itself answers may come
back in a body, as when a representation is changed and sent again, and mean nothing there.

Answers are joined from stored text. No message is ever decoded to be sent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Final, TypeVar

import msgspec

from fastpaca.context import Config, Context, View, jsontext, message
from fastpaca.context.config import parse_factor, parse_policy, parse_ratio, policy_text
from fastpaca.context.context import METADATA_BYTES_MAX
from fastpaca.context.events import Appended, Event
from fastpaca.context.explain import Explained
from fastpaca.context.message import Draft, decode_counts, timestamp
from fastpaca.context.oddities import Oddity
from fastpaca.context.ops import PatchMetadata, Put
from fastpaca.context.window import Persisted, Segment
from fastpaca.errors import InvalidRequest
from fastpaca.store.base import CompactionRow, ContextRow, MessageRow

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


# --- bodies -----------------------------------------------------------------------------------


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


# --- answers ----------------------------------------------------------------------------------


def representation(context: Context, _events: object = ()) -> bytes:
    """Write a context as it is read; a `Shape` as well."""
    config = context.config
    return _representation(
        context,
        config.token_budget,
        config.trigger_ratio,
        config.token_factor,
        _policy_text(config.policy),
    )


def listed(row: ContextRow) -> bytes:
    """Write the row of a context as it is read."""
    return _representation(row, row.token_budget, row.trigger_ratio, row.token_factor, row.policy)


def _representation(
    context: Context | ContextRow,
    token_budget: int,
    trigger_ratio: float,
    token_factor: float,
    policy: bytes,
) -> bytes:
    return (
        b'{"id":%b,"status":"%b","token_budget":%d,"trigger_ratio":%b,"token_factor":%b,'
        b'"policy":%b,"metadata":%b,"version":%d,"last_seq":%d,"created_at":"%b","updated_at":"%b"}'
    ) % (
        msgspec.json.encode(context.id),
        context.status.encode(),
        token_budget,
        msgspec.json.encode(trigger_ratio),
        msgspec.json.encode(token_factor),
        policy,
        context.metadata,
        context.version,
        context.last_seq,
        timestamp(context.created_at_us),
        timestamp(context.updated_at_us),
    )


# Typed, since policies are tuples and two kinds of the same values would count as equal.
_policy_text = lru_cache(maxsize=1024, typed=True)(policy_text)


@lru_cache(maxsize=1024, typed=True)
def config_text(config: Config) -> bytes:
    """Write what of a configuration decides how a window is read, its budget aside."""
    ratio, factor = map(msgspec.json.encode, (config.trigger_ratio, config.token_factor))
    return b"%b %b %b" % (ratio, factor, policy_text(config.policy))


def contexts(page: Iterable[bytes], following: str | None) -> bytes:
    """Write a page of contexts, each as `listed` wrote it; *following* is where the next begins."""
    return b'{"contexts":[%b],"next":%b}' % (b",".join(page), msgspec.json.encode(following))


def appended(_context: Context, events: Sequence[Event]) -> bytes:
    """Write the answer to the append of one message; a `Shape`."""
    return next(_appended(event, "message") for event in events if isinstance(event, Appended))


def appended_batch(_context: Context, events: Sequence[Event]) -> bytes:
    """Write the answer to the append of a list of messages; a `Shape`."""
    found = [event for event in events if isinstance(event, Appended)]
    results = (_appended(event, f"messages[{place}]") for place, event in enumerate(found))
    return b'{"results":[%b]}' % b",".join(results)


def _appended(event: Appended, field: str) -> bytes:
    entry = event.entry
    assert entry.seq is not None
    return b'{"seq":%d,"version":%d,"token_estimate":%d%b}' % (
        entry.seq,
        entry.version,
        entry.tokens,
        b',"warnings":' + _warnings(event.oddities, field) if event.oddities else b"",
    )


def _warnings(oddities: Iterable[Oddity], field: str) -> bytes:
    return msgspec.json.encode(
        [{"code": oddity.code, "field": field + oddity.path} for oddity in oddities]
    )


def compacted(context: Context, _events: object) -> bytes:
    """Write the answer to a compact call; a `Shape`."""
    return b'{"version":%d}' % context.version


def logged(row: MessageRow) -> bytes:
    """Write a message of the log."""
    tokens = decode_counts(row.counts).total
    return message.render(row.body, row.seq, row.version, tokens, row.at_us)


def tail(page: Iterable[bytes]) -> bytes:
    """Write the tail of a log, each message as `logged` wrote it."""
    return _enclosed(b'{"messages":[', page, b"]}")


def messages(page: Iterable[bytes], version: int) -> bytes:
    """Write a page of a log, and the version to go on from."""
    return _enclosed(b'{"messages":[', page, b'],"version":%d}' % version)


def view(found: View, explained: Sequence[Explained] | None = None) -> bytes:
    """Write one read of the LLM context, *explained* if it is to be."""
    rest = (
        b'],"used_tokens":%d,"needs_compaction":%b,"segments":[%b],'
        b'"token_budget":%d,"window_tokens":%d,"fit":"%b"%b}'
    ) % (
        found.used_tokens,
        b"true" if found.needs_compaction else b"false",
        _segments(found.segments),
        found.token_budget,
        found.window_tokens,
        found.fit.encode(),
        b"" if explained is None else b',"explained":' + _explained(explained),
    )
    bodies = (entry.body for entry in found.entries)
    return _enclosed(b'{"version":%d,"messages":[' % found.version, bodies, rest)


def _explained(found: Iterable[Explained]) -> bytes:
    return msgspec.json.encode([piece._asdict() for piece in found])


def _segments(found: Iterable[Segment]) -> bytes:
    return b",".join(
        b'{"type":"%b","from_seq":%d,"to_seq":%d}' % (s.kind.encode(), s.from_seq, s.to_seq)
        for s in found
    )


def compaction(row: CompactionRow) -> bytes:
    """Write a rewrite of the window."""
    changed = b"null"
    if row.from_seq is not None and row.to_seq is not None:
        changed = b'{"from_seq":%d,"to_seq":%d}' % (row.from_seq, row.to_seq)
    return (
        b'{"version":%d,"strategy":"%b","range":%b,"used_tokens_before":%d,"used_tokens_after":%d,'
        b'"segments":[%b],"at":"%b"}'
    ) % (
        row.version,
        row.strategy.encode(),
        changed,
        row.tokens_before,
        row.tokens_after,
        _segments(Persisted.decode(row.window).segments),
        timestamp(row.at_us),
    )


def compactions(page: Iterable[bytes]) -> bytes:
    """Write a page of rewrites of the window, each as `compaction` wrote it."""
    return b'{"compactions":[%b]}' % b",".join(page)


def _enclosed(before: bytes, items: Iterable[bytes], after: bytes) -> bytes:
    """Write a list between *before* and *after*; in one go, since each copy of 16 MiB is felt."""
    pieces = list(items)
    if not pieces:
        return before + after
    pieces[0] = before + pieces[0]
    pieces[-1] += after
    return b",".join(pieces)


def health(status: str, reason: str | None = None) -> bytes:
    """Write how the node is."""
    known = {"status": status} if reason is None else {"status": status, "reason": reason}
    return msgspec.json.encode(known)
