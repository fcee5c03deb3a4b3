"""
The format of an export: JSON lines, one context after the other.

    header                              who wrote the file
    context                             a context: its configuration, version and last seq
    message | synthetic | compaction    its history, version by version; any number of lines
    whole                               the end of the context: its line counts and its digest
    end                                 the end of the file: the counts and digest of all contexts

Rules
-----
- Contexts come in byte order of their ids, each once.
- Seqs are 1, 2, 3 … The messages of a replacement come before their compaction, and a trim comes
  after the message that caused it.
- A message that revises another names its place, which is on the path then; the windows of
  compactions say what the path is.
- JSON values from a store are copied byte for byte.
- The digest of a context covers its lines as they are in the file. The digest of the file covers
  the lines that end its contexts. Together they detect any change, truncation or omission.

This module has the lines by themselves; `reader` checks their order.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal, NamedTuple

import msgspec
from msgspec import Meta, Raw

from fastpaca.context import jsontext
from fastpaca.context.config import parse_policy
from fastpaca.context.draft import parse
from fastpaca.context.message import decode_counts
from fastpaca.context.path import RANGES_MAX
from fastpaca.context.persisted import Persisted
from fastpaca.context.usage import Usage, UsageTotals
from fastpaca.errors import InvalidRequest
from fastpaca.ids import id_fault
from fastpaca.ranges import union

FORMAT: Final = 1
"""The version of the format."""

LINE_BYTES_MAX: Final = 1_100_000_000
"""The longest line to read; no store accepts a row of this size."""

Natural = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Positive = Annotated[int, Meta(ge=1, le=2**63 - 1)]
Origin = Annotated[str, Meta(pattern="^([a-z-]+|)(/[a-z-]*|)$", max_length=64)]
Digest = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]


class _Line(msgspec.Struct, frozen=True, gc=False, tag_field="kind", forbid_unknown_fields=True):
    """The base of all lines: it has a kind, and no unknown fields."""


class HeaderLine(_Line, tag="header", frozen=True, gc=False):
    """
    Who wrote the file.

    Attributes:
        format: The version of the format.
        release: The release that wrote it.
        source: The name of the store that it was exported from.
        prefix: The prefix of all its context ids.
    """

    format: int
    release: str
    source: str
    prefix: str


class ContextLine(_Line, tag="context", frozen=True, gc=False):
    """A context, as `ContextRow` without the fields that only its store needs."""

    id: str
    status: Literal["active", "tombstoned"]
    token_budget: Positive
    trigger_ratio: Annotated[float, Meta(gt=0, le=1)]
    token_factor: Annotated[float, Meta(gt=0, le=10)]
    policy: Raw
    metadata: Raw
    version: Natural
    last_seq: Natural
    created_at_us: Natural
    updated_at_us: Natural
    spoken_at_us: Natural
    usage: UsageTotals
    forked_from: tuple[str, Natural] | None = None


class MessageLine(_Line, tag="message", frozen=True, gc=False, omit_defaults=True):
    """A message of the log, as `MessageRow`."""

    seq: Positive
    version: Positive
    at_us: Natural
    counts: bytes
    body: Raw
    origin: Origin = ""
    usage: Usage | None = None
    revises: Positive | None = None


class SyntheticLine(_Line, tag="synthetic", frozen=True, gc=False, omit_defaults=True):
    """A message of a replacement, as `SyntheticRow`."""

    version: Positive
    position: Natural
    at_us: Natural
    counts: bytes
    body: Raw
    origin: Origin = ""


class CompactionLine(_Line, tag="compaction", frozen=True, gc=False):
    """A rewrite of the window, as `CompactionRow`."""

    version: Positive
    strategy: str
    from_seq: Natural | None
    to_seq: Natural | None
    tokens_before: Natural
    tokens_after: Natural
    at_us: Natural
    window: Raw


class ContextEndLine(_Line, tag="whole", frozen=True, gc=False):
    """The end of a context: the number of its lines of each kind, and their digest."""

    messages: Natural
    synthetics: Natural
    compactions: Natural
    digest: Digest


class FileEndLine(_Line, tag="end", frozen=True, gc=False):
    """The end of the file: the totals of all contexts, and the digest of their last lines."""

    contexts: Natural
    messages: Natural
    synthetics: Natural
    compactions: Natural
    digest: Digest


HistoryLine = MessageLine | SyntheticLine | CompactionLine
"""A line of the history of a context."""

Line = HeaderLine | ContextLine | HistoryLine | ContextEndLine | FileEndLine

_decoder = msgspec.json.Decoder(Line)
_encoder = msgspec.json.Encoder()


def encode(line: Line) -> bytes:
    """Return the text of *line*, including the line end."""
    return _encoder.encode(line) + b"\n"


def decode(text: bytes) -> Line:
    """
    Parse a line, without regard to its place.

    Raises:
        UnicodeDecodeError: It is not UTF-8.
        msgspec.DecodeError: It is not JSON, or not a known kind of line.
    """
    text.decode()  # the decoder doesn't check UTF-8 inside raw values
    line: Line = _decoder.decode(text)
    return line


class _HeaderStart(msgspec.Struct):
    """The fields of a header that say whether this release can read the rest."""

    kind: str = ""
    format: int = 0


_header_start_decoder = msgspec.json.Decoder(_HeaderStart)


class BadLine(Exception):
    """A line is wrong or in the wrong place; the message says why, and follows "line 7: it"."""


class Tally(NamedTuple):
    """The numbers of contexts and of their lines."""

    contexts: int = 0
    messages: int = 0
    synthetics: int = 0
    compactions: int = 0


def kind(line: Line) -> str:
    """Return the kind of a line."""
    return str(line.__struct_config__.tag)


def check_header_start(text: bytes) -> None:
    """
    Check that the first line is a header of the format that this release reads.

    Raises:
        BadLine: It is not.
        msgspec.DecodeError: It is not JSON.
    """
    start = _header_start_decoder.decode(text)
    if start.kind != "header":
        raise BadLine("is not the header of an export")
    if start.format != FORMAT:
        raise BadLine(
            f"says that the file has version {start.format} of the format; this release reads"
            f" version {FORMAT}"
        )


def check_context(line: ContextLine) -> None:
    """
    Check that a node could read this context.

    Raises:
        BadLine: Its id, policy or metadata can't be used.
    """
    if (fault := id_fault(line.id)) is not None:
        raise BadLine(f"has an id that {fault}")
    try:
        parse_policy(bytes(line.policy))
        if jsontext.kind_of(bytes(line.metadata)) != "an object":
            raise BadLine("has metadata that is not an object")
        for field in (line.policy, line.metadata):
            _check_minified(bytes(field))
    except InvalidRequest as error:
        raise BadLine(f"is not valid: {error}") from None


def _check_minified(text: bytes) -> None:
    if jsontext.minified(text) != text:
        raise BadLine("has white space in its JSON, which no store writes")


def check_body(body: Raw, counts: bytes) -> None:
    """
    Check that a node could read this message.

    Raises:
        BadLine: It is not a message, or its counts don't match its parts.
    """
    text = bytes(body)
    try:
        draft = parse(text, "body")
        counted = decode_counts(counts)
    except InvalidRequest as error:
        raise BadLine(f"is not valid: {error}") from None
    except msgspec.DecodeError as error:
        raise BadLine(f"has counts that cannot be read: {error}") from None
    if draft.body != text:
        raise BadLine("has a body that is not in the form that stores keep")
    if len(counted.parts) != len(draft.parts):
        raise BadLine("has counts that don't match the parts of its body")


def checked_window(window: Raw, last_seq: int) -> Persisted:
    """
    Check that a window belongs at the end of a log of *last_seq* messages, and return it.

    Raises:
        BadLine: It doesn't, or it can't be read.
    """
    try:
        stored = Persisted.decode(bytes(window))
    except msgspec.DecodeError as error:
        raise BadLine(f"has a window that cannot be read: {error}") from None
    if stored.through != last_seq or any(run.to_seq > last_seq for run in stored.runs):
        raise BadLine("has a window that doesn't fit the log before it")
    ranges = stored.path or ()
    is_in_order = list(ranges) == union(ranges) and all(first >= 1 for first, _ in ranges)
    if len(ranges) > RANGES_MAX or not is_in_order or (ranges and ranges[-1][1] > last_seq):
        raise BadLine("has a window whose path doesn't fit the log before it")
    if any(not place < seq <= last_seq for place, seq in stored.revised):
        raise BadLine("has a window with a revision that doesn't fit the log before it")
    return stored
