"""
What a provider billed for a call, read from its report. Pure.

Providers count differently, and this is one meaning for all: `input_tokens` is everything that was
billed as input, whether it was read from a cache, written to one or neither. So reads and writes of
a cache are added where a provider reports them apart (Anthropic, Bedrock), and are not where they
are in its sum already (OpenAI, Gemini).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import msgspec

from fastpaca.client.provider_objects import fields_of
from fastpaca.client.values import TokenUsage
from fastpaca.errors import InvalidRequest

Fields = Mapping[str, Any]

_FIELD: Final = "usage"


def read_usage(usage: object, format_: str = "", model: str | None = None) -> TokenUsage:
    """
    Read a *usage*: a `TokenUsage`, a mapping of its fields, or a provider's own report.

    Args:
        usage: The report.
        format_: The format of the provider, if it is known; otherwise the fields tell.
        model: The model; no report of a provider says it.

    Raises:
        InvalidRequest: It is none of these.
    """
    if isinstance(usage, TokenUsage):
        return usage
    fields = fields_of(usage)
    if not format_ and fields and fields.keys() <= _OWN:
        return _own(fields)
    for name, reader in _READERS.items():
        if name == format_ or (not format_ and reader.tells & fields.keys()):
            return msgspec.structs.replace(reader.read(fields), model=model)
    unknown = sorted(fields.keys() - _OWN) or [type(usage).__name__]
    raise InvalidRequest(
        f"A usage has {', '.join(sorted(_OWN))}, or is the report of a provider; not {unknown[0]}.",
        _FIELD,
    )


_OWN: Final = frozenset(field.encode_name for field in msgspec.structs.fields(TokenUsage))


def _own(fields: Fields) -> TokenUsage:
    try:
        return msgspec.convert(fields, TokenUsage)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"This is not a usage: {error}.", _FIELD) from error


def _count(fields: Fields, *names: str) -> int | None:
    """Return the first count that *fields* has under *names*; None if there is none."""
    for name in names:
        value = fields.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise InvalidRequest("A count of tokens is an integer, 0 or more.", f"{_FIELD}.{name}")
        return value
    return None


def _needed(fields: Fields, *names: str) -> int:
    count = _count(fields, *names)
    if count is None:
        raise InvalidRequest(f"A usage needs {names[0]!r}.", f"{_FIELD}.{names[0]}")
    return count


def _openai_chat(fields: Fields) -> TokenUsage:
    return _with_details(fields, "prompt_tokens", "completion_tokens")


def _openai_responses(fields: Fields) -> TokenUsage:
    return _with_details(fields, "input_tokens", "output_tokens")


def _with_details(fields: Fields, sent: str, said: str) -> TokenUsage:
    """Read a report whose input includes what was cached, as its details say."""
    details = fields_of(fields.get(f"{sent}_details"))
    return TokenUsage(
        input_tokens=_needed(fields, sent),
        output_tokens=_needed(fields, said),
        cached_input_tokens=_count(details, "cached_tokens"),
        cache_write_tokens=_count(details, "cache_write_tokens"),
    )


def _anthropic(fields: Fields) -> TokenUsage:
    cached = ("cache_read_input_tokens", "cache_creation_input_tokens")
    return _with_cached_apart(fields, "input_tokens", "output_tokens", *cached)


def _bedrock(fields: Fields) -> TokenUsage:
    cached = ("cacheReadInputTokens", "cacheWriteInputTokens")
    return _with_cached_apart(fields, "inputTokens", "outputTokens", *cached)


def _with_cached_apart(
    fields: Fields, sent: str, said: str, read_name: str, written_name: str
) -> TokenUsage:
    """Read a report whose input does not include what was read from a cache or written to it."""
    read = _count(fields, read_name)
    written = _count(fields, written_name)
    return TokenUsage(
        input_tokens=_needed(fields, sent) + (read or 0) + (written or 0),
        output_tokens=_needed(fields, said),
        cached_input_tokens=read,
        cache_write_tokens=written,
    )


def _gemini(fields: Fields) -> TokenUsage:
    # The prompt includes what was cached; what tools brought in and what was thought stand apart.
    prompt = _needed(fields, "promptTokenCount", "prompt_token_count")
    tools = _count(fields, "toolUsePromptTokenCount", "tool_use_prompt_token_count")
    said = _count(fields, "candidatesTokenCount", "candidates_token_count")
    thought = _count(fields, "thoughtsTokenCount", "thoughts_token_count")
    return TokenUsage(
        input_tokens=prompt + (tools or 0),
        output_tokens=(said or 0) + (thought or 0),
        cached_input_tokens=_count(fields, "cachedContentTokenCount", "cached_content_token_count"),
    )


def is_reported(usage: object, format_: str) -> bool:
    """Return whether a *usage* has the counts that each report of a format has."""
    fields = fields_of(usage)
    return all(
        any(fields.get(name) is not None for name in names) for names in _READERS[format_].counts
    )


class _ReportReader(NamedTuple):
    """
    Reads the report of a provider.

    Attributes:
        counts: The counts that each report has, with the names that each may have.
        tells: Fields that no other report has.
        read: Reads it.
    """

    counts: tuple[tuple[str, ...], ...]
    tells: frozenset[str]
    read: Callable[[Fields], TokenUsage]


_READERS: Final[Mapping[str, _ReportReader]] = {
    "openai-chat": _ReportReader(
        (("prompt_tokens",), ("completion_tokens",)), frozenset({"prompt_tokens"}), _openai_chat
    ),
    "openai-responses": _ReportReader(
        (("input_tokens",), ("output_tokens",)),
        frozenset({"input_tokens_details"}),
        _openai_responses,
    ),
    "anthropic": _ReportReader(
        (("input_tokens",), ("output_tokens",)),
        frozenset(
            {
                "cache_creation",
                "cache_creation_input_tokens",
                "cache_read_input_tokens",
                "server_tool_use",
                "service_tier",
            }
        ),
        _anthropic,
    ),
    "gemini": _ReportReader(
        (("promptTokenCount", "prompt_token_count"),),
        frozenset({"promptTokenCount", "prompt_token_count"}),
        _gemini,
    ),
    "bedrock": _ReportReader(
        (("inputTokens",), ("outputTokens",)), frozenset({"inputTokens"}), _bedrock
    ),
}
