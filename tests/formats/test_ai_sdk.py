"""The AI SDK itself accepts the UI messages."""

from __future__ import annotations

from fastpaca.formats import render
from tests.formats.ai_sdk import verdicts
from tests.formats.histories import history
from tests.formats.samples import LISTS, Appended
from tests.formats.test_official import MADE


def test_ai_sdk_accepts_renderings() -> None:
    """
    `validateUIMessages` and `convertToModelMessages` accept what other formats become, and random
    conversations.
    """
    lists = [
        Appended(listed, name).rendered("ai-sdk").messages
        for source in (LISTS, MADE)
        for name, listed_all in source.items()
        for listed in listed_all
    ]
    lists += [render(history(seed), "ai-sdk").messages for seed in range(100)]
    lists = [messages for messages in lists if messages]
    refused = [
        (verdict, messages)
        for verdict, messages in zip(verdicts(lists), lists, strict=True)
        if verdict != "ok"
    ]
    assert refused == []


def test_ai_sdk_refuses_what_is_broken() -> None:
    """
    The same judgement refuses a call without a result, a part without a type, and an empty list.
    """
    asked = {"id": "u1", "role": "user", "parts": [{"type": "text", "text": "Hi"}]}
    part = {"type": "tool-f", "toolCallId": "c1", "state": "output-available", "input": {}}
    broken = [
        [],
        [{**asked, "parts": [{"text": "Hi"}]}],
        [asked, {"id": "a1", "role": "assistant", "parts": [part]}],
    ]
    assert "ok" not in verdicts(broken)
