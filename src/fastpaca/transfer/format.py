"""
The format of an export: JSON lines that tell contexts one after the other.

    header                              who wrote the file
    context                             a context: its configuration, and where it stands
    message | synthetic | compaction    its history, version by version, as often as need be
    whole                               the end of the context: how much there was, and its digest
    end                                 the end of the file: the same of all contexts

What holds
----------
- Contexts come in byte order of their ids, each once.
- Seqs are 1, 2, 3 … The messages of a replacement stand before the compaction that brought them,
  and the trim that a message caused stands behind it.
- JSON that a store holds stands in the line as it is stored, byte for byte.
- The digest of a context is that of its lines as they stand in the file, the one of the file is
  that of the lines that end its contexts. So whatever was changed, cut off or left out is noticed.

This is the lines by themselves; `reading` is the machine that holds them to their places.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal, NamedTuple

import msgspec
from msgspec import Meta, Raw

from fastpaca.context import jsontext
from fastpaca.context.config import parse_policy
from fastpaca.context.message import decode_counts, parse
from fastpaca.context.window import Persisted
from fastpaca.errors import InvalidRequest

FORMAT: Final = 1
"""The version of the format."""

ID_BYTES_MAX: Final = 512

LINE_BYTES_MAX: Final = 1_100_000_000
"""The longest line that is read: a store takes no row of that size."""

Natural = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Positive = Annotated[int, Meta(ge=1, le=2**63 - 1)]
Digest = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]


class _Line(msgspec.Struct, frozen=True, gc=False, tag_field="kind", forbid_unknown_fields=True):
    """What all lines have: a kind, and no field that is not known."""


class Header(_Line, tag="header", frozen=True, gc=False):
    """
    Who wrote the file.

    Attributes:
        format: The version of the format.
        release: The release that wrote it.
        source: What the store calls itself that it was written from.
        prefix: What the ids of all its contexts begin with.
    """

    format: int
    release: str
    source: str
    prefix: str


class State(_Line, tag="context", frozen=True, gc=False):
    """A context as `ContextRow` has it, but for what only its store needs."""

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


class Message(_Line, tag="message", frozen=True, gc=False):
    """A message of the log, as `MessageRow`."""

    seq: Positive
    version: Positive
    at_us: Natural
    counts: bytes
    body: Raw


class Synthetic(_Line, tag="synthetic", frozen=True, gc=False):
    """A message of a replacement, as `SyntheticRow`."""

    version: Positive
    position: Natural
    at_us: Natural
    counts: bytes
    body: Raw


class Compaction(_Line, tag="compaction", frozen=True, gc=False):
    """A rewrite of the window, as `CompactionRow`."""

    version: Positive
    strategy: str
    from_seq: Natural | None
    to_seq: Natural | None
    tokens_before: Natural
    tokens_after: Natural
    at_us: Natural
    window: Raw


class Whole(_Line, tag="whole", frozen=True, gc=False):
    """The end of a context: how many lines there were, and their digest."""

    messages: Natural
    synthetics: Natural
    compactions: Natural
    digest: Digest


class End(_Line, tag="end", frozen=True, gc=False):
    """The end of the file: how much there was in all, and the digest of the ends of contexts."""

    contexts: Natural
    messages: Natural
    synthetics: Natural
    compactions: Natural
    digest: Digest


Past = Message | Synthetic | Compaction
"""What the history of a context is made of."""

Line = Header | State | Past | Whole | End

_decoder = msgspec.json.Decoder(Line)
_encoder = msgspec.json.Encoder()


def encode(line: Line) -> bytes:
    """Write a line, its end included."""
    return _encoder.encode(line) + b"\n"


def decode(text: bytes) -> Line:
    """
    Read a line by itself.

    Raises:
        UnicodeDecodeError: It is not UTF-8.
        msgspec.DecodeError: It is not JSON, or no line that is known.
    """
    text.decode()  # the decoder lets broken UTF-8 through inside of what it passes over
    line: Line = _decoder.decode(text)
    return line


class _Opening(msgspec.Struct):
    """Of a header, what tells whether the rest can be understood."""

    kind: str = ""
    format: int = 0


_opening_decoder = msgspec.json.Decoder(_Opening)


class BadLine(Exception):
    """A line does not belong where it stands; the message says why, to stand behind its number."""


class Tally(NamedTuple):
    """How many there were of each."""

    contexts: int = 0
    messages: int = 0
    synthetics: int = 0
    compactions: int = 0


def kind(line: Line) -> str:
    """Name what a line is."""
    return str(line.__struct_config__.tag)


def check_opening(text: bytes) -> None:
    """
    Refuse a first line that is no header, or one of a format that is not known here.

    Raises:
        BadLine: It is.
        msgspec.DecodeError: It is not JSON.
    """
    opening = _opening_decoder.decode(text)
    if opening.kind != "header":
        raise BadLine("is not the header of an export")
    if opening.format != FORMAT:
        raise BadLine(
            f"says that the file has version {opening.format} of the format; this release reads"
            f" version {FORMAT}"
        )


def check_state(line: State) -> None:
    """
    Refuse a context that a node could not read.

    Raises:
        BadLine: Its id, policy or metadata are none.
    """
    id_bytes = len(line.id.encode())
    if not 1 <= id_bytes <= ID_BYTES_MAX or "\0" in line.id:
        raise BadLine(f"has an id that is not 1 to {ID_BYTES_MAX} bytes of UTF-8 without NUL")
    try:
        parse_policy(bytes(line.policy))
        if jsontext.kind_of(bytes(line.metadata)) != "an object":
            raise BadLine("has metadata that are not an object")
        for field in (line.policy, line.metadata):
            _check_minified(bytes(field))
    except InvalidRequest as error:
        raise BadLine(f"is not as it should be: {error.field}: {error}") from None


def _check_minified(text: bytes) -> None:
    if jsontext.minified(text) != text:
        raise BadLine("has white space in JSON of the store")


def check_body(body: Raw, counts: bytes) -> None:
    """
    Refuse a message that a node could not read.

    Raises:
        BadLine: It is no message, or its counts are not those of its parts.
    """
    text = bytes(body)
    try:
        draft = parse(text, "body")
        counted = decode_counts(counts)
    except InvalidRequest as error:
        raise BadLine(f"is not as it should be: {error.field}: {error}") from None
    except msgspec.DecodeError as error:
        raise BadLine(f"has counts that cannot be read: {error}") from None
    if draft.body != text:
        raise BadLine("has a body that is not as a store keeps it")
    if len(counted.parts) != len(draft.parts):
        raise BadLine("has counts of other parts than those of its body")


def check_window(window: Raw, last_seq: int) -> None:
    """
    Refuse a window that does not stand at the end of a log of *last_seq* messages.

    Raises:
        BadLine: It does not, or cannot be read.
    """
    try:
        stored = Persisted.decode(bytes(window))
    except msgspec.DecodeError as error:
        raise BadLine(f"has a window that cannot be read: {error}") from None
    if stored.through != last_seq or any(run.to_seq > last_seq for run in stored.runs):
        raise BadLine("has a window that does not fit the log before it")
