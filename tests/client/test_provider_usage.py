"""What providers bill, in one meaning."""

from __future__ import annotations

from typing import Any

import pytest

from fastpaca import InvalidRequest, TokenUsage
from fastpaca.client.provider_usage import read_usage
from tests.kit.provided import CACHED, JSON, response

REPORTS = {
    "openai-chat": "usage",
    "openai-responses": "usage",
    "anthropic": "usage",
    "gemini": "usageMetadata",
    "bedrock": "usage",
}


@pytest.mark.parametrize("name", REPORTS)
def test_every_report_means_the_same(name: str) -> None:
    """
    All of these calls were billed 100 tokens of input, 64 of which came from a cache, and 20 of
    output, however the provider adds them up; as JSON and as the object of its package.
    """
    expected = TokenUsage(
        input_tokens=100,
        output_tokens=20,
        cached_input_tokens=64,
        cache_write_tokens=CACHED[name],
    )
    assert read_usage(JSON[name][REPORTS[name]]) == expected
    if name != "bedrock":
        key = "usage_metadata" if name == "gemini" else "usage"
        assert read_usage(getattr(response(name), key)) == expected


def test_a_report_in_the_names_of_python_is_read() -> None:
    """
    Gemini's package takes both, so JSON that came from its `model_dump` is read, too.
    """
    report = response("gemini").usage_metadata.model_dump()
    assert read_usage(report).input_tokens == 100


@pytest.mark.parametrize(
    ("report", "cached"),
    [
        ({"prompt_tokens": 5, "completion_tokens": 2}, None),
        ({"prompt_tokens": 5, "completion_tokens": 2, "prompt_tokens_details": None}, None),
        ({"input_tokens": 5, "output_tokens": 2}, None),
        ({"input_tokens": 5, "output_tokens": 2, "cache_read_input_tokens": 0}, 0),
        ({"promptTokenCount": 5, "candidatesTokenCount": 2}, None),
        ({"inputTokens": 5, "outputTokens": 2, "totalTokens": 7}, None),
    ],
)
def test_what_is_not_reported_is_not_known(report: dict[str, Any], cached: int | None) -> None:
    """
    None is not zero: a provider that says nothing of a cache may have one.
    """
    usage = read_usage(report)
    assert (usage.input_tokens, usage.output_tokens) == (5, 2)
    assert usage.cached_input_tokens == cached
    assert usage.cache_write_tokens is None


def test_a_usage_of_fastpaca_is_taken_as_it_is() -> None:
    """
    As a value or as its fields, and the model with it.
    """
    fields: dict[str, Any] = {"input_tokens": 5, "output_tokens": 2, "cached_input_tokens": 1}
    usage = TokenUsage(**fields, model="m")
    assert read_usage(usage) is usage
    assert read_usage({**fields, "model": "m"}) == usage


@pytest.mark.parametrize(
    ("report", "field"),
    [
        ({}, "usage"),
        (7, "usage"),
        ({"input_tokens": 5}, "usage"),
        ({"input_tokens": "5", "output_tokens": 2}, "usage"),
        ({"input_tokens": 5, "output_tokens": 2, "cached_tokens": 1}, "usage"),
        ({"prompt_tokens": 5}, "usage.completion_tokens"),
        ({"prompt_tokens": True, "completion_tokens": 2}, "usage.prompt_tokens"),
        ({"inputTokens": -1, "outputTokens": 2}, "usage.inputTokens"),
    ],
    ids=str,
)
def test_what_is_no_usage_is_refused(report: Any, field: str) -> None:
    """
    The error names the field; a key that is spelt wrongly is not lost.
    """
    with pytest.raises(InvalidRequest) as refused:
        read_usage(report)
    assert refused.value.field == field
