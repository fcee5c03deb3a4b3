"""
The JSON that the API sends, as structs: a value becomes a struct, and `encode` writes it.

Stored text (messages, policies, metadata) is put in as it is, as `msgspec.Raw`; nothing decodes a
message to send it. Frames of the stream are in `frames.py`.

These structs are also where the OpenAPI document has its schemas from: `ViewJSON` becomes the
schema `View`, its docstring and the words of each field the descriptions. `make fix` generates the
document; see `openapi/openapi.yaml` for everything that is not a struct.

The file is long because it is the whole of what the API sends, with the words of its document.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from fastpaca.api.query import PAGE_MAX
from fastpaca.context import ContextState, WindowView, explain, jsontext, message, oddities, usage
from fastpaca.context.config import REWRITES, TOKEN_FACTOR_MAX
from fastpaca.context.events import Appended, Event
from fastpaca.context.explain import Fate
from fastpaca.context.message import Entry, decode_counts, timestamp
from fastpaca.context.path import RANGES_MAX
from fastpaca.context.persisted import Persisted
from fastpaca.context.window import WindowSegment
from fastpaca.engine.rows import context_row, forked_from
from fastpaca.formats import own_path
from fastpaca.ranges import Range
from fastpaca.store.base import CompactionRow, ContextRow, MessageRow

# --- what fields are made of ------------------------------------------------------------------

Count = Annotated[int, Meta(ge=0, le=jsontext.INTEGER_MAX)]
Ordinal = Annotated[int, Meta(ge=1, le=jsontext.INTEGER_MAX)]
Time = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]


def doc(text: str) -> Meta:
    """Return the description of a field."""
    return Meta(description=text)


def one_of(*values: str) -> Meta:
    """Return the values that a string may have."""
    return Meta(extra_json_schema={"enum": list(values)})


def schema(name: str) -> Meta:
    """Return the schema of a field that holds JSON text."""
    return Meta(extra_json_schema={"$ref": f"#/components/schemas/{name}"})


encode: Final = msgspec.json.Encoder().encode
"""Write one of the structs below as JSON."""


# --- contexts ---------------------------------------------------------------------------------


class SeqRangeJSON(Struct, frozen=True, gc=False):
    """A range of seqs."""

    from_seq: Annotated[Ordinal, doc("The first seq.")]
    to_seq: Annotated[Ordinal, doc("The last one.")]


class ForkedFromJSON(Struct, frozen=True, gc=False):
    """What a context is a fork of."""

    id: Annotated[str, doc("The id of its source, which may have been purged since.")]
    version: Annotated[Count, doc("The version of the source whose path it began with.")]


class ContextUsageJSON(Struct, frozen=True, gc=False):
    """What was reported of the model calls of a context."""

    input_tokens: Annotated[Count, doc("Sum of the reported `input_tokens`.")]
    cached_input_tokens: Annotated[Count, doc("Sum of the reported `cached_input_tokens`.")]
    cache_write_tokens: Annotated[Count, doc("Sum of the reported `cache_write_tokens`.")]
    output_tokens: Annotated[Count, doc("Sum of the reported `output_tokens`.")]
    counted_ratio: Annotated[
        Annotated[float, Meta(gt=0)] | None,
        doc(
            "Counted tokens for each token that the provider billed; null until"
            f" {usage.PAIRS_MIN} pairs of reports could be compared."
        ),
    ]


class ContextJSON(Struct, frozen=True, gc=False, kw_only=True):
    """A context."""

    id: Annotated[str, doc("Yours.")]
    status: Annotated[
        str, one_of("active", "tombstoned"), doc("Whether the context can be written to.")
    ]
    token_budget: Annotated[Ordinal, doc("The most tokens that a read of the LLM context returns.")]
    trigger_ratio: Annotated[
        float, Meta(gt=0, le=1), doc("Share of the budget above which the window is compacted.")
    ]
    token_factor: Annotated[
        float,
        Meta(gt=0, le=TOKEN_FACTOR_MAX),
        doc("What a counted token is worth for your provider."),
    ]
    policy: Annotated[Raw, schema("Policy")]
    metadata: Annotated[Raw, Meta(extra_json_schema={"type": "object"}), doc("Yours.")]
    version: Annotated[
        Count,
        doc(
            "Starts at 0; grows by one with each appended or revised message, each compact"
            " call and each rewind, and for nothing else."
        ),
    ]
    last_seq: Annotated[Count, doc("Seq of the newest message; 0 if there is none.")]
    path: Annotated[
        Annotated[list[SeqRangeJSON], Meta(max_length=RANGES_MAX)] | UnsetType,
        doc("The ranges of seqs that the path lies in; absent in lists."),
    ] = UNSET
    forked_from: Annotated[ForkedFromJSON | None, doc("What it is a fork of; null if it is none.")]
    usage: Annotated[
        ContextUsageJSON, doc("What was reported of model calls; each sum ends at 2^53-1.")
    ]
    created_at: Annotated[Time, doc("UTC.")]
    updated_at: Annotated[Time, doc("When anything in it last changed, UTC.")]


class ContextPageJSON(Struct, frozen=True, gc=False):
    """A page of contexts."""

    contexts: Annotated[list[Annotated[Raw, schema("Context")]], doc("In byte order of their ids.")]
    next: Annotated[
        str | None, doc("The id to send as `after` for the next page; null on the last page.")
    ]


def representation(context: ContextState, _events: object = ()) -> bytes:
    """Write a context; a `ResponseWriter`."""
    row = context_row(context, commit_id=b"")  # which is not shown
    return listed(row, context.window.path.ranges(context.last_seq))


def listed(row: ContextRow, path: Sequence[Range] | None = None) -> bytes:
    """Write the context of *row*, with the ranges of its *path*, if they are to be shown."""
    return encode(
        ContextJSON(
            id=row.id,
            status=row.status,
            token_budget=row.token_budget,
            trigger_ratio=row.trigger_ratio,
            token_factor=row.token_factor,
            policy=Raw(row.policy),
            metadata=Raw(row.metadata),
            version=row.version,
            last_seq=row.last_seq,
            path=UNSET if path is None else [SeqRangeJSON(*between) for between in path],
            forked_from=_forked_from(row),
            usage=_usage(row),
            created_at=timestamp(row.created_at_us).decode(),
            updated_at=timestamp(row.updated_at_us).decode(),
        )
    )


def _forked_from(row: ContextRow) -> ForkedFromJSON | None:
    source = forked_from(row)
    return None if source is None else ForkedFromJSON(*source)


def _usage(row: ContextRow) -> ContextUsageJSON:
    totals = usage.UsageTotals.decode(row.usage)
    return ContextUsageJSON(
        totals.input_tokens,
        totals.cached_input_tokens,
        totals.cache_write_tokens,
        totals.output_tokens,
        totals.counted_ratio,
    )


# --- messages ---------------------------------------------------------------------------------


class WarningJSON(Struct, frozen=True, gc=False):
    """Something odd about a message that was taken all the same."""

    code: Annotated[
        str,
        one_of(*oddities.CODES),
        doc(
            "A result without an open call; a call or result with an empty id; an unknown type"
            " that ends like that of a call or result, or that the named format does not know."
        ),
    ]
    field: Annotated[str, doc("Where it is in the request, such as `message.parts[0]`.")]


class AppendedJSON(Struct, frozen=True, gc=False):
    """A message that was appended."""

    seq: Annotated[Ordinal, doc("Its position in the log.")]
    version: Annotated[Ordinal, doc("The version that it created.")]
    token_estimate: Annotated[Count, doc("Its token count.")]
    revises: Annotated[
        Ordinal | UnsetType,
        doc("The place of the message that it revises; absent if it revises none."),
    ] = UNSET
    warnings: Annotated[
        Annotated[list[WarningJSON], Meta(min_length=1)] | UnsetType,
        doc("What is unusual about it; absent if there is nothing."),
    ] = UNSET


class AppendedBatchJSON(Struct, frozen=True, gc=False):
    """Messages that were appended together."""

    results: Annotated[list[AppendedJSON], doc("One for each message.")]


class TailJSON(Struct, frozen=True, gc=False):
    """The newest messages of a log."""

    messages: Annotated[
        list[Annotated[Raw, schema("Message")]], Meta(max_length=PAGE_MAX), doc("Oldest first.")
    ]
    version: Annotated[Count | UnsetType, doc("With `path=current`: the current version.")] = UNSET
    next: Annotated[
        Ordinal | UnsetType | None,
        doc("With `path=current`: the place to continue from, backwards; null at the beginning."),
    ] = UNSET


class MessagePageJSON(Struct, frozen=True, gc=False):
    """A page of a log."""

    messages: Annotated[
        list[Annotated[Raw, schema("Message")]],
        Meta(max_length=PAGE_MAX),
        doc("In the order of seq."),
    ]
    version: Annotated[
        Count,
        doc(
            "The current version if the page reaches the end, else that of its last message; with"
            " `path=current` the current one."
        ),
    ]
    next: Annotated[
        Ordinal | UnsetType | None,
        doc("With `path=current`: the place to continue from; null at the end."),
    ] = UNSET


def appended(_context: ContextState, events: Sequence[Event]) -> bytes:
    """Write the response to the append of one message; a `ResponseWriter`."""
    return encode(
        next(_appended(event, "message") for event in events if isinstance(event, Appended))
    )


def appended_batch(_context: ContextState, events: Sequence[Event]) -> bytes:
    """Write the response to the append of a list of messages; a `ResponseWriter`."""
    messages = [event for event in events if isinstance(event, Appended)]
    results = [_appended(event, f"messages[{place}]") for place, event in enumerate(messages)]
    return encode(AppendedBatchJSON(results))


def _appended(event: Appended, field: str) -> AppendedJSON:
    entry = event.entry
    assert entry.seq is not None
    origin = event.draft.origin
    warnings = [
        WarningJSON(oddity.code, field + own_path(origin, oddity.path)) for oddity in event.oddities
    ]
    revises = UNSET if entry.seq == entry.covers_to else entry.covers_to
    return AppendedJSON(entry.seq, entry.version, entry.tokens, revises, warnings or UNSET)


def put_message(events: Sequence[Event], current: Entry | None) -> bytes:
    """Write the response to the put of a message; *current* is what it was before, if anything."""
    for event in events:
        if isinstance(event, Appended):
            return encode(_appended(event, "message"))
    assert current is not None
    assert current.seq is not None
    revises = UNSET if current.revises is None else current.revises
    return encode(AppendedJSON(current.seq, current.version, current.tokens, revises))


class _Revising(Struct):
    """The field of a response that says whether a message was revised."""

    revises: int | None = None


_revising: Final = msgspec.json.Decoder(_Revising)


def is_revision(response: bytes) -> bool:
    """Return whether `put_message` wrote *response* for a revision."""
    return _revising.decode(response).revises is not None


def logged(row: MessageRow) -> Raw:
    """Return a message of the log as it is read."""
    tokens = decode_counts(row.counts).total
    return Raw(message.render(row.body, row.seq, row.version, tokens, row.at_us, row.revises))


# --- the LLM context --------------------------------------------------------------------------


class SegmentJSON(Struct, frozen=True, gc=False):
    """A run of messages of one kind."""

    type: Annotated[str, one_of("live", "summary"), doc("Messages of the log, or a summary.")]
    from_seq: Annotated[Count, doc("The first seq it stands for.")]
    to_seq: Annotated[Count, doc("The last one.")]


class ExplainedJSON(Struct, frozen=True, gc=False):
    """What became of the messages of a range."""

    from_seq: Annotated[Ordinal, doc("The first seq of the range.")]
    to_seq: Annotated[Ordinal, doc("The last one.")]
    state: Annotated[
        str,
        one_of(*explain.STATES),
        doc(
            "What became of its messages; `older` for everything older than the newest"
            f" {explain.RANGES_MAX:,} ranges."
        ),
    ]
    by: Annotated[
        Ordinal | Annotated[str, one_of(explain.BY_VIEW)] | None,
        doc(
            "What caused it: the version that rewrote the window, or `view` for fitting this"
            " view; null if nothing happened to them."
        ),
    ]


class ViewJSON(Struct, frozen=True, gc=False):
    """The LLM context."""

    version: Annotated[Count, doc("The version that was read: the current one, or `at_version`.")]
    messages: Annotated[
        list[Annotated[Raw, schema("WindowMessage")]],
        doc("Oldest first, ready for a model; synthetic messages have `seq: null`."),
    ]
    used_tokens: Annotated[
        Count,
        doc(
            "Sum over the returned messages; never above `token_budget`, except under `manual`"
            " without `budget_tokens`."
        ),
    ]
    needs_compaction: Annotated[
        bool,
        doc(
            "Whether `window_tokens` is above floor(`token_budget` × `trigger_ratio`), or the"
            " window has more than 50,000 entries."
        ),
    ]
    segments: Annotated[list[SegmentJSON], doc("The runs of the returned messages, in order.")]
    token_budget: Annotated[Ordinal, doc("The budget that was applied.")]
    window_tokens: Annotated[Count, doc("Sum over the stored window.")]
    fit: Annotated[str, one_of("whole", "dropped", "cut", "empty"), doc("The result of fitting.")]
    stable_messages: Annotated[
        Count,
        doc(
            "How many messages at the front the next view will begin with, unless the window is"
            " rewritten or cut again."
        ),
    ]
    explained: Annotated[
        Annotated[list[ExplainedJSON], Meta(max_length=explain.RANGES_MAX + 1)] | UnsetType,
        doc("With `explain`: what became of each message of the path, oldest first."),
    ] = UNSET


class CompactedJSON(Struct, frozen=True, gc=False):
    """The window was replaced."""

    version: Annotated[Ordinal, doc("The version that the call created.")]


class CompactionJSON(Struct, frozen=True, gc=False):
    """A rewrite of the window."""

    version: Annotated[Ordinal, doc("The version of the append that it trimmed, or its own.")]
    strategy: Annotated[
        str,
        one_of(*REWRITES),
        doc(
            "The policy that trimmed, `manual` for a compact call, `rewind`, or `fork` for the"
            " window that a fork began with."
        ),
    ]
    range: Annotated[
        SeqRangeJSON | None,
        doc("The first and the last seq that it changed; null if it changed no message."),
    ]
    used_tokens_before: Annotated[
        Count, doc("Sum over the window before it, including the message that caused it.")
    ]
    used_tokens_after: Annotated[Count, doc("Sum over the resulting window.")]
    segments: Annotated[list[SegmentJSON], doc("The runs of the resulting window, in order.")]
    at: Annotated[Time, doc("When, UTC.")]
    to_version: Annotated[
        Count | UnsetType, doc("Of a rewind: the version that it went back to.")
    ] = UNSET


class RewoundJSON(Struct, frozen=True, gc=False):
    """The path went back."""

    version: Annotated[
        Count, doc("The version that the call created, or the current one if it changed nothing.")
    ]


class CompactionPageJSON(Struct, frozen=True, gc=False):
    """A page of rewrites of the window."""

    compactions: Annotated[list[CompactionJSON], Meta(max_length=PAGE_MAX), doc("Oldest first.")]


def view(view: WindowView, explained: Sequence[Fate] | None = None) -> bytes:
    """Write one read of the LLM context, *explained* if it is to be."""
    messages = [Raw(entry.body) for entry in view.entries]
    return encode(ViewJSON(messages=messages, **facts(view, explained)))


def facts(view: WindowView, explained: Sequence[Fate] | None) -> dict[str, Any]:
    """Return what a view says besides its messages, by field."""
    ranges = None if explained is None else [ExplainedJSON(*piece) for piece in explained]
    return {
        "version": view.version,
        "used_tokens": view.used_tokens,
        "needs_compaction": view.needs_compaction,
        "segments": listed_segments(view.segments),
        "token_budget": view.token_budget,
        "window_tokens": view.window_tokens,
        "fit": view.fit,
        "stable_messages": view.stable_messages,
        "explained": UNSET if ranges is None else ranges,
    }


def listed_segments(segments: Iterable[WindowSegment]) -> list[SegmentJSON]:
    """Return the segments of a view."""
    return [SegmentJSON(*segment) for segment in segments]


def compacted(context: ContextState, _events: object) -> bytes:
    """Write the response to a compact call; a `ResponseWriter`."""
    return encode(CompactedJSON(context.version))


def rewound(context: ContextState, _events: object) -> bytes:
    """Write the response to a rewind; a `ResponseWriter`."""
    return encode(RewoundJSON(context.version))


def seq_range(from_seq: int | None, to_seq: int | None) -> SeqRangeJSON | None:
    """Return a range of seqs, if there is one."""
    if from_seq is None or to_seq is None:
        return None
    return SeqRangeJSON(from_seq, to_seq)


def compactions(page: Iterable[CompactionRow]) -> bytes:
    """Write a page of rewrites of the window."""
    return encode(CompactionPageJSON([_compaction(row) for row in page]))


def _compaction(row: CompactionRow) -> CompactionJSON:
    window = Persisted.decode(row.window)
    return CompactionJSON(
        version=row.version,
        strategy=row.strategy,
        range=seq_range(row.from_seq, row.to_seq),
        used_tokens_before=row.tokens_before,
        used_tokens_after=row.tokens_after,
        segments=listed_segments(window.segments),
        at=timestamp(row.at_us).decode(),
        to_version=UNSET if window.to_version is None else window.to_version,
    )


# --- health -----------------------------------------------------------------------------------


class HealthyJSON(Struct, frozen=True, gc=False):
    """The process works."""

    status: Literal["ok"]
    version: Annotated[str, doc("The release that runs.")]


class ReadyJSON(Struct, frozen=True, gc=False):
    """Requests should be sent here."""

    status: Annotated[
        str,
        one_of("ok", "degraded"),
        doc("`degraded` while only some contexts can be used."),
    ]
    reason: Annotated[str | UnsetType, doc("Why it is degraded, as a sentence.")] = UNSET


class UnhealthyJSON(Struct, frozen=True, gc=False):
    """The node cannot be used, or should not be."""

    status: Annotated[
        str, one_of("starting", "stopping", "degraded"), doc("Why the node is not ready.")
    ]
    reason: Annotated[str, doc("The same as a sentence.")]
