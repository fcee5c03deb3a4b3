"""
What a provider billed for the calls that made the answers of a conversation, as the caller reports
it; and how far the tokens that the node counts are from it.

A report says how many tokens the prompt of a call had. From one report to the next the prompt grows
by the answer to the first call and by everything up to the answer to the second, and by nothing
else unless the window was rewritten in between. So the growth is what the provider counts for
exactly these messages. Everything that is the same in both prompts, such as the definitions of
tools, falls out of the difference.

`UsageTotals` changes only with a report and with `token_factor`. Everything else that it compares
is read from the window, so an append without a report costs nothing.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Annotated, Final

import msgspec
from msgspec import Meta
from msgspec.structs import replace

from fastpaca.context import jsontext
from fastpaca.context.message import Entry
from fastpaca.context.window import Window
from fastpaca.errors import InvalidRequest

PAIRS_MIN: Final = 20
"""How many pairs of reports `UsageTotals.counted_ratio` needs."""

BETWEEN_MAX: Final = 1000
"""The most messages that one pair compares: as many as one append may have."""

MODEL_CHARS_MAX: Final = 512
"""The longest name of a model, as long as a context id; the longest in use are ARNs of Bedrock."""

_COUNTS: Final[tuple[str, ...]] = (
    "input_tokens",
    "cached_input_tokens",
    "cache_write_tokens",
    "output_tokens",
)

_KEYS: Final = (*_COUNTS, "model")

Tokens = Annotated[int, Meta(ge=0, le=jsontext.INTEGER_MAX)]


class Usage(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, forbid_unknown_fields=True):
    """
    What a provider billed for one call.

    Attributes:
        input_tokens: The tokens of the whole prompt.
        output_tokens: The tokens of the answer, with its reasoning.
        cached_input_tokens: Those of *input_tokens* that were read from the provider's cache.
        cache_write_tokens: Those of *input_tokens* that were written to it.
        model: The model, as the provider names it.
    """

    input_tokens: Tokens
    output_tokens: Tokens
    cached_input_tokens: Tokens | None = None
    cache_write_tokens: Tokens | None = None
    model: Annotated[str, Meta(min_length=1, max_length=MODEL_CHARS_MAX)] | None = None

    @property
    def by_kind(self) -> dict[str, int]:
        """The tokens by their kind, such as `cached_input`; without what was not reported."""
        counts = {key.removesuffix("_tokens"): getattr(self, key) for key in _COUNTS}
        return {kind: count for kind, count in counts.items() if count is not None}

    def encode(self) -> bytes:
        """Return it as JSON."""
        return msgspec.json.encode(self)

    @staticmethod
    def decode(text: bytes) -> Usage:
        """Decode what `encode` returned."""
        return _usage_decoder.decode(text)


_usage_decoder = msgspec.json.Decoder(Usage)


def parse_usage(text: bytes, field: str) -> Usage:
    """
    Parse a report, given as minified JSON.

    Raises:
        InvalidRequest: It cannot be used; the error names the field.
    """
    members = jsontext.members(text, None, field)
    for key in members:
        if key not in _KEYS:
            raise InvalidRequest(jsontext.unknown_key_message(key, _KEYS), f"{field}.{key}")
    for key in ("input_tokens", "output_tokens"):
        if key not in members:
            raise InvalidRequest(
                "This field is missing. Report what the provider billed: input_tokens and"
                " output_tokens.",
                f"{field}.{key}",
            )
    counts = {
        key: jsontext.integer(members[key], f"{field}.{key}", 0)
        for key in _COUNTS
        if key in members
    }
    model = _model(members["model"], f"{field}.model") if "model" in members else None
    return Usage(**counts, model=model)


def _model(text: bytes, field: str) -> str:
    name = jsontext.string(text, field)
    if not 0 < len(name) <= MODEL_CHARS_MAX:
        raise InvalidRequest(
            f"Must have 1 to {MODEL_CHARS_MAX} characters; leave it out if it is unknown.", field
        )
    return name


class UsageTotals(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """
    The sums of all reports of a context, and of those pairs of reports that can be compared.

    No sum exceeds the largest integer of the API: one that would, stays there.

    Attributes:
        input_tokens, cached_input_tokens, cache_write_tokens, output_tokens: As in `Usage`.
        pairs: How many pairs of reports were compared since `token_factor` was last changed.
        counted: The tokens that the node counted for the messages between the reports of each pair.
        growth: By how much the prompt grew between them.
        seq: The place of the message with the newest report; 0 if there is none.
        answer_from: The first place of the answer that it belongs to; 0 if the next report can't be
            compared with it.
        prompt_tokens: The `input_tokens` of the newest report.
        model: A hash of the model of the newest report; empty if it named none. Stores keep no text
            of a caller in the row that every commit rewrites.
    """

    input_tokens: Tokens = 0
    cached_input_tokens: Tokens = 0
    cache_write_tokens: Tokens = 0
    output_tokens: Tokens = 0
    pairs: Tokens = 0
    counted: Tokens = 0
    growth: Tokens = 0
    seq: Tokens = 0
    answer_from: Tokens = 0
    prompt_tokens: Tokens = 0
    model: Annotated[str, Meta(pattern="^([0-9a-f]{16}|)$")] = ""

    @property
    def counted_ratio(self) -> float | None:
        """
        Counted tokens for each token that the provider billed, in 4 digits.

        None as long as there are fewer than `PAIRS_MIN` pairs.
        """
        return None if self.pairs < PAIRS_MIN else float(f"{self.counted / self.growth:.4g}")

    def encode(self) -> bytes:
        """Return it as JSON; `[]` if nothing was ever reported."""
        return b"[]" if self == _NONE else msgspec.json.encode(self)

    @staticmethod
    def decode(text: bytes) -> UsageTotals:
        """Decode what `encode` returned."""
        return _NONE if text == b"[]" else _totals_decoder.decode(text)

    def reported(
        self, usage: Usage, window: Window, seq: int, token_budget: int | None
    ) -> UsageTotals:
        """
        Add the report that came with the message *seq*.

        Args:
            usage: The report.
            window: The window with that message, before it was trimmed because of it.
            seq: The seq of the message, the newest of the log.
            token_budget: The budget of a read that names none; None if such a read has no budget.
        """
        start = _answer_start(window, seq, self.seq)
        answer_from = _comparable_from(window, start, token_budget)
        pairs, counted, growth = self.pairs, self.counted, self.growth
        grown = usage.input_tokens - self.prompt_tokens
        model = _hashed(usage.model)
        if answer_from and self.answer_from > window.through and self.model == model:
            between = _counted_between(window, self.answer_from, start)
            if grown > 0 and between and max(counted + between, growth + grown) <= _MAX:
                pairs, counted, growth = pairs + 1, counted + between, growth + grown
        return UsageTotals(
            _sum(self.input_tokens, usage.input_tokens),
            _sum(self.cached_input_tokens, usage.cached_input_tokens),
            _sum(self.cache_write_tokens, usage.cache_write_tokens),
            _sum(self.output_tokens, usage.output_tokens),
            pairs,
            counted,
            growth,
            seq,
            answer_from,
            usage.input_tokens,
            model,
        )

    def added(self, usage: Usage) -> UsageTotals:
        """
        Add the report that came with a revision.

        Its prompt held a part of the message that it revises, so it can't be compared with others.
        """
        return replace(
            self,
            input_tokens=_sum(self.input_tokens, usage.input_tokens),
            cached_input_tokens=_sum(self.cached_input_tokens, usage.cached_input_tokens),
            cache_write_tokens=_sum(self.cache_write_tokens, usage.cache_write_tokens),
            output_tokens=_sum(self.output_tokens, usage.output_tokens),
            answer_from=0,
        )

    def ended(self) -> UsageTotals:
        """Return the same sums; the next prompt is that of another branch, and compares to none."""
        return replace(self, answer_from=0) if self.answer_from else self

    def recounted(self) -> UsageTotals:
        """Return the same sums without pairs: from now on, tokens are counted otherwise."""
        return replace(self, pairs=0, counted=0, growth=0, answer_from=0)


_MAX: Final = jsontext.INTEGER_MAX
_NONE: Final = UsageTotals()
_totals_decoder = msgspec.json.Decoder(UsageTotals)


def _hashed(model: str | None) -> str:
    return "" if model is None else blake2b(model.encode(), digest_size=8).hexdigest()


def _sum(total: int, tokens: int | None) -> int:
    return min(total + (tokens or 0), _MAX)


def _answer_start(window: Window, seq: int, reported_seq: int) -> int:
    """
    Return the index of the first message of the answer that ends with the new message *seq*.

    An answer may be several messages, such as the items of OpenAI's Responses: those of one role
    after the last report, whether they were appended together or one by one.

    It is the end of the window if the message is not in it.
    """
    listed, at = window.shared, window.size
    if not at or listed[at - 1].seq != seq:
        return at
    first = max(at - BETWEEN_MAX, 0)
    role = listed[at - 1].role
    while at > first and listed[at - 1].role == role and _place(listed[at - 1]) > reported_seq:
        at -= 1
    return at


def _comparable_from(window: Window, start: int, token_budget: int | None) -> int:
    """
    Return the first place of the answer at index *start*, if its prompt was the window before it.

    0 if the window was rewritten in the middle of the answer, or was above the budget before it:
    then the model has seen another window. The message before the answer may belong to it as well,
    which can't be told if a rewrite right after that message has dropped it.
    """
    answer = window.shared[start : window.size]
    if not answer:
        return 0
    first = answer[0].covers_from
    is_dropped = not start or _place(window.shared[start - 1]) != first - 1
    if window.through >= first - (is_dropped and first > 1):
        return 0
    tokens = window.tokens - sum([entry.tokens for entry in answer])
    return 0 if token_budget is not None and tokens > token_budget else first


def _place(entry: Entry) -> int:
    """Return the place of a message of the log, and 0 for a synthetic one."""
    return 0 if entry.seq is None else entry.place


def _counted_between(window: Window, from_place: int, end: int) -> int:
    """
    Return the tokens counted for the entries from *from_place* up to the index *end*, exclusive.

    They are the node's own counts even where a caller's `token_count` stands for the message, since
    `token_factor` acts on these alone. 0 if there are too many of them.
    """
    counted, at = 0, end
    while at and _place(window.shared[at - 1]) >= from_place:
        at -= 1
        counted += window.shared[at].counts.counted
        if end - at > BETWEEN_MAX:
            return 0
    return counted
