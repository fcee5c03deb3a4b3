"""From each format to each other: what both can say is said, and the rest is listed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import pytest

from fastpaca.formats import LOSSES
from tests.formats.samples import LISTS, NAMES, PDF, PNG, VALIDATORS, Appended, Json

BOTH_SAY: Final[Mapping[str, tuple[str, ...]]] = {
    "openai-chat": ("What is in these?", PNG, "Let me see.", "open", "found", "in French", "Why?"),
    "openai-responses": ("What is in these?", "open", "found", "Twelve.", "And back?"),
    "anthropic": ("What is in these?", PNG, "It says so.", "open", "found", "no such file"),
    "gemini": ("What is in these?", PNG, "open", "close", "found", "One."),
    "bedrock": ("What is in these?", PNG, PDF, "Let me see.", "open", "close", "Twelve."),
    "ai-sdk": ("What is in these?", PNG, "Let me see.", "look_up", "far", "Not now.", "Twelve."),
}
"""What of its sample every other format can say, too."""

LOST: Final[Mapping[str, Mapping[str, set[str]]]] = {
    "openai-chat": {
        "openai-responses": {"arguments", "media", "refusal"},
        "anthropic": {"arguments", "media", "refusal"},
        "gemini": {"arguments", "refusal"},
        "bedrock": {"arguments", "media", "refusal"},
        "ai-sdk": {"refusal"},
    },
    "openai-responses": {
        "openai-chat": {"approval", "compaction", "reasoning", "served_call"},
        "anthropic": {"approval", "compaction", "reasoning", "served_call"},
        "gemini": {"approval", "compaction", "reasoning", "served_call"},
        "bedrock": {"approval", "compaction", "media", "reasoning", "served_call"},
        "ai-sdk": {"approval", "compaction", "reasoning", "served_call"},
    },
    "anthropic": {
        "openai-chat": {"citations", "error_flag", "media", "reasoning", "served_call"},
        "openai-responses": {"citations", "error_flag", "media", "reasoning", "served_call"},
        "gemini": {"citations", "media", "reasoning", "served_call"},
        "bedrock": {"citations", "media", "reasoning", "served_call"},
        "ai-sdk": {"citations", "media", "reasoning", "served_call"},
    },
    "gemini": {
        "openai-chat": {"keys", "media", "reasoning", "unknown"},
        "openai-responses": {"keys", "reasoning", "unknown"},
        "anthropic": {"keys", "reasoning", "unknown"},
        "bedrock": {"keys", "media", "reasoning", "unknown"},
        "ai-sdk": {"keys", "unknown"},
    },
    "bedrock": {
        "openai-chat": {"error_flag", "reasoning", "unknown"},
        "openai-responses": {"error_flag", "reasoning", "unknown"},
        "anthropic": {"reasoning", "unknown"},
        "gemini": {"reasoning", "unknown"},
        "ai-sdk": {"keys", "unknown"},
    },
    "ai-sdk": {
        "openai-chat": {"error_flag", "page_only", "reasoning", "served_call"},
        "openai-responses": {"error_flag", "page_only", "reasoning", "served_call"},
        "anthropic": {"page_only", "reasoning", "served_call"},
        "gemini": {"page_only", "reasoning", "served_call"},
        "bedrock": {"page_only", "reasoning", "served_call"},
    },
}
"""What of its sample each other format can't say."""

PAIRS = [(source, target) for source in NAMES for target in NAMES if source != target]


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_losses_are_listed(source: str, target: str) -> None:
    """
    Each loss has the code of what was lost, and the seq of the message that said it.
    """
    appended = Appended(LISTS[source][-1], source)
    losses = appended.rendered(target).losses
    assert {loss.code for loss in losses} == LOST[source][target]
    assert {loss.seq for loss in losses} <= {message["seq"] for message in appended.messages}
    assert {loss.code for loss in losses} <= LOSSES.keys()


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_what_both_can_say_is_said(source: str, target: str) -> None:
    """
    Texts, images, calls with their arguments, and results come through.
    """
    rendering = Appended(LISTS[source][-1], source).rendered(target)
    said = json.dumps([rendering.system, rendering.messages])
    assert [words for words in BOTH_SAY[source] if words not in said] == []


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_every_list_is_accepted_by_every_provider(source: str, target: str) -> None:
    """
    A switch of provider in the middle of a conversation leads to a valid request.
    """
    for listed in LISTS[source]:
        rendering = Appended(listed, source).rendered(target)
        if target in VALIDATORS:
            assert VALIDATORS[target](rendering.messages) == []


@pytest.mark.parametrize("target", NAMES)
def test_histories_of_two_providers_are_one(target: str) -> None:
    """
    A conversation that was begun with one provider and continued with another is valid for all.
    """
    for first in NAMES:
        for second in NAMES:
            before, after = Appended(LISTS[first][-1], first), Appended(LISTS[second][-1], second)
            both: Any = object.__new__(Appended)
            both.messages = [
                {**message, "seq": seq}
                for seq, message in enumerate([*before.messages, *after.messages], 1)
            ]
            both.origins = [*before.origins, *after.origins]
            messages: list[Json] = both.rendered(target).messages
            if target in VALIDATORS:
                assert VALIDATORS[target](messages) == [], (first, second)
